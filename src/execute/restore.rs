// SPDX-License-Identifier: MIT OR Apache-2.0
//! Gives back the cards whose claim failed.

use crate::inventory::{self, FirmwareFramebuffer, PCI};
use crate::machine::{self, Machine};
use crate::pci::Address;
use crate::plan::{Decision, Op, PlannedDevice, Step, same_name};

use super::{ExecutedStep, Run, StepResult};

/// Gives every card back in which a claim failed: each function that was touched loses its override and is probed again.
pub(super) fn restore_failed(run: &mut Run<'_>) {
    for planned in &run.plan.devices {
        let Some(address) = planned.device.filter(|_| planned.decision == Decision::Take) else { continue };
        if run.has_failed(address) && was_touched(run, address) {
            give_back(run, planned, address);
        }
    }
}

/// Whether something was written to a device.
fn was_touched(run: &Run<'_>, address: Address) -> bool {
    run.done.iter().any(|done| done.step.device == Some(address) && !matches!(done.result, StepResult::Skipped))
}

/// Gives one function back. The order matters: with the override gone, no probe can lead back to the guest's driver.
/// Where a step hangs, nothing that is read now will still be true when it ends: then everything is queued behind it, and
/// what turns out to be needless does no harm.
fn give_back(run: &mut Run<'_>, planned: &PlannedDevice, address: Address) {
    let before = planned.driver.as_deref();
    // The first one: a second override follows where a module has to be loaded before its driver's name is known.
    let first = run.plan.steps.iter().find_map(|step| match &step.op {
        Op::Override { before, .. } if step.device == Some(address) => Some(before.clone()),
        _ => None,
    });
    let earlier = first.flatten();
    // Where it cannot be restored, the name of the driver that it had serves as well.
    let restored = with_retry(run, address, Op::RestoreOverride(earlier.clone()));
    if let (false, Some(driver)) = (restored, before) {
        with_retry(run, address, Op::RestoreOverride(Some(driver.to_owned())));
    }
    if before.is_none_or(|driver| !same_name(driver, &planned.target)) && may_be_on(run, address, &planned.target) {
        with_retry(run, address, Op::Detach(planned.target.clone()));
    }
    for op in undo(run, address) {
        with_retry(run, address, op);
    }
    if may_be_free(run, address) {
        let probe = planned.physical.map_or(Op::Probe, |physical| Op::ProbeVirtual { physical });
        with_retry(run, address, probe);
    }
    if let (true, Some(driver)) = (may_be_free(run, address), before) {
        with_retry(run, address, Op::Rebind(driver.to_owned()));
        // A driver that had it by an override alone takes it by nothing else.
        if restored && earlier.is_none() && !run.stuck.contains(&address) && may_be_free(run, address) {
            with_retry(run, address, Op::RestoreOverride(Some(driver.to_owned())));
            with_retry(run, address, Op::Probe);
        }
    }
    // vfio-pci sets it to `auto` when it binds and to `on` when it is unbound (drivers/vfio/pci/vfio_pci_core.c).
    if let Some(control) = &planned.power_control {
        let path = format!("{PCI}/devices/{address}/power/control");
        if machine::text(run.machine, &path).map_or(true, |now| now != *control) {
            with_retry(run, address, Op::PowerControl(control.clone()));
        }
    }
    for framebuffer in &planned.framebuffers {
        restore_framebuffer(run, address, framebuffer);
    }
}

/// Binds a firmware's framebuffer to its driver again. vfio-pci's probe of a VGA controller removes its device for good
/// (drivers/video/aperture.c, `aperture_remove_conflicting_pci_devices`), also where the probe fails later.
fn restore_framebuffer(run: &mut Run<'_>, address: Address, framebuffer: &FirmwareFramebuffer) {
    let place = format!("/sys/bus/platform/devices/{}", framebuffer.device);
    let bound = |machine: &dyn Machine| machine.link(&format!("{place}/driver"));
    match bound(run.machine) {
        Err(error) if error.is_missing() => {}
        _ => return,
    }
    if let (Some(driver), true) = (framebuffer.driver.clone(), run.machine.link(&place).is_ok()) {
        let device = framebuffer.device.clone();
        with_retry(run, address, Op::RestoreFramebuffer { device, driver });
    }
    if bound(run.machine).is_err_and(|error| error.is_missing()) {
        run.lost_framebuffers.push((address, framebuffer.device.clone()));
    }
}

/// What puts back the settings that were changed on a device, the last one first. A BAR can be resized only while no driver
/// has the device.
fn undo(run: &Run<'_>, address: Address) -> Vec<Op> {
    let changed = run.done.iter().rev().filter(|done| {
        let set = matches!(done.result, StepResult::Done) || run.stuck.contains(&address);
        done.step.device == Some(address) && set
    });
    let undo = changed.filter_map(|done| match &done.step.op {
        Op::ResetMethod { methods, before } if methods != before => {
            Some(Op::ResetMethod { methods: before.clone(), before: methods.clone() })
        }
        Op::Rebar { rebar, before: Some(before), .. } => {
            Some(Op::Rebar { rebar: *before, text: before.to_string(), before: Some(*rebar) })
        }
        Op::KeepAwake { control, d3cold_allowed } => {
            Some(Op::LetSleep { control: control.clone(), d3cold_allowed: *d3cold_allowed })
        }
        _ => None,
    });
    undo.collect()
}

/// Whether a device may be bound to a driver: it is, or that cannot be determined.
fn may_be_on(run: &Run<'_>, address: Address, driver: &str) -> bool {
    let now = inventory::driver(run.machine, address);
    run.stuck.contains(&address) || now.map_or(true, |now| now.is_some_and(|now| same_name(&now, driver)))
}

/// Whether a device may be without a driver.
fn may_be_free(run: &Run<'_>, address: Address) -> bool {
    run.stuck.contains(&address) || inventory::driver(run.machine, address).map_or(true, |now| now.is_none())
}

/// Takes a step, and once more if it fails: nothing comes after it that would. Returns whether it was done.
fn with_retry(run: &mut Run<'_>, address: Address, op: Op) -> bool {
    let step = Step { device: Some(address), op };
    for _ in 0..2 {
        let queues = run.stuck.contains(&address);
        let result = run.attempt(&step);
        let ok = result.is_ok();
        run.done.push(ExecutedStep {
            step: step.clone(),
            result: result.map_or_else(StepResult::Failed, |()| StepResult::Done),
        });
        if ok || queues {
            // It is queued, and is not queued twice. What hangs itself is: it may have been killed while it waited.
            return ok;
        }
    }
    false
}
