// SPDX-License-Identifier: MIT OR Apache-2.0
//! Builds the [`Group`] of each group that /sys has.

use super::acs::Acs;
use super::group::{Blocker, FunctionAcs, Group, Isolated};
use super::group_isolation::group_isolation;
use super::multimap::{self, Entry};
use super::topology::Topology;
use super::{Host, reasons};
use crate::pci::Address;

/// The groups that /sys has and that are wanted, by number.
pub(super) fn build_groups(topology: &Topology<'_>, host: &Host<'_>) -> Vec<Group> {
    let recomputed = topology.nodes.iter().enumerate();
    let recomputed = recomputed.filter_map(|(index, node)| Some((multimap::key(node.recomputed_group?), index)));
    let recomputed = multimap::sorted(recomputed.collect());
    let isolated_slots = reasons::isolated_slots(topology);
    let mut groups: Vec<Group> = Vec::new();
    let is_wanted = |(_, index): &Entry| {
        host.wanted.is_none_or(|wanted| wanted.binary_search(&topology.node(*index).function.address).is_ok())
    };
    for members in topology.by_sys_group.chunk_by(|one, other| one.0 == other.0) {
        if !members.iter().any(is_wanted) {
            continue;
        }
        groups.push(build_group(topology, host, &recomputed, &isolated_slots, members));
    }
    for (id, domain_type) in host.group_types {
        let group = groups.binary_search_by_key(id, |group| group.id).ok().and_then(|at| groups.get_mut(at));
        if let Some(group) = group {
            group.r#type = Some(domain_type.clone());
        }
    }
    groups
}

/// One group of /sys. `recomputed`: the functions by recomputed group.
fn build_group(
    topology: &Topology<'_>,
    host: &Host<'_>,
    recomputed: &[Entry],
    isolated_slots: &[Address],
    members: &[Entry],
) -> Group {
    let (mut blockers, mut acs) = (Vec::new(), Vec::new());
    // The recomputed groups of the members, and the functions in any of these.
    let (mut parts, mut together) = (Vec::new(), Vec::new());
    for (_, index) in members {
        let node = topology.node(*index);
        let device = node.function.address;
        if let Some(driver) = node.function.blocking_driver(host.kernel) {
            blockers.push(Blocker { device, driver: driver.to_owned() });
        }
        if let Ok(Some(Acs { implemented, enabled })) = node.acs() {
            acs.push(FunctionAcs { device, implemented, enabled });
        }
        parts.push((multimap::key(node.recomputed_group.unwrap_or_default()), 0));
        together.push((0, *index));
    }
    let parts = multimap::sorted(parts);
    for (part, _) in &parts {
        together.extend(multimap::equal_range(recomputed, *part).iter().map(|(_, index)| (0, *index)));
    }
    let together = multimap::sorted(together);
    // The recomputed groups hold functions that this group does not.
    let recomputed_is_larger = together.len() > members.len();
    let isolated = match group_isolation(topology, members) {
        Isolated::Unknown => Isolated::Unknown,
        _ if recomputed_is_larger && host.acs_override => Isolated::Override,
        _ if recomputed_is_larger => Isolated::No,
        isolated => isolated,
    };
    let mut group = Group {
        id: members.first().and_then(|entry| u32::try_from(entry.0).ok()).unwrap_or(u32::MAX),
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
    if recomputed_is_larger || parts.len() > 1 {
        for (part, _) in &parts {
            group.recomputed.push(topology.addresses(multimap::equal_range(recomputed, *part)));
        }
    }
    reasons::add_reasons(topology, &together, isolated_slots, &mut group);
    group
}
