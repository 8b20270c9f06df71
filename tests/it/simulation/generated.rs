// SPDX-License-Identifier: MIT OR Apache-2.0
//! Machines, configurations and faults that nobody thought of.

use nix::errno::Errno;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::case::Case;
use super::cases;
use super::promises::{a_dry_run_writes_nothing, a_second_run_changes_nothing, broken};
use crate::simulated::{
    Builder, Fault, Function, GPU, GPU_AUDIO, GPU_UCSI, GPU_USB, Hang, IGPU, Kind, Lasts, NIC, NVME, Place, Probe,
    SATA, Version,
};

/// What is plugged into a slot.
#[derive(Clone, Debug)]
struct Plug {
    functions: &'static [&'static Function],
    /// In one IOMMU group with the slot before.
    shares: bool,
    asleep: bool,
    stuck: bool,
    /// Its function 0 has a BAR that can be resized, to at most this power of two in MiB.
    window: Option<u32>,
    /// The override that somebody has set on function 0.
    only: Option<&'static str>,
}

/// A claim, put together from the number of a slot and a pattern with `%` for its bus.
type Wish = (usize, &'static str, &'static str);

/// Everything that is drawn.
#[derive(Clone, Debug)]
struct Draw {
    version: Version,
    plugs: Vec<Plug>,
    internal: bool,
    boot_display: bool,
    loaded: Vec<bool>,
    vfio: u8,
    wishes: Vec<Wish>,
    settings: &'static str,
    probes: Vec<(usize, bool, Probe)>,
    fault: Option<(f64, u8, u8)>,
}

const HOST: &[(&str, &str)] = &[
    ("nouveau", "nouveau"),
    ("snd_hda_intel", "snd_hda_intel"),
    ("xhci_pci", "xhci_hcd"),
    ("i2c_nvidia_gpu", "nvidia-gpu"),
    ("i915", "i915"),
    ("nvme", "nvme"),
    ("ahci", "ahci"),
    ("e1000e", "e1000e"),
];

fn plug() -> impl Strategy<Value = Plug> {
    const CARDS: &[&[&Function]] = &[
        &[&GPU, &GPU_AUDIO, &GPU_USB, &GPU_UCSI],
        &[&GPU, &GPU_AUDIO],
        &[&GPU],
        &[&NIC],
        &[&NVME],
        &[&GPU_USB],
        &[&SATA, &NIC],
    ];
    let only =
        prop_oneof![8 => Just(None), 1 => Just(Some("vfio-pci")), 1 => Just(Some("nouveau")), 1 => Just(Some("x"))];
    let rarely = || prop::bool::weighted(0.15);
    (
        prop::sample::select(CARDS),
        rarely(),
        rarely(),
        rarely(),
        prop::option::of(prop::sample::select(vec![9, 63])),
        only,
    )
        .prop_map(|(functions, shares, asleep, stuck, window, only)| Plug {
            functions,
            shares,
            asleep,
            stuck,
            window,
            only,
        })
}

fn draw() -> impl Strategy<Value = Draw> {
    let forms = [
        "%:00.0",
        "%:00.*",
        "%:00.1",
        "10de:1e04",
        "8086:15bc",
        "144d:a808:1462:3711",
        "00:%.0/00.0",
        "pci:v000010DEd*",
    ];
    let options = [
        "",
        "with=group",
        "with=none",
        "with=card",
        "driver=auto",
        "id=10de:1e04",
        "allow=last-display+storage",
        "reset=bus",
        "reset=pm",
        "reset=bus+flr with=card",
        "rebar=1:8G",
        "rebar=1:512M reset=bus",
    ];
    let settings = ["", "", "set on-failure keep\n", "set framebuffer release\n", "set iommu optional\n"];
    let wish = (0_usize..5, prop::sample::select(forms.to_vec()), prop::sample::select(options.to_vec()));
    let how = prop_oneof![
        Just(Probe::Fail(Errno::EIO)),
        Just(Probe::FailOnce(Errno::EIO)),
        Just(Probe::HangThenBind),
        Just(Probe::HangThenFail(Errno::ENXIO))
    ];
    let probes =
        prop_oneof![3 => Just(Vec::new()), 1 => prop::collection::vec((0_usize..16, any::<bool>(), how), 1..3)];
    (
        (
            prop::collection::vec(plug(), 1..5),
            any::<bool>(),
            any::<bool>(),
            prop::collection::vec(any::<bool>(), HOST.len()),
            prop::sample::select(Version::ALL.to_vec()),
        ),
        (0_u8..8, prop::collection::vec(wish, 1..4), prop::sample::select(settings.to_vec()), probes),
        prop::option::weighted(0.8, (0.3..1.05, 0_u8..6, 0_u8..3)),
    )
        .prop_map(|((plugs, internal, boot_display, loaded, version), (vfio, wishes, settings, probes), fault)| {
            Draw { version, plugs, internal, boot_display, loaded, vfio, wishes, settings, probes, fault }
        })
}

impl Draw {
    fn case(&self) -> Case {
        let mut builder = Builder::of(self.version);
        let mut devices = Vec::new();
        for (number, plug) in (1..).zip(&self.plugs) {
            let port = format!("0000:00:{number:02x}.0");
            builder.port(&port);
            for (function, model) in plug.functions.iter().enumerate() {
                let address = format!("0000:{number:02x}:00.{function}");
                builder.function(&address, Some(&port), model);
                if plug.shares {
                    builder.group(&address, Some(50));
                }
                devices.push(address);
            }
            let first = format!("0000:{number:02x}:00.0");
            if plug.asleep {
                builder.attribute(&first, "power_state", "D3cold").attribute(&first, "power/control", "auto");
            }
            if plug.window.is_some() {
                builder.resizable(&first);
            }
            builder.with(|state| {
                state.set_override(&first, plug.only);
                state.windows.extend(plug.window.map(|most| (first.clone(), most)));
                if plug.stuck {
                    state.stuck.push(first.clone());
                }
            });
        }
        if self.internal {
            builder.function("0000:00:12.0", None, &IGPU);
        }
        let display = if self.internal { Some("0000:00:12.0") } else { None };
        let display = display.or(self.plugs[0].functions[0].identity.class.is_display().then_some("0000:01:00.0"));
        if let (true, Some(display)) = (self.boot_display, display) {
            builder.boot_display(display);
        }
        for ((module, _), loaded) in HOST.iter().zip(&self.loaded) {
            if *loaded {
                builder.loaded(module);
            }
        }
        match self.vfio {
            0 => drop(builder.built_in("vfio_pci")),
            1 => drop(builder.loaded("vfio_pci")),
            2 => drop(builder.with(|state| state.module("vfio_pci").place = Place::RealRoot)),
            3 => drop(builder.with(|state| state.modprobe = false)),
            4 => drop(builder.with(|state| state.module("vfio_pci_core").broken = Some(Errno::EINVAL))),
            _ => {}
        }
        builder.with(|state| {
            for (device, own, how) in &self.probes {
                let device = &devices[device % devices.len()];
                let drivers = HOST.iter().map(|(_, driver)| *driver).filter(|_| !own);
                for driver in drivers.chain(own.then_some("vfio-pci")) {
                    state.probe.insert((driver.to_owned(), device.clone()), *how);
                }
            }
        });
        builder.config(&self.config());
        Case::new("generated", builder.start(), &[])
    }

    fn config(&self) -> String {
        let mut text = self.settings.to_owned();
        for (slot, form, options) in &self.wishes {
            let bus = format!("{:02x}", 1 + slot % self.plugs.len());
            let all = if form.contains('.') { "" } else { " match=all" };
            text.push_str(&format!("claim {}{all} {options}\n", form.replace('%', &bus)));
        }
        text
    }

    fn fault(&self, case: &Case) -> Option<Fault> {
        let (place, kind, lasts) = self.fault?;
        #[expect(
            clippy::as_conversions,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a place in a list"
        )]
        #[expect(clippy::cast_precision_loss, reason = "a place in a list")]
        let at = ((case.operations() as f64) * place) as usize + 1;
        let kind = match kind {
            0 => Kind::Fail(Errno::EIO),
            1 => Kind::FailAfterwards(Errno::EINTR),
            2 => Kind::Hang(Hang::Lost),
            3 => Kind::Hang(Hang::Done),
            4 => Kind::Hang(Hang::Late),
            _ => Kind::Vanish("0000:01:00.0".to_owned()),
        };
        let lasts = match (&kind, lasts) {
            (Kind::Vanish(_), _) | (_, 0) => Lasts::Once,
            (_, 1) => Lasts::ForThis,
            _ => Lasts::ForAll,
        };
        Some(Fault { at, kind, lasts })
    }
}

#[test]
fn every_promise_holds_on_any_machine() {
    // The same machines every time: what fails today has to fail tomorrow. VFIO_EARLY_CASES draws more of them.
    let config = Config { cases: cases(200), failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let result = runner.run(&draw(), |draw| {
        let case = draw.case();
        let mut found = a_dry_run_writes_nothing(&case);
        if let Some(run) = &case.reference {
            found.extend(broken(&case, run, None));
            found.extend(a_second_run_changes_nothing(&case, run));
        }
        if let Some(fault) = draw.fault(&case) {
            let run = case.run(Some(fault.clone()));
            found.extend(broken(&case, &run, Some(&fault)));
        }
        prop_assert!(found.is_empty(), "{}{}", draw.config(), found.join("\n"));
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}
