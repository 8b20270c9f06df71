// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the IOMMU is worth: whether it protects the host, and what to do where it does not.

use crate::config::words;
use crate::inventory::{Firmware, Inventory, Processor};

/// Whether an IOMMU stands between the devices and the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The kernel runs one.
    Enabled,
    /// The firmware offers one, and the kernel has it off.
    Disabled,
    /// The firmware offers none.
    Absent,
}

impl State {
    /// The name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Enabled => "enabled",
            Self::Disabled => "disabled",
            Self::Absent => "absent",
        }
    }
}

/// The verdict on the IOMMU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IommuVerdict {
    /// Whether it protects.
    pub state: State,
    /// `intel`, `amd`, `smmu`, `other`; `None` where there is none.
    pub kind: Option<&'static str>,
    /// The units that run.
    pub units: Vec<String>,
    /// The firmware's table.
    pub firmware: Option<Firmware>,
    /// Whether interrupts are remapped; `None` where that is not known.
    pub remapping: Option<bool>,
    /// A guest may start although they are not.
    pub unsafe_interrupts: bool,
    /// What a person can do about what is missing.
    pub advice: Vec<String>,
}

impl IommuVerdict {
    /// The verdict on what was seen.
    pub fn of(inventory: &Inventory) -> Self {
        let facts = &inventory.iommu;
        let state = match (facts.units.is_empty(), facts.firmware) {
            (false, _) => State::Enabled,
            (true, Some(_)) => State::Disabled,
            (true, None) => State::Absent,
        };
        let by_unit = facts.units.first().map(|unit| match unit.as_str() {
            name if name.starts_with("dmar") => "intel",
            name if name.starts_with("ivhd") => "amd",
            name if name.contains("smmu") => "smmu",
            _ => "other",
        });
        let by_table = facts.firmware.map(|table| match table {
            Firmware::Dmar => "intel",
            Firmware::Ivrs => "amd",
            Firmware::Iort => "smmu",
        });
        let mut advice = Vec::new();
        match state {
            State::Enabled if facts.remapping == Some(false) => advice.push(remapping_advice(inventory)),
            State::Enabled => {}
            State::Disabled => advice.push(disabled_advice(inventory)),
            State::Absent => advice.push(absent_advice(facts.processor).to_owned()),
        }
        Self {
            state,
            kind: by_unit.or(by_table),
            units: facts.units.clone(),
            firmware: facts.firmware,
            remapping: facts.remapping,
            unsafe_interrupts: facts.unsafe_interrupts,
            advice,
        }
    }

    /// Why nothing may be claimed.
    pub fn reason(&self) -> String {
        match self.state {
            State::Enabled => "the IOMMU is enabled".to_owned(),
            State::Disabled => "the IOMMU is disabled".to_owned(),
            State::Absent => "there is no IOMMU".to_owned(),
        }
    }

    /// One line for people.
    pub fn headline(&self) -> String {
        let kind = match self.kind {
            Some("intel") => "Intel VT-d",
            Some("amd") => "AMD-Vi",
            Some("smmu") => "Arm SMMU",
            _ => "IOMMU",
        };
        match self.state {
            State::Enabled => {
                let interrupts = match self.remapping {
                    Some(true) => ", interrupts remapped",
                    Some(false) => ", interrupts NOT remapped",
                    None => "",
                };
                let count = self.units.len();
                format!("enabled ({kind}, {count} unit{}{interrupts})", if count == 1 { "" } else { "s" })
            }
            State::Disabled => {
                let table = self.firmware.map_or("", Firmware::name);
                format!("disabled (the firmware offers {kind} in its {table} table, the kernel has it off)")
            }
            State::Absent => "absent (the firmware has no DMAR, IVRS or IORT table)".to_owned(),
        }
    }
}

/// The parameter on the kernel command line that turned the IOMMU off, as it is written there.
fn turned_off(inventory: &Inventory, own: &str) -> Option<String> {
    let off = |value: &str| value.split(',').any(|part| part == "off");
    let found = words(&inventory.command_line).filter_map(|(name, value)| Some((name, value?)));
    let (name, value) = found.filter(|(name, value)| (name == own || name == "iommu") && off(value)).last()?;
    Some(format!("{name}={value}"))
}

fn disabled_advice(inventory: &Inventory) -> String {
    let amd = inventory.iommu.firmware == Some(Firmware::Ivrs);
    let own = if amd { "amd_iommu" } else { "intel_iommu" };
    if let Some(parameter) = turned_off(inventory, own) {
        let instead = if amd { "AMD needs no parameter" } else { "intel_iommu=on turns it on" };
        return format!("take {parameter} off the kernel command line ({instead})");
    }
    match inventory.iommu.firmware {
        Some(Firmware::Dmar) => "add intel_iommu=on to the kernel command line".to_owned(),
        Some(Firmware::Ivrs) => "an AMD IOMMU is on by default: look for AMD-Vi in the kernel log, and add \
            amd_iommu=force_enable to the kernel command line if the kernel distrusts the platform"
            .to_owned(),
        _ => "the kernel has no driver for this SMMU: look for arm-smmu in the kernel log".to_owned(),
    }
}

fn absent_advice(processor: Processor) -> &'static str {
    match processor {
        Processor::Intel => "turn on VT-d in the firmware setup (in a virtual machine: give it a virtual IOMMU)",
        Processor::Amd => {
            "turn on the IOMMU (AMD-Vi) in the firmware setup (in a virtual machine: give it a virtual IOMMU)"
        }
        Processor::Other => "turn on the IOMMU in the firmware setup, if this machine has one",
    }
}

fn remapping_advice(inventory: &Inventory) -> String {
    let off = words(&inventory.command_line).any(|(name, value)| name == "intremap" && value.as_deref() == Some("off"));
    let cause = if off {
        "take intremap=off off the kernel command line"
    } else {
        "look for x2APIC or interrupt remapping in the firmware setup"
    };
    let vfio = if inventory.iommu.unsafe_interrupts {
        "allow_unsafe_interrupts lets one start all the same"
    } else {
        "VFIO refuses to start one"
    };
    format!("interrupts are not remapped, so a guest could fake them and {vfio}: {cause}")
}
