// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel's grouping, recomputed: `pci_device_group` (drivers/iommu/iommu.c, the same in Linux 6.1, 6.12) with
//! `pci_for_each_dma_alias` (drivers/pci/search.c), function after function in the order of discovery.

use super::port_type::PortType;
use super::topology::Topology;
use super::{dma_alias, multimap};

/// Something on the way was not readable.
struct Unknown;

/// A group that is there already.
type Found = Result<Option<usize>, Unknown>;

/// Recomputes the groups of all functions that /sys has in one.
pub(super) fn regroup(topology: &mut Topology<'_>) {
    let mut next: usize = 0;
    for at in 0..topology.discovery_order.len() {
        let index = topology.discovery_order.get(at).map_or(0, |pair| pair.1);
        let mut node = *topology.node(index);
        let Some(sys) = node.function.sys_group else { continue };
        let existing = existing_group(topology, index).unwrap_or_else(|Unknown| {
            node.group_from_sys = true;
            // Where /sys has it.
            let members = multimap::equal_range(&topology.by_sys_group, u64::from(sys));
            members.iter().find_map(|(_, member)| topology.node(*member).recomputed_group)
        });
        node.recomputed_group = existing.or(Some(next));
        next = next.saturating_add(usize::from(existing.is_none()));
        topology.set_node(index, node);
    }
}

/// The group that the kernel would put a new function into; `None` for a new group.
fn existing_group(topology: &Topology<'_>, index: usize) -> Found {
    let node = topology.node(index);
    if node.ancestor_missing {
        return Err(Unknown);
    }
    let mut top = node.real_dma_device.unwrap_or(index);
    if let found @ Some(_) = topology.node(top).recomputed_group {
        return Ok(found);
    }
    // Upwards to the last bridge that lends its requester ID to what is below it.
    let mut above = topology.node(top).parent;
    while let Some(hop) = above {
        let node = topology.node(hop);
        if dma_alias::is_translation_root(node.function.vendor, node.function.device) {
            break;
        }
        if node.port_type == PortType::Unreadable {
            return Err(Unknown);
        }
        if node.port_type.merges_requester_ids() {
            top = hop;
            if let found @ Some(_) = node.recomputed_group {
                return Ok(found);
            }
        }
        above = node.parent;
    }
    // Further up to where the rest of the way isolates.
    while let Some(hop) = topology.node(top).parent {
        let node = topology.node(hop);
        if node.acs_path_enabled.ok_or(Unknown)? {
            break;
        }
        top = hop;
        if let found @ Some(_) = node.recomputed_group {
            return Ok(found);
        }
    }
    let mut visited = Visited::default();
    match alias_group(topology, top, &mut visited)? {
        None => sibling_group(topology, top, &mut visited),
        found => Ok(found),
    }
}

/// The group of a function that shares a requester ID with `index`, directly or not. The kernel recurses here; a bus has
/// 256 functions at most, each visited once.
fn alias_group(topology: &Topology<'_>, index: usize, visited: &mut Visited) -> Found {
    if !visited.enter(topology, index) {
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
            if let found @ Some(_) = sibling_group(topology, other, visited)? {
                return Ok(found);
            }
        }
    }
    Ok(None)
}

/// The group of a function of the same slot that is kept apart from `index` by neither side.
fn sibling_group(topology: &Topology<'_>, index: usize, visited: &mut Visited) -> Found {
    let acs_enabled = |index: usize| topology.node(index).isolation.acs_enabled().ok_or(Unknown);
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

/// The functions of one bus that a search has been to, by device and function number.
#[derive(Default)]
struct Visited([u8; 32]);

impl Visited {
    /// Notes a visit; false when it is not the first.
    fn enter(&mut self, topology: &Topology<'_>, index: usize) -> bool {
        let address = topology.address(index);
        let bit = 1_u8.checked_shl(u32::from(address.function)).unwrap_or(0);
        let Some(byte) = self.0.get_mut(usize::from(address.device)) else { return false };
        let first = *byte & bit == 0;
        *byte |= bit;
        first
    }
}
