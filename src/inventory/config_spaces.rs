// SPDX-License-Identifier: MIT OR Apache-2.0
//! Configuration spaces: the functions of the inventory as input of the examination of IOMMU groups.

use crate::config::words;
use crate::groups::{self, Examination, Function, Host};
use crate::machine::{self, Machine};
use crate::pci::{Address, Slot};

use super::{FirmwareTable, Inventory, PCI, device, ivrs};

/// The maximum size of a firmware table in bytes.
pub(super) const MAX_TABLE: usize = 64 * 1024;

const GROUPS: &str = "/sys/kernel/iommu_groups";

impl Inventory {
    /// Fills in `functions` and `group_types`. Reads the configuration spaces of all functions, or only of those in `slots`
    /// and of all bridges, on which their isolation depends: a configuration space is read in many small accesses to the
    /// hardware. With `slots`, the drivers of other functions are not read either.
    pub fn read_config_spaces(&mut self, machine: &dyn Machine, slots: Option<&[Slot]>) {
        let bridges: Vec<Slot> = self
            .devices
            .iter()
            .filter(|device| device.identity.class.is_pci_bridge())
            .map(|device| device.address.slot())
            .collect();
        let readable = |address: Address| {
            slots.is_none_or(|slots| slots.contains(&address.slot()) || bridges.contains(&address.slot()))
        };
        self.functions = self.read_functions(machine, &readable, slots.is_none());
        self.group_types = match slots {
            None => group_types(machine),
            Some(_) => self.groups.iter().filter_map(|group| Some((group.id, group.kind.clone()?))).collect(),
        };
    }

    fn read_functions(
        &self,
        machine: &dyn Machine,
        readable: &dyn Fn(Address) -> bool,
        drivers: bool,
    ) -> Vec<Function> {
        // An IVRS table names further requester IDs that functions use.
        let ivrs = if self.iommu.firmware == Some(FirmwareTable::Ivrs) {
            ivrs::aliases(&machine.read("/sys/firmware/acpi/tables/IVRS", MAX_TABLE).unwrap_or_default())
        } else {
            Vec::new()
        };
        let functions = self.devices.iter().map(|device| {
            let address = device.address;
            let path = |name: &str| format!("{PCI}/devices/{address}/{name}");
            let mut parents = match device.chain.as_slice() {
                [] => device::chain(machine, address),
                known => known.to_vec(),
            };
            parents.retain(|parent| *parent != address);
            let config = if readable(address) { machine.attribute(&path("config")) } else { Ok(Vec::new()) };
            let (driver, sys_group) = match &device.detail {
                Some(detail) => (detail.driver.clone(), detail.group),
                None => (
                    if drivers { device::driver(machine, address).unwrap_or_default() } else { None },
                    machine::link_name(machine, &path("iommu_group")).ok().and_then(|name| name.parse().ok()),
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
                ivrs_alias: ivrs::alias_of(&ivrs, address),
            }
        });
        functions.collect()
    }

    /// Examines the groups of the functions that [`Inventory::read_config_spaces`] read. `wanted`: only those of these functions
    /// (sorted).
    pub fn examine(&self, wanted: Option<&[Address]>) -> Examination<'_> {
        groups::examine(
            &self.functions,
            &Host {
                acs_override: self.acs_override(),
                amd_iommu: self.iommu.firmware == Some(FirmwareTable::Ivrs),
                kernel: self.kernel_version(),
                group_types: &self.group_types,
                wanted,
            },
        )
    }

    /// Whether `pcie_acs_override=` is on the kernel command line. With this parameter, from a patch that many distributions
    /// apply, the kernel treats devices as isolated that are not.
    pub fn acs_override(&self) -> bool {
        words(&self.command_line).any(|(name, _)| name == "pcie_acs_override")
    }

    /// The version of the running kernel, major and minor.
    pub fn kernel_version(&self) -> Option<(u32, u32)> {
        let mut numbers = self.kernel.split(|letter: char| !letter.is_ascii_digit());
        Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
    }
}

/// The number and `type` of each group.
fn group_types(machine: &dyn Machine) -> Vec<(u32, String)> {
    let names = machine.list(GROUPS).unwrap_or_default().into_iter();
    names
        .filter_map(|name| Some((name.parse().ok()?, machine::text(machine, &format!("{GROUPS}/{name}/type")).ok()?)))
        .collect()
}
