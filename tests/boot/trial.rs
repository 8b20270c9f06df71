// SPDX-License-Identifier: MIT OR Apache-2.0
//! Boots of one machine, one after the other, that keep the variables of their UEFI firmware: `set trial yes`.

use std::fs;
use std::path::PathBuf;

use crate::boot::{Boot, Firmware, Unified};
use crate::cases::{CONF, Case, Expect, Expected, GPU, usual};
use crate::evidence::Evidence;
use crate::lab::{self, Contents, Generator, Lab, Suite};
use crate::run::boot_of;

/// One of the boots.
pub struct Step {
    /// Laid over the image in place of its configuration, if there is any.
    pub configuration: &'static str,
    /// Added to the kernel command line.
    pub cmdline: &'static str,
    /// Files that are laid over the image.
    pub overlay: &'static [(&'static str, &'static str)],
    /// A unified kernel image and Secure Boot.
    pub unified: Option<Unified>,
    /// Whether the graphics card is claimed, before any other driver; the host's drivers have it otherwise.
    pub claimed: bool,
    /// How the claim ends when it is run again, if not as its devices say.
    pub ends: Option<u8>,
    /// What the kernel log must say.
    pub says: &'static [&'static str],
    /// What sections of the evidence must say.
    pub told: &'static [(&'static str, &'static str)],
}

/// What a step does not care about.
pub const STEP: Step = Step {
    configuration: "",
    cmdline: "",
    overlay: &[("lab/more", MORE)],
    unified: None,
    claimed: true,
    ends: None,
    says: &[],
    told: &[],
};

const TRIED: &str = "set trial yes\nclaim 01:00.0 id=1234:1111\n";
const CHANGED: &str = "set trial yes\nclaim 01:00.0\n";

/// What every boot is asked.
const MORE: &str = "\
ask motd cat /run/motd.d/vfio-early
ask mark cat /sys/firmware/efi/efivars/VfioEarlyTrial-a5b1ee7b-8618-4581-b594-89541b6a48b5
ask check vfio-early check
";

/// The same, and the person who confirms.
const CONFIRM: &[(&str, &str)] = &[(
    "lab/more",
    "ask motd cat /run/motd.d/vfio-early\n\
     ask confirm vfio-early confirm\n\
     ask mark cat /sys/firmware/efi/efivars/VfioEarlyTrial-a5b1ee7b-8618-4581-b594-89541b6a48b5\n\
     ask confirmed vfio-early status --json\n\
     ask motd-after cat /run/motd.d/vfio-early\n",
)];

/// A trial that begins.
pub const FIRST: Step = Step {
    says: &["vfio-early confirm"],
    told: &[
        ("status", "warning: the configuration is on trial"),
        ("status-json", "\"trial\":{\"state\":\"running\""),
        ("motd", "vfio-early confirm"),
        ("mark", "running "),
        ("check", "or the next boot claims nothing"),
    ],
    ..STEP
};

/// The boot after one that nobody confirmed.
pub const BLOCKED: Step = Step {
    overlay: CONFIRM,
    claimed: false,
    says: &["was not confirmed"],
    told: &[
        ("status", "was not confirmed"),
        ("status", "vfio_early.trial=no"),
        ("status-json", "\"trial\":{\"state\":\"blocked\""),
        ("motd", "has claimed no devices"),
        ("confirm", "nothing to confirm"),
        ("confirm-exit", "1"),
        ("mark", "running "),
    ],
    ..STEP
};

/// A boot in which somebody confirms.
const CONFIRMED: Step = Step {
    overlay: CONFIRM,
    told: &[
        ("confirm", "confirmed: every boot claims"),
        ("mark", "good "),
        ("confirmed", "\"trial\":{\"state\":\"good\""),
        ("motd-after-exit", "0"),
    ],
    ..STEP
};

/// A boot after one in which somebody confirmed.
const GOOD: Step = Step {
    told: &[
        ("status-json", "\"trial\":{\"state\":\"good\""),
        ("motd", "No such file"),
        ("mark", "good "),
        ("check-exit", "0"),
    ],
    ..STEP
};

/// Takes all the room that the firmware has for variables, in ever smaller pieces. A file that could not be written stays, empty
/// and immutable (efivarfs of 6.12), so that each size begins with a name of its own.
const FILL: &[(&str, &str)] = &[
    (
        "lab/before",
        "modprobe efivarfs\nmount -t efivarfs efivarfs /sys/firmware/efi/efivars\n\
         [ ! -e /lab/filled ] || exit 0\n\
         number=0\n\
         for size in 20000 2000 200 40 1; do\n\
         	{ printf '\\007\\000\\000\\000'; head -c $size /dev/zero; } >/lab/filled\n\
         	while dd if=/lab/filled bs=32k of=/sys/firmware/efi/efivars/Fill$number-11111111-2222-3333-4444-555555555555 2>/dev/null; do\n\
         		number=$((number + 1))\n\
         	done\n\
         	number=$((number + 1))\n\
         done\n\
         echo lab: $number variables fill the firmware >/dev/kmsg\n",
    ),
    ("lab/more", MORE),
];

/// The cases of one machine that is booted again and again, and one that has no such firmware.
pub fn cases() -> Vec<Case> {
    let tried = |generator| Contents { generator, files: &[(CONF, TRIED)], ..Contents::default() };
    vec![
        Case {
            name: "trial",
            about: "UEFI: a trial that nobody confirms, another configuration that somebody does",
            contents: tried(Generator::InitramfsTools),
            expect: Expect::Trial(&[
                FIRST,
                BLOCKED,
                Step { configuration: CHANGED, ..CONFIRMED },
                Step { configuration: CHANGED, ..GOOD },
            ]),
            ..usual()
        },
        Case {
            name: "trial-bios",
            about: "a trial on a machine without UEFI: nothing is claimed, and that is said",
            contents: tried(Generator::InitramfsTools),
            overlay: &[("lab/more", "ask check vfio-early check\n")],
            expect: Expect::Boot(Expected {
                status: 1,
                says: &["was not booted by UEFI"],
                told: &[("status", "was not booted by UEFI"), ("check", "was not booted by UEFI"), ("check-exit", "1")],
                ..Expected::default()
            }),
            ..usual()
        },
        // A machine whose firmware has no room left is not booted again: OVMF writes variables of its own before that, for ever.
        Case {
            name: "trial-full",
            about: "UEFI without room for the mark: nothing is claimed, and that is said",
            suite: Suite::Trixie,
            contents: tried(Generator::InitramfsTools),
            expect: Expect::Trial(&[Step {
                overlay: FILL,
                claimed: false,
                says: &["No space left on device"],
                told: &[
                    ("log", "variables fill the firmware"),
                    ("status-json", "\"trial\":{\"state\":\"blocked\""),
                    ("motd", "has claimed no devices"),
                ],
                ..STEP
            }]),
            slow: true,
            ..usual()
        },
        Case {
            name: "trial-read-only",
            about: "UEFI whose variables are read-only: nothing is claimed, and that is said",
            suite: Suite::Trixie,
            contents: tried(Generator::InitramfsTools),
            expect: Expect::Trial(&[Step {
                overlay: &[
                    ("lab/before", "modprobe efivarfs\nmount -t efivarfs -o ro efivarfs /sys/firmware/efi/efivars\n"),
                    ("lab/more", MORE),
                ],
                claimed: false,
                says: &["read-only"],
                told: &[("status", "read-only"), ("check", "read-only"), ("check-exit", "1")],
                ..STEP
            }]),
            slow: true,
            ..usual()
        },
        Case {
            name: "trial-dracut",
            about: "UEFI, dracut without systemd: a trial, a boot with vfio_early.trial=no in which it is confirmed, and another",
            suite: Suite::Trixie,
            contents: tried(Generator::Dracut),
            expect: Expect::Trial(&[
                FIRST,
                BLOCKED,
                Step {
                    cmdline: "vfio_early.trial=no",
                    told: &[
                        ("status-json", "\"trial\":{\"state\":\"off\""),
                        ("confirm", "confirmed: every boot"),
                        ("mark", "good "),
                    ],
                    ..CONFIRMED
                },
                GOOD,
            ]),
            slow: true,
            ..usual()
        },
        Case {
            name: "trial-systemd",
            about: "UEFI, dracut with systemd, the newest kernel: a trial that nobody confirms, and one more try",
            suite: Suite::Backports,
            contents: tried(Generator::DracutSystemd),
            expect: Expect::Trial(&[
                FIRST,
                Step {
                    overlay: &[("lab/more", "ask retry vfio-early confirm --retry\nask status vfio-early status\n")],
                    claimed: false,
                    says: &["was not confirmed"],
                    told: &[("retry", "the next boot tries"), ("status", "the next boot tries again")],
                    ..STEP
                },
                FIRST,
            ]),
            slow: true,
            ..usual()
        },
    ]
}

/// Boots a machine as often as there are steps. Answers how long it took.
pub fn run(lab: &Lab, case: &Case, steps: &[Step]) -> Result<String, String> {
    let variables = lab::fresh(case.name)?.join("variables.fd");
    let secure = steps.iter().any(|step| step.unified.is_some());
    let firmware = if secure { Firmware::secure(variables)? } else { Firmware::copy_to(variables)? };
    let mut times = Vec::new();
    for (step, number) in steps.iter().zip(1..) {
        let name = format!("{}-{number}", case.name);
        let boot = Boot {
            name: &name,
            configuration: step.configuration,
            cmdline: step.cmdline,
            overlay: step.overlay,
            firmware: Some(&firmware),
            unified: step.unified.as_ref(),
            ..boot_of(case)
        };
        let outcome = match (boot.run(lab), step.unified.map_or("", |unified| unified.refused)) {
            (Err(said), refused) if !refused.is_empty() && said == refused => {
                times.push("refused".to_owned());
                continue;
            }
            (Ok(_), refused) if !refused.is_empty() => return Err(format!("boot {number} was not refused")),
            (result, _) => result?,
        };
        let faults = step.faults(&outcome.evidence);
        if !faults.is_empty() {
            let folder: PathBuf = lab::place().join(&name);
            return Err(format!("boot {number}: see {}\n     {}", folder.display(), faults.join("\n     ")));
        }
        times.push(format!("{:.1}s", outcome.seconds));
    }
    let _ = fs::remove_file(&firmware.variables);
    Ok(format!("boots: {}", times.join(" ")))
}

impl Step {
    /// Everything in which a boot is not as it must be.
    fn faults(&self, boot: &Evidence) -> Vec<String> {
        let mut faults = Vec::new();
        let devices = boot.devices("devices");
        for address in GPU {
            let driver = devices.get(*address).and_then(|device| device.driver.as_deref());
            let probes = boot.probes(address);
            let right = if self.claimed {
                driver == Some("vfio-pci") && probes == ["vfio-pci"]
            } else {
                driver.is_some_and(|driver| driver != "vfio-pci") && !probes.contains(&"vfio-pci")
            };
            if !right {
                faults.push(format!("{address}: on {driver:?}, probed by {probes:?}"));
            }
        }
        if boot.devices("devices-again") != devices {
            faults.push("running the claim again changed something".to_owned());
        }
        if boot.exit("again") != Some(self.ends.unwrap_or(u8::from(!self.claimed))) {
            faults.push(format!("run again, the claim ends with {:?}", boot.exit("again")));
        }
        for text in self.says {
            if !boot.section("log").lines().any(|line| line.contains("vfio-early: ") && line.contains(text)) {
                faults.push(format!("the kernel log has no line of vfio-early with '{text}'"));
            }
        }
        // Lines are broken at the end of the terminal.
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        for (section, text) in self.told {
            if !words(boot.section(section)).contains(text.trim_end()) {
                faults.push(format!("{section} says '{}' and not '{text}'", boot.beginning(section)));
            }
        }
        faults
    }
}
