// SPDX-License-Identifier: MIT OR Apache-2.0
//! `vfio-early check`: the configuration against this machine, every problem at once, and nothing changed.

use crate::config::{self, Config, ConfigError, Extent, Selector};
use crate::door::Door;
use crate::picture::{self, Picture};
use crate::plan::{self, Plan, Problem, Severity, State};
use crate::report::json;

use super::claim::take_picture;
use super::output::Output;
use super::{Exit, Failure, arguments, layout, modules};

/// Runs the command.
pub(super) fn run(door: &dyn Door, options: &arguments::Check, output: &mut Output) -> Result<Exit, Failure> {
    let loaded = match config::load(door, if options.image { Extent::Files } else { Extent::Whole }) {
        Ok(loaded) => loaded,
        Err(errors) => return Ok(broken(&errors, options, output)),
    };
    let config = loaded.config;
    let picture = take_picture(door, &config)?;
    // What is switched off is checked all the same.
    let heeded = Config { off: false, ..config.clone() };
    let plan = match plan::plan(&heeded, &picture, &[]) {
        Ok(plan) => plan,
        Err(errors) => return Ok(broken(&errors, options, output)),
    };
    let mut problems = plan.problems.clone();
    problems.extend(advice(&config, &picture, &plan));
    problems.extend(drivers(door, &picture, &plan));
    let mut check =
        json::Check { problems: json::problems(&config, &problems), claims: json::claims(&config, &plan, None) };
    for warning in &loaded.warnings {
        let severity = Severity::Warning.name().to_owned();
        check.problems.push(json::ProblemEntry { severity, ..json::ProblemEntry::from(warning) });
    }
    let holds = check.claims.iter().all(|claim| claim.state == "pending" || claim.state == "claimed");
    tell(&check, options, output);
    Ok(match (plan.unprotected, holds) {
        (true, _) => Exit::Unprotected,
        (false, true) => Exit::Ok,
        (false, false) => Exit::NotHeld,
    })
}

/// A configuration that cannot be understood.
fn broken(errors: &[ConfigError], options: &arguments::Check, output: &mut Output) -> Exit {
    tell(&json::Check { problems: errors.iter().map(Into::into).collect(), claims: Vec::new() }, options, output);
    Exit::Usage
}

/// What holds now and may not hold for ever, and what a person may not have meant.
fn advice(config: &Config, picture: &Picture, plan: &Plan) -> Vec<Problem> {
    let mut problems = Vec::new();
    if config.off {
        let message = "vfio_early=off is on the kernel command line: nothing is claimed at boot";
        problems.push(Problem::warning("off", None, message.to_owned()));
    }
    for (index, claim) in config.claims.iter().enumerate() {
        let by_place = matches!(claim.selector, Selector::Address(_) | Selector::Slot(_));
        let first = plan.entries.iter().find(|entry| entry.claim == index && entry.along.is_none());
        let found = first.and_then(|entry| entry.device).and_then(|address| picture.device(address));
        if let (true, None, Some(device)) = (by_place, claim.options.id, found) {
            let (selector, id) = (&claim.selector, device.identity.id());
            let message = format!("{selector} may be another device once a card is added or moved: say id={id}");
            problems.push(Problem::warning("no-id", Some(device.address), message).of(index));
        }
    }
    let holds = |device: &picture::Device| {
        plan.entries.iter().any(|entry| entry.device == Some(device.address) && entry.decision.holds())
    };
    for entry in plan.entries.iter().filter(|entry| entry.decision.holds() && entry.along.is_none()) {
        let Some(address) = entry.device else { continue };
        let mut slot = picture.devices.iter().filter(|device| device.address.slot() == address.slot());
        if let (Some(left), State::Enabled) = (slot.find(|device| !holds(device)), plan.verdict.state) {
            let left = left.name();
            let message = format!(
                "{address} is claimed and {left} of the same slot is not: one card for the host and a guest \
                 (with=functions claims all of it)"
            );
            problems.push(Problem::warning("split-slot", Some(address), message).of(entry.claim));
        }
    }
    problems
}

/// Drivers that cannot be had on this machine.
fn drivers(door: &dyn Door, picture: &Picture, plan: &Plan) -> Vec<Problem> {
    let mut drivers: Vec<&str> =
        plan.entries.iter().filter(|entry| entry.decision.holds()).map(|entry| entry.target.as_str()).collect();
    drivers.sort_unstable();
    drivers.dedup();
    drivers.retain(|driver| !modules::is_there(door, picture, driver));
    let missing = drivers.into_iter().map(|driver| {
        let message = format!("{driver} is neither loaded nor among the modules of {}", picture.kernel);
        Problem::warning("no-driver", None, message)
    });
    missing.collect()
}

fn tell(check: &json::Check, options: &arguments::Check, output: &mut Output) {
    if options.json {
        output.result(&crate::json::to_string(check));
        return;
    }
    for problem in &check.problems {
        let place = problem.source.as_ref().map(|source| format!("{source}: ")).unwrap_or_default();
        output.result(&layout::wrap(&format!("{place}{}: {}", problem.severity, problem.message), "  "));
    }
    if check.problems.is_empty() {
        let count = check.claims.len();
        output.result(&format!("no problems; {count} device{} claimed", if count == 1 { "" } else { "s" }));
    }
}
