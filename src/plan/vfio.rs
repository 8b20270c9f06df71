// SPDX-License-Identifier: MIT OR Apache-2.0
//! What VFIO's drivers refuse to bind, so that the host's driver is not taken away for nothing.

use crate::config::Config;
use crate::inventory::{Device, Inventory};
use crate::problem::Code;

use super::{Refusal, same_name};

/// Why the driver of a claim would refuse a function (drivers/vfio/pci, Linux 6.1, 6.12 and 7.2 alike).
pub(super) fn refusal(config: &Config, inventory: &Inventory, device: &Device, target: &str) -> Option<Refusal> {
    let (name, identity) = (device.name(), &device.identity);
    let detail = device.detail.as_ref()?;
    if detail.driver.as_deref().is_some_and(|driver| same_name(driver, target)) {
        return None;
    }
    let lifted = inventory.denylist_disabled.unwrap_or(config.denylist_disabled);
    if !lifted && same_name(target, "vfio-pci") && is_denied(identity.vendor, identity.device) {
        return Some(Refusal::new(
            Code::Denied,
            format!(
                "{name} is on vfio-pci's deny list: its memory accesses cannot be contained, and vfio-pci binds it only \
                 with disable_denylist=1; give a guest its virtual functions with driver=auto, or leave it to the host"
            ),
        ));
    }
    let known = inventory.devices.iter().filter(|other| other.physical == Some(device.address)).count();
    let virtual_functions = detail.virtual_functions.max(known);
    if virtual_functions > 0 {
        return Some(Refusal::new(
            Code::VirtualFunctions,
            format!(
                "{name} has {virtual_functions} virtual functions, and VFIO refuses a physical function with virtual functions: write 0 to \
                 its sriov_numvfs first, or claim the virtual functions with vf:{} instead",
                device.address
            ),
        ));
    }
    let tsm = detail.tsm_bound.as_ref()?;
    Some(Refusal::new(
        Code::Tdisp,
        format!("{name} is bound to {tsm} for a confidential guest (tsm/bound): unbind it there first"),
    ))
}

/// Whether vfio-pci itself refuses a device (drivers/vfio/pci/vfio_pci.c, `vfio_pci_dev_in_denylist`): QuickAssist, DSA, IAA.
fn is_denied(vendor: u16, device: u16) -> bool {
    vendor == 0x8086 && matches!(device, 0x0435 | 0x0443 | 0x19e2 | 0x19e3 | 0x37c8 | 0x37c9 | 0x0b25 | 0x0cfe)
}
