// SPDX-License-Identifier: MIT OR Apache-2.0
//! The functions of a machine, indexed: who sits above whom, on which bus, and as what kind of port.

use std::ops::Range;

use crate::pci::capability::{ConfigSpace, PCI_EXPRESS, Unreadable};
use crate::pci::{Address, Class};

use super::Function;
use super::dma_alias::{self, DmaAlias};
use super::function_isolation::Isolation;
use super::multimap::{self, Entry};
use super::port_type::PortType;

/// One function with what its place in the machine says about it. Numbers are indices into [`Topology::nodes`].
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "these are facts of hardware, each on its own")]
pub(super) struct Node<'a> {
    /// What was read.
    pub(super) function: &'a Function,
    /// Its address as a number; see [`key`].
    key: u64,
    /// The bridge above; `None` on a root bus.
    pub(super) parent: Option<usize>,
    /// A bridge above it, at whatever height, is named but was not read.
    pub(super) orphan: bool,
    /// The function of another domain whose requester ID this one uses (Intel VMD).
    pub(super) stands_for: Option<usize>,
    /// What it is.
    pub(super) port: PortType,
    /// The port leads to a slot for a card.
    pub(super) has_slot: bool,
    /// Something is below it.
    pub(super) carries: bool,
    /// It is behind a bridge whose devices have one requester ID.
    pub(super) on_shared_bus: bool,
    /// One of several functions, in the kernel's sense: virtual functions never are.
    pub(super) multifunction: bool,
    /// Other requester IDs that it uses.
    pub(super) alias: Option<DmaAlias>,
    /// Whether and why it isolates.
    pub(super) isolation: Isolation,
    /// Whether everything from this function up to the root bus isolates; `None` when that cannot be known.
    pub(super) path: Option<bool>,
    /// The recomputed group, numbered from 0; `None` for a function that no IOMMU covers.
    pub(super) group: Option<usize>,
    /// Its group could not be computed because something was not readable: it was put where /sys has it.
    pub(super) unknown: bool,
}

impl<'a> Node<'a> {
    const fn new(function: &'a Function, key: u64) -> Self {
        Self {
            function,
            key,
            parent: None,
            orphan: false,
            stands_for: None,
            port: PortType::Unreadable,
            has_slot: false,
            carries: false,
            on_shared_bus: false,
            multifunction: false,
            alias: None,
            isolation: Isolation::Unknown,
            path: None,
            group: None,
            unknown: false,
        }
    }

    /// Its configuration space.
    pub(super) fn config(&self) -> ConfigSpace<'a> {
        ConfigSpace::new(&self.function.config)
    }

    /// Whether it leads to another bus: by its header, or its class where even that was not read.
    pub(super) fn is_bridge(&self) -> bool {
        self.function.is_bridge()
    }

    /// The kind of thing it is, for people.
    pub(super) fn kind(&self) -> &'static str {
        match self.port {
            PortType::Root => "root port",
            PortType::Upstream => "switch upstream port",
            PortType::Downstream => "switch downstream port",
            PortType::PcieToPciBridge => "PCIe-to-PCI bridge",
            PortType::PciToPcieBridge => "PCI-to-PCIe bridge",
            _ => self.function.class.name(),
        }
    }
}

/// What stands where nothing is.
static NO_FUNCTION: Function = Function {
    address: Address { domain: 0, bus: 0, device: 0, function: 0 },
    parents: Vec::new(),
    class: Class(0),
    vendor: 0,
    device: 0,
    config: Vec::new(),
    driver: None,
    sys_group: None,
};
static NO_NODE: Node<'static> = Node::new(&NO_FUNCTION, 0);

/// All functions, sorted by address.
#[derive(Debug)]
pub(super) struct Topology<'a> {
    /// The functions.
    pub(super) nodes: Vec<Node<'a>>,
    /// Number of /sys's group and index of each function that has one, sorted.
    pub(super) sys: Vec<Entry>,
    /// Depth and index of each function: every bridge before what is below it, an order in which the kernel may have found
    /// them.
    pub(super) discovery: Vec<Entry>,
}

impl<'a> Topology<'a> {
    /// Indexes `functions`. An address that comes twice counts once; a bridge above that is nearer to the root than it can
    /// be is taken as not read, so that no walk to the root can loop.
    pub(super) fn new(functions: &'a [Function]) -> Self {
        let keyed = functions.iter().enumerate().map(|(index, function)| (key(function.address), index));
        let mut topology = Self { nodes: Vec::with_capacity(functions.len()), sys: Vec::new(), discovery: Vec::new() };
        for (key, index) in multimap::sorted(keyed.collect()) {
            let Some(function) = functions.get(index) else { continue };
            if topology.nodes.last().is_some_and(|last| last.key == key) {
                continue;
            }
            let index = topology.nodes.len();
            topology.nodes.push(Node::new(function, key));
            topology.discovery.push((multimap::key(function.parents.len()), index));
            if let Some(group) = function.sys_group {
                topology.sys.push((u64::from(group), index));
            }
        }
        topology.sys.sort_unstable();
        topology.discovery.sort_unstable();
        for at in 0..topology.discovery.len() {
            let index = topology.discovery.get(at).map_or(0, |pair| pair.1);
            let mut node = *topology.at(index);
            topology.place(&mut node);
            topology.classify(&mut node);
            if let Some(parent) = node.parent.and_then(|parent| topology.nodes.get_mut(parent)) {
                parent.carries = true;
            }
            topology.set(index, node);
        }
        topology
    }

    /// The function with this index.
    #[inline(never)]
    pub(super) fn at(&self, index: usize) -> &Node<'a> {
        self.nodes.get(index).unwrap_or(&NO_NODE)
    }

    /// Puts a function in the place of the one with this index.
    #[inline(never)]
    pub(super) fn set(&mut self, index: usize, node: Node<'a>) {
        if let Some(place) = self.nodes.get_mut(index) {
            *place = node;
        }
    }

    /// The address of the function with this index.
    pub(super) fn address(&self, index: usize) -> Address {
        self.at(index).function.address
    }

    /// The addresses of these functions.
    pub(super) fn addresses(&self, members: &[Entry]) -> Vec<Address> {
        members.iter().map(|(_, index)| self.address(*index)).collect()
    }

    /// The index of the function at this address.
    pub(super) fn find(&self, address: Address) -> Option<usize> {
        self.nodes.binary_search_by_key(&key(address), |node| node.key).ok()
    }

    /// The functions of its bus, itself among them.
    pub(super) fn bus(&self, index: usize) -> Range<usize> {
        self.around(index, 16)
    }

    /// The functions of its slot, itself among them.
    pub(super) fn slot(&self, index: usize) -> Range<usize> {
        self.around(index, 8)
    }

    /// The functions whose address differs in the lowest bits only.
    fn around(&self, index: usize, bits: u32) -> Range<usize> {
        let number = self.at(index).key.wrapping_shr(bits);
        let below = |end: u64| self.nodes.partition_point(|node| node.key.wrapping_shr(bits) < end);
        below(number)..below(number.saturating_add(1))
    }

    /// Finds what is above.
    fn place(&self, node: &mut Node<'a>) {
        let Function { address, ref parents, .. } = *node.function;
        let above = |address: Address| {
            self.find(address).filter(|index| self.at(*index).function.parents.len() < parents.len())
        };
        for parent in parents {
            // The last of the same domain is the bridge above, the last of another one its controller.
            if parent.domain != address.domain {
                node.stands_for = above(*parent);
            } else if Some(parent) == parents.last() {
                node.parent = above(*parent);
                let bridge = node.parent.map(|parent| self.at(parent));
                node.orphan = bridge.is_none_or(|bridge| bridge.orphan);
                node.on_shared_bus =
                    bridge.is_some_and(|bridge| bridge.on_shared_bus || bridge.port.merges_requester_ids());
            }
        }
    }

    fn classify(&self, node: &mut Node<'a>) {
        let above = node.parent.map_or(PortType::Conventional, |parent| self.at(parent).port);
        let config = node.config();
        let flags = express_flags(config);
        node.port = match flags {
            Ok(Some(flags)) => PortType::from_pcie_flags(flags).corrected_below(above),
            Ok(None) => PortType::Conventional,
            Err(Unreadable) => PortType::Unreadable,
        };
        node.has_slot = node.port.is_root_or_downstream() && matches!(flags, Ok(Some(flags)) if flags & 0x100 != 0);
        let Function { address, vendor, device, .. } = *node.function;
        // A virtual function answers with no IDs; the kernel knows them from its parent.
        let is_virtual = config.u16(0) == Ok(0xffff) && vendor != 0xffff;
        let beyond_first = address.function > 0 || (above.is_root_or_downstream() && address.device > 0);
        node.multifunction = !is_virtual && (config.is_multifunction() == Ok(true) || beyond_first);
        node.alias = dma_alias::find(vendor, device, node.function.subsystem());
    }
}

/// A number that is in the order of addresses: domain, bus, device, function, the last three in a byte each.
fn key(address: Address) -> u64 {
    let Address { domain, bus, device, function } = address;
    let place = u64::from(u32::from_be_bytes([0, bus, device, function]));
    u64::from(domain).wrapping_shl(32) | place
}

/// The PCI Express capabilities register; `None` for a conventional function.
fn express_flags(config: ConfigSpace<'_>) -> Result<Option<u16>, Unreadable> {
    match config.capability(PCI_EXPRESS)? {
        Some(offset) => config.u16(offset.saturating_add(2)).map(Some),
        None => Ok(None),
    }
}
