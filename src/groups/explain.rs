// SPDX-License-Identifier: MIT OR Apache-2.0
//! Why functions share a group, in terms that a person can act on.

use std::fmt::Write as _;

use crate::pci::Address;

use super::isolation::{Isolation, Lack, Why};
use super::machine::{Machine, Node};
use super::order::{self, Pair};
use super::regroup::{Regrouping, share_an_id};
use super::report::Reason;

/// What there is to say about one group.
#[derive(Default)]
pub(super) struct Explained {
    pub reasons: Vec<Reason>,
    pub parameter: Option<String>,
    /// A bridge is the reason, so that another slot may help.
    pub wants_slot: bool,
}

/// The first ports with a slot whose way to the root isolates all along: enough to choose one.
pub(super) fn isolated_slots(machine: &Machine<'_>, regrouping: &Regrouping) -> Vec<Address> {
    let all = machine.nodes.iter().zip(&regrouping.path);
    let isolated = all.filter(|(node, path)| node.has_slot && **path == Some(true));
    isolated.map(|(node, _)| node.function.address).take(16).collect()
}

/// Explains why these functions (sorted) are in one group; nothing for a function that is alone.
pub(super) fn explain(machine: &Machine<'_>, regrouping: &Regrouping, members: &[usize]) -> Explained {
    let (out, settings, carried) = (Explained::default(), Vec::new(), carried(machine, members));
    let mut story = Story { machine, regrouping, members, carried, out, settings };
    if members.len() < 2 {
        return story.out;
    }
    let unread = members.iter().filter(|index| regrouping.unknown.get(**index).copied().unwrap_or(true));
    if unread.count() > 0 {
        let text = "unknown (needs root): configuration space was not readable".to_owned();
        story.out.reasons.push(Reason {
            bridge: None,
            missing: Vec::new(),
            off: Vec::new(),
            devices: Vec::new(),
            text,
        });
    }
    story.controllers();
    for (hop, lack) in story.lacking_hops() {
        story.hop(hop, lack);
    }
    story.slots();
    story.aliases();
    story.parameter();
    story.out
}

/// Each bridge of the group with each member below it that is no bridge itself.
fn carried(machine: &Machine<'_>, members: &[usize]) -> Vec<Pair> {
    let mut pairs = Vec::new();
    for index in members {
        if machine.nodes.get(*index).is_none_or(Node::is_bridge) {
            continue;
        }
        let inside = machine.hops(*index).filter(|(hop, _)| members.binary_search(hop).is_ok());
        pairs.extend(inside.map(|(hop, _)| (order::number(hop), *index)));
    }
    order::sort(pairs)
}

struct Story<'m, 'a> {
    machine: &'m Machine<'a>,
    regrouping: &'m Regrouping,
    members: &'m [usize],
    /// Bridges of the group with the members that they carry, sorted.
    carried: Vec<Pair>,
    out: Explained,
    /// `FLAGS@ADDRESS` of each function with controls to be switched on.
    settings: Vec<String>,
}

impl<'m, 'a> Story<'m, 'a> {
    fn lack(&self, index: usize) -> Option<Lack> {
        match self.regrouping.isolation.get(index)? {
            Isolation::No(lack) => Some(*lack),
            _ => None,
        }
    }

    fn nodes(&self) -> impl Iterator<Item = (usize, &'m Node<'a>)> {
        let machine = self.machine;
        self.members.iter().filter_map(move |index| machine.nodes.get(*index).map(|node| (*index, node)))
    }

    /// The bridges inside the group that do not isolate, nearest to the root first.
    fn lacking_hops(&self) -> Vec<(usize, Lack)> {
        let mut hops: Vec<Pair> = Vec::new();
        for (_, node) in self.nodes() {
            // What is above a hop has been seen from the hop itself, which is a member too.
            let Some(parent) = node.parent.filter(|parent| self.members.binary_search(parent).is_ok()) else {
                continue;
            };
            let Some(lack) = self.lack(parent) else { continue };
            let below_conventional = self.machine.hops(parent).any(|(hop, _)| {
                self.members.binary_search(&hop).is_ok()
                    && self
                        .lack(hop)
                        .is_some_and(|lack| matches!(lack.why, Why::Conventional | Why::ConventionalBridge))
            });
            if lack.why == Why::Conventional && below_conventional {
                continue;
            }
            let depth = self.machine.nodes.get(parent).map_or(0, |above| above.function.parents.len());
            hops.push((order::number(depth), parent));
        }
        order::sort(hops).into_iter().filter_map(|(_, hop)| Some((hop, self.lack(hop)?))).collect()
    }

    /// The members below a bridge that are no bridges themselves.
    fn below(&self, bridge: usize) -> Vec<Address> {
        self.addresses(order::with(&self.carried, order::number(bridge)))
    }

    fn addresses(&self, pairs: &[Pair]) -> Vec<Address> {
        let nodes = pairs.iter().filter_map(|(_, index)| self.machine.nodes.get(*index));
        nodes.map(|node| node.function.address).collect()
    }

    fn hop(&mut self, hop: usize, lack: Lack) {
        let Some(node) = self.machine.nodes.get(hop) else { return };
        let address = node.function.address;
        let devices = self.below(hop);
        let mut text = format!("{} {address} ", node.kind());
        match lack.why {
            Why::Conventional => text.push_str("leads to a conventional bus, which its devices share"),
            Why::ConventionalBridge => text.push_str("lends its requester ID to everything behind it"),
            Why::NoCapability => text.push_str("has no ACS capability (SV RR CR UF missing in hardware)"),
            Why::KnownBad => text.push_str("is known not to isolate (SV RR CR UF missing in hardware)"),
            Why::Off => {
                let _ = write!(text, "has ACS, but {} switched off", lack.off);
            }
            Why::PchOff => text.push_str("has controls of its own that the firmware does not let the kernel switch on"),
        }
        append(&mut text, ": it shares a group with ", &devices);
        self.out.wants_slot = true;
        self.setting(address, lack);
        self.push(address, lack, devices, text);
    }

    /// Slots with several functions in the group that nothing keeps apart.
    fn slots(&mut self) {
        let members: Vec<(usize, &Node<'a>)> = self.nodes().collect();
        for chunk in
            members.chunk_by(|(_, one), (_, other)| one.function.address.slot() == other.function.address.slot())
        {
            let lacking: Vec<(Address, Lack)> = chunk
                .iter()
                .filter(|(_, node)| node.multifunction)
                .filter_map(|(index, node)| Some((node.function.address, self.lack(*index)?)))
                .collect();
            let (Some((first, lack)), true) = (lacking.first().copied(), lacking.len() > 1) else { continue };
            // What sits on a conventional bus shares the group whatever its functions are.
            let shared_bus = chunk.iter().any(|(index, _)| {
                self.machine.hops(*index).any(|(hop, _)| {
                    self.lack(hop).is_some_and(|lack| matches!(lack.why, Why::Conventional | Why::ConventionalBridge))
                })
            });
            if shared_bus {
                continue;
            }
            let devices: Vec<Address> = lacking.iter().map(|(address, _)| *address).collect();
            let mut text = format!("the functions of slot {} can reach each other, ", first.slot());
            match lack.why {
                Why::Off => {
                    let _ = write!(text, "with ACS, but {} switched off", lack.off);
                }
                Why::Conventional => text.push_str("being conventional PCI"),
                _ => text.push_str("having no ACS capability"),
            }
            append(&mut text, ": ", &devices);
            for (address, lack) in &lacking {
                self.setting(*address, *lack);
            }
            self.push(first, lack, devices, text);
        }
    }

    /// Functions that use each other's requester ID.
    fn aliases(&mut self) {
        let mut pairs: Vec<(Address, Address)> = Vec::new();
        for (index, node) in self.nodes().filter(|(_, node)| node.alias.is_some()) {
            let inside = |other: usize| self.members.binary_search(&other).is_ok();
            let others = self.machine.neighbours(index).filter(|(other, _)| inside(*other));
            let sharing = others.filter(|(other, _)| share_an_id(self.machine, index, *other));
            pairs.extend(sharing.map(|(_, other)| (node.function.address, other.function.address)));
        }
        for pair in pairs.chunk_by(|one, other| one.0 == other.0) {
            let Some((owner, _)) = pair.first() else { continue };
            let devices: Vec<Address> = pair.iter().map(|(_, other)| *other).collect();
            let mut text = format!("{owner} is known to use the requester ID of its neighbours");
            append(&mut text, ": ", &devices);
            self.out.reasons.push(Reason { bridge: Some(*owner), missing: Vec::new(), off: Vec::new(), devices, text });
        }
    }

    /// Controllers that hide a domain of their own.
    fn controllers(&mut self) {
        let below = self.nodes().filter_map(|(index, node)| Some((order::number(node.stands_for?), index)));
        let below = order::sort(below.collect());
        for chunk in below.chunk_by(|one, other| one.0 == other.0) {
            let first = chunk.first().and_then(|(_, index)| self.machine.nodes.get(*index)?.stands_for);
            let controller = first.and_then(|controller| self.machine.nodes.get(controller));
            let Some(controller) = controller.map(|node| node.function.address) else { continue };
            let devices = self.addresses(chunk);
            let mut text = format!("{controller} lends its requester ID to the domain behind it");
            append(&mut text, ": ", &devices);
            let (missing, off) = (Vec::new(), Vec::new());
            self.out.reasons.push(Reason { bridge: Some(controller), missing, off, devices, text });
        }
    }

    fn push(&mut self, bridge: Address, lack: Lack, devices: Vec<Address>, text: String) {
        let missing = lack.missing().names().collect();
        let off = lack.off.names().collect();
        self.out.reasons.push(Reason { bridge: Some(bridge), missing, off, devices, text });
    }

    fn setting(&mut self, address: Address, lack: Lack) {
        if !lack.settable.is_empty() {
            let setting = format!("{}@{address}", lack.settable.switch_on());
            if !self.settings.contains(&setting) {
                self.settings.push(setting);
            }
        }
    }

    /// The parameter for everything that is merely off. The kernel takes one `config_acs=`, its parts apart by `;`.
    fn parameter(&mut self) {
        if !self.settings.is_empty() {
            self.out.parameter = Some(format!("pci=config_acs={}", self.settings.join(";")));
        }
    }
}

/// Adds the first few addresses and how many more there are.
fn append(text: &mut String, before: &str, devices: &[Address]) {
    const SHOWN: usize = 4;
    for (index, device) in devices.iter().take(SHOWN).enumerate() {
        let _ = write!(text, "{}{device}", if index == 0 { before } else { ", " });
    }
    if let Some(more @ 1..) = devices.len().checked_sub(SHOWN) {
        let _ = write!(text, " and {more} more");
    }
}
