// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which functions the claims are about.

use crate::config::{Claim, Config, ConfigError, Driver, Origin, Selector, With};
use crate::inventory::{Device, Inventory};
use crate::pci::Address;

use super::{Decision, PlannedDevice, Refusal};
use super::{driver, same_name};
use crate::problem::Code;

/// Whether a claim names a device by the bridges above it, or asks for resets, which depend on them.
pub fn needs_chains(config: &Config) -> bool {
    let depends = |claim: &Claim| matches!(claim.selector, Selector::Path(_)) || !claim.options.reset.is_empty();
    config.claims.iter().any(depends)
}

/// The physical functions whose virtual functions are claimed.
pub fn physical_functions(config: &Config) -> Vec<Address> {
    config.claims.iter().filter_map(|claim| claim.selector.physical()).collect()
}

/// Whether it matters to a configuration if a device is a virtual function: a pattern matches it, or it shares the bus of a
/// device that is claimed by its address.
pub fn may_be_virtual(config: &Config, device: &Device) -> bool {
    let bus = |address: Address| (address.domain, address.bus);
    config.claims.iter().any(|claim| match &claim.selector {
        Selector::Address(address) | Selector::VirtualFunctions(address) => bus(*address) == bus(device.address),
        Selector::Slot(slot) => bus(slot.function(0)) == bus(device.address),
        Selector::Path(_) => false,
        Selector::Id(pattern) => pattern.matches(&device.identity),
        Selector::Modalias(pattern) => pattern.matches(&device.identity.modalias("pci")),
    })
}

/// Whether a claim asks for the best variant driver, so that modules.alias has to be read.
pub fn needs_aliases(config: &Config) -> bool {
    config.claims.iter().any(|claim| claim.options.driver == Driver::Auto)
}

/// The devices that have to be looked at closer: what the claims select, what is in the same slots and on the same cards, and
/// every display.
pub fn devices_of_interest(config: &Config, inventory: &Inventory) -> Vec<Address> {
    let selected: Vec<Address> =
        config.claims.iter().flat_map(|claim| selected(claim, inventory)).map(|device| device.address).collect();
    let near = inventory.near(&selected);
    let devices_of_interest = inventory
        .devices
        .iter()
        .filter(|device| device.identity.class.is_display() || near.binary_search(&device.address).is_ok());
    devices_of_interest.map(|device| device.address).collect()
}

/// The devices that the claims decide on: what they select, what may come along, and every display. The rest of a card matters
/// only where a display is on it, or where a claim says `with=`.
pub fn devices_of_claims(config: &Config, inventory: &Inventory) -> Vec<Address> {
    let is_display = |device: &Device| device.identity.class.is_display();
    let mut devices: Vec<Address> =
        inventory.devices.iter().filter(|device| is_display(device)).map(|device| device.address).collect();
    for claim in &config.claims {
        // Of virtual functions, the physical one may be what is refused.
        devices.extend(claim.selector.physical());
        let comes_along = claim.options.with.is_some_and(|with| with != With::None);
        for device in selected(claim, inventory) {
            let near = inventory.near(&[device.address]);
            if comes_along || near.iter().any(|address| inventory.device(*address).is_some_and(is_display)) {
                devices.extend(near);
            } else {
                devices.push(device.address);
            }
        }
    }
    devices.sort_unstable();
    devices.dedup();
    devices
}

/// Whether a claim takes along everything in an IOMMU group.
pub fn claims_groups(config: &Config) -> bool {
    config.claims.iter().any(|claim| claim.options.with == Some(With::Group))
}

/// Whether a claim resizes BARs, so that their sizes have to be known.
pub fn needs_bars(config: &Config) -> bool {
    config.claims.iter().any(|claim| !claim.options.rebar.is_empty())
}

/// The devices that a claim's selector names. An ID or a pattern means physical functions, because virtual ones may have the
/// same ID; where it matches virtual ones alone, it means those.
pub fn selected<'a>(claim: &Claim, inventory: &'a Inventory) -> Vec<&'a Device> {
    let selected = inventory.devices.iter().filter(|device| match &claim.selector {
        Selector::Address(address) => device.address == *address,
        Selector::Slot(slot) => device.address.slot() == *slot,
        Selector::Path(path) => path.matches(&device.chain),
        Selector::Id(pattern) => pattern.matches(&device.identity),
        Selector::Modalias(pattern) => pattern.matches(&device.identity.modalias("pci")),
        Selector::VirtualFunctions(physical) => device.physical == Some(*physical),
    });
    let mut selected: Vec<&Device> = selected.collect();
    if claim.selector.is_pattern() && selected.iter().any(|device| !device.is_virtual()) {
        selected.retain(|device| !device.is_virtual());
    }
    selected
}

/// The devices that come along with a selected one.
pub(super) fn along<'a>(claim: &Claim, device: &'a Device, alone: bool, inventory: &'a Inventory) -> Vec<&'a Device> {
    let whole = alone && device.identity.class.is_display() && !device.is_virtual();
    let usual = if whole { With::Card } else { With::None };
    let mut others: Vec<&Device> = match claim.options.with.unwrap_or(usual) {
        With::None => Vec::new(),
        With::Card => inventory.card(device).functions,
        With::Group => match inventory.group_of(device) {
            Some(group) => group.members.iter().filter_map(|address| inventory.device(*address)).collect(),
            None if inventory.is_grouped_later(device) => inventory.card(device).functions,
            None => Vec::new(),
        },
    };
    others.retain(|other| other.address != device.address && !other.identity.class.is_bridge());
    others
}

/// One entry for each function that a claim is about, in the order of the claims. A function has one entry: what selects
/// it goes before what only takes it along, and the first claim before the later ones. Two claims that select one function
/// and differ in their options are an error.
pub(super) fn devices(config: &Config, inventory: &Inventory) -> Result<Vec<PlannedDevice>, Vec<ConfigError>> {
    let selections: Vec<Vec<&Device>> = config.claims.iter().map(|claim| selected(claim, inventory)).collect();
    let errors = contradictions(config, &selections);
    if !errors.is_empty() {
        return Err(errors);
    }
    // A pattern that is refused for matching too much selects nothing for sure.
    let taken = |index: usize, claim: &Claim| {
        let devices = selections.get(index).map(Vec::as_slice).unwrap_or_default();
        if is_ambiguous(claim, devices) { &[] } else { devices }
    };
    let selected: Vec<Address> = config
        .claims
        .iter()
        .enumerate()
        .flat_map(|(index, claim)| taken(index, claim))
        .map(|device| device.address)
        .collect();

    let mut selected = selected;
    selected.sort_unstable();
    let mut planned: Vec<PlannedDevice> = Vec::new();
    let mut known: Vec<Address> = Vec::new();
    for (index, claim) in config.claims.iter().enumerate() {
        let devices = selections.get(index).map(Vec::as_slice).unwrap_or_default();
        let entry = |device: Option<&Device>, along: Option<Address>, decision: Decision| PlannedDevice {
            claim: index,
            device: device.map(|device| device.address),
            along,
            is_virtual: device.is_some_and(Device::is_virtual),
            physical: device.and_then(|device| device.physical).filter(|of| inventory.physical_function(*of).is_some()),
            power_control: device.and_then(|device| device.detail.as_ref()?.power_control.clone()),
            framebuffers: device.map(|device| inventory.framebuffers_of(device)).unwrap_or_default(),
            named_by_ids: device.and_then(|device| named_by_ids(config, device)),
            driver: device.and_then(Device::driver).map(ToOwned::to_owned),
            target: device.map_or_else(
                || "vfio-pci".to_owned(),
                |device| driver::target(&claim.options.driver, &device.identity, &inventory.aliases),
            ),
            decision,
        };
        if let Some(physical) = claim.selector.physical() {
            // Virtual functions that are not there yet are claimed when they appear.
            if let Some(decision) = physical_decision(claim, physical, inventory) {
                planned.push(entry(inventory.device(physical), None, decision));
                continue;
            }
        } else if devices.is_empty() {
            // vfio-pci's own IDs may name cards that are not in this machine.
            if !claim.adopted {
                planned.push(entry(None, None, Decision::Missing { reason: missing(claim, inventory) }));
            }
            continue;
        }
        if is_ambiguous(claim, devices) {
            for device in devices.iter().filter(|device| !selected.contains(&device.address)) {
                planned.push(entry(
                    Some(device),
                    None,
                    Decision::Refuse(Refusal::new(Code::Ambiguous, ambiguous(claim, devices))),
                ));
            }
            continue;
        }
        // A group comes along once, however many of its members are selected.
        let mut taken_along: Vec<u32> = Vec::new();
        for device in devices {
            if !insert(&mut known, device.address) {
                continue;
            }
            let done = |device: &Device, target: &str| {
                let detail = device.detail.as_ref();
                device.driver().is_some_and(|driver| same_name(driver, target))
                    && detail
                        .and_then(|detail| detail.driver_override.as_deref())
                        .is_some_and(|name| same_name(name, target))
            };
            let mut selected_entry = entry(Some(device), None, Decision::Take);
            // Of a slot, the lowest function says what it is; all that a pattern matches has to be it.
            let checked = match claim.selector.physical() {
                Some(physical) => inventory.device(physical).as_ref().copied(),
                None if claim.selector.is_pattern() => Some(*device),
                None => devices.first().copied(),
            };
            if let Some(reason) = checked.and_then(|checked| unexpected(claim, checked, inventory)) {
                selected_entry.decision = Decision::Refuse(Refusal::new(Code::IdMismatch, reason));
            } else if done(device, &selected_entry.target) {
                selected_entry.decision = Decision::Done;
            }
            planned.push(selected_entry);
            let group = device.detail.as_ref().and_then(|detail| detail.group);
            if claim.options.with == Some(With::Group) && group.is_some_and(|group| taken_along.contains(&group)) {
                continue;
            }
            taken_along.extend(group);
            for other in along(claim, device, devices.len() == 1, inventory) {
                if selected.binary_search(&other.address).is_err() && insert(&mut known, other.address) {
                    let mut other_entry = entry(Some(other), Some(device.address), Decision::Take);
                    if done(other, &other_entry.target) {
                        other_entry.decision = Decision::Done;
                    }
                    planned.push(other_entry);
                }
            }
        }
    }
    Ok(planned)
}

/// Where vfio-pci itself was given the ID of a device.
fn named_by_ids(config: &Config, device: &Device) -> Option<Origin> {
    let names = |claim: &&Claim| match &claim.selector {
        Selector::Id(pattern) => pattern.matches(&device.identity),
        Selector::Modalias(pattern) => pattern.matches(&device.identity.modalias("pci")),
        _ => false,
    };
    config.vfio_pci_ids.iter().find(names).map(|claim| claim.origin.clone())
}

/// Why the virtual functions of a physical one cannot be claimed, whichever there are.
fn physical_decision(claim: &Claim, physical: Address, inventory: &Inventory) -> Option<Decision> {
    let Some(device) = inventory.device(physical) else {
        return Some(Decision::Missing { reason: missing(claim, inventory) });
    };
    if let Some(reason) = unexpected(claim, device, inventory) {
        return Some(Decision::Refuse(Refusal::new(Code::IdMismatch, reason)));
    }
    let reason = format!("{} cannot have virtual functions: it has no SR-IOV", device.name());
    inventory.physical_function(physical).is_none().then_some(Decision::Missing { reason })
}

/// Puts an address into a sorted list; whether it was not there.
pub(super) fn insert(list: &mut Vec<Address>, address: Address) -> bool {
    match list.binary_search(&address) {
        Ok(_) => false,
        Err(place) => {
            list.insert(place, address);
            true
        }
    }
}

/// Whether a claim for one device matches several.
pub(super) fn is_ambiguous(claim: &Claim, devices: &[&Device]) -> bool {
    claim.selector.is_pattern() && !claim.options.all && devices.len() > 1
}

/// Claims that select the same function and want different things of it.
fn contradictions(config: &Config, selections: &[Vec<&Device>]) -> Vec<ConfigError> {
    let claims: Vec<_> = config
        .claims
        .iter()
        .zip(selections)
        .filter(|(claim, devices)| !claim.adopted && !is_ambiguous(claim, devices))
        .collect();
    let mut errors = Vec::new();
    for (later, (claim, devices)) in claims.iter().enumerate() {
        for (other, theirs) in claims.iter().take(later) {
            let shared = devices.iter().find(|device| theirs.iter().any(|one| one.address == device.address));
            let (mut ours, mut others) = (claim.options.clone(), other.options.clone());
            // How many a pattern may match says nothing about what becomes of one of them.
            ours.all = others.all;
            others.id = None;
            ours.id = None;
            if let (Some(device), true) = (shared, ours != others) {
                errors.push(ConfigError {
                    origin: claim.origin.clone(),
                    message: format!(
                        "{} and {} ({}) both claim {}, with different options; give both the same options, or take one away",
                        claim.selector, other.selector, other.origin, device.address
                    ),
                });
            }
        }
    }
    errors
}

/// Why nothing was found.
pub(super) fn missing(claim: &Claim, inventory: &Inventory) -> String {
    let what = match &claim.selector {
        Selector::Address(address) | Selector::VirtualFunctions(address) => format!("no device at {address}"),
        Selector::Slot(slot) => format!("no device in slot {slot}"),
        Selector::Path(path) => format!("no device at the end of the path {path}"),
        Selector::Id(_) | Selector::Modalias(_) => format!("no device matches {}", claim.selector),
    };
    format!("{what}{}", elsewhere(claim, inventory))
}

/// Why a pattern may not be followed.
fn ambiguous(claim: &Claim, devices: &[&Device]) -> String {
    let names: Vec<String> = devices.iter().map(|device| device.address.to_string()).collect();
    format!(
        "{} matches {} devices ({}); name one by its address, or say match=all",
        claim.selector,
        devices.len(),
        names.join(", ")
    )
}

/// Why what was found is not what `id=` says.
fn unexpected(claim: &Claim, wrong: &Device, inventory: &Inventory) -> Option<String> {
    let (expected, identity) = (claim.options.id?, wrong.identity);
    if expected.matches(&identity) {
        return None;
    }
    let found = if expected.subsystem.is_some() {
        format!("{}:{}", identity.id(), identity.subsystem())
    } else {
        identity.id()
    };
    Some(format!("{} is {found}, but id= says {expected}{}", wrong.address, elsewhere(claim, inventory)))
}

/// Where the device that `id=` names is instead.
fn elsewhere(claim: &Claim, inventory: &Inventory) -> String {
    let Some(expected) = claim.options.id else { return String::new() };
    let places: Vec<String> = inventory
        .devices
        .iter()
        .filter(|device| expected.matches(&device.identity))
        .map(|device| device.address.to_string())
        .collect();
    if places.is_empty() { String::new() } else { format!("; {expected} is at {}", places.join(", ")) }
}
