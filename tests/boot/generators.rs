// SPDX-License-Identifier: MIT OR Apache-2.0
//! The cases of the other generators of images, of what is broken in an image, and of devices that appear later.

use crate::cases::{CONF, Case, Expect, Expected, GPU, usual};
use crate::lab::{Contents, Generator, Suite};
use crate::machine::Machine;

const GPU_BY_ID: (&str, &str) = (CONF, "claim 01:00.0 id=1234:1111\n");
const NO_FAULT: Expected = Expected {
    claimed: &[],
    detached: &[],
    later: &[],
    plugged: &[],
    gone: &[],
    virtual_functions: &[],
    given_back: &[],
    regrouped: false,
    status: 0,
    says: &[],
    told: &[],
    sums: &[],
};

/// Loaded before everything else: without systemd as rd.driver.pre= in dracut's hook cmdline/01.
const FORCED: (&str, &str) = ("etc/dracut.conf.d/force.conf", "force_drivers+=\" bochs xhci_pci \"\n");

/// dracut and mkinitcpio.
pub fn generators() -> Vec<Case> {
    let gpu = || Expect::Boot(Expected { claimed: GPU, ..NO_FAULT });
    vec![
        Case {
            name: "dracut",
            about: "dracut without systemd, the graphics card's drivers forced",
            contents: Contents { generator: Generator::Dracut, files: &[GPU_BY_ID, FORCED], ..Contents::default() },
            expect: gpu(),
            ..usual()
        },
        Case {
            name: "trixie-dracut",
            about: "dracut on Debian 13, on the kernel command line alone as image-based systems do",
            suite: Suite::Trixie,
            contents: Contents {
                generator: Generator::Dracut,
                files: &[(
                    "etc/dracut.conf.d/force.conf",
                    "add_dracutmodules+=\" vfio-early \"\nforce_drivers+=\" bochs xhci_pci \"\n",
                )],
                ..Contents::default()
            },
            cmdline: "vfio_early.claim=01:00.0,id=1234:1111,driver=vfio-pci",
            overlay: &[("lab/more", "ask files ls -d /etc/vfio-early.conf /etc/vfio-early.d /usr/lib/vfio-early.d\n")],
            expect: Expect::Boot(Expected {
                claimed: GPU,
                told: &[
                    ("files", "'/etc/vfio-early.conf': No such file"),
                    ("files", "'/etc/vfio-early.d': No such file"),
                    ("files", "'/usr/lib/vfio-early.d': No such file"),
                ],
                ..NO_FAULT
            }),
            ..usual()
        },
        Case {
            name: "dracut-systemd",
            about: "dracut with systemd, the graphics card's drivers forced and in modules-load.d",
            suite: Suite::Bookworm,
            contents: Contents {
                generator: Generator::DracutSystemd,
                files: &[GPU_BY_ID, FORCED, ("usr/lib/modules-load.d/lab.conf", "bochs\nxhci_pci\n")],
                ..Contents::default()
            },
            expect: gpu(),
            ..usual()
        },
        Case {
            name: "trixie-disk",
            about: "dracut with systemd, on to a root on one of two NVMe disks alike, hot plug and virtual functions",
            suite: Suite::Trixie,
            machine: Machine::Disk,
            contents: Contents {
                generator: Generator::DracutSystemd,
                files: &[(
                    CONF,
                    "claim 01:00.0 id=1234:1111\nclaim 06:00.0 id=1b36:0010\nclaim 04:00.0\nclaim 07:00.1 id=1b36:0010\n",
                )],
                ..Contents::default()
            },
            expect: Expect::Boot(Expected {
                claimed: &["0000:01:00.0", "0000:01:00.1", "0000:01:00.2", "0000:06:00.0"],
                later: &["0000:04:00.0", "0000:07:00.1"],
                told: &[
                    ("stage", "root"),
                    ("status", "all 6 claimed devices are ready"),
                    ("status", "initramfs stage"),
                    ("status", "udev stage"),
                    ("status-exit", "0"),
                ],
                ..NO_FAULT
            }),
            ..usual()
        },
        Case {
            name: "dracut-broken",
            about: "dracut makes no image for a broken configuration",
            contents: Contents {
                generator: Generator::Dracut,
                files: &[(CONF, "claim 01:00.0\nclaim nonsense\n")],
                ..Contents::default()
            },
            expect: Expect::NoImage("/etc/vfio-early.conf:2"),
            ..usual()
        },
        Case {
            name: "dracut-late",
            about: "a claim after udev must be noticed, however well it ends",
            contents: Contents { generator: Generator::Dracut, files: &[GPU_BY_ID], ..Contents::default() },
            overlay: LATE,
            expect: Expect::Late(GPU),
            ..usual()
        },
        Case {
            name: "mkinitcpio",
            about: "mkinitcpio with busybox, the graphics card's drivers among its MODULES",
            suite: Suite::Trixie,
            contents: Contents { generator: Generator::Mkinitcpio, files: &[GPU_BY_ID], ..Contents::default() },
            expect: gpu(),
            ..usual()
        },
        Case {
            name: "mkinitcpio-systemd",
            about: "mkinitcpio with systemd, the graphics card's drivers among its MODULES",
            suite: Suite::Trixie,
            contents: Contents { generator: Generator::MkinitcpioSystemd, files: &[GPU_BY_ID], ..Contents::default() },
            expect: gpu(),
            ..usual()
        },
        Case {
            name: "mkinitcpio-broken",
            about: "mkinitcpio makes no image for a broken configuration",
            suite: Suite::Trixie,
            contents: Contents {
                generator: Generator::Mkinitcpio,
                files: &[(CONF, "claim 01:00.0\nclaim nonsense\n")],
                ..Contents::default()
            },
            expect: Expect::NoImage("/etc/vfio-early.conf:2"),
            ..usual()
        },
    ]
}

/// Hides the program from the image's own hook; the evidence runs it later.
const LATE: &[(&str, &str)] = &[
    ("lab/before", "mv /usr/bin/vfio-early /usr/bin/hidden\n"),
    ("lab/after", "mv /usr/bin/hidden /usr/bin/vfio-early\n"),
    ("lab/late", ""),
];

/// What is broken around the claim; every boot must reach its end.
pub fn faults() -> Vec<Case> {
    let gpu = "claim 01:00.0\n";
    vec![
        Case {
            name: "late",
            about: "a claim after udev must be noticed, however well it ends",
            configuration: gpu,
            overlay: LATE,
            expect: Expect::Late(GPU),
            ..usual()
        },
        Case {
            name: "no-modprobe",
            about: "modprobe is missing: the host's drivers get the devices back",
            configuration: gpu,
            overlay: &[
                ("lab/before", "mv /sbin/modprobe /sbin/hidden; mv /usr/bin/modprobe /usr/bin/hidden 2>/dev/null\n"),
                ("lab/after", "mv /sbin/hidden /sbin/modprobe; mv /usr/bin/hidden /usr/bin/modprobe 2>/dev/null\n"),
            ],
            expect: Expect::Boot(Expected { given_back: GPU, status: 1, says: &["modprobe not found"], ..NO_FAULT }),
            ..usual()
        },
        Case {
            name: "read-only-run",
            about: "/run is read-only: the devices are claimed all the same",
            configuration: gpu,
            overlay: &[("lab/before", "mount -o remount,ro /run\n"), ("lab/after", "mount -o remount,rw /run\n")],
            expect: Expect::Boot(Expected { claimed: GPU, status: 4, says: &["/run/vfio-early"], ..NO_FAULT }),
            ..usual()
        },
        Case {
            name: "no-pci",
            about: "there is no /sys/bus/pci: nothing happens, and it is said",
            configuration: gpu,
            overlay: &[("lab/before", "mount -t tmpfs none /sys/bus\n"), ("lab/after", "umount /sys/bus\n")],
            expect: Expect::Boot(Expected { status: 1, says: &["no device at 0000:01:00.0"], ..NO_FAULT }),
            ..usual()
        },
        Case {
            name: "absent",
            about: "one claimed device is not there: the other one is claimed",
            configuration: "claim 0000:09:00.0 id=10de:1e04\nclaim 03:00.0\n",
            expect: Expect::Boot(Expected {
                claimed: &["0000:03:00.0"],
                status: 1,
                says: &["0000:09:00.0"],
                ..NO_FAULT
            }),
            ..usual()
        },
        Case {
            name: "modules-list",
            about: "the graphics card's drivers are in the image's list of modules",
            contents: Contents {
                files: &[GPU_BY_ID, ("lab/initramfs-tools/modules", "bochs\nxhci_pci\nsnd_hda_intel\n")],
                ..Contents::default()
            },
            expect: Expect::Boot(Expected { claimed: GPU, ..NO_FAULT }),
            ..usual()
        },
        Case {
            name: "killed",
            about: "SIGKILL between two steps, then a second run",
            configuration: gpu,
            // The program loads the module when the overrides are set and nothing is bound yet.
            overlay: &[(
                "lab/before",
                "modprobe=$(command -v modprobe)\n\
                 mv $modprobe /lab/real\n\
                 printf '#!/bin/sh\\necho lab: killing $PPID >/dev/kmsg\\nkill -9 $PPID\\n' >$modprobe\n\
                 chmod +x $modprobe\n\
                 vfio-early claim\n\
                 echo \"lab: killed: $?\" >/dev/kmsg\n\
                 mv /lab/real $modprobe\n",
            )],
            expect: Expect::Boot(Expected { claimed: GPU, told: &[("log", "lab: killed: 137")], ..NO_FAULT }),
            ..usual()
        },
    ]
}
