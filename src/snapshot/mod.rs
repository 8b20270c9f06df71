// SPDX-License-Identifier: MIT OR Apache-2.0
//! A snapshot: what the program read of a machine, as one text file that says nothing of its owner.

mod redact;
mod thin;

use crate::door::{self, Seen};

/// The file. `host`: the machine's name, which is left out wherever it stands.
pub fn print(mut seen: Vec<(String, Seen)>, host: &str) -> String {
    thin::out(&mut seen);
    redact::all(&mut seen, host);
    door::print(&door::tree(&seen))
}
