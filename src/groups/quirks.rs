// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the kernel knows of devices that their configuration space does not tell: isolation without an ACS capability, and
//! requester IDs that are not the function's own.
//!
//! Facts from drivers/pci/quirks.c (`pci_dev_acs_enabled`, the DMA alias fixups) as released in the kernel named with each
//! row, in the kernel's order: the first row that applies decides.

use super::port_type::PortType;

/// Why a function counts as isolated, or not, without an ACS capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AcsKind {
    /// A function of an AMD south bridge on the root bus, known not to talk to its siblings where there is an AMD IOMMU.
    SouthBridge,
    /// Functions that their vendor has verified not to talk to each other.
    Endpoint,
    /// A port that lets nothing through to other ports, whatever it calls itself.
    AnyPort,
    /// The same for root ports only.
    RootPort,
    /// The same for root ports and downstream ports; every other such port of the vendor counts as not isolated.
    RootOrDownstreamPort,
    /// An Intel PCH root port with controls of its own, which the kernel switches on at boot.
    IntelPch,
    /// An Intel PCH root port whose ACS registers are 32 bits wide.
    IntelWide,
    /// An Intel root complex integrated endpoint: peers are reached by translated addresses only.
    IntelIntegrated,
    /// Not isolated, whatever configuration space says.
    Never,
    /// Root ports and downstream ports that are not isolated, whatever configuration space says.
    NeverPort,
}

impl AcsKind {
    /// The kind in a few words.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::SouthBridge => "AMD south bridge",
            Self::Endpoint => "functions verified not to talk to each other",
            Self::AnyPort | Self::RootPort | Self::RootOrDownstreamPort => "port that lets nothing through to others",
            Self::IntelPch => "Intel PCH root port with its own controls",
            Self::IntelWide => "Intel PCH root port with wide ACS registers",
            Self::IntelIntegrated => "Intel integrated endpoint",
            Self::Never | Self::NeverPort => "known not to isolate",
        }
    }
}

/// One row: these devices, this kind.
#[derive(Clone, Copy, Debug)]
pub(super) struct AcsQuirk {
    /// Vendor ID.
    pub(super) vendor: u16,
    /// First and last device ID.
    pub(super) devices: (u16, u16),
    /// What is known.
    pub(super) kind: AcsKind,
    /// The version of the kernel source that the row was read from.
    pub(super) kernel: (u8, u8),
}

const fn row(vendor: u16, first: u16, last: u16, kind: AcsKind) -> AcsQuirk {
    AcsQuirk { vendor, devices: (first, last), kind, kernel: (6, 12) }
}

use AcsKind::{
    AnyPort, Endpoint, IntelIntegrated, IntelPch, IntelWide, Never, NeverPort, RootOrDownstreamPort, RootPort,
    SouthBridge,
};

const ACS: &[AcsQuirk] = &[
    row(0x1002, 0x4383, 0x4385, SouthBridge),
    row(0x1002, 0x4399, 0x4399, SouthBridge),
    row(0x1002, 0x439c, 0x439d, SouthBridge),
    row(0x1022, 0x7809, 0x7809, SouthBridge),
    row(0x1022, 0x780f, 0x780f, SouthBridge),
    row(0x1924, 0x0903, 0x0903, Endpoint),
    row(0x1924, 0x0923, 0x0923, Endpoint),
    row(0x1924, 0x0a03, 0x0a03, Endpoint),
    row(0x8086, 0x105e, 0x1060, Endpoint),
    row(0x8086, 0x10a7, 0x10a7, Endpoint),
    row(0x8086, 0x10a9, 0x10a9, Endpoint),
    row(0x8086, 0x10c6, 0x10c6, Endpoint),
    row(0x8086, 0x10c9, 0x10c9, Endpoint),
    row(0x8086, 0x10d6, 0x10d6, Endpoint),
    row(0x8086, 0x10d9, 0x10d9, Endpoint),
    row(0x8086, 0x10db, 0x10db, Endpoint),
    row(0x8086, 0x10dd, 0x10dd, Endpoint),
    row(0x8086, 0x10e1, 0x10e1, Endpoint),
    row(0x8086, 0x10e6, 0x10e8, Endpoint),
    row(0x8086, 0x10f1, 0x10f1, Endpoint),
    row(0x8086, 0x10f7, 0x10fc, Endpoint),
    row(0x8086, 0x1507, 0x1507, Endpoint),
    row(0x8086, 0x1509, 0x150a, Endpoint),
    row(0x8086, 0x150d, 0x1511, Endpoint),
    row(0x8086, 0x1514, 0x1514, Endpoint),
    row(0x8086, 0x1516, 0x1516, Endpoint),
    row(0x8086, 0x1518, 0x1518, Endpoint),
    row(0x8086, 0x151c, 0x151c, Endpoint),
    row(0x8086, 0x1521, 0x1524, Endpoint),
    row(0x8086, 0x1526, 0x1527, Endpoint),
    row(0x8086, 0x1529, 0x152a, Endpoint),
    row(0x8086, 0x154d, 0x154d, Endpoint),
    row(0x8086, 0x154f, 0x154f, Endpoint),
    row(0x8086, 0x1551, 0x1551, Endpoint),
    row(0x8086, 0x1558, 0x1558, Endpoint),
    row(0x8086, 0x15b7, 0x15b8, Endpoint),
    row(0x8086, 0x0000, 0xffff, IntelIntegrated),
    row(0x17cb, 0x0111, 0x0111, AnyPort),
    row(0x17cb, 0x0115, 0x0115, AnyPort),
    row(0x17cb, 0x0120, 0x0120, AnyPort),
    row(0x17cb, 0x0400, 0x0401, AnyPort),
    row(0x1dbf, 0x0401, 0x0401, AnyPort),
    row(0x8086, 0x1c10, 0x1c1f, IntelPch),
    row(0x8086, 0x1d10, 0x1d10, IntelPch),
    row(0x8086, 0x1d12, 0x1d12, IntelPch),
    row(0x8086, 0x1d14, 0x1d14, IntelPch),
    row(0x8086, 0x1d16, 0x1d16, IntelPch),
    row(0x8086, 0x1d18, 0x1d18, IntelPch),
    row(0x8086, 0x1d1a, 0x1d1a, IntelPch),
    row(0x8086, 0x1d1c, 0x1d1c, IntelPch),
    row(0x8086, 0x1d1e, 0x1d1e, IntelPch),
    row(0x8086, 0x1e10, 0x1e1f, IntelPch),
    row(0x8086, 0x3b42, 0x3b51, IntelPch),
    row(0x8086, 0x8c10, 0x8c1f, IntelPch),
    row(0x8086, 0x8c90, 0x8c90, IntelPch),
    row(0x8086, 0x8c92, 0x8c92, IntelPch),
    row(0x8086, 0x8c94, 0x8c94, IntelPch),
    row(0x8086, 0x8c96, 0x8c96, IntelPch),
    row(0x8086, 0x8c98, 0x8c98, IntelPch),
    row(0x8086, 0x8c9a, 0x8c9a, IntelPch),
    row(0x8086, 0x8c9c, 0x8c9c, IntelPch),
    row(0x8086, 0x8c9e, 0x8c9e, IntelPch),
    row(0x8086, 0x8d10, 0x8d1e, IntelPch),
    row(0x8086, 0x9c10, 0x9c1b, IntelPch),
    row(0x8086, 0x9c90, 0x9c9b, IntelPch),
    row(0x8086, 0xa110, 0xa11f, IntelWide),
    row(0x8086, 0xa167, 0xa16a, IntelWide),
    row(0x8086, 0xa290, 0xa29f, IntelWide),
    row(0x8086, 0xa2e7, 0xa2ee, IntelWide),
    row(0x8086, 0x9d10, 0x9d1b, IntelWide),
    row(0x19a2, 0x0710, 0x0710, Endpoint),
    row(0x10df, 0x0720, 0x0720, Endpoint),
    row(0x177d, 0xa000, 0xa7ff, RootPort),
    row(0x177d, 0xaf84, 0xaf84, RootPort),
    row(0x177d, 0xb884, 0xb884, RootPort),
    row(0x177d, 0xa026, 0xa026, Endpoint),
    row(0x177d, 0xa059, 0xa059, Endpoint),
    row(0x177d, 0xa060, 0xa060, Endpoint),
    row(0x10e8, 0xe004, 0xe004, AnyPort),
    row(0x1def, 0xe005, 0xe00c, AnyPort),
    row(0x14e4, 0x16d7, 0x16d7, Endpoint),
    row(0x14e4, 0x1750, 0x1752, Endpoint),
    row(0x14e4, 0x1760, 0x1763, Endpoint),
    row(0x14e4, 0xd714, 0xd714, AnyPort),
    row(0x0014, 0x3c09, 0x3c09, AnyPort),
    row(0x0014, 0x3c19, 0x3c19, AnyPort),
    row(0x0014, 0x3c29, 0x3c29, AnyPort),
    row(0x0014, 0x7a09, 0x7a09, AnyPort),
    row(0x0014, 0x7a19, 0x7a19, AnyPort),
    row(0x0014, 0x7a29, 0x7a29, AnyPort),
    row(0x0014, 0x7a39, 0x7a39, AnyPort),
    row(0x0014, 0x7a49, 0x7a49, AnyPort),
    row(0x0014, 0x7a59, 0x7a59, AnyPort),
    row(0x0014, 0x7a69, 0x7a69, AnyPort),
    row(0x1c36, 0x0031, 0x0031, RootPort),
    row(0x1d17, 0x3038, 0x3038, Endpoint),
    row(0x1d17, 0x3104, 0x3104, Endpoint),
    row(0x1d17, 0x9083, 0x9083, Endpoint),
    row(0x1957, 0x8d80, 0x8d83, AnyPort),
    row(0x1957, 0x8d88, 0x8d8b, AnyPort),
    row(0x1957, 0x8d90, 0x8d93, AnyPort),
    row(0x1957, 0x8d98, 0x8d9b, AnyPort),
    row(0x1957, 0x8da0, 0x8da1, AnyPort),
    row(0x1957, 0x8da8, 0x8da9, AnyPort),
    row(0x1957, 0x8db0, 0x8db1, AnyPort),
    row(0x1957, 0x8db8, 0x8db9, AnyPort),
    row(0x1d17, 0x0710, 0x071e, RootOrDownstreamPort),
    row(0x1d17, 0x0721, 0x0721, RootOrDownstreamPort),
    row(0x1d17, 0x0723, 0x0752, RootOrDownstreamPort),
    row(0x1d17, 0x0000, 0xffff, NeverPort),
    row(0x8088, 0x0100, 0x010f, Endpoint),
    row(0x8088, 0x1001, 0x1001, Endpoint),
    row(0x8088, 0x2001, 0x2001, Endpoint),
    row(0x8088, 0x5010, 0x5010, Endpoint),
    row(0x8088, 0x5025, 0x5025, Endpoint),
    row(0x8088, 0x5040, 0x5040, Endpoint),
    row(0x8088, 0x5110, 0x5110, Endpoint),
    row(0x8088, 0x5125, 0x5125, Endpoint),
    row(0x8088, 0x5140, 0x5140, Endpoint),
    row(0x8088, 0x0000, 0xffff, Never),
];

/// What a function is asked for before a row applies to it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Traits {
    /// What it is.
    pub(super) port: PortType,
    /// Whether it is one of several functions.
    pub(super) multifunction: bool,
    /// Whether it sits on a root bus.
    pub(super) on_root_bus: bool,
    /// Whether the machine has an AMD IOMMU (an IVRS table).
    pub(super) amd_iommu: bool,
}

/// The row that decides about this device, if any does.
pub(super) fn acs_quirk(vendor: u16, device: u16, traits: Traits) -> Option<&'static AcsQuirk> {
    let is = |port: PortType| traits.port == port;
    ACS.iter().find(|row| {
        row.vendor == vendor
            && (row.devices.0..=row.devices.1).contains(&device)
            && match row.kind {
                SouthBridge => traits.multifunction && traits.on_root_bus && traits.amd_iommu,
                AnyPort | Endpoint | Never => true,
                RootPort | IntelPch | IntelWide => is(PortType::Root),
                RootOrDownstreamPort | NeverPort => is(PortType::Root) || is(PortType::Downstream),
                IntelIntegrated => is(PortType::RcIntegratedEndpoint),
            }
    })
}

/// Requester IDs that a function uses besides its own, always on its own bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Alias {
    /// Function 0 or 1 of its own slot.
    Function(u8),
    /// Function 0 of device 1 (Adaptec 3405, 3805).
    FirstDevice,
    /// Three functions of devices 10 to 12 (Intel Xeon Phi).
    XeonPhi,
    /// The first five functions of every slot.
    FiveOfEverySlot,
    /// Every function of the bus.
    WholeBus,
}

/// Vendor, first and last device ID, the other requester IDs.
const ALIASES: &[(u16, u16, u16, Alias)] = &[
    (0x1180, 0xe832, 0xe832, Alias::Function(0)),
    (0x1180, 0xe476, 0xe476, Alias::Function(0)),
    (0x6766, 0x3d40, 0x3d41, Alias::Function(0)),
    (0x1b4b, 0x9120, 0x9120, Alias::Function(1)),
    (0x1b4b, 0x9123, 0x9123, Alias::Function(1)),
    (0x1b4b, 0x9125, 0x9125, Alias::Function(1)),
    (0x1b4b, 0x9128, 0x9128, Alias::Function(1)),
    (0x1b4b, 0x9130, 0x9130, Alias::Function(1)),
    (0x1b4b, 0x9170, 0x9170, Alias::Function(1)),
    (0x1b4b, 0x9172, 0x9172, Alias::Function(1)),
    (0x1b4b, 0x917a, 0x917a, Alias::Function(1)),
    (0x1b4b, 0x9182, 0x9183, Alias::Function(1)),
    (0x1b4b, 0x91a0, 0x91a0, Alias::Function(1)),
    (0x1b4b, 0x9215, 0x9215, Alias::Function(1)),
    (0x1b4b, 0x9220, 0x9220, Alias::Function(1)),
    (0x1b4b, 0x9230, 0x9230, Alias::Function(1)),
    (0x1b4b, 0x9235, 0x9235, Alias::Function(1)),
    (0x1103, 0x0642, 0x0642, Alias::Function(1)),
    (0x1103, 0x0645, 0x0645, Alias::Function(1)),
    (0x197b, 0x2392, 0x2392, Alias::Function(1)),
    (0x1c28, 0x0122, 0x0122, Alias::Function(1)),
    (0x8086, 0x2260, 0x2260, Alias::XeonPhi),
    (0x8086, 0x2264, 0x2264, Alias::XeonPhi),
    (0x8086, 0x2954, 0x2956, Alias::FiveOfEverySlot),
    (0x8086, 0x2958, 0x295a, Alias::FiveOfEverySlot),
    (0x10b5, 0x87b0, 0x87b1, Alias::WholeBus),
];

/// The other requester IDs of this device. `subsystem` is its subsystem vendor and device ID.
pub(super) fn alias(vendor: u16, device: u16, subsystem: (u16, u16)) -> Option<Alias> {
    // The Adaptec 3405 and 3805 share their ID with cards that need no alias.
    if (vendor, device) == (0x9005, 0x0285) && matches!(subsystem, (0x9005, 0x02bb | 0x02bc)) {
        return Some(Alias::FirstDevice);
    }
    let row = ALIASES.iter().find(|(v, first, last, _)| *v == vendor && (*first..=*last).contains(&device));
    row.map(|(_, _, _, alias)| *alias)
}

impl Alias {
    /// Whether a function at `own` (device, function) also uses the requester ID of `other` on the same bus.
    pub(super) fn covers(self, own: (u8, u8), other: (u8, u8)) -> bool {
        match self {
            Self::Function(function) => own.1 != function && other == (own.0, function),
            Self::FirstDevice => other == (1, 0),
            Self::XeonPhi => matches!(other, (0x10 | 0x11, 0) | (0x12, 3)),
            Self::FiveOfEverySlot => other.1 < 5,
            Self::WholeBus => true,
        }
    }
}

/// Bridges below which the IOMMU sits, so that nothing above them changes a requester ID (ThunderX2).
pub(super) fn ends_aliasing(vendor: u16, device: u16) -> bool {
    vendor == 0x14e4 && matches!(device, 0x9000 | 0x9084)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Traits =
        Traits { port: PortType::Conventional, multifunction: true, on_root_bus: true, amd_iommu: false };

    #[test]
    fn rows_apply_to_their_kind_of_function_only() {
        let kind = |vendor, device, traits| acs_quirk(vendor, device, traits).map(|row| row.kind);
        let root_port = Traits { port: PortType::Root, ..PLAIN };
        assert_eq!(kind(0x8086, 0x8c10, root_port), Some(IntelPch));
        assert_eq!(kind(0x8086, 0x8c10, PLAIN), None);
        assert_eq!(kind(0x8086, 0xa110, root_port), Some(IntelWide));
        assert_eq!(kind(0x8086, 0x1521, PLAIN), Some(Endpoint));
        let integrated = Traits { port: PortType::RcIntegratedEndpoint, ..PLAIN };
        assert_eq!(kind(0x8086, 0x4c8a, integrated), Some(IntelIntegrated));
        assert_eq!(kind(0x1022, 0x780f, PLAIN), None);
        assert_eq!(kind(0x1022, 0x780f, Traits { amd_iommu: true, ..PLAIN }), Some(SouthBridge));
        assert_eq!(kind(0x1d17, 0x0715, root_port), Some(RootOrDownstreamPort));
        assert_eq!(kind(0x1d17, 0x0722, root_port), Some(NeverPort));
        assert_eq!(kind(0x8088, 0x0105, PLAIN), Some(Endpoint));
        assert_eq!(kind(0x8088, 0x9999, PLAIN), Some(Never));
        assert_eq!(kind(0x177d, 0xa026, root_port), Some(RootPort));
        assert_eq!(kind(0x177d, 0xa026, PLAIN), Some(Endpoint));
    }

    #[test]
    fn every_row_is_a_range() {
        assert!(ACS.iter().all(|row| row.devices.0 <= row.devices.1));
        assert!(ALIASES.iter().all(|(_, first, last, _)| first <= last));
    }

    #[test]
    fn aliases_stay_on_the_bus() {
        let marvell = alias(0x1b4b, 0x9230, (0, 0)).unwrap();
        assert!(marvell.covers((0, 0), (0, 1)) && !marvell.covers((0, 0), (1, 1)) && !marvell.covers((0, 1), (0, 1)));
        assert!(alias(0x9005, 0x0285, (0x9005, 0x02bb)).unwrap().covers((0x0e, 0), (1, 0)));
        assert_eq!(alias(0x9005, 0x0285, (0x9005, 0x0001)), None);
        assert!(alias(0x10b5, 0x87b1, (0, 0)).unwrap().covers((0, 0), (31, 7)));
    }
}
