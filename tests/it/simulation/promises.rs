// SPDX-License-Identifier: MIT OR Apache-2.0
//! The promises, each a function that looks at a run and says what was broken.

use vfio_early::config::Rebar;
use vfio_early::exit::Exit;
use vfio_early::json::FromJson;
use vfio_early::machine::{Node, Operation};
use vfio_early::pci::Address;
use vfio_early::plan::{Op, StepKind, same_name};
use vfio_early::problem::{Code, Severity};
use vfio_early::report::{self, ClaimState, Ended, Report, ReportedStep};

use super::case::{Case, Drivers, Run, drivers};
use super::excuse::{Hurt, beyond_help, blind, gone_with_both};
use crate::simulated::{Entry, Fault, Hang, Kind, Lasts, SimulatedMachine};

/// How often a run may wait for as long as a step may take: an option ROM, three steps, the module, the look before.
pub(super) const MOST_WAITS: usize = 6;

/// What was broken in a run.
pub(super) type Broken = Vec<String>;

/// Holds a run against every promise.
pub(super) fn broken(case: &Case, run: &Run, fault: Option<&Fault>) -> Broken {
    let mut broken = Vec::new();
    only_what_is_planned_is_written(case, run, &mut broken);
    the_report_is_true(run, fault, &mut broken);
    nothing_hangs_for_ever(run, MOST_WAITS, &mut broken);
    resets_are_as_asked_or_told(case, run, fault, &mut broken);
    bars_are_as_asked_or_told(case, run, fault, &mut broken);
    no_device_is_lost(case, run, fault, &mut broken);
    roms_are_switched_off(run, fault, &mut broken);
    if let Some(fault) = fault {
        one_does_not_stop_the_others(case, run, fault, &mut broken);
        a_fault_that_passes_does_no_harm(case, run, fault, &mut broken);
    }
    broken
}

/// What holds even if two things go wrong: nothing outside the plan is written, the report is true of the devices, the run
/// ends, and no device is lost that could be given back.
pub(super) fn broken_by_two(case: &Case, run: &Run, faults: &[&Fault]) -> Broken {
    let mut broken = Vec::new();
    only_what_is_planned_is_written(case, run, &mut broken);
    // Two option ROMs may hang.
    nothing_hangs_for_ever(run, MOST_WAITS + 1, &mut broken);
    // Whoever is excused for one of them is excused.
    let excused: Vec<Broken> = faults
        .iter()
        .map(|fault| {
            let mut broken = Vec::new();
            the_report_is_true(run, Some(fault), &mut broken);
            no_device_is_lost(case, run, Some(fault), &mut broken);
            broken
        })
        .collect();
    let (first, others) = excused.split_first().unwrap();
    let helpless = gone_with_both(run, faults);
    let lost = |what: &String| helpless.is_some_and(|device| what.contains(&format!(", {device} is on None;")));
    let whatever = first.iter().filter(|what| others.iter().all(|other| other.contains(what)));
    broken.extend(whatever.filter(|what| !lost(what)).cloned());
    broken
}

/// No device ends without a driver unless it had none before; and once everything that hung has ended, and udev has loaded
/// what it loads, every device is on its VFIO driver or where it would be without us.
fn no_device_is_lost(case: &Case, run: &Run, fault: Option<&Fault>, broken: &mut Broken) {
    let planned = run.planned();
    let states = run.states();
    let target = |name: &str| {
        let address: Address = name.parse().unwrap();
        planned.iter().find(|(planned, _)| *planned == address).map(|(_, target)| target.clone())
    };
    let state = |name: &str| {
        let address: Address = name.parse().unwrap();
        states.iter().find(|(device, _)| *device == address).map(|(_, state)| state.as_str())
    };
    let before = drivers(&case.machine);
    let settled = run.machine.clone();
    settled.calm();
    let mut moments: Vec<(&str, Drivers)> = vec![("at the end", drivers(&settled))];
    settled.settle();
    moments.push(("when all has settled", drivers(&settled)));
    settled.coldplug();
    settled.settle();
    moments.push(("after udev", drivers(&settled)));

    for (when, now) in &moments {
        for (device, driver) in now {
            let had = before.get(device).cloned().flatten();
            let hangs = *when == "at the end" && run.machine.is_locked(device);
            if hangs {
                continue;
            }
            let Some(target) = target(device) else {
                // It may have been waiting for the driver that was loaded now.
                let override_now = case.machine.driver_override(device);
                let wanted = if *when == "after udev" { case.untouched[device].clone() } else { had };
                // Or for one that udev loads for a device that was pulled out.
                let pulled = fault.is_some_and(|fault| matches!(fault.kind, Kind::Vanish(_)));
                if pulled && override_now.is_some() && *when == "after udev" {
                    continue;
                }
                if *driver != wanted && (driver.is_none() || *driver != override_now) {
                    broken.push(format!("{when}, {device}, which nobody claimed, is on {driver:?} and not {wanted:?}"));
                }
                continue;
            };
            let claimed = state(device) == Some("claimed");
            let on_target = driver.as_deref().is_some_and(|driver| same_name(driver, &target));
            if claimed && !on_target {
                broken.push(format!("{when}, {device} is on {driver:?}, but was told to be claimed"));
            }
            if !case.restore || on_target {
                continue;
            }
            let lost = match *when {
                "after udev" => *driver != case.untouched[device] && *driver != case.cleared[device],
                _ => driver.is_none() && had.is_some(),
            };
            let told = state(device) == Some("failed");
            if lost && !(beyond_help(case, run, fault, device) && told) {
                broken.push(format!("{when}, {device} is on {driver:?}; it had {had:?} and is {:?}", state(device)));
            }
        }
    }
}

/// Nothing outside the plan is written.
fn only_what_is_planned_is_written(case: &Case, run: &Run, broken: &mut Broken) {
    let planned = run.planned();
    let is_planned = |name: &str| planned.iter().any(|(address, _)| address.to_string() == name.trim());
    let allowed = |entry: &Entry| {
        let value = entry.value.as_deref().unwrap_or_default();
        let parts: Vec<&str> = entry.object.split('/').skip(1).collect();
        match (entry.operation, parts.as_slice()) {
            (Operation::Load, _) => planned.iter().any(|(_, target)| *target == entry.object),
            (Operation::Save, ["run", "vfio-early", "rom", file]) => file.strip_suffix(".rom").is_some_and(is_planned),
            (Operation::Save, _) => entry.object == "/run/vfio-early/report.json",
            (
                _,
                ["sys", "bus", "pci", "devices", device, "rom" | "enable"]
                | ["sys", "bus", "pci", "devices", device, "power", "control"],
            ) => is_planned(device) || wakes(run, device),
            (_, ["sys", "bus", "pci", "devices", device, "reset_method"]) => run.holds(device),
            (_, ["sys", "bus", "pci", "devices", device, "resource1_resize" | "d3cold_allowed"]) => is_planned(device),
            (_, ["dev", "kmsg"]) => true,
            (_, ["sys", "bus", "pci", "devices", device, "driver_override"]) => {
                let name = value.trim_end();
                let had = drivers(&case.machine).get(*device).cloned().flatten();
                let earlier = case.machine.driver_override(device);
                let known = planned.iter().any(|(_, target)| same_name(target, name))
                    || [had, earlier].iter().any(|before| before.as_deref() == Some(name));
                is_planned(device) && (name.is_empty() || known) && value.ends_with('\n')
            }
            (_, ["sys", "bus", "pci", "drivers_probe"] | ["sys", "bus", "pci", "drivers", _, "bind" | "unbind"]) => {
                is_planned(value)
            }
            (_, ["sys", "bus", "platform", "drivers", "simple-framebuffer", "unbind" | "bind"]) => {
                value == "simple-framebuffer.0" && planned.iter().any(|(address, _)| is_boot_display(case, *address))
            }
            _ => false,
        }
    };
    for entry in run.log.iter().filter(|entry| entry.changes() && !allowed(entry)) {
        broken.push(format!("outside the plan: {entry:?}"));
    }
    // And nothing outside the plan has changed, whoever wrote it.
    for device in case.machine.devices() {
        let there = run.machine.devices().contains(&device);
        if there
            && !is_planned(&device)
            && run.machine.driver_override(&device) != case.machine.driver_override(&device)
        {
            broken.push(format!("the override of {device}, which nobody claimed, has changed"));
        }
    }
}

/// Whether a function that is on its driver already has to be woken.
fn wakes(run: &Run, device: &str) -> bool {
    let steps = run.result.iter().flat_map(|claimed| &claimed.plan.steps);
    steps.into_iter().any(|step| step.op == Op::PowerUp && step.device.is_some_and(|name| name.to_string() == device))
}

fn is_boot_display(case: &Case, address: Address) -> bool {
    let path = format!("/sys/bus/pci/devices/{address}/boot_vga");
    let tree = case.machine.tree();
    let real = tree.resolve(&path, true);
    real.is_ok_and(|real| tree.file(&real).is_ok_and(|value| value.starts_with(b"1")))
}

/// What the report says is what the machine shows.
fn the_report_is_true(run: &Run, fault: Option<&Fault>, broken: &mut Broken) {
    let Ok(claimed) = &run.result else {
        if let Some(entry) = run.log.iter().find(|entry| entry.changes() && entry.object != "/dev/kmsg") {
            broken.push(format!("the run was refused and changed something: {entry:?}"));
        }
        return;
    };
    let report = &claimed.report;
    for claim in &report.claims {
        let Some(device) = claim.device else { continue };
        let device = device.to_string();
        let device = device.as_str();
        let driver = run.machine.driver(device);
        if pulled_afterwards(run, fault, device) {
            continue;
        }
        let reason = claim.reason.as_deref().unwrap_or_default();
        let unknown = claim.driver.is_none() && blind(run, fault, device);
        if claim.driver != driver && !unknown {
            broken.push(format!("{device} is told to be on {:?}, and is on {driver:?}", claim.driver));
        }
        let name_fits = |name: Option<String>| name.is_some_and(|name| same_name(&name, &claim.target));
        let held =
            name_fits(driver) && name_fits(run.machine.driver_override(device)) && !run.machine.is_locked(device);
        match claim.state.name() {
            "claimed" if !held => broken.push(format!("{device} is told to be claimed, and is not")),
            "failed" | "refused" | "missing" if reason.is_empty() => broken.push(format!("{device}: no reason")),
            "claimed" | "failed" | "refused" | "missing" => {}
            other => broken.push(format!("{device}: the state {other} makes no sense after a run")),
        }
    }
    // What was asked for besides the driver counts too.
    let met = report.problems.iter().all(|problem| problem.severity == Severity::Warning);
    let all = met && report.claims.iter().all(|claim| claim.state == ClaimState::Claimed);
    let status = match (claimed.plan.unprotected, all, &claimed.unsaved) {
        (true, _, _) => Exit::Unprotected,
        (_, false, _) => Exit::NotMet,
        (_, true, Some(_)) => Exit::System,
        (_, true, None) => Exit::Ok,
    };
    if claimed.exit != status {
        broken.push(format!("it ended with {:?} instead of {status:?}", claimed.exit));
    }
    let saved = match run.machine.tree().get(report::PATH) {
        Ok(Node::File(content)) => Some(String::from_utf8_lossy(content).into_owned()),
        _ => None,
    };
    let written = !report.claims.is_empty() || report.steps.is_empty();
    if claimed.unsaved.is_none() && written {
        let saved = saved.and_then(|text| Report::from_json(&vfio_early::json::read(&text)?));
        match saved {
            Some(saved) if steps(&saved.steps).ends_with(&steps(&report.steps)) => {}
            Some(_) => broken.push("the saved report tells something else".to_owned()),
            None if claimed.report.claims.is_empty() => {}
            None => broken.push("there is no report".to_owned()),
        }
    }
    steps_are_true(run, report, broken);
}

/// Whether a device was pulled out when the program had looked at it for the last time.
fn pulled_afterwards(run: &Run, fault: Option<&Fault>, device: &str) -> bool {
    let link = format!("/sys/bus/pci/devices/{device}/driver");
    let last = run.log.iter().rposition(|entry| entry.operation == Operation::Link && entry.object == link);
    let gone = !run.machine.devices().iter().any(|name| name == device);
    gone && fault.is_some_and(|fault| last.is_none_or(|last| fault.at - 1 > last))
}

fn steps(steps: &[ReportedStep]) -> Vec<(Option<Address>, &str, &str, &str)> {
    steps.iter().map(|step| (step.device, step.op.name(), step.value.as_str(), step.result.text())).collect()
}

/// Whether an operation on the machine belongs to a step.
fn belongs(entry: &Entry, step: &ReportedStep) -> bool {
    let device = step.device.map(|address| address.to_string()).unwrap_or_default();
    let own = |name: &str| entry.object == format!("/sys/bus/pci/devices/{device}/{name}");
    let value = entry.value.as_deref().unwrap_or_default().trim_end();
    let of_driver = |file: &str| {
        entry.object.starts_with("/sys/bus/pci/drivers/") && entry.object.ends_with(file) && value == device
    };
    match step.op.name() {
        "override" | "restore-override" => own("driver_override") && same_name(value, &step.value),
        "power-up" => own("power/control") && value == "on",
        "save-rom" => ["rom", "enable", "power/control"].into_iter().any(own) || entry.object == step.value,
        "rebar" => own(&format!("resource{}_resize", step.value.split(':').next().unwrap())),
        "reset-method" => own("reset_method") && value == step.value,
        "power-control" => own("power/control") && value == step.value,
        "probe" => entry.object == "/sys/bus/pci/drivers_probe" && value == device,
        "detach" => of_driver("/unbind"),
        "rebind" => of_driver("/bind"),
        "load" => entry.operation == Operation::Load && step.value.split(' ').next() == Some(&entry.object),
        "stop-autoprobe" => own("sriov_drivers_autoprobe") && value == "0",
        "keep-awake" | "let-sleep" => own("power/control") || own("d3cold_allowed"),
        "release-framebuffer" | "restore-framebuffer" => {
            entry.object.starts_with("/sys/bus/platform/") && value == step.value
        }
        _ => false,
    }
}

/// Every change is told as a step, and a step that is told to be done was done.
fn steps_are_true(run: &Run, report: &Report, broken: &mut Broken) {
    let changes = || run.log.iter().filter(|entry| entry.changes());
    for entry in changes().filter(|entry| entry.operation == Operation::Load || entry.object.starts_with("/sys/")) {
        if !report.steps.iter().any(|step| belongs(entry, step)) {
            broken.push(format!("nobody was told: {entry:?}"));
        }
    }
    for step in report.steps.iter().filter(|step| step.result == Ended::Ok && step.op != StepKind::Verify) {
        let done = changes().any(|entry| {
            belongs(entry, step) && (entry.ok || ["load", "detach", "reset-method", "rebar"].contains(&step.op.name()))
        });
        // vfio-pci's own probe may have been first.
        let gone = || {
            let link = format!("/sys/bus/platform/devices/{}/driver", step.value);
            step.op == StepKind::ReleaseFramebuffer && run.machine.tree().get(&link).is_err()
        };
        if !done && !gone() {
            broken.push(format!("told to be done, and was not: {step:?}"));
        }
    }
}

/// What was changed to read an option ROM is as it was before, unless nobody could change it back.
fn roms_are_switched_off(run: &Run, fault: Option<&Fault>, broken: &mut Broken) {
    if fault.is_some_and(|fault| fault.lasts != Lasts::Once || matches!(fault.kind, Kind::Vanish(_))) {
        return;
    }
    // `pci_write_rom` takes no lock: a write that was given up there has happened or never will, and overtakes no other.
    let late = fault.is_some_and(|fault| fault.kind == Kind::Hang(Hang::Late));
    let hit = fault.and_then(|fault| run.log.get(fault.at.checked_sub(1)?));
    if late && hit.is_some_and(|entry| entry.object.ends_with("/rom")) {
        return;
    }
    let settled = run.machine.clone();
    settled.settle();
    for device in settled.change(|state| state.roms.clone()) {
        broken.push(format!("the ROM of {device} is still switched on"));
    }
}

/// A claimed device has the reset methods that were asked for, or people are told; one that was given back has those that
/// it had.
fn resets_are_as_asked_or_told(case: &Case, run: &Run, fault: Option<&Fault>, broken: &mut Broken) {
    let Ok(claimed) = &run.result else { return };
    let methods = |machine: &SimulatedMachine, device: &str| {
        let tree = machine.tree();
        let real = tree.resolve(&format!("/sys/bus/pci/devices/{device}/reset_method"), true).ok()?;
        Some(String::from_utf8_lossy(tree.file(&real).ok()?).trim_end().to_owned())
    };
    let settled = run.machine.clone();
    settled.settle();
    for entry in claimed.plan.devices.iter().filter(|entry| entry.decision.holds()) {
        let device = entry.device.unwrap().to_string();
        let asked = case.config.claims[entry.claim].options.reset.join(" ");
        // A device without any has no such file.
        let before = methods(&case.machine, &device).unwrap_or_default();
        // `bus` may have been listed before there was anybody else on the bus; once it is gone, the kernel refuses it.
        let left: Vec<&str> = before.split(' ').filter(|method| *method != "bus").collect();
        let left = left.join(" ");
        if !run.machine.devices().contains(&device) || !settled.devices().contains(&device) {
            continue;
        }
        let [now, then] = [&run.machine, &settled].map(|machine| methods(machine, &device).unwrap_or_default());
        let state = run.states().into_iter().find(|(address, _)| Some(*address) == entry.device).unwrap().1;
        let told =
            claimed.report.problems.iter().any(|problem| problem.code == Code::Reset && problem.device == entry.device);
        // What cannot be read lists nothing, and what comes along is left as it is then.
        let unread = run.log.iter().any(|entry| {
            !entry.ok && entry.operation == Operation::Read && entry.object.ends_with(&format!("{device}/reset_method"))
        });
        let has_all = !unread && asked.split(' ').all(|method| before.split(' ').any(|known| known == method));
        if asked.is_empty() || (entry.along.is_some() && !has_all) {
            if then != before {
                broken.push(format!("{device} is reset by {then}; it was by {before}, and nobody asked"));
            }
        } else if state == "claimed" && told != (now != asked) && !(told && fault.is_some()) {
            broken.push(format!("{device} is reset by {now}, and not by {asked}; told: {told}"));
        } else if state == "failed" && case.restore && fault.is_none() && then != before && then != left {
            broken.push(format!("{device} was given back; it is reset by {then}, and was by {before}"));
        }
    }
}

/// A claimed device has the BARs that were asked for, or people are told.
fn bars_are_as_asked_or_told(case: &Case, run: &Run, fault: Option<&Fault>, broken: &mut Broken) {
    let Ok(claimed) = &run.result else { return };
    for entry in claimed.plan.devices.iter().filter(|entry| entry.decision.holds() && entry.along.is_none()) {
        let device = entry.device.unwrap().to_string();
        let options = &case.config.claims[entry.claim].options;
        let tree = run.machine.tree();
        let Ok(real) = tree.resolve(&format!("/sys/bus/pci/devices/{device}"), true) else { continue };
        let text = tree.file(&format!("{real}/resource")).map(|text| String::from_utf8_lossy(text).into_owned());
        let has = |rebar: &Rebar| {
            let text = text.as_deref().unwrap_or_default();
            let mut line = text.lines().nth(rebar.bar.into()).unwrap_or_default().split(' ');
            let mut next =
                || u64::from_str_radix(line.next().unwrap_or_default().trim_start_matches("0x"), 16).unwrap_or(0);
            (next(), next())
        };
        let as_asked = options.rebar.iter().all(|rebar| {
            let (first, last) = has(rebar);
            last.wrapping_sub(first).wrapping_add(1) == 1 << (20 + rebar.exponent)
        });
        let told = claimed.report.problems.iter().any(|problem| {
            (problem.code, problem.severity) == (Code::Rebar, Severity::Error) && problem.device == entry.device
        });
        let state = run.states().into_iter().find(|(address, _)| Some(*address) == entry.device).unwrap().1;
        if state == "claimed" && told == as_asked && !(told && fault.is_some()) {
            broken.push(format!("{device} has other BARs than {:?}; told: {told}", options.rebar));
        }
    }
}

/// The run ends, and soon: it waits no more often than that.
fn nothing_hangs_for_ever(run: &Run, most: usize, broken: &mut Broken) {
    for path in run.machine.deadlocks() {
        broken.push(format!("it would wait for ever for {path}"));
    }
    let waited = run.machine.waited();
    if waited.limits > most {
        broken.push(format!("it waited {} times for as long as a step may take", waited.limits));
    }
}

/// What goes wrong with one slot stops no other.
fn one_does_not_stop_the_others(case: &Case, run: &Run, fault: &Fault, broken: &mut Broken) {
    let Some(reference) = &case.reference else { return };
    if !run.machine.troubled() {
        return;
    }
    let hurt = Hurt::by(case, run, fault);
    if hurt == Hurt::Anybody {
        return;
    }
    let states = run.states();
    for wanted in reference.states().into_iter().filter(|(address, _)| !hurt.has(*address)) {
        // What a guard says of one display depends on those that are left.
        if hurt != Hurt::Nobody && wanted.1 != "claimed" {
            continue;
        }
        if !states.contains(&wanted) {
            broken.push(format!("{wanted:?} is hurt by a fault that should hurt {hurt:?}; told: {states:?}"));
        }
    }
}

/// After a fault that passes, the next run makes good what was missed.
fn a_fault_that_passes_does_no_harm(case: &Case, run: &Run, fault: &Fault, broken: &mut Broken) {
    let Some(reference) = &case.reference else { return };
    // A device that waits for vfio-pci under an override of its own has it now, refused or not.
    let waits = case.machine.devices().iter().any(|device| case.machine.driver_override(device).is_some());
    if waits || case.sick || fault.lasts != Lasts::Once || matches!(fault.kind, Kind::Vanish(_)) {
        return;
    }
    let machine = run.machine.clone();
    machine.settle();
    machine.calm();
    let again = case.run_on(machine, false);
    let (states, wanted) = (again.states(), reference.states());
    if states != wanted {
        broken.push(format!("the next run came to {states:?} instead of {wanted:?}"));
    }
}

/// A second run after one that succeeded changes nothing.
pub(super) fn a_second_run_changes_nothing(case: &Case, run: &Run) -> Broken {
    if !run.result.as_ref().is_ok_and(|claimed| claimed.exit == Exit::Ok) {
        return Vec::new();
    }
    let machine = run.machine.clone();
    machine.calm();
    // Where a probe still hangs, overrides cannot be read: they are written once more, with the value that they have.
    let devices = machine.tree().list("/sys/bus/pci/devices").unwrap_or_default();
    if devices.iter().any(|address| machine.is_locked(address)) {
        return Vec::new();
    }
    let again = case.run_on(machine, false);
    let mut broken: Broken = Vec::new();
    let silent = |entry: &&Entry| entry.object == "/dev/kmsg" || entry.object == report::PATH;
    broken.extend(again.log.iter().filter(|entry| entry.changes() && !silent(entry)).map(|e| format!("again: {e:?}")));
    if without_report(&again.machine) != without_report(&run.machine) {
        broken.push("the second run has changed the machine".to_owned());
    }
    match &again.result {
        Ok(claimed) if claimed.exit == Exit::Ok && claimed.report.steps.is_empty() => {}
        _ => broken.push("the second run did not end well".to_owned()),
    }
    broken
}

/// A dry run writes nothing and tells the steps that a run takes.
pub(super) fn a_dry_run_writes_nothing(case: &Case) -> Broken {
    let machine = case.machine.clone();
    machine.calm();
    let dry = case.run_on(machine, true);
    let mut broken: Broken =
        dry.log.iter().filter(|entry| entry.changes()).map(|entry| format!("dry: {entry:?}")).collect();
    if *dry.machine.tree() != *case.machine.tree() {
        broken.push("the dry run has changed the machine".to_owned());
    }
    if let (Ok(dry), Some(Ok(real))) = (&dry.result, case.reference.as_ref().map(|run| &run.result)) {
        let names = |report: &Report| -> Vec<String> {
            report.steps.iter().map(|step| format!("{:?} {} {}", step.device, step.op.name(), step.value)).collect()
        };
        if !names(&real.report).starts_with(&names(&dry.report)) {
            broken.push("the dry run tells other steps".to_owned());
        }
    }
    broken
}

/// The machine's files, those aside that every run writes.
fn without_report(machine: &SimulatedMachine) -> Vec<(String, Node)> {
    let tree = machine.tree();
    let kept = tree.iter().filter(|(path, _)| *path != "/dev/kmsg" && !path.starts_with("/run/"));
    kept.map(|(path, node)| (path.to_owned(), node.clone())).collect()
}
