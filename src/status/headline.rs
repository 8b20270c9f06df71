// SPDX-License-Identifier: MIT OR Apache-2.0
//! The answer to the question that people have: will my guest get its GPU?

use std::fmt::Write as _;

use crate::problem::{Code, Problem};
use crate::report::{ClaimState, ClaimedDevice};

use super::Status;

/// One sentence. `off`: `vfio_early=off` is on the kernel command line.
pub fn headline(status: &Status, off: bool) -> String {
    if off {
        return "vfio_early=off is on the kernel command line: nothing is touched".to_owned();
    }
    let all = status.claims.len();
    if all == 0 {
        return "no claims configured".to_owned();
    }
    // On its driver is not yet in a guest's reach.
    let iommu = &status.iommu;
    let obstacle = match iommu.is_enabled() {
        true if iommu.refuses_guests() => "interrupts are not remapped".to_owned(),
        true => String::new(),
        false => iommu.reason(),
    };
    let claimed = || status.claims.iter().filter(|claim| claim.state == ClaimState::Claimed);
    let blocked = claimed().filter(|claim| is_blocked(status, claim)).count();
    let is_ready =
        |claim: &ClaimedDevice| claim.state == ClaimState::Claimed && obstacle.is_empty() && !is_blocked(status, claim);
    let mut text = match (claimed().filter(|claim| is_ready(claim)).count(), all) {
        (1, 1) => "the claimed device is ready for a guest".to_owned(),
        (0, _) => "no guest can use a claimed device".to_owned(),
        (ready, _) if ready == all => format!("all {all} claimed devices are ready for a guest"),
        (ready, _) => format!("{ready} of {all} claimed devices are ready for a guest"),
    };
    let mut before = " (";
    let not_claimed =
        [ClaimState::Pending, ClaimState::Refused, ClaimState::Failed, ClaimState::Missing, ClaimState::Drifted];
    let ways = not_claimed.map(|state| (status.count(state), state.name()));
    for (number, what) in ways.into_iter().chain([(blocked, "kept from guests")]) {
        if number > 0 {
            let _ = write!(text, "{before}{number} {what}");
            before = ", ";
        }
    }
    if before == ", " {
        text.push(')');
    }
    if !obstacle.is_empty() {
        let _ = write!(text, ": {obstacle}");
    }
    let (mut ready, mut lost) = (Vec::new(), Vec::new());
    for claim in status.claims.iter().filter(|claim| is_display(status, claim)) {
        if is_ready(claim) { &mut ready } else { &mut lost }
            .push(claim.device.map(|address| address.to_string()).unwrap_or_default());
    }
    match (lost.as_slice(), ready.as_slice()) {
        ([], []) => {}
        ([], [one]) => drop(write!(text, ", the GPU at {one} among them")),
        ([], many) => drop(write!(text, ", {} GPUs among them", many.len())),
        ([one], _) => drop(write!(text, "; a guest cannot get the GPU at {one}")),
        (many, _) => drop(write!(text, "; a guest cannot get {} GPUs", many.len())),
    }
    // One that runs already is ready as well, but not for another.
    if let Some(process) = status.devices.iter().find_map(|device| device.open_by.as_ref()?.first()) {
        let _ = write!(text, "; in use by {}", process.name);
    }
    text
}

/// Whether something keeps a claimed device from every guest: a host driver in its group, memory that the firmware reserves,
/// that it is in no group, that it does not answer, or that something else uses its memory.
pub fn is_blocked(status: &Status, claim: &ClaimedDevice) -> bool {
    let device = status.devices.iter().find(|device| Some(device.address) == claim.device);
    let group = device.and_then(|device| device.detail.group);
    let reserved = |problem: &Problem| {
        matches!(problem.code, Code::Rmrr | Code::NoAnswer | Code::MemoryInUse) && problem.device == claim.device
    };
    status.groups.iter().any(|known| Some(known.id) == group && !known.viable)
        || (group.is_none() && status.iommu.is_enabled())
        || status.problems.iter().any(reserved)
}

fn is_display(status: &Status, claim: &ClaimedDevice) -> bool {
    let of_claim = |address| Some(address) == claim.device;
    status.devices.iter().any(|device| of_claim(device.address) && device.identity.class.is_display())
}
