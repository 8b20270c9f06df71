// SPDX-License-Identifier: MIT OR Apache-2.0
//! `vfio-early groups`: every IOMMU group, and why it is as big as it is.

use crate::groups::Group;
use crate::inventory::Inventory;
use crate::machine::Machine;
use crate::pci::Address;

use super::output::Output;
use super::{Exit, Failure, arguments, layout};

/// Runs the command. Where addresses are named, a group of theirs that is not viable is what did not hold. Without an IOMMU
/// there are no groups to tell of.
pub(super) fn run(machine: &dyn Machine, options: &arguments::Groups, output: &mut Output) -> Result<Exit, Failure> {
    let mut inventory = Inventory::survey(machine, true)?;
    inventory.read_config_spaces(machine, None);
    let examination = inventory.examine();

    let shown: Vec<&Group> = examination.groups.iter().filter(|group| group.is_selected(&options.address)).collect();
    let lost: Vec<&Address> =
        options.address.iter().filter(|address| !shown.iter().any(|group| group.devices.contains(address))).collect();
    if options.json {
        output.result(&crate::json::to_string(&shown));
    } else if options.tree {
        output.result(&examination.tree(&options.address));
    } else {
        output.result(&layout::flow(&examination.text(&options.address)));
    }
    for address in &lost {
        output.warn(&without_group(&inventory, **address));
    }
    if inventory.devices.is_empty() {
        output.warn("there are no PCI devices");
    } else if examination.groups.is_empty() {
        output.warn("no IOMMU groups: the IOMMU is off or absent (vfio-early status tells which)");
        return Ok(Exit::Unprotected);
    }
    let viable = options.address.is_empty() || shown.iter().all(|group| group.viable);
    Ok(if viable && lost.is_empty() { Exit::Ok } else { Exit::NotHeld })
}

fn without_group(inventory: &Inventory, address: Address) -> String {
    if inventory.device(address).is_some() {
        format!("{address} is in no IOMMU group")
    } else {
        format!("there is no device at {address}")
    }
}
