// SPDX-License-Identifier: MIT OR Apache-2.0
//! How long a run may take, and how much it may look at.

use std::time::Duration;

use vfio_early::machine::Operation;

use super::case::Case;
use super::machines::{desktop, taken};
use super::promises::{MOST_WAITS, broken};
use crate::simulated::{Builder, Fault, GPU, GPU_AUDIO, Hang, Kind, Lasts, NIC, Place, SimulatedMachine, Version};

/// Sixteen cards of two functions, all claimed, the host's drivers first. In 6.1 the most is behind a device's lock.
fn server(change: impl FnOnce(&mut Builder)) -> SimulatedMachine {
    let mut builder = Builder::of(Version::V6_1);
    for number in 1..=16 {
        let port = format!("0000:00:{number:02x}.0");
        builder.port(&port);
        for (function, model) in [GPU, GPU_AUDIO].iter().enumerate() {
            builder.function(&format!("0000:{number:02x}:00.{function}"), Some(&port), model);
        }
    }
    builder.config("claim 10de:* match=all allow=last-display\n").loaded("nouveau").loaded("snd_hda_intel");
    change(&mut builder);
    builder.start()
}

#[test]
fn a_machine_on_which_everything_hangs_boots_all_the_same() {
    let without = |builder: &mut Builder| {
        builder.with(|state| state.module("vfio_pci").place = Place::RealRoot);
    };
    let asleep = |builder: &mut Builder| {
        for number in 1..=16 {
            builder.attribute(&format!("0000:{number:02x}:00.0"), "power_state", "D3cold");
        }
    };
    for machine in [server(|_| ()), server(without), server(asleep)] {
        let case = Case::new("server", machine, &[]);
        let operations = case.operations();
        for hang in [Hang::Lost, Hang::Done, Hang::Late] {
            for at in (1..=operations).step_by(37) {
                let fault = Fault { at, kind: Kind::Hang(hang), lasts: Lasts::ForAll };
                let run = case.run(Some(fault.clone()));
                let waited = run.machine.waited();
                assert!(waited.limits <= MOST_WAITS, "{hang:?} at {at}: {waited:?}");
                // At most a handful for each function that was touched.
                assert!(waited.moments <= 32 * 6, "{hang:?} at {at}: {waited:?}");
                let found = broken(&case, &run, Some(&fault));
                assert!(found.is_empty(), "{hang:?} at {at}: {}", found.join("\n"));
            }
        }
    }
}

#[test]
fn devices_that_do_not_wake_are_waited_for_a_second_each() {
    let machine = desktop("claim 01:00.0 with=none\n")
        .attribute("0000:01:00.0", "power_state", "D3cold")
        .with(|state| state.stuck.push("0000:01:00.0".to_owned()))
        .start();
    let run = Case::new("stuck", machine, &[]).run(None);
    let paused = run.machine.waited().paused;
    assert!(paused > Duration::from_millis(500) && paused <= Duration::from_secs(1), "{paused:?}");
}

#[test]
fn what_is_not_concerned_is_hardly_looked_at() {
    for (claim, links) in [("claim 01:00.0\n", 0), ("claim 00:01.0/00.0\n", 1)] {
        let mut builder = taken(desktop(claim));
        for number in 0..200 {
            builder.function(&format!("0000:{:02x}:{:02x}.0", 0x40 + number / 32, number % 32), None, &NIC);
        }
        let run = Case::new("many", builder.start(), &[]).run(None);
        for device in run.machine.devices() {
            let display = device.starts_with("0000:02:00.0") || device.starts_with("0000:00:12.0");
            let neighbour = device.starts_with("0000:02:00.1");
            if device.starts_with("0000:01:00.") || display || neighbour {
                continue;
            }
            let about = run.log.iter().filter(|entry| entry.object.split('/').any(|part| part == device));
            let (read, followed): (Vec<_>, Vec<_>) = about.partition(|entry| entry.operation == Operation::Read);
            assert_eq!((read.len(), followed.len()), (1, links), "{device}: {read:?} {followed:?}");
        }
        // As a whole: what is read of the machine does not grow with the devices otherwise.
        assert!(run.log.len() < 200 + (1 + links) * run.machine.devices().len(), "{}", run.log.len());
    }
}
