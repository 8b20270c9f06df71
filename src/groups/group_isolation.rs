// SPDX-License-Identifier: MIT OR Apache-2.0
//! What isolates a group from all other functions, provided that the kernel's grouping is the recomputed one.

use super::function_isolation::Isolation;
use super::group::Isolated;
use super::multimap::{self, Entry};
use super::topology::Topology;

/// What isolates the group of these members (sorted).
pub(super) fn group_isolation(topology: &Topology<'_>, members: &[Entry]) -> Isolated {
    let mut weakest = Weakest(None);
    for (_, index) in members {
        if topology.node(*index).group_from_sys {
            return Isolated::Unknown;
        }
        add_boundary(&mut weakest, topology, members, *index);
    }
    match weakest.0 {
        Some(isolated) => isolated,
        None if members.len() == 1 => Isolated::NotNeeded,
        None => Isolated::No,
    }
}

/// The weakest isolation on the boundary of a group.
struct Weakest(Option<Isolated>);

impl Weakest {
    fn add(&mut self, isolated: Isolated) {
        self.0 = self.0.max(Some(isolated));
    }

    fn add_function(&mut self, isolation: Isolation) {
        match isolation {
            Isolation::Acs => self.add(Isolated::Acs),
            Isolation::Quirk(_) => self.add(Isolated::Quirk),
            Isolation::Unknown => self.add(Isolated::Unknown),
            Isolation::NotNeeded | Isolation::Missing(_) => {}
        }
    }
}

/// Adds the isolation of the functions that separate this member from functions outside the group.
fn add_boundary(weakest: &mut Weakest, topology: &Topology<'_>, members: &[Entry], index: usize) {
    let node = topology.node(index);
    let missing = node.isolation.missing_acs().is_some();
    let outside = |index: &usize| !multimap::contains(members, *index);
    // Towards the root: the bridges outside the group.
    let mut above = node.parent;
    while let Some(bridge) = above {
        if outside(&bridge) {
            weakest.add_function(topology.node(bridge).isolation);
        }
        above = topology.node(bridge).parent;
    }
    // A bridge that does not isolate may forward peer-to-peer transactions: on a root bus to whatever the root complex
    // connects, elsewhere to the other functions of its bus. The kernel puts them into different groups nevertheless.
    if missing
        && members.len() > 1
        && node.is_bridge()
        && node.parent.is_none_or(|parent| outside(&parent) && topology.same_bus(index).any(|peer| outside(&peer)))
    {
        weakest.add(Isolated::No);
    }
    // Functions of the same slot in other groups. Where this one does not isolate, they have to.
    for sibling in topology.same_slot(index).filter(outside) {
        weakest.add_function(if missing { topology.node(sibling).isolation } else { node.isolation });
    }
}
