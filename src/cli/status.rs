// SPDX-License-Identifier: MIT OR Apache-2.0
//! `vfio-early status`: the truth about the running system.

use std::fmt::Write as _;

use crate::config::{self, Config, Extent};
use crate::door::Door;
use crate::pci::{Address, Slot};
use crate::picture::Picture;
use crate::plan::{self, Decision, Plan};
use crate::report::{self, json};

use super::arguments;
use super::output::Output;
use super::{Exit, Failure, layout};

/// Runs the command.
pub(super) fn run(door: &dyn Door, options: &arguments::Status, output: &mut Output) -> Result<Exit, Failure> {
    let loaded = config::load(door, Extent::Whole)?;
    for warning in &loaded.warnings {
        output.warn(&warning.to_string());
    }
    let config = loaded.config;
    let mut picture = Picture::survey(door, plan::needs_chains(&config))?;
    let mut wanted = plan::concerned(&config, &picture);
    if options.all {
        wanted = picture.devices.iter().map(|device| device.address).collect();
    }
    picture.look_closer(door, &wanted);
    if plan::needs_aliases(&config) {
        picture.read_aliases(door);
    }
    let plan = plan::plan(&config, &picture, &[])?;
    let shown = shown(&picture, &plan, options.all);
    let slots: Vec<Slot> = shown.iter().map(|address| address.slot()).collect();
    picture.look_at_functions(door, Some(&slots));
    // Once more, because what was decided may have to be warned of, now that isolation is known.
    let plan = plan::plan(&config, &picture, &[])?;
    let before = report::load(door);
    let status = describe(&config, &picture, &plan, before.as_ref(), &shown);
    let held = status.claims.iter().all(|claim| claim.state == "claimed");
    let exit = match (plan.unprotected, held) {
        (true, _) => Exit::Unprotected,
        (false, true) => Exit::Ok,
        (false, false) => Exit::NotHeld,
    };
    if options.json {
        output.result(&crate::json::to_string(&status));
    } else {
        let colour = output.colour();
        output.result(&text(&plan, &status, colour));
    }
    Ok(exit)
}

fn describe(
    config: &Config,
    picture: &Picture,
    plan: &Plan,
    before: Option<&json::Report>,
    shown: &[Address],
) -> json::Status {
    let mut claims = json::claims(config, plan, None);
    for (claim, entry) in claims.iter_mut().zip(&plan.entries) {
        let old = before
            .and_then(|report| report.claims.iter().find(|old| old.device.is_some() && old.device == claim.device));
        // What holds the device decides; that it has no override as well is the next claim's affair.
        let bound = entry.driver.as_deref().is_some_and(|driver| plan::same_name(driver, &entry.target));
        if bound && entry.decision.holds() {
            claim.state = "claimed".to_owned();
        }
        let Some(old) = old else { continue };
        match (claim.state.as_str(), old.state.as_str()) {
            ("claimed", _) => {
                claim.stage = old.stage.clone();
                claim.time_ms = old.time_ms;
                claim.before = old.before.clone();
            }
            ("pending", "claimed") => {
                claim.state = "drifted".to_owned();
                claim.stage = old.stage.clone();
                claim.time_ms = old.time_ms;
                claim.reason = Some(match &claim.driver {
                    Some(driver) => format!("it was on {}, {driver} has it now", old.target),
                    None => format!("it was on {}, no driver has it now", old.target),
                });
            }
            ("pending", "failed") => {
                claim.state = "failed".to_owned();
                claim.reason = old.reason.clone();
            }
            _ => {}
        }
    }
    let mut groups = picture.examine().groups;
    groups.retain(|group| group.devices.iter().any(|device| shown.binary_search(device).is_ok()));
    json::Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        kernel: picture.kernel.clone(),
        iommu: json::Iommu::from(&plan.verdict),
        claims,
        devices: picture
            .devices
            .iter()
            .filter(|device| shown.binary_search(&device.address).is_ok())
            .map(Into::into)
            .collect(),
        groups,
        problems: json::problems(config, &plan.problems),
        boot: before.map(|report| json::Boot {
            stage: report.stage.clone(),
            time_ms: report.time_ms,
            duration_ms: report.duration_ms,
            status: report.status,
        }),
    }
}

/// The devices that are shown: displays, what is claimed, and everything in a group with either.
fn shown(picture: &Picture, plan: &Plan, all: bool) -> Vec<Address> {
    let claimed = |address: Address| {
        plan.entries
            .iter()
            .any(|entry| entry.device == Some(address) && !matches!(entry.decision, Decision::Missing { .. }))
    };
    let interesting: Vec<Address> = picture
        .devices
        .iter()
        .filter(|device| all || device.identity.class.is_display() || claimed(device.address))
        .map(|device| device.address)
        .collect();
    let mut shown = interesting.clone();
    for group in &picture.groups {
        if group.members.iter().any(|member| interesting.contains(member)) {
            shown.extend(&group.members);
        }
    }
    shown.sort_unstable();
    shown.dedup();
    shown
}

/// The answer to the question that people have.
fn headline(plan: &Plan, status: &json::Status) -> String {
    if plan.off {
        return "vfio_early=off is on the kernel command line: nothing is touched".to_owned();
    }
    let all = status.claims.len();
    let count = |state: &str| status.claims.iter().filter(|claim| claim.state == state).count();
    if all == 0 {
        return "nothing is claimed on this machine".to_owned();
    }
    let claimed = count("claimed");
    if claimed == all {
        return match all {
            1 => "the claimed device is ready for a guest".to_owned(),
            _ => format!("all {all} claimed devices are ready for a guest"),
        };
    }
    let others: Vec<String> = ["pending", "refused", "failed", "missing", "drifted"]
        .into_iter()
        .filter(|state| count(state) > 0)
        .map(|state| format!("{} {state}", count(state)))
        .collect();
    let others = others.join(", ");
    match claimed {
        0 => format!("no claimed device is ready for a guest ({others})"),
        _ => format!("{claimed} of {all} claimed devices are ready for a guest ({others})"),
    }
}

fn text(plan: &Plan, status: &json::Status, colour: bool) -> String {
    let mut text = layout::wrap(&headline(plan, status), "  ");
    text.push_str(&layout::wrap(&format!("IOMMU: {}", plan.verdict.headline()), "  "));
    for advice in &status.iommu.advice {
        text.push_str(&layout::wrap(&format!("  {advice}"), "  "));
    }
    if !status.claims.is_empty() {
        text.push_str("\nClaims:\n");
        text.push_str(&paint(&claims(status), colour));
    }
    if !status.devices.is_empty() {
        text.push_str("\nDevices:\n");
        text.push_str(&devices(status));
    }
    for problem in status.problems.iter().filter(|problem| problem.severity == "warning") {
        text.push('\n');
        text.push_str(&layout::wrap(&format!("warning: {}", problem.message), "  "));
    }
    if let Some(boot) = &status.boot {
        let (time, took) = (seconds(boot.time_ms), boot.duration_ms);
        let line = format!("Last claim: {} stage at {time}, took {took} ms, status {}", boot.stage, boot.status);
        let _ = writeln!(text, "\n{}", layout::plain(&line));
    }
    text
}

/// One row a claim, and what there is to say about it below.
fn claims(status: &json::Status) -> String {
    let mut rows = Vec::new();
    let mut notes = Vec::new();
    for claim in &status.claims {
        let or_none = |word: &Option<String>| word.clone().unwrap_or_else(|| "-".to_owned());
        rows.push(vec![
            or_none(&claim.device),
            claim.state.clone(),
            or_none(&claim.driver),
            format!("{} ({})", claim.selector, claim.source),
        ]);
        let made = claim.stage.as_ref().zip(claim.time_ms).map(|(stage, time)| {
            let before = claim.before.first().map(|driver| format!(", taken from {driver}")).unwrap_or_default();
            format!("claimed in the {stage} stage at {}{before}", seconds(time))
        });
        notes.push([made, claim.reason.clone()]);
    }
    let mut text = String::new();
    for (row, notes) in layout::table(&rows).into_iter().zip(notes) {
        text.push_str(&row);
        for note in notes.into_iter().flatten() {
            text.push_str(&layout::wrap(&format!("      {note}"), "      "));
        }
    }
    text
}

fn devices(status: &json::Status) -> String {
    let mut rows = vec![["ADDRESS", "ID", "KIND", "GROUP", "DRIVER"].map(ToOwned::to_owned).to_vec()];
    for device in &status.devices {
        let boot = if device.boot_vga == Some(true) { " (boot display)" } else { "" };
        rows.push(vec![
            device.address.clone(),
            format!("{}:{}", device.vendor, device.device),
            device.name.clone(),
            device.iommu_group.map_or_else(|| "-".to_owned(), |group| group.to_string()),
            format!("{}{boot}", device.driver.as_deref().unwrap_or("-")),
        ]);
    }
    layout::table(&rows).concat()
}

/// Milliseconds since the kernel started, as the kernel log has them.
fn seconds(milliseconds: u64) -> String {
    format!("{}.{:03} s", milliseconds / 1000, milliseconds % 1000)
}

/// Colours the states.
fn paint(text: &str, colour: bool) -> String {
    if !colour {
        return text.to_owned();
    }
    let mut text = text.to_owned();
    for (state, code) in
        [("claimed", 32), ("pending", 33), ("refused", 31), ("failed", 31), ("missing", 31), ("drifted", 31)]
    {
        text = text.replace(&format!("  {state} "), &format!("  \x1b[{code}m{state}\x1b[0m "));
    }
    text
}
