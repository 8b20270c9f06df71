// SPDX-License-Identifier: MIT OR Apache-2.0
//! Gives devices back to the host.

use std::time::Instant;

use crate::config::{self, Config};
use crate::exit::{Exit, Failure};
use crate::machine::{Error, Machine};
use crate::pci::Address;
use crate::plan;
use crate::report::{self, ClaimState, ClaimedDevice, Report, Stage};

use super::Run;
use super::inventory::{Scope, plan_around_guests, take_inventory};
use super::record::{Purpose, execute_and_record};

/// Gives devices back to the host. What is configured does not matter and may be broken, because this is a way back. `words`:
/// addresses, and `with=`. `began`: when the run began.
pub fn release(machine: &dyn Machine, words: &[String], dry_run: bool, began: Instant) -> Result<Run, Failure> {
    if let Some(word) = words.iter().find(|word| word.contains('=') && !word.starts_with("with=")) {
        return Err(Failure::Message(Exit::Usage, format!("release: {word}: expected with= or an address")));
    }
    let config = Config { claims: config::claims_from_arguments("release", words)?, ..Config::default() };
    let mut inventory = take_inventory(machine, &config, Scope::Claims)?;
    let before = report::load(machine);
    let claimed_for = |address: Address| {
        let claims = before.as_ref().map(|report| report.claims.as_slice()).unwrap_or_default();
        let claim = claims.iter().find(|claim| claim.device == Some(address) && claim.stage.is_some());
        claim.map(|claim| claim.target.clone())
    };
    let plan =
        plan_around_guests(machine, &mut inventory, &|inventory| Ok(plan::release(&config, inventory, &claimed_for)))?;
    let purpose = Purpose {
        config: &config,
        inventory: &inventory,
        stage: Stage::Command,
        asked: ClaimState::Released,
        partial: true,
        dry_run,
        began,
    };
    let mut run = execute_and_record(machine, &purpose, plan);
    if let (Some(report), false) = (before, dry_run) {
        if let Err(error) = forget_released(machine, report, &run.report) {
            run.unsaved = Some(error);
            run.exit = if run.exit == Exit::Ok { Exit::System } else { run.exit };
        }
    }
    Ok(run)
}

/// Removes from the report what was bound manually and is released now, or is gone. A configured claim stays on record: it
/// has drifted until it is claimed again.
fn forget_released(machine: &dyn Machine, mut report: Report, released: &Report) -> Result<(), Error> {
    let all = report.claims.len();
    let gone = |old: &ClaimedDevice| {
        released.claims.iter().any(|new| match new.state {
            ClaimState::Released => new.device == old.device,
            ClaimState::Missing => old.device.is_some_and(|device| new.selector == device.to_string()),
            _ => false,
        })
    };
    report.claims.retain(|old| !old.source.is_bind() || !gone(old));
    if report.claims.len() == all { Ok(()) } else { report::save(machine, &report) }
}
