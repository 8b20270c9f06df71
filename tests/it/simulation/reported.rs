// SPDX-License-Identifier: MIT OR Apache-2.0
//! The report after several runs: each tells of what it was about, and leaves true what the others told.

use std::time::Instant;

use vfio_early::config::{self, Config, Sources};
use vfio_early::machine::Node;
use vfio_early::pci::Address;
use vfio_early::pipeline::{bind, claim, release};
use vfio_early::report::{self, ClaimState, Report};

use super::machines::{desktop, taken};
use crate::simulated::{Builder, Probe, SimulatedMachine};

fn config(machine: &SimulatedMachine) -> Config {
    config::load(machine, Sources::AtBoot).unwrap().config
}

/// Claims what is configured: all of it, or these devices.
fn run(machine: &SimulatedMachine, devices: &[&str]) {
    let devices: Vec<_> = devices.iter().map(|name| name.parse().unwrap()).collect();
    claim(machine, &config(machine), &devices, false, Instant::now()).unwrap();
}

fn by_hand(machine: &SimulatedMachine, words: &[&str]) {
    let words: Vec<String> = words.iter().map(ToString::to_string).collect();
    bind(machine, config(machine), &words, false, Instant::now()).unwrap();
}

fn report(machine: &SimulatedMachine) -> Report {
    report::load(machine).unwrap()
}

/// The claims of a report: `DEVICE STATE SOURCE`.
fn claims(report: &Report) -> Vec<String> {
    let device = |device: Option<Address>| device.map_or_else(|| "-".to_owned(), |device| device.to_string());
    let claims = report.claims.iter();
    claims.map(|claim| format!("{} {} {}", device(claim.device), claim.state.name(), claim.source)).collect()
}

/// The codes of its problems.
fn problems(report: &Report) -> Vec<&str> {
    report.problems.iter().map(|problem| problem.code.name()).collect()
}

#[test]
fn what_was_bound_by_hand_stays_on_record_until_it_is_released() {
    let machine = taken(desktop("claim 02:00.0\n")).start();
    by_hand(&machine, &["03:00.0", "allow=storage"]);
    run(&machine, &[]);
    run(&machine, &[]);
    let configured = ["0000:02:00.0 claimed /etc/vfio-early.conf:1", "0000:02:00.1 claimed /etc/vfio-early.conf:1"];
    let both = [configured.as_slice(), &["0000:03:00.0 claimed bind"]].concat();
    assert_eq!(claims(&report(&machine)), both);
    release(&machine, &["03:00.0".to_owned()], false, Instant::now()).unwrap();
    run(&machine, &[]);
    assert_eq!(claims(&report(&machine)), configured);
}

#[test]
fn a_run_about_one_device_leaves_what_is_wrong_with_others() {
    let mut builder = taken(desktop("claim 05:00.0\nclaim 02:00.0\n"));
    builder.file("/proc/interrupts", " 24:  1  PCI-MSI-0000:00:1c.0  0-edge  PCIe PME\n");
    let machine = builder.start();
    run(&machine, &[]);
    assert_eq!(problems(&report(&machine)), ["interrupt-remapping", "missing"]);
    by_hand(&machine, &["01:00.0"]);
    assert_eq!(problems(&report(&machine)), ["missing", "interrupt-remapping"]);
}

#[test]
fn what_was_wrong_is_forgotten_with_the_claim_that_it_was_about() {
    let start = |change: &dyn Fn(&mut Builder)| {
        let mut builder = taken(desktop("claim 03:00.0\n"));
        change(&mut builder);
        builder.start()
    };
    let machine = start(&|_| ());
    run(&machine, &[]);
    assert_eq!(problems(&report(&machine)), ["storage"]);
    by_hand(&machine, &["03:00.0", "allow=storage"]);
    assert_eq!(
        (claims(&report(&machine)), problems(&report(&machine))),
        (vec!["0000:03:00.0 claimed bind".to_owned()], vec![])
    );
}

#[test]
fn a_device_that_comes_later_is_not_missing_any_more() {
    let machine = taken(desktop("claim 05:00.0\nclaim 06:00.0\n")).start();
    run(&machine, &[]);
    let before = report(&machine);
    let after = taken(desktop("claim 05:00.0\nclaim 06:00.0\n"))
        .port("0000:00:05.0")
        .function("0000:05:00.0", Some("0000:00:05.0"), &crate::simulated::NIC)
        .start();
    report::save(&after, &before).unwrap();
    run(&after, &["0000:05:00.0"]);
    let report = report(&after);
    let missing = "no device at 0000:06:00.0";
    assert_eq!(report.problems.iter().map(|problem| problem.message.as_str()).collect::<Vec<_>>(), [missing]);
}

#[test]
fn a_device_is_not_taken_from_the_driver_that_it_shall_be_on() {
    let mut builder = desktop("claim 04:00.0\n");
    builder.loaded_with("vfio_pci", &["ids=8086:ffffffff"]);
    let machine = builder.start();
    assert_eq!(machine.driver("0000:04:00.0").as_deref(), Some("vfio-pci"), "the test is about this");
    run(&machine, &[]);
    assert_eq!(report(&machine).claims[0].before, Vec::<String>::new());
}

#[test]
fn what_is_refused_by_hand_leaves_the_record_of_what_was_done() {
    let machine = taken(desktop("claim 01:00.0\n")).start();
    run(&machine, &[]);
    let before = report(&machine);
    by_hand(&machine, &["01:00.0", "id=10de:ffff"]);
    by_hand(&machine, &["05:00.0"]);
    let after = report(&machine);
    assert_eq!((claims(&after), problems(&after)), (claims(&before), problems(&before)));
    assert_eq!(after.claims[0].stage, before.claims[0].stage);
}

/// udev asks for every device that appears.
#[test]
fn what_is_switched_off_is_told_once_and_not_for_each_device() {
    let mut builder = desktop("claim 01:00.0\n");
    let machine = builder.file("/proc/cmdline", "quiet vfio_early=off\n").start();
    let told = || machine.changes().iter().filter(|entry| entry.object == "/dev/kmsg").count();
    run(&machine, &[]);
    assert_eq!(told(), 1);
    run(&machine, &["0000:01:00.0"]);
    assert_eq!(told(), 1);
}

#[test]
fn what_was_bound_by_hand_and_is_gone_can_be_let_go() {
    let machine = taken(desktop("")).start();
    by_hand(&machine, &["03:00.0", "allow=storage"]);
    machine.change(|state| state.vanish("0000:03:00.0"));
    let released = release(&machine, &["03:00.0".to_owned()], false, Instant::now()).unwrap();
    assert_eq!((released.exit.code(), claims(&report(&machine))), (1, vec![]));
}

/// Virtual functions share a slot by accident.
#[test]
fn a_virtual_function_that_fails_does_not_stop_its_neighbours() {
    let mut builder = desktop("claim 04:00.1\nclaim 04:00.2\n");
    for function in ["0000:04:00.1", "0000:04:00.2"] {
        builder.function(function, Some("0000:00:04.0"), &crate::simulated::NIC).with(|state| {
            let directory = state.directory("pci", function).unwrap();
            state.tree.put(&format!("{directory}/physfn"), Node::Link("../0000:04:00.0".to_owned()));
        });
    }
    let how = Probe::Fail(nix::errno::Errno::EIO);
    builder.with(|state| {
        state.probe.insert(("vfio-pci".to_owned(), "0000:04:00.1".to_owned()), how);
    });
    let machine = builder.start();
    run(&machine, &[]);
    let report = report(&machine);
    let states: Vec<_> = report.claims.iter().map(|claim| claim.state).collect();
    assert_eq!(states, [ClaimState::Failed, ClaimState::Claimed]);
    assert_eq!(machine.driver("0000:04:00.2").as_deref(), Some("vfio-pci"));
}
