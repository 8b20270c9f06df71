// SPDX-License-Identifier: MIT OR Apache-2.0
//! Two failures in one run: every pair of operations that change the machine, for the common plans.
//!
//! `make faults` tries all pairs of all kinds, and a sample on the machines that are less common; `make check` tries a sample for
//! the common plans alone, another one for each. `VFIO_EARLY_CASE=WORD` tries the machines with WORD in their name alone.

use nix::errno::Errno;

use super::case::{Case, Run};
use super::promises::broken_by_two;
use super::{machines, thorough};
use crate::simulated::{Fault, Hang, Kind, Lasts};

/// The plans that most machines have.
const COMMON: &[&str] = &[
    "an initramfs before any driver",
    "every host driver was first",
    "vfio-pci is loaded",
    "keep, with every host driver first",
    "keep, and vfio-pci's probe hangs",
    "with option ROMs",
    "the boot display, its frame buffer released",
];

/// What can go wrong at an operation that changes something.
fn faults(at: usize) -> Vec<Fault> {
    let kinds = [
        Kind::Fail(Errno::EIO),
        Kind::FailAfterwards(Errno::EINTR),
        Kind::Hang(Hang::Lost),
        Kind::Hang(Hang::Done),
        Kind::Hang(Hang::Late),
        Kind::Vanish("0000:01:00.0".to_owned()),
    ];
    kinds.into_iter().map(|kind| Fault { at, kind, lasts: Lasts::Once }).collect()
}

/// The operations of a run that change something, after the one with this number.
fn changes(run: &Run, after: usize) -> Vec<usize> {
    let all =
        run.log.iter().zip(1..).filter(|(entry, at)| entry.changes() && *at > after && entry.object != "/dev/kmsg");
    all.map(|(_, at)| at).collect()
}

/// Tries pairs on one machine: one in `step`. Returns the number of runs.
fn whatever_fails_twice(case: &Case, step: usize, all: &mut Vec<String>) -> usize {
    let (mut runs, mut number) = (0, 0);
    let Some(reference) = &case.reference else { return 0 };
    for first in changes(reference, 0).into_iter().flat_map(faults) {
        let once = case.run(Some(first.clone()));
        for second in changes(&once, first.at).into_iter().flat_map(faults) {
            number += 1;
            if number % step != 0 {
                continue;
            }
            runs += 1;
            let run = case.run_with(&[&first, &second]);
            for what in broken_by_two(case, &run, &[&first, &second]) {
                let at = |fault: &Fault| {
                    let hit = run.log.get(fault.at - 1).map(|hit| format!("{} {}", hit.operation, hit.object));
                    format!("{:?} at {} ({})", fault.kind, fault.at, hit.unwrap_or_default())
                };
                all.push(format!("{}: {}, {}\n    {what}", case.name, at(&first), at(&second)));
            }
        }
    }
    runs
}

/// The override is written although the write fails, and vfio-pci's own probe of the device hangs: where cards are kept, the
/// link to the driver made that look like a claim.
#[test]
fn a_kept_device_whose_probe_hangs_is_not_claimed() {
    let cases = machines::all();
    let case = cases.iter().find(|case| case.name == "keep, and vfio-pci's probe hangs").unwrap();
    let reference = case.reference.as_ref().unwrap();
    let device = "0000:01:00.0";
    let override_of = format!("/sys/bus/pci/devices/{device}/driver_override");
    let written = reference.log.iter().position(|entry| entry.changes() && entry.object == override_of);
    let fault = Fault { at: written.unwrap() + 1, kind: Kind::FailAfterwards(Errno::EINTR), lasts: Lasts::Once };
    let run = case.run(Some(fault));
    assert!(run.machine.is_locked(device), "its probe does not hang, so nothing is proven");
    let state = run.states().into_iter().find(|(address, _)| address.to_string() == device).unwrap().1;
    assert_eq!(state, "failed", "{:#?}", run.log);
}

#[test]
fn two_failures_lose_no_device() {
    let (mut runs, mut all) = (0, Vec::new());
    let cases = machines::all();
    let only = std::env::var("VFIO_EARLY_CASE").unwrap_or_default();
    for (case, number) in cases.iter().zip(0_usize..).filter(|(case, _)| case.name.contains(&only)) {
        match (COMMON.contains(&case.name.as_str()), thorough()) {
            (true, true) => runs += whatever_fails_twice(case, 1, &mut all),
            (true, false) | (false, true) => runs += whatever_fails_twice(case, 97 + number, &mut all),
            (false, false) => {}
        }
    }
    for name in COMMON {
        assert!(cases.iter().any(|case| case.name == *name), "{name} is no case any more");
    }
    println!("{runs} runs with two failures");
    let shown = all.iter().take(30).cloned().collect::<Vec<_>>().join("\n");
    assert!(all.is_empty(), "{} promises broken in {runs} runs:\n{shown}", all.len());
}
