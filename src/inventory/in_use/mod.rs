// SPDX-License-Identifier: MIT OR Apache-2.0
//! PCI functions that the running system uses: those below mounted file systems, swap, active volumes and the network
//! interface with the default route.
//!
//! The search starts from these uses and goes down to the PCI functions, so unused devices cost nothing. In an initramfs
//! nothing is in use, and no search is made.

mod tables;

use crate::machine::{self, Machine};
use crate::pci::Address;

use super::PCI;

pub use tables::Mount;
pub(super) use tables::mounts;
use tables::{default_routes, swaps};

/// A use of a PCI function by the running system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Use {
    /// The function, or a bridge above it.
    pub device: Address,
    /// What it is used for: `mounted at / (through vg0-root, nvme0n1p2)`.
    pub description: String,
}

/// Block devices by their kernel names: `sda1`, `dm-0`, `nvme0n1`.
const BLOCK: &str = "/sys/class/block";

/// The maximum number of stacked devices. The kernel itself allows fewer.
const MAX_LAYERS: usize = 32;

/// The maximum size of a table of /proc, in bytes.
pub(super) const MAX_TABLE: usize = 1024 * 1024;

/// All uses of PCI functions by the running system.
pub(super) fn read(machine: &dyn Machine, mounts: &[Mount]) -> Vec<Use> {
    let block_devices = machine.list(BLOCK).unwrap_or_default();
    let mut finder = UseFinder { machine, block_devices, visited: Vec::new(), visited_before: 0, found: Vec::new() };
    finder.find_mounts(mounts);
    let table = |path: &str| machine.read_prefix(path, MAX_TABLE).unwrap_or_default();
    for path in swaps(&table("/proc/swaps")) {
        // Swap files have no block device of their own; their file system is mounted.
        if let Some(name) = finder.block_device(&path) {
            finder.find_below_block_device("swap", &name);
        }
    }
    finder.find_volumes();
    for interface in default_routes(&table("/proc/net/route"), &table("/proc/net/ipv6_route")) {
        finder.visited_before = finder.visited.len();
        finder.visit_interface(&interface, &mut Vec::new());
    }
    finder.found
}

/// Follows stacked devices down to PCI functions.
struct UseFinder<'a> {
    machine: &'a dyn Machine,
    /// The names of all block devices.
    block_devices: Vec<String>,
    /// The block devices and interfaces visited so far, by all searches.
    visited: Vec<String>,
    /// The length of `visited` when the current search began.
    visited_before: usize,
    found: Vec<Use>,
}

impl UseFinder<'_> {
    fn text(&self, path: &str) -> Option<String> {
        machine::text(self.machine, path).ok()
    }

    fn list(&self, path: &str) -> Vec<String> {
        self.machine.list(path).unwrap_or_default()
    }

    fn find_mounts(&mut self, mounts: &[Mount]) {
        for (index, mount) in mounts.iter().enumerate() {
            let purpose = format!("mounted at {}", mount.mount_point);
            if mounts.iter().take(index).any(|other| other.storage() == mount.storage()) {
                continue;
            }
            if mount.has_block_device() {
                if let Ok(name) = machine::link_name(self.machine, &format!("/sys/dev/block/{}", mount.device_number)) {
                    self.find_below_block_device(&purpose, &name);
                }
            } else if mount.fs_type == "zfs" {
                self.find_pool(&purpose, mount.storage());
            } else if mount.fs_type != "btrfs" {
                // bcachefs joins its devices with colons.
                for name in mount.source.split(':').filter_map(|path| self.block_device(path)).collect::<Vec<_>>() {
                    self.find_below_block_device(&purpose, &name);
                }
            }
        }
        // The source of a btrfs mount is only one of the file system's devices.
        for id in self.list("/sys/fs/btrfs") {
            let devices = self.list(&format!("/sys/fs/btrfs/{id}/devices"));
            let is_mount = |mount: &&Mount| {
                mount.fs_type == "btrfs" && self.block_device(&mount.source).is_some_and(|name| devices.contains(&name))
            };
            let purpose = match mounts.iter().find(is_mount) {
                Some(mount) => format!("mounted at {}", mount.mount_point),
                None => "a mounted btrfs".to_owned(),
            };
            for name in &devices {
                self.find_below_block_device(&purpose, name);
            }
        }
    }

    /// The members of a ZFS pool. The kernel does not list them, but udev has read their labels.
    fn find_pool(&mut self, purpose: &str, pool: &str) {
        for name in self.block_devices.clone() {
            let number = self.text(&format!("{BLOCK}/{name}/dev")).unwrap_or_default();
            let properties =
                self.machine.read_prefix(&format!("/run/udev/data/b{number}"), MAX_TABLE).unwrap_or_default();
            let properties = String::from_utf8_lossy(&properties);
            let has = |key: &str, value: &str| {
                properties.lines().any(|line| line.strip_prefix(key).is_some_and(|found| found == value))
            };
            if has("E:ID_FS_TYPE=", "zfs_member") && has("E:ID_FS_LABEL=", pool) {
                self.find_below_block_device(purpose, &name);
            }
        }
    }

    /// Active volumes without a known user. They keep their disks open nevertheless.
    fn find_volumes(&mut self) {
        for name in self.block_devices.clone() {
            let is_top = || self.list(&format!("{BLOCK}/{name}/holders")).is_empty();
            let is_volume = ["dm-", "md", "bcache"].iter().any(|kind| name.starts_with(kind));
            if is_volume && !self.visited.contains(&name) && is_top() {
                self.find_below_block_device("an active volume", &name);
            }
        }
    }

    /// The kernel's name of the block device with this path below /dev.
    fn block_device(&self, path: &str) -> Option<String> {
        let name = path.strip_prefix("/dev/")?;
        // sysfs replaces slashes in names: cciss!c0d0p1.
        let is_same =
            |known: &&String| known.replace('!', "/") == name || self.mapper_path(known).as_deref() == Some(path);
        match self.block_devices.iter().find(is_same) {
            Some(known) => Some(known.clone()),
            None => machine::link_name(self.machine, path).ok().filter(|name| self.block_devices.contains(name)),
        }
    }

    /// The path of a device-mapper volume below /dev/mapper.
    fn mapper_path(&self, name: &str) -> Option<String> {
        name.starts_with("dm-")
            .then(|| self.text(&format!("{BLOCK}/{name}/dm/name")))?
            .map(|name| format!("/dev/mapper/{name}"))
    }

    /// Begins a search at a block device.
    fn find_below_block_device(&mut self, purpose: &str, name: &str) {
        self.visited_before = self.visited.len();
        self.visit_block_device(purpose, name, &mut Vec::new());
    }

    /// Marks a device as visited. Returns whether the current search visits it for the first time.
    fn mark_visited(&mut self, name: &str) -> bool {
        let is_new = !self.visited.iter().skip(self.visited_before).any(|visited| visited == name);
        self.visited.push(name.to_owned());
        is_new
    }

    /// Follows a block device down to PCI functions. `layers` are the devices above it.
    fn visit_block_device(&mut self, purpose: &str, name: &str, layers: &mut Vec<String>) {
        let Ok(target) = self.machine.link(&format!("{BLOCK}/{name}")) else { return };
        if layers.len() >= MAX_LAYERS || !self.mark_visited(name) {
            return;
        }
        let volume = self.mapper_path(name).and_then(|path| Some(path.rsplit('/').next()?.to_owned()));
        layers.push(volume.unwrap_or_else(|| name.to_owned()));
        // The directory of a partition is in that of its disk, and only the disk lists the devices below it.
        let parent = target.rsplit('/').nth(1).unwrap_or_default();
        let disk = if self.block_devices.iter().any(|known| known == parent) { parent } else { name };
        self.visited.push(disk.to_owned());
        for lower in self.list(&format!("{BLOCK}/{disk}/slaves")) {
            self.visit_block_device(purpose, &lower, layers);
        }
        self.add_functions(purpose, &target, layers);
        // A namespace of an NVMe subsystem with several controllers has its directory below none of them.
        let is_subsystem =
            |part: &&str| part.strip_prefix("nvme-subsys").is_some_and(|number| number.parse::<u32>().is_ok());
        if let Some(subsystem) = target.split('/').find(is_subsystem) {
            let directory = format!("/sys/class/nvme-subsystem/{subsystem}");
            for name in self.list(&directory) {
                let target = self.machine.link(&format!("{directory}/{name}")).unwrap_or_default();
                self.add_functions(purpose, &target, layers);
            }
        }
        layers.pop();
    }

    /// Follows a network interface down to PCI functions. `layers` are the interfaces above it.
    fn visit_interface(&mut self, name: &str, layers: &mut Vec<String>) {
        let directory = format!("/sys/class/net/{name}");
        let Ok(target) = self.machine.link(&directory) else { return };
        if layers.len() >= MAX_LAYERS || !self.mark_visited(name) {
            return;
        }
        layers.push(name.to_owned());
        self.add_functions("default route", &target, layers);
        // Bridges, bonds, teams and VLANs link to the interfaces below them; the internal port of an Open vSwitch bridge
        // links to the bridge's interface above it.
        let entries = self.list(&directory);
        let mut next: Vec<&str> = entries.iter().filter_map(|entry| entry.strip_prefix("lower_")).collect();
        if next.is_empty() && target.contains("/virtual/") {
            next = entries.iter().filter_map(|entry| entry.strip_prefix("upper_")).collect();
        }
        for name in next {
            self.visit_interface(name, layers);
        }
        layers.pop();
    }

    /// Adds the functions in the path of a sysfs directory. For virtual functions, adds their physical functions as well.
    fn add_functions(&mut self, purpose: &str, target: &str, layers: &[String]) {
        let description = format!("{purpose} (through {})", layers.join(", "));
        // Two members of an array below the same controller are one use of it.
        let same_use = format!("{purpose} (through {}", layers.first().map_or("", String::as_str));
        let mut parts: Vec<String> = target.split('/').map(ToOwned::to_owned).collect();
        while let Some(part) = parts.pop() {
            let Ok(device) = part.parse::<Address>() else { continue };
            if self.found.iter().any(|known| known.device == device && known.description.starts_with(&same_use)) {
                continue;
            }
            self.found.push(Use { device, description: description.clone() });
            parts.extend(machine::link_name(self.machine, &format!("{PCI}/devices/{device}/physfn")));
        }
    }
}
