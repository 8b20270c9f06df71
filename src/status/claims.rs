// SPDX-License-Identifier: MIT OR Apache-2.0
//! What became of each claim until now: the driver of its device, and what the report of the boot says of it.

use crate::config::{self, Config, Driver, Options, Origin, With};
use crate::plan::{self, Plan};
use crate::report::{self, ClaimState, ClaimedDevice, Report};

/// What was bound manually, as claims: until it is released, it counts like what is configured.
pub fn bound_manually(before: Option<&Report>) -> Vec<config::Claim> {
    let old = before.map(|report| report.claims.as_slice()).unwrap_or_default();
    let bound = old.iter().filter(|claim| claim.source.is_bind() && claim.state == ClaimState::Claimed);
    let claims = bound.filter_map(|claim| {
        let options =
            Options { with: Some(With::None), driver: Driver::Named(claim.target.clone()), ..Options::default() };
        let selector = config::Selector::Address(claim.device?);
        Some(config::Claim { selector, origin: Origin::file(Origin::BIND), options, adopted: false })
    });
    claims.collect()
}

/// The claims as they stand now. One that was claimed before and is on another driver now has drifted, whatever would
/// become of it if it were claimed again.
pub fn current(config: &Config, plan: &Plan, before: Option<&Report>) -> Vec<ClaimedDevice> {
    let mut claims = report::claims(config, plan, None);
    for (claim, planned) in claims.iter_mut().zip(&plan.devices) {
        let old = before
            .and_then(|report| report.claims.iter().find(|old| old.device.is_some() && old.device == claim.device));
        // What holds the device decides; that it has no override as well is the next claim's affair.
        let bound = planned.driver.as_deref().is_some_and(|driver| plan::same_name(driver, &planned.target));
        if bound && planned.decision.holds() {
            claim.state = ClaimState::Claimed;
        }
        let Some(old) = old else { continue };
        claim.rom = old.rom.clone();
        match (claim.state, old.state) {
            (ClaimState::Claimed, _) => {
                claim.stage = old.stage;
                claim.time_ms = old.time_ms;
                claim.before = old.before.clone();
            }
            (ClaimState::Pending | ClaimState::Refused, ClaimState::Claimed) if !bound => {
                claim.state = ClaimState::Drifted;
                claim.stage = old.stage;
                claim.time_ms = old.time_ms;
                let has = claim.driver.as_deref().unwrap_or("no driver");
                let mut reason = format!("it was on {}, {has} has it now", old.target);
                if let Some(refusal) = &claim.reason {
                    reason.push_str("; ");
                    reason.push_str(refusal);
                }
                claim.reason = Some(reason);
            }
            (ClaimState::Pending, ClaimState::Failed) => {
                claim.state = ClaimState::Failed;
                claim.reason = old.reason.clone();
            }
            _ => {}
        }
    }
    claims
}
