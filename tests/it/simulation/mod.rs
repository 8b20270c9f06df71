// SPDX-License-Identifier: MIT OR Apache-2.0
//! The program on a simulated machine: nothing that a machine does may leave a device worse off than before.
//!
//! `VFIO_EARLY_CASES=N` tries N generated machines instead of a few hundred; `VFIO_EARLY_CASES=all` tries every kind of fault at every
//! operation of the hand-made ones too, reads included.
//!
//! What the program promises, whatever the machine does. The program is the real one, from the configuration to the
//! report; only the machine is simulated.

mod adjusted;
mod bounded;
mod by_hand;
mod case;
mod claim_faults;
mod every_operation;
mod excuse;
mod generated;
mod kernel_facts;
mod killed;
mod late_groups;
mod machines;
mod pairs;
mod promises;
mod races;
mod reported;
mod trial;

/// How thorough to be: what VFIO_EARLY_CASES says.
pub(crate) fn cases(usual: u32) -> u32 {
    std::env::var("VFIO_EARLY_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// Whether every kind of fault is tried everywhere.
fn thorough() -> bool {
    std::env::var("VFIO_EARLY_CASES").is_ok_and(|text| text == "all")
}
