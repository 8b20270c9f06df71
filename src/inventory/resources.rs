// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a guest may have of this machine beside devices: cores, memory, and what the hypervisor can do.

use crate::machine::{self, Machine};

use super::{Core, cores_of_nodes};

const NODES: &str = "/sys/devices/system/node";

/// UEFI firmware for QEMU, and what its variables start with, where distributions put them: Debian, Fedora, Arch, openSUSE.
const FIRMWARE: &[(&str, &str)] = &[
    ("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"),
    ("/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"),
    ("/usr/share/edk2/x64/OVMF_CODE.4m.fd", "/usr/share/edk2/x64/OVMF_VARS.4m.fd"),
    ("/usr/share/qemu/ovmf-x86_64-code.bin", "/usr/share/qemu/ovmf-x86_64-vars.bin"),
    ("/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"),
];

/// What a guest may have beside devices.
#[derive(Clone, Debug, Default)]
pub struct Resources {
    /// The cores near its devices.
    pub cores: Vec<Core>,
    /// The memory near its devices in MiB, if it is known.
    pub memory: Option<u64>,
    /// The huge pages near its devices, the largest first: the size in MiB, how many there are, and how many are free.
    pub huge_pages: Vec<(u64, u64, u64)>,
    /// The clock source of the kernel.
    pub clock_source: Option<String>,
    /// Whether KVM is there; `None` if the kernel does not tell.
    pub kvm: Option<bool>,
    /// Whether KVM lets guests have guests of their own.
    pub nested: bool,
    /// UEFI firmware for QEMU: the code, and the variables.
    pub firmware: Option<(&'static str, &'static str)>,
}

impl Resources {
    /// Reads what is on these NUMA nodes, or, if there are none, on the machine.
    pub fn read(machine: &dyn Machine, nodes: &[u16]) -> Self {
        let word = |path: &str| machine::text(machine, path).ok();
        let is_there = |path: &str| machine.link(path).is_ok() || machine.read_prefix(path, 1).is_ok();
        let places: Vec<String> = nodes.iter().map(|node| format!("{NODES}/node{node}")).collect();
        let sums = if places.is_empty() { vec!["/proc/meminfo".to_owned()] } else { in_each(&places, "/meminfo") };
        let pools = if places.is_empty() { vec!["/sys/kernel/mm".to_owned()] } else { places };
        let total = |path: &String| mib_of(&word(path)?, "MemTotal:");
        let devices = machine.list("/sys/class/misc").unwrap_or_default();
        Self {
            cores: cores_of_nodes(machine, nodes),
            memory: sums.iter().map(total).try_fold(0_u64, |sum, size| sum.checked_add(size?)),
            huge_pages: huge_pages(machine, &pools),
            clock_source: word("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
            kvm: (!devices.is_empty()).then(|| devices.iter().any(|name| name == "kvm")),
            nested: word("/sys/module/kvm_intel/parameters/nested").is_some_and(|word| word == "Y" || word == "1"),
            firmware: FIRMWARE.iter().find(|(code, variables)| is_there(code) && is_there(variables)).copied(),
        }
    }
}

fn in_each(places: &[String], name: &str) -> Vec<String> {
    places.iter().map(|place| format!("{place}{name}")).collect()
}

/// The number of a line of meminfo (`Node 0 MemTotal: 65808 kB`) in MiB.
fn mib_of(text: &str, name: &str) -> Option<u64> {
    let rest = text.split_once(name)?.1;
    rest.split_ascii_whitespace().next()?.parse::<u64>().ok()?.checked_div(1024)
}

/// The pools of huge pages (Documentation/admin-guide/mm/hugetlbpage.rst) at these places, summed by size.
fn huge_pages(machine: &dyn Machine, places: &[String]) -> Vec<(u64, u64, u64)> {
    let mut pools: Vec<(u64, u64, u64)> = Vec::new();
    for place in in_each(places, "/hugepages") {
        for name in machine.list(&place).unwrap_or_default() {
            let number = |file: &str| machine::text(machine, &format!("{place}/{name}/{file}")).ok()?.parse().ok();
            let size = name.strip_prefix("hugepages-").and_then(|name| name.strip_suffix("kB"));
            let Some(size) = size.and_then(|size| size.parse::<u64>().ok()?.checked_div(1024)) else { continue };
            let (all, free): (u64, u64) = (number("nr_hugepages").unwrap_or(0), number("free_hugepages").unwrap_or(0));
            match pools.iter_mut().find(|pool| pool.0 == size) {
                Some(pool) => *pool = (size, pool.1.saturating_add(all), pool.2.saturating_add(free)),
                None => pools.push((size, all, free)),
            }
        }
    }
    // Pages below 1 MiB (Arm) make no difference to a guest.
    pools.retain(|(size, all, _)| *size > 0 && *all > 0);
    pools.sort_unstable_by_key(|pool| std::cmp::Reverse(pool.0));
    pools
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meminfo_is_read_in_both_spellings() {
        assert_eq!(mib_of("MemTotal:       65808 kB\nMemFree: 1 kB\n", "MemTotal:"), Some(64));
        assert_eq!(mib_of("Node 0 MemTotal:       65808 kB\n", "MemTotal:"), Some(64));
        assert_eq!(mib_of("", "MemTotal:"), None);
        assert_eq!(mib_of("MemTotal: lots", "MemTotal:"), None);
    }
}
