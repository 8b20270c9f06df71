// SPDX-License-Identifier: MIT OR Apache-2.0
//! Recomputes the kernel's groups: `pci_device_group` (drivers/iommu/iommu.c, the same in Linux 6.1 and 6.12) with
//! `pci_for_each_dma_alias` (drivers/pci/search.c), for one function after another in the order of discovery.

use crate::pci::capability::Unreadable;

use super::port_type::PortType;
use super::topology::Topology;
use super::{dma_alias, multimap};

/// The group that a search found.
type Found = Result<Option<usize>, Unreadable>;

/// Recomputes the group of every function that /sys has in a group.
pub(super) fn recompute_groups(topology: &mut Topology<'_>) {
    let mut next: usize = 0;
    for at in 0..topology.discovery_order.len() {
        let index = topology.discovery_order.get(at).map_or(0, |pair| pair.1);
        let mut node = *topology.node(index);
        let Some(sys) = node.function.sys_group else { continue };
        let existing = existing_group(topology, index).unwrap_or_else(|Unreadable| {
            node.group_from_sys = true;
            // The group of a function that /sys has in the same group.
            let members = multimap::equal_range(&topology.by_sys_group, u64::from(sys));
            members.iter().find_map(|(_, member)| topology.node(*member).recomputed_group)
        });
        node.recomputed_group = existing.or(Some(next));
        next = next.saturating_add(usize::from(existing.is_none()));
        topology.set_node(index, node);
    }
}

/// The existing group that the kernel would add a function to; `None` for a new group.
fn existing_group(topology: &Topology<'_>, index: usize) -> Found {
    let node = topology.node(index);
    if node.ancestor_missing {
        return Err(Unreadable);
    }
    let mut top = node.real_dma_device.unwrap_or(index);
    if let found @ Some(_) = topology.node(top).recomputed_group {
        return Ok(found);
    }
    // Upwards to the last bridge that merges the requester IDs of the functions below it.
    let mut above = topology.node(top).parent;
    while let Some(bridge) = above {
        let node = topology.node(bridge);
        if dma_alias::is_translation_root(node.function.vendor, node.function.device) {
            break;
        }
        if node.port_type == PortType::Unreadable {
            return Err(Unreadable);
        }
        if node.merges_requester_ids() {
            top = bridge;
            if let found @ Some(_) = node.recomputed_group {
                return Ok(found);
            }
        }
        above = node.parent;
    }
    // Further up until the rest of the path to the root isolates.
    while let Some(bridge) = topology.node(top).parent {
        let node = topology.node(bridge);
        if node.acs_path_enabled.ok_or(Unreadable)? {
            break;
        }
        top = bridge;
        if let found @ Some(_) = node.recomputed_group {
            return Ok(found);
        }
    }
    let mut visited = Visited::default();
    match alias_group(topology, top, &mut visited)? {
        None => function_alias_group(topology, top, &mut visited),
        found => Ok(found),
    }
}

/// The group of a function that shares a requester ID with `index`, directly or not (drivers/iommu/iommu.c,
/// `get_pci_alias_group`). It recurses as the kernel does; a bus has at most 256 functions, each visited once.
fn alias_group(topology: &Topology<'_>, index: usize, visited: &mut Visited) -> Found {
    if !visited.insert(topology, index) {
        return Ok(None);
    }
    if let found @ Some(_) = topology.node(index).recomputed_group {
        return Ok(found);
    }
    for other in topology.same_bus(index) {
        if dma_alias::are_dma_aliases(topology, index, other) {
            if let found @ Some(_) = alias_group(topology, other, visited)? {
                return Ok(found);
            }
            if let found @ Some(_) = function_alias_group(topology, other, visited)? {
                return Ok(found);
            }
        }
    }
    Ok(None)
}

/// The group of a function of the same slot, where neither that function nor `index` isolates (drivers/iommu/iommu.c,
/// `get_pci_function_alias_group`).
fn function_alias_group(topology: &Topology<'_>, index: usize, visited: &mut Visited) -> Found {
    let acs_enabled = |index: usize| topology.node(index).isolation.acs_enabled().ok_or(Unreadable);
    if !topology.node(index).multifunction || acs_enabled(index)? {
        return Ok(None);
    }
    for other in topology.same_slot(index) {
        if other != index && !acs_enabled(other)? {
            if let found @ Some(_) = alias_group(topology, other, visited)? {
                return Ok(found);
            }
        }
    }
    Ok(None)
}

/// The functions of one bus that a search has visited, by device and function number.
#[derive(Default)]
struct Visited([u8; 32]);

impl Visited {
    /// Adds a function; false if it was visited before.
    fn insert(&mut self, topology: &Topology<'_>, index: usize) -> bool {
        let address = topology.address(index);
        let bit = 1_u8.checked_shl(u32::from(address.function)).unwrap_or(0);
        let Some(byte) = self.0.get_mut(usize::from(address.device)) else { return false };
        let first = *byte & bit == 0;
        *byte |= bit;
        first
    }
}
