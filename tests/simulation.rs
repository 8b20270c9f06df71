// SPDX-License-Identifier: MIT OR Apache-2.0
//! The program on a simulated machine: nothing that a machine does may leave a device worse off than before.
//!
//! `VFIO_EARLY_CASES=N` tries N generated machines instead of a few hundred; `VFIO_EARLY_CASES=all` tries every kind of fault at every
//! operation of the hand-made ones too, reads included.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::format_push_string,
    reason = "a test that panics has done its work"
)]

mod properties;
mod simulated;
