// SPDX-License-Identifier: MIT OR Apache-2.0
//! The entry points that are fuzzed: each takes any bytes, and panics if something is wrong. `cargo fuzz` runs them, and
//! tests/it/corpora.rs replays their corpora.

pub(crate) mod command_line;
pub(crate) mod config;
mod files;
pub(crate) mod groups;
pub(crate) mod modprobe;
pub(crate) mod names;
pub(crate) mod recording;
pub(crate) mod report;
pub(crate) mod rom_extract;
pub(crate) mod rom_parse;
pub(crate) mod rom_repair;
