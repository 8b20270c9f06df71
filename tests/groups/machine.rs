// SPDX-License-Identifier: MIT OR Apache-2.0
//! A recorded machine, as the groups room wants it.

use vfio_early::door::{Door, Recorded, link_name, text};
use vfio_early::groups::{Function, Host};
use vfio_early::pci::{Address, Class};

/// All functions of a machine and what else bears on its groups.
pub(crate) struct Machine {
    pub(crate) functions: Vec<Function>,
    pub(crate) types: Vec<(u32, String)>,
    pub(crate) acs_override: bool,
    pub(crate) amd_iommu: bool,
    pub(crate) kernel: Option<(u32, u32)>,
}

impl Machine {
    pub(crate) fn parse(content: &[u8]) -> Self {
        let door = Recorded::parse(content).expect("a recorded machine");
        let devices = "/sys/bus/pci/devices";
        let functions = door.list(devices).unwrap().into_iter().map(|name| {
            let target = door.link(&format!("{devices}/{name}")).unwrap();
            let mut parents: Vec<Address> = target.split('/').filter_map(|part| part.parse().ok()).collect();
            let address = parents.pop().unwrap();
            assert_eq!(address.to_string(), name);
            let base = format!("/sys/{}", target.trim_start_matches("../"));
            let number = |name: &str| {
                let value = text(&door, &format!("{base}/{name}")).unwrap();
                u32::from_str_radix(value.trim_start_matches("0x"), 16).unwrap()
            };
            let id = |name: &str| u16::try_from(number(name)).unwrap();
            Function {
                address,
                parents,
                class: Class(number("class")),
                vendor: id("vendor"),
                device: id("device"),
                config: door.attribute(&format!("{base}/config")).unwrap(),
                driver: link_name(&door, &format!("{base}/driver")).ok(),
                sys_group: link_name(&door, &format!("{base}/iommu_group")).ok().map(|name| name.parse().unwrap()),
            }
        });
        let functions = functions.collect();
        let groups = "/sys/kernel/iommu_groups";
        let names = door.list(groups).unwrap_or_default();
        let domain = |name: &String| Some((name.parse().ok()?, text(&door, &format!("{groups}/{name}/type")).ok()?));
        let release = text(&door, "/proc/sys/kernel/osrelease").unwrap_or_default();
        let mut numbers = release.split(['.', '-']).map(str::parse);
        Self {
            functions,
            types: names.iter().filter_map(domain).collect(),
            acs_override: text(&door, "/proc/cmdline").is_ok_and(|line| line.contains("pcie_acs_override=")),
            amd_iommu: door.attribute("/sys/firmware/acpi/tables/IVRS").is_ok(),
            kernel: match (numbers.next(), numbers.next()) {
                (Some(Ok(major)), Some(Ok(minor))) => Some((major, minor)),
                _ => None,
            },
        }
    }

    pub(crate) fn host(&self) -> Host<'_> {
        Host { acs_override: self.acs_override, amd_iommu: self.amd_iommu, kernel: self.kernel, types: &self.types }
    }
}
