// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which processes hold devices open for a guest: those with a file below /dev/vfio.

use std::fmt;

use crate::machine::{self, Machine};
use crate::pci::Address;

use super::PCI;

/// A process that has a file below /dev/vfio open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its number.
    pub process: u32,
    /// What it calls itself.
    pub name: String,
    /// The file, without /dev/vfio/: `12` is group 12, `noiommu-12` the same without an IOMMU, `devices/vfio0` a device.
    pub file: String,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} ({})", self.process, self.name)
    }
}

/// Every holder that was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holders {
    /// Those that were seen.
    pub seen: Vec<Holder>,
    /// There may be more: the files of other people's processes are root's to see.
    pub hidden: bool,
}

impl Holders {
    /// Looks at the open files of every process (proc_pid_fd(5)).
    pub fn read(machine: &dyn Machine) -> Self {
        let mut holders = Self::default();
        for process in machine.list("/proc").unwrap_or_default().iter().filter_map(|name| name.parse::<u32>().ok()) {
            let directory = format!("/proc/{process}/fd");
            let files = match machine.list(&directory) {
                Ok(files) => files,
                Err(error) => {
                    // One that has just ended holds nothing.
                    holders.hidden |= error.is_denied();
                    continue;
                }
            };
            let first = holders.seen.len();
            for number in files {
                let Ok(target) = machine.link(&format!("{directory}/{number}")) else { continue };
                let Some(file) = target.strip_prefix("/dev/vfio/").filter(|file| *file != "vfio") else { continue };
                if !holders.seen.iter().skip(first).any(|known| known.file == file) {
                    let name = machine::text(machine, &format!("/proc/{process}/comm")).unwrap_or_default();
                    holders.seen.push(Holder { process, name, file: file.to_owned() });
                }
            }
        }
        holders
    }

    /// Those that hold a device which this driver has.
    pub fn of_device(&self, machine: &dyn Machine, address: Address, driver: &str) -> Option<Vec<Holder>> {
        let path = |name: &str| format!("{PCI}/devices/{address}/{name}");
        let group = machine::link_name(machine, &path("iommu_group")).ok().and_then(|name| name.parse().ok());
        let file = machine.list(&path("vfio-dev")).ok().and_then(|names| names.into_iter().next());
        self.of(machine, driver, group, file.as_deref())
    }

    /// Those that hold a device: by its group, or by its own file. `None`: not known.
    pub fn of(
        &self,
        machine: &dyn Machine,
        driver: &str,
        group: Option<u32>,
        file: Option<&str>,
    ) -> Option<Vec<Holder>> {
        let group = group.map(|group| group.to_string());
        let holds = |holder: &&Holder| {
            let name = holder.file.as_str();
            match name.strip_prefix("devices/") {
                Some(device) => file == Some(device),
                None => group.as_deref() == Some(name.strip_prefix("noiommu-").unwrap_or(name)),
            }
        };
        let mut found: Vec<Holder> = self.seen.iter().filter(holds).cloned().collect();
        found.dedup_by_key(|holder| holder.process);
        // An open device counts as one user of its driver's module; that anybody may read.
        let idle =
            || machine::text(machine, &format!("{PCI}/drivers/{driver}/module/refcnt")).is_ok_and(|text| text == "0");
        if found.is_empty() && self.hidden && !idle() { None } else { Some(found) }
    }
}
