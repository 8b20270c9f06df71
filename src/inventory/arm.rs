// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the firmware of an Arm machine says of its SMMU and its interrupt controller, by ACPI or by a device tree.

use crate::config;
use crate::machine::{self, Machine};

use super::VIRTIO_IOMMU;
use super::config_spaces::MAX_TABLE;

/// The device tree that the kernel uses. With ACPI, it holds no more than what the boot loader passes on.
const TREE: &str = "/sys/firmware/devicetree/base";

/// The driver of SMMUv1 and v2.
pub(super) const SMMU: &str = "arm_smmu";
/// The driver of SMMUv3.
pub(super) const SMMU_V3: &str = "arm_smmu_v3";

/// What the device tree says of an IOMMU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TreeIommu {
    /// It has one.
    Present,
    /// It has one, but connects no PCI host bridge to it (`iommu-map`).
    Unmapped,
    /// It has one, at this node, whose `status` keeps the kernel from using it.
    Off(String),
    /// It has none.
    Absent,
}

/// The interrupt translation service (ITS) of a GICv3, which isolates the messages of devices from each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Its {
    /// There is one.
    Present,
    /// There is one, behind a bridge that lets every device write any message: the kernel does not count it as isolated
    /// (drivers/irqchip/irq-gic-v3-its.c, `its_enable_quirk_socionext_synquacer`).
    Open,
    /// There is none.
    Absent,
}

/// What was found in a device tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DeviceTree {
    pub(super) iommu: TreeIommu,
    /// The driver of its IOMMU.
    pub(super) driver: Option<&'static str>,
    pub(super) its: Its,
    /// Whether a PCI host bridge is behind an IOMMU (`iommu-map`).
    maps_pci: bool,
}

impl DeviceTree {
    /// How deep the nodes are searched: /soc/bus/gic/its.
    const DEPTH: usize = 4;

    /// Reads the device tree; `None` without one.
    pub(super) fn read(machine: &dyn Machine) -> Option<Self> {
        let mut tree = Self { iommu: TreeIommu::Absent, driver: None, its: Its::Absent, maps_pci: false };
        let names = machine.list(TREE).ok()?;
        tree.children(machine, TREE, names, Self::DEPTH);
        if tree.iommu == TreeIommu::Present && !tree.maps_pci {
            tree.iommu = TreeIommu::Unmapped;
        }
        Some(tree)
    }

    /// Looks at the nodes among these names. The names of nodes are generic (Devicetree Specification, 2.2.2), so that few have
    /// to be opened.
    fn children(&mut self, machine: &dyn Machine, above: &str, names: Vec<String>, depth: usize) {
        const WORDS: &[&str] =
            &["soc", "bus", "axi", "ahb", "amba", "iommu", "smmu", "pci", "gic", "intc", "its", "msi"];
        for name in names {
            let (kind, _) = name.split_once('@').unwrap_or((&name, ""));
            // A property has no unit address, and mostly a name of several words.
            let is_node = name.contains('@') || !name.contains(['-', '#', ',']);
            if !is_node || !(kind == "interrupt-controller" || WORDS.iter().any(|word| kind.contains(word))) {
                continue;
            }
            let path = format!("{above}/{name}");
            let Ok(inside) = machine.list(&path) else { continue };
            if inside.iter().any(|property| property == "compatible") {
                self.node(machine, &path, &inside);
            }
            if let Some(depth) = depth.checked_sub(1) {
                self.children(machine, &path, inside, depth);
            }
        }
    }

    fn node(&mut self, machine: &dyn Machine, path: &str, properties: &[String]) {
        let has = |property: &str| properties.iter().any(|name| name == property);
        let compatible = machine.attribute(&format!("{path}/compatible")).unwrap_or_default();
        let names = || compatible.split(|byte| *byte == 0);
        // drivers/of/base.c, `__of_device_is_status`.
        let on = !has("status")
            || machine::text(machine, &format!("{path}/status"))
                .is_ok_and(|text| matches!(text.as_str(), "okay" | "ok"));
        self.maps_pci |= on && has("iommu-map");
        if let Some(driver) = names().find_map(driver) {
            if on {
                self.iommu = TreeIommu::Present;
                self.driver = Some(driver);
            } else if self.iommu == TreeIommu::Absent {
                self.iommu = TreeIommu::Off(path.strip_prefix(TREE).unwrap_or(path).to_owned());
            }
        }
        if on && names().any(|name| name == b"arm,gic-v3-its") {
            self.its = if has("socionext,synquacer-pre-its") { Its::Open } else { Its::Present };
        }
    }
}

/// The driver of an IOMMU that PCI devices can be behind, by one of its compatible names: an SMMU
/// (drivers/iommu/arm/arm-smmu-v3/arm-smmu-v3.c and drivers/iommu/arm/arm-smmu/arm-smmu.c, `arm_smmu_of_match`; arm-smmu-qcom.c), a
/// virtio-iommu, which is a PCI device itself, Apple's (drivers/iommu/apple-dart.c).
fn driver(name: &[u8]) -> Option<&'static str> {
    let has = |word: &[u8]| name.windows(word.len()).any(|part| part == word);
    match name {
        b"arm,smmu-v3" => Some(SMMU_V3),
        b"virtio,pci-iommu" | b"pci1af4,1057" => Some(VIRTIO_IOMMU),
        _ if has(b"smmu") || name.starts_with(b"arm,mmu-") => Some(SMMU),
        _ if name.starts_with(b"apple,") && name.ends_with(b"-dart") => Some("apple_dart"),
        _ => None,
    }
}

/// What the firmware says of the ITS; `None` where its table cannot be read.
pub(super) fn its(machine: &dyn Machine, tree: Option<&DeviceTree>) -> Option<Its> {
    match tree {
        Some(tree) => Some(tree.its),
        None => its_of_madt(&machine.read("/sys/firmware/acpi/tables/APIC", MAX_TABLE).ok()?),
    }
}

/// Whether the MADT has a structure of an ITS (type 15; ACPI 6.5, 5.2.12.18); `None` if it is no such table.
fn its_of_madt(table: &[u8]) -> Option<Its> {
    if table.get(..4)? != b"APIC" {
        return None;
    }
    let mut rest = table.get(44..)?;
    while let [kind, length, ..] = rest {
        if *kind == 15 {
            return Some(Its::Present);
        }
        rest = rest.get(usize::from(*length)..).filter(|_| *length > 0)?;
    }
    rest.is_empty().then_some(Its::Absent)
}

/// Whether the command line keeps the kernel from using an ITS (drivers/irqchip/irq-gic-v3.c, `gicv3_nolpi_cfg`). Clouds give
/// this to NVIDIA's Grace.
pub(crate) fn has_no_lpis(command_line: &[u8]) -> bool {
    let values = config::words(command_line).filter(|(name, _)| name == "irqchip.gicv3_nolpi");
    // lib/kstrtox.c, `kstrtobool`.
    let value = values.filter_map(|(_, value)| value).last();
    value.is_some_and(|value| value.starts_with(['y', 'Y', 't', 'T', '1']) || value.eq_ignore_ascii_case("on"))
}

/// The parameter by which one of these SMMUs lets devices without a domain access all memory: that of SMMUv1 and v2
/// (drivers/iommu/arm/arm-smmu/arm-smmu.c), and that of SMMUv3 before Linux 6.10.
pub(super) fn bypass(machine: &dyn Machine, units: &[String]) -> Option<&'static str> {
    let known = [("smmu.", SMMU, "arm-smmu.disable_bypass=0"), ("smmu3.", SMMU_V3, "arm-smmu-v3.disable_bypass=0")];
    let found = known.into_iter().find(|(unit, module, _)| {
        let path = format!("/sys/module/{module}/parameters/disable_bypass");
        units.iter().any(|name| name.starts_with(unit)) && machine::text(machine, &path).is_ok_and(|text| text == "N")
    });
    found.map(|(.., parameter)| parameter)
}

/// The types of the nodes of an IORT table; `None` if it is no such table (Arm DEN0049, IO Remapping Table).
pub(super) fn nodes_of_iort(table: &[u8]) -> Option<Vec<u8>> {
    let number = |at: usize| table.get(at..)?.first_chunk().copied().map(u32::from_le_bytes);
    let (count, offset) = (number(36)?, number(40)?);
    if table.get(..4)? != b"IORT" {
        return None;
    }
    let mut types = Vec::new();
    let mut rest = table.get(usize::try_from(offset).ok()?..)?;
    for _ in 0..count {
        let [kind, low, high, ..] = rest else { return None };
        types.push(*kind);
        let length = usize::from(u16::from_le_bytes([*low, *high]));
        rest = rest.get(length..).filter(|_| length > 0)?;
    }
    Some(types)
}

/// The driver of an SMMU among these nodes (type 3: SMMUv1 and v2; type 4: SMMUv3). The others are interrupt controllers,
/// performance monitors, and devices.
pub(super) fn smmu_of_nodes(types: &[u8]) -> Option<&'static str> {
    types.iter().find_map(|kind| match kind {
        3 => Some(SMMU),
        4 => Some(SMMU_V3),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A table of nodes of these kinds, eight bytes each, after so many bytes of header.
    fn nodes(signature: &[u8], header: usize, kinds: &[u8]) -> Vec<u8> {
        let mut table = signature.to_vec();
        table.resize(header, 0);
        table.extend(kinds.iter().flat_map(|kind| [*kind, 8, 0, 0, 0, 0, 0, 0]));
        table
    }

    #[test]
    fn an_iort_table_tells_whether_there_is_an_smmu() {
        let table = |kinds: &[u8]| {
            let mut table = nodes(b"IORT", 48, kinds);
            table[36] = u8::try_from(kinds.len()).unwrap();
            table[40] = 48;
            table
        };
        let smmu = |kinds: &[u8]| smmu_of_nodes(&nodes_of_iort(&table(kinds)).unwrap());
        assert_eq!(smmu(&[0, 2, 5]), None);
        assert_eq!(smmu(&[0, 2, 4]), Some(SMMU_V3));
        assert_eq!(smmu(&[3]), Some(SMMU));
        assert_eq!(nodes_of_iort(&table(&[0, 2])[..50]), None, "cut off");
        assert_eq!(nodes_of_iort(b"x"), None);
        let mut endless = table(&[0]);
        endless[49] = 0;
        assert_eq!(nodes_of_iort(&endless), None);
    }

    #[test]
    fn a_madt_tells_whether_there_is_an_its() {
        let table = |kinds: &[u8]| nodes(b"APIC", 44, kinds);
        // GICC, GICD, GICR, and the ITS or a frame of a GICv2m.
        assert_eq!(its_of_madt(&table(&[11, 12, 14, 15])), Some(Its::Present));
        assert_eq!(its_of_madt(&table(&[11, 12, 13])), Some(Its::Absent));
        assert_eq!(its_of_madt(&table(&[11, 12])[..50]), None, "cut off");
        assert_eq!(its_of_madt(b"APIC"), None);
        let mut endless = table(&[11]);
        endless[45] = 0;
        assert_eq!(its_of_madt(&endless), None);
    }

    #[test]
    fn lpis_are_off_as_the_kernel_reads_it() {
        assert!(has_no_lpis(b"quiet irqchip.gicv3_nolpi=y"));
        assert!(has_no_lpis(b"irqchip.gicv3-nolpi=0 irqchip.gicv3-nolpi=on"));
        assert!(!has_no_lpis(b"irqchip.gicv3_nolpi=1 irqchip.gicv3_nolpi=off"));
        assert!(!has_no_lpis(b"irqchip.gicv3_nolpi"));
        assert!(!has_no_lpis(b"quiet"));
    }
}
