// SPDX-License-Identifier: MIT OR Apache-2.0
//! Puts together what is told about each group.

use super::acs::Acs;
use super::multimap::{self, Entry};
use super::report::{Blocker, FunctionAcs, Group, Isolated};
use super::topology::Topology;
use super::{Host, explain, verdict};
use crate::pci::Address;

/// The groups that /sys has, by number.
pub(super) fn groups(topology: &Topology<'_>, host: &Host<'_>) -> Vec<Group> {
    let computed = topology.nodes.iter().enumerate();
    let computed = computed.filter_map(|(index, node)| Some((multimap::key(node.recomputed_group?), index)));
    let computed = multimap::sorted(computed.collect());
    let slots = explain::isolated_slots(topology);
    let mut groups: Vec<Group> = Vec::new();
    for members in topology.by_sys_group.chunk_by(|one, other| one.0 == other.0) {
        groups.push(group(topology, host, &computed, &slots, members));
    }
    for (id, domain) in host.types {
        let group = groups.binary_search_by_key(id, |group| group.id).ok().and_then(|at| groups.get_mut(at));
        if let Some(group) = group {
            group.r#type = Some(domain.clone());
        }
    }
    groups
}

/// One group of /sys. `computed`: the recomputed groups of all functions.
fn group(topology: &Topology<'_>, host: &Host<'_>, computed: &[Entry], slots: &[Address], members: &[Entry]) -> Group {
    let (mut blockers, mut acs) = (Vec::new(), Vec::new());
    // The recomputed groups of the members, and everything that is in one of them.
    let (mut parts, mut together) = (Vec::new(), Vec::new());
    for (_, index) in members {
        let node = topology.node(*index);
        let device = node.function.address;
        if let Some(driver) = node.function.blocking_driver() {
            blockers.push(Blocker { device, driver: driver.to_owned() });
        }
        if let Ok(Some(Acs { implemented, enabled })) = Acs::read(node.config(), false) {
            acs.push(FunctionAcs { device, implemented, enabled });
        }
        parts.push((multimap::key(node.recomputed_group.unwrap_or_default()), 0));
        together.push((0, *index));
    }
    let parts = multimap::sorted(parts);
    for (part, _) in &parts {
        together.extend(multimap::equal_range(computed, *part).iter().map(|(_, index)| (0, *index)));
    }
    let together = multimap::sorted(together);
    // The members come from one recomputed group, or from several; there may be more in those.
    let larger = together.len() > members.len();
    let isolated = match verdict::verdict(topology, members) {
        Isolated::Unknown => Isolated::Unknown,
        _ if larger && host.acs_override => Isolated::Override,
        _ if larger => Isolated::No,
        isolated => isolated,
    };
    let mut group = Group {
        id: members.first().and_then(|pair| u32::try_from(pair.0).ok()).unwrap_or(u32::MAX),
        r#type: None,
        devices: topology.addresses(members),
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
            group.recomputed.push(topology.addresses(multimap::equal_range(computed, *part)));
        }
    }
    explain::explain(topology, &together, slots, &mut group);
    group
}
