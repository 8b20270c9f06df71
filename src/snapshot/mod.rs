// SPDX-License-Identifier: MIT OR Apache-2.0
//! A snapshot: what the program read of a machine, as one text file that says nothing of its owner.

mod redact;
mod thin;

use crate::machine::{self, Observation};

/// The file. `host`: the machine's name, which is left out wherever it stands.
pub fn print(mut seen: Vec<(String, Observation)>, host: &str) -> String {
    thin::out(&mut seen);
    redact::all(&mut seen, host);
    machine::print(&machine::tree(&seen))
}
