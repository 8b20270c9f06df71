// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel's grouping, recomputed: `pci_device_group` (drivers/iommu/iommu.c, the same in Linux 6.1, 6.12) with
//! `pci_for_each_dma_alias` (drivers/pci/search.c), function after function in the order of discovery.

use super::isolation::{Isolation, isolation};
use super::machine::{Machine, PortType};
use super::quirks;

/// The outcome, by index into [`Machine::nodes`].
#[derive(Debug)]
pub(super) struct Regrouping {
    /// Whether and why each function isolates.
    pub(super) isolation: Vec<Isolation>,
    /// Whether everything from this function up to the root bus isolates; `None` when that cannot be known.
    pub(super) path: Vec<Option<bool>>,
    /// The recomputed group of each function, numbered from 0; `None` for one that no IOMMU covers.
    pub(super) group: Vec<Option<usize>>,
    /// The functions whose place could not be computed because something was not readable. They were put where /sys has
    /// them.
    pub(super) unknown: Vec<bool>,
}

/// Something on the way was not readable.
struct Unknown;

/// Recomputes the groups of all functions that /sys has in one. `amd_iommu`: the machine has an IVRS table.
pub(super) fn regroup(machine: &Machine<'_>, amd_iommu: bool) -> Regrouping {
    let count = machine.nodes.len();
    let mut state = Regrouping {
        isolation: (0..count).map(|index| isolation(machine, index, amd_iommu)).collect(),
        path: vec![None; count],
        group: vec![None; count],
        unknown: vec![false; count],
    };
    let order = machine.discovery_order();
    for index in &order {
        let path = state.path_of(machine, *index);
        put(&mut state.path, *index, path);
    }
    let mut next: usize = 0;
    // The first function that was put into each of the kernel's groups, for functions that cannot be computed.
    let mut seen: Vec<(u32, usize)> = Vec::new();
    for index in order {
        let Some(sys) = machine.nodes.get(index).and_then(|node| node.function.sys_group) else { continue };
        let existing = state.existing_group(machine, index).unwrap_or_else(|Unknown| {
            put(&mut state.unknown, index, true);
            seen.binary_search_by_key(&sys, |(sys, _)| *sys).ok().and_then(|at| seen.get(at)).map(|(_, group)| *group)
        });
        let group = existing.unwrap_or(next);
        if group == next {
            next = next.saturating_add(1);
        }
        put(&mut state.group, index, Some(group));
        if let Err(at) = seen.binary_search_by_key(&sys, |(sys, _)| *sys) {
            seen.insert(at, (sys, group));
        }
    }
    state
}

fn put<T>(list: &mut [T], index: usize, value: T) {
    if let Some(place) = list.get_mut(index) {
        *place = value;
    }
}

impl Regrouping {
    fn group(&self, index: usize) -> Option<usize> {
        self.group.get(index).copied().flatten()
    }

    /// Whether function `index` isolates.
    pub(super) fn holds(&self, index: usize) -> Option<bool> {
        self.isolation.get(index).and_then(|isolation| isolation.holds())
    }

    /// Whether everything from `index` to the root isolates. The path above is known already.
    fn path_of(&self, machine: &Machine<'_>, index: usize) -> Option<bool> {
        let node = machine.nodes.get(index)?;
        let above = match node.parent {
            Some(parent) => self.path.get(parent).copied().flatten(),
            None => (!node.orphan).then_some(true),
        };
        match (self.holds(index), above) {
            (Some(false), _) | (_, Some(false)) => Some(false),
            (Some(true), Some(true)) => Some(true),
            _ => None,
        }
    }

    /// The group that the kernel would put a new function into; `None` for a new group.
    fn existing_group(&self, machine: &Machine<'_>, index: usize) -> Result<Option<usize>, Unknown> {
        if machine.path_is_broken(index) {
            return Err(Unknown);
        }
        let start = machine.nodes.get(index).and_then(|node| node.stands_for).unwrap_or(index);
        if let Some(group) = self.group(start) {
            return Ok(Some(group));
        }
        // Upwards to the last bridge that lends its requester ID to what is below it.
        let mut top = start;
        for (hop, node) in machine.hops(start) {
            if quirks::ends_aliasing(node.function.vendor, node.function.device) {
                break;
            }
            let lends = match node.port {
                Ok(Some(PortType::ToConventional | PortType::FromConventional) | None) => true,
                Ok(Some(_)) => false,
                Err(_) => return Err(Unknown),
            };
            if lends {
                top = hop;
                if let Some(group) = self.group(hop) {
                    return Ok(Some(group));
                }
            }
        }
        // Further up to where the rest of the way isolates.
        for (hop, _) in machine.hops(top) {
            if self.path.get(hop).copied().flatten().ok_or(Unknown)? {
                break;
            }
            top = hop;
            if let Some(group) = self.group(hop) {
                return Ok(Some(group));
            }
        }
        let mut visited = Visited::default();
        if let Some(group) = self.alias_group(machine, top, &mut visited)? {
            return Ok(Some(group));
        }
        self.sibling_group(machine, top, &mut visited)
    }

    /// The group of a function that shares a requester ID with `index`, directly or not. The kernel recurses here; a
    /// bus has 256 functions at most, each visited once.
    fn alias_group(
        &self,
        machine: &Machine<'_>,
        index: usize,
        visited: &mut Visited,
    ) -> Result<Option<usize>, Unknown> {
        if !visited.enter(machine, index) {
            return Ok(None);
        }
        if let Some(group) = self.group(index) {
            return Ok(Some(group));
        }
        for (other, _) in machine.neighbours(index) {
            if !share_an_id(machine, index, other) {
                continue;
            }
            if let Some(group) = self.alias_group(machine, other, visited)? {
                return Ok(Some(group));
            }
            if let Some(group) = self.sibling_group(machine, other, visited)? {
                return Ok(Some(group));
            }
        }
        Ok(None)
    }

    /// The group of a function of the same slot that is kept apart from `index` by neither side.
    fn sibling_group(
        &self,
        machine: &Machine<'_>,
        index: usize,
        visited: &mut Visited,
    ) -> Result<Option<usize>, Unknown> {
        if !machine.nodes.get(index).is_some_and(|node| node.multifunction) || self.holds(index).ok_or(Unknown)? {
            return Ok(None);
        }
        for (other, _) in machine.siblings(index) {
            if !self.holds(other).ok_or(Unknown)?
                && let Some(group) = self.alias_group(machine, other, visited)?
            {
                return Ok(Some(group));
            }
        }
        Ok(None)
    }
}

/// The functions of one bus that a search has been to, by device and function number.
#[derive(Default)]
struct Visited([u8; 32]);

impl Visited {
    /// Notes a visit; false when it is not the first.
    fn enter(&mut self, machine: &Machine<'_>, index: usize) -> bool {
        let Some(node) = machine.nodes.get(index) else { return false };
        let bit = 1_u8.checked_shl(u32::from(node.function.address.function)).unwrap_or(0);
        let Some(byte) = self.0.get_mut(usize::from(node.function.address.device)) else { return false };
        let first = *byte & bit == 0;
        *byte |= bit;
        first
    }
}

/// Whether one of the two functions of a bus uses the other's requester ID.
pub(super) fn share_an_id(machine: &Machine<'_>, one: usize, other: usize) -> bool {
    let (Some(one), Some(other)) = (machine.nodes.get(one), machine.nodes.get(other)) else { return false };
    let place = |address: crate::pci::Address| (address.device, address.function);
    let (here, there) = (place(one.function.address), place(other.function.address));
    one.alias.is_some_and(|alias| alias.covers(here, there))
        || other.alias.is_some_and(|alias| alias.covers(there, here))
}
