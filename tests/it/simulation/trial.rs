// SPDX-License-Identifier: MIT OR Apache-2.0
//! `set trial yes`: a boot that nobody confirms is the last that claims, whatever fails.

use std::time::Instant;

use nix::errno::Errno;
use vfio_early::config::{self, Sources};
use vfio_early::exit::{Exit, Failure};
use vfio_early::machine::{Machine, Operation};
use vfio_early::pipeline::{self, Run};
use vfio_early::plan::Decision;
use vfio_early::problem::{Code, Problem, Severity};
use vfio_early::trial::{MARK, Mark, State, Verdict};

use super::case::{Drivers, drivers};
use super::machines::desktop_with;
use crate::simulated::{Fault, Firmware, Hang, Kind, Lasts, Obstacle, SimulatedMachine, Version};

const CONFIGURATION: &str = "set trial yes\nclaim 01:00.0\nclaim 02:00.0\n";
const OTHER: &str = "set trial yes\nclaim 01:00.0 id=10de:1e04\nclaim 02:00.0\n";
const CARDS: [&str; 2] = ["0000:01:00.0", "0000:02:00.0"];

/// The initramfs of a boot with this number.
fn boot(version: Version, configuration: &str, number: u32) -> SimulatedMachine {
    desktop_with(version, configuration).uefi(&format!("{number:08x}")).start()
}

/// The next boot of a machine: what its firmware kept, and nothing else.
fn next(machine: &SimulatedMachine, configuration: &str, number: u32) -> SimulatedMachine {
    let (version, firmware) = machine.change(|state| (state.version, state.firmware.clone().unwrap()));
    let machine = boot(version, configuration, number);
    machine.change(|state| {
        let Firmware { variables, obstacle, .. } = firmware;
        state.firmware = Some(Firmware { variables, obstacle, ..Firmware::default() });
    });
    machine
}

fn claim(machine: &SimulatedMachine) -> Run {
    let config = config::load(machine, Sources::AtBoot).unwrap().config;
    pipeline::claim(machine, &config, &[], false, Instant::now()).unwrap()
}

/// Which of the cards are on vfio-pci.
fn claimed(machine: &SimulatedMachine) -> usize {
    CARDS.iter().filter(|card| machine.driver(card).as_deref() == Some("vfio-pci")).count()
}

fn state(run: &Run) -> Option<State> {
    run.report.trial.as_ref().map(|trial| trial.state)
}

/// The mark that survives a reset.
fn mark(machine: &SimulatedMachine) -> Option<Mark> {
    let name = MARK.rsplit('/').next().unwrap();
    machine.change(|state| Mark::parse(state.firmware.as_ref()?.variables.get(name)?))
}

/// What keeps a machine from keeping a mark.
type Cause<'a> = &'a dyn Fn(&SimulatedMachine);

/// The operations that change a device.
fn touches(machine: &SimulatedMachine) -> Vec<usize> {
    let log = machine.log();
    let touch = |object: &str| object.starts_with("/sys/bus/") || object.starts_with("vfio");
    (0..log.len()).filter(|at| log[*at].changes() && touch(&log[*at].object)).collect()
}

fn confirm(machine: &SimulatedMachine) -> Result<String, Failure> {
    pipeline::confirm(machine, false)
}

#[test]
fn a_boot_that_nobody_confirms_is_the_last_that_claims() {
    for version in Version::ALL {
        let first = boot(version, CONFIGURATION, 1);
        let untouched = drivers(&first);
        let run = claim(&first);
        assert_eq!((run.exit, state(&run), claimed(&first)), (Exit::Ok, Some(State::Running), 2));
        assert!(run.report.problems.iter().any(|problem| problem.message.contains("vfio-early confirm")));
        assert!(first.read("/run/motd.d/vfio-early", 4096).is_ok());
        // The mark comes first.
        let log = first.log();
        let written = log.iter().position(|entry| entry.object == MARK && entry.operation == Operation::Write).unwrap();
        assert!(written < touches(&first)[0] && log[written].ok);

        // A second run, and one for udev, are of the same boot; also where the first one was killed.
        first.calm();
        assert_eq!(state(&claim(&first)), Some(State::Running));
        assert!(!first.changes().iter().any(|entry| entry.object == MARK));
        first.change(|state| state.tree.remove("/run/vfio-early/report.json"));
        assert_eq!((state(&claim(&first)), claimed(&first)), (Some(State::Running), 2));

        let mut before = first;
        for number in 2..4 {
            let blocked = next(&before, CONFIGURATION, number);
            let run = claim(&blocked);
            assert_eq!((run.exit, state(&run)), (Exit::NotMet, Some(State::Blocked)));
            assert_eq!((drivers(&blocked), touches(&blocked)), (untouched.clone(), vec![]), "{version:?}");
            let error = run.report.problems.iter().find(|problem| problem.code == Code::Trial).unwrap();
            assert!(error.message.contains("was not confirmed") && error.message.contains("vfio_early.trial=no"));
            // In the same boot it stays so, and there is nothing to confirm.
            assert_eq!(state(&claim(&blocked)), Some(State::Blocked));
            assert!(matches!(confirm(&blocked), Err(Failure::Message(Exit::NotMet, _))));
            before = blocked;
        }
        // Another configuration begins anew.
        let other = next(&before, OTHER, 4);
        assert_eq!((state(&claim(&other)), claimed(&other)), (Some(State::Running), 2));
        // So does the same one, when somebody asks for that.
        pipeline::confirm(&before, true).unwrap();
        assert_eq!(state(&claim(&before)), Some(State::Blocked), "not in this boot");
        let again = next(&before, CONFIGURATION, 5);
        assert_eq!((state(&claim(&again)), claimed(&again)), (Some(State::Running), 2));
    }
}

#[test]
fn what_was_confirmed_is_claimed_at_every_boot_and_writes_nothing() {
    for version in Version::ALL {
        let mut machine = boot(version, CONFIGURATION, 1);
        claim(&machine);
        assert!(confirm(&machine).unwrap().starts_with("confirmed"));
        assert_eq!(mark(&machine).unwrap().verdict, Verdict::Good);
        assert!(machine.read("/run/motd.d/vfio-early", 4096).unwrap().is_empty());
        assert!(machine.change(|state| state.firmware.as_ref().unwrap().mutable.is_empty()));
        assert_eq!(state(&claim(&machine)), Some(State::Good));
        assert!(confirm(&machine).unwrap().contains("already"));
        for number in 2..4 {
            machine = next(&machine, CONFIGURATION, number);
            // Nothing has to be written, so nothing may be in the way.
            machine.change(|state| {
                state.firmware.as_mut().unwrap().obstacle = (number == 3).then_some(Obstacle::ReadOnly);
            });
            let run = claim(&machine);
            assert_eq!((run.exit, state(&run), claimed(&machine)), (Exit::Ok, Some(State::Good), 2));
            assert!(!machine.changes().iter().any(|entry| entry.object == MARK));
        }
        // Comments and blanks are no change.
        let machine = next(&machine, "# a comment\nset  trial yes\nclaim 01:00.0\nclaim 02:00.0 # the other\n", 4);
        assert_eq!(state(&claim(&machine)), Some(State::Good));
    }
}

#[test]
fn without_a_place_for_the_mark_nothing_is_claimed() {
    let firmware = |obstacle| {
        move |machine: &SimulatedMachine| {
            machine.change(|state| state.firmware.as_mut().unwrap().obstacle = Some(obstacle));
        }
    };
    let full = firmware(Obstacle::Full);
    let read_only = firmware(Obstacle::ReadOnly);
    let no_runtime = firmware(Obstacle::NoRuntime);
    let no_module = |machine: &SimulatedMachine| {
        machine.change(|state| state.modules.retain(|module| module.name != "efivarfs"));
    };
    let bios = |machine: &SimulatedMachine| {
        machine.change(|state| {
            state.firmware = None;
            state.tree.remove("/sys/firmware/efi/efivars");
            state.tree.remove("/sys/firmware/efi");
        });
    };
    let causes: [(Cause<'_>, &str); 5] = [
        (&full, "No space left on device"),
        (&read_only, "is mounted read-only"),
        (&no_runtime, "not supported"),
        (&no_module, "efivarfs not found"),
        (&bios, "was not booted by UEFI"),
    ];
    for version in Version::ALL {
        for (cause, says) in causes {
            let machine = boot(version, CONFIGURATION, 1);
            let untouched = drivers(&machine);
            cause(&machine);
            for _ in 0..2 {
                let run = claim(&machine);
                assert_eq!((run.exit, state(&run)), (Exit::NotMet, Some(State::Blocked)), "{says}");
                assert_eq!((drivers(&machine), touches(&machine)), (untouched.clone(), vec![]), "{says}");
            }
            let log = machine.read("/dev/kmsg", 1 << 20).unwrap();
            let log = String::from_utf8_lossy(&log);
            assert!(log.contains(says) && log.contains("nothing is claimed"), "{says}: {log}");
        }
        // What a full store leaves behind is an empty file in older kernels. Once there is room, it is no mark.
        let machine = boot(version, CONFIGURATION, 1);
        full(&machine);
        claim(&machine);
        assert_eq!(machine.tree().get(MARK).is_ok(), version < Version::V7_2);
        machine.change(|state| {
            state.firmware.as_mut().unwrap().obstacle = None;
            state.tree.remove("/run/vfio-early/report.json");
        });
        assert_eq!((state(&claim(&machine)), claimed(&machine)), (Some(State::Running), 2), "{version:?}");
    }
}

#[test]
fn what_needs_no_trial_asks_nothing_of_the_firmware() {
    for configuration in
        ["claim 01:00.0\n", "set trial yes\nset trial no\nclaim 01:00.0\n", "set trial yes\nclaim 09:00.0\n"]
    {
        let machine = boot(Version::default(), configuration, 1);
        claim(&machine);
        assert!(!machine.changes().iter().any(|entry| entry.object == MARK), "{configuration}");
    }
    // An unconfirmed configuration, on a boot that asks for no trial: claimed, and may be confirmed.
    let machine = boot(Version::default(), CONFIGURATION, 1);
    claim(&machine);
    let without = next(&machine, CONFIGURATION, 2);
    without.change(|state| {
        let line = b"quiet intel_iommu=on vfio_early.trial=no\n".to_vec();
        state.tree.put("/proc/cmdline", vfio_early::machine::Node::File(line));
    });
    let run = claim(&without);
    assert_eq!((run.exit, state(&run), claimed(&without)), (Exit::Ok, Some(State::Off), 2));
    without.mount("efivarfs", vfio_early::trial::VARIABLES).unwrap_err();
    without.load("efivarfs", &[]).unwrap();
    without.mount("efivarfs", vfio_early::trial::VARIABLES).unwrap();
    assert!(confirm(&without).unwrap().starts_with("confirmed"));
    let good = next(&without, CONFIGURATION, 3);
    assert_eq!(state(&claim(&good)), Some(State::Good));
}

#[test]
fn udev_claims_nothing_in_a_boot_that_is_blocked() {
    let first = boot(Version::default(), CONFIGURATION, 1);
    claim(&first);
    let blocked = next(&first, CONFIGURATION, 2);
    claim(&blocked);
    let config = config::load(&blocked, Sources::AtBoot).unwrap().config;
    let device = "0000:01:00.0".parse().unwrap();
    let run = pipeline::claim(&blocked, &config, &[device], false, Instant::now()).unwrap();
    assert!(run.plan.devices.iter().all(|planned| matches!(planned.decision, Decision::Refuse(_))));
    assert_eq!(touches(&blocked), Vec::<usize>::new());
}

/// Runs the claim of a boot in which this goes wrong. A device is touched only where the mark says so and survives, and then
/// the next boot claims nothing.
fn held_by_the_mark(machine: &SimulatedMachine, fault: &Fault, untouched: &Drivers) -> Vec<String> {
    let mut broken = Vec::new();
    let what = || format!("{fault:?} ({:?})", machine.log().get(fault.at - 1).map(|entry| entry.object.clone()));
    let config = config::load(machine, Sources::AtBoot);
    let run = config.ok().map(|loaded| pipeline::claim(machine, &loaded.config, &[], false, Instant::now()));
    let touched = !touches(machine).is_empty();
    let running = matches!(mark(machine), Some(Mark { verdict: Verdict::Running(_), .. }));
    if touched && !running {
        broken.push(format!("touched without a mark: {}", what()));
    }
    if let Some(Ok(run)) = &run {
        let blocked = state(run) == Some(State::Blocked);
        if blocked && (touched || drivers(machine) != *untouched) {
            broken.push(format!("told to claim nothing, and touched a device: {}", what()));
        }
        let told = |problem: &Problem| problem.code == Code::Trial && problem.severity == Severity::Error;
        if blocked != run.report.problems.iter().any(told) {
            broken.push(format!("the trial is not told: {}", what()));
        }
    }
    machine.settle();
    let following = next(machine, CONFIGURATION, 9);
    let run = claim(&following);
    let blocked = state(&run) == Some(State::Blocked);
    if touched && !(blocked && drivers(&following) == *untouched) {
        broken.push(format!("the next boot claims again: {}", what()));
    }
    if !blocked && claimed(&following) != 2 {
        broken.push(format!("the next boot does not claim: {}", what()));
    }
    broken
}

#[test]
fn whatever_fails_no_device_is_touched_without_a_mark() {
    let mut broken = Vec::new();
    let mut runs = 0;
    for version in [Version::V6_1, Version::V7_2] {
        // One machine has never had a mark, the other has one of another configuration, which is immutable.
        let fresh = boot(version, CONFIGURATION, 1);
        let other = boot(version, OTHER, 1);
        claim(&other);
        for machine in [fresh, next(&other, CONFIGURATION, 2)] {
            let untouched = drivers(&machine);
            let reference = machine.clone();
            claim(&reference);
            let last = touches(&reference)[0] + 2;
            let log = reference.log();
            for at in 1..=last {
                let changes = log[at - 1].changes();
                let kinds = [
                    Kind::Fail(Errno::EIO),
                    Kind::Fail(Errno::EPERM),
                    Kind::FailAfterwards(Errno::EINTR),
                    Kind::Hang(Hang::Lost),
                    Kind::Hang(Hang::Done),
                    Kind::Hang(Hang::Late),
                ];
                let all = [Lasts::Once, Lasts::ForThis, Lasts::ForAll];
                // A read fails, once or for ever, and that is all that it does.
                let (kinds, all) = if changes { (&kinds[..], &all[..]) } else { (&kinds[..1], &all[at % 3..][..1]) };
                for kind in kinds {
                    for lasts in all {
                        let fault = Fault { at, kind: kind.clone(), lasts: *lasts };
                        let machine = machine.clone();
                        machine.trouble(fault.clone());
                        broken.extend(held_by_the_mark(&machine, &fault, &untouched));
                        runs += 1;
                    }
                }
            }
        }
    }
    println!("{runs} runs");
    assert!(broken.is_empty(), "{} of {runs}:\n{}", broken.len(), broken[..broken.len().min(20)].join("\n"));
}
