// SPDX-License-Identifier: MIT OR Apache-2.0
//! `vfio-early groups`: the IOMMU groups, what isolates them, and why their devices are together.

use crate::groups::Group;
use crate::inventory::Inventory;
use crate::machine::Machine;
use crate::pci::Address;

use super::arguments;
use super::output::Output;
use crate::exit::{Exit, Failure};
use crate::layout;

/// Runs the command. The status is [`Exit::NotMet`] if a named device is in no group or in one that is not viable, and
/// [`Exit::Unprotected`] if there are no groups.
pub(super) fn run(machine: &dyn Machine, options: &arguments::Groups, output: &mut Output) -> Result<Exit, Failure> {
    let mut inventory = Inventory::survey(machine, true)?;
    inventory.read_config_spaces(machine, None);
    let examination = inventory.examine(None);

    let selected: Vec<&Group> = examination.groups.iter().filter(|group| group.is_selected(&options.address)).collect();
    let without_group: Vec<&Address> = options
        .address
        .iter()
        .filter(|address| !selected.iter().any(|group| group.devices.contains(address)))
        .collect();
    if options.json {
        output.result(&crate::json::to_string(&selected));
    } else if options.tree {
        output.result(&examination.tree(&options.address));
    } else {
        output.result(&layout::flow(&examination.text(&options.address)));
    }
    for address in &without_group {
        output.warn(&no_group_message(&inventory, **address));
    }
    if inventory.devices.is_empty() {
        output.warn("no PCI devices");
    } else if examination.groups.is_empty() {
        output.warn(if inventory.iommu.units.is_empty() {
            "no IOMMU groups: the IOMMU is off or absent (see vfio-early status)"
        } else {
            "no PCI device has an IOMMU group yet"
        });
        return Ok(Exit::Unprotected);
    }
    let viable = options.address.is_empty() || selected.iter().all(|group| group.viable);
    Ok(if viable && without_group.is_empty() { Exit::Ok } else { Exit::NotMet })
}

fn no_group_message(inventory: &Inventory, address: Address) -> String {
    if inventory.device(address).is_some() {
        format!("{address} is in no IOMMU group")
    } else {
        format!("no device at {address}")
    }
}
