// SPDX-License-Identifier: MIT OR Apache-2.0
//! Executes a plan and records what came of it: the report, its file, the kernel log.

use std::time::Instant;

use crate::config::{self, Config};
use crate::execute;
use crate::exit::Exit;
use crate::inventory::Inventory;
use crate::machine::Machine;
use crate::plan::Plan;
use crate::problem::Severity;
use crate::report::{self, ClaimState, Level, Report, Stage};

use super::{Run, saved_roms};

/// What a run is for.
pub(super) struct Purpose<'a> {
    pub(super) config: &'a Config,
    pub(super) inventory: &'a Inventory,
    /// Where the program runs.
    pub(super) stage: Stage,
    /// The state that it is to bring devices into: claimed, or released.
    pub(super) asked: ClaimState,
    /// It is about some devices only.
    pub(super) partial: bool,
    pub(super) dry_run: bool,
    /// When it began.
    pub(super) began: Instant,
}

/// Executes a plan, unless it is a dry run, and records what came of it.
pub(super) fn execute_and_record(machine: &dyn Machine, purpose: &Purpose<'_>, plan: Plan) -> Run {
    let Purpose { config, inventory, stage, asked, partial, dry_run, began } = *purpose;
    let execution = if dry_run { None } else { Some(execute::execute(machine, &plan)) };
    let mut report = report::assemble(config, inventory, &plan, execution.as_ref(), stage);
    saved_roms::add(machine, config, inventory, &plan, execution.as_ref(), &mut report);
    report.duration_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(0);
    let denied = execution.is_some_and(|execution| execution.denied);
    let exit = exit_of(&plan, &report, denied);
    report.status = exit.code();
    report.image = inventory.initramfs.then(|| config::digest(machine));
    let mut run = Run { plan, report, unsaved: None, exit };
    if !dry_run {
        record(machine, &mut run, asked, partial);
    }
    run
}

/// Writes the kernel log and the report's file.
fn record(machine: &dyn Machine, run: &mut Run, asked: ClaimState, partial: bool) {
    if !run.plan.off {
        for (level, line) in report::lines(&run.report, asked) {
            report::write(machine, level, &line);
        }
    } else if !partial {
        let message = "vfio_early=off is on the kernel command line: nothing is touched";
        report::write(machine, Level::Warning, message);
    }
    // What is released leaves no claim to keep, and a device that no claim is about leaves no trace.
    if asked == ClaimState::Released || partial && run.report.claims.is_empty() {
        return;
    }
    if !partial && asked == ClaimState::Claimed {
        // The kernel log and the status have it anyway.
        if let Err(error) = report::announce(machine, &run.report) {
            log::debug!("{error}");
        }
    }
    let merged = report::merge(report::load(machine), run.report.clone(), partial);
    if let Err(error) = report::save(machine, &merged) {
        report::write(machine, Level::Error, &error.to_string());
        run.exit = if run.exit == Exit::Ok { Exit::System } else { run.exit };
        run.unsaved = Some(error);
    }
}

/// How the program ends.
fn exit_of(plan: &Plan, report: &Report, denied: bool) -> Exit {
    let met = report.claims.iter().all(|claim| match claim.state {
        ClaimState::Claimed | ClaimState::Released => true,
        ClaimState::Pending => report.dry_run,
        _ => false,
    });
    if plan.unprotected {
        Exit::Unprotected
    } else if met && report.problems.iter().all(|problem| problem.severity != Severity::Error) {
        Exit::Ok
    } else if denied {
        Exit::System
    } else {
        Exit::NotMet
    }
}
