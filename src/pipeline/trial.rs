// SPDX-License-Identifier: MIT OR Apache-2.0
//! The trial of a configuration: what is known of it, the mark before the first step, and what a person says.

use crate::config::Config;
use crate::execute::mark;
use crate::exit::{Exit, Failure};
use crate::inventory::Inventory;
use crate::machine::{self, Error, Machine};
use crate::plan::Plan;
use crate::problem::{Code, Problem};
use crate::report;
use crate::trial::{self, Facts, Mark, State, Verdict};

/// Mounts the file system of the mark, if the configuration is on trial. Returns why that failed.
pub(super) fn prepare(machine: &dyn Machine, config: &Config, dry_run: bool) -> Option<Error> {
    if !config.settings.trial || config.off || dry_run { None } else { mark::mount(machine).err() }
}

/// Reads what is known of the trial, if the configuration is on trial. `unmounted`: why the file system of the mark could not
/// be mounted.
pub(super) fn read(machine: &dyn Machine, config: &Config, inventory: &mut Inventory, unmounted: Option<&Error>) {
    if !config.settings.trial || config.off {
        return;
    }
    let mut facts = facts(machine, inventory);
    if let Some(error) = unmounted.filter(|_| facts.obstacle.is_some()) {
        facts.obstacle = Some(error.to_string());
    }
    // Only the first claim of a boot asks, and only where a trial was begun.
    if facts.recorded.is_none() && matches!(facts.mark, Some(Mark { verdict: Verdict::Running(_), .. })) {
        facts.boot = boot(machine);
    }
    inventory.trial = Some(facts);
}

/// What is known, but for the ID of the boot.
pub(super) fn facts(machine: &dyn Machine, inventory: &Inventory) -> Facts {
    let recorded = report::load(machine).and_then(|report| report.trial);
    Facts::read(machine, trial::mounted(&inventory.mounts), recorded)
}

/// The ID of this boot, in short.
fn boot(machine: &dyn Machine) -> String {
    let id = machine::text(machine, "/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.split('-').next().unwrap_or_default().to_owned()
}

/// What the next boot makes of the trial. `image`: an image is checked; only the place for the mark matters then.
pub(super) fn outlook(machine: &dyn Machine, config: &Config, inventory: &Inventory, image: bool) -> Option<Problem> {
    if !config.settings.trial {
        return None;
    }
    let facts = facts(machine, inventory);
    let digest = config.digest();
    // The image may be for a boot that nobody has seen yet, and for another machine.
    let verdict = facts.verdict(&digest).filter(|verdict| !image || **verdict == Verdict::Good);
    let runs = facts.recorded.as_ref().is_some_and(|trial| trial.state != State::Blocked && trial.digest == digest);
    match (verdict, &facts.obstacle) {
        (Some(Verdict::Good), _) => None,
        (Some(Verdict::Running(_)), _) if runs => Some(Problem::warning(Code::Trial, None, trial::RUNNING.to_owned())),
        (Some(Verdict::Running(_)), _) => Some(Problem::error(Code::Trial, None, trial::UNCONFIRMED.to_owned())),
        (_, Some(why)) => Some(Problem::error(Code::Trial, None, trial::no_place(why))),
        (_, None) => None,
    }
}

/// Writes the mark before anything is touched. Without it, nothing is claimed.
pub(super) fn begin(machine: &dyn Machine, plan: &mut Plan) {
    let Some(trial) = plan.trial.as_ref().filter(|_| plan.begins_trial) else { return };
    let mark = Mark { verdict: Verdict::Running(boot(machine)), digest: trial.digest.clone() };
    if let Err(error) = mark::write(machine, &mark) {
        plan.block(trial::no_place(&error.to_string()));
    }
}

/// Confirms the configuration that this boot has tried, or has the next boot try it again. Returns what was done.
pub fn confirm(machine: &dyn Machine, retry: bool) -> Result<String, Failure> {
    // A boot that claimed without a trial has not mounted it. Where that is not possible, the facts tell why.
    if let Err(error) = mark::mount(machine) {
        log::debug!("{error}");
    }
    let inventory = Inventory { mounts: crate::inventory::mounts_of(machine), ..Inventory::default() };
    let facts = facts(machine, &inventory);
    let nothing = |message: &str| Failure::Message(Exit::NotMet, message.to_owned());
    let Some(mark) = &facts.mark else {
        return match facts.recorded.as_ref().map(|trial| trial.state) {
            Some(State::Running | State::Good | State::Blocked) => {
                let why = facts.obstacle.unwrap_or_else(|| "the EFI variable is missing".to_owned());
                Err(nothing(&["cannot confirm: ", &why].concat()))
            }
            _ => Ok("nothing is on trial\n".to_owned()),
        };
    };
    let tried =
        facts.recorded.as_ref().is_some_and(|trial| trial.digest == mark.digest && trial.state != State::Blocked);
    let (verdict, done) = match (retry, &mark.verdict) {
        (true, Verdict::Retry) => return Ok("the next boot tries the configuration again\n".to_owned()),
        (true, _) => (Verdict::Retry, "the next boot tries the configuration again\n"),
        (false, Verdict::Good) => return Ok("the configuration is confirmed already\n".to_owned()),
        (false, Verdict::Running(_)) if tried => {
            (Verdict::Good, "confirmed: every boot claims this configuration from now on\n")
        }
        (false, _) => {
            return Err(nothing(
                "this boot has not claimed the configuration that is on trial, so there is nothing to confirm; \
                 --retry tries it again at the next boot",
            ));
        }
    };
    mark::write(machine, &Mark { verdict, digest: mark.digest.clone() })?;
    if let Err(error) = report::clear(machine) {
        log::debug!("{error}");
    }
    Ok(done.to_owned())
}
