// SPDX-License-Identifier: MIT OR Apache-2.0
//! On machines that nobody thought of, what `detect` proposes passes `check` and leaves the host its display.

use std::cell::Cell;
use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use vfio_early::detect;
use vfio_early::exit::Exit;
use vfio_early::machine::{Node, Recorded};
use vfio_early::pci::Address;
use vfio_early::pipeline;
use vfio_early::report::ClaimState;

use crate::simulation::cases;
use crate::support::sketch;
use crate::support::text;

/// Something that is plugged into a slot of a board: function or bus, IDs, class and the rest, two spaces a bridge. `%` is
/// the bus, `^` and `~` are the two buses below it.
struct Card {
    lines: &'static [&'static str],
}

const CARDS: &[Card] = &[
    Card {
        lines: &[
            "00.0 10de:1e04:1462:3711 030000 multi bars=m16M+p256M rom=512K driver=nouveau@running",
            "00.1 10de:10f7:1462:3711 040300 multi driver=snd_hda_intel@running",
            "00.2 10de:1ad6:1462:3711 0c0330 multi driver=xhci_hcd@running",
            "00.3 10de:1ad7:1462:3711 0c8000 multi",
        ],
    },
    Card {
        lines: &[
            "00.0 10de:2782:1043:88e2 030000 multi bars=m16M+p256M driver=nouveau@running",
            "00.1 10de:22bc:1043:88e2 040300 multi driver=snd_hda_intel@running",
        ],
    },
    // A mobile one without outputs, and one for computing.
    Card { lines: &["00.0 10de:25a2:17aa:3a5d 030200 bars=m16M+p256M driver=nouveau@running"] },
    Card { lines: &["00.0 1da3:1000:1da3:1000 120000 bars=p256M"] },
    Card { lines: &["00.0 1234:1111 038000 bars=m16M"] },
    // Below a switch of its own.
    Card {
        lines: &[
            "00.0 1002:1478 060400 bus=^",
            "  00.0 1002:1479 060400 bus=~",
            "    00.0 1002:744c:1da2:471e 030000 multi bars=p256M driver=amdgpu@running",
            "    00.1 1002:ab30:1da2:ab30 040300 multi driver=snd_hda_intel@running",
            "    00.2 1002:7446:1da2:471e 0c0330 multi driver=xhci_hcd@running",
            "    00.3 1002:7444:1da2:471e 0c8000 multi",
        ],
    },
    Card {
        lines: &[
            "00.0 8086:4fa1 060400 bus=^",
            "  01.0 8086:4fa4 060400 bus=~",
            "    00.0 8086:56a0:172f:3937 030000 bars=p256M driver=i915@running",
        ],
    },
    // An APU's slot, which holds what the host needs.
    Card {
        lines: &[
            "00.0 1002:1636:17aa:5081 030000 multi bars=p256M driver=amdgpu@running",
            "00.1 1002:1637:17aa:5081 040300 multi driver=snd_hda_intel@running",
            "00.2 1022:15df:17aa:5081 108000 multi",
            "00.3 1022:1639:17aa:5081 0c0330 multi driver=xhci_hcd@running",
        ],
    },
    // A management controller's display.
    Card { lines: &["00.0 1a03:1150 060400 bus=^", "  00.0 1a03:2000:1a03:2000 030000 driver=ast@running"] },
    Card { lines: &["00.0 144d:a808:144d:a801 010802 bars=p16K driver=nvme@running"] },
    Card {
        lines: &[
            "00.0 8086:1521:8086:0001 020000 multi bars=m128K driver=igb@running",
            "00.1 8086:1521:8086:0001 020000 multi bars=m128K driver=igb@running",
        ],
    },
];

/// How a card shares its IOMMU group.
#[derive(Clone, Copy, Debug)]
enum Sharing {
    /// Each function has one of its own.
    Nothing,
    /// Its functions share one.
    Itself,
    /// With the port above it.
    Port,
    /// With the card before and its port.
    Before,
}

#[expect(clippy::struct_excessive_bools, reason = "each is drawn by itself")]
#[derive(Clone, Debug)]
struct Drawn {
    kernel: &'static str,
    intel: bool,
    /// A display of the processor, at 00:02.0, and its class.
    onboard: Option<&'static str>,
    cards: Vec<(usize, Sharing)>,
    /// Which of the displays is the host's, and whether `boot_vga` and the framebuffer say so.
    host: Index,
    boot_vga: bool,
    framebuffer: bool,
    running: bool,
    protected: bool,
    trial: bool,
}

fn drawn() -> impl Strategy<Value = Drawn> {
    let sharing = prop_oneof![
        3 => Just(Sharing::Nothing), 4 => Just(Sharing::Itself), 1 => Just(Sharing::Port), 1 => Just(Sharing::Before)
    ];
    let cards = prop::collection::vec((0..CARDS.len(), sharing), 0..5);
    let kernel = select(vec!["6.1.0-44-amd64 .ko", "6.12.107+deb13-amd64 .ko.xz", "7.2.1-amd64 .ko.xz"]);
    let onboard = prop::option::of(select(vec!["030000", "038000"]));
    let often = || prop::bool::weighted(0.8);
    let firmware = (any::<Index>(), often(), often(), any::<bool>(), prop::bool::weighted(0.9), any::<bool>());
    (kernel, any::<bool>(), onboard, cards, firmware).prop_map(
        |(kernel, intel, onboard, cards, (host, boot_vga, framebuffer, running, protected, trial))| Drawn {
            kernel,
            intel,
            onboard,
            cards,
            host,
            boot_vga,
            framebuffer,
            running,
            protected,
            trial,
        },
    )
}

/// A machine, and what is known of its displays.
#[derive(Debug)]
struct Made {
    sketch: String,
    /// Every display.
    displays: BTreeSet<Address>,
    /// The host's display and what is on the same card, if something tells that it is.
    kept: BTreeSet<Address>,
}

impl Drawn {
    fn make(&self) -> Made {
        // Function and its line, by card.
        let mut cards: Vec<Vec<(String, String)>> = Vec::new();
        let mut group = 20;
        if let Some(class) = self.onboard {
            let line = format!("  02.0 8086:a780 {class} bars=p16M driver=i915@running group=19");
            cards.push(vec![("0000:00:02.0".to_owned(), line)]);
        }
        let mut port_group = 0;
        for (slot, (card, sharing)) in self.cards.iter().enumerate() {
            let first = 0x10 * (slot + 1);
            let port = 0x10 + slot;
            let before = port_group;
            group += 10;
            port_group = match sharing {
                Sharing::Before if slot > 0 => before,
                _ => group,
            };
            let mut lines = vec![(
                String::new(),
                format!("  {port:02x}.0 8086:a70d 060400 bus={first:02x} driver=pcieport group={port_group}"),
            )];
            let mut bus = vec![first];
            for line in CARDS[*card].lines {
                let depth = (line.len() - line.trim_start().len()) / 2;
                bus.truncate(depth + 1);
                let address = format!("0000:{:02x}:{}", bus[depth], line.split_whitespace().next().unwrap());
                for (sign, below) in [("bus=^", first + 1), ("bus=~", first + 2)] {
                    if line.contains(sign) {
                        bus.push(below);
                    }
                }
                let shared = match sharing {
                    Sharing::Nothing => {
                        group += 1;
                        group
                    }
                    Sharing::Itself => group + 1,
                    Sharing::Port | Sharing::Before => port_group,
                };
                let line = line.replace('^', &format!("{:02x}", first + 1)).replace('~', &format!("{:02x}", first + 2));
                lines.push((address, format!("    {line} group={shared}")));
            }
            group += 5;
            cards.push(lines);
        }
        self.told(cards)
    }

    /// With what the firmware and the kernel say of the host's display.
    fn told(&self, mut cards: Vec<Vec<(String, String)>>) -> Made {
        let class = |line: &str| line.split_whitespace().nth(2).unwrap().to_owned();
        let shows = |line: &str| ["030000", "038000"].contains(&class(line).as_str());
        let every: Vec<(usize, usize)> = (0..cards.len())
            .flat_map(|card| (0..cards[card].len()).map(move |function| (card, function)))
            .filter(|(card, function)| shows(&cards[*card][*function].1))
            .collect();
        let displays = every.iter().map(|(card, function)| cards[*card][*function].0.parse().unwrap()).collect();
        let mut made = Made { sketch: String::new(), displays, kept: BTreeSet::new() };
        let mut framebuffer = String::new();
        if !every.is_empty() {
            let (card, function) = *self.host.get(&every);
            let (address, line) = &mut cards[card][function];
            let mut known = false;
            if self.boot_vga && class(line) == "030000" {
                line.push_str(" boot");
                known = true;
            }
            // The framebuffer lies below its device from 6.9 on, until a driver takes it away.
            if self.framebuffer && !self.running && !self.kernel.starts_with("6.1.") {
                framebuffer = format!("framebuffer efi-framebuffer {address}\n");
                known = true;
            }
            if known {
                let functions = cards[card].iter().filter(|(address, _)| !address.is_empty());
                made.kept = functions.map(|(address, _)| address.parse().unwrap()).collect();
            }
        }
        let (cpu, table, unit, on) = if self.intel {
            ("intel", "DMAR", "dmar0", "intel_iommu=on")
        } else {
            ("amd", "IVRS", "ivhd0", "amd_iommu=on")
        };
        let state = if self.running { "running" } else { "initramfs" };
        let firmware = if self.protected { format!("table {table}\nunit {unit}\nremapping\n") } else { String::new() };
        let mut lines: Vec<&str> = cards.iter().flatten().map(|(_, line)| line.as_str()).collect();
        if !self.protected {
            for line in &mut lines {
                *line = line.split(" group=").next().unwrap();
            }
        }
        made.sketch = format!(
            "states {state}\nkernel {} builtin pcieport\ncpu {cpu} 2\ncmdline root=/dev/sda1 ro {on}\n{firmware}{framebuffer}\
             \nroot 0000:00\n  00.0 8086:a700 060000\n{}\n",
            self.kernel,
            lines.join("\n")
        );
        made
    }
}

fn holds(drawn: &Drawn) -> Result<usize, TestCaseError> {
    let made = drawn.make();
    let sketch = &made.sketch;
    let state = if drawn.running { "running" } else { "initramfs" };
    let mut tree = sketch::draw(sketch, state);
    if drawn.trial {
        tree.put(
            "/sys/firmware/efi/efivars/Boot0000-8be4df61-93ca-11d2-aa0d-00e098032b8c",
            Node::File(vec![7, 0, 0, 0]),
        );
    }
    let machine = Recorded::parse(text::write(&tree, "").as_bytes()).unwrap();
    let proposal = pipeline::detect(&machine, None).unwrap();
    let proposal = detect::text(&proposal);
    tree.put("/etc/vfio-early.conf", Node::File(proposal.clone().into_bytes()));
    let machine = Recorded::parse(text::write(&tree, "").as_bytes()).unwrap();
    let (checked, exit) = pipeline::check(&machine, false).unwrap();
    let said = || format!("{sketch}\n{proposal}\n{:?}\n{:?}", checked.problems, checked.claims);
    let expected = if drawn.protected { Exit::Ok } else { Exit::Unprotected };
    let claims = proposal.lines().filter(|line| line.starts_with("claim ")).count();
    prop_assert!(exit == expected || (claims == 0 && exit == Exit::Ok), "{exit:?}: {}", said());
    let holds = [ClaimState::Pending, ClaimState::Claimed];
    let claimed: BTreeSet<Address> =
        checked.claims.iter().filter(|claim| holds.contains(&claim.state)).filter_map(|claim| claim.device).collect();
    prop_assert!(claimed.is_disjoint(&made.kept), "the host's: {:?}: {}", made.kept, said());
    prop_assert!(made.displays.is_empty() || !made.displays.is_subset(&claimed), "the last display: {}", said());
    Ok(claims)
}

#[test]
fn what_detect_proposes_leaves_the_host_its_display() {
    // The same machines every time; VFIO_EARLY_CASES=N draws more.
    let config = Config { cases: cases(300), failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let proposed = Cell::new(0);
    let result = runner.run(&drawn(), |drawn| {
        proposed.set(proposed.get() + holds(&drawn)?);
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
    assert!(proposed.get() > 5, "{} claims proposed", proposed.get());
}
