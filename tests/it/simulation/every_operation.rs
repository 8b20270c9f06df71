// SPDX-License-Identifier: MIT OR Apache-2.0
//! A failure at every single operation.

use nix::errno::Errno;
use vfio_early::machine::Operation;

use super::case::Case;
use super::promises::{a_dry_run_writes_nothing, a_second_run_changes_nothing, broken};
use super::{machines, thorough};
use crate::simulated::{Fault, Hang, Kind, Lasts};

/// What can go wrong at an operation.
fn faults(case: &Case, at: usize, operation: Operation) -> Vec<Fault> {
    let hang = |how| Kind::Hang(how);
    let (fail, slow) = (Kind::Fail(Errno::EIO), Kind::FailAfterwards(Errno::EINTR));
    let mut faults = Vec::new();
    let mut add = |kinds: &[Kind], lasts: &[Lasts]| {
        for kind in kinds {
            faults.extend(lasts.iter().map(|lasts| Fault { at, kind: kind.clone(), lasts: *lasts }));
        }
    };
    let changes = matches!(operation, Operation::Write | Operation::Load | Operation::Save);
    let all = [Lasts::Once, Lasts::ForThis, Lasts::ForAll];
    if changes || thorough() {
        add(&[fail.clone(), slow], &all);
        add(&[hang(Hang::Lost), hang(Hang::Done), hang(Hang::Late)], &all);
    } else {
        add(&[fail], &[Lasts::Once, Lasts::ForThis]);
    }
    if changes || thorough() || at % 8 == 0 {
        let slots = case.reference.as_ref().map(super::case::Run::slots).unwrap_or_default();
        for slot in slots.iter().take(2) {
            add(&[Kind::Vanish(format!("{slot}.0"))], &[Lasts::Once]);
        }
        add(&[Kind::Vanish("0000:00:01.0".to_owned())], &[Lasts::Once]);
    }
    faults
}

#[test]
fn every_promise_holds_when_nothing_goes_wrong() {
    let mut all = Vec::new();
    for case in machines::all() {
        let Some(run) = &case.reference else { panic!("{}: the configuration is refused", case.name) };
        let mut found = broken(&case, run, None);
        found.extend(a_second_run_changes_nothing(&case, run));
        found.extend(a_dry_run_writes_nothing(&case));
        all.extend(found.into_iter().map(|what| format!("{}: {what}", case.name)));
    }
    assert!(all.is_empty(), "{}", all.join("\n"));
}

/// Tries what fails on every machine of which the number leaves this rest. Two tests share them, to run at the same time.
fn whatever_fails(rest: usize) {
    let (mut runs, mut all) = (0_usize, Vec::new());
    for (number, case) in machines::all().iter().enumerate().filter(|(number, _)| number % 2 == rest) {
        // A run in which something fails takes other steps, and more of them: go on until nothing is hit any more.
        let mut known: Vec<Operation> =
            case.reference.as_ref().unwrap().log.iter().map(|entry| entry.operation).collect();
        let mut at = 0;
        while at < known.len() {
            at += 1;
            for fault in chosen(faults(case, at, known[at - 1]), at, number, known[at - 1]) {
                let run = case.run(Some(fault.clone()));
                runs += 1;
                if run.log.len() > known.len() {
                    known.extend(run.log.iter().skip(known.len()).map(|entry| entry.operation));
                }
                let found = broken(case, &run, Some(&fault));
                let hit = run.log.get(at - 1).map(|entry| format!("{} {}", entry.operation, entry.object));
                let what =
                    format!("{}: {:?} {:?} at {at} ({})", case.name, fault.kind, fault.lasts, hit.unwrap_or_default());
                all.extend(found.into_iter().map(|broken| format!("{what}\n    {broken}")));
            }
        }
    }
    println!("{runs} runs");
    let shown = all.iter().take(40).cloned().collect::<Vec<_>>().join("\n");
    assert!(all.is_empty(), "{} promises broken in {runs} runs:\n{shown}", all.len());
}

/// Every operation fails in some way; every way is tried somewhere.
fn chosen(mut faults: Vec<Fault>, at: usize, number: usize, operation: Operation) -> Vec<Fault> {
    if thorough() {
        return faults;
    }
    let changes = matches!(operation, Operation::Write | Operation::Load | Operation::Save);
    let most = match (changes, (at + number) % 4) {
        (true, _) => 2,
        (false, 0) => 1,
        (false, _) => 0,
    };
    let count = faults.len().max(1);
    faults.rotate_left((at * 5 + number * 3) % count);
    faults.truncate(most);
    faults
}

#[test]
fn every_promise_holds_whatever_fails() {
    whatever_fails(0);
}

#[test]
fn every_promise_holds_whatever_fails_on_the_other_machines() {
    whatever_fails(1);
}
