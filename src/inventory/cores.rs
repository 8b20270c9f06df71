// SPDX-License-Identifier: MIT OR Apache-2.0
//! The processor's cores and the threads that share them (Documentation/admin-guide/cputopology.rst).

use crate::machine::{self, Machine};

const NODES: &str = "/sys/devices/system/node";
const CPUS: &str = "/sys/devices/system/cpu";

/// A core.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Core {
    /// The numbers of its threads.
    pub threads: Vec<u16>,
    /// How fast it is, compared with other cores of this machine.
    pub rank: u32,
}

/// The online cores of these NUMA nodes, or of the machine if there are none: by their first thread.
pub fn cores_of_nodes(machine: &dyn Machine, nodes: &[u16]) -> Vec<Core> {
    let list = |path: &str| machine::text(machine, path).map(|text| cpus(&text)).unwrap_or_default();
    let mut near: Vec<u16> = nodes.iter().flat_map(|node| list(&format!("{NODES}/node{node}/cpulist"))).collect();
    // A node may have memory alone.
    if near.is_empty() {
        near = list(&format!("{CPUS}/online"));
    }
    near.sort_unstable();
    // The kernel names the cores of a hybrid processor after their performance counters (arch/x86/events/intel/core.c).
    let slow = [list("/sys/devices/cpu_atom/cpus"), list("/sys/devices/cpu_lowpower/cpus")].concat();
    let mut cores: Vec<Core> = Vec::new();
    for cpu in near {
        if cores.iter().any(|core| core.threads.contains(&cpu)) {
            continue;
        }
        let siblings = list(&format!("{CPUS}/cpu{cpu}/topology/thread_siblings_list"));
        let threads = if siblings.contains(&cpu) { siblings } else { vec![cpu] };
        // Arm and others (drivers/base/arch_topology.c).
        let capacity = || machine::text(machine, &format!("{CPUS}/cpu{cpu}/cpu_capacity")).ok()?.parse().ok();
        let rank = if slow.contains(&cpu) { 0 } else { capacity().unwrap_or(1) };
        cores.push(Core { threads, rank });
    }
    // Where nothing else tells, the cores with fewer threads are the slow ones.
    let most = cores.iter().map(|core| core.threads.len()).max().unwrap_or(0);
    if slow.is_empty() {
        for core in &mut cores {
            core.rank = core.rank.saturating_sub(u32::from(core.threads.len() < most));
        }
    }
    cores
}

/// Parses a CPU list such as `0-3,8,10-11`. The kernel's lists ascend: numbers that do not, numbers that no kernel supports
/// and anything else are skipped.
pub fn cpus(list: &str) -> Vec<u16> {
    const MAX_CPU: u16 = 8192;
    let mut numbers: Vec<u16> = Vec::new();
    for part in list.trim().split(',') {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let (Ok(from), Ok(to)) = (from.parse::<u16>(), to.parse::<u16>()) else { continue };
        for number in from..=to.min(MAX_CPU) {
            if numbers.last().is_none_or(|last| *last < number) {
                numbers.push(number);
            }
        }
    }
    numbers
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lists_are_read() {
        assert_eq!(cpus("0-3,8,10-11\n"), [0, 1, 2, 3, 8, 10, 11]);
        assert_eq!(cpus("x,3-1,,5,4"), [5]);
        assert!(cpus("").is_empty());
    }

    proptest! {
        #[test]
        fn lists_are_bounded_and_ascend(list in "[0-9,-]{0,60}") {
            let numbers = cpus(&list);
            prop_assert!(numbers.len() <= 8193);
            prop_assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]));
        }
    }
}
