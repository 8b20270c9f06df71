// SPDX-License-Identifier: MIT OR Apache-2.0
//! What people should know of claimed cards: of which the host keeps a part, and beside which it keeps something.

use crate::config::Config;
use crate::inventory::{Device, Inventory};
use crate::pci::Address;
use crate::problem::{Code, Problem};

use super::Plan;

/// The cards that are split between the host and a guest, and what stays of the slots of claimed displays without being part
/// of their cards; each once.
pub fn cards(config: &Config, inventory: &Inventory, plan: &Plan) -> Vec<Problem> {
    let mut problems = Vec::new();
    if !plan.iommu.is_enabled() {
        return problems;
    }
    let holds = |device: &&Device| {
        plan.devices.iter().any(|planned| planned.device == Some(device.address) && planned.decision.holds())
    };
    let mut known: Vec<Address> = Vec::new();
    for planned in plan.devices.iter().filter(|planned| planned.decision.holds() && planned.along.is_none()) {
        let Some(device) = planned.device.and_then(|address| inventory.device(address)) else { continue };
        let card = inventory.card(device);
        let first = card.functions.first().map_or(device.address, |first| first.address);
        if known.contains(&first) {
            continue;
        }
        known.push(first);
        let address = device.address;
        let split: Vec<String> = card.functions.iter().filter(|one| !holds(one)).map(|one| one.name()).collect();
        if !split.is_empty() {
            let message = format!(
                "{address} is claimed and {} of the same card {} not: one card for the host and a guest (with=card \
                 claims all of it)",
                split.join(", "),
                if split.len() == 1 { "is" } else { "are" }
            );
            problems.push(Problem::warning(Code::SplitSlot, Some(address), message).of(config, planned.claim));
        }
        let left: Vec<String> = card.left.iter().filter(|one| !holds(one)).map(|one| one.name()).collect();
        if !left.is_empty() {
            let message = format!(
                "{address} shares its slot with {}: the host keeps {}, because only the display and what has its vendor \
                 ID or its IOMMU group are one card",
                left.join(", "),
                if left.len() == 1 { "it" } else { "them" }
            );
            problems.push(Problem::warning(Code::LeftOut, Some(address), message).of(config, planned.claim));
        }
    }
    problems
}
