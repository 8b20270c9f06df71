// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which cores and which memory a guest gets.

use crate::inventory::{Core, Resources};

use super::options::{Count, Size};

/// The vCPUs of a guest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placement {
    /// For each vCPU, the CPUs that it may run on; empty if it is not pinned.
    pub vcpus: Vec<Vec<u16>>,
    /// How many cores the guest sees.
    pub cores: usize,
    /// How many threads each of them has.
    pub threads: usize,
    /// The CPUs near the devices that are left to the host.
    pub host: Vec<u16>,
    /// How many cores there are near the devices.
    pub of: usize,
}

/// Places vCPUs on whole cores. One core is left to the host and to the emulator; where some are slower than others, the
/// guest gets the fast ones only, and the host has all of the slow ones.
pub(super) fn place(near: &[Core], wanted: Option<Count>) -> Result<Placement, String> {
    let best = near.iter().map(|core| core.rank).max().unwrap_or(0);
    let is_hybrid = near.iter().any(|core| core.rank < best);
    let fast: Vec<&Core> = near.iter().filter(|core| core.rank == best).collect();
    // The first core of the machine handles most interrupts.
    let kept = usize::from(!is_hybrid);
    let free = fast.get(kept..).unwrap_or_default();
    let threads = free.iter().map(|core| core.threads.len()).min().unwrap_or(0);
    let most = free.len().saturating_mul(threads);
    let wanted = wanted.map(|count| usize::from(count.0));
    if free.is_empty() {
        return unpinned(near, wanted);
    }
    let count = wanted.unwrap_or(most);
    let whole = count.checked_div(threads).unwrap_or(0);
    let (cores, threads) = if whole.saturating_mul(threads) == count && whole <= free.len() {
        (whole, threads)
    } else if count <= free.len() {
        // A core for each vCPU.
        (count, 1)
    } else {
        let reason = if is_hybrid { "the slow cores are" } else { "one core is" };
        let steps = if count <= most {
            format!(", and more than {} only in steps of {threads}", free.len())
        } else {
            String::new()
        };
        return Err(format!(
            "--vcpus {count}: at most {most} can be pinned near the devices, on {} of {} cores; {reason} left to the host{steps}",
            free.len(),
            near.len()
        ));
    };
    let used: Vec<&&Core> = free.iter().take(cores).collect();
    let mut vcpus = Vec::new();
    for core in &used {
        match threads {
            1 => vcpus.push(core.threads.clone()),
            _ => vcpus.extend(core.threads.iter().take(threads).map(|thread| vec![*thread])),
        }
    }
    let is_used = |core: &Core| used.iter().any(|other| other.threads == core.threads);
    let host = near.iter().filter(|core| !is_used(core)).flat_map(|core| core.threads.clone()).collect();
    Ok(Placement { vcpus, cores, threads, host, of: near.len() })
}

/// For a machine with one core, and one that does not tell: nothing can be left to the host.
fn unpinned(near: &[Core], wanted: Option<usize>) -> Result<Placement, String> {
    let there = near.iter().map(|core| core.threads.len()).sum::<usize>();
    match wanted {
        Some(count) if there > 0 && count > there => {
            Err(format!("--vcpus {count}: this machine has {there} near the devices"))
        }
        _ => {
            let count = wanted.unwrap_or(there).max(1);
            Ok(Placement { vcpus: vec![Vec::new(); count], cores: count, threads: 1, host: Vec::new(), of: near.len() })
        }
    }
}

/// The memory of a guest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Its size in MiB.
    pub mib: u64,
    /// The size of the huge pages that it is made of, in MiB.
    pub page: Option<u64>,
}

/// The default for a guest.
const USUAL: u64 = 8 << 10;

/// Chooses the memory: as much as wanted, else half of what is there, in huge pages if enough of one size are free. The second
/// value says why there are none although they are set up.
pub(super) fn memory(resources: &Resources, wanted: Option<Size>) -> Result<(Memory, Option<String>), String> {
    let there = resources.memory.unwrap_or(u64::MAX);
    let mib = match wanted {
        Some(Size(mib)) if mib >= there => {
            return Err(format!(
                "--memory {mib}M: there are {there} MiB near the devices, and all of a guest's memory stays in place"
            ));
        }
        Some(Size(mib)) => mib,
        // In steps of 64 MiB on a small machine.
        None => (there >> 1).min(USUAL) >> 6 << 6,
    };
    let fits = |pool: &&(u64, u64, u64)| mib.checked_rem(pool.0) == Some(0) && pool.0.saturating_mul(pool.2) >= mib;
    let page = resources.huge_pages.iter().find(fits).map(|pool| pool.0);
    let why = match resources.huge_pages.first() {
        Some(_) if page.is_none() => {
            let pools: Vec<String> = resources
                .huge_pages
                .iter()
                .map(|(size, all, free)| format!("{free} of {all} with {size} MiB"))
                .collect();
            Some(format!("no huge pages for {mib} MiB: {} are free near the devices", pools.join(", ")))
        }
        _ => None,
    };
    Ok((Memory { mib: mib.max(64), page }, why))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cores(list: &[(&[u16], u32)]) -> Vec<Core> {
        list.iter().map(|(threads, rank)| Core { threads: threads.to_vec(), rank: *rank }).collect()
    }

    fn four() -> Vec<Core> {
        cores(&[(&[0, 4], 1), (&[1, 5], 1), (&[2, 6], 1), (&[3, 7], 1)])
    }

    #[test]
    fn whole_cores_with_their_threads() {
        let all = place(&four(), None).unwrap();
        assert_eq!(all.vcpus, [[1], [5], [2], [6], [3], [7]]);
        assert_eq!((all.cores, all.threads, all.host), (3, 2, vec![0, 4]));
        let two = place(&four(), Some(Count(2))).unwrap();
        assert_eq!((two.vcpus, two.cores, two.threads), (vec![vec![1], vec![5]], 1, 2));
        assert_eq!(two.host, [0, 4, 2, 6, 3, 7]);
    }

    #[test]
    fn an_odd_number_gets_a_core_each() {
        let three = place(&four(), Some(Count(3))).unwrap();
        assert_eq!((three.vcpus, three.cores, three.threads), (vec![vec![1, 5], vec![2, 6], vec![3, 7]], 3, 1));
        assert!(place(&four(), Some(Count(5))).unwrap_err().starts_with("--vcpus 5:"));
        assert!(place(&four(), Some(Count(8))).unwrap_err().starts_with("--vcpus 8:"));
    }

    #[test]
    fn slow_cores_are_the_hosts() {
        let hybrid = cores(&[(&[0, 1], 1), (&[2, 3], 1), (&[4], 0), (&[5], 0)]);
        let all = place(&hybrid, None).unwrap();
        assert_eq!((all.vcpus, all.host), (vec![vec![0], vec![1], vec![2], vec![3]], vec![4, 5]));
        assert!(place(&hybrid, Some(Count(6))).is_err());
    }

    #[test]
    fn one_core_cannot_be_split() {
        let one = cores(&[(&[0], 1)]);
        assert_eq!(place(&one, None).unwrap().vcpus, [Vec::<u16>::new()]);
        assert!(place(&one, Some(Count(2))).is_err());
        assert_eq!(place(&[], Some(Count(4))).unwrap().vcpus.len(), 4);
    }

    #[test]
    fn memory_is_what_is_there() {
        let machine = |memory, huge_pages| Resources { memory: Some(memory), huge_pages, ..Resources::default() };
        assert_eq!(memory(&machine(64_000, vec![]), None).unwrap().0, Memory { mib: 8192, page: None });
        assert_eq!(memory(&machine(700, vec![]), None).unwrap().0.mib, 320);
        assert!(memory(&machine(700, vec![]), Some(Size(700))).unwrap_err().starts_with("--memory 700M:"));
        let both = machine(64_000, vec![(1024, 16, 4), (2, 4096, 4096)]);
        assert_eq!(memory(&both, Some(Size(4096))).unwrap().0.page, Some(1024));
        assert_eq!(memory(&both, Some(Size(8192))).unwrap().0.page, Some(2));
        assert_eq!(memory(&both, Some(Size(512))).unwrap().0.page, Some(2));
        let (plain, why) = memory(&both, Some(Size(16384))).unwrap();
        assert!(plain.page.is_none() && why.unwrap().contains("4 of 16 with 1024 MiB"));
    }
}
