// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a guest needs for devices: its cards, and the processors and the memory near them.

mod libvirt;

use crate::exit::{Exit, Failure};
use crate::inventory::{Device, Inventory, Processor};
use crate::pci::Address;
use crate::plan::{Iommu, is_vfio_driver};

pub use libvirt::libvirt;

/// What a guest needs.
#[derive(Clone, Debug)]
pub struct Guest {
    /// The functions of each card; a card is one slot in the guest.
    pub cards: Vec<Vec<Function>>,
    /// The NUMA node near them.
    pub node: Option<u16>,
    /// The cores of that node, or of the machine: the numbers of each core's threads.
    pub cores: Vec<Vec<u16>>,
    /// Who made the processor.
    pub processor: Processor,
    /// Whether the IOMMU protects the host; no guest gets a device unless it does.
    pub iommu: Iommu,
}

/// A function of a card.
#[derive(Clone, Debug)]
pub struct Function {
    /// Where it is.
    pub address: Address,
    /// The driver that it is bound to.
    pub driver: Option<String>,
    /// The file with its saved option ROM.
    pub rom: Option<String>,
}

impl Guest {
    /// The functions that are not on a driver for guests, each as a sentence.
    pub fn unclaimed(&self) -> Vec<String> {
        let functions = self.cards.iter().flatten();
        let unclaimed = functions.filter(|function| !function.driver.as_deref().is_some_and(is_vfio_driver));
        let sentence = |function: &Function| {
            let driver = function.driver.as_deref().unwrap_or("no driver");
            format!("{} is bound to {driver}: claim it before the guest starts", function.address)
        };
        unclaimed.map(sentence).collect()
    }
}

/// Describes a guest for the cards of these functions; saved option ROMs and cores are still to be added.
pub fn describe(inventory: &Inventory, addresses: &[Address]) -> Result<Guest, Failure> {
    let mut guest = Guest {
        cards: Vec::new(),
        node: None,
        cores: Vec::new(),
        processor: inventory.iommu.processor,
        iommu: Iommu::of(inventory),
    };
    for address in addresses.iter().copied() {
        let Some(device) = inventory.device(address).filter(|device| !device.identity.class.is_bridge()) else {
            let message = format!("no device at {address} can be given to a guest");
            return Err(Failure::Message(Exit::NotMet, message));
        };
        if guest.cards.iter().flatten().any(|function| function.address == address) {
            continue;
        }
        guest.cards.push(card(inventory, device));
        guest.node = guest.node.or(device.detail.as_ref().and_then(|detail| detail.numa_node));
    }
    Ok(guest)
}

/// The functions of a device's card.
fn card(inventory: &Inventory, device: &Device) -> Vec<Function> {
    let function = |device: &Device| Function {
        address: device.address,
        driver: device.driver().map(ToOwned::to_owned),
        rom: None,
    };
    inventory.card(device).functions.into_iter().map(function).collect()
}
