// SPDX-License-Identifier: MIT OR Apache-2.0
//! The PCI topology: the functions of a machine, indexed, with the bridge above each, its bus, its slot and its type.

use std::ops::Range;

use crate::pci::capability::{ConfigSpace, PCI_EXPRESS, Unreadable};
use crate::pci::{Address, Class};

use super::Function;
use super::acs::Acs;
use super::acs_quirks;
use super::dma_alias::{self, DmaAlias};
use super::function_isolation::Isolation;
use super::multimap::{self, Entry};
use super::port_type::PortType;

/// One function and what follows from its position. Indices are those of [`Topology::nodes`].
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "these are facts of hardware, each on its own")]
pub(super) struct Node<'a> {
    /// The function.
    pub(super) function: &'a Function,
    /// Its address as a number; see [`address_key`].
    key: u64,
    /// The bridge above; `None` on a root bus.
    pub(super) parent: Option<usize>,
    /// A bridge above it, at any level, is named in its path but was not found.
    pub(super) ancestor_missing: bool,
    /// The function of another domain whose requester ID it uses: the VMD controller (arch/x86/pci/common.c,
    /// `pci_real_dma_dev`).
    pub(super) real_dma_device: Option<usize>,
    /// Its type.
    pub(super) port_type: PortType,
    /// It is a port with a slot.
    pub(super) has_slot: bool,
    /// There are functions below it.
    pub(super) has_children: bool,
    /// It is a bridge to conventional PCI that forwards the requester IDs of what is behind it.
    pub(super) keeps_requester_ids: bool,
    /// The control register of its ACS capability is at offset 8 and 32 bits wide.
    pub(super) wide_acs: bool,
    /// The running kernel does not use its Source Validation.
    pub(super) broken_source_validation: bool,
    /// It is below a bridge that merges requester IDs.
    pub(super) behind_conventional_bridge: bool,
    /// It is one of several functions, in the kernel's sense: a virtual function never is.
    pub(super) multifunction: bool,
    /// The other requester IDs that it uses.
    pub(super) alias: Option<DmaAlias>,
    /// Whether it isolates, and why.
    pub(super) isolation: Isolation,
    /// Whether it and everything above it up to the root bus isolates; `None` when that cannot be determined
    /// (drivers/pci/pci.c, `pci_acs_path_enabled`).
    pub(super) acs_path_enabled: Option<bool>,
    /// Its recomputed group, numbered from 0; `None` for a function that /sys has in no group.
    pub(super) recomputed_group: Option<usize>,
    /// Its group could not be recomputed, because something could not be read: `recomputed_group` follows /sys.
    pub(super) group_from_sys: bool,
}

impl<'a> Node<'a> {
    const fn new(function: &'a Function, key: u64) -> Self {
        Self {
            function,
            key,
            parent: None,
            ancestor_missing: false,
            real_dma_device: None,
            port_type: PortType::Unreadable,
            has_slot: false,
            has_children: false,
            keeps_requester_ids: false,
            wide_acs: false,
            broken_source_validation: false,
            behind_conventional_bridge: false,
            multifunction: false,
            alias: None,
            isolation: Isolation::Unknown,
            acs_path_enabled: None,
            recomputed_group: None,
            group_from_sys: false,
        }
    }

    /// Its configuration space.
    pub(super) fn config(&self) -> ConfigSpace<'a> {
        ConfigSpace::new(&self.function.config)
    }

    /// Whether it is a PCI bridge.
    pub(super) fn is_bridge(&self) -> bool {
        self.function.is_bridge()
    }

    /// Whether all functions below it use one requester ID.
    pub(super) fn merges_requester_ids(&self) -> bool {
        self.port_type.merges_requester_ids() && !self.keeps_requester_ids
    }

    /// Its ACS capability, as the hardware has it.
    pub(super) fn acs(&self) -> Result<Option<Acs>, Unreadable> {
        Acs::read(self.config(), self.wide_acs)
    }

    /// Its type in words: that of a port, else that of its class.
    pub(super) fn type_name(&self) -> &'static str {
        match self.port_type {
            PortType::Root => "root port",
            PortType::Upstream => "switch upstream port",
            PortType::Downstream => "switch downstream port",
            PortType::PcieToPciBridge => "PCIe-to-PCI bridge",
            PortType::PciToPcieBridge => "PCI-to-PCIe bridge",
            _ => self.function.class.name(),
        }
    }
}

/// The function of [`NO_NODE`].
static NO_FUNCTION: Function = Function {
    address: Address { domain: 0, bus: 0, device: 0, function: 0 },
    parents: Vec::new(),
    class: Class(0),
    vendor: 0,
    device: 0,
    config: Vec::new(),
    driver: None,
    sys_group: None,
    ivrs_alias: None,
};
/// What an index without a node leads to.
static NO_NODE: Node<'static> = Node::new(&NO_FUNCTION, 0);

/// All functions of a machine, sorted by address.
#[derive(Debug)]
pub(super) struct Topology<'a> {
    /// The functions.
    pub(super) nodes: Vec<Node<'a>>,
    /// The functions by the group that /sys has them in.
    pub(super) by_sys_group: Vec<Entry>,
    /// The functions by depth: an order in which the kernel may have discovered them, every bridge before what is below it.
    pub(super) discovery_order: Vec<Entry>,
}

impl<'a> Topology<'a> {
    /// Indexes `functions`. A duplicate address is ignored. A parent that is not nearer to the root than its child is
    /// treated as missing, so that no walk to the root can loop.
    pub(super) fn new(functions: &'a [Function], kernel: Option<(u32, u32)>) -> Self {
        let keyed = functions.iter().enumerate().map(|(index, function)| (address_key(function.address), index));
        let mut topology =
            Self { nodes: Vec::with_capacity(functions.len()), by_sys_group: Vec::new(), discovery_order: Vec::new() };
        for (key, index) in multimap::sorted(keyed.collect()) {
            let Some(function) = functions.get(index) else { continue };
            if topology.nodes.last().is_some_and(|last| last.key == key) {
                continue;
            }
            let index = topology.nodes.len();
            topology.nodes.push(Node::new(function, key));
            topology.discovery_order.push((multimap::key(function.parents.len()), index));
            if let Some(group) = function.sys_group {
                topology.by_sys_group.push((u64::from(group), index));
            }
        }
        topology.by_sys_group.sort_unstable();
        topology.discovery_order.sort_unstable();
        for at in 0..topology.discovery_order.len() {
            let index = topology.discovery_order.get(at).map_or(0, |pair| pair.1);
            let mut node = *topology.node(index);
            topology.link(&mut node);
            topology.classify(&mut node, kernel);
            if let Some(parent) = node.parent.and_then(|parent| topology.nodes.get_mut(parent)) {
                parent.has_children = true;
            }
            topology.set_node(index, node);
        }
        topology
    }

    /// The function with this index.
    #[inline(never)]
    pub(super) fn node(&self, index: usize) -> &Node<'a> {
        self.nodes.get(index).unwrap_or(&NO_NODE)
    }

    /// Replaces the function with this index.
    #[inline(never)]
    pub(super) fn set_node(&mut self, index: usize, node: Node<'a>) {
        if let Some(entry) = self.nodes.get_mut(index) {
            *entry = node;
        }
    }

    /// The address of the function with this index.
    pub(super) fn address(&self, index: usize) -> Address {
        self.node(index).function.address
    }

    /// The addresses of these functions.
    pub(super) fn addresses(&self, members: &[Entry]) -> Vec<Address> {
        members.iter().map(|(_, index)| self.address(*index)).collect()
    }

    /// The index of the function at this address.
    pub(super) fn index_of(&self, address: Address) -> Option<usize> {
        self.nodes.binary_search_by_key(&address_key(address), |node| node.key).ok()
    }

    /// The functions on the same bus, including this one.
    pub(super) fn same_bus(&self, index: usize) -> Range<usize> {
        self.same_prefix(index, 16)
    }

    /// The functions in the same slot, including this one.
    pub(super) fn same_slot(&self, index: usize) -> Range<usize> {
        self.same_prefix(index, 8)
    }

    /// The functions whose address differs from this one's in the lowest `bits` only.
    fn same_prefix(&self, index: usize, bits: u32) -> Range<usize> {
        let prefix = self.node(index).key.wrapping_shr(bits);
        let first_from = |prefix: u64| self.nodes.partition_point(|node| node.key.wrapping_shr(bits) < prefix);
        first_from(prefix)..first_from(prefix.saturating_add(1))
    }

    /// Links a function to the bridge above it, and to its real DMA device.
    fn link(&self, node: &mut Node<'a>) {
        let Function { address, ref parents, .. } = *node.function;
        let above = |address: Address| {
            self.index_of(address).filter(|index| self.node(*index).function.parents.len() < parents.len())
        };
        for parent in parents {
            // The last one in the same domain is the bridge above, the last one in another domain is the controller of this one.
            if parent.domain != address.domain {
                node.real_dma_device = above(*parent);
            } else if Some(parent) == parents.last() {
                node.parent = above(*parent);
                let bridge = node.parent.map(|parent| self.node(parent));
                node.ancestor_missing = bridge.is_none_or(|bridge| bridge.ancestor_missing);
                node.behind_conventional_bridge = bridge
                    .is_some_and(|bridge| bridge.behind_conventional_bridge || bridge.port_type.merges_requester_ids());
            }
        }
    }

    /// Determines the properties that follow from configuration space and the bridge above.
    fn classify(&self, node: &mut Node<'a>, kernel: Option<(u32, u32)>) {
        let above = node.parent.map_or(PortType::Conventional, |parent| self.node(parent).port_type);
        let config = node.config();
        let flags = express_flags(config);
        node.port_type = match flags {
            Ok(Some(flags)) => PortType::from_pcie_flags(flags).corrected_below(above),
            Ok(None) => PortType::Conventional,
            Err(Unreadable) => PortType::Unreadable,
        };
        node.has_slot =
            node.port_type.is_root_or_downstream() && matches!(flags, Ok(Some(flags)) if flags & 0x100 != 0);
        let Function { address, vendor, device, .. } = *node.function;
        node.keeps_requester_ids =
            node.port_type == PortType::PcieToPciBridge && dma_alias::keeps_requester_ids(vendor, device, kernel);
        node.wide_acs = node.port_type == PortType::Root && acs_quirks::has_wide_acs(vendor, device);
        node.broken_source_validation = acs_quirks::has_broken_source_validation(vendor, device, kernel);
        // A virtual function has no IDs in its configuration space; the kernel takes them from the physical function.
        let is_virtual = config.u16(0) == Ok(0xffff) && vendor != 0xffff;
        let beyond_first = address.function > 0 || (above.is_root_or_downstream() && address.device > 0);
        node.multifunction = !is_virtual && (config.is_multifunction() == Ok(true) || beyond_first);
        node.alias = dma_alias::find(vendor, device, node.function.subsystem(), node.function.class);
    }
}

/// A number that sorts as the address does: domain, then bus, device and function in one byte each.
fn address_key(address: Address) -> u64 {
    let Address { domain, bus, device, function } = address;
    let within_domain = u64::from(u32::from_be_bytes([0, bus, device, function]));
    u64::from(domain).wrapping_shl(32) | within_domain
}

/// The PCI Express capabilities register; `None` for a conventional function.
fn express_flags(config: ConfigSpace<'_>) -> Result<Option<u16>, Unreadable> {
    match config.capability(PCI_EXPRESS)? {
        Some(offset) => config.u16(offset.saturating_add(2)).map(Some),
        None => Ok(None),
    }
}
