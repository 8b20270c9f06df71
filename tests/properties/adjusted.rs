// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is asked of a device besides its driver, and what becomes of the claim where it cannot be had.

use vfio_early::cli::Exit;

use super::case::{Case, Run};
use super::machines::{desktop, taken};
use crate::simulated::Builder;

/// Runs the program on a desktop; the attribute of the card afterwards.
fn run(config: &str, change: impl FnOnce(&mut Builder), name: &str) -> (Run, String) {
    let mut builder = taken(desktop(config));
    change(&mut builder);
    let run = Case::new("adjusted", builder.start(), &[]).run(None);
    let tree = run.machine.tree().clone();
    let real = tree.resolve(&format!("/sys/bus/pci/devices/0000:01:00.0/{name}"), true).unwrap();
    (run, String::from_utf8(tree.file(&real).unwrap().to_vec()).unwrap())
}

/// How it ended; what became of the card; the errors that are told.
fn end(run: &Run) -> (Exit, &str, Vec<&str>) {
    let claimed = run.result.as_ref().unwrap();
    let errors = claimed.report.problems.iter().filter(|problem| problem.severity == "error");
    (claimed.exit, claimed.report.claims[0].state.as_str(), errors.map(|problem| problem.message.as_str()).collect())
}

#[test]
fn a_card_that_cannot_be_reset_as_asked_is_claimed_all_the_same() {
    let (done, now) = run("claim 01:00.0 reset=bus+flr\n", |_| (), "reset_method");
    assert_eq!((end(&done), now.as_str()), ((Exit::Ok, "claimed", vec![]), "bus flr\n"));
    let (done, now) = run("claim 01:00.0 reset=bus+pm\n", |_| (), "reset_method");
    let message = "reset=bus+pm: cannot write /sys/bus/pci/devices/0000:01:00.0/reset_method: Invalid argument; it is claimed all the same";
    assert_eq!((end(&done), now.as_str()), ((Exit::NotHeld, "claimed", vec![message]), "flr bus\n"));
}

#[test]
fn a_way_that_was_switched_off_is_tried() {
    let off = |builder: &mut Builder| {
        builder
            .attribute("0000:01:00.0", "reset_method", "bus")
            .with(|state| state.supports_resets("0000:01:00.0", "flr bus"));
    };
    let (done, now) = run("claim 01:00.0 reset=flr\n", off, "reset_method");
    assert_eq!((end(&done), now.as_str()), ((Exit::Ok, "claimed", vec![]), "flr\n"));
    assert!(done.result.unwrap().report.problems[0].message.contains("lists bus"));
}
