// SPDX-License-Identifier: MIT OR Apache-2.0
//! The Device/Port Type of a PCI function.

/// The type of a function (PCI Express Base Specification, Device/Port Type).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PortType {
    /// Not known: the configuration space could not be read.
    Unreadable,
    /// Conventional PCI: the function has no PCI Express capability.
    Conventional,
    /// An endpoint, native or legacy.
    Endpoint,
    /// A root port.
    Root,
    /// The upstream port of a switch.
    Upstream,
    /// A downstream port of a switch.
    Downstream,
    /// A bridge from PCI Express to conventional PCI.
    PcieToPciBridge,
    /// A bridge from conventional PCI to PCI Express.
    PciToPcieBridge,
    /// A root complex integrated endpoint.
    RcIntegratedEndpoint,
    /// A root complex event collector.
    RcEventCollector,
    /// A value that the specification reserves.
    Reserved,
}

impl PortType {
    /// The type in the PCI Express capabilities register.
    pub(super) fn from_pcie_flags(flags: u16) -> Self {
        match (flags >> 4) & 0xf {
            0 | 1 => Self::Endpoint,
            4 => Self::Root,
            5 => Self::Upstream,
            6 => Self::Downstream,
            7 => Self::PcieToPciBridge,
            8 => Self::PciToPcieBridge,
            9 => Self::RcIntegratedEndpoint,
            10 => Self::RcEventCollector,
            _ => Self::Reserved,
        }
    }

    /// The type after the kernel's correction, below a port of type `parent`: some switches report upstream ports as
    /// downstream ports and the other way round (drivers/pci/probe.c, `set_pcie_port_type`).
    pub(super) fn corrected_below(self, parent: Self) -> Self {
        match self {
            Self::Downstream if parent.is_root_or_downstream() => Self::Upstream,
            Self::Upstream if parent == Self::Upstream => Self::Downstream,
            _ => self,
        }
    }

    pub(super) fn is_root_or_downstream(self) -> bool {
        matches!(self, Self::Root | Self::Downstream)
    }

    /// Whether all functions below a bridge of this type use one requester ID.
    pub(super) fn merges_requester_ids(self) -> bool {
        matches!(self, Self::PcieToPciBridge | Self::PciToPcieBridge | Self::Conventional)
    }
}
