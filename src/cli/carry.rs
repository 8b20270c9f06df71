// SPDX-License-Identifier: MIT OR Apache-2.0
//! What `claim`, `bind` and `release` have in common: one at a time, they look, decide, act and report.

use std::time::{Duration, Instant};

use crate::config::{self, Config, ConfigError};
use crate::execute::{self, Outcome, StepResult};
use crate::inventory::Inventory;
use crate::machine::{Error, Lock, Machine};
use crate::pci::Address;
use crate::plan::{self, Decision, Op, Plan, Problem, Severity};
use crate::report::{self, Level, json};

use super::{Exit, Failure, Room, saved_roms, told};

/// Where two claims at the same time are kept apart: udev runs one for each function of a card.
pub(super) const LOCK: &str = "/run/vfio-early/lock";

/// How long a claim waits for another: a network card may make hundreds of virtual functions at once, and what does not
/// wait for its turn spoils the record of others. udev gives an event three minutes.
pub(super) const LOCK_WAIT: Duration = Duration::from_secs(100);

/// Waits until no other run changes anything, and keeps others waiting.
pub(super) fn lock(room: &mut Room, config: &Config, dry_run: bool) -> Option<Lock> {
    let Room::Host(host) = room else { return None };
    host.set_limit(config.settings.step_timeout);
    if dry_run { None } else { host.begin(LOCK, LOCK_WAIT) }
}

/// What a run is about.
pub(super) struct About<'a> {
    pub(super) config: &'a Config,
    pub(super) inventory: &'a Inventory,
    /// Where the program runs.
    pub(super) stage: &'static str,
    /// What becomes of it is kept: it claims, and does not release.
    pub(super) saves: bool,
    /// It is about some devices only.
    pub(super) partial: bool,
    pub(super) dry_run: bool,
    pub(super) began: Instant,
}

/// What a claim came to.
#[derive(Debug)]
pub struct Claimed {
    /// What was decided.
    pub plan: Plan,
    /// What became of it.
    pub report: json::Report,
    /// Why the report could not be saved.
    pub unsaved: Option<Error>,
    /// How the program ends.
    pub exit: Exit,
}

/// The picture that a claim needs.
pub(super) fn take_inventory(machine: &dyn Machine, config: &Config) -> Result<Inventory, Failure> {
    let mut inventory = Inventory::survey(machine, plan::needs_chains(config))?;
    look(machine, config, &mut inventory);
    Ok(inventory)
}

/// Looks closer at what claims are about.
pub(super) fn look(machine: &dyn Machine, config: &Config, inventory: &mut Inventory) {
    if config.claims.iter().any(|claim| claim.options.save_rom) {
        inventory.list_saved_roms(machine);
    }
    let devices_of_interest = plan::devices_of_interest(config, inventory);
    inventory.read_details(machine, &devices_of_interest);
    if plan::needs_bars(config) {
        inventory.read_bars(machine, &devices_of_interest);
    }
    if plan::needs_aliases(config) {
        inventory.read_aliases(machine);
    }
    // Configuration space is worth its time only where the kernel may pretend.
    if inventory.acs_override() && !devices_of_interest.is_empty() {
        inventory.read_config_spaces(machine, None);
    }
}

/// Decides, and once more where a device that is to be detached, or a virtual function of it, is open for a guest.
pub(super) fn decide(
    machine: &dyn Machine,
    inventory: &mut Inventory,
    plan: &dyn Fn(&Inventory) -> Result<Plan, Vec<ConfigError>>,
) -> Result<Plan, Vec<ConfigError>> {
    let first = plan(inventory)?;
    let detached: Vec<Address> =
        first.steps.iter().filter(|step| matches!(step.op, Op::Detach(_))).filter_map(|step| step.device).collect();
    inventory.find_guests(machine, &detached);
    if inventory.guests.is_empty() { Ok(first) } else { plan(inventory) }
}

/// Carries a plan out, unless it is a dry run, and reports what came of it.
pub(super) fn carry_through(machine: &dyn Machine, run: &About<'_>, plan: Plan) -> Claimed {
    let About { config, inventory, stage, saves, partial, dry_run, began } = *run;
    let outcome = if dry_run { None } else { Some(execute::execute(machine, &plan)) };

    let mut report = describe(config, inventory, &plan, outcome.as_ref(), stage);
    saved_roms::add_to_report(machine, config, inventory, &plan, outcome.as_ref(), &mut report);
    report.duration_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(0);
    let denied = outcome.as_ref().is_some_and(|outcome| outcome.denied);
    let mut exit = exit_of(&plan, &report, denied);
    report.status = exit.code();
    report.image = inventory.initramfs.then(|| config::digest(machine));
    let mut unsaved = None;
    if !dry_run {
        let word = if saves { "claimed" } else { "released" };
        if !(plan.off && partial) {
            told::in_kernel_log(machine, &plan, &report, word);
        }
        // A device that no claim is about leaves no trace.
        if saves && !(partial && report.claims.is_empty()) {
            let merged = report::merge(report::load(machine), report.clone(), partial);
            if let Err(error) = report::save(machine, &merged) {
                report::say(machine, Level::Error, &error.to_string());
                unsaved = Some(error);
                exit = if exit == Exit::Ok { Exit::System } else { exit };
            }
        }
    }
    Claimed { plan, report, unsaved, exit }
}

fn describe(
    config: &Config,
    inventory: &Inventory,
    plan: &Plan,
    outcome: Option<&Outcome>,
    stage: &str,
) -> json::Report {
    let mut claims = json::claims(config, plan, outcome);
    for (claim, entry) in claims.iter_mut().zip(&plan.entries) {
        if claim.state == "claimed" && entry.decision == Decision::Take {
            claim.stage = Some(stage.to_owned());
            claim.time_ms = Some(inventory.uptime_ms);
        }
    }
    let mut problems = json::problems(config, &plan.problems);
    let unmet = outcome.map(|outcome| unmet(plan, outcome)).unwrap_or_default();
    problems.extend(json::problems(config, &unmet));
    for claim in claims.iter().filter(|claim| claim.state == "failed") {
        problems.push(json::ProblemEntry {
            severity: Severity::Error.name().to_owned(),
            code: "failed".to_owned(),
            source: Some(claim.source.clone()),
            device: claim.device.clone(),
            message: claim.reason.clone().unwrap_or_default(),
        });
    }
    json::Report {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        kernel: inventory.kernel.clone(),
        dry_run: outcome.is_none(),
        stage: stage.to_owned(),
        time_ms: inventory.uptime_ms,
        duration_ms: 0,
        status: 0,
        iommu: json::Iommu::from(&plan.verdict),
        steps: json::steps(plan, outcome),
        claims,
        problems,
        image: None,
    }
}

/// What was asked for besides the driver, and was not had, of the devices that are on their driver.
fn unmet(plan: &Plan, outcome: &Outcome) -> Vec<Problem> {
    let mut problems = Vec::new();
    let claimed = plan.entries.iter().zip(&outcome.endings).filter(|(_, ending)| ending.failure.is_none());
    for (entry, _) in claimed {
        for done in outcome.steps.iter().filter(|done| done.step.device.is_some() && done.step.device == entry.device) {
            let StepResult::Failed(why) = &done.result else { continue };
            let (code, hint) = match &done.step.op {
                Op::ResetMethod { .. } => ("reset", ""),
                Op::Rebar(..) => ("rebar", " (above 4G decoding in the firmware setup makes room)"),
                _ => continue,
            };
            let value = done.step.op.value().replace(' ', "+");
            let message = format!("{code}={value}: {why}{hint}; it is claimed all the same");
            problems.push(Problem::error(code, entry.device, message).of(entry.claim));
        }
    }
    problems
}

fn exit_of(plan: &Plan, report: &json::Report, denied: bool) -> Exit {
    let held = |claim: &json::Claim| match claim.state.as_str() {
        "claimed" | "released" => true,
        state => report.dry_run && state == "pending",
    };
    if plan.unprotected {
        Exit::Unprotected
    } else if report.claims.iter().all(held) && report.problems.iter().all(|problem| problem.severity != "error") {
        Exit::Ok
    } else if denied {
        Exit::System
    } else {
        Exit::NotHeld
    }
}
