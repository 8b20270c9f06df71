// SPDX-License-Identifier: MIT OR Apache-2.0
//! Single-root I/O virtualisation: which functions are virtual, and of which physical function
//! (Documentation/ABI/testing/sysfs-bus-pci).

use crate::machine::{self, Machine};
use crate::pci::Address;

use super::{Device, Inventory, PCI};

/// A physical function that can have virtual ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PhysicalFunction {
    /// Where it is.
    pub address: Address,
    /// How many virtual functions it can have.
    pub total: u16,
    /// The distance of its first virtual function, in routing IDs.
    pub offset: u16,
    /// The distance from one virtual function to the next, in routing IDs.
    pub stride: u16,
    /// Whether drivers are probed for its virtual functions as they appear; `None` where the kernel does not say.
    pub autoprobe: Option<bool>,
}

impl PhysicalFunction {
    /// Reads a function; `None` where it can have no virtual functions. Not its sriov_numvfs: that waits for the driver that
    /// makes them (drivers/pci/iov.c, `sriov_numvfs_show`).
    fn read(machine: &dyn Machine, address: Address) -> Option<Self> {
        let word = |name: &str| machine::text(machine, &format!("{PCI}/devices/{address}/{name}")).ok();
        let number = |name: &str| word(name).and_then(|text| text.parse::<u16>().ok());
        Some(Self {
            address,
            total: number("sriov_totalvfs")?,
            offset: number("sriov_offset").unwrap_or(0),
            stride: number("sriov_stride").unwrap_or(0),
            autoprobe: word("sriov_drivers_autoprobe").map(|text| text != "0"),
        })
    }

    /// Whether a virtual function of it is at this address, now or once it is made (PCI Express Base Specification, 9.2.1.2).
    pub fn owns(&self, address: Address) -> bool {
        let routing_id = |address: Address| {
            let place = u32::from(address.device).wrapping_shl(3) | u32::from(address.function);
            u32::from(address.bus).wrapping_shl(8) | place
        };
        let distance = routing_id(address).checked_sub(routing_id(self.address));
        let beyond = distance.and_then(|distance| distance.checked_sub(u32::from(self.offset)));
        let (Some(beyond), true) = (beyond, self.offset > 0 && address.domain == self.address.domain) else {
            return false;
        };
        let number = match u32::from(self.stride) {
            0 => (beyond == 0).then_some(0),
            stride => beyond.checked_rem(stride).filter(|rest| *rest == 0).and(beyond.checked_div(stride)),
        };
        number.is_some_and(|number| number < u32::from(self.total))
    }
}

impl Inventory {
    /// Reads these physical functions, and finds out which of the devices that matter are virtual functions. The link to the
    /// physical function is missing for a moment when a virtual one appears (drivers/pci/iov.c, `pci_iov_add_virtfn`): then
    /// its place tells.
    pub fn read_virtual_functions(
        &mut self,
        machine: &dyn Machine,
        physical: &[Address],
        matters: &dyn Fn(&Device) -> bool,
    ) {
        self.physical_functions =
            physical.iter().filter_map(|address| PhysicalFunction::read(machine, *address)).collect();
        for device in &mut self.devices {
            let owner = self.physical_functions.iter().find(|physical| physical.owns(device.address));
            if owner.is_none() && !matters(device) {
                continue;
            }
            let link = format!("{PCI}/devices/{}/physfn", device.address);
            let linked = machine::link_name(machine, &link).ok().and_then(|name| name.parse().ok());
            device.physical = linked.or_else(|| Some(owner?.address));
        }
    }

    /// The physical function at an address, where [`Inventory::read_virtual_functions`] read it.
    pub fn physical_function(&self, address: Address) -> Option<&PhysicalFunction> {
        self.physical_functions.iter().find(|physical| physical.address == address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn virtual_functions_are_known_by_their_place() {
        let address = |text: &str| text.parse::<Address>().unwrap();
        let igb =
            PhysicalFunction { address: address("01:00.0"), total: 7, offset: 128, stride: 2, autoprobe: Some(true) };
        assert!(igb.owns(address("01:10.0")) && igb.owns(address("01:10.2")) && igb.owns(address("01:11.4")));
        for other in ["01:00.0", "01:10.1", "01:11.6", "02:10.0", "0001:01:10.0", "00:1f.0"] {
            assert!(!igb.owns(address(other)), "{other}");
        }
        let next_bus = PhysicalFunction { offset: 256, stride: 1, ..igb };
        assert!(next_bus.owns(address("02:00.0")) && !next_bus.owns(address("01:00.1")));
        let single = PhysicalFunction { offset: 1, stride: 0, ..igb };
        assert!(single.owns(address("01:00.1")) && !single.owns(address("01:00.2")));
        assert!(!PhysicalFunction { offset: 0, ..igb }.owns(address("01:00.0")));
    }
}
