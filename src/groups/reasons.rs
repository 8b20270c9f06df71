// SPDX-License-Identifier: MIT OR Apache-2.0
//! Why functions share a group, and what would separate them: kernel parameters and slots.

use std::fmt::Write as _;

use crate::pci::Address;

use super::acs::Controls;
use super::dma_alias;
use super::function_isolation::Isolation;
use super::group::{Group, Reason};
use super::multimap::{self, Entry};
use super::port_type::PortType;
use super::reason_text::reason_text;
use super::topology::Topology;

/// The parameter that enables ACS controls; the kernel takes it once, with `;` between the devices.
pub(super) const CONFIG_ACS: &str = "pci=config_acs=";

/// The number of isolated slots that are listed: enough to choose from.
const MAX_ISOLATED_SLOTS: usize = 16;

/// The kinds of reasons, in the order in which they are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReasonKind {
    /// Configuration space could not be read.
    Unreadable,
    /// A controller uses its requester ID for a domain of its own.
    RealDmaDevice,
    /// A bridge does not isolate.
    Bridge,
    /// The functions of a slot do not isolate.
    Slot,
    /// A function uses the requester IDs of others.
    DmaAlias,
}

impl ReasonKind {
    const fn to_key(self) -> u64 {
        match self {
            Self::Unreadable => 0,
            Self::RealDmaDevice => 1,
            Self::Bridge => 2,
            Self::Slot => 3,
            Self::DmaAlias => 4,
        }
    }

    const fn from_key(key: u64) -> Self {
        match key {
            0 => Self::Unreadable,
            1 => Self::RealDmaDevice,
            2 => Self::Bridge,
            3 => Self::Slot,
            _ => Self::DmaAlias,
        }
    }
}

/// The first ports with a slot that isolate, and everything above them too.
pub(super) fn isolated_slots(topology: &Topology<'_>) -> Vec<Address> {
    let isolated = topology.nodes.iter().filter(|node| node.has_slot && node.acs_path_enabled == Some(true));
    isolated.map(|node| node.function.address).take(MAX_ISOLATED_SLOTS).collect()
}

/// Adds to `group` why these functions (sorted) are together, and what would separate them; nothing for a single function.
pub(super) fn add_reasons(topology: &Topology<'_>, members: &[Entry], isolated_slots: &[Address], group: &mut Group) {
    if members.len() < 2 {
        return;
    }
    // The functions whose controls would have to be enabled.
    let mut to_enable: Vec<Entry> = Vec::new();
    let entries = multimap::sorted(reasons(topology, members));
    for devices in entries.chunk_by(|one, other| one.0 == other.0) {
        let Some((key, first)) = devices.first().copied() else { continue };
        let kind = ReasonKind::from_key(key.wrapping_shr(48));
        let subject = match kind {
            ReasonKind::Slot if devices.len() < 2 => continue,
            ReasonKind::Slot => first,
            _ => usize::try_from(key & 0xffff_ffff).unwrap_or(usize::MAX),
        };
        if kind == ReasonKind::Bridge {
            to_enable.push((0, subject));
            // Behind a conventional bridge the card itself is the reason, and no slot helps.
            if group.isolated_slots.is_empty() && !topology.node(subject).port_type.merges_requester_ids() {
                group.isolated_slots = isolated_slots.to_vec();
            }
        } else if kind == ReasonKind::Slot {
            to_enable.extend(devices.iter().map(|(_, device)| (0, *device)));
        }
        group.explanation.push(reason(topology, kind, subject, devices));
    }
    // Where /sys has functions together that a quirk separates, the running kernel is older than the quirk.
    let lacking = members.iter().filter(|_| group.recomputed.len() > 1).filter_map(|(_, index)| {
        let node = topology.node(*index);
        match node.isolation {
            Isolation::Quirk(quirk) if group.devices.contains(&node.function.address) => Some((node, quirk)),
            _ => None,
        }
    });
    for (node, quirk) in lacking {
        let (address, (major, minor)) = (node.function.address, quirk.kernel);
        let text = format!(
            "{} {address} isolates by a quirk of Linux {major}.{minor}, which the running kernel does not seem to have: {}",
            node.type_name(),
            quirk.kind.description()
        );
        let missing = Controls(0);
        group.explanation.push(Reason { bridge: Some(address), missing, off: missing, devices: Vec::new(), text });
    }
    for (_, index) in multimap::sorted(to_enable) {
        let missing = topology.node(index).isolation.missing_acs();
        let Some(missing) = missing.filter(|missing| !missing.settable.is_empty()) else { continue };
        let parameter = group.parameter.get_or_insert_default();
        parameter.push_str(if parameter.is_empty() { CONFIG_ACS } else { ";" });
        let _ = write!(parameter, "{}@{}", missing.settable.config_acs_flags(), topology.address(index));
    }
}

/// The members by reason. A key holds the [`ReasonKind`], the depth of its bridge, and the index of the function that
/// is the reason.
fn reasons(topology: &Topology<'_>, members: &[Entry]) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut add = |kind: ReasonKind, depth: usize, subject: usize, device: usize| {
        let depth = multimap::key(depth.min(0xffff)).wrapping_shl(32);
        entries.push((kind.to_key().wrapping_shl(48) | depth | multimap::key(subject), device));
    };
    for (_, index) in members {
        let (index, node) = (*index, topology.node(*index));
        if node.group_from_sys {
            add(ReasonKind::Unreadable, 0, 0, index);
        }
        if let Some(controller) = node.real_dma_device {
            add(ReasonKind::RealDmaDevice, 0, controller, index);
        }
        let mut above = node.parent;
        while let Some(ancestor) = above {
            let bridge = topology.node(ancestor);
            // A conventional bridge below another one is no additional reason.
            let is_reason = if bridge.port_type == PortType::Conventional {
                !bridge.behind_conventional_bridge
            } else {
                bridge.merges_requester_ids() || bridge.isolation.missing_acs().is_some()
            };
            if is_reason && multimap::contains(members, ancestor) {
                add(ReasonKind::Bridge, bridge.function.parents.len(), ancestor, index);
            }
            above = bridge.parent;
        }
        if node.multifunction && !node.behind_conventional_bridge && node.isolation.missing_acs().is_some() {
            add(ReasonKind::Slot, 0, topology.same_slot(index).start, index);
        }
        if node.alias.is_some() || node.function.ivrs_alias.is_some() {
            for other in topology.same_bus(index) {
                if dma_alias::are_dma_aliases(topology, index, other) && multimap::contains(members, other) {
                    add(ReasonKind::DmaAlias, 0, index, other);
                }
            }
        }
    }
    entries
}

/// One reason: `subject` is the function that is the reason, `devices` are those that share the group because of it.
fn reason(topology: &Topology<'_>, kind: ReasonKind, subject: usize, devices: &[Entry]) -> Reason {
    let node = topology.node(subject);
    if kind == ReasonKind::Unreadable {
        let text = reason_text(kind, node, None, &[]);
        return Reason { bridge: None, missing: Controls(0), off: Controls(0), devices: Vec::new(), text };
    }
    let missing_acs =
        if matches!(kind, ReasonKind::Bridge | ReasonKind::Slot) { node.isolation.missing_acs() } else { None };
    let (missing, off) =
        missing_acs.map_or((Controls(0), Controls(0)), |missing| (missing.controls(), missing.disabled));
    // Of the functions below a bridge, bridges are listed only if there is nothing else.
    let endpoints: Vec<Entry> = devices.iter().filter(|entry| !topology.node(entry.1).is_bridge()).copied().collect();
    let devices =
        topology.addresses(if kind == ReasonKind::Bridge && !endpoints.is_empty() { &endpoints } else { devices });
    let text = reason_text(kind, node, missing_acs, &devices);
    Reason { bridge: Some(node.function.address), missing, off, devices, text }
}
