// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is proposed for each device: the plan says, as for any configuration.

use crate::config::{self, Config, ConfigError, Guard, Options, Origin, Selector, With};
use crate::inventory::{Device, Inventory};
use crate::pci::names::Names;
use crate::pci::{Address, ExpectedId, is_vfio_driver};
use crate::plan::{self, Decision, Plan, Refusal};
use crate::problem::Code;
use crate::trial;

use super::candidates::{candidates, host, is_management, is_nvswitch};
use super::{Advice, Claim, Entry, Function, Host, Proposal};

/// Proposes claims beside those of a configuration. What vfio-pci's own `ids=` claims is no part of it: those lines can go.
pub(super) fn propose(
    mut config: Config,
    inventory: &Inventory,
    today: &[(Address, String)],
    names: Vec<Names>,
) -> Result<Proposal, Vec<ConfigError>> {
    config.claims.retain(|claim| !claim.adopted);
    let written = config.claims.len();
    let known = plan::plan(&config, inventory, &[])?;
    let by_file = |address: Address| known.devices.iter().find(|planned| planned.device == Some(address));
    let taken = |device: &Device| {
        device.driver().is_some_and(is_vfio_driver)
            || by_file(device.address).is_some()
            || today.iter().any(|(address, _)| *address == device.address)
    };
    let host = host(inventory, &taken);
    let of_host: Vec<Address> = match host.address().and_then(|address| inventory.device(address)) {
        Some(device) => inventory.card(device).functions.iter().map(|device| device.address).collect(),
        None => Vec::new(),
    };
    let candidates = candidates(inventory, today);
    // The card of each, and of two of one card the first.
    let mut along: Vec<(Address, Address)> = Vec::new();
    let mut wanted: Vec<&Device> = Vec::new();
    for device in &candidates {
        let address = device.address;
        let left_alone = by_file(address).is_some() || of_host.contains(&address) || is_management(&device.identity);
        if left_alone || along.iter().any(|(other, _)| *other == address) {
            continue;
        }
        wanted.push(device);
        if let Some(With::Card) = with(inventory, device) {
            along.extend(inventory.card(device).functions.iter().map(|other| (other.address, address)));
        }
    }
    // Displays first: what is on the card of one goes along with it, wherever its address is.
    wanted.retain(|device| !along.iter().any(|(other, first)| *other == device.address && *first != device.address));
    config.claims.extend(wanted.iter().map(|device| claim_for(inventory, device, Vec::new())));
    let plan = plan::plan(&config, inventory, &[])?;
    let mut entries = Vec::new();
    for (device, names) in candidates.into_iter().zip(names) {
        let address = device.address;
        let class = device.identity.class;
        let first = along.iter().find(|(other, _)| *other == address).map(|(_, first)| *first);
        let goes_along = first.is_some_and(|first| first != address);
        let mut today = today.iter().find(|(claimed, _)| *claimed == address).map(|(_, by)| by.clone());
        let advice = if let Some(planned) = by_file(address) {
            today = None;
            let origin = config.claims.get(planned.claim).map(|claim| claim.origin.clone());
            Advice::Claimed(origin.unwrap_or_default())
        } else if is_management(&device.identity) {
            Advice::Management
        } else if of_host.contains(&address) {
            let of_card = if host.address() == Some(address) { "" } else { "it is on the same card; " };
            Advice::Host { reason: [of_card, &host.reason()].concat(), wanted: None }
        } else if goes_along {
            // It is named there.
            continue;
        } else {
            advice(&config, inventory, &plan, device)
        };
        // What was not asked for is no news.
        let asked = class.is_display() || class.is_accelerator();
        if !asked && today.is_none() {
            continue;
        }
        let advice = match advice {
            Advice::Claim(claim) if class.is_storage() && !device.driver().is_some_and(is_vfio_driver) => {
                Advice::Disk(claim)
            }
            other => other,
        };
        entries.push(Entry { function: device.into(), names, today, advice });
    }
    config.claims.truncate(written);
    let proposed = entries.iter().any(|entry| matches!(entry.advice, Advice::Claim(_) | Advice::Claimed(_)));
    for entry in entries.iter_mut().filter(|_| !proposed) {
        want_host(&config, inventory, entry)?;
    }
    let is_gpu = |entry: &Entry| {
        let class = entry.function.identity.class;
        entry.function.identity.vendor == 0x10de && (class.is_display() || class.is_accelerator())
    };
    let switches = inventory.devices.iter().filter(|device| is_nvswitch(&device.identity));
    let switches = if entries.iter().any(is_gpu) { switches.map(Function::from).collect() } else { Vec::new() };
    let can_try = trial::mounted(&inventory.mounts) == Some(false);
    Ok(Proposal { iommu: plan.iommu.clone(), undecided: host == Host::Undecided, can_try, entries, switches })
}

/// Where nothing else is proposed, the host's display may be the one that is wanted: what its claim would be.
fn want_host(config: &Config, inventory: &Inventory, entry: &mut Entry) -> Result<(), Vec<ConfigError>> {
    let Advice::Host { wanted, .. } = &mut entry.advice else { return Ok(()) };
    let Some(device) = inventory.device(entry.function.address) else { return Ok(()) };
    let trial = |allow: Vec<Guard>| -> Result<Advice, Vec<ConfigError>> {
        let mut config = config.clone();
        config.claims.push(claim_for(inventory, device, allow));
        let plan = plan::plan(&config, inventory, &[])?;
        Ok(advice(&config, inventory, &plan, device))
    };
    match trial(Vec::new())? {
        Advice::Claim(claim) => *wanted = Some(claim),
        Advice::LastDisplay(_) => {
            // What else is in its way is said first.
            entry.advice = match trial(vec![Guard::LastDisplay])? {
                Advice::Claim(claim) => Advice::LastDisplay(claim),
                other => other,
            };
        }
        other => entry.advice = other,
    }
    Ok(())
}

/// What the plan says of a claim that is proposed for a device.
fn advice(config: &Config, inventory: &Inventory, plan: &Plan, device: &Device) -> Advice {
    let address = Some(device.address);
    let Some(planned) = plan.devices.iter().rfind(|planned| planned.device == address) else {
        return Advice::Refused("another claim is about it".to_owned());
    };
    let line = config.claims.get(planned.claim).map(ToString::to_string).unwrap_or_default();
    let mut claim = Claim { line, ..Claim::default() };
    match refusal(&planned.decision) {
        Some(Refusal { guard: Some(Guard::LastDisplay), .. }) => return Advice::LastDisplay(claim),
        Some(refusal) => return Advice::Refused(refusal.reason.clone()),
        None => {}
    }
    for other in plan.devices.iter().filter(|planned| planned.along == address) {
        if let Some(device) = other.device.and_then(|other| inventory.device(other)) {
            claim.along.push((device.into(), refusal(&other.decision).map(|refusal| refusal.reason.clone())));
        }
    }
    claim.left = inventory.card(device).left.into_iter().map(Function::from).collect();
    let of_claim = |device: Option<Address>| {
        device.is_some()
            && plan.devices.iter().any(|one| one.device == device && (device == address || one.along == address))
    };
    for problem in plan.problems.iter().filter(|problem| of_claim(problem.device)) {
        match problem.code {
            Code::NotViable => claim.unviable.push(problem.message.clone()),
            Code::AcsOverride if problem.device == address => claim.drawbacks.push(problem.message.clone()),
            _ => {}
        }
    }
    Advice::Claim(claim)
}

/// Why a function is refused, for another reason than that there is no IOMMU yet.
fn refusal(decision: &Decision) -> Option<&Refusal> {
    match decision {
        Decision::Refuse(refusal) if refusal.code != Code::Iommu => Some(refusal),
        _ => None,
    }
}

/// The claim for a device, with what must be found there.
fn claim_for(inventory: &Inventory, device: &Device, allow: Vec<Guard>) -> config::Claim {
    let id = ExpectedId { vendor: device.identity.vendor, device: device.identity.device, subsystem: None };
    // A display brings its card without being asked.
    let with = with(inventory, device).filter(|_| !device.identity.class.is_display());
    config::Claim {
        selector: Selector::Address(device.address),
        origin: Origin::file("vfio-early detect"),
        options: Options { id: Some(id), with, allow, ..Options::default() },
        adopted: false,
    }
}

/// What a proposed claim takes along: the whole card of a display or an accelerator.
fn with(inventory: &Inventory, device: &Device) -> Option<With> {
    let class = device.identity.class;
    let whole = class.is_display() || class.is_accelerator() && inventory.card(device).functions.len() > 1;
    whole.then_some(With::Card)
}
