// SPDX-License-Identifier: MIT OR Apache-2.0
//! The report as lines of the kernel log, the one place that every boot keeps.

use crate::machine::Machine;
use crate::problem::{Code, Severity};

use super::{ClaimState, Report};

/// How much of a line the kernel keeps (kernel/printk/printk.c, LOG_LINE_MAX less its prefix).
const MAX_LINE: usize = 900;

/// How much a line matters, as in syslog(3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// A claim or a request was not met.
    Error,
    /// It was met, with a drawback.
    Warning,
    /// For the record.
    Info,
}

/// What a report says in the kernel log. `asked`: the state that the run was for.
pub fn lines(report: &Report, asked: ClaimState) -> Vec<(Level, String)> {
    let mut lines = Vec::new();
    if report.claims.is_empty() && report.steps.is_empty() {
        return lines;
    }
    for claim in &report.claims {
        let device = claim.device.map_or_else(|| "-".to_owned(), |address| address.to_string());
        if let Some(rom) = claim.rom.as_ref().filter(|rom| rom.path.is_some()) {
            lines.push((Level::Info, format!("{device}: {}", rom.text())));
        }
        match claim.state {
            ClaimState::Claimed if claim.stage.is_some() => {
                let before = claim.before.first().map(|driver| format!(", taken from {driver}")).unwrap_or_default();
                lines.push((Level::Info, format!("{device}: claimed for {}{before}", claim.target)));
            }
            ClaimState::Released => {
                let driver = claim.driver.as_deref().unwrap_or("no driver");
                lines.push((Level::Info, format!("{device}: released to {driver}")));
            }
            ClaimState::Failed => {
                let reason = claim.reason.as_deref().unwrap_or("");
                lines.push((Level::Error, format!("{device}: failed: {reason}")));
            }
            _ => {}
        }
    }
    for problem in report.problems.iter().filter(|problem| problem.code != Code::Failed) {
        let level = if problem.severity == Severity::Error { Level::Error } else { Level::Warning };
        lines.push((level, problem.message.clone()));
    }
    let met = report.claims.iter().filter(|claim| claim.state == asked).count();
    let (all, time) = (report.claims.len(), report.duration_ms);
    lines.push((Level::Info, format!("{met} of {all} {} in {time} ms", asked.name())));
    lines
}

/// Writes `vfio-early: MESSAGE` to the kernel log, with the facility `daemon`. Where there is no /dev/kmsg, standard error and
/// the report have it anyway.
pub fn write(machine: &dyn Machine, level: Level, message: &str) {
    let priority = match level {
        Level::Error => 3 << 3 | 3,
        Level::Warning => 3 << 3 | 4,
        Level::Info => 3 << 3 | 6_u8,
    };
    let mut line = format!("<{priority}>vfio-early: {}", message.replace('\n', " "));
    if line.len() > MAX_LINE {
        let end = (0..=MAX_LINE).rev().find(|end| line.is_char_boundary(*end)).unwrap_or(0);
        line.truncate(end);
        line.push_str("...");
    }
    line.push('\n');
    // One open(2) for each line: from one open file, the kernel accepts ten lines in five seconds and drops the rest
    // (kernel/printk/printk.c, `devkmsg_open` and `devkmsg_write`).
    if let Err(error) = machine.write("/dev/kmsg", &line) {
        log::debug!("{error}");
    }
}
