// SPDX-License-Identifier: MIT OR Apache-2.0
//! Secure Boot: claims in a signed unified kernel image and in an addon, the way back there, and a kernel that is locked down.

use crate::boot::Unified;
use crate::cases::{CONF, Case, Expect, usual};
use crate::lab::{Contents, Suite};
use crate::trial::{STEP, Step};

const CLAIM: &str = "vfio_early.claim=01:00.0,id=1234:1111,rom=save";

/// What a guest is asked whose kernel is locked down.
const LOCKED: &[(&str, &str)] = &[(
    "lab/more",
    "mount -t securityfs securityfs /sys/kernel/security 2>/dev/null\n\
     ask lockdown cat /sys/kernel/security/lockdown\n\
     ask cmdline cat /proc/cmdline\n\
     ask dump vfio-early rom dump 02:00.0 -o /run/now.rom\n\
     ask bind vfio-early bind 02:00.0 reset=pm rebar=0:1M\n\
     ask reset cat /sys/bus/pci/devices/0000:02:00.0/reset_method\n\
     ask release vfio-early release 02:00.0\n\
     ask groups vfio-early groups\n\
     ask snapshot vfio-early snapshot -o /run/machine.txt\n\
     ask recorded vfio-early --root /run/machine.txt status\n\
     ask net readlink /sys/bus/pci/devices/0000:03:00.0/driver\n",
)];

const ASK: &[(&str, &str)] =
    &[("lab/more", "ask cmdline cat /proc/cmdline\nask net readlink /sys/bus/pci/devices/0000:03:00.0/driver\n")];

const SIGNED: Unified = Unified { addon: "", profile: "", unsigned: "", typed: "", refused: "" };

/// The cases: slow, because the firmware reads and measures an image of fifty megabytes in emulation.
pub fn cases() -> Vec<Case> {
    vec![
        Case {
            name: "secure",
            about: "Secure Boot: a signed unified kernel image and addon with claims, unsigned ones, and the ways back",
            suite: Suite::Trixie,
            expect: Expect::Trial(&[
                Step {
                    cmdline: CLAIM,
                    unified: Some(Unified { addon: "vfio_early.claim=03:00.0", ..SIGNED }),
                    overlay: LOCKED,
                    told: &[
                        ("lockdown", "[integrity]"),
                        ("status", "all 4 claimed devices are ready for a guest"),
                        ("net", "vfio-pci"),
                        ("dump-exit", "0"),
                        // As without lockdown: the reset method is set, and QEMU's card has no BAR that can be resized.
                        ("bind", "rebar=0:1M of 0000:02:00.0: this BAR cannot"),
                        ("reset", "pm"),
                        ("release-exit", "0"),
                        ("groups-exit", "0"),
                        ("snapshot-exit", "0"),
                        ("recorded-exit", "0"),
                    ],
                    ..STEP
                },
                // Its control: the same addon, which nobody has signed.
                Step {
                    cmdline: CLAIM,
                    unified: Some(Unified { addon: "vfio_early.claim=03:00.0", unsigned: "addon", ..SIGNED }),
                    overlay: ASK,
                    told: &[("net", "e1000e"), ("status", "all 3 claimed devices are ready for a guest")],
                    ..STEP
                },
                // A way back.
                Step {
                    cmdline: CLAIM,
                    unified: Some(Unified { addon: "vfio_early=off", ..SIGNED }),
                    overlay: ASK,
                    claimed: false,
                    ends: Some(0),
                    says: &["vfio_early=off"],
                    told: &[("cmdline", "vfio_early.claim=01:00.0")],
                    ..STEP
                },
                // Another: a second profile, which a person chooses.
                Step {
                    cmdline: CLAIM,
                    unified: Some(Unified { profile: "vfio_early=off", typed: "@1", ..SIGNED }),
                    overlay: ASK,
                    claimed: false,
                    ends: Some(0),
                    says: &["vfio_early=off"],
                    ..STEP
                },
                // And one that does not.
                Step {
                    cmdline: CLAIM,
                    unified: Some(Unified { typed: "vfio_early=off", ..SIGNED }),
                    overlay: ASK,
                    told: &[("cmdline", "vfio_early.claim=01:00.0")],
                    ..STEP
                },
                Step {
                    cmdline: CLAIM,
                    unified: Some(Unified { unsigned: "uki", refused: "Access Denied", ..SIGNED }),
                    ..STEP
                },
            ]),
            slow: true,
            ..usual()
        },
        Case {
            name: "secure-trial",
            about: "Secure Boot and a kernel that is locked down: a trial that nobody confirms",
            suite: Suite::Trixie,
            contents: Contents {
                files: &[(CONF, "set trial yes\nclaim 01:00.0 id=1234:1111\n")],
                ..Contents::default()
            },
            expect: Expect::Trial(&[
                Step { unified: Some(SIGNED), ..crate::trial::FIRST },
                Step { unified: Some(SIGNED), ..crate::trial::BLOCKED },
            ]),
            slow: true,
            ..usual()
        },
    ]
}
