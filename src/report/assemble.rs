// SPDX-License-Identifier: MIT OR Apache-2.0
//! A report of a plan and of how it was executed.

use std::fmt::Write as _;

use crate::config::Config;
use crate::execute::{ClaimError, Execution, StepError, StepResult};
use crate::inventory::Inventory;
use crate::plan::{Decision, Op, Plan, PlannedDevice, is_vfio_driver, no_group_advice, same_name};
use crate::problem::{Code, Problem, Severity};

use super::{ClaimState, ClaimedDevice, Ended, Report, ReportedStep, Stage};

/// The report of a plan; of a dry run where there is no execution. Option ROMs, duration and exit status are not in it yet.
pub fn assemble(
    config: &Config,
    inventory: &Inventory,
    plan: &Plan,
    execution: Option<&Execution>,
    stage: Stage,
) -> Report {
    let mut claims = claims(config, plan, execution);
    for (claim, planned) in claims.iter_mut().zip(&plan.devices) {
        if claim.state == ClaimState::Claimed && planned.decision == Decision::Take {
            claim.stage = Some(stage);
            claim.time_ms = Some(inventory.uptime_ms);
        }
    }
    let results = execution.iter().flat_map(|execution| &execution.devices);
    for (claim, result) in claims.iter_mut().zip(results) {
        let device = claim.device.and_then(|address| inventory.device(address));
        let device = device.filter(|device| inventory.is_grouped_later(device));
        let refused = result.failure.as_ref().is_some_and(ClaimError::is_without_driver);
        if let (true, Some(device), Some(reason)) = (refused, device, &mut claim.reason) {
            // The kernel says no more than -EINVAL then.
            let advice = no_group_advice(inventory, device);
            let _ = write!(reason, "; if the device still is in no IOMMU group: {advice}");
        }
    }
    let mut problems = plan.problems.clone();
    problems.extend(execution.map(|execution| unmet_requests(config, plan, execution)).unwrap_or_default());
    for (address, framebuffer) in execution.iter().flat_map(|execution| &execution.lost_framebuffers) {
        let message = format!(
            "{address}: its driver removed the firmware framebuffer {framebuffer} before the claim failed: the screen \
             stays blank until a driver of the host shows something, or until the next boot"
        );
        problems.push(Problem::error(Code::Framebuffer, Some(*address), message));
    }
    for claim in &claims {
        let code = match claim.state {
            ClaimState::Failed => Code::Failed,
            ClaimState::Taken => Code::Taken,
            _ => continue,
        };
        problems.push(Problem {
            severity: Severity::Error,
            code,
            source: Some(claim.source.clone()),
            device: claim.device,
            message: claim.reason.clone().unwrap_or_default(),
        });
    }
    Report {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        kernel: inventory.kernel.clone(),
        dry_run: execution.is_none(),
        stage,
        time_ms: inventory.uptime_ms,
        iommu: plan.iommu.clone(),
        steps: steps(plan, execution),
        claims,
        problems,
        trial: plan.trial.clone(),
        ..Report::default()
    }
}

/// What a claim asks for besides the driver and did not get, for the devices that are on their driver.
fn unmet_requests(config: &Config, plan: &Plan, execution: &Execution) -> Vec<Problem> {
    let mut problems = Vec::new();
    let claimed = plan.devices.iter().zip(&execution.devices).filter(|(_, result)| result.failure.is_none());
    for (planned, _) in claimed {
        let of_device = |step: &crate::plan::Step| step.device.is_some() && step.device == planned.device;
        for done in execution.steps.iter().filter(|done| of_device(&done.step)) {
            let StepResult::Failed(error) = &done.result else { continue };
            let (code, hint) = match &done.step.op {
                Op::ResetMethod { .. } => (Code::Reset, ""),
                Op::Rebar { .. } => (Code::Rebar, rebar_hint(error)),
                _ => continue,
            };
            let value = done.step.op.value().replace(' ', "+");
            let message = format!("{}={value}: {error}{hint}; the device is claimed nevertheless", code.name());
            problems.push(Problem::error(code, planned.device, message).of(config, planned.claim));
        }
    }
    problems
}

/// What helps where a BAR could not be resized (drivers/pci/pci-sysfs.c, `__resource_resize_store`).
fn rebar_hint(error: &StepError) -> &'static str {
    // ENOTSUPP is the kernel's own (include/linux/errno.h).
    const ENOTSUPP: i32 = 524;
    match error.errno() {
        Some(ENOTSUPP) => " (the firmware forbids the kernel to move BARs: set the size in the firmware setup)",
        Some(nix::libc::EBUSY) => " (a driver or virtual functions use the device)",
        Some(nix::libc::ENOSPC) => " (above 4G decoding in the firmware setup makes room)",
        _ => "",
    }
}

/// The steps of a plan as they ended, or as they are planned where nothing was done.
fn steps(plan: &Plan, execution: Option<&Execution>) -> Vec<ReportedStep> {
    let reported = |step: &crate::plan::Step, result: Ended| ReportedStep {
        device: step.device,
        op: step.op.kind(),
        value: step.op.value().to_owned(),
        result,
    };
    let Some(execution) = execution else {
        return plan.steps.iter().map(|step| reported(step, Ended::Planned)).collect();
    };
    let ended = execution.steps.iter().map(|done| {
        reported(
            &done.step,
            match &done.result {
                StepResult::Done => Ended::Ok,
                StepResult::Skipped => Ended::Skipped,
                StepResult::Failed(error) => Ended::Failed(error.to_string()),
            },
        )
    });
    ended.collect()
}

/// The claims of a plan: decided (`pending` where something is to be done), or as they ended.
pub fn claims(config: &Config, plan: &Plan, execution: Option<&Execution>) -> Vec<ClaimedDevice> {
    let mut claims = Vec::with_capacity(plan.devices.len());
    for (index, planned) in plan.devices.iter().enumerate() {
        let mut claim = undecided(config, planned);
        let result = execution.and_then(|execution| execution.devices.get(index));
        if let Some(result) = result {
            claim.driver = result.driver.clone();
            claim.reason = result.failure.as_ref().map(ToString::to_string);
        }
        let ended = if claim.reason.is_none() { ClaimState::Claimed } else { ClaimState::Failed };
        match &planned.decision {
            Decision::Done => claim.state = ended,
            Decision::Release => {
                let has_steps = plan.steps.iter().any(|step| step.device == planned.device);
                claim.state = match &claim.reason {
                    Some(_) => ClaimState::Failed,
                    None if result.is_none() && has_steps => ClaimState::Pending,
                    None => ClaimState::Released,
                };
                if claim.state == ClaimState::Released && claim.driver.is_none() {
                    claim.reason = Some("no driver of the host took it".to_owned());
                }
            }
            Decision::Missing { reason } => {
                claim.state = ClaimState::Missing;
                claim.reason = Some(reason.clone());
            }
            Decision::Refuse(refusal) => {
                claim.state = ClaimState::Refused;
                claim.guard = refusal.guard;
                claim.reason = Some(refusal.reason.clone());
                if let Some(driver) = claim.driver.as_ref().filter(|driver| is_vfio_driver(driver)) {
                    if refusal.code != Code::Iommu {
                        claim.state = ClaimState::Taken;
                        claim.reason = Some(format!("{}; {}", refusal.reason, taken(driver, planned)));
                    }
                }
            }
            Decision::Take if result.is_some() => {
                // One that is on its driver already has not lost it: only the override was missing.
                let other = planned.driver.iter().filter(|driver| !same_name(driver, &planned.target));
                claim.before = other.cloned().collect();
                claim.state = ended;
            }
            Decision::Take => claim.state = ClaimState::Pending,
        }
        claims.push(claim);
    }
    claims
}

/// That a refused device is on a VFIO driver, and by what.
fn taken(driver: &str, planned: &PlannedDevice) -> String {
    match &planned.named_by_ids {
        Some(origin) => format!("it is bound to {driver} nevertheless, by the ids= of {origin}"),
        None => format!("it is bound to {driver} nevertheless"),
    }
}

/// A claimed device of which only the plan's input is known.
fn undecided(config: &Config, planned: &PlannedDevice) -> ClaimedDevice {
    let claim = config.claims.get(planned.claim);
    ClaimedDevice {
        selector: claim.map(|claim| claim.selector.to_string()).unwrap_or_default(),
        source: claim.map(|claim| claim.origin.clone()).unwrap_or_default(),
        device: planned.device,
        driver: planned.driver.clone(),
        target: planned.target.clone(),
        ..ClaimedDevice::default()
    }
}
