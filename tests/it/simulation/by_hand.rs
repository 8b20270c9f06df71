// SPDX-License-Identifier: MIT OR Apache-2.0
//! `bind` and `release` on a running machine, with a failure at every single operation.

use std::time::Instant;

use nix::errno::Errno;
use vfio_early::config::{self, Sources};
use vfio_early::exit::{Exit, Failure};
use vfio_early::pipeline::{Run as PipelineRun, bind, claim, files_of_claims, release};
use vfio_early::report::ClaimState;

use super::case::{Drivers, drivers};
use super::machines::{desktop, taken};
use super::thorough;
use crate::simulated::{Builder, Entry, Fault, Hang, Kind, Lasts, SimulatedMachine};

/// The functions of the card that is bound and released.
const CARD: [&str; 4] = ["0000:01:00.0", "0000:01:00.1", "0000:01:00.2", "0000:01:00.3"];

#[derive(Clone, Copy, PartialEq, Debug)]
enum Hand {
    Bind,
    Release,
}

fn run(machine: &SimulatedMachine, hand: Hand) -> Result<PipelineRun, Failure> {
    let words = ["01:00.0".to_owned()];
    match hand {
        Hand::Bind => {
            let config = config::load(machine, Sources::AtBoot).map_err(Failure::Config)?.config;
            bind(machine, config, &words, false, Instant::now())
        }
        Hand::Release => release(machine, &words, false, Instant::now()),
    }
}

/// Whether every function of the card is on vfio-pci, or none is.
fn on_vfio(machine: &SimulatedMachine) -> Vec<bool> {
    CARD.iter().map(|device| machine.driver(device).as_deref() == Some("vfio-pci")).collect()
}

fn machines() -> Vec<(&'static str, SimulatedMachine)> {
    let start = |builder: &Builder| builder.start();
    vec![
        ("nothing is configured", start(&taken(desktop("")))),
        ("vfio-pci is there", start(taken(desktop("")).loaded("vfio_pci"))),
        ("the card is configured", start(&taken(desktop("claim 01:00.0\nclaim 02:00.0\n")))),
    ]
}

#[test]
fn a_card_is_bound_and_released_and_everything_is_as_before() {
    for (name, machine) in machines() {
        let before = drivers(&machine);
        let bound = run(&machine, Hand::Bind).unwrap();
        assert_eq!((bound.exit, on_vfio(&machine)), (Exit::Ok, vec![true; 4]), "{name}");
        machine.calm();
        assert_eq!(run(&machine, Hand::Bind).unwrap().exit, Exit::Ok, "{name}");
        let writes: Vec<_> = machine.changes().into_iter().filter(|entry| entry.object.starts_with("/sys")).collect();
        assert_eq!(writes, [], "{name}: bound already");
        let released = run(&machine, Hand::Release).unwrap();
        assert_eq!((released.exit, drivers(&machine)), (Exit::Ok, before), "{name}");
        assert!(CARD.iter().all(|device| machine.driver_override(device).is_none()), "{name}");
        machine.calm();
        assert_eq!(run(&machine, Hand::Release).unwrap().exit, Exit::Ok, "{name}");
        let writes: Vec<_> = machine.changes().into_iter().filter(|entry| entry.object.starts_with("/sys")).collect();
        assert_eq!(writes, [], "{name}: released already");
    }
}

#[test]
fn a_card_that_vfio_pci_takes_by_its_id_is_not_said_to_be_released() {
    let mut builder = desktop("");
    builder.loaded_with("vfio_pci", &["ids=10de:1e04"]);
    let machine = taken(builder).start();
    run(&machine, Hand::Bind).unwrap();
    let released = run(&machine, Hand::Release).unwrap();
    let claim = &released.report.claims[0];
    assert_eq!(
        (released.exit, claim.state.name(), claim.driver.as_deref()),
        (Exit::NotMet, "failed", Some("vfio-pci"))
    );
    assert!(claim.reason.as_ref().unwrap().contains("ids="), "{claim:?}");
}

#[test]
fn what_bind_saves_is_what_the_next_boot_claims() {
    let machine = taken(desktop("")).start();
    let words = ["01:00.0".to_owned(), "02:00.1".to_owned(), "with=none".to_owned()];
    let files = files_of_claims(&machine, &words).unwrap();
    let paths: Vec<&str> = files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(paths, ["/etc/vfio-early.d/0000:01:00.0.conf", "/etc/vfio-early.d/0000:02:00.1.conf"]);
    let saved: String = files.iter().map(|file| file.content.as_str()).collect();

    let next = desktop(&saved).start();
    let config = config::load(&next, Sources::AtBoot).unwrap();
    assert_eq!(claim(&next, &config.config, &[], false, Instant::now()).unwrap().exit, Exit::Ok);
    let bound: Vec<String> = drivers(&next)
        .into_iter()
        .filter(|(_, driver)| driver.as_deref() == Some("vfio-pci"))
        .map(|(device, _)| device)
        .collect();
    assert_eq!(bound, ["0000:01:00.0", "0000:02:00.1"]);
}

/// What can go wrong at an operation. A read fails in one way, unless thoroughness is asked for.
fn faults(at: usize, entry: &Entry) -> Vec<Fault> {
    let kinds = [
        Kind::Fail(Errno::EIO),
        Kind::FailAfterwards(Errno::EINTR),
        Kind::Hang(Hang::Lost),
        Kind::Hang(Hang::Done),
        Kind::Hang(Hang::Late),
    ];
    let fault = |kind: &Kind, lasts: Lasts| Fault { at, kind: kind.clone(), lasts };
    let mut faults = vec![fault(&Kind::Vanish(CARD[1].to_owned()), Lasts::Once)];
    if entry.changes() || thorough() {
        let all = [Lasts::Once, Lasts::ForThis, Lasts::ForAll];
        faults.extend(kinds.iter().flat_map(|kind| all.map(|lasts| fault(kind, lasts))));
    } else {
        faults.push(fault(&kinds[0], Lasts::Once));
    }
    faults
}

/// The promises of one run, and of the way back from it.
fn broken(
    before: &Drivers,
    machine: &SimulatedMachine,
    result: &Result<PipelineRun, Failure>,
    fault: &Fault,
) -> Vec<String> {
    let mut broken = Vec::new();
    let vanished = |device: &str| matches!(&fault.kind, Kind::Vanish(gone) if gone == device);
    for entry in machine.changes().iter().filter(|entry| entry.object.starts_with("/sys")) {
        let value = entry.value.clone().unwrap_or_default();
        if !CARD.iter().any(|device| entry.object.contains(device) || value.contains(device)) {
            broken.push(format!("wrote {value:?} to {}", entry.object));
        }
    }
    let claims = result.as_ref().map(|run| run.report.claims.clone()).unwrap_or_default();
    for claim in &claims {
        let Some(device) = claim.device else { continue };
        let device = device.to_string();
        let device = device.as_str();
        let driver = machine.driver(device);
        let vfio = driver.as_deref() == Some("vfio-pci");
        let hangs = machine.is_locked(device);
        match claim.state.name() {
            // It may go while the report is written.
            "claimed" if !vfio && !vanished(device) => {
                broken.push(format!("{device} is said to be claimed, {driver:?} has it"));
            }
            "released" if vfio && !hangs => broken.push(format!("{device} is said to be released, {driver:?} has it")),
            _ => {}
        }
    }
    if result.as_ref().is_ok_and(|run| run.exit == Exit::Ok)
        && claims.iter().any(|claim| claim.state == ClaimState::Failed)
    {
        broken.push("ended with 0 though a claim failed".to_owned());
    }
    if !machine.deadlocks().is_empty() {
        broken.push(format!("would have hung for ever: {:?}", machine.deadlocks()));
    }
    // What went wrong is over: one more `release` leads back to where everything began.
    machine.calm();
    machine.settle();
    let again = run(machine, Hand::Release);
    machine.settle();
    let after = drivers(machine);
    for (device, driver) in before {
        if !vanished(device) && after.get(device) != Some(driver) {
            let now = after.get(device);
            broken.push(format!("{device} was on {driver:?}, and is on {now:?} after another release: {again:?}"));
        }
    }
    broken
}

/// Tries every failure at every operation.
fn whatever_fails(hand: Hand) {
    let (mut all, mut runs) = (Vec::new(), 0_usize);
    for (name, machine) in machines() {
        let before = drivers(&machine);
        if hand == Hand::Release {
            assert_eq!(run(&machine, Hand::Bind).unwrap().exit, Exit::Ok);
        }
        machine.calm();
        let reference = machine.clone();
        run(&reference, hand).unwrap();
        let log = reference.log();
        for fault in log.iter().zip(1..).flat_map(|(entry, at)| faults(at, entry)) {
            let machine = machine.clone();
            machine.trouble(fault.clone());
            let result = run(&machine, hand);
            runs += 1;
            let found = broken(&before, &machine, &result, &fault);
            all.extend(found.into_iter().map(|what| format!("{name}: {fault:?}\n    {what}")));
        }
    }
    assert!(runs > 500, "{runs} runs");
    let shown = all.iter().take(20).cloned().collect::<Vec<_>>().join("\n");
    assert!(all.is_empty(), "{} promises broken in {runs} runs:\n{shown}", all.len());
}

#[test]
fn whatever_fails_while_a_card_is_bound_it_can_be_released() {
    whatever_fails(Hand::Bind);
}

#[test]
fn whatever_fails_while_a_card_is_released_it_can_be_released_again() {
    whatever_fails(Hand::Release);
}
