// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whether the IOMMU protects the host, and what to do where it does not.

use crate::config::words;
use crate::inventory::{FirmwareTable, Inventory, Processor};
use crate::json::{self, FromJson, Json, Value, readable_words};

/// Whether an IOMMU translates what devices access.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IommuState {
    /// The kernel runs one.
    Enabled,
    /// The firmware offers one, and the kernel has it off.
    Disabled,
    /// The firmware offers none.
    #[default]
    Absent,
}

readable_words!(IommuState { Enabled: "enabled", Disabled: "disabled", Absent: "absent" });

/// What makes an IOMMU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IommuKind {
    /// Intel VT-d.
    Intel,
    /// AMD-Vi.
    Amd,
    /// Arm SMMU.
    Smmu,
    /// Any other.
    Other,
}

readable_words!(IommuKind { Intel: "intel", Amd: "amd", Smmu: "smmu", Other: "other" });

/// Whether interrupts are remapped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InterruptRemapping {
    /// They are.
    Enabled,
    /// They are not, so a guest could fake them.
    Disabled,
    /// The machine does not say.
    #[default]
    Unknown,
}

readable_words!(InterruptRemapping { Enabled: "enabled", Disabled: "disabled", Unknown: "unknown" });

/// Whether the IOMMU protects the host, and what to do where it does not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Iommu {
    /// Whether it protects.
    pub state: IommuState,
    /// What it is; `None` where there is none.
    pub kind: Option<IommuKind>,
    /// The units that the kernel runs.
    pub units: Vec<String>,
    /// The firmware's table.
    pub firmware_table: Option<FirmwareTable>,
    /// Whether interrupts are remapped.
    pub interrupt_remapping: InterruptRemapping,
    /// What a person can do about what is missing.
    pub advice: Vec<String>,
    /// VFIO starts a guest although interrupts are not remapped. No part of the document.
    pub unsafe_interrupts: bool,
}

/// The names of its fields in documents.
const FIELDS: &str = "state kind units firmware_table interrupt_remapping advice ";

impl Json for Iommu {
    fn json(&self, out: &mut String) {
        let Self { state, kind, units, firmware_table, interrupt_remapping, advice, unsafe_interrupts: _ } = self;
        json::object(out, FIELDS, &[state, kind, units, firmware_table, interrupt_remapping, advice]);
    }
}

impl FromJson for Iommu {
    fn from_json(value: &Value) -> Option<Self> {
        fn field<T: FromJson + Default>(value: &Value, name: &str) -> T {
            T::from_json(value.field(name)).unwrap_or_default()
        }
        Some(Self {
            state: field(value, "state"),
            kind: field(value, "kind"),
            units: field(value, "units"),
            firmware_table: field(value, "firmware_table"),
            interrupt_remapping: field(value, "interrupt_remapping"),
            advice: field(value, "advice"),
            unsafe_interrupts: false,
        })
    }
}

impl Iommu {
    /// What the inventory says of it.
    pub fn of(inventory: &Inventory) -> Self {
        let facts = &inventory.iommu;
        let state = match (facts.units.is_empty(), facts.firmware) {
            (false, _) => IommuState::Enabled,
            (true, Some(_)) => IommuState::Disabled,
            (true, None) => IommuState::Absent,
        };
        let by_unit = facts.units.first().map(|unit| match unit.as_str() {
            name if name.starts_with("dmar") => IommuKind::Intel,
            name if name.starts_with("ivhd") => IommuKind::Amd,
            name if name.contains("smmu") => IommuKind::Smmu,
            _ => IommuKind::Other,
        });
        let by_table = facts.firmware.map(|table| match table {
            FirmwareTable::Dmar => IommuKind::Intel,
            FirmwareTable::Ivrs => IommuKind::Amd,
            FirmwareTable::Iort => IommuKind::Smmu,
        });
        let mut advice = Vec::new();
        match state {
            IommuState::Enabled if facts.remapping == Some(false) => advice.push(remapping_advice(inventory)),
            IommuState::Enabled => {}
            IommuState::Disabled => advice.push(disabled_advice(inventory)),
            IommuState::Absent => advice.push(absent_advice(facts.processor).to_owned()),
        }
        Self {
            state,
            kind: by_unit.or(by_table),
            units: facts.units.clone(),
            firmware_table: facts.firmware,
            interrupt_remapping: match facts.remapping {
                Some(true) => InterruptRemapping::Enabled,
                Some(false) => InterruptRemapping::Disabled,
                None => InterruptRemapping::Unknown,
            },
            advice,
            unsafe_interrupts: facts.unsafe_interrupts,
        }
    }

    /// Whether it is enabled.
    pub fn is_enabled(&self) -> bool {
        self.state == IommuState::Enabled
    }

    /// Why nothing may be claimed.
    pub fn reason(&self) -> String {
        match self.state {
            IommuState::Enabled => "the IOMMU is enabled".to_owned(),
            IommuState::Disabled => "the IOMMU is disabled".to_owned(),
            IommuState::Absent => "there is no IOMMU".to_owned(),
        }
    }

    /// One line for people.
    pub fn headline(&self) -> String {
        let kind = match self.kind {
            Some(IommuKind::Intel) => "Intel VT-d",
            Some(IommuKind::Amd) => "AMD-Vi",
            Some(IommuKind::Smmu) => "Arm SMMU",
            _ => "IOMMU",
        };
        match self.state {
            IommuState::Enabled => {
                let interrupts = match self.interrupt_remapping {
                    InterruptRemapping::Enabled => ", interrupts remapped",
                    InterruptRemapping::Disabled => ", interrupts NOT remapped",
                    InterruptRemapping::Unknown => "",
                };
                let count = self.units.len();
                format!("enabled ({kind}, {count} unit{}{interrupts})", if count == 1 { "" } else { "s" })
            }
            IommuState::Disabled => {
                let table = self.firmware_table.map_or("", FirmwareTable::name);
                format!("disabled (the firmware offers {kind} in its {table} table, the kernel has it off)")
            }
            IommuState::Absent => "absent (the firmware has no DMAR, IVRS or IORT table)".to_owned(),
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
    let amd = inventory.iommu.firmware == Some(FirmwareTable::Ivrs);
    let own = if amd { "amd_iommu" } else { "intel_iommu" };
    if let Some(parameter) = turned_off(inventory, own) {
        let instead = if amd { "AMD needs no parameter" } else { "intel_iommu=on turns it on" };
        return format!("take {parameter} off the kernel command line ({instead})");
    }
    match inventory.iommu.firmware {
        Some(FirmwareTable::Dmar) => "add intel_iommu=on to the kernel command line".to_owned(),
        Some(FirmwareTable::Ivrs) => "an AMD IOMMU is on by default: look for AMD-Vi in the kernel log, and add \
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
        "allow_unsafe_interrupts lets one start nevertheless"
    } else {
        "VFIO refuses to start one"
    };
    format!("interrupts are not remapped, so a guest could fake them and {vfio}: {cause}")
}
