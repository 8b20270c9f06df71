// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is wrong with a ROM, in a form that people and programs can both use.

use crate::json::fields;
use crate::severity::Severity;

/// One problem of a ROM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
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
    /// Whether `rom repair` puts it right. An error that is not makes the ROM invalid.
    pub repairable: bool,
}

fields!(Problem { severity, code, offset, message, remedy, repairable });

/// The problems that were found so far. A hostile file can have one in every image: there is a limit.
#[derive(Debug, Default)]
pub(super) struct Problems(pub(super) Vec<Problem>);

/// More problems than this are no longer news.
const LIMIT: usize = 200;

impl Problems {
    /// An error that `rom repair` cannot put right.
    pub(super) fn error(&mut self, code: &'static str, offset: usize, message: String, remedy: &str) {
        self.push(Severity::Error, code, offset, message, remedy, false);
    }

    /// An error that `rom repair` puts right.
    pub(super) fn repairable(&mut self, code: &'static str, offset: usize, message: String, remedy: &str) {
        self.push(Severity::Error, code, offset, message, remedy, true);
    }

    /// A surprise.
    pub(super) fn warning(&mut self, code: &'static str, offset: usize, message: String, remedy: &str) {
        self.push(Severity::Warning, code, offset, message, remedy, false);
    }

    /// Something worth knowing.
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
        // Errors always get in, because the verdict hangs on them; the number of images bounds them.
        if self.0.len() < LIMIT || severity == Severity::Error {
            self.0.push(Problem { severity, code, offset, message, remedy: remedy.to_owned(), repairable });
        }
    }
}
