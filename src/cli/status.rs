// SPDX-License-Identifier: MIT OR Apache-2.0
//! `vfio-early status`: the truth about the running system.

use std::fmt::Write as _;

use crate::config::{self, Config};
use crate::door::Door;
use crate::pci::Address;
use crate::picture::Picture;
use crate::plan::{self, Decision, Plan};
use crate::report::{self, json};

use super::arguments;
use super::output::Output;
use super::{Exit, Failure};

/// Runs the command.
pub(super) fn run(door: &dyn Door, options: &arguments::Status, output: &mut Output) -> Result<Exit, Failure> {
    let loaded = config::load(door)?;
    for warning in &loaded.warnings {
        output.note(&format!("vfio-early: {warning}"));
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
    let before = report::load(door);
    let status = describe(&config, &picture, &plan, before.as_ref(), options.all);
    let held = status.claims.iter().all(|claim| claim.state == "claimed");
    let exit = match (plan.unprotected, held) {
        (true, _) => Exit::Unprotected,
        (false, true) => Exit::Ok,
        (false, false) => Exit::NotHeld,
    };
    if options.json {
        output.result(&miniserde::json::to_string(&status));
    } else {
        let colour = output.colour();
        output.result(&text(&plan, &status, colour));
    }
    Ok(exit)
}

fn describe(config: &Config, picture: &Picture, plan: &Plan, before: Option<&json::Report>, all: bool) -> json::Status {
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
    let shown = shown(picture, plan, all);
    let groups = json::groups(picture);
    json::Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        kernel: picture.kernel.clone(),
        iommu: json::Iommu::from(&plan.verdict),
        claims,
        devices: picture.devices.iter().filter(|device| shown.contains(&device.address)).map(Into::into).collect(),
        groups: groups
            .into_iter()
            .filter(|group| group.devices.iter().any(|device| shown.iter().any(|one| one.to_string() == *device)))
            .collect(),
        problems: plan.problems.iter().map(Into::into).collect(),
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
    format!("{claimed} of {all} claimed devices are ready for a guest ({})", others.join(", "))
}

fn text(plan: &Plan, status: &json::Status, colour: bool) -> String {
    let paint = |state: &str, text: String| match (colour, state) {
        (true, "claimed") => format!("\x1b[32m{text}\x1b[0m"),
        (true, "pending") => format!("\x1b[33m{text}\x1b[0m"),
        (true, _) => format!("\x1b[31m{text}\x1b[0m"),
        (false, _) => text,
    };
    let mut text = String::new();
    let _ = writeln!(text, "{}", headline(plan, status));
    let _ = writeln!(text, "IOMMU: {}", plan.verdict.headline());
    for advice in &status.iommu.advice {
        let _ = writeln!(text, "  {advice}");
    }
    if !status.claims.is_empty() {
        let _ = writeln!(text, "\nClaims:");
    }
    for claim in &status.claims {
        let device = claim.device.as_deref().unwrap_or("-");
        let state = paint(&claim.state, format!("{:8}", claim.state));
        let _ = writeln!(
            text,
            "  {device:12} {state} {:14} {} ({})",
            claim.driver.as_deref().unwrap_or("-"),
            claim.selector,
            claim.source
        );
        if let (Some(stage), Some(time)) = (&claim.stage, claim.time_ms) {
            let before = claim.before.first().map(|driver| format!(", taken from {driver}")).unwrap_or_default();
            let _ =
                writeln!(text, "               by the {stage} stage at {}.{:03} s{before}", time / 1000, time % 1000);
        }
        if let Some(reason) = &claim.reason {
            let _ = writeln!(text, "               {reason}");
        }
    }
    if !status.devices.is_empty() {
        let _ = writeln!(text, "\nDevices:");
        let _ = writeln!(text, "  {:12} {:9} {:20} {:5} DRIVER", "ADDRESS", "ID", "KIND", "GROUP");
    }
    for device in &status.devices {
        let group = device.iommu_group.map_or_else(|| "-".to_owned(), |group| group.to_string());
        let boot = if device.boot_vga == Some(true) { ", boot display" } else { "" };
        let _ = writeln!(
            text,
            "  {:12} {}:{} {:20} {group:5} {}{boot}",
            device.address,
            device.vendor,
            device.device,
            device.name,
            device.driver.as_deref().unwrap_or("-")
        );
    }
    for problem in status.problems.iter().filter(|problem| problem.severity == "warning") {
        let _ = writeln!(text, "\nwarning: {}", problem.message);
    }
    if let Some(boot) = &status.boot {
        let _ = writeln!(
            text,
            "\nLast claim: {} stage, {}.{:03} s after the kernel started, took {} ms, status {}",
            boot.stage,
            boot.time_ms / 1000,
            boot.time_ms % 1000,
            boot.duration_ms,
            boot.status
        );
    }
    text
}
