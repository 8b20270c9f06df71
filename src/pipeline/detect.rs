// SPDX-License-Identifier: MIT OR Apache-2.0
//! Takes the inventory that a proposal needs.

use crate::config::{self, Sources};
use crate::detect::{self, Proposal};
use crate::exit::Failure;
use crate::machine::Machine;
use crate::pci::{Identity, Slot};
use crate::plan;

use super::inventory::survey;
use super::names::names;

/// Proposes a configuration for this machine.
pub fn detect(machine: &dyn Machine) -> Result<Proposal, Failure> {
    let mut config = config::load(machine, Sources::All)?.config;
    config.off = false;
    let mut inventory = survey(machine, &config)?;
    let mut devices = plan::devices_of_interest(&config, &inventory);
    // What shares a slot with a display may go along with it.
    let slots: Vec<Slot> = detect::displays(&inventory).map(|device| device.address.slot()).collect();
    let addresses = inventory.devices.iter().map(|device| device.address);
    devices.extend(addresses.filter(|address| slots.contains(&address.slot())));
    inventory.read_details(machine, &devices);
    let displays: Vec<Identity> = detect::displays(&inventory).map(|device| device.identity).collect();
    let names = names(machine, &displays);
    Ok(detect::propose(config, &inventory, names)?)
}
