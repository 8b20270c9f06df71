// SPDX-License-Identifier: MIT OR Apache-2.0
//! What came of a claim, a `bind` or a `release`, told: on standard output, and in the kernel log.

use crate::machine::Machine;
use crate::plan::Plan;
use crate::report::{self, Level, json};

use super::carry::Claimed;
use super::output::Output;
use super::{Exit, layout};

/// Prints what a run came to.
pub(super) fn tell(claimed: &Claimed, json: bool, output: &mut Output) -> Exit {
    if let Some(error) = &claimed.unsaved {
        output.warn(&error.to_string());
    }
    if json {
        output.result(&crate::json::to_string(&claimed.report));
    } else if !output.quiet {
        output.result(&text(&claimed.plan, &claimed.report));
    }
    claimed.exit
}

/// Says in the kernel log what came of it. `word`: the state that was asked for.
pub(super) fn in_kernel_log(machine: &dyn Machine, plan: &Plan, report: &json::Report, word: &str) {
    if plan.off {
        report::say(machine, Level::Warning, "vfio_early=off is on the kernel command line: nothing is touched");
        return;
    }
    if report.claims.is_empty() {
        return;
    }
    for claim in &report.claims {
        let device = claim.device.as_deref().unwrap_or("-");
        if let Some(rom) = claim.rom.as_ref().filter(|rom| rom.path.is_some()) {
            report::say(machine, Level::Info, &format!("{device}: {}", rom.text()));
        }
        match (claim.state.as_str(), claim.stage.is_some()) {
            ("claimed", true) => {
                let before = claim.before.first().map(|driver| format!(", taken from {driver}")).unwrap_or_default();
                report::say(machine, Level::Info, &format!("{device}: claimed for {}{before}", claim.target));
            }
            ("released", _) => {
                let driver = claim.driver.as_deref().unwrap_or("no driver");
                report::say(machine, Level::Info, &format!("{device}: released, {driver} has it now"));
            }
            ("failed", _) => {
                let reason = claim.reason.as_deref().unwrap_or("");
                report::say(machine, Level::Error, &format!("{device}: failed: {reason}"));
            }
            _ => {}
        }
    }
    for problem in report.problems.iter().filter(|problem| problem.code != "failed") {
        let level = if problem.severity == "error" { Level::Error } else { Level::Warning };
        report::say(machine, level, &problem.message);
    }
    let claimed = report.claims.iter().filter(|claim| claim.state == word).count();
    let (all, time) = (report.claims.len(), report.duration_ms);
    report::say(machine, Level::Info, &format!("{claimed} of {all} {word} in {time} ms"));
}

/// The plan or the outcome, for people.
fn text(plan: &Plan, report: &json::Report) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    if plan.off {
        return "vfio_early=off is on the kernel command line: nothing is touched\n".to_owned();
    }
    if report.claims.is_empty() {
        return "nothing is claimed here\n".to_owned();
    }
    let _ = writeln!(text, "IOMMU: {}", plan.verdict.headline());
    if !report.steps.is_empty() {
        let _ = writeln!(text, "{}:", if report.dry_run { "Plan" } else { "Steps" });
        for step in &report.steps {
            let device = step.device.as_deref().unwrap_or("-");
            let result = if report.dry_run { String::new() } else { format!("  {}", step.result) };
            let line = format!("  {device:12}  {:19} {}{result}", step.op, step.value);
            text.push_str(&layout::wrap(&line, "                "));
        }
    }
    let _ = writeln!(text, "Claims:");
    for claim in &report.claims {
        let device = claim.device.as_deref().unwrap_or("-");
        let reason = claim.reason.as_deref().or(claim.driver.as_deref()).unwrap_or("");
        let line = format!("  {device:12}  {:8} {:12} {reason}", claim.state, claim.target);
        text.push_str(&layout::wrap(&line, "                "));
        let _ = writeln!(text, "                {}", layout::plain(&format!("{} ({})", claim.selector, claim.source)));
        if let Some(rom) = &claim.rom {
            text.push_str(&layout::wrap(&format!("                {}", rom.text()), "                "));
        }
    }
    let notes = report.problems.iter().filter(|problem| !problem.is_reason() || problem.device.is_none());
    for problem in notes.filter(|problem| problem.code != "missing") {
        text.push_str(&layout::wrap(&format!("{}: {}", problem.severity, problem.message), "  "));
    }
    text
}
