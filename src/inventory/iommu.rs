// SPDX-License-Identifier: MIT OR Apache-2.0
//! The IOMMU and its groups, from /sys and /proc.

use crate::json::readable_words;
use crate::machine::{self, Machine};
use crate::pci::Address;

/// The ACPI table in which the firmware describes the IOMMU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirmwareTable {
    /// Intel VT-d.
    Dmar,
    /// AMD-Vi.
    Ivrs,
    /// Arm SMMU.
    Iort,
}

readable_words!(FirmwareTable { Dmar: "DMAR", Ivrs: "IVRS", Iort: "IORT" });

/// The processor's vendor, as far as the IOMMU depends on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Processor {
    /// GenuineIntel, CentaurHauls and Zhaoxin: VT-d.
    Intel,
    /// AuthenticAMD, HygonGenuine: AMD-Vi.
    Amd,
    /// Any other, or unknown.
    #[default]
    Other,
}

/// Facts about the IOMMU.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IommuFacts {
    /// The enabled IOMMU units, from /sys/class/iommu: `dmar0`, `ivhd0`, `smmu3.0x...`.
    pub units: Vec<String>,
    /// The firmware's table.
    pub firmware: Option<FirmwareTable>,
    /// The processor's vendor.
    pub processor: Processor,
    /// Whether interrupt remapping is enabled; `None` if /proc/interrupts does not show it.
    pub remapping: Option<bool>,
    /// Whether VFIO allows guests without interrupt remapping: `allow_unsafe_interrupts` of vfio_iommu_type1, if that is
    /// loaded.
    pub unsafe_interrupts: bool,
}

impl IommuFacts {
    /// The number of bytes that are read of /proc/interrupts: the first lines name the interrupt chips, and a line on a
    /// machine with 512 processors has 6 KiB.
    const MAX_INTERRUPTS: usize = 64 * 1024;

    pub(super) fn read(machine: &dyn Machine) -> Self {
        let tables = machine.list("/sys/firmware/acpi/tables").unwrap_or_default();
        let remapping =
            machine.read_prefix("/proc/interrupts", Self::MAX_INTERRUPTS).ok().and_then(|bytes| remapping(&bytes));
        let allowed = || machine::text(machine, "/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts");
        let known = [FirmwareTable::Dmar, FirmwareTable::Ivrs, FirmwareTable::Iort];
        Self {
            units: machine.list("/sys/class/iommu").unwrap_or_default(),
            firmware: known.into_iter().find(|table| tables.iter().any(|name| name == table.name())),
            processor: machine.attribute("/proc/cpuinfo").map(|bytes| processor(&bytes)).unwrap_or_default(),
            remapping,
            unsafe_interrupts: remapping == Some(false) && allowed().is_ok_and(|text| text == "Y"),
        }
    }
}

/// The vendor of the first processor in /proc/cpuinfo.
fn processor(cpuinfo: &[u8]) -> Processor {
    let text = String::from_utf8_lossy(cpuinfo);
    let line = text.lines().find(|line| line.starts_with("vendor_id"));
    match line.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim()) {
        Some("GenuineIntel" | "CentaurHauls" | "  Shanghai  " | "Shanghai") => Processor::Intel,
        Some("AuthenticAMD" | "HygonGenuine") => Processor::Amd,
        _ => Processor::Other,
    }
}

/// Whether the interrupt chips in /proc/interrupts use interrupt remapping (`IR-IO-APIC`, `IR-PCI-MSI`); `None` if there is
/// no x86 interrupt chip.
fn remapping(interrupts: &[u8]) -> Option<bool> {
    let text = String::from_utf8_lossy(interrupts);
    // Arm's chips are named ITS-PCI-MSI or similar, whether interrupts are remapped or not.
    let mut chips = text.split_ascii_whitespace().filter(|word| {
        let chip = word.strip_prefix("IR-").unwrap_or(word);
        chip.starts_with("IO-APIC") || chip.starts_with("PCI-MSI")
    });
    let first = chips.next()?;
    Some(first.starts_with("IR-") || chips.any(|chip| chip.starts_with("IR-")))
}

/// An IOMMU group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The group's number.
    pub id: u32,
    /// The PCI functions in it, sorted.
    pub members: Vec<Address>,
    /// The type of its default domain: `DMA`, `DMA-FQ`, `identity`.
    pub kind: Option<String>,
    /// The reserved regions of type `direct`, as the kernel prints their first and last address.
    pub direct: Vec<String>,
}

impl Group {
    /// Reads /sys/kernel/iommu_groups/N (Documentation/ABI/testing/sysfs-kernel-iommu_groups).
    pub(super) fn read(machine: &dyn Machine, id: u32) -> Self {
        let path = |name: &str| format!("/sys/kernel/iommu_groups/{id}/{name}");
        let mut members: Vec<Address> =
            machine.list(&path("devices")).unwrap_or_default().iter().filter_map(|name| name.parse().ok()).collect();
        members.sort_unstable();
        let regions = machine.attribute(&path("reserved_regions")).unwrap_or_default();
        Self { id, members, kind: machine::text(machine, &path("type")).ok(), direct: direct_regions(&regions) }
    }
}

/// The ranges from the lines `0x... 0x... direct`. VFIO accepts groups with `direct-relaxable` ranges.
fn direct_regions(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes);
    let lines = text.lines().filter_map(|line| line.strip_suffix(" direct"));
    lines.map(|range| range.split_ascii_whitespace().collect::<Vec<_>>().join("-")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remapped_interrupts_are_told_by_their_chips() {
        assert_eq!(remapping(b"  0:  5  IR-IO-APIC  2-edge  timer\n"), Some(true));
        assert_eq!(remapping(b"  0:  5  IO-APIC  2-edge  timer\n"), Some(false));
        assert_eq!(remapping(b"  0:  5  IO-APIC  2-edge  timer\n 24: 1 IR-PCI-MSIX-0000:01:00.0 0-edge\n"), Some(true));
        assert_eq!(remapping(b"  0:  5  XT-PIC  timer\n"), None);
        assert_eq!(remapping(b" 24:  5  ITS-PCI-MSI-000d:01:00.0   0 Edge      nvme0q0\n"), None);
        assert_eq!(remapping(b"\xff\xff"), None);
    }

    #[test]
    fn only_direct_regions_count() {
        let text =
            b"0x00000000000e0000 0x00000000000fffff direct\n0x1 0x2 direct-relaxable\n0xfee00000 0xfeefffff msi\n";
        assert_eq!(direct_regions(text), ["0x00000000000e0000-0x00000000000fffff"]);
    }

    #[test]
    fn the_first_processor_names_the_maker() {
        assert_eq!(processor(b"processor\t: 0\nvendor_id\t: GenuineIntel\n"), Processor::Intel);
        assert_eq!(processor(b"vendor_id\t: AuthenticAMD\n"), Processor::Amd);
        assert_eq!(processor(b"CPU implementer\t: 0x41\n"), Processor::Other);
    }
}
