// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is asked of a device besides its driver, and what becomes of the claim where it cannot be had.

use vfio_early::exit::Exit;
use vfio_early::problem::Severity;

use super::case::{Case, Run};
use super::machines::{desktop, taken};
use crate::simulated::{Builder, Version};

/// The functions that the tests are about: the first of a card of four, and one that is alone on its bus.
const CARD: &str = "0000:01:00.0";
const ALONE: &str = "0000:04:00.0";

/// Runs the program on a desktop; the attribute of the device afterwards.
fn run(config: &str, change: impl FnOnce(&mut Builder), device: &str, name: &str) -> (Run, String) {
    let mut builder = taken(desktop(config));
    change(&mut builder);
    let run = Case::new("adjusted", builder.start(), &[]).run(None);
    let tree = run.machine.tree().clone();
    let real = tree.resolve(&format!("/sys/bus/pci/devices/{device}/{name}"), true).unwrap();
    (run, String::from_utf8(tree.file(&real).unwrap().to_vec()).unwrap())
}

/// How it ended; what became of the card; the errors that are told.
fn end(run: &Run) -> (Exit, &str, Vec<&str>) {
    let claimed = run.result.as_ref().unwrap();
    let errors = claimed.report.problems.iter().filter(|problem| problem.severity == Severity::Error);
    (claimed.exit, claimed.report.claims[0].state.name(), errors.map(|problem| problem.message.as_str()).collect())
}

#[test]
fn a_card_that_cannot_be_reset_as_asked_is_claimed_all_the_same() {
    let (done, now) = run("claim 04:00.0 reset=bus+flr\n", |_| (), ALONE, "reset_method");
    assert_eq!((end(&done), now.as_str()), ((Exit::Ok, "claimed", vec![]), "bus flr\n"));
    // It lists `bus`, which the kernel refuses now that others are on the bus: the rest is set.
    let (done, now) = run("claim 01:00.0 reset=bus+flr\n", |_| (), CARD, "reset_method");
    assert_eq!((end(&done), now.as_str()), ((Exit::Ok, "claimed", vec![]), "flr\n"));
    let (done, now) = run("claim 04:00.0 reset=bus+pm\n", |_| (), ALONE, "reset_method");
    let message = "reset=bus+pm: cannot write /sys/bus/pci/devices/0000:04:00.0/reset_method: Invalid argument; the device is claimed nevertheless";
    assert_eq!((end(&done), now.as_str()), ((Exit::NotMet, "claimed", vec![message]), "flr bus\n"));
}

#[test]
fn a_way_that_was_switched_off_is_tried() {
    let off = |builder: &mut Builder| {
        builder.attribute(ALONE, "reset_method", "bus");
    };
    let (done, now) = run("claim 04:00.0 reset=flr\n", off, ALONE, "reset_method");
    assert_eq!((end(&done), now.as_str()), ((Exit::Ok, "claimed", vec![]), "flr\n"));
    assert!(done.result.unwrap().report.problems[0].message.contains("lists `bus`"));
}

#[test]
fn a_bar_is_resized_between_the_drivers() {
    let can = |builder: &mut Builder| {
        builder.resizable("0000:01:00.0");
    };
    let (done, now) = run("claim 01:00.0 rebar=1:8G\n", can, CARD, "resource");
    assert_eq!((end(&done), now.contains("0x00040001ffffffff")), ((Exit::Ok, "claimed", vec![]), true));
    let steps: Vec<String> =
        done.result.unwrap().report.steps.into_iter().map(|step| step.op.name().to_owned()).collect();
    let at = |name: &str| steps.iter().position(|op| op == name).unwrap();
    assert!(at("override") < at("detach") && at("detach") < at("rebar") && at("rebar") < at("probe"), "{steps:?}");

    // Nobody has it: then it has to be done before the module comes, which takes the card at once.
    let mut builder = desktop("claim 01:00.0 rebar=1:8G\n");
    let machine = builder.resizable("0000:01:00.0").start();
    let done = Case::new("untouched", machine, &[]).run(None);
    let steps: Vec<String> =
        done.result.unwrap().report.steps.into_iter().map(|step| step.op.name().to_owned()).collect();
    let at = |name: &str| steps.iter().position(|op| op == name).unwrap();
    assert!(at("override") < at("rebar") && at("rebar") < at("load"), "{steps:?}");
}

#[test]
fn a_bar_that_cannot_be_resized_keeps_nobody_from_the_card() {
    let small = |builder: &mut Builder| {
        builder.resizable("0000:01:00.0").with(|state| {
            state.windows.insert("0000:01:00.0".to_owned(), 9);
        });
    };
    let told = |config: &str, message: &str| {
        let (done, _) = run(config, small, CARD, "resource");
        let (exit, state, errors) = end(&done);
        assert_eq!((exit, state, errors.len()), (Exit::NotMet, "claimed", 1), "{config}");
        assert!(errors[0].contains(message), "{config}: {}", errors[0]);
    };
    told(
        "claim 01:00.0 rebar=1:8G\n",
        "rebar=1:8G: cannot write /sys/bus/pci/devices/0000:01:00.0/resource1_resize: No space left on device (above 4G",
    );
    told("claim 01:00.0 rebar=1:64G\n", "cannot have that size");
    told("claim 01:00.0 rebar=0:64M\n", "cannot have that size");
    told("claim 01:00.0 rebar=1:512M rebar=0:64M\n", "rebar=0:64M");
}

#[test]
fn a_size_that_the_kernel_takes_and_finds_no_place_for_is_told() {
    let lost = |builder: &mut Builder| {
        builder.resizable("0000:01:00.0").with(|state| {
            // Later kernels find out in time (`pci_resize_resource`).
            state.version = Version::V6_1;
            state.windows.insert("0000:01:00.0".to_owned(), 0);
        });
    };
    let (done, _) = run("claim 01:00.0 rebar=1:8G\n", lost, CARD, "resource");
    let (exit, state, errors) = end(&done);
    assert_eq!((exit, state), (Exit::NotMet, "claimed"));
    assert!(errors[0].contains("the BAR has another size"), "{errors:?}");
}

#[test]
fn a_bar_is_left_alone_under_its_guest() {
    let mut builder = taken(desktop("claim 04:00.0 rebar=1:8G\n"));
    builder.resizable("0000:04:00.0").loaded("vfio_pci").with(|state| state.claim("0000:04:00.0", "vfio-pci"));
    let done = Case::new("claimed", builder.start(), &[]).run(None);
    let (exit, state, errors) = end(&done);
    assert_eq!((exit, state), (Exit::NotMet, "claimed"));
    assert!(errors[0].contains("the device has its driver already: release it first"), "{errors:?}");
    assert!(
        done.log
            .iter()
            .all(|entry| !entry.changes() || entry.object.starts_with("/run") || entry.object == "/dev/kmsg")
    );
}

#[test]
fn a_device_that_sleeps_under_its_driver_is_woken_to_be_asked() {
    let mut builder = taken(desktop("claim 04:00.0 reset=bus\n"));
    builder.loaded("vfio_pci").with(|state| {
        state.sleep.insert("0000:04:00.0".to_owned(), "D3cold");
        state.claim("0000:04:00.0", "vfio-pci");
    });
    let done = Case::new("asleep", builder.start(), &[]).run(None);
    assert_eq!(end(&done).0, Exit::Ok);
    let steps = done.result.unwrap().report.steps;
    let steps: Vec<(&str, &str)> = steps.iter().map(|step| (step.op.name(), step.value.as_str())).collect();
    assert_eq!(steps, [("power-up", ""), ("reset-method", "bus"), ("power-control", "auto")]);
}
