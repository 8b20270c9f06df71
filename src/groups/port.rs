// SPDX-License-Identifier: MIT OR Apache-2.0
//! What kinds of PCI functions there are.

/// What a function is (PCI Express Base Specification, Device/Port Type).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Port {
    /// Not known: its configuration space was not readable.
    Unread,
    /// Not a PCI Express function.
    Conventional,
    /// An endpoint, of the native or the legacy kind.
    Endpoint,
    /// A port of the root complex.
    Root,
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

impl Port {
    pub(super) fn from_flags(flags: u16) -> Self {
        match (flags >> 4) & 0xf {
            0 | 1 => Self::Endpoint,
            4 => Self::Root,
            5 => Self::Upstream,
            6 => Self::Downstream,
            7 => Self::ToConventional,
            8 => Self::FromConventional,
            9 => Self::IntegratedEndpoint,
            10 => Self::EventCollector,
            _ => Self::Other,
        }
    }

    pub(super) fn points_down(self) -> bool {
        matches!(self, Self::Root | Self::Downstream)
    }

    /// Whether everything behind a bridge of this kind has one requester ID.
    pub(super) fn shares_an_id(self) -> bool {
        matches!(self, Self::ToConventional | Self::FromConventional | Self::Conventional)
    }
}

/// Some switches call their ports the wrong way round; the kernel corrects what cannot be (drivers/pci/probe.c,
/// `set_pcie_port_type`).
pub(super) fn corrected(port: Port, above: Port) -> Port {
    match port {
        Port::Downstream if above.points_down() => Port::Upstream,
        Port::Upstream if above == Port::Upstream => Port::Downstream,
        _ => port,
    }
}
