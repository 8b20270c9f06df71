// SPDX-License-Identifier: MIT OR Apache-2.0
//! Any bytes as the report of earlier claims: it is understood or ignored, and what is understood is told in every form.

use vfio_early::json::{self, FromJson};
use vfio_early::report::{self, Report};

use super::files::Files;

/// The entry point.
pub(crate) fn run(data: &[u8]) {
    let Some(report) = report::load(&Files::with(report::PATH, data)) else { return };
    let printed = json::to_string(&report);
    let again = json::read(&printed).and_then(|value| Report::from_json(&value)).expect("what is printed is right");
    assert_eq!(json::to_string(&again), printed);
    let _ = report::text(&report);
    let merged = report::merge(Some(again), report, true);
    assert!(merged.steps.len() <= 1024);
}
