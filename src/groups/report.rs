// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is told about each group: the `groups` array of the JSON documents.

use crate::json::{Json, fields, words};

use crate::pci::Address;

use super::acs::Acs;
use super::machine::Machine;
use super::regroup::Regrouping;
use super::{Host, explain, order, verdict};

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

/// What backs the split of a group from all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolated {
    /// ACS controls that are on.
    Acs,
    /// What the kernel knows of devices without an ACS capability.
    Quirk,
    /// Nothing but `pcie_acs_override=`: the kernel only pretends.
    Override,
    /// One function on a root bus, alone in its slot: there is nothing to split.
    NotNeeded,
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
    pub missing: Vec<&'static str>,
    /// Those of them that it has but that are switched off.
    pub off: Vec<&'static str>,
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
    pub implemented: Vec<&'static str>,
    /// The controls that are on.
    pub enabled: Vec<&'static str>,
}

fields!(FunctionAcs { device, implemented, enabled });

/// The groups that /sys has, by number.
pub(super) fn groups(machine: &Machine<'_>, regrouping: &Regrouping, host: &Host<'_>) -> Vec<Group> {
    let partition = Partition::new(machine, regrouping);
    let slots = explain::isolated_slots(machine, regrouping);
    let all = partition.sys.iter();
    let mut groups: Vec<Group> =
        all.map(|(id, members)| group(machine, regrouping, host, &partition, &slots, *id, members)).collect();
    for (id, domain) in host.types {
        let group = groups.binary_search_by_key(id, |group| group.id).ok().and_then(|at| groups.get_mut(at));
        if let Some(group) = group {
            group.r#type = Some(domain.clone());
        }
    }
    groups
}

/// Members by group, as the kernel has them and as recomputed.
pub(super) struct Partition {
    sys: Vec<(u32, Vec<usize>)>,
    computed: Vec<Vec<usize>>,
}

impl Partition {
    fn new(machine: &Machine<'_>, regrouping: &Regrouping) -> Self {
        let sys_of =
            |(index, node): (usize, &super::machine::Node<'_>)| Some((u64::from(node.function.sys_group?), index));
        let pairs = order::sort(machine.nodes.iter().enumerate().filter_map(sys_of).collect());
        let mut sys: Vec<(u32, Vec<usize>)> = Vec::new();
        for (id, index) in pairs {
            let id = u32::try_from(id).unwrap_or(u32::MAX);
            match sys.last_mut() {
                Some((last, members)) if *last == id => members.push(index),
                _ => sys.push((id, vec![index])),
            }
        }
        let mut computed: Vec<Vec<usize>> = Vec::new();
        for (index, group) in regrouping.group.iter().enumerate() {
            let Some(group) = *group else { continue };
            if group >= computed.len() {
                computed.resize_with(group.saturating_add(1), Vec::new);
            }
            if let Some(members) = computed.get_mut(group) {
                members.push(index);
            }
        }
        Self { sys, computed }
    }

    /// The recomputed groups of these members, each once.
    fn computed_of(&self, regrouping: &Regrouping, members: &[usize]) -> Vec<&[usize]> {
        let ids = order::set(members.iter().filter_map(|index| regrouping.group.get(*index).copied().flatten()));
        ids.into_iter().filter_map(|id| self.computed.get(id)).map(Vec::as_slice).collect()
    }
}

fn group(
    machine: &Machine<'_>,
    regrouping: &Regrouping,
    host: &Host<'_>,
    partition: &Partition,
    slots: &[Address],
    id: u32,
    members: &[usize],
) -> Group {
    let nodes = || members.iter().filter_map(|index| machine.nodes.get(*index));
    let blocker = |node: &super::machine::Node<'_>| {
        let driver = node.function.blocking_driver()?.to_owned();
        Some(Blocker { device: node.function.address, driver })
    };
    let blockers: Vec<Blocker> = nodes().filter_map(blocker).collect();
    let computed = partition.computed_of(regrouping, members);
    let agrees = matches!(computed.as_slice(), [only] if *only == members);
    let together = order::set(members.iter().chain(computed.iter().copied().flatten()).copied());
    let isolated = verdict::verdict(machine, regrouping, host, members, together.len() > members.len());
    let explained = explain::explain(machine, regrouping, &together);
    let address = |index: &usize| machine.nodes.get(*index).map(|node| node.function.address);
    let addresses = |list: &[usize]| list.iter().filter_map(address).collect::<Vec<_>>();
    let acs = |node: &super::machine::Node<'_>| {
        let acs = Acs::read(node.config(), false).ok()??;
        let names = |set: super::acs::Controls| set.names().collect();
        Some(FunctionAcs {
            device: node.function.address,
            implemented: names(acs.implemented),
            enabled: names(acs.enabled),
        })
    };
    Group {
        id,
        r#type: None,
        devices: addresses(members),
        viable: blockers.is_empty(),
        blockers,
        isolated,
        isolated_slots: if explained.wants_slot { slots.to_vec() } else { Vec::new() },
        explanation: explained.reasons,
        recomputed: if agrees { Vec::new() } else { computed.into_iter().map(addresses).collect() },
        parameter: explained.parameter,
        acs: nodes().filter_map(acs).collect(),
    }
}
