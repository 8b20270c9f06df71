// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whether the split of a group from all others is real.

use super::function_isolation::Isolation;
use super::multimap::{self, Entry};
use super::report::Isolated;
use super::topology::Topology;

/// The verdict for the group of these members (sorted), if the kernel's grouping is the recomputed one.
pub(super) fn verdict(topology: &Topology<'_>, members: &[Entry]) -> Isolated {
    let mut evidence = Evidence(None);
    for (_, index) in members {
        if topology.node(*index).group_from_sys {
            return Isolated::Unknown;
        }
        evidence.look_at(topology, members, *index);
    }
    match evidence.0 {
        Some(isolated) => isolated,
        None if members.len() == 1 => Isolated::NotNeeded,
        None => Isolated::No,
    }
}

/// What holds the outer edge of a group, as far as it was looked at: the weakest part decides.
struct Evidence(Option<Isolated>);

impl Evidence {
    fn note(&mut self, found: Isolated) {
        self.0 = self.0.max(Some(found));
    }

    fn add(&mut self, isolation: Isolation) {
        match isolation {
            Isolation::Acs => self.note(Isolated::Acs),
            Isolation::Quirk(_) => self.note(Isolated::Quirk),
            Isolation::Unknown => self.note(Isolated::Unknown),
            Isolation::NotNeeded | Isolation::Missing(_) => {}
        }
    }

    fn look_at(&mut self, topology: &Topology<'_>, members: &[Entry], index: usize) {
        let node = topology.node(index);
        let lacks = matches!(node.isolation, Isolation::Missing(_));
        let outside = |index: &usize| !multimap::contains(members, *index);
        // Towards the root: the bridges that do not belong to the group.
        let mut above = node.parent;
        while let Some(hop) = above {
            if outside(&hop) {
                self.add(topology.node(hop).isolation);
            }
            above = topology.node(hop).parent;
        }
        // A bridge that does not isolate may pass what it carries to its peers: on a root bus whatever the root complex
        // connects, below that the other functions of its bus. The kernel groups them apart all the same.
        if lacks
            && members.len() > 1
            && node.is_bridge()
            && node.parent.is_none_or(|parent| outside(&parent) && topology.same_bus(index).any(|peer| outside(&peer)))
        {
            self.note(Isolated::No);
        }
        // Sideways: functions of the same slot in other groups. Where this one keeps nothing apart, they have to.
        for sibling in topology.same_slot(index).filter(outside) {
            self.add(if lacks { topology.node(sibling).isolation } else { node.isolation });
        }
    }
}
