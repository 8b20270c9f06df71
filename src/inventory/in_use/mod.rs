// SPDX-License-Identifier: MIT OR Apache-2.0
//! PCI functions that the running system uses: those below mounted file systems, swap, ZFS pools, active volumes and the
//! network interface with the default route, and those with device files that a process has open.
//!
//! The search starts from these uses and goes down to the PCI functions, so unused devices cost nothing. In an initramfs
//! nothing is in use, and no search is made, unless something is mounted or routed already: it may be the root for good.
//!
//! Whether anything holds a block device could also be found out with open(2) and `O_EXCL`. But such an open makes the
//! kernel refuse a mount or an array that begins at the same moment (block/bdev.c, `bd_prepare_to_claim`), runs the driver's
//! code, which wakes a sleeping disk and waits for a failing one, may read the partition table again, and drops the cache
//! when it is closed. A command that only reads must do none of this, so the evidence is what the kernel lists.

mod processes;
mod tables;

use crate::machine::{self, Machine};
use crate::pci::Address;

use super::PCI;

pub(crate) use processes::is_device_file;
pub(super) use processes::opened;
pub(crate) use tables::DEVICE_MINOR;
pub use tables::Mount;
pub(crate) use tables::{default_routes, mounts, swaps};

/// A use of a PCI function by the running system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Use {
    /// The function, or a bridge above it.
    pub device: Address,
    /// What it is used for: `mounted at / (through vg0-root, nvme0n1p2)`.
    pub description: String,
    /// The process that uses it, if a process does.
    pub process: Option<u32>,
}

/// Block devices by their kernel names: `sda1`, `dm-0`, `nvme0n1`.
pub(super) const BLOCK: &str = "/sys/class/block";

/// Network interfaces by their names.
const NET: &str = "/sys/class/net";

/// The routes.
const ROUTES: &str = "/proc/net/route";
const ROUTES_IPV6: &str = "/proc/net/ipv6_route";

/// The interface of Open vSwitch's datapath: all ports of all bridges are below it.
const OVS_DATAPATH: &str = "ovs-system";

/// The directory with the statistics of ZFS. It has a directory for each imported pool.
const POOLS: &str = "/proc/spl/kstat/zfs";

/// The maximum number of stacked devices. The kernel itself allows fewer.
const MAX_LAYERS: usize = 32;

/// The maximum size of a table of /proc, in bytes.
pub(super) const MAX_TABLE: usize = 1024 * 1024;

/// Whether something may be in use in an initramfs: a file system with a block device is mounted, or there is a default
/// route.
pub(super) fn is_likely(machine: &dyn Machine, mounts: &[Mount]) -> bool {
    let has_devices =
        |mount: &Mount| mount.has_block_device() || mount.source.starts_with("/dev/") || mount.fs_type == "zfs";
    let table = |path: &str| machine.read_prefix(path, MAX_TABLE).unwrap_or_default();
    mounts.iter().any(has_devices) || !default_routes(&table(ROUTES), &table(ROUTES_IPV6)).is_empty()
}

/// All uses of PCI functions by the running system.
pub(super) fn read(machine: &dyn Machine, mounts: &[Mount]) -> Vec<Use> {
    let mut finder = UseFinder::new(machine);
    finder.find_mounts(mounts);
    finder.find_pools(mounts);
    let table = |path: &str| machine.read_prefix(path, MAX_TABLE).unwrap_or_default();
    for path in swaps(&table("/proc/swaps")) {
        // Swap files have no block device of their own; their file system is mounted.
        if let Some(name) = finder.block_device(&path) {
            finder.find_below_block_device("swap", &name);
        }
    }
    finder.find_file_systems(mounts);
    finder.find_volumes();
    for interface in default_routes(&table(ROUTES), &table(ROUTES_IPV6)) {
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

impl<'a> UseFinder<'a> {
    fn new(machine: &'a dyn Machine) -> Self {
        Self::with(machine, machine.list(BLOCK).unwrap_or_default())
    }

    fn with(machine: &'a dyn Machine, block_devices: Vec<String>) -> Self {
        Self { machine, block_devices, visited: Vec::new(), visited_before: 0, found: Vec::new() }
    }

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

    /// The imported ZFS pools without a mount: those that only have volumes.
    fn find_pools(&mut self, mounts: &[Mount]) {
        let is_mounted = |pool: &str| mounts.iter().any(|mount| mount.fs_type == "zfs" && mount.storage() == pool);
        for pool in self.list(POOLS) {
            if !is_mounted(&pool) && self.machine.list(&format!("{POOLS}/{pool}")).is_ok() {
                self.find_pool(&format!("ZFS pool {pool}"), &pool);
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

    /// File systems that are mounted only in other mount namespaces, such as those of containers. Each file system type that
    /// has a directory below /sys/fs names the block devices there.
    fn find_file_systems(&mut self, mounts: &[Mount]) {
        for fs_type in self.list("/sys/fs") {
            let directory = format!("/sys/fs/{fs_type}");
            // What is mounted there (cgroup, bpf) is not about block devices.
            if mounts.iter().any(|mount| mount.mount_point == directory) {
                continue;
            }
            for name in self.list(&directory) {
                if self.block_devices.contains(&name) && !self.visited.contains(&name) {
                    self.find_below_block_device(&format!("a mounted {fs_type}"), &name);
                }
            }
        }
    }

    /// Active volumes of any kind without a known user. They keep what is below them open nevertheless.
    fn find_volumes(&mut self) {
        for name in self.block_devices.clone() {
            let is_virtual =
                || self.machine.link(&format!("{BLOCK}/{name}")).is_ok_and(|path| path.contains("/virtual/"));
            let is_top = || self.list(&format!("{BLOCK}/{name}/holders")).is_empty();
            if !self.visited.contains(&name) && is_virtual() && !self.lower(&name).is_empty() && is_top() {
                self.find_below_block_device("an active volume", &name);
            }
        }
    }

    /// The block devices below a disk.
    fn lower(&self, disk: &str) -> Vec<String> {
        let mut lower = self.list(&format!("{BLOCK}/{disk}/slaves"));
        // A loop device on a block device is not linked to it. One on a file is below a mounted file system.
        if disk.starts_with("loop") {
            let file = self.text(&format!("{BLOCK}/{disk}/loop/backing_file")).unwrap_or_default();
            lower.extend(self.block_device(&file));
        }
        lower
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
        for lower in self.lower(disk) {
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
        let directory = format!("{NET}/{name}");
        let Ok(target) = self.machine.link(&directory) else { return };
        if layers.len() >= MAX_LAYERS || !self.mark_visited(name) {
            return;
        }
        layers.push(name.to_owned());
        self.add_functions("default route", &target, layers);
        // Bridges, bonds, teams and VLANs link to the interfaces below them; a port of a bridge links to the bridge above it.
        let entries = self.list(&directory);
        let mut next: Vec<&str> = entries.iter().filter_map(|entry| entry.strip_prefix("lower_")).collect();
        if next.is_empty() && target.contains("/virtual/") {
            next = entries.iter().filter_map(|entry| entry.strip_prefix("upper_")).collect();
            if next.is_empty() && self.is_internal_port(&directory, &entries) {
                next.push(OVS_DATAPATH);
            }
        }
        for name in next {
            self.visit_interface(name, layers);
        }
        layers.pop();
    }

    /// Whether an interface without links can be the internal port of an Open vSwitch bridge: it has no sign of another kind.
    /// The kernel does not link such a port to the datapath (net/openvswitch/vport-internal_dev.c).
    fn is_internal_port(&self, directory: &str, entries: &[String]) -> bool {
        let is_tunnel = entries.iter().any(|entry| entry == "tun_flags");
        let has_type = || {
            let uevent = self.text(&format!("{directory}/uevent")).unwrap_or_default();
            uevent.lines().any(|line| line.starts_with("DEVTYPE="))
        };
        !is_tunnel && !has_type()
    }

    /// Adds the functions in the path of a sysfs directory.
    fn add_functions(&mut self, purpose: &str, target: &str, layers: &[String]) {
        let description = format!("{purpose} (through {})", layers.join(", "));
        // Two members of an array below the same controller are one use of it.
        let same_use = format!("{purpose} (through {}", layers.first().map_or("", String::as_str));
        for device in self.functions(target) {
            if self.found.iter().any(|known| known.device == device && known.description.starts_with(&same_use)) {
                continue;
            }
            self.found.push(Use { device, description: description.clone(), process: None });
        }
    }

    /// The functions in the path of a sysfs directory. For virtual functions, their physical functions as well.
    fn functions(&self, target: &str) -> Vec<Address> {
        let mut functions: Vec<Address> = target.split('/').rev().filter_map(|part| part.parse().ok()).collect();
        let physical = |function: &Address| {
            machine::link_name(self.machine, &format!("{PCI}/devices/{function}/physfn")).ok()?.parse().ok()
        };
        let physical: Vec<Address> = functions.iter().filter_map(physical).collect();
        functions.extend(physical);
        functions
    }
}
