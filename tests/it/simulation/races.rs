// SPDX-License-Identifier: MIT OR Apache-2.0
//! A host driver that is loaded while the claim is at work, as udev does for devices that are plugged in. Seen with 64 functions
//! that were plugged in at once (the boot case `plugged`).

use std::time::{Duration, Instant};

use vfio_early::config::{self, Sources};
use vfio_early::exit::Exit;
use vfio_early::pipeline::{Run, claim};

use super::machines::desktop;
use crate::simulated::SimulatedMachine;

const NET: &str = "0000:04:00.0";

fn run(machine: &SimulatedMachine) -> Run {
    let config = config::load(machine, Sources::AtBoot).unwrap().config;
    claim(machine, &config, &[NET.parse().unwrap()], false, Instant::now()).unwrap()
}

fn driver_and_override(machine: &SimulatedMachine) -> (Option<String>, Option<String>) {
    (machine.driver(NET), machine.driver_override(NET))
}

fn claimed() -> (Option<String>, Option<String>) {
    (Some("vfio-pci".to_owned()), Some("vfio-pci".to_owned()))
}

#[test]
fn a_driver_that_takes_the_device_after_the_inventory_gives_it_up() {
    let machine = desktop("claim 04:00.0\n").start();
    machine.change(|state| state.intruder = Some((NET.to_owned(), "e1000e".to_owned())));
    let run = run(&machine);
    assert_eq!((run.exit, driver_and_override(&machine)), (Exit::Ok, claimed()), "{:?}", run.report.steps);
    let steps: Vec<&str> = run.report.steps.iter().map(|step| step.op.name()).collect();
    assert_eq!(steps, ["override", "load", "probe", "detach", "probe", "verify"]);
}

#[test]
fn a_driver_that_is_still_being_registered_is_waited_for() {
    let mut builder = desktop("claim 04:00.0\n");
    let machine = builder.loaded("e1000e").start();
    machine.change(|state| state.begin_registration("e1000e", 30));
    let run = run(&machine);
    assert_eq!((run.exit, driver_and_override(&machine)), (Exit::Ok, claimed()), "{:?}", run.report.steps);
}

#[test]
fn a_driver_that_gives_no_device_up_is_not_waited_for() {
    let mut builder = desktop("claim 04:00.0\n");
    let machine = builder.loaded("e1000e").start();
    // `suppress_bind_attrs`: it is registered, and never has these files.
    machine.change(|state| {
        for name in ["bind", "unbind"] {
            state.tree.remove(&format!("/sys/bus/pci/drivers/e1000e/{name}"));
        }
    });
    let run = run(&machine);
    assert_eq!(run.exit, Exit::NotMet);
    assert_eq!(driver_and_override(&machine), (Some("e1000e".to_owned()), None));
    assert!(machine.waited().paused < Duration::from_millis(300), "{:?}", machine.waited().paused);
}
