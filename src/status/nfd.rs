// SPDX-License-Identifier: MIT OR Apache-2.0
//! The status as a feature file for the local source of Kubernetes Node Feature Discovery: each line becomes a label of
//! the node. Names and values keep to what labels may be: letters, digits, `.`, `-` and `_`, at most 63 of them.

use std::fmt::Write as _;

use crate::exit::Exit;
use crate::pci::Address;
use crate::report::ClaimState;

use super::Status;
use super::prometheus::STATES;

/// Adds one feature.
fn feature(file: &mut String, name: &str, value: &str) {
    let _ = writeln!(file, "feature.node.kubernetes.io/vfio-early.{name}={value}");
}

/// The whole file; without a status, the exit status alone.
pub fn nfd(status: Option<&Status>, exit: Exit) -> String {
    let mut file = String::new();
    feature(&mut file, "status", &exit.code().to_string());
    let Some(status) = status else { return file };
    feature(&mut file, "iommu", status.iommu.state.name());
    if let Some(kind) = status.iommu.kind {
        feature(&mut file, "iommu-kind", kind.name());
    }
    feature(&mut file, "interrupt-remapping", status.iommu.interrupt_remapping.name());
    for state in STATES {
        feature(&mut file, state.name(), &status.count(*state).to_string());
    }
    // How many functions of each model a guest can have.
    let claimed = |address: Address| {
        status.claims.iter().any(|claim| claim.state == ClaimState::Claimed && claim.device == Some(address))
    };
    let devices = status.devices.iter().filter(|device| claimed(device.address));
    let mut models: Vec<String> =
        devices.map(|device| format!("{:04x}-{:04x}", device.identity.vendor, device.identity.device)).collect();
    models.sort_unstable();
    for same in models.chunk_by(|one, other| one == other) {
        if let Some(model) = same.first() {
            feature(&mut file, &format!("claimed.{model}"), &same.len().to_string());
        }
    }
    file
}
