// SPDX-License-Identifier: MIT OR Apache-2.0
//! The functions of a machine, indexed: who sits above whom, on which bus, and as what kind of port.

use crate::pci::Address;
use crate::pci::capability::{ConfigSpace, PCI_EXPRESS, Unreadable};

use super::quirks::{self, Alias};
use super::{Function, order};

/// What a PCI Express function is (PCI Express Base Specification, Device/Port Type).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PortType {
    /// An endpoint, of the native or the legacy kind.
    Endpoint,
    /// A port of the root complex.
    RootPort,
    /// The port of a switch that points to the root.
    Upstream,
    /// A port of a switch that points away from the root.
    Downstream,
    /// A bridge from PCI Express to conventional PCI.
    ToConventional,
    /// A bridge from conventional PCI to PCI Express.
    FromConventional,
    /// An endpoint inside the root complex.
    IntegratedEndpoint,
    /// A root complex event collector.
    EventCollector,
    /// A type that no specification names yet.
    Other,
}

impl PortType {
    fn from_flags(flags: u16) -> Self {
        match (flags >> 4) & 0xf {
            0 | 1 => Self::Endpoint,
            4 => Self::RootPort,
            5 => Self::Upstream,
            6 => Self::Downstream,
            7 => Self::ToConventional,
            8 => Self::FromConventional,
            9 => Self::IntegratedEndpoint,
            10 => Self::EventCollector,
            _ => Self::Other,
        }
    }

    fn points_down(self) -> bool {
        matches!(self, Self::RootPort | Self::Downstream)
    }

    /// The field's name for it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Endpoint => "endpoint",
            Self::RootPort => "root port",
            Self::Upstream => "switch upstream port",
            Self::Downstream => "switch downstream port",
            Self::ToConventional => "PCIe-to-PCI bridge",
            Self::FromConventional => "PCI-to-PCIe bridge",
            Self::IntegratedEndpoint => "integrated endpoint",
            Self::EventCollector => "event collector",
            Self::Other => "PCIe function",
        }
    }
}

/// One function with what its place in the machine says about it. Numbers are indices into [`Machine::nodes`].
#[derive(Debug)]
pub(super) struct Node<'a> {
    /// What was read.
    pub(super) function: &'a Function,
    /// The bridge above; `None` on a root bus.
    pub(super) parent: Option<usize>,
    /// A bridge above is named but was not read.
    pub(super) orphan: bool,
    /// The function of another domain whose requester ID this one uses (Intel VMD).
    pub(super) stands_for: Option<usize>,
    /// PCI Express port type; `Ok(None)` for a conventional function.
    pub(super) port: Result<Option<PortType>, Unreadable>,
    /// The port leads to a slot for a card.
    pub(super) has_slot: bool,
    /// One of several functions, in the kernel's sense: virtual functions never are.
    pub(super) multifunction: bool,
    /// Other requester IDs that it uses.
    pub(super) alias: Option<Alias>,
    /// The functions of its bus, as a range of indices.
    pub(super) bus: (usize, usize),
}

impl<'a> Node<'a> {
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
            Ok(Some(port)) if self.is_bridge() => port.name(),
            _ => self.function.class.name(),
        }
    }
}

/// All functions, sorted by address.
#[derive(Debug)]
pub(super) struct Machine<'a> {
    /// The functions.
    pub(super) nodes: Vec<Node<'a>>,
}

impl<'a> Machine<'a> {
    /// Indexes `functions`. An address that comes twice counts once; a bridge above that is nearer to the root than it can
    /// be is taken as not read, so that no walk to the root can loop.
    pub(super) fn new(functions: &'a [Function]) -> Self {
        let keyed = functions.iter().enumerate().map(|(index, function)| (key(function.address), index));
        let mut keyed = order::sort(keyed.collect());
        keyed.dedup_by_key(|pair| pair.0);
        let sorted: Vec<&Function> = keyed.into_iter().filter_map(|(_, index)| functions.get(index)).collect();
        let find = |address: Address| sorted.binary_search_by_key(&address, |function| function.address).ok();
        let above = |function: &Function, address: Address| {
            let index = find(address)?;
            let found = sorted.get(index)?;
            (found.parents.len() < function.parents.len()).then_some(index)
        };
        let mut nodes: Vec<Node<'a>> = Vec::with_capacity(sorted.len());
        let mut bus = (0, 0);
        for (index, function) in sorted.iter().enumerate() {
            let same_bus = |other: &&Function| bus_of(other.address) == bus_of(function.address);
            if index >= bus.1 {
                let more = sorted.get(index..).unwrap_or_default().iter().take_while(|other| same_bus(other)).count();
                bus = (index, index.saturating_add(more));
            }
            let domain = function.address.domain;
            let named = function.parents.last().filter(|above| above.domain == domain).copied();
            let parent = named.and_then(|address| above(function, address));
            let controller = function.parents.iter().rev().find(|above| above.domain != domain);
            nodes.push(Node {
                function,
                parent,
                orphan: named.is_some() && parent.is_none(),
                stands_for: controller.and_then(|address| above(function, *address)),
                port: Ok(None),
                has_slot: false,
                multifunction: false,
                alias: quirks::alias(function.vendor, function.device, function.subsystem()),
                bus,
            });
        }
        let mut machine = Self { nodes };
        for index in machine.discovery_order() {
            machine.classify(index);
        }
        machine
    }

    /// Indices of all nodes, every bridge before what is below it: an order in which the kernel may have found them.
    pub(super) fn discovery_order(&self) -> Vec<usize> {
        let depth = |node: &Node<'_>| order::number(node.function.parents.len());
        let depths = self.nodes.iter().enumerate().map(|(index, node)| (depth(node), index));
        order::sort(depths.collect()).into_iter().map(|(_, index)| index).collect()
    }

    /// The bridges above `index`, from the nearest to the root.
    pub(super) fn hops(&self, index: usize) -> impl Iterator<Item = (usize, &Node<'a>)> {
        let above = |index: usize| self.nodes.get(index).and_then(|node| node.parent);
        std::iter::successors(above(index), move |index| above(*index))
            .filter_map(|index| self.nodes.get(index).map(|node| (index, node)))
    }

    /// Whether a bridge above `index` is named but was not read.
    pub(super) fn path_is_broken(&self, index: usize) -> bool {
        let broken = |index: usize| self.nodes.get(index).is_some_and(|node| node.orphan);
        broken(index) || self.hops(index).any(|(_, node)| node.orphan)
    }

    /// The other functions of the same bus.
    pub(super) fn neighbours(&self, index: usize) -> impl Iterator<Item = (usize, &Node<'a>)> {
        let (first, end) = self.nodes.get(index).map_or((0, 0), |node| node.bus);
        let nodes = self.nodes.get(first..end).unwrap_or_default();
        (first..end).zip(nodes).filter(move |(other, _)| *other != index)
    }

    /// The other functions of the same slot.
    pub(super) fn siblings(&self, index: usize) -> impl Iterator<Item = (usize, &Node<'a>)> {
        let slot = self.nodes.get(index).map(|node| node.function.address.slot());
        self.neighbours(index).filter(move |(_, node)| Some(node.function.address.slot()) == slot)
    }

    fn classify(&mut self, index: usize) {
        let Some(node) = self.nodes.get(index) else { return };
        let above = node.parent.and_then(|parent| self.nodes.get(parent)).map_or(Ok(None), |parent| parent.port);
        let config = node.config();
        let flags = express_flags(config);
        let port = flags.map(|flags| flags.map(|flags| corrected(PortType::from_flags(flags), above)));
        let Function { address, vendor, .. } = *node.function;
        // A virtual function answers with no IDs; the kernel knows them from its parent.
        let is_virtual = config.u16(0) == Ok(0xffff) && vendor != 0xffff;
        let below_link = matches!(above, Ok(Some(port)) if port.points_down());
        let beyond_first = address.function > 0 || (below_link && address.device > 0);
        let multifunction = !is_virtual && (config.is_multifunction() == Ok(true) || beyond_first);
        let has_slot = matches!(flags, Ok(Some(flags)) if flags & 0x100 != 0)
            && matches!(port, Ok(Some(port)) if port.points_down());
        if let Some(node) = self.nodes.get_mut(index) {
            node.port = port;
            node.has_slot = has_slot;
            node.multifunction = multifunction;
        }
    }
}

/// A number that is in the order of addresses.
fn key(address: Address) -> u64 {
    let Address { domain, bus, device, function } = address;
    let place = u64::from(u32::from_be_bytes([0, bus, device, function]));
    u64::from(domain).wrapping_shl(32) | place
}

fn bus_of(address: Address) -> (u32, u8) {
    (address.domain, address.bus)
}

/// The PCI Express capabilities register; `None` for a conventional function.
fn express_flags(config: ConfigSpace<'_>) -> Result<Option<u16>, Unreadable> {
    match config.capability(PCI_EXPRESS)? {
        Some(offset) => config.u16(offset.saturating_add(2)).map(Some),
        None => Ok(None),
    }
}

/// Some switches call their ports the wrong way round; the kernel corrects what cannot be (drivers/pci/probe.c,
/// `set_pcie_port_type`).
fn corrected(port: PortType, above: Result<Option<PortType>, Unreadable>) -> PortType {
    match (port, above) {
        (PortType::Downstream, Ok(Some(above))) if above.points_down() => PortType::Upstream,
        (PortType::Upstream, Ok(Some(PortType::Upstream))) => PortType::Downstream,
        _ => port,
    }
}
