// SPDX-License-Identifier: MIT OR Apache-2.0
//! vfio-early: gives PCI devices to vfio-pci before any other driver can have them.

pub mod cli;
pub mod config;
pub mod execute;
pub mod groups;
pub mod inventory;
pub mod json;
pub mod machine;
pub mod pci;
pub mod plan;
pub mod report;
pub mod rom;
pub mod severity;
pub mod snapshot;
