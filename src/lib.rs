// SPDX-License-Identifier: MIT OR Apache-2.0
//! vfio-early: gives PCI devices to vfio-pci before any other driver can have them.
//!
//! A library for this package's own program and tests. It promises nothing to others, so its documentation is hidden from them;
//! `make lint` reads it (`--cfg own_documentation`).
#![cfg_attr(not(own_documentation), doc(hidden))]

pub mod check;
pub mod cli;
pub mod config;
pub mod detect;
pub mod execute;
pub mod exit;
pub mod groups;
pub mod guest;
pub mod inventory;
pub mod json;
mod layout;
pub mod machine;
pub mod pci;
pub mod pipeline;
pub mod plan;
pub mod problem;
pub mod report;
pub mod rom;
pub mod severity;
pub mod snapshot;
pub mod status;
mod target;
pub mod trial;
