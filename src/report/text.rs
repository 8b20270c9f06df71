// SPDX-License-Identifier: MIT OR Apache-2.0
//! The report for people.

use std::fmt::Write as _;

use crate::layout::{plain, wrap};
use crate::problem::Code;

use super::Report;

/// What follows in a row that is too long.
const INDENT: &str = "                ";

/// The plan or the outcome.
pub fn text(report: &Report) -> String {
    if report.claims.is_empty() && report.steps.is_empty() {
        return "nothing to claim\n".to_owned();
    }
    let mut text = format!("IOMMU: {}\n", report.iommu.headline());
    if !report.steps.is_empty() {
        text.push_str(if report.dry_run { "Plan:\n" } else { "Steps:\n" });
        for step in &report.steps {
            let device = step.device.map_or_else(|| "-".to_owned(), |address| address.to_string());
            let result = if report.dry_run { String::new() } else { format!("  {}", step.result.text()) };
            text.push_str(&wrap(&format!("  {device:12}  {:19} {}{result}", step.op.name(), step.value), INDENT));
        }
    }
    text.push_str("Claims:\n");
    for claim in &report.claims {
        let device = claim.device.map_or_else(|| "-".to_owned(), |address| address.to_string());
        let reason = claim.reason.as_deref().or(claim.driver.as_deref()).unwrap_or("");
        let line = format!("  {device:12}  {:8} {:12} {reason}", claim.state.name(), claim.target);
        text.push_str(&wrap(&line, INDENT));
        let _ = writeln!(text, "{INDENT}{}", plain(&format!("{} ({})", claim.selector, claim.source)));
        if let Some(rom) = &claim.rom {
            text.push_str(&wrap(&format!("{INDENT}{}", rom.text()), INDENT));
        }
    }
    let notes = report.problems.iter().filter(|problem| !problem.is_reason() || problem.device.is_none());
    for problem in notes.filter(|problem| problem.code != Code::Missing) {
        text.push_str(&wrap(&format!("{}: {}", problem.severity.name(), problem.message), "  "));
    }
    text
}
