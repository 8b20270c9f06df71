// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is told about each group: the `groups` array of the JSON documents.

use crate::json::{Json, fields, words};
use crate::pci::Address;

use super::acs::{Acs, Controls};
use super::machine::Machine;
use super::order::{self, Pair};
use super::{Host, explain, verdict};

impl Json for Address {
    fn json(&self, out: &mut String) {
        self.to_string().json(out);
    }
}

/// One IOMMU group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its number.
    pub id: u32,
    /// The kind of DMA domain, as /sys has it: `DMA`, `DMA-FQ`, `identity`.
    pub r#type: Option<String>,
    /// Its members.
    pub devices: Vec<Address>,
    /// Whether the kernel would let a guest have it.
    pub viable: bool,
    /// The members that keep it from being viable.
    pub blockers: Vec<Blocker>,
    /// What backs the split from other groups.
    pub isolated: Isolated,
    /// Why it is as big as it is.
    pub explanation: Vec<Reason>,
    /// Where the recomputed grouping differs from the kernel's: the recomputed groups of its members. Empty otherwise.
    pub recomputed: Vec<Vec<Address>>,
    /// The kernel parameter that switches on every control that is merely off.
    pub parameter: Option<String>,
    /// The ports of this machine with a slot in which a card would be isolated; for groups that need one.
    pub isolated_slots: Vec<Address>,
    /// The ACS capabilities of its members, for those that have one.
    pub acs: Vec<FunctionAcs>,
}

fields!(Group {
    id,
    r#type,
    devices,
    viable,
    blockers,
    isolated,
    explanation,
    recomputed,
    parameter,
    isolated_slots,
    acs
});

/// A member whose host driver keeps the group from a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocker {
    /// The member.
    pub device: Address,
    /// Its driver.
    pub driver: String,
}

fields!(Blocker { device, driver });

/// What backs the split of a group from all others, the weakest last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Isolated {
    /// One function on a root bus, alone in its slot: there is nothing to split.
    NotNeeded,
    /// ACS controls that are on.
    Acs,
    /// What the kernel knows of devices without an ACS capability.
    Quirk,
    /// Nothing but `pcie_acs_override=`: the kernel only pretends.
    Override,
    /// Nothing.
    No,
    /// Not known, because configuration space was not readable.
    Unknown,
}

words!(Isolated {
    Acs: "acs",
    Quirk: "quirk",
    Override: "override",
    NotNeeded: "not-needed",
    No: "no",
    Unknown: "unknown",
});

/// One reason for the size of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// The bridge or function that is the reason; `None` when something could not be read.
    pub bridge: Option<Address>,
    /// The required controls that it lacks.
    pub missing: Controls,
    /// Those of them that it has but that are switched off.
    pub off: Controls,
    /// The members that share the group because of it.
    pub devices: Vec<Address>,
    /// All of that in a sentence.
    pub text: String,
}

fields!(Reason { bridge, missing, off, devices, text });

/// The ACS capability of one function: SV TB RR CR UF EC DT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionAcs {
    /// The function.
    pub device: Address,
    /// The controls that it implements.
    pub implemented: Controls,
    /// The controls that are on.
    pub enabled: Controls,
}

fields!(FunctionAcs { device, implemented, enabled });

impl Group {
    /// Whether it holds one of these devices, or nobody named any.
    pub fn is_wanted(&self, only: &[Address]) -> bool {
        only.is_empty() || self.devices.iter().any(|device| only.contains(device))
    }
}

/// The groups that /sys has, by number.
pub(super) fn groups(machine: &Machine<'_>, host: &Host<'_>) -> Vec<Group> {
    let computed = machine.nodes.iter().enumerate();
    let computed = computed.filter_map(|(index, node)| Some((order::number(node.group?), index)));
    let computed = order::sort(computed.collect());
    let slots = explain::isolated_slots(machine);
    let mut groups: Vec<Group> = Vec::new();
    for members in machine.sys.chunk_by(|one, other| one.0 == other.0) {
        groups.push(group(machine, host, &computed, &slots, members));
    }
    for (id, domain) in host.types {
        let group = groups.binary_search_by_key(id, |group| group.id).ok().and_then(|at| groups.get_mut(at));
        if let Some(group) = group {
            group.r#type = Some(domain.clone());
        }
    }
    groups
}

/// The addresses of these members.
pub(super) fn addresses(machine: &Machine<'_>, members: &[Pair]) -> Vec<Address> {
    members.iter().map(|(_, index)| machine.address(*index)).collect()
}

/// One group of /sys. `computed`: the recomputed groups of all functions.
fn group(machine: &Machine<'_>, host: &Host<'_>, computed: &[Pair], slots: &[Address], members: &[Pair]) -> Group {
    let (mut blockers, mut acs) = (Vec::new(), Vec::new());
    // The recomputed groups of the members, and everything that is in one of them.
    let (mut parts, mut together) = (Vec::new(), Vec::new());
    for (_, index) in members {
        let node = machine.at(*index);
        let device = node.function.address;
        if let Some(driver) = node.function.blocking_driver() {
            blockers.push(Blocker { device, driver: driver.to_owned() });
        }
        if let Ok(Some(Acs { implemented, enabled })) = Acs::read(node.config(), false) {
            acs.push(FunctionAcs { device, implemented, enabled });
        }
        parts.push((order::number(node.group.unwrap_or_default()), 0));
        together.push((0, *index));
    }
    let parts = order::sort(parts);
    for (part, _) in &parts {
        together.extend(order::with(computed, *part).iter().map(|(_, index)| (0, *index)));
    }
    let together = order::sort(together);
    // The members come from one recomputed group, or from several; there may be more in those.
    let larger = together.len() > members.len();
    let isolated = match verdict::verdict(machine, members) {
        Isolated::Unknown => Isolated::Unknown,
        _ if larger && host.acs_override => Isolated::Override,
        _ if larger => Isolated::No,
        isolated => isolated,
    };
    let mut group = Group {
        id: members.first().and_then(|pair| u32::try_from(pair.0).ok()).unwrap_or(u32::MAX),
        r#type: None,
        devices: addresses(machine, members),
        viable: blockers.is_empty(),
        blockers,
        isolated,
        explanation: Vec::new(),
        recomputed: Vec::new(),
        parameter: None,
        isolated_slots: Vec::new(),
        acs,
    };
    if larger || parts.len() > 1 {
        for (part, _) in &parts {
            group.recomputed.push(addresses(machine, order::with(computed, *part)));
        }
    }
    explain::explain(machine, &together, slots, &mut group);
    group
}
