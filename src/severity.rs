// SPDX-License-Identifier: MIT OR Apache-2.0
//! How much a problem matters: the same scale for a claim and for an option ROM.

use crate::json::readable_words;

/// How much a problem matters, the worst first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// A request was not met, or a ROM cannot be used as it is.
    #[default]
    Error,
    /// It works, but not as expected.
    Warning,
    /// Worth knowing, and normal.
    Note,
}

readable_words!(Severity { Error: "error", Warning: "warning", Note: "note" });
