// SPDX-License-Identifier: MIT OR Apache-2.0
//! What happened, told: as JSON documents, in the kernel log, and to people.

pub mod json;
mod kernel_log;
pub mod status;
mod store;

pub use kernel_log::{Level, say};
pub use store::{PATH, load, merge, save};
