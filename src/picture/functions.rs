// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every function with its configuration space, as the examination of IOMMU groups wants them.

use crate::door::{self, Door};
use crate::groups::Function;
use crate::pci::Address;

use super::{PCI, Picture, device};

impl Picture {
    /// Every function of the machine. Configuration space is read of those that `readable` names: on the hardware each of
    /// its 4096 bytes is an access of its own.
    pub fn functions(&self, door: &dyn Door, readable: &dyn Fn(Address, &[Address]) -> bool) -> Vec<Function> {
        let functions = self.devices.iter().map(|device| {
            let address = device.address;
            let path = |name: &str| format!("{PCI}/devices/{address}/{name}");
            let mut parents = match device.chain.as_slice() {
                [] => device::chain(door, address),
                known => known.to_vec(),
            };
            parents.retain(|parent| *parent != address);
            let config = if readable(address, &parents) { door.attribute(&path("config")) } else { Ok(Vec::new()) };
            let (driver, sys_group) = match &device.detail {
                Some(detail) => (detail.driver.clone(), detail.group),
                None => (
                    device::driver(door, address).unwrap_or_default(),
                    door::link_name(door, &path("iommu_group")).ok().and_then(|name| name.parse().ok()),
                ),
            };
            Function {
                address,
                parents,
                class: device.identity.class,
                vendor: device.identity.vendor,
                device: device.identity.device,
                config: config.unwrap_or_default(),
                driver,
                sys_group,
            }
        });
        functions.collect()
    }

    /// The number and the type of each group.
    pub fn group_types(&self, door: &dyn Door, functions: &[Function]) -> Vec<(u32, String)> {
        let mut ids: Vec<u32> = functions.iter().filter_map(|function| function.sys_group).collect();
        ids.sort_unstable();
        ids.dedup();
        let types = ids
            .into_iter()
            .filter_map(|id| Some((id, door::text(door, &format!("/sys/kernel/iommu_groups/{id}/type")).ok()?)));
        types.collect()
    }

    /// The running kernel's version, major and minor.
    pub fn kernel_version(&self) -> Option<(u32, u32)> {
        let mut numbers = self.kernel.split(|letter: char| !letter.is_ascii_digit());
        Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
    }
}
