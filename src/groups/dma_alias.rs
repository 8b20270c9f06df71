// SPDX-License-Identifier: MIT OR Apache-2.0
//! DMA aliases: requester IDs that a function uses besides its own.
//!
//! The rows come from the DMA alias fixups in drivers/pci/quirks.c (the same in Linux 6.1, 6.12 and 7.2). An AMD IOMMU's
//! IVRS table adds others, as far as they are on the function's own bus (drivers/iommu/amd/iommu.c, `setup_aliases`).

use super::acs_quirks::is_at_least;
use super::topology::Topology;
use crate::pci::Class;

/// The requester IDs that a function uses besides its own, all of them on its own bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DmaAlias {
    /// This function of its own slot.
    Function(u8),
    /// Function 0 of device 1 (Adaptec 3405, 3805).
    Device1Function0,
    /// Three functions of devices 10 to 12 (Intel Xeon Phi).
    XeonPhi,
    /// The first five functions of every slot.
    Functions0To4,
    /// Every function of the bus.
    WholeBus,
    /// Whatever its registers say, which cannot be read from here (Switchtec NTB, `quirk_switchtec_ntb_dma_alias`): the
    /// functions that the kernel put into its group.
    AsGrouped,
}

/// Vendor ID, first and last device ID, and the alias.
const QUIRKS: &[(u16, u16, u16, DmaAlias)] = &[
    (0x1180, 0xe832, 0xe832, DmaAlias::Function(0)),
    (0x1180, 0xe476, 0xe476, DmaAlias::Function(0)),
    (0x6766, 0x3d40, 0x3d41, DmaAlias::Function(0)),
    (0x1b4b, 0x9120, 0x9120, DmaAlias::Function(1)),
    (0x1b4b, 0x9123, 0x9123, DmaAlias::Function(1)),
    (0x1b4b, 0x9125, 0x9125, DmaAlias::Function(1)),
    (0x1b4b, 0x9128, 0x9128, DmaAlias::Function(1)),
    (0x1b4b, 0x9130, 0x9130, DmaAlias::Function(1)),
    (0x1b4b, 0x9170, 0x9170, DmaAlias::Function(1)),
    (0x1b4b, 0x9172, 0x9172, DmaAlias::Function(1)),
    (0x1b4b, 0x917a, 0x917a, DmaAlias::Function(1)),
    (0x1b4b, 0x9182, 0x9183, DmaAlias::Function(1)),
    (0x1b4b, 0x91a0, 0x91a0, DmaAlias::Function(1)),
    (0x1b4b, 0x9215, 0x9215, DmaAlias::Function(1)),
    (0x1b4b, 0x9220, 0x9220, DmaAlias::Function(1)),
    (0x1b4b, 0x9230, 0x9230, DmaAlias::Function(1)),
    (0x1b4b, 0x9235, 0x9235, DmaAlias::Function(1)),
    (0x1103, 0x0642, 0x0642, DmaAlias::Function(1)),
    (0x1103, 0x0645, 0x0645, DmaAlias::Function(1)),
    (0x197b, 0x2392, 0x2392, DmaAlias::Function(1)),
    (0x1c28, 0x0122, 0x0122, DmaAlias::Function(1)),
    (0x8086, 0x2260, 0x2260, DmaAlias::XeonPhi),
    (0x8086, 0x2264, 0x2264, DmaAlias::XeonPhi),
    (0x8086, 0x2954, 0x2956, DmaAlias::Functions0To4),
    (0x8086, 0x2958, 0x295a, DmaAlias::Functions0To4),
    (0x10b5, 0x87b0, 0x87b1, DmaAlias::WholeBus),
];

/// Whether it is the non-transparent bridge of a Switchtec switch. The kernel has a list of all of them by device ID; it ends
/// where new switches begin, which need the same.
fn is_switchtec_ntb(vendor: u16, device: u16, class: Class) -> bool {
    let known = match vendor {
        0x11f8 => matches!(device, 0x8531..=0x8576 | 0x4000..=0x4552 | 0x5000..=0x5552),
        0x1055 => matches!(device, 0x1001..=0x1006),
        _ => false,
    };
    known && class.with_subclass() == 0x0680
}

/// The alias of this device, if it has one. `subsystem`: its subsystem vendor and device ID.
pub(super) fn find(vendor: u16, device: u16, subsystem: (u16, u16), class: Class) -> Option<DmaAlias> {
    // The Adaptec 3405 and 3805 share their ID with cards that need no alias.
    if (vendor, device) == (0x9005, 0x0285) && matches!(subsystem, (0x9005, 0x02bb | 0x02bc)) {
        return Some(DmaAlias::Device1Function0);
    }
    if is_switchtec_ntb(vendor, device, class) {
        return Some(DmaAlias::AsGrouped);
    }
    let row = QUIRKS.iter().find(|(v, first, last, _)| *v == vendor && (*first..=*last).contains(&device));
    row.map(|(_, _, _, alias)| *alias)
}

impl DmaAlias {
    /// Whether a function at `own` (device, function) also uses the requester ID of `other` on the same bus.
    pub(super) fn covers(self, own: (u8, u8), other: (u8, u8)) -> bool {
        match self {
            Self::Function(function) => own.1 != function && other == (own.0, function),
            Self::Device1Function0 => other == (1, 0),
            Self::XeonPhi => matches!(other, (0x10 | 0x11, 0) | (0x12, 3)),
            Self::Functions0To4 => other.1 < 5,
            Self::WholeBus => true,
            Self::AsGrouped => false,
        }
    }
}

/// Whether the IOMMU is below this bridge, so that no bridge above it changes a requester ID: ThunderX2
/// (drivers/pci/quirks.c, `quirk_bridge_cavm_thrx2_pcie_root`).
pub(super) fn is_translation_root(vendor: u16, device: u16) -> bool {
    vendor == 0x14e4 && matches!(device, 0x9000 | 0x9084)
}

/// Whether this bridge to conventional PCI forwards the requester IDs of the functions behind it: no real PCI bus is behind an
/// AST1150 (drivers/pci/quirks.c, `quirk_aspeed_pci_bridge_no_alias`, as read in Linux 7.2; written at the end of 2025, for
/// Linux 7.0). Earlier kernels treat it like any other.
pub(super) fn keeps_requester_ids(vendor: u16, device: u16, kernel: Option<(u32, u32)>) -> bool {
    (vendor, device) == (0x1a03, 0x1150) && is_at_least(kernel, (7, 0))
}

/// Whether one of two different functions of a bus uses the other's requester ID (drivers/pci/search.c,
/// `pci_devs_are_dma_aliases`).
pub(super) fn are_dma_aliases(topology: &Topology<'_>, one: usize, other: usize) -> bool {
    let covers = |one: usize, other: usize| {
        let (node, peer) = (topology.node(one), topology.node(other));
        let (own, other) = (node.function.address, peer.function.address);
        let place = (other.device, other.function);
        // Two functions of a slot may be together for want of ACS.
        let grouped = || own.device != other.device && node.function.sys_group == peer.function.sys_group;
        node.function.ivrs_alias == Some(place)
            || node.alias.is_some_and(|alias| match alias {
                DmaAlias::AsGrouped => grouped(),
                alias => alias.covers((own.device, own.function), place),
            })
    };
    one != other && (covers(one, other) || covers(other, one))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_id_ranges_are_in_order() {
        assert!(QUIRKS.iter().all(|(_, first, last, _)| first <= last));
    }

    #[test]
    fn an_alias_is_on_the_bus_of_its_function() {
        let marvell = find(0x1b4b, 0x9230, (0, 0), Class(0x01_0601)).unwrap();
        assert!(marvell.covers((0, 0), (0, 1)) && !marvell.covers((0, 0), (1, 1)) && !marvell.covers((0, 1), (0, 1)));
        assert!(find(0x9005, 0x0285, (0x9005, 0x02bb), Class(0x01_0400)).unwrap().covers((0x0e, 0), (1, 0)));
        assert_eq!(find(0x9005, 0x0285, (0x9005, 0x0001), Class(0x01_0400)), None);
        assert!(find(0x10b5, 0x87b1, (0, 0), Class(0x06_8000)).unwrap().covers((0, 0), (31, 7)));
    }
}
