// SPDX-License-Identifier: MIT OR Apache-2.0
//! What happened, told: as JSON documents, in the kernel log, and to people.

mod file;
pub mod json;
mod kernel_log;
pub mod status;

pub use file::{PATH, load, merge, save};
pub use kernel_log::{Level, say};
