// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is claimed by hand, though nothing is configured for it, or something else.

use crate::config::{Claim, Config, ConfigError};
use crate::inventory::Inventory;
use crate::pci::Address;

use super::{Plan, decide, select};

/// Adds claims made by hand to a configuration. `bare`: nothing but addresses was said; then a claim of the configuration
/// that selects such a device says how. Otherwise what was said by hand counts, and that claim does not.
pub fn join(config: &mut Config, inventory: &Inventory, mut by_hand: Vec<Claim>, bare: bool) {
    let same = |claim: &Claim, by_hand: &Claim| {
        let devices = select::selected(claim, inventory);
        let one = |address: Address| devices.iter().any(|device| device.address == address);
        !select::is_ambiguous(claim, &devices) && by_hand.selector.address().is_some_and(one)
    };
    if bare {
        by_hand.retain(|one| !config.claims.iter().any(|claim| same(claim, one)));
    } else {
        config.claims.retain(|claim| !by_hand.iter().any(|one| same(claim, one)));
    }
    config.claims.extend(by_hand);
}

/// Decides what becomes of these devices and of what comes along with them. The configuration has been joined by the
/// claims that were made by hand.
pub fn bind(config: &Config, inventory: &Inventory, addresses: &[Address]) -> Result<Plan, Vec<ConfigError>> {
    let asked = |address: Option<Address>| address.is_some_and(|address| addresses.contains(&address));
    let mut devices = select::devices(config, inventory)?;
    devices.retain(|planned| {
        let by_hand = config.claims.get(planned.claim).is_some_and(|claim| claim.origin.is_bind());
        by_hand || asked(planned.device) || asked(planned.along)
    });
    Ok(decide(config, inventory, devices, &|_| true))
}
