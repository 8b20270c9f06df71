// SPDX-License-Identifier: MIT OR Apache-2.0
//! The devices that a proposal is about, and which display the host keeps.

use crate::inventory::{Device, Inventory};
use crate::pci::{Address, Identity};

use super::Host;

/// The displays and accelerators of a machine, and what is claimed by other means (`today`), by address. Virtual functions are
/// claimed by the configuration of who makes them.
pub fn candidates<'a>(inventory: &'a Inventory, today: &[(Address, String)]) -> Vec<&'a Device> {
    let is_candidate = |device: &&Device| {
        let class = device.identity.class;
        let claimed = today.iter().any(|(address, _)| *address == device.address);
        !device.is_virtual() && !class.is_bridge() && (class.is_display() || class.is_accelerator() || claimed)
    };
    inventory.devices.iter().filter(is_candidate).collect()
}

/// The display that the host keeps. `taken`: those that are claimed, or are on a VFIO driver.
pub(super) fn host(inventory: &Inventory, taken: &dyn Fn(&Device) -> bool) -> Host {
    if let Some(host) = inventory.host_display() {
        return Host::Known(host);
    }
    let shown =
        || inventory.devices.iter().filter(|device| device.identity.class.shows_picture() && !device.is_virtual());
    if let Some(management) = shown().find(|device| is_management(&device.identity)) {
        return Host::Kept(management.address, "it belongs to the server's management controller");
    }
    let mut left = shown().filter(|device| !taken(device));
    match (left.next(), left.next()) {
        (None, _) => Host::None,
        (Some(only), None) => Host::Kept(only.address, "it is the only display that nothing claims"),
        (Some(_), Some(_)) => Host::Undecided,
    }
}

/// The display of a server's management controller. Matrox made cards for desktops as well: the servers' G200 have IDs of their
/// own (drivers/gpu/drm/mgag200/mgag200_drv.c, `mgag200_pciidlist`).
pub(super) fn is_management(identity: &Identity) -> bool {
    match identity.vendor {
        // ASPEED makes nothing else.
        0x1a03 => true,
        0x102b => matches!(identity.device, 0x0522 | 0x0524 | 0x0530 | 0x0532..=0x0534 | 0x0536 | 0x0538 | 0x053a),
        // HiSilicon's iBMC.
        0x19e5 => identity.device == 0x1711,
        // XGI Volari Z7, Z9s and Z11.
        0x18ca => matches!(identity.device, 0x0020 | 0x0021 | 0x0027),
        // ATI ES1000.
        0x1002 => matches!(identity.device, 0x515e | 0x5969),
        _ => false,
    }
}

/// NVIDIA's NVSwitch, without which the GPUs of a board do not work together: a bridge of no kind that PCI knows.
pub(super) fn is_nvswitch(identity: &Identity) -> bool {
    identity.vendor == 0x10de && identity.class.with_subclass() == 0x0680
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pci::Class;

    #[test]
    fn management_controllers_are_told_from_cards() {
        let identity =
            |vendor, device| Identity { vendor, device, subvendor: 0, subdevice: 0, class: Class(0x03_0000) };
        for (vendor, device) in
            [(0x1a03, 0x2000), (0x102b, 0x0533), (0x19e5, 0x1711), (0x18ca, 0x0021), (0x1002, 0x515e)]
        {
            assert!(is_management(&identity(vendor, device)), "{vendor:04x}:{device:04x}");
        }
        // G450, G550, G200 as a card; a Radeon.
        for (vendor, device) in
            [(0x102b, 0x0525), (0x102b, 0x2527), (0x102b, 0x0521), (0x1002, 0x67df), (0x19e5, 0xa221)]
        {
            assert!(!is_management(&identity(vendor, device)), "{vendor:04x}:{device:04x}");
        }
    }
}
