// SPDX-License-Identifier: MIT OR Apache-2.0
//! Device-specific isolation: functions that the kernel treats as isolated, or as not isolated, whatever their ACS
//! capability says.
//!
//! The rows come from drivers/pci/quirks.c (`pci_dev_acs_enabled`) of the kernel version named in each, in the kernel's
//! order.

use super::port_type::PortType;

/// What a quirk applies to, and what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum QuirkKind {
    /// A function of an AMD southbridge on the root bus, isolated from its siblings where there is an AMD IOMMU.
    AmdSouthbridge,
    /// Functions that their vendor has verified not to send peer-to-peer transactions to each other.
    Endpoint,
    /// A port of any type that does not forward peer-to-peer transactions.
    Port,
    /// The same for root ports only.
    RootPort,
    /// The same for root ports and downstream ports; all other such ports of the vendor are not isolated.
    RootOrDownstreamPort,
    /// An Intel PCH root port with chipset-specific controls, which the kernel enables at boot.
    IntelPch,
    /// An Intel PCH root port (Sunrise Point and later) whose ACS registers are 32 bits wide.
    IntelSpt,
    /// An Intel root complex integrated endpoint: peers are reached by translated addresses only.
    IntelRcIntegratedEndpoint,
    /// Not isolated, whatever the ACS capability says.
    NotIsolated,
    /// Root ports and downstream ports that are not isolated, whatever the ACS capability says.
    PortNotIsolated,
}

impl QuirkKind {
    /// A few words for people.
    pub(super) fn description(self) -> &'static str {
        match self {
            Self::AmdSouthbridge => "AMD southbridge",
            Self::Endpoint => "functions without peer-to-peer transactions, confirmed by the vendor",
            Self::Port | Self::RootPort | Self::RootOrDownstreamPort => "port without peer-to-peer forwarding",
            Self::IntelPch => "Intel PCH root port with chipset-specific controls",
            Self::IntelSpt => "Intel PCH root port with 32-bit ACS registers",
            Self::IntelRcIntegratedEndpoint => "Intel root complex integrated endpoint",
            Self::NotIsolated | Self::PortNotIsolated => "known not to isolate",
        }
    }
}

/// One row of the table: device IDs and the kind of quirk.
#[derive(Clone, Copy, Debug)]
pub(super) struct AcsQuirk {
    /// Vendor ID.
    pub(super) vendor: u16,
    /// First and last device ID.
    pub(super) devices: (u16, u16),
    /// What applies to them.
    pub(super) kind: QuirkKind,
    /// The version of the kernel source that the row was read from.
    pub(super) kernel: (u8, u8),
}

impl AcsQuirk {
    /// Whether it is about devices with this ID.
    fn applies_to(&self, vendor: u16, device: u16) -> bool {
        self.vendor == vendor && (self.devices.0..=self.devices.1).contains(&device)
    }
}

const fn quirk(vendor: u16, first: u16, last: u16, kind: QuirkKind) -> AcsQuirk {
    AcsQuirk { vendor, devices: (first, last), kind, kernel: (6, 12) }
}

use QuirkKind::{
    AmdSouthbridge, Endpoint, IntelPch, IntelRcIntegratedEndpoint, IntelSpt, NotIsolated, Port, PortNotIsolated,
    RootOrDownstreamPort, RootPort,
};

const QUIRKS: &[AcsQuirk] = &[
    quirk(0x1002, 0x4383, 0x4385, AmdSouthbridge),
    quirk(0x1002, 0x4399, 0x4399, AmdSouthbridge),
    quirk(0x1002, 0x439c, 0x439d, AmdSouthbridge),
    quirk(0x1022, 0x7809, 0x7809, AmdSouthbridge),
    quirk(0x1022, 0x780f, 0x780f, AmdSouthbridge),
    quirk(0x1924, 0x0903, 0x0903, Endpoint),
    quirk(0x1924, 0x0923, 0x0923, Endpoint),
    quirk(0x1924, 0x0a03, 0x0a03, Endpoint),
    quirk(0x8086, 0x105e, 0x1060, Endpoint),
    quirk(0x8086, 0x10a7, 0x10a7, Endpoint),
    quirk(0x8086, 0x10a9, 0x10a9, Endpoint),
    quirk(0x8086, 0x10c6, 0x10c6, Endpoint),
    quirk(0x8086, 0x10c9, 0x10c9, Endpoint),
    quirk(0x8086, 0x10d6, 0x10d6, Endpoint),
    quirk(0x8086, 0x10d9, 0x10d9, Endpoint),
    quirk(0x8086, 0x10db, 0x10db, Endpoint),
    quirk(0x8086, 0x10dd, 0x10dd, Endpoint),
    quirk(0x8086, 0x10e1, 0x10e1, Endpoint),
    quirk(0x8086, 0x10e6, 0x10e8, Endpoint),
    quirk(0x8086, 0x10f1, 0x10f1, Endpoint),
    quirk(0x8086, 0x10f7, 0x10fc, Endpoint),
    quirk(0x8086, 0x1507, 0x1507, Endpoint),
    quirk(0x8086, 0x1509, 0x150a, Endpoint),
    quirk(0x8086, 0x150d, 0x1511, Endpoint),
    quirk(0x8086, 0x1514, 0x1514, Endpoint),
    quirk(0x8086, 0x1516, 0x1516, Endpoint),
    quirk(0x8086, 0x1518, 0x1518, Endpoint),
    quirk(0x8086, 0x151c, 0x151c, Endpoint),
    quirk(0x8086, 0x1521, 0x1524, Endpoint),
    quirk(0x8086, 0x1526, 0x1527, Endpoint),
    quirk(0x8086, 0x1529, 0x152a, Endpoint),
    quirk(0x8086, 0x154d, 0x154d, Endpoint),
    quirk(0x8086, 0x154f, 0x154f, Endpoint),
    quirk(0x8086, 0x1551, 0x1551, Endpoint),
    quirk(0x8086, 0x1558, 0x1558, Endpoint),
    quirk(0x8086, 0x15b7, 0x15b8, Endpoint),
    quirk(0x8086, 0x0000, 0xffff, IntelRcIntegratedEndpoint),
    quirk(0x17cb, 0x0111, 0x0111, Port),
    quirk(0x17cb, 0x0115, 0x0115, Port),
    quirk(0x17cb, 0x0120, 0x0120, Port),
    quirk(0x17cb, 0x0400, 0x0401, Port),
    quirk(0x1dbf, 0x0401, 0x0401, Port),
    quirk(0x8086, 0x1c10, 0x1c1f, IntelPch),
    quirk(0x8086, 0x1d10, 0x1d10, IntelPch),
    quirk(0x8086, 0x1d12, 0x1d12, IntelPch),
    quirk(0x8086, 0x1d14, 0x1d14, IntelPch),
    quirk(0x8086, 0x1d16, 0x1d16, IntelPch),
    quirk(0x8086, 0x1d18, 0x1d18, IntelPch),
    quirk(0x8086, 0x1d1a, 0x1d1a, IntelPch),
    quirk(0x8086, 0x1d1c, 0x1d1c, IntelPch),
    quirk(0x8086, 0x1d1e, 0x1d1e, IntelPch),
    quirk(0x8086, 0x1e10, 0x1e1f, IntelPch),
    quirk(0x8086, 0x3b42, 0x3b51, IntelPch),
    quirk(0x8086, 0x8c10, 0x8c1f, IntelPch),
    quirk(0x8086, 0x8c90, 0x8c90, IntelPch),
    quirk(0x8086, 0x8c92, 0x8c92, IntelPch),
    quirk(0x8086, 0x8c94, 0x8c94, IntelPch),
    quirk(0x8086, 0x8c96, 0x8c96, IntelPch),
    quirk(0x8086, 0x8c98, 0x8c98, IntelPch),
    quirk(0x8086, 0x8c9a, 0x8c9a, IntelPch),
    quirk(0x8086, 0x8c9c, 0x8c9c, IntelPch),
    quirk(0x8086, 0x8c9e, 0x8c9e, IntelPch),
    quirk(0x8086, 0x8d10, 0x8d1e, IntelPch),
    quirk(0x8086, 0x9c10, 0x9c1b, IntelPch),
    quirk(0x8086, 0x9c90, 0x9c9b, IntelPch),
    quirk(0x8086, 0xa110, 0xa11f, IntelSpt),
    quirk(0x8086, 0xa167, 0xa16a, IntelSpt),
    quirk(0x8086, 0xa290, 0xa29f, IntelSpt),
    quirk(0x8086, 0xa2e7, 0xa2ee, IntelSpt),
    quirk(0x8086, 0x9d10, 0x9d1b, IntelSpt),
    quirk(0x19a2, 0x0710, 0x0710, Endpoint),
    quirk(0x10df, 0x0720, 0x0720, Endpoint),
    quirk(0x177d, 0xa000, 0xa7ff, RootPort),
    quirk(0x177d, 0xaf84, 0xaf84, RootPort),
    quirk(0x177d, 0xb884, 0xb884, RootPort),
    quirk(0x177d, 0xa026, 0xa026, Endpoint),
    quirk(0x177d, 0xa059, 0xa059, Endpoint),
    quirk(0x177d, 0xa060, 0xa060, Endpoint),
    quirk(0x10e8, 0xe004, 0xe004, Port),
    quirk(0x1def, 0xe005, 0xe00c, Port),
    quirk(0x14e4, 0x16d7, 0x16d7, Endpoint),
    quirk(0x14e4, 0x1750, 0x1752, Endpoint),
    quirk(0x14e4, 0x1760, 0x1763, Endpoint),
    quirk(0x14e4, 0xd714, 0xd714, Port),
    quirk(0x0014, 0x3c09, 0x3c09, Port),
    quirk(0x0014, 0x3c19, 0x3c19, Port),
    quirk(0x0014, 0x3c29, 0x3c29, Port),
    quirk(0x0014, 0x7a09, 0x7a09, Port),
    quirk(0x0014, 0x7a19, 0x7a19, Port),
    quirk(0x0014, 0x7a29, 0x7a29, Port),
    quirk(0x0014, 0x7a39, 0x7a39, Port),
    quirk(0x0014, 0x7a49, 0x7a49, Port),
    quirk(0x0014, 0x7a59, 0x7a59, Port),
    quirk(0x0014, 0x7a69, 0x7a69, Port),
    quirk(0x1c36, 0x0031, 0x0031, RootPort),
    quirk(0x1d17, 0x3038, 0x3038, Endpoint),
    quirk(0x1d17, 0x3104, 0x3104, Endpoint),
    quirk(0x1d17, 0x9083, 0x9083, Endpoint),
    quirk(0x1957, 0x8d80, 0x8d83, Port),
    quirk(0x1957, 0x8d88, 0x8d8b, Port),
    quirk(0x1957, 0x8d90, 0x8d93, Port),
    quirk(0x1957, 0x8d98, 0x8d9b, Port),
    quirk(0x1957, 0x8da0, 0x8da1, Port),
    quirk(0x1957, 0x8da8, 0x8da9, Port),
    quirk(0x1957, 0x8db0, 0x8db1, Port),
    quirk(0x1957, 0x8db8, 0x8db9, Port),
    quirk(0x1d17, 0x0710, 0x071e, RootOrDownstreamPort),
    quirk(0x1d17, 0x0721, 0x0721, RootOrDownstreamPort),
    quirk(0x1d17, 0x0723, 0x0752, RootOrDownstreamPort),
    quirk(0x1d17, 0x0000, 0xffff, PortNotIsolated),
    quirk(0x8088, 0x0100, 0x010f, Endpoint),
    quirk(0x8088, 0x1001, 0x1001, Endpoint),
    quirk(0x8088, 0x2001, 0x2001, Endpoint),
    quirk(0x8088, 0x5010, 0x5010, Endpoint),
    quirk(0x8088, 0x5025, 0x5025, Endpoint),
    quirk(0x8088, 0x5040, 0x5040, Endpoint),
    quirk(0x8088, 0x5110, 0x5110, Endpoint),
    quirk(0x8088, 0x5125, 0x5125, Endpoint),
    quirk(0x8088, 0x5140, 0x5140, Endpoint),
    quirk(0x8088, 0x0000, 0xffff, NotIsolated),
];

/// The properties of a function that decide whether a row applies to it.
#[derive(Clone, Copy, Debug)]
pub(super) struct QuirkConditions {
    /// Its type.
    pub(super) port: PortType,
    /// Whether it is one of several functions.
    pub(super) multifunction: bool,
    /// Whether it is on a root bus.
    pub(super) on_root_bus: bool,
    /// Whether the machine has an AMD IOMMU (an IVRS table).
    pub(super) amd_iommu: bool,
}

/// Whether the ACS registers of this root port are 32 bits wide, as in some Intel chipsets, contrary to the specification
/// (drivers/pci/quirks.c, `INTEL_SPT_ACS_CTRL`).
pub(super) fn has_wide_acs(vendor: u16, device: u16) -> bool {
    QUIRKS.iter().any(|row| row.kind == IntelSpt && row.applies_to(vendor, device))
}

/// Whether this kernel does not use the Source Validation of this switch, which reports errors where there are none
/// (drivers/pci/quirks.c, `pci_disable_broken_acs_cap`, as read in Linux 7.2; written early in 2026, for Linux 7.0).
/// Earlier kernels turn it off only while they look for a device (`pci_idt_bus_quirk`).
pub(super) fn has_broken_source_validation(vendor: u16, device: u16, kernel: Option<(u32, u32)>) -> bool {
    vendor == 0x111d && matches!(device, 0x80b5 | 0x8090) && is_at_least(kernel, (7, 0))
}

/// Whether the running kernel is of this version or newer; one of an unknown version is taken for a new one.
pub(super) fn is_at_least(kernel: Option<(u32, u32)>, version: (u32, u32)) -> bool {
    kernel.is_none_or(|kernel| kernel >= version)
}

/// The row that applies to this device, if one does: the first in the kernel's order.
pub(super) fn find(vendor: u16, device: u16, conditions: QuirkConditions) -> Option<&'static AcsQuirk> {
    let is = |port: PortType| conditions.port == port;
    QUIRKS.iter().find(|row| {
        row.applies_to(vendor, device)
            && match row.kind {
                AmdSouthbridge => conditions.multifunction && conditions.on_root_bus && conditions.amd_iommu,
                Port | Endpoint | NotIsolated => true,
                RootPort | IntelPch | IntelSpt => is(PortType::Root),
                RootOrDownstreamPort | PortNotIsolated => is(PortType::Root) || is(PortType::Downstream),
                IntelRcIntegratedEndpoint => is(PortType::RcIntegratedEndpoint),
            }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONVENTIONAL: QuirkConditions =
        QuirkConditions { port: PortType::Conventional, multifunction: true, on_root_bus: true, amd_iommu: false };

    #[test]
    fn a_quirk_applies_to_its_kind_of_function_only() {
        let kind = |vendor, device, conditions| find(vendor, device, conditions).map(|row| row.kind);
        let root_port = QuirkConditions { port: PortType::Root, ..CONVENTIONAL };
        assert_eq!(kind(0x8086, 0x8c10, root_port), Some(IntelPch));
        assert_eq!(kind(0x8086, 0x8c10, CONVENTIONAL), None);
        assert_eq!(kind(0x8086, 0xa110, root_port), Some(IntelSpt));
        assert_eq!(kind(0x8086, 0x1521, CONVENTIONAL), Some(Endpoint));
        let integrated = QuirkConditions { port: PortType::RcIntegratedEndpoint, ..CONVENTIONAL };
        assert_eq!(kind(0x8086, 0x4c8a, integrated), Some(IntelRcIntegratedEndpoint));
        assert_eq!(kind(0x1022, 0x780f, CONVENTIONAL), None);
        assert_eq!(kind(0x1022, 0x780f, QuirkConditions { amd_iommu: true, ..CONVENTIONAL }), Some(AmdSouthbridge));
        assert_eq!(kind(0x1d17, 0x0715, root_port), Some(RootOrDownstreamPort));
        assert_eq!(kind(0x1d17, 0x0722, root_port), Some(PortNotIsolated));
        assert_eq!(kind(0x8088, 0x0105, CONVENTIONAL), Some(Endpoint));
        assert_eq!(kind(0x8088, 0x9999, CONVENTIONAL), Some(NotIsolated));
        assert_eq!(kind(0x177d, 0xa026, root_port), Some(RootPort));
        assert_eq!(kind(0x177d, 0xa026, CONVENTIONAL), Some(Endpoint));
    }

    #[test]
    fn device_id_ranges_are_in_order() {
        assert!(QUIRKS.iter().all(|row| row.devices.0 <= row.devices.1));
    }
}
