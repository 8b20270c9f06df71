// SPDX-License-Identifier: MIT OR Apache-2.0
//! `vfio-early status`: the truth about the running system.

mod claims;
mod devices;
mod elsewhere;
mod headline;
mod nfd;
mod prometheus;
mod text;

pub(super) use devices::names;

use crate::config::{self, Sources};
use crate::inventory::Inventory;
use crate::machine::Machine;
use crate::pci::{Address, Slot};
use crate::plan::{self, Decision, Plan, Severity};
use crate::report::status::{Boot, Status};
use crate::report::{self, json};

use super::arguments;
use super::output::Output;
use super::{Exit, Failure, layout};

/// Runs the command.
pub(super) fn run(machine: &dyn Machine, options: &arguments::Status, output: &mut Output) -> Result<Exit, Failure> {
    let format = options.format.as_deref().unwrap_or(if options.json { "json" } else { "text" });
    let known = ["text", "prometheus", "nfd"].contains(&format);
    if options.format.is_some() && (options.json || !known) {
        let message = format!("--format {format}: expected text, prometheus or nfd, or --json in its place");
        return Ok(output.fail(Exit::Usage, &[message]));
    }
    let looked = look(machine, options.all, output);
    let (status, exit) = match &looked {
        Ok((_, status, exit)) => (Some(status), *exit),
        Err(Failure::Config(_)) => (None, Exit::Usage),
        Err(Failure::Machine(_)) => (None, Exit::System),
        Err(Failure::Said(exit, _)) => (None, *exit),
    };
    // Whoever watches many machines has to see that one is broken.
    match format {
        "prometheus" => output.result(&prometheus::page(status, exit)),
        "nfd" => output.result(&nfd::file(status, exit)),
        _ => {}
    }
    let (plan, status, exit) = looked?;
    match format {
        "json" => output.result(&crate::json::to_string(&status)),
        "text" => {
            let colour = output.colour();
            output.result(&text::text(&plan, &status, exit == Exit::Ok, colour));
        }
        _ => {}
    }
    Ok(exit)
}

/// Takes the picture, and says what there is to say about it.
fn look(machine: &dyn Machine, all: bool, output: &mut Output) -> Result<(Plan, Status, Exit), Failure> {
    let loaded = config::load(machine, Sources::All)?;
    for warning in &loaded.warnings {
        output.warn(&warning.to_string());
    }
    let mut config = loaded.config;
    let mut inventory = Inventory::survey(machine, plan::needs_chains(&config))?;
    let before = report::load(machine);
    plan::join(&mut config, &inventory, claims::by_hand(before.as_ref()), true);
    let mut wanted = plan::devices_of_interest(&config, &inventory);
    if all {
        wanted = inventory.devices.iter().map(|device| device.address).collect();
    }
    inventory.read_details(machine, &wanted);
    if plan::needs_bars(&config) {
        inventory.read_bars(machine, &wanted);
    }
    if plan::needs_aliases(&config) {
        inventory.read_aliases(machine);
    }
    let plan = plan::plan(&config, &inventory, &[])?;
    let shown = shown(&inventory, &plan, all);
    let slots: Vec<Slot> = shown.iter().map(|address| address.slot()).collect();
    inventory.read_config_spaces(machine, Some(&slots));
    // Once more, because what was decided may have to be warned of, now that isolation is known.
    let plan = plan::plan(&config, &inventory, &[])?;

    let devices = devices::entries(machine, &inventory, &shown);
    let mut groups = inventory.examine().groups;
    groups.retain(|group| group.devices.iter().any(|device| shown.binary_search(device).is_ok()));
    let claims = claims::now(&config, &plan, before.as_ref());
    let mut problems = plan.problems.clone();
    problems.extend(devices::without_reset(&plan, &devices));
    let mut status = Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        kernel: inventory.kernel.clone(),
        headline: String::new(),
        iommu: json::Iommu::from(&plan.verdict),
        claims,
        devices,
        groups,
        problems: json::problems(&config, &problems),
        boot: before.as_ref().map(Boot::from),
    };
    status.problems.extend(elsewhere::disagreements(machine, &config, &inventory, &plan));
    status.headline = headline::headline(&plan, &status);

    // On its driver and out of every guest's reach is not what anybody asks for.
    let held = status.claims.iter().all(|claim| claim.state == "claimed" && !headline::is_blocked(&status, claim));
    let held = held && plan.problems.iter().all(|problem| problem.severity != Severity::Error);
    let exit = match (plan.unprotected, held) {
        (true, _) => Exit::Unprotected,
        (false, true) => Exit::Ok,
        (false, false) => Exit::NotHeld,
    };
    Ok((plan, status, exit))
}

/// The devices that are shown: displays, what is claimed, and everything in a group with either.
fn shown(inventory: &Inventory, plan: &Plan, all: bool) -> Vec<Address> {
    let claimed = |address: Address| {
        plan.entries
            .iter()
            .any(|entry| entry.device == Some(address) && !matches!(entry.decision, Decision::Missing { .. }))
    };
    let interesting: Vec<Address> = inventory
        .devices
        .iter()
        .filter(|device| all || device.identity.class.is_display() || claimed(device.address))
        .map(|device| device.address)
        .collect();
    let mut shown = interesting.clone();
    for group in &inventory.groups {
        if group.members.iter().any(|member| interesting.contains(member)) {
            shown.extend(&group.members);
        }
    }
    shown.sort_unstable();
    shown.dedup();
    shown
}
