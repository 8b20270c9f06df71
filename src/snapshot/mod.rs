// SPDX-License-Identifier: MIT OR Apache-2.0
//! Snapshots: what the program read from a machine, in one text file without personal data.

mod filter;
mod redact;

use crate::machine::{self, Observation};

/// Prints a snapshot. `host` is the machine's name, which is redacted everywhere.
pub fn print(mut observations: Vec<(String, Observation)>, host: &str) -> String {
    filter::filter(&mut observations);
    redact::redact(&mut observations, host);
    machine::print(&machine::tree(&observations))
}
