// SPDX-License-Identifier: MIT OR Apache-2.0
//! Before Linux 6.15, a device behind an SMMU or a virtio-iommu is in no IOMMU group until a driver is tried on it
//! (drivers/pci/pci-driver.c, `pci_dma_configure`). Seen with arm64 (the boot case `arm`).

use std::time::Instant;

use vfio_early::config::{self, Sources};
use vfio_early::exit::Exit;
use vfio_early::machine::{Machine, Node};
use vfio_early::pipeline::{Run, claim};

use super::machines::desktop_with;
use crate::simulated::{SimulatedMachine, Version};

const NET: &str = "0000:04:00.0";
const GROUP: &str = "/sys/bus/pci/devices/0000:04:00.0/iommu_group";

/// A virtio-iommu, and a network card without a group. `later`: the group that it will be in.
fn machine(version: Version, later: Option<u32>) -> SimulatedMachine {
    let machine = desktop_with(version, "claim 04:00.0\n").start();
    machine.change(|state| {
        for path in ["/sys/class/iommu/dmar0", "/sys/firmware/acpi/tables/DMAR"] {
            state.tree.remove(path);
        }
        state.tree.put("/sys/class/iommu/0000:00:05.0", Node::Directory);
        state.tree.put("/sys/firmware/acpi/tables/VIOT", Node::File(b"VIOT".to_vec()));
        state.join_group(NET, None);
        state.late_groups.extend(later.map(|group| (NET.to_owned(), group)));
    });
    machine
}

fn run(machine: &SimulatedMachine) -> Run {
    let config = config::load(machine, Sources::AtBoot).unwrap().config;
    claim(machine, &config, &[NET.parse().unwrap()], false, Instant::now()).unwrap()
}

#[test]
fn a_device_is_claimed_and_gets_its_group() {
    let machine = machine(Version::V6_12, Some(77));
    let run = run(&machine);
    assert_eq!((run.exit, machine.driver(NET).as_deref()), (Exit::Ok, Some("vfio-pci")), "{:?}", run.report.steps);
    assert!(machine.link(GROUP).unwrap().ends_with("/77"));
}

#[test]
fn a_device_that_gets_no_group_is_given_back_with_what_to_do() {
    let machine = machine(Version::V6_12, None);
    let run = run(&machine);
    assert_eq!((run.exit, machine.driver(NET), machine.driver_override(NET)), (Exit::NotMet, None, None));
    let reason = run.report.claims[0].reason.clone().unwrap();
    assert!(reason.contains("; if the device still is in no IOMMU group: "), "{reason}");
}

#[test]
fn a_newer_kernel_has_told_all_groups_before() {
    let machine = machine(Version::V7_2, None);
    let run = run(&machine);
    assert_eq!(run.exit, Exit::NotMet);
    assert!(
        run.report.claims[0].reason.as_ref().unwrap().contains("is in no IOMMU group: "),
        "{:?}",
        run.report.claims
    );
    assert!(run.report.steps.is_empty(), "{:?}", run.report.steps);
}
