// SPDX-License-Identifier: MIT OR Apache-2.0
//! The processor's cores and the threads that share them (Documentation/admin-guide/cputopology.rst).

use crate::machine::{self, Machine};

const NODES: &str = "/sys/devices/system/node";
const CPUS: &str = "/sys/devices/system/cpu";

/// The cores of a NUMA node, or of the machine if it has no nodes: for each core, the numbers of its threads.
pub fn cores_of_node(machine: &dyn Machine, node: Option<u16>) -> Vec<Vec<u16>> {
    let of_node = node.and_then(|node| machine::text(machine, &format!("{NODES}/node{node}/cpulist")).ok());
    let list = of_node.or_else(|| machine::text(machine, &format!("{CPUS}/online")).ok()).unwrap_or_default();
    let mut cores: Vec<Vec<u16>> = Vec::new();
    for cpu in cpus(&list) {
        if cores.iter().any(|core| core.contains(&cpu)) {
            continue;
        }
        let siblings =
            machine::text(machine, &format!("{CPUS}/cpu{cpu}/topology/thread_siblings_list")).unwrap_or_default();
        let threads = cpus(&siblings);
        cores.push(if threads.contains(&cpu) { threads } else { vec![cpu] });
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
