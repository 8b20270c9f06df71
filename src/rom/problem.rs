// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is wrong with a ROM, for people and for programs.

use crate::json::fields;
use crate::severity::Severity;

/// One problem of a ROM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RomProblem {
    /// How much it matters.
    pub severity: Severity,
    /// A short name that never changes, for programs.
    pub code: &'static str,
    /// Where, in bytes from the start of the file.
    pub offset: usize,
    /// What is wrong, one line.
    pub message: String,
    /// What to do about it, one line.
    pub remedy: String,
    /// Whether `rom repair` changes it. An error that it cannot correct makes the ROM invalid.
    pub repairable: bool,
}

fields!(RomProblem { severity, code, offset, message, remedy, repairable });

/// The problems found so far. A hostile file can have one in every image, so their number is limited.
#[derive(Debug, Default)]
pub(super) struct Problems(pub(super) Vec<RomProblem>);

/// Warnings and notes beyond this many are dropped.
const MAX_PROBLEMS: usize = 200;

impl Problems {
    /// An error that `rom repair` cannot fix.
    pub(super) fn error(&mut self, code: &'static str, offset: usize, message: String, remedy: &str) {
        self.push(Severity::Error, code, offset, message, remedy, false);
    }

    /// An error that `rom repair` fixes.
    pub(super) fn repairable(&mut self, code: &'static str, offset: usize, message: String, remedy: &str) {
        self.push(Severity::Error, code, offset, message, remedy, true);
    }

    /// Something that `rom repair` puts right, although a firmware can use the ROM as it is.
    pub(super) fn repairable_warning(&mut self, code: &'static str, offset: usize, message: String, remedy: &str) {
        self.push(Severity::Warning, code, offset, message, remedy, true);
    }

    /// Bytes that no firmware minds, and that `rom repair` removes.
    pub(super) fn repairable_note(&mut self, code: &'static str, offset: usize, message: String) {
        self.push(Severity::Note, code, offset, message, "harmless; `rom repair` removes them", true);
    }

    /// A warning.
    pub(super) fn warning(&mut self, code: &'static str, offset: usize, message: String, remedy: &str) {
        self.push(Severity::Warning, code, offset, message, remedy, false);
    }

    /// A note.
    pub(super) fn note(&mut self, code: &'static str, offset: usize, message: String) {
        self.push(Severity::Note, code, offset, message, "", false);
    }

    fn push(
        &mut self,
        severity: Severity,
        code: &'static str,
        offset: usize,
        message: String,
        remedy: &str,
        repairable: bool,
    ) {
        // Errors are never dropped, because the verdict depends on them; the number of images bounds them.
        if self.0.len() < MAX_PROBLEMS || severity == Severity::Error {
            self.0.push(RomProblem { severity, code, offset, message, remedy: remedy.to_owned(), repairable });
        }
    }
}
