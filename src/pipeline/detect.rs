// SPDX-License-Identifier: MIT OR Apache-2.0
//! Takes the inventory that a proposal needs.

use crate::config::{self, Sources};
use crate::detect::{self, Proposal};
use crate::exit::Failure;
use crate::inventory::{Device, Extent, Inventory};
use crate::machine::{self, Machine};
use crate::pci::{Address, Identity, is_vfio_driver};
use crate::plan;

use super::inventory::survey;
use super::names::names;

/// Proposes a configuration for this machine. `instead`: the configuration file that it will replace.
pub fn detect(machine: &dyn Machine, instead: Option<&str>) -> Result<Proposal, Failure> {
    let mut config = config::load(machine, Sources::All)?.config;
    config.off = false;
    config.claims.retain(|claim| instead != Some(claim.origin.place.as_str()));
    let mut inventory = survey(machine, &config)?;
    let all: Vec<Address> = inventory.devices.iter().map(|device| device.address).collect();
    inventory.read_details(machine, &all, Extent::Full);
    let today = by_other_means(machine, &config, &inventory);
    let identities: Vec<Identity> =
        detect::candidates(&inventory, &today).iter().map(|device| device.identity).collect();
    let names = names(machine, &identities);
    Ok(detect::propose(config, &inventory, &today, names)?)
}

/// The devices that something else than a claim gives to vfio-pci: its own `ids=`, driverctl, or whatever bound them.
fn by_other_means(machine: &dyn Machine, config: &config::Config, inventory: &Inventory) -> Vec<(Address, String)> {
    let driverctl = driverctl(machine);
    let mut found = Vec::new();
    for device in inventory.devices.iter().filter(|device| !device.is_virtual() && !device.identity.class.is_bridge()) {
        let guests = device.driver().is_some_and(|driver| is_vfio_driver(driver) || driver == "pci-stub");
        // What a host driver has is not claimed, whatever the list says.
        if !guests && device.driver().is_some() {
            continue;
        }
        let named = |device: &Device| {
            let mut ids = config.vfio_pci_ids.iter();
            ids.find(|ids| plan::selected(ids, inventory).iter().any(|one| one.address == device.address))
        };
        if let Some(ids) = named(device) {
            found.push((device.address, format!("{} in ids= ({})", ids.selector, ids.origin)));
        } else if let Some((_, file)) = driverctl.iter().find(|(address, _)| *address == device.address) {
            found.push((device.address, format!("driverctl ({file})")));
        } else if guests {
            let driver = device.driver().unwrap_or_default();
            found.push((device.address, format!("it is bound to {driver}")));
        }
    }
    found
}

/// The devices that driverctl gives to a VFIO driver at each boot, with its files: named by bus and address, `pci-0000:01:00.0`,
/// or by the address alone.
fn driverctl(machine: &dyn Machine) -> Vec<(Address, String)> {
    const DIRECTORY: &str = "/etc/driverctl.d";
    let files = machine.list(DIRECTORY).unwrap_or_default().into_iter();
    let claimed = files.filter_map(|name| {
        let address = name.strip_prefix("pci-").unwrap_or(&name).parse().ok()?;
        let path = format!("{DIRECTORY}/{name}");
        is_vfio_driver(&machine::text(machine, &path).ok()?).then_some((address, path))
    });
    claimed.collect()
}
