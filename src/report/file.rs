// SPDX-License-Identifier: MIT OR Apache-2.0
//! The report's file, /run/vfio-early/report.json: written in the initramfs and read for as long as the machine runs.

use crate::json::{self, FromJson};
use crate::machine::{Error, Machine};

use crate::problem::Problem;

use super::{ClaimState, ClaimedDevice, Report};

/// Where the report lies.
pub const PATH: &str = "/run/vfio-early/report.json";

/// How large a report may be; one of 256 functions takes a tenth of that.
const MAX_SIZE: usize = 4 * 1024 * 1024;

/// How many steps a report keeps; a device that comes and goes must not make it grow for ever.
const MAX_STEPS: usize = 1024;

/// Reads the report; `None` where there is none that can be understood, or that root may believe.
pub fn load(machine: &dyn Machine) -> Option<Report> {
    if machine.untrusted(PATH).is_some() {
        return None;
    }
    let content = machine.read(PATH, MAX_SIZE).ok()?;
    let text = std::str::from_utf8(&content).ok()?;
    Report::from_json(&json::read(text)?)
}

/// Writes the report.
pub fn save(machine: &dyn Machine, report: &Report) -> Result<(), Error> {
    let mut text = json::to_string(report);
    text.push('\n');
    machine.save(PATH, text.as_bytes())
}

/// What is kept of an earlier report beside a new one. A claim that still holds keeps the stage and the time at which it
/// was made, and what was bound manually stays bound, whatever is configured. Where the new run looked at some devices only
/// (`partial`), the earlier one stands for all others.
pub fn merge(earlier: Option<Report>, mut new: Report, partial: bool) -> Report {
    // What `bind` was refused was not done, and nothing asks for it any more.
    let idle = |claim: &ClaimedDevice| {
        claim.source.is_bind() && matches!(claim.state, ClaimState::Refused | ClaimState::Missing | ClaimState::Taken)
    };
    new.problems.retain(|problem| !new.claims.iter().any(|claim| idle(claim) && is_about(claim, problem)));
    new.claims.retain(|claim| !idle(claim));
    let Some(mut earlier) = earlier else { return new };
    for claim in &mut new.claims {
        let old = earlier.claims.iter().find(|old| old.device.is_some() && old.device == claim.device);
        if let (Some(old), true) = (old, claim.state == ClaimState::Claimed && claim.stage.is_none()) {
            claim.stage = old.stage;
            claim.time_ms = old.time_ms;
            claim.before = old.before.clone();
            // `bind` found it claimed: it stays the claim that it was.
            if claim.source.is_bind() {
                claim.source = old.source.clone();
                claim.selector = old.selector.clone();
            }
        }
        // What was found while it was read cannot be seen in the file.
        if let (Some(rom), Some(Some(before))) = (&mut claim.rom, old.map(|old| &old.rom)) {
            if rom.problem.is_none() && rom.path == before.path {
                rom.problem = before.problem.clone();
            }
        }
    }
    new.image = new.image.or(earlier.image.take());
    new.trial = new.trial.or(earlier.trial.take());
    let replaced = |old: &ClaimedDevice| new.claims.iter().any(|claim| is_same(claim, old));
    if partial {
        // What was wrong with a claim goes with it.
        earlier.problems.retain(|old| {
            !earlier.claims.iter().any(|claim| replaced(claim) && is_about(claim, old))
                && !new.problems.iter().any(|problem| problem.message == old.message)
        });
        earlier.problems.append(&mut new.problems);
        earlier.image = new.image.take();
        earlier.trial = new.trial.take();
        earlier.claims.retain(|old| !replaced(old));
        earlier.claims.append(&mut new.claims);
        earlier.steps.append(&mut new.steps);
        let surplus = earlier.steps.len().saturating_sub(MAX_STEPS);
        earlier.steps.drain(..surplus);
        return earlier;
    }
    earlier.claims.retain(|old| old.source.is_bind() && old.state == ClaimState::Claimed && !replaced(old));
    new.claims.append(&mut earlier.claims);
    new
}

/// Whether a problem is one of this claim; one that has found nothing is known by its reason.
fn is_about(claim: &ClaimedDevice, problem: &Problem) -> bool {
    match &claim.device {
        Some(device) => problem.device == Some(*device),
        None => claim.reason.as_ref() == Some(&problem.message),
    }
}

/// Whether a new entry takes the place of an old one: the same device, or the claim that had found none.
fn is_same(new: &ClaimedDevice, old: &ClaimedDevice) -> bool {
    match &old.device {
        Some(device) => new.device == Some(*device),
        None => new.selector == old.selector && new.source == old.source,
    }
}
