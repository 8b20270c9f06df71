// SPDX-License-Identifier: MIT OR Apache-2.0
//! What became of each claim until now: what holds its device, and what the report of the boot says of it.

use crate::config::{self, Config, Driver, Options, Origin, With};
use crate::plan::{self, Plan};
use crate::report::json::{self, Claim, Report};

/// What was bound by hand, as claims: until it is released, it is wished for like what is configured.
pub(super) fn by_hand(before: Option<&Report>) -> Vec<config::Claim> {
    let old = before.map(|report| report.claims.as_slice()).unwrap_or_default();
    let bound = old.iter().filter(|claim| claim.source == Origin::BIND && claim.state == "claimed");
    let claims = bound.filter_map(|claim| {
        let options =
            Options { with: Some(With::None), driver: Driver::Named(claim.target.clone()), ..Options::default() };
        let selector = config::Selector::Address(claim.device.as_deref()?.parse().ok()?);
        Some(config::Claim { selector, origin: Origin::file(Origin::BIND), options, adopted: false })
    });
    claims.collect()
}

/// The claims as they stand now. One that was claimed before and is on another driver now has drifted, whatever would
/// become of it if it were claimed anew.
pub(super) fn now(config: &Config, plan: &Plan, before: Option<&Report>) -> Vec<Claim> {
    let mut claims = json::claims(config, plan, None);
    for (claim, entry) in claims.iter_mut().zip(&plan.entries) {
        let old = before
            .and_then(|report| report.claims.iter().find(|old| old.device.is_some() && old.device == claim.device));
        // What holds the device decides; that it has no override as well is the next claim's affair.
        let bound = entry.driver.as_deref().is_some_and(|driver| plan::same_name(driver, &entry.target));
        if bound && entry.decision.holds() {
            claim.state = "claimed".to_owned();
        }
        let Some(old) = old else { continue };
        claim.rom = old.rom.clone();
        match (claim.state.as_str(), old.state.as_str()) {
            ("claimed", _) => {
                claim.stage = old.stage.clone();
                claim.time_ms = old.time_ms;
                claim.before = old.before.clone();
            }
            ("pending" | "refused", "claimed") if !bound => {
                claim.state = "drifted".to_owned();
                claim.stage = old.stage.clone();
                claim.time_ms = old.time_ms;
                let has = claim.driver.as_deref().unwrap_or("no driver");
                let mut reason = format!("it was on {}, {has} has it now", old.target);
                if let Some(refusal) = &claim.reason {
                    reason.push_str("; ");
                    reason.push_str(refusal);
                }
                claim.reason = Some(reason);
            }
            ("pending", "failed") => {
                claim.state = "failed".to_owned();
                claim.reason = old.reason.clone();
            }
            _ => {}
        }
    }
    claims
}
