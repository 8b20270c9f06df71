// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whether the split of a group from all others is real.

use super::Host;
use super::isolation::Isolation;
use super::machine::Machine;
use super::regroup::Regrouping;
use super::report::Isolated;

/// The verdict for the group of these members (sorted). `split`: the kernel keeps apart what the recomputed grouping has
/// in one group.
pub(super) fn verdict(
    machine: &Machine<'_>,
    regrouping: &Regrouping,
    host: &Host<'_>,
    members: &[usize],
    split: bool,
) -> Isolated {
    if members.iter().any(|index| regrouping.unknown.get(*index).copied().unwrap_or(true)) {
        return Isolated::Unknown;
    }
    if split {
        return if host.acs_override { Isolated::Override } else { Isolated::No };
    }
    let mut found = Evidence::default();
    for index in members {
        found.look_at(machine, regrouping, members, *index);
    }
    match found.0 {
        Some(isolated) => isolated,
        None if members.len() == 1 => Isolated::NotNeeded,
        None => Isolated::No,
    }
}

/// What holds the outer edge of a group, as far as it was looked at: the weakest part decides.
#[derive(Default)]
struct Evidence(Option<Isolated>);

impl Evidence {
    fn note(&mut self, found: Isolated) {
        let weakness = |isolated: Isolated| match isolated {
            Isolated::NotNeeded => 0,
            Isolated::Acs => 1,
            Isolated::Quirk => 2,
            Isolated::No | Isolated::Override => 3,
            Isolated::Unknown => 4,
        };
        if self.0.is_none_or(|known| weakness(found) > weakness(known)) {
            self.0 = Some(found);
        }
    }

    fn add(&mut self, isolation: Option<&Isolation>) {
        match isolation {
            Some(Isolation::Acs) => self.note(Isolated::Acs),
            Some(Isolation::Quirk(_)) => self.note(Isolated::Quirk),
            Some(Isolation::Unknown) | None => self.note(Isolated::Unknown),
            Some(Isolation::NotNeeded | Isolation::No(_)) => {}
        }
    }

    fn look_at(&mut self, machine: &Machine<'_>, regrouping: &Regrouping, members: &[usize], index: usize) {
        let inside = |index: usize| members.binary_search(&index).is_ok();
        let Some(node) = machine.nodes.get(index) else { return };
        // Towards the root: the bridges that do not belong to the group.
        for (hop, _) in machine.hops(index).filter(|(hop, _)| !inside(*hop)) {
            self.add(regrouping.isolation.get(hop));
        }
        // A bridge that does not isolate may pass what it carries to its peers: on a root bus whatever the root complex
        // connects, below that the other functions of its bus. The kernel groups them apart all the same.
        let peers = || machine.neighbours(index).any(|(peer, _)| !inside(peer));
        if !node.parent.is_some_and(inside)
            && node.is_bridge()
            && members.len() > 1
            && matches!(regrouping.isolation.get(index), Some(Isolation::No(_)))
            && (node.parent.is_none() || peers())
        {
            self.note(Isolated::No);
        }
        // Sideways: functions of the same slot in other groups.
        if machine.siblings(index).any(|(sibling, _)| !inside(sibling)) {
            match regrouping.isolation.get(index) {
                Some(Isolation::No(_)) => {
                    for (sibling, _) in machine.siblings(index).filter(|(sibling, _)| !inside(*sibling)) {
                        self.add(regrouping.isolation.get(sibling));
                    }
                }
                own => self.add(own),
            }
        }
    }
}
