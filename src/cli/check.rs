// SPDX-License-Identifier: MIT OR Apache-2.0
//! `vfio-early check`: the configuration against this machine, every problem at once, and nothing changed.

use crate::config::{self, Config, ConfigError, Selector, Sources};
use crate::inventory::{self, Inventory};
use crate::machine::Machine;
use crate::plan::{self, Plan, Problem, Severity, State};
use crate::report::{self, json};

use super::carry::take_inventory;
use super::output::Output;
use super::{Exit, Failure, arguments, layout, modules};

/// Runs the command.
pub(super) fn run(machine: &dyn Machine, options: &arguments::Check, output: &mut Output) -> Result<Exit, Failure> {
    let loaded = match config::load(machine, if options.image { Sources::Files } else { Sources::All }) {
        Ok(loaded) => loaded,
        Err(errors) => return Ok(broken(&errors, options, output)),
    };
    let mut config = loaded.config;
    let inventory = take_inventory(machine, &config)?;
    // What is switched off is checked all the same.
    let off = std::mem::take(&mut config.off);
    let mut plan = match plan::plan(&config, &inventory, &[]) {
        Ok(plan) => plan,
        Err(errors) => return Ok(broken(&errors, options, output)),
    };
    let mut problems = std::mem::take(&mut plan.problems);
    if off {
        let message = "vfio_early=off is on the kernel command line: nothing is claimed at boot";
        problems.push(Problem::warning("off", None, message.to_owned()));
    }
    problems.extend(advice(&config, &inventory, &plan));
    problems.extend(drivers(machine, &inventory, &plan));
    problems.extend(if options.image { None } else { other_image(machine) });
    add_remedies(&plan, &mut problems);
    let mut check =
        json::Check { problems: json::problems(&config, &problems), claims: json::claims(&config, &plan, None) };
    for warning in &loaded.warnings {
        let severity = Severity::Warning.name().to_owned();
        check.problems.push(json::ProblemEntry { severity, ..json::ProblemEntry::from(warning) });
    }
    let holds = check.claims.iter().all(|claim| claim.state == "pending" || claim.state == "claimed");
    let holds = holds && problems.iter().all(|problem| problem.severity != Severity::Error);
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

/// What to do about a problem whose message does not say.
const REMEDIES: &[(&str, &str)] = &[
    ("missing", "vfio-early status --all lists what is there"),
    ("id-mismatch", "correct the address or the id="),
    ("along", "with=none claims without what goes along"),
    ("no-iommu-group", "`set iommu optional` claims it all the same"),
    ("not-viable", "vfio-early groups tells why they are one group, with=group claims all of it"),
    ("no-driver", "install the package that has it"),
    ("off", "take it off to claim"),
];

/// Says where a problem comes from and what to do about it, once where several are of one kind.
fn add_remedies(plan: &Plan, problems: &mut [Problem]) {
    let mut after = None;
    for problem in problems.iter_mut().rev() {
        let of_device = || plan.entries.iter().find(|entry| entry.device.is_some() && entry.device == problem.device);
        problem.claim = problem.claim.or_else(|| Some(of_device()?.claim));
        let kind = Some((problem.code, problem.claim, problem.device));
        if let (Some((_, remedy)), true) = (REMEDIES.iter().find(|(code, _)| *code == problem.code), after != kind) {
            problem.message.push_str("; ");
            problem.message.push_str(remedy);
        }
        after = kind;
    }
}

/// What the initramfs of this boot held, where it is not what is configured now.
fn other_image(machine: &dyn Machine) -> Option<Problem> {
    let held = report::load(machine)?.image?;
    let message = "the initramfs of this boot held another configuration: what is configured now holds at boot once the \
                   image is made anew (update-initramfs -u, dracut --force or mkinitcpio -P)";
    (held != config::digest(machine)).then(|| Problem::warning("image", None, message.to_owned()))
}

/// What holds now and may not hold for ever, and what a person may not have meant.
fn advice(config: &Config, inventory: &Inventory, plan: &Plan) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (index, claim) in config.claims.iter().enumerate() {
        let by_place = matches!(claim.selector, Selector::Address(_) | Selector::Slot(_));
        let first = plan.entries.iter().find(|entry| entry.claim == index && entry.along.is_none());
        let found = first
            .filter(|entry| entry.decision.holds())
            .and_then(|entry| entry.device)
            .and_then(|address| inventory.device(address));
        if let (true, None, Some(device)) = (by_place, claim.options.id, found) {
            let (selector, id) = (&claim.selector, device.identity.id());
            let message = format!("{selector} may be another device once a card is added or moved: say id={id}");
            problems.push(Problem::warning("no-id", Some(device.address), message).of(index));
        }
    }
    let holds = |device: &inventory::Device| {
        plan.entries.iter().any(|entry| entry.device == Some(device.address) && entry.decision.holds())
    };
    for entry in plan.entries.iter().filter(|entry| entry.decision.holds() && entry.along.is_none()) {
        let Some(address) = entry.device else { continue };
        let mut slot = inventory.devices.iter().filter(|device| device.address.slot() == address.slot());
        // The functions of a chipset are no card, and each virtual function is one.
        let chipset = slot.clone().any(|device| device.identity.class.is_bridge() || device.is_virtual());
        if let (Some(left), State::Enabled, false) = (slot.find(|device| !holds(device)), plan.verdict.state, chipset) {
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
fn drivers(machine: &dyn Machine, inventory: &Inventory, plan: &Plan) -> Vec<Problem> {
    let mut drivers: Vec<&str> =
        plan.entries.iter().filter(|entry| entry.decision.holds()).map(|entry| entry.target.as_str()).collect();
    drivers.sort_unstable();
    drivers.dedup();
    drivers.retain(|driver| !modules::is_there(machine, inventory, driver));
    let missing = drivers.into_iter().map(|driver| {
        let message = format!("{driver} is neither loaded nor among the modules of {}", inventory.kernel);
        Problem::warning("no-driver", None, message)
    });
    missing.collect()
}

fn tell(check: &json::Check, options: &arguments::Check, output: &mut Output) {
    if options.json {
        output.result(&crate::json::to_string(check));
        return;
    }
    let mut said: Vec<String> = Vec::new();
    for problem in &check.problems {
        let place = problem.source.as_ref().map(|source| format!("{source}: ")).unwrap_or_default();
        let line = format!("{place}{}: {}", problem.severity, problem.message);
        // A pattern that matches too much is one mistake, whatever it matches.
        if !said.contains(&line) {
            output.result(&layout::wrap(&line, "  "));
            said.push(line);
        }
    }
    if check.problems.is_empty() {
        output.result(&match check.claims.len() {
            0 => "no problems; nothing is claimed".to_owned(),
            1 => "no problems; 1 device claimed".to_owned(),
            count => format!("no problems; {count} devices claimed"),
        });
    }
}
