// SPDX-License-Identifier: MIT OR Apache-2.0
//! Processes that have device files open: those below /dev/vfio for a guest, and those of displays, sound, compute devices
//! and disks.

use std::fmt;

use crate::machine::{self, Machine};
use crate::pci::Address;

use super::PCI;
use super::features::device_file;
use super::in_use::{BLOCK, is_device_file};

/// A process that has a device file open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its process ID.
    pub process: u32,
    /// Its name (`comm`).
    pub name: String,
    /// The file below /dev: `dri/card0`, `nvme0n1`; `vfio/12` is group 12, `vfio/noiommu-12` the same without an IOMMU,
    /// `vfio/devices/vfio0` a device.
    pub file: String,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} ({})", self.process, self.name)
    }
}

/// All processes that have device files open that can belong to PCI functions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holders {
    /// The processes that were found.
    pub seen: Vec<Holder>,
    /// Whether there may be more: only root may list the open files of other users' processes.
    pub hidden: bool,
}

impl Holders {
    /// Searches the open files of all processes (proc_pid_fd(5)).
    pub fn read(machine: &dyn Machine) -> Self {
        let mut holders = Self::default();
        let block_devices = machine.list(BLOCK).unwrap_or_default();
        for process in machine.list("/proc").unwrap_or_default().iter().filter_map(|name| name.parse::<u32>().ok()) {
            let directory = format!("/proc/{process}/fd");
            let files = match machine.list(&directory) {
                Ok(files) => files,
                Err(error) => {
                    // A process that has ended meanwhile does not matter.
                    holders.hidden |= error.is_denied();
                    continue;
                }
            };
            let first = holders.seen.len();
            for number in files {
                let Ok(target) = machine.link(&format!("{directory}/{number}")) else { continue };
                let Some(file) = target.strip_prefix("/dev/") else { continue };
                if !is_device_file(file, &block_devices) {
                    continue;
                }
                if !holders.seen.iter().skip(first).any(|known| known.file == file) {
                    let name = machine::text(machine, &format!("/proc/{process}/comm")).unwrap_or_default();
                    holders.seen.push(Holder { process, name, file: file.to_owned() });
                }
            }
        }
        holders
    }

    /// The processes that have a device open which is bound to this driver.
    pub fn of_device(&self, machine: &dyn Machine, address: Address, driver: &str) -> Option<Vec<Holder>> {
        let path = |name: &str| format!("{PCI}/devices/{address}/{name}");
        let group = machine::link_name(machine, &path("iommu_group")).ok().and_then(|name| name.parse().ok());
        let file = device_file(machine, address);
        self.of(machine, driver, group, file.as_deref())
    }

    /// The processes that have a device open, through its group or its own file. `None`: unknown.
    pub fn of(
        &self,
        machine: &dyn Machine,
        driver: &str,
        group: Option<u32>,
        file: Option<&str>,
    ) -> Option<Vec<Holder>> {
        let group = group.map(|group| group.to_string());
        let holds = |holder: &&Holder| {
            let Some(name) = holder.file.strip_prefix("vfio/") else { return false };
            match name.strip_prefix("devices/") {
                Some(device) => file == Some(device),
                None => group.as_deref() == Some(name.strip_prefix("noiommu-").unwrap_or(name)),
            }
        };
        let mut found: Vec<Holder> = self.seen.iter().filter(holds).cloned().collect();
        found.dedup_by_key(|holder| holder.process);
        // Each open device counts as a user of its driver's module, and everyone may read the count.
        let idle =
            || machine::text(machine, &format!("{PCI}/drivers/{driver}/module/refcnt")).is_ok_and(|text| text == "0");
        if found.is_empty() && self.hidden && !idle() { None } else { Some(found) }
    }
}
