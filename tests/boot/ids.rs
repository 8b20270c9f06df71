// SPDX-License-Identifier: MIT OR Apache-2.0
//! Cases with `vfio-pci.ids=` on the kernel command line: the module takes every unbound device of these IDs when it loads,
//! unless it is told otherwise. The boots without the program show that.

use crate::cases::{CONF, Case, Expect, Expected, usual};
use crate::lab::Contents;
use crate::machine::Machine;

const NVME: &str = "vfio-pci.ids=1b36:0010 rootdelay=10";
const NVME_OFF: &str = "vfio_early=off vfio-pci.ids=1b36:0010 rootdelay=10";
const NIC: &str = "0000:03:00.0";

/// What images and scripts without this program do.
const PLAIN: &[(&str, &str)] = &[("lab/before", "modprobe vfio-pci\n")];

pub fn cases() -> Vec<Case> {
    vec![
        Case {
            name: "ids-root",
            about: "ids= of the NVMe that the root lies on, not adopted, and another claim",
            machine: Machine::Root,
            contents: Contents { files: &[(CONF, "set adopt-ids no\nclaim 03:00.0\n")], ..Contents::default() },
            cmdline: NVME,
            expect: Expect::Boot(Expected { claimed: &[NIC], told: &[("stage", "root")], ..Expected::default() }),
            ..usual()
        },
        Case {
            name: "ids-root-guarded",
            about: "ids= of the NVMe that the root lies on, adopted and refused, and another claim",
            machine: Machine::Root,
            contents: Contents { files: &[(CONF, "claim 03:00.0\n")], ..Contents::default() },
            cmdline: NVME,
            expect: Expect::Boot(Expected {
                claimed: &[NIC],
                status: 1,
                says: &["0000:04:00.0", "storage"],
                told: &[("stage", "root")],
                ..Expected::default()
            }),
            ..usual()
        },
        Case {
            name: "ids-root-plain",
            about: "ids= of the NVMe that the root lies on, without the program: no root",
            machine: Machine::Root,
            cmdline: NVME_OFF,
            overlay: PLAIN,
            expect: Expect::Stuck("Gave up waiting for root"),
            ..usual()
        },
        Case {
            name: "ids-twins",
            about: "ids= of two network cards, not adopted, one of them claimed",
            configuration: "set adopt-ids no\nclaim 03:00.0\n",
            cmdline: "vfio-pci.ids=8086:10d3",
            expect: Expect::Boot(Expected { claimed: &[NIC], ..Expected::default() }),
            ..usual()
        },
        Case {
            name: "ids-twins-plain",
            about: "ids= of two network cards, without the program: both are taken",
            cmdline: "vfio_early=off vfio-pci.ids=8086:10d3",
            overlay: PLAIN,
            expect: Expect::Taken(&["0000:02:00.0", NIC]),
            ..usual()
        },
    ]
}
