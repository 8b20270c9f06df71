// SPDX-License-Identifier: MIT OR Apache-2.0
//! A run that is killed at any operation, and a second one after it: that comes to what one run comes to.

use std::panic::{AssertUnwindSafe, catch_unwind};

use vfio_early::pci::Address;
use vfio_early::plan::same_name;

use super::case::Case;
use super::machines;
use crate::simulated::{Fault, Killed, Kind, Lasts, SimulatedMachine};

/// What a run leaves behind that is killed before this operation; `None` if it ends before.
fn killed(case: &Case, at: usize) -> Option<SimulatedMachine> {
    let machine = case.machine.clone();
    machine.trouble(Fault { at, kind: Kind::Kill, lasts: Lasts::Once });
    match catch_unwind(AssertUnwindSafe(|| case.run_in_place(&machine))) {
        Ok(_) => None,
        Err(payload) if payload.is::<Killed>() => Some(machine),
        Err(payload) => std::panic::resume_unwind(payload),
    }
}

#[test]
fn a_second_run_makes_good_what_a_killed_one_left() {
    let (mut runs, mut all) = (0, Vec::new());
    for case in machines::all().iter().filter(|case| !case.sick) {
        let Some(reference) = &case.reference else { continue };
        let wanted = reference.states();
        for at in 1..=case.operations() {
            let Some(machine) = killed(case, at) else { continue };
            runs += 1;
            machine.calm();
            machine.settle();
            let again = case.run_on(machine, false);
            let states = again.states();
            let mut broken = |what: String| {
                let hit = &reference.log[at - 1];
                all.push(format!("{}: killed before {at} ({} {})\n    {what}", case.name, hit.operation, hit.object));
            };
            if states != wanted {
                broken(format!("the next run came to {states:?} instead of {wanted:?}"));
            }
            // Whatever is told to be claimed is.
            for (address, target) in again.planned() {
                let driver = again.machine.driver(&address.to_string());
                let claimed =
                    states.iter().any(|(device, state): &(Address, String)| *device == address && state == "claimed");
                if claimed != driver.as_deref().is_some_and(|driver| same_name(driver, &target)) {
                    broken(format!("{address} is on {driver:?}; told to be claimed: {claimed}"));
                }
            }
        }
    }
    println!("{runs} runs after one that was killed");
    let shown = all.iter().take(30).cloned().collect::<Vec<_>>().join("\n");
    assert!(all.is_empty(), "{} wrong in {runs} runs:\n{shown}", all.len());
}
