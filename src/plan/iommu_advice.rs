// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a person can do about an IOMMU that is off or missing, and about interrupts that are not remapped.

use crate::config::words;
use crate::inventory::{FirmwareTable, Inventory, Its, Processor, TreeIommu, Xen, has_no_lpis};

/// The parts of `intel_iommu=` that Linux knows (drivers/iommu/intel/iommu.c, `intel_iommu_setup`, the same in 6.1, 6.12
/// and 7.2). It compares beginnings.
const INTEL: &[&str] =
    &["on", "off", "igfx_off", "intgpu_off", "forcedac", "strict", "sp_off", "sm_on", "sm_off", "tboot_noforce"];
/// Those of `amd_iommu=` (drivers/iommu/amd/init.c, `parse_amd_iommu_options`, as in 7.2).
const AMD: &[&str] = &[
    "fullflush",
    "force_enable",
    "off",
    "force_isolation",
    "pgtbl_v1",
    "pgtbl_v2",
    "irtcachedis",
    "nohugepages",
    "v2_pgsizes_only",
];
/// Those of `iommu=` on x86 (Documentation/arch/x86/x86_64/boot-options.rst; arch/x86/kernel/pci-dma.c, `iommu_setup`).
const GENERAL: &[&str] = &[
    "off",
    "force",
    "noforce",
    "biomerge",
    "nomerge",
    "merge",
    "panic",
    "nopanic",
    "forcesac",
    "allowdac",
    "nodac",
    "usedac",
    "soft",
    "pt",
    "nopt",
    "fullflush",
    "nofullflush",
    "noagp",
    "noaperture",
    "memaper",
    "allowed",
];

/// The values of a parameter on the kernel command line, in order.
fn values(inventory: &Inventory, parameter: &str) -> Vec<String> {
    let given = words(&inventory.command_line).filter(|(name, _)| name == parameter);
    given.filter_map(|(_, value)| value).collect()
}

/// The last part of these values that begins with `on` or `off`, as the kernel reads them.
fn switch(values: &[String]) -> Option<bool> {
    let parts = values.iter().flat_map(|value| value.split(','));
    let mut switches = parts.filter_map(|part| match part {
        part if part.starts_with("on") => Some(true),
        part if part.starts_with("off") => Some(false),
        _ => None,
    });
    switches.next_back()
}

/// The parameters with a part that the kernel does not know, as they are written.
fn unknown(inventory: &Inventory, parameter: &str, known: &[&str]) -> Vec<String> {
    let is_known = |part: &str| {
        let size = parameter == "iommu" && part.starts_with(|letter: char| letter.is_ascii_digit()) && part.len() > 1;
        part.is_empty() || size || known.iter().any(|name| part.starts_with(name))
    };
    let wrong = values(inventory, parameter).into_iter().filter(|value| !value.split(',').all(is_known));
    wrong.map(|value| format!("{parameter}={value}")).collect()
}

/// The parameter that turned the IOMMU off, as it is written. `iommu=off` cannot be taken back by another one.
fn turned_off(inventory: &Inventory, own: &str) -> Option<String> {
    let is_off = |value: &String| value.split(',').any(|part| part.starts_with("off"));
    let general = values(inventory, "iommu").into_iter().rfind(is_off).map(|value| format!("iommu={value}"));
    let values = values(inventory, own);
    // For AMD no part turns it on again.
    let off = if own == "intel_iommu" { switch(&values) == Some(false) } else { values.iter().any(is_off) };
    let particular = values.into_iter().rfind(|value| off && is_off(value)).map(|value| format!("{own}={value}"));
    particular.or(general)
}

/// What to do about an IOMMU that the firmware offers and the kernel does not run.
pub(super) fn disabled(inventory: &Inventory) -> String {
    if let Some(advice) = xen(inventory) {
        return advice.to_owned();
    }
    match inventory.iommu.firmware {
        Some(FirmwareTable::Dmar) => intel(inventory),
        Some(FirmwareTable::Ivrs) => amd(inventory),
        Some(FirmwareTable::Rimt) => {
            "the kernel runs no driver for this RISC-V IOMMU: look for riscv-iommu in the kernel log".to_owned()
        }
        _ => not_loaded(inventory.iommu.driver.unwrap_or("arm_smmu")),
    }
}

/// No parameter turns these off: only their drivers can be missing, or fail.
fn not_loaded(driver: &str) -> String {
    if driver == "virtio_iommu" {
        return "the driver of this virtio-iommu is the module virtio_iommu, which is not loaded: rebuild the initramfs image on \
                this machine, so that it holds the module (vfio-early modules)"
            .to_owned();
    }
    let named = driver.replace('_', "-");
    format!(
        "the driver {named} does not run this IOMMU: look for {named} in the kernel log; if the driver is a module, rebuild the \
         initramfs image on this machine, so that it holds the module (vfio-early modules)"
    )
}

fn intel(inventory: &Inventory) -> String {
    if let Some(parameter) = turned_off(inventory, "intel_iommu") {
        return format!("take {parameter} off the kernel command line (intel_iommu=on turns it on)");
    }
    let given = values(inventory, "intel_iommu");
    let wrong = [unknown(inventory, "intel_iommu", INTEL), unknown(inventory, "iommu", GENERAL)].concat();
    let wrong = match wrong.as_slice() {
        [] => String::new(),
        [one] => format!("the kernel knows no {one}; "),
        [one, ..] => format!("the kernel knows neither {one} nor {}; ", wrong.last().unwrap_or(one)),
    };
    let known: Vec<&str> = given
        .iter()
        .flat_map(|value| value.split(','))
        .filter(|part| !part.is_empty() && INTEL.iter().any(|name| part.starts_with(name)))
        .collect();
    match (switch(&given), known.as_slice()) {
        (Some(_), _) => format!(
            "{wrong}intel_iommu=on is on the kernel command line and the firmware has a DMAR table, and yet the kernel runs no \
             unit: look for DMAR in the kernel log (journalctl -k -g DMAR). Likely causes are VT-d that is off in the \
             firmware setup, a broken table (update the firmware), or a kernel without CONFIG_INTEL_IOMMU"
        ),
        (None, []) => format!("{wrong}add intel_iommu=on to the kernel command line"),
        (None, known) => {
            let known = known.join(",");
            format!("{wrong}intel_iommu={known} alone turns nothing on: write intel_iommu=on,{known}")
        }
    }
}

fn amd(inventory: &Inventory) -> String {
    if let Some(parameter) = turned_off(inventory, "amd_iommu") {
        return format!("take {parameter} off the kernel command line (AMD needs no parameter)");
    }
    let wrong = unknown(inventory, "amd_iommu", AMD);
    let wrong = wrong.last().map(|one| format!("the kernel knows no {one}, and needs none; ")).unwrap_or_default();
    let forced = values(inventory, "amd_iommu").iter().any(|value| value.contains("force_enable"));
    let rest = if forced {
        "an AMD IOMMU is on by default, and amd_iommu=force_enable is given: look for AMD-Vi in the kernel log"
    } else {
        "an AMD IOMMU is on by default: look for AMD-Vi in the kernel log, and add amd_iommu=force_enable to the kernel \
         command line if the kernel distrusts the platform"
    };
    format!("{wrong}{rest}")
}

/// Why an IOMMU that the firmware may have cannot be seen, in a few words, or where it is described if not in a table.
pub(super) fn seen(inventory: &Inventory) -> Option<String> {
    let facts = &inventory.iommu;
    let text = match (facts.xen, &facts.device_tree) {
        (Some(Xen::Host), _) => "Xen has it",
        (Some(Xen::Guest), _) => "Xen gives its guests none",
        (None, Some(TreeIommu::Present | TreeIommu::Unmapped)) => {
            "it is in the device tree, the kernel runs no driver for it"
        }
        (None, Some(TreeIommu::Off(node))) => return Some(format!("the device tree turns off {node}")),
        (None, Some(TreeIommu::Absent)) => "there is none in the device tree",
        (None, None) if facts.firmware == Some(FirmwareTable::Iort) => {
            "the firmware offers an Arm SMMU in its IORT table, the kernel runs no driver for it"
        }
        (None, None) if facts.firmware.is_some() => return None,
        _ if acpi_is_off(inventory) => "acpi=off on the kernel command line hides the firmware's tables",
        _ if facts.iort_without_smmu => "the firmware's IORT table names no SMMU",
        _ if facts.processor == Processor::Arm => "the firmware has no table of an IOMMU, such as IORT or VIOT",
        _ => return None,
    };
    Some(text.to_owned())
}

/// Whether ACPI is switched off, and with it all tables (arch/x86/kernel/acpi/boot.c, `parse_acpi`).
fn acpi_is_off(inventory: &Inventory) -> bool {
    // `ht` keeps no more than the processors.
    values(inventory, "acpi").last().is_some_and(|value| matches!(value.as_str(), "off" | "ht"))
}

fn xen(inventory: &Inventory) -> Option<&'static str> {
    Some(match inventory.iommu.xen? {
        Xen::Host => {
            "this system is Xen's dom0, and VFIO cannot work in it: keep devices for Xen's guests with \
             xen-pciback.hide=(BB:DD.F) on the kernel command line, or start this system without Xen"
        }
        Xen::Guest => "this system is a guest of Xen, in which VFIO cannot work: claim the device on its host",
    })
}

/// What to do where the firmware offers no IOMMU.
pub(super) fn absent(inventory: &Inventory) -> String {
    if let Some(advice) = xen(inventory) {
        return advice.to_owned();
    }
    match &inventory.iommu.device_tree {
        Some(TreeIommu::Off(node)) => {
            return format!(
                "the device tree says that the IOMMU at {node} is not to be used: turn it on in the firmware setup, or boot with a \
                 device tree in which its status is okay"
            );
        }
        Some(_) => {
            return "boot with a device tree that describes the IOMMU and connects the PCI host bridge to it (iommu-map), if this \
                    machine has one (in a virtual machine: give it a virtual IOMMU)"
                .to_owned();
        }
        None => {}
    }
    if acpi_is_off(inventory) {
        return "take acpi=off off the kernel command line: without ACPI, the kernel cannot find an IOMMU".to_owned();
    }
    let advice = match inventory.iommu.processor {
        Processor::Intel => "turn on VT-d in the firmware setup (in a virtual machine: give it a virtual IOMMU)",
        Processor::Amd => {
            "turn on the IOMMU (AMD-Vi) in the firmware setup (in a virtual machine: give it a virtual IOMMU)"
        }
        Processor::Arm => {
            "turn on the SMMU in the firmware setup or update the firmware, if this machine has one (in a virtual machine: give \
             it a virtual IOMMU)"
        }
        Processor::Other => "turn on the IOMMU in the firmware setup, if this machine has one",
    };
    advice.to_owned()
}

/// What to do about interrupts that are not remapped.
pub(super) fn remapping(inventory: &Inventory) -> String {
    let facts = &inventory.iommu;
    let off = switch(&values(inventory, "intremap")) == Some(false);
    let cause = if words(&inventory.command_line).any(|(name, _)| name == "nointremap") {
        "take nointremap off the kernel command line"
    } else if off {
        "take intremap=off off the kernel command line"
    } else if facts.its == Some(Its::Open) {
        "the ITS of this machine is behind a bridge that lets every device send any interrupt"
    } else if has_no_lpis(&inventory.command_line) {
        "take irqchip.gicv3_nolpi off the kernel command line, which keeps the kernel from using the ITS"
    } else if matches!(facts.processor, Processor::Arm | Processor::Other) {
        "the interrupt controller of this machine cannot do it (only a GICv3 with an ITS can)"
    } else {
        "look for x2APIC or interrupt remapping in the firmware setup"
    };
    let starts = match (facts.allowed.type1, facts.allowed.iommufd) {
        (true, true) => "allow_unsafe_interrupts lets one start nevertheless".to_owned(),
        (true, false) => "allow_unsafe_interrupts lets one start nevertheless, but not through iommufd".to_owned(),
        (false, true) => {
            "allow_unsafe_interrupts of iommufd lets one start nevertheless, but only through iommufd".to_owned()
        }
        (false, false) => {
            return format!(
                "interrupts are not remapped, so a guest could fake them and VFIO refuses to start one: {cause}; at your own \
                 risk, `options vfio_iommu_type1 allow_unsafe_interrupts=1` in /etc/modprobe.d lets guests start (with \
                 iommufd: `options iommufd allow_unsafe_interrupts=1`)"
            );
        }
    };
    format!("interrupts are not remapped, so a guest could fake them and {starts}: {cause}")
}

/// What an SMMU does that lets devices through.
pub(super) fn bypass(parameter: &str) -> String {
    format!(
        "{parameter} lets devices that are in no IOMMU group access all memory: take it off the kernel command line and out of \
         /etc/modprobe.d"
    )
}

/// Why a device is in no group although an IOMMU runs, and what to do. Linux leaves Intel's own graphics out where it was built
/// so (drivers/iommu/intel/iommu.c, `dmar_map_intgpu`: Debian's kernels), and has errata for some (`quirk_iommu_igfx`).
pub(super) fn no_group(inventory: &Inventory, graphics: bool) -> &'static str {
    if inventory.iommu.device_tree == Some(TreeIommu::Unmapped) {
        return "the device tree connects no PCI host bridge to an IOMMU (iommu-map): boot with one that does";
    }
    if inventory.iommu.processor == Processor::Arm {
        return "the firmware connects its host bridge to no SMMU, or its driver failed: look for arm-smmu and iommu in the kernel \
                log, and try a slot of another host bridge";
    }
    if !graphics {
        return "look for DMAR, AMD-Vi or iommu in the kernel log";
    }
    let given = values(inventory, "intel_iommu");
    let has = |name: &str| given.iter().flat_map(|value| value.split(',')).any(|part| part.starts_with(name));
    if has("igfx_off") || has("intgpu_off") {
        "take igfx_off and intgpu_off out of intel_iommu= on the kernel command line"
    } else if switch(&given) == Some(true) {
        "it is left out although intel_iommu=on is given: the kernel keeps this model out for its errata, and no guest can \
         have it"
    } else {
        "this kernel leaves Intel's own graphics out unless intel_iommu=on is on the kernel command line; add that"
    }
}
