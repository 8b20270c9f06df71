// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is wrong, or may become wrong, with a configuration on a machine: the document of `check`.

mod text;

use crate::config::{Config, ConfigError, Selector, With};
use crate::exit::Exit;
use crate::inventory::{Inventory, Use};
use crate::json::fields;
use crate::plan::{self, Plan};
use crate::problem::{Code, Problem, Severity};
use crate::report::{self, ClaimState, ClaimedDevice};

pub use text::text;

/// The document of `check`.
#[derive(Clone, Debug, Default)]
pub struct Check {
    /// Everything that is wrong, or worth a thought.
    pub problems: Vec<Problem>,
    /// What would become of each claim.
    pub claims: Vec<ClaimedDevice>,
}

fields!(Check { problems, claims });

impl Check {
    /// Of a configuration that cannot be understood.
    pub fn broken(errors: &[ConfigError]) -> Self {
        Self { problems: errors.iter().map(Into::into).collect(), claims: Vec::new() }
    }

    /// Of a plan, the problems beside those of the plan, and the warnings of the configuration's reader.
    pub fn new(config: &Config, plan: Plan, more: Vec<Problem>, warnings: &[ConfigError]) -> Self {
        let claims = report::claims(config, &plan, None);
        let mut problems = plan.problems;
        problems.extend(more);
        add_remedies(&claims, &mut problems);
        problems.extend(warnings.iter().map(|warning| Problem { severity: Severity::Warning, ..warning.into() }));
        Self { problems, claims }
    }
}

/// How the command ends. `unprotected`: nothing is claimed for want of an IOMMU.
pub fn exit(check: &Check, unprotected: bool) -> Exit {
    let met = check.claims.iter().all(|claim| matches!(claim.state, ClaimState::Pending | ClaimState::Claimed));
    match (unprotected, met && check.problems.iter().all(|problem| problem.severity != Severity::Error)) {
        (true, _) => Exit::Unprotected,
        (false, true) => Exit::Ok,
        (false, false) => Exit::NotMet,
    }
}

/// What to do about a problem whose message does not say.
const REMEDIES: &[(Code, &str)] = &[
    (Code::Missing, "vfio-early status --all lists what is there"),
    (Code::IdMismatch, "correct the address or the id="),
    (Code::Along, "with=none claims without what goes along"),
    (Code::NotViable, "vfio-early groups shows why they share a group; with=group claims all of it"),
    (Code::NoDriver, "install the package that has it"),
    (Code::Off, "take it off to claim"),
];

/// Adds where a problem comes from, and what to do about it, once where several are of one kind.
fn add_remedies(claims: &[ClaimedDevice], problems: &mut [Problem]) {
    let mut after = None;
    for problem in problems.iter_mut().rev() {
        if problem.source.is_none() {
            let of_device = claims.iter().find(|claim| claim.device.is_some() && claim.device == problem.device);
            problem.source = of_device.map(|claim| claim.source.clone());
        }
        let kind = Some((problem.code, problem.source.clone(), problem.device));
        if let (Some((_, remedy)), true) = (REMEDIES.iter().find(|(code, _)| *code == problem.code), after != kind) {
            problem.message.push_str("; ");
            problem.message.push_str(remedy);
        }
        after = kind;
    }
}

/// What holds now and may not stay so, and likely mistakes.
pub fn advice(config: &Config, inventory: &Inventory, plan: &Plan) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (index, claim) in config.claims.iter().enumerate() {
        let by_place = matches!(claim.selector, Selector::Address(_) | Selector::Slot(_));
        let first = plan.devices.iter().find(|planned| planned.claim == index && planned.along.is_none());
        let found = first
            .filter(|planned| planned.decision.holds())
            .and_then(|planned| planned.device)
            .and_then(|address| inventory.device(address));
        if let (true, None, Some(device)) = (by_place, claim.options.id, found) {
            let (selector, id) = (&claim.selector, device.identity.id());
            let message = format!("{selector} may be another device once a card is added or moved: say id={id}");
            problems.push(Problem::warning(Code::NoId, Some(device.address), message).of(config, index));
        }
        let later = found.filter(|device| inventory.is_grouped_later(device));
        if let (Some(device), false) = (later, claim.options.with == Some(With::Group)) {
            let message = format!(
                "{} has no IOMMU group yet (before Linux 6.15, the kernel assigns it when a driver binds to the device), so it is not \
                 known which devices share it, and whether the firmware reserves memory for one",
                device.address
            );
            problems.push(Problem::warning(Code::NoIommuGroup, Some(device.address), message).of(config, index));
        }
    }
    problems.extend(twins(config, inventory, plan));
    problems.extend(plan::cards(config, inventory, plan));
    problems
}

/// Disks that are claimed by address, and whose twins the running system stands on: buses are renumbered when a card is added,
/// and the claim may then find the twin, with the very ID that it expects.
fn twins(config: &Config, inventory: &Inventory, plan: &Plan) -> Vec<Problem> {
    let mut problems = Vec::new();
    for planned in plan.devices.iter().filter(|planned| planned.decision.holds() && planned.along.is_none()) {
        let Some(claim) = config.claims.get(planned.claim) else { continue };
        let Some(device) = planned.device.and_then(|address| inventory.device(address)) else { continue };
        // A device on a root bus stays where it is.
        let moves = matches!(claim.selector, Selector::Address(_) | Selector::Slot(_)) && device.chain.len() > 1;
        let (Some(expected), true, true) = (claim.options.id, moves, device.identity.class.is_storage()) else {
            continue;
        };
        let is_twin = |used: &&Use| {
            let other = inventory.device(used.device).filter(|other| other.address != device.address);
            other.is_some_and(|other| other.identity.class.is_storage() && expected.matches(&other.identity))
        };
        let Some(used) = inventory.in_use.iter().find(is_twin) else { continue };
        let address = device.address;
        let path = device.path().map(|path| format!(": claim {path} id={expected}")).unwrap_or_default();
        let message = format!(
            "{address} and {} have the same ID, and that one is in use: {}. Once a card is added or removed, it may have \
             the address {address}, and the claim takes it; claim by path instead{path}",
            used.device, used.description
        );
        problems.push(Problem::warning(Code::Twin, Some(address), message).of(config, planned.claim));
    }
    problems
}
