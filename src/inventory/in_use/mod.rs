// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the running system stands on: the PCI functions below its mounted file systems, its swap, its active volumes, and
//! the interface with the default route.
//!
//! Everything is followed from the top down, so that a device which nothing stands on costs nothing. An initramfs stands on
//! nothing, and does not ask.

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
    /// By whom: `mounted at / (through vg0-root, nvme0n1p2)`.
    pub description: String,
}

/// Block devices as the kernel names them: `sda1`, `dm-0`, `nvme0n1`.
const BLOCK: &str = "/sys/class/block";

/// How many layers one stack may have. The kernel itself allows fewer.
const DEEPEST: usize = 32;

/// How much of a table is read.
pub(super) const MOST: usize = 1024 * 1024;

/// Everything that the system stands on.
pub(super) fn read(machine: &dyn Machine, mounts: &[Mount]) -> Vec<Use> {
    let names = machine.list(BLOCK).unwrap_or_default();
    let mut search = Search { machine, names, seen: Vec::new(), before: 0, uses: Vec::new() };
    search.mounts(mounts);
    let table = |path: &str| machine.read_prefix(path, MOST).unwrap_or_default();
    for path in swaps(&table("/proc/swaps")) {
        // A file lies in a file system that is mounted.
        if let Some(name) = search.named(&path) {
            search.start("swap", &name);
        }
    }
    search.volumes();
    for interface in default_routes(&table("/proc/net/route"), &table("/proc/net/ipv6_route")) {
        search.before = search.seen.len();
        search.interface(&interface, &mut Vec::new());
    }
    search.uses
}

struct Search<'a> {
    machine: &'a dyn Machine,
    /// Every block device.
    names: Vec<String>,
    /// What was come by already, and how much of that before the present search began.
    seen: Vec<String>,
    before: usize,
    uses: Vec<Use>,
}

impl Search<'_> {
    fn text(&self, path: &str) -> Option<String> {
        machine::text(self.machine, path).ok()
    }

    fn list(&self, path: &str) -> Vec<String> {
        self.machine.list(path).unwrap_or_default()
    }

    fn mounts(&mut self, mounts: &[Mount]) {
        for (index, mount) in mounts.iter().enumerate() {
            let what = format!("mounted at {}", mount.point);
            if mounts.iter().take(index).any(|other| other.is_on() == mount.is_on()) {
                continue;
            }
            if mount.has_number() {
                if let Ok(name) = machine::link_name(self.machine, &format!("/sys/dev/block/{}", mount.number)) {
                    self.start(&what, &name);
                }
            } else if mount.kind == "zfs" {
                self.pool(&what, mount.is_on());
            } else if mount.kind != "btrfs" {
                // bcachefs joins its devices with colons.
                for name in mount.source.split(':').filter_map(|path| self.named(path)).collect::<Vec<_>>() {
                    self.start(&what, &name);
                }
            }
        }
        // A btrfs names one of its devices when it is mounted, and stands on all of them.
        for id in self.list("/sys/fs/btrfs") {
            let devices = self.list(&format!("/sys/fs/btrfs/{id}/devices"));
            let of_this = |mount: &&Mount| {
                mount.kind == "btrfs" && self.named(&mount.source).is_some_and(|name| devices.contains(&name))
            };
            let what = match mounts.iter().find(of_this) {
                Some(mount) => format!("mounted at {}", mount.point),
                None => "a mounted btrfs".to_owned(),
            };
            for name in &devices {
                self.start(&what, name);
            }
        }
    }

    /// The members of a pool of ZFS. The kernel does not tell them; udev has read what is written on them.
    fn pool(&mut self, what: &str, pool: &str) {
        for name in self.names.clone() {
            let number = self.text(&format!("{BLOCK}/{name}/dev")).unwrap_or_default();
            let known = self.machine.read_prefix(&format!("/run/udev/data/b{number}"), MOST).unwrap_or_default();
            let known = String::from_utf8_lossy(&known);
            let has = |key: &str, value: &str| {
                known.lines().any(|line| line.strip_prefix(key).is_some_and(|found| found == value))
            };
            if has("E:ID_FS_TYPE=", "zfs_member") && has("E:ID_FS_LABEL=", pool) {
                self.start(what, &name);
            }
        }
    }

    /// Volumes that are active, and that nothing known is on: they are held all the same.
    fn volumes(&mut self) {
        for name in self.names.clone() {
            let top = || self.list(&format!("{BLOCK}/{name}/holders")).is_empty();
            let volume = ["dm-", "md", "bcache"].iter().any(|kind| name.starts_with(kind));
            if volume && !self.seen.contains(&name) && top() {
                self.start("an active volume", &name);
            }
        }
    }

    /// The kernel's name of a block device that a path below /dev leads to.
    fn named(&self, path: &str) -> Option<String> {
        let below = path.strip_prefix("/dev/")?;
        // In sysfs, no name has a slash: cciss!c0d0p1.
        let is = |name: &&String| name.replace('!', "/") == below || self.volume(name).as_deref() == Some(path);
        match self.names.iter().find(is) {
            Some(name) => Some(name.clone()),
            None => machine::link_name(self.machine, path).ok().filter(|name| self.names.contains(name)),
        }
    }

    /// The path of a device-mapper volume, by the name that people gave it.
    fn volume(&self, name: &str) -> Option<String> {
        name.starts_with("dm-")
            .then(|| self.text(&format!("{BLOCK}/{name}/dm/name")))?
            .map(|name| format!("/dev/mapper/{name}"))
    }

    fn start(&mut self, what: &str, name: &str) {
        self.before = self.seen.len();
        self.block(what, name, &mut Vec::new());
    }

    /// Whether this is the first time in the present search.
    fn is_new(&mut self, name: &str) -> bool {
        let new = !self.seen.iter().skip(self.before).any(|seen| seen == name);
        self.seen.push(name.to_owned());
        new
    }

    /// Follows a block device down to PCI functions. `way`: what was come through.
    fn block(&mut self, what: &str, name: &str, way: &mut Vec<String>) {
        let Ok(target) = self.machine.link(&format!("{BLOCK}/{name}")) else { return };
        if way.len() >= DEEPEST || !self.is_new(name) {
            return;
        }
        let shown = self.volume(name).and_then(|path| Some(path.rsplit('/').next()?.to_owned()));
        way.push(shown.unwrap_or_else(|| name.to_owned()));
        // A partition stands on what its disk stands on.
        let above = target.rsplit('/').nth(1).unwrap_or_default();
        let disk = if self.names.iter().any(|known| known == above) { above } else { name };
        self.seen.push(disk.to_owned());
        for lower in self.list(&format!("{BLOCK}/{disk}/slaves")) {
            self.block(what, &lower, way);
        }
        self.functions(what, &target, way);
        // A namespace that several controllers may reach lies below none of them.
        let number = |part: &&str| part.strip_prefix("nvme-subsys").is_some_and(|end| end.parse::<u32>().is_ok());
        if let Some(subsystem) = target.split('/').find(number) {
            let at = format!("/sys/class/nvme-subsystem/{subsystem}");
            for name in self.list(&at) {
                let target = self.machine.link(&format!("{at}/{name}")).unwrap_or_default();
                self.functions(what, &target, way);
            }
        }
        way.pop();
    }

    /// Follows a network interface down to PCI functions.
    fn interface(&mut self, name: &str, way: &mut Vec<String>) {
        let at = format!("/sys/class/net/{name}");
        let Ok(target) = self.machine.link(&at) else { return };
        if way.len() >= DEEPEST || !self.is_new(name) {
            return;
        }
        way.push(name.to_owned());
        self.functions("default route", &target, way);
        // Bridges, bonds, teams and VLANs know what is below them; the inner port of an Open vSwitch what it belongs to.
        let names = self.list(&at);
        let mut next: Vec<&str> = names.iter().filter_map(|name| name.strip_prefix("lower_")).collect();
        if next.is_empty() && target.contains("/virtual/") {
            next = names.iter().filter_map(|name| name.strip_prefix("upper_")).collect();
        }
        for name in next {
            self.interface(name, way);
        }
        way.pop();
    }

    /// The functions on the way to a directory of sysfs, and the physical functions of virtual ones.
    fn functions(&mut self, what: &str, target: &str, way: &[String]) {
        let description = format!("{what} (through {})", way.join(", "));
        // A mirror of two disks on one controller is one use of it.
        let same = format!("{what} (through {}", way.first().map_or("", String::as_str));
        let mut parts: Vec<String> = target.split('/').map(ToOwned::to_owned).collect();
        while let Some(part) = parts.pop() {
            let Ok(device) = part.parse::<Address>() else { continue };
            if self.uses.iter().any(|known| known.device == device && known.description.starts_with(&same)) {
                continue;
            }
            self.uses.push(Use { device, description: description.clone() });
            parts.extend(machine::link_name(self.machine, &format!("{PCI}/devices/{device}/physfn")));
        }
    }
}
