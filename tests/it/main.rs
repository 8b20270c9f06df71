// SPDX-License-Identifier: MIT OR Apache-2.0
//! Everything that is tested from outside and needs no machine of its own, in one program: `cargo test --test it golden::`
//! runs what one module holds.
//!
//! These tests share a process. None changes what belongs to all of it (working directory, environment, umask, signals):
//! what needs another one gives it to the program that it starts. What measures time apart from its own thread's is in
//! tests/figures, and real boots are in tests/boot.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::expect_used,
    clippy::format_push_string,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "a test that meets something unexpected shall fail"
)]

mod completions;
mod config;
mod corpora;
mod dracut;
mod emulation;
mod fleet;
mod generated_proposals;
mod golden;
mod groups;
mod guests;
mod guides;
mod host;
mod hostile_snapshot;
mod json;
mod lab;
mod machines;
mod manuals;
mod mkinitcpio;
mod proposals;
mod rom;
mod second_opinion;
mod simulated;
mod simulation;
mod snapshot;
mod support;
mod targets;
