// SPDX-License-Identifier: MIT OR Apache-2.0
//! The IOMMU and its groups, from /sys and /proc.

use crate::config;
use crate::json::readable_words;
use crate::machine::{self, Machine};
use crate::pci::Address;

use super::arm::{self, Its, TreeIommu};
use super::config_spaces::MAX_TABLE;

/// The firmware's tables.
const TABLES: &str = "/sys/firmware/acpi/tables";

/// The driver of a virtio-iommu.
pub(super) const VIRTIO_IOMMU: &str = "virtio_iommu";

/// The ACPI table in which the firmware describes the IOMMU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirmwareTable {
    /// Intel VT-d.
    Dmar,
    /// AMD-Vi.
    Ivrs,
    /// Arm SMMU.
    Iort,
    /// RISC-V IOMMU.
    Rimt,
    /// virtio-iommu.
    Viot,
}

impl FirmwareTable {
    /// All of them.
    const ALL: [Self; 5] = [Self::Dmar, Self::Ivrs, Self::Iort, Self::Rimt, Self::Viot];
}

readable_words!(FirmwareTable { Dmar: "DMAR", Ivrs: "IVRS", Iort: "IORT", Rimt: "RIMT", Viot: "VIOT" });

/// The role of this system in Xen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Xen {
    /// dom0, which runs the machine.
    Host,
    /// Any other domain.
    Guest,
}

impl Xen {
    /// From /sys/hypervisor and xenfs (drivers/xen/sys-hypervisor.c; drivers/xen/xenfs/super.c, `capabilities_read`).
    fn read(machine: &dyn Machine, tables: &[String]) -> Option<Self> {
        let text = |path: &str| machine::text(machine, path).unwrap_or_default();
        if text("/sys/hypervisor/type") != "xen" {
            return None;
        }
        // Xen hides the DMAR table from dom0 under the name RMAD; dom0 has the UUID zero.
        let is_zero = |uuid: String| !uuid.is_empty() && uuid.bytes().all(|byte| matches!(byte, b'0' | b'-'));
        let host = text("/proc/xen/capabilities").contains("control_d")
            || tables.iter().any(|name| name == "RMAD")
            || is_zero(text("/sys/hypervisor/uuid"));
        Some(if host { Self::Host } else { Self::Guest })
    }
}

/// The processor's vendor, as far as the IOMMU depends on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Processor {
    /// GenuineIntel, CentaurHauls and Zhaoxin: VT-d.
    Intel,
    /// AuthenticAMD, HygonGenuine: AMD-Vi.
    Amd,
    /// Arm: an SMMU.
    Arm,
    /// Any other, or unknown.
    #[default]
    Other,
}

impl Processor {
    /// Whether it is an x86 processor of a known vendor.
    pub fn is_x86(self) -> bool {
        matches!(self, Self::Intel | Self::Amd)
    }
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
    /// An IORT table is there, but it names no SMMU.
    pub iort_without_smmu: bool,
    /// The module that has the driver of the IOMMU, where that can be one: of what runs, or of what the firmware describes.
    pub driver: Option<&'static str>,
    /// What the device tree says of an IOMMU; `None` on machines with ACPI.
    pub device_tree: Option<TreeIommu>,
    /// The parameter by which an SMMU lets devices without a group access all memory.
    pub bypass: Option<&'static str>,
    /// What the firmware says of the interrupt translation service of an Arm machine, if that mattered.
    pub its: Option<Its>,
    /// The role of this system in Xen, which keeps every IOMMU to itself.
    pub xen: Option<Xen>,
    /// Whether interrupt remapping is enabled; `None` if /proc/interrupts does not show it.
    pub remapping: Option<bool>,
    /// What modules allow although it is not safe.
    pub allowed: Allowed,
}

/// What modules allow although it is not safe; false where it is of no interest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allowed {
    /// Guests without interrupt remapping, by vfio_iommu_type1 (`allow_unsafe_interrupts`).
    pub type1: bool,
    /// The same by iommufd.
    pub iommufd: bool,
    /// Devices that no IOMMU translates for, by VFIO (`enable_unsafe_noiommu_mode`).
    pub no_iommu: bool,
}

impl IommuFacts {
    /// The number of bytes that are read of /proc/interrupts: the first lines name the interrupt chips, and a line on a
    /// machine with 512 processors has 6 KiB.
    const MAX_INTERRUPTS: usize = 64 * 1024;

    /// Reads them.
    pub(crate) fn read(machine: &dyn Machine, command_line: &[u8]) -> Self {
        let tables = machine.list(TABLES).unwrap_or_default();
        let units = machine.list("/sys/class/iommu").unwrap_or_default();
        let processor = machine.attribute("/proc/cpuinfo").map(|bytes| processor(&bytes)).unwrap_or_default();
        let by_tree = tables.is_empty() && !processor.is_x86();
        let tree = if by_tree { arm::DeviceTree::read(machine) } else { None };
        let interrupts = machine.read_prefix("/proc/interrupts", Self::MAX_INTERRUPTS).unwrap_or_default();
        let mut remapping = remapping(&interrupts);
        let its = (processor == Processor::Arm && remapping != Some(false)).then(|| arm::its(machine, tree.as_ref()));
        let its = its.flatten();
        match its {
            // Whatever its interrupts look like.
            Some(Its::Open) => remapping = Some(false),
            // Nothing else isolates them.
            Some(Its::Absent) if remapping.is_none() => remapping = Some(false),
            _ if remapping.is_none() && arm::has_no_lpis(command_line) => remapping = Some(false),
            _ => {}
        }
        // Where the module is not loaded yet, what it will be loaded with.
        let switch = |module: &str, parameter: &str| {
            machine::text(machine, &format!("/sys/module/{module}/parameters/{parameter}"))
                .map_or_else(|_| config::module_switch(machine, command_line, module, parameter), |text| text == "Y")
        };
        let allowed = |module: &str| remapping == Some(false) && switch(module, "allow_unsafe_interrupts");
        let is_listed = |table: &FirmwareTable| tables.iter().any(|name| name == table.name());
        let iort = if is_listed(&FirmwareTable::Iort) {
            machine.read(&format!("{TABLES}/IORT"), MAX_TABLE).ok().and_then(|table| arm::nodes_of_iort(&table))
        } else {
            None
        };
        let by_iort = iort.as_deref().and_then(arm::smmu_of_nodes);
        let iort_without_smmu = iort.is_some() && by_iort.is_none();
        let known = FirmwareTable::ALL.into_iter().filter(is_listed);
        let firmware = known.into_iter().find(|table| !(iort_without_smmu && *table == FirmwareTable::Iort));
        let by_table = (firmware == Some(FirmwareTable::Viot)).then_some(VIRTIO_IOMMU);
        let by_unit = units.iter().find_map(|unit| match unit {
            _ if unit.starts_with("smmu3.") => Some(arm::SMMU_V3),
            _ if unit.starts_with("smmu.") => Some(arm::SMMU),
            _ if is_virtio(unit) => Some(VIRTIO_IOMMU),
            _ => None,
        });
        let driver = by_unit.or(by_iort).or(by_table).or(tree.as_ref().and_then(|tree| tree.driver));
        Self {
            firmware,
            iort_without_smmu,
            driver,
            device_tree: tree.map(|tree| tree.iommu),
            bypass: arm::bypass(machine, &units),
            its,
            xen: Xen::read(machine, &tables),
            processor,
            units,
            remapping,
            allowed: Allowed {
                type1: allowed("vfio_iommu_type1"),
                iommufd: allowed("iommufd"),
                no_iommu: driver.is_some() && switch("vfio", "enable_unsafe_noiommu_mode"),
            },
        }
    }
}

/// Whether the name of a unit is that of a virtio-iommu: it is named after its device, on PCI or not (drivers/iommu/virtio-iommu.c,
/// `viommu_probe`).
pub(crate) fn is_virtio(unit: &str) -> bool {
    unit.parse::<Address>().is_ok() || unit.contains("virtio")
}

/// The vendor of the first processor in /proc/cpuinfo.
fn processor(cpuinfo: &[u8]) -> Processor {
    let text = String::from_utf8_lossy(cpuinfo);
    let line = text.lines().find(|line| line.starts_with("vendor_id"));
    match line.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim()) {
        Some("GenuineIntel" | "CentaurHauls" | "  Shanghai  " | "Shanghai") => Processor::Intel,
        Some("AuthenticAMD" | "HygonGenuine") => Processor::Amd,
        // arch/arm64/kernel/cpuinfo.c, `c_show`.
        None if text.contains("CPU implementer") => Processor::Arm,
        _ => Processor::Other,
    }
}

/// Whether the interrupt chips in /proc/interrupts use interrupt remapping (`IR-IO-APIC`, `IR-PCI-MSI`), or isolate messages as
/// an ITS does and a GICv2 does not (drivers/irqchip, `IRQ_DOMAIN_FLAG_ISOLATED_MSI`); `None` if no chip tells.
fn remapping(interrupts: &[u8]) -> Option<bool> {
    let text = String::from_utf8_lossy(interrupts);
    let has = |start: &str| text.split_ascii_whitespace().any(|word| word.starts_with(start));
    if has("ITS-") || has("GICv2") {
        return Some(has("ITS-"));
    }
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
        assert_eq!(remapping(b" 24:  5  ITS-PCI-MSI-000d:01:00.0   0 Edge      nvme0q0\n"), Some(true));
        assert_eq!(remapping(b" 11: 5 GICv3 30 Level arch_timer\n 24: 5 ITS-MSI 0 Edge nvme0q0\n"), Some(true));
        assert_eq!(remapping(b" 11: 5 GICv2 30 Level arch_timer\n 24: 5 MSI 0 Edge nvme0q0\n"), Some(false));
        assert_eq!(remapping(b" 24:  5  GICv2m-PCI-MSI-0000:01:00.0   0 Edge      nvme0q0\n"), Some(false));
        assert_eq!(remapping(b" 11: 5 GICv3 30 Level arch_timer\n"), None);
        assert_eq!(remapping(b"\xff\xff"), None);
    }

    #[test]
    fn only_direct_regions_count() {
        let text =
            b"0x00000000000e0000 0x00000000000fffff direct\n0x1 0x2 direct-relaxable\n0xfee00000 0xfeefffff msi\n";
        assert_eq!(direct_regions(text), ["0x00000000000e0000-0x00000000000fffff"]);
    }

    #[test]
    fn a_virtio_iommu_is_named_after_its_device() {
        assert!(is_virtio("0000:00:01.0") && is_virtio("a003e00.virtio_mmio"));
        assert!(!is_virtio("dmar0") && !is_virtio("ivhd1") && !is_virtio("smmu3.0x0000000009050000"));
    }

    #[test]
    fn the_first_processor_names_the_maker() {
        assert_eq!(processor(b"processor\t: 0\nvendor_id\t: GenuineIntel\n"), Processor::Intel);
        assert_eq!(processor(b"vendor_id\t: AuthenticAMD\n"), Processor::Amd);
        assert_eq!(processor(b"processor\t: 0\nCPU implementer\t: 0x41\n"), Processor::Arm);
        assert_eq!(processor(b"isa\t: rv64imafdch\n"), Processor::Other);
    }
}
