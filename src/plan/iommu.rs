// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whether the IOMMU protects the host, and what to do where it does not.

use crate::inventory::{FirmwareTable, Inventory, TreeIommu, is_virtio};
use crate::json::{self, FromJson, Json, Value, readable_words};

use super::iommu_advice;

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
    /// Where the firmware describes it, or why it cannot be seen, if that is not what the table says. No part of the document.
    pub seen: Option<String>,
}

/// The names of its fields in documents.
const FIELDS: &str = "state kind units firmware_table interrupt_remapping advice ";

impl Json for Iommu {
    fn json(&self, out: &mut String) {
        let Self { state, kind, units, firmware_table, interrupt_remapping, advice, unsafe_interrupts: _, seen: _ } =
            self;
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
            seen: None,
        })
    }
}

impl Iommu {
    /// What the inventory says of it.
    pub fn of(inventory: &Inventory) -> Self {
        let facts = &inventory.iommu;
        let in_tree = matches!(facts.device_tree, Some(TreeIommu::Present | TreeIommu::Unmapped));
        let state = match (facts.units.is_empty(), facts.firmware.is_some() || in_tree) {
            (false, _) => IommuState::Enabled,
            (true, true) => IommuState::Disabled,
            (true, false) => IommuState::Absent,
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
            FirmwareTable::Rimt | FirmwareTable::Viot => IommuKind::Other,
        });
        let in_tree_kind =
            if facts.driver.is_some_and(|driver| driver.contains("smmu")) { IommuKind::Smmu } else { IommuKind::Other };
        let mut advice = Vec::new();
        match state {
            IommuState::Enabled => {
                if facts.remapping == Some(false) {
                    advice.push(iommu_advice::remapping(inventory));
                }
                advice.extend(facts.bypass.map(iommu_advice::bypass));
            }
            IommuState::Disabled => advice.push(iommu_advice::disabled(inventory)),
            IommuState::Absent => advice.push(iommu_advice::absent(inventory)),
        }
        Self {
            state,
            kind: by_unit.or(by_table).or(in_tree.then_some(in_tree_kind)),
            units: facts.units.clone(),
            firmware_table: facts.firmware,
            interrupt_remapping: match facts.remapping {
                Some(true) => InterruptRemapping::Enabled,
                Some(false) => InterruptRemapping::Disabled,
                None => InterruptRemapping::Unknown,
            },
            advice,
            unsafe_interrupts: facts.allowed.type1 || facts.allowed.iommufd,
            seen: iommu_advice::seen(inventory),
        }
    }

    /// Whether it is enabled.
    pub fn is_enabled(&self) -> bool {
        self.state == IommuState::Enabled
    }

    /// Whether VFIO refuses every guest, because interrupts are not remapped.
    pub fn refuses_guests(&self) -> bool {
        self.is_enabled() && self.interrupt_remapping == InterruptRemapping::Disabled && !self.unsafe_interrupts
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
            _ => match self.firmware_table {
                _ if self.units.first().is_some_and(|unit| is_virtio(unit)) => "virtio-iommu",
                Some(FirmwareTable::Viot) => "virtio-iommu",
                Some(FirmwareTable::Rimt) => "RISC-V IOMMU",
                _ => "IOMMU",
            },
        };
        // Why it cannot be seen says more than what is seen.
        let because = |seen: String| self.seen.clone().unwrap_or(seen);
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
                let seen = format!("the firmware offers {kind} in its {table} table, the kernel has it off");
                format!("disabled ({})", because(seen))
            }
            IommuState::Absent => {
                format!(
                    "absent ({})",
                    because("the firmware has no table of an IOMMU, such as DMAR or IVRS".to_owned())
                )
            }
        }
    }
}
