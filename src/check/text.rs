// SPDX-License-Identifier: MIT OR Apache-2.0
//! The problems for people, a line each.

use crate::layout::wrap;

use super::Check;

/// The whole text.
pub fn text(check: &Check) -> String {
    if check.problems.is_empty() {
        return match check.claims.len() {
            0 => "no problems; nothing is claimed\n".to_owned(),
            1 => "no problems; 1 device claimed\n".to_owned(),
            count => format!("no problems; {count} devices claimed\n"),
        };
    }
    let mut lines: Vec<String> = Vec::new();
    for problem in &check.problems {
        let source = problem.source.as_ref().map(|source| format!("{source}: ")).unwrap_or_default();
        let line = wrap(&format!("{source}{}: {}", problem.severity.name(), problem.message), "  ");
        // A pattern that matches too much is one mistake, whatever it matches.
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    lines.concat()
}
