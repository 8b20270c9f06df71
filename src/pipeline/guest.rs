// SPDX-License-Identifier: MIT OR Apache-2.0
//! Takes the inventory that the description of a guest needs.

use crate::exit::Failure;
use crate::guest::{self, Guest};
use crate::inventory::{self, Inventory};
use crate::machine::Machine;
use crate::pci::Address;

/// What a guest needs for the cards of these functions.
pub fn guest(machine: &dyn Machine, addresses: &[Address]) -> Result<Guest, Failure> {
    let mut inventory = Inventory::survey(machine, false)?;
    let near = inventory.near(addresses);
    inventory.read_details(machine, &near);
    let mut guest = guest::describe(&inventory, addresses)?;
    for function in guest.cards.iter_mut().flatten() {
        let path = inventory::rom_path(function.address);
        // A guest must not start from what somebody else put there.
        let is_there = machine.untrusted(&path).is_none() && machine.attribute(&path).is_ok();
        function.rom = is_there.then_some(path);
    }
    guest.cores = inventory::cores_of_node(machine, guest.node);
    Ok(guest)
}
