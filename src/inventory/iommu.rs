// SPDX-License-Identifier: MIT OR Apache-2.0
//! What /sys and /proc tell of the IOMMU.

use crate::machine::{self, Machine};
use crate::pci::Address;

/// The table by which the firmware offers an IOMMU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Firmware {
    /// Intel VT-d.
    Dmar,
    /// AMD-Vi.
    Ivrs,
    /// Arm SMMU.
    Iort,
}

impl Firmware {
    /// The table's ACPI name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dmar => "DMAR",
            Self::Ivrs => "IVRS",
            Self::Iort => "IORT",
        }
    }
}

/// Who made the processor, as far as IOMMUs differ by it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Processor {
    /// GenuineIntel, CentaurHauls and Zhaoxin: VT-d.
    Intel,
    /// AuthenticAMD, HygonGenuine: AMD-Vi.
    Amd,
    /// Anything else, and unknown.
    #[default]
    Other,
}

/// What is known of the IOMMU.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IommuFacts {
    /// The units that the kernel runs, from /sys/class/iommu: `dmar0`, `ivhd0`, `smmu3.0x...`.
    pub units: Vec<String>,
    /// The firmware's table.
    pub firmware: Option<Firmware>,
    /// Who made the processor.
    pub processor: Processor,
    /// Whether interrupts are remapped; `None` where /proc/interrupts does not say.
    pub remapping: Option<bool>,
    /// Whether VFIO lets a guest start where they are not: `allow_unsafe_interrupts` of vfio_iommu_type1, once it is
    /// loaded.
    pub unsafe_interrupts: bool,
}

impl IommuFacts {
    /// How much of /proc/interrupts is looked at: the first lines name the chips, and a machine of 512 processors has
    /// lines of 6 KiB.
    const INTERRUPTS: usize = 64 * 1024;

    pub(super) fn read(machine: &dyn Machine) -> Self {
        let tables = machine.list("/sys/firmware/acpi/tables").unwrap_or_default();
        let remapping =
            machine.read_prefix("/proc/interrupts", Self::INTERRUPTS).ok().and_then(|bytes| remapping(&bytes));
        let allowed = || machine::text(machine, "/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts");
        let known = [Firmware::Dmar, Firmware::Ivrs, Firmware::Iort];
        Self {
            units: machine.list("/sys/class/iommu").unwrap_or_default(),
            firmware: known.into_iter().find(|table| tables.iter().any(|name| name == table.name())),
            processor: machine.attribute("/proc/cpuinfo").map(|bytes| processor(&bytes)).unwrap_or_default(),
            remapping,
            unsafe_interrupts: remapping == Some(false) && allowed().is_ok_and(|text| text == "Y"),
        }
    }
}

/// The maker that the first processor in /proc/cpuinfo names.
fn processor(cpuinfo: &[u8]) -> Processor {
    let text = String::from_utf8_lossy(cpuinfo);
    let line = text.lines().find(|line| line.starts_with("vendor_id"));
    match line.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim()) {
        Some("GenuineIntel" | "CentaurHauls" | "  Shanghai  " | "Shanghai") => Processor::Intel,
        Some("AuthenticAMD" | "HygonGenuine") => Processor::Amd,
        _ => Processor::Other,
    }
}

/// Whether the interrupt chips in /proc/interrupts are remapped ones (`IR-IO-APIC`, `IR-PCI-MSI`); `None` where no chip of
/// x86 is named.
fn remapping(interrupts: &[u8]) -> Option<bool> {
    let text = String::from_utf8_lossy(interrupts);
    // Arm's chips have names such as ITS-PCI-MSI, and say nothing about it.
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
    /// Its number.
    pub id: u32,
    /// Its PCI functions, sorted.
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

/// The ranges of the lines `0x... 0x... direct`. `direct-relaxable` ones do not keep VFIO from the group.
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
