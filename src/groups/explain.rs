// SPDX-License-Identifier: MIT OR Apache-2.0
//! Why functions share a group, in terms that a person can act on.

use std::fmt::Write as _;

use crate::pci::Address;

use super::acs::Controls;
use super::dma_alias;
use super::function_isolation::{MissingAcs, MissingCause};
use super::multimap::{self, Entry};
use super::port_type::PortType;

use super::report::{Group, Reason};
use super::topology::Topology;

/// The parameter that switches controls on; the kernel takes it once, its parts apart by `;`.
pub(super) const CONFIG_ACS: &str = "pci=config_acs=";

// The kinds of reasons, in the order in which they are told.
/// Something could not be read.
const UNREAD: u64 = 0;
/// A controller hides a domain of its own.
const CONTROLLER: u64 = 1;
/// A bridge does not isolate.
const BRIDGE: u64 = 2;
/// Nothing keeps the functions of a slot apart.
const SLOT: u64 = 3;
/// A function uses the requester ID of others.
const ALIAS: u64 = 4;

/// The first ports with a slot whose way to the root isolates all along: enough to choose one.
pub(super) fn isolated_slots(topology: &Topology<'_>) -> Vec<Address> {
    let isolated = topology.nodes.iter().filter(|node| node.has_slot && node.acs_path_enabled == Some(true));
    isolated.map(|node| node.function.address).take(16).collect()
}

/// Adds to `group` why these functions (sorted) are together; nothing for a function that is alone.
pub(super) fn explain(topology: &Topology<'_>, members: &[Entry], slots: &[Address], group: &mut Group) {
    if members.len() < 2 {
        return;
    }
    let mut settings: Vec<Entry> = Vec::new();
    let pairs = multimap::sorted(reasons(topology, members));
    for devices in pairs.chunk_by(|one, other| one.0 == other.0) {
        let Some((number, first)) = devices.first().copied() else { continue };
        let kind = number.wrapping_shr(48);
        let subject = match kind {
            SLOT if devices.len() < 2 => continue,
            SLOT => first,
            _ => usize::try_from(number & 0xffff_ffff).unwrap_or(usize::MAX),
        };
        let missing = if matches!(kind, BRIDGE | SLOT) { topology.node(subject).isolation.missing_acs() } else { None };
        if kind == BRIDGE {
            settings.push((0, subject));
            // Behind a conventional bus the card itself is the reason: no slot helps.
            if group.isolated_slots.is_empty() && !topology.node(subject).port_type.merges_requester_ids() {
                group.isolated_slots = slots.to_vec();
            }
        } else if kind == SLOT {
            settings.extend(devices.iter().map(|(_, device)| (0, *device)));
        }
        group.explanation.push(reason(topology, kind, subject, missing, devices));
    }
    for (_, index) in multimap::sorted(settings) {
        let missing = topology.node(index).isolation.missing_acs();
        let Some(missing) = missing.filter(|missing| !missing.settable.is_empty()) else { continue };
        let parameter = group.parameter.get_or_insert_default();
        parameter.push_str(if parameter.is_empty() { CONFIG_ACS } else { ";" });
        let _ = write!(parameter, "{}@{}", missing.settable.switch_on(), topology.address(index));
    }
}

/// The members that share the group for one reason or other, each with a number: the kind of the reason, its place in the
/// order, and the index of the function that it is about.
fn reasons(topology: &Topology<'_>, members: &[Entry]) -> Vec<Entry> {
    let mut pairs = Vec::new();
    let mut add = |kind: u64, place: usize, subject: usize, device: usize| {
        let place = multimap::key(place.min(0xffff)).wrapping_shl(32);
        pairs.push((kind.wrapping_shl(48) | place | multimap::key(subject), device));
    };
    for (_, index) in members {
        let (index, node) = (*index, topology.node(*index));
        if node.group_from_sys {
            add(UNREAD, 0, 0, index);
        }
        if let Some(controller) = node.real_dma_device {
            add(CONTROLLER, 0, controller, index);
        }
        let mut above = node.parent;
        while let Some(hop) = above {
            let bridge = topology.node(hop);
            // A conventional bus below another one is no reason of its own.
            let is_reason = if bridge.port_type == PortType::Conventional {
                !bridge.behind_conventional_bridge
            } else {
                bridge.port_type.merges_requester_ids() || bridge.isolation.missing_acs().is_some()
            };
            if is_reason && multimap::contains(members, hop) {
                add(BRIDGE, bridge.function.parents.len(), hop, index);
            }
            above = bridge.parent;
        }
        if node.multifunction && !node.behind_conventional_bridge && node.isolation.missing_acs().is_some() {
            add(SLOT, 0, topology.same_slot(index).start, index);
        }
        if node.alias.is_some() {
            for other in topology.same_bus(index) {
                if dma_alias::are_dma_aliases(topology, index, other) && multimap::contains(members, other) {
                    add(ALIAS, 0, index, other);
                }
            }
        }
    }
    pairs
}

/// One reason: `subject` is what it is about, `devices` what shares the group because of it.
fn reason(
    topology: &Topology<'_>,
    kind: u64,
    subject: usize,
    missing_acs: Option<MissingAcs>,
    devices: &[Entry],
) -> Reason {
    let node = topology.node(subject);
    let address = node.function.address;
    let (missing, off) =
        missing_acs.map_or((Controls(0), Controls(0)), |missing| (missing.controls(), missing.disabled));
    let mut text = String::new();
    if kind == UNREAD {
        text.push_str("unknown (needs root): configuration space was not readable");
        return Reason { bridge: None, missing, off, devices: Vec::new(), text };
    }
    // Of what is below a bridge, the bridges are told only if there is nothing else.
    let ends: Vec<Entry> = devices.iter().filter(|pair| !topology.node(pair.1).is_bridge()).copied().collect();
    let devices = topology.addresses(if kind == BRIDGE && !ends.is_empty() { &ends } else { devices });
    let slot = kind == SLOT;
    let _ = match kind {
        BRIDGE => write!(text, "{} {address} ", node.type_name()),
        SLOT => write!(text, "the functions of slot {} can reach each other, ", address.slot()),
        _ => write!(text, "{address} "),
    };
    text.push_str(match (missing_acs.map(|missing| missing.cause), node.port_type) {
        _ if kind == CONTROLLER => "lends its requester ID to the domain behind it",
        _ if kind == ALIAS => "uses the requester ID of a neighbour",
        (_, PortType::Conventional) if slot => "being conventional PCI",
        (_, PortType::Conventional) => "leads to a conventional bus, which its devices share",
        (_, PortType::PcieToPciBridge | PortType::PciToPcieBridge) => "lends its requester ID to everything behind it",
        (Some(MissingCause::Disabled), _) => {
            if slot {
                "with ACS, but "
            } else {
                "has ACS, but "
            }
        }
        (Some(MissingCause::PchDisabled), _) => {
            "has controls of its own that the firmware does not let the kernel switch on"
        }
        _ if slot => "having no ACS capability",
        (Some(MissingCause::Quirk), _) => "is known not to isolate (SV RR CR UF missing in hardware)",
        _ => "has no ACS capability (SV RR CR UF missing in hardware)",
    });
    if !off.is_empty() && matches!(missing_acs, Some(MissingAcs { cause: MissingCause::Disabled, .. })) {
        let _ = write!(text, "{off} switched off");
    }
    text.push_str(if kind == BRIDGE { ": it shares a group with " } else { ": " });
    list(&mut text, &devices, ", ", 4);
    Reason { bridge: Some(address), missing, off, devices, text }
}

/// Adds the first addresses, at most so many, and how many more there are.
pub(super) fn list(text: &mut String, devices: &[Address], between: &str, most: usize) {
    for (index, device) in devices.iter().take(most).enumerate() {
        let _ = write!(text, "{}{device}", if index == 0 { "" } else { between });
    }
    if let Some(more @ 1..) = devices.len().checked_sub(most) {
        let _ = write!(text, " and {more} more");
    }
}
