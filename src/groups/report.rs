// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is told about each group: the `groups` array of the JSON documents.

use crate::json::{Json, fields, words};
use crate::pci::Address;

use super::acs::Controls;

impl Json for Address {
    fn json(&self, out: &mut String) {
        self.to_string().json(out);
    }
}

/// One IOMMU group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its number.
    pub id: u32,
    /// The kind of DMA domain, as /sys has it: `DMA`, `DMA-FQ`, `identity`.
    pub r#type: Option<String>,
    /// Its members.
    pub devices: Vec<Address>,
    /// Whether the kernel would let a guest have it.
    pub viable: bool,
    /// The members that keep it from being viable.
    pub blockers: Vec<Blocker>,
    /// What backs the split from other groups.
    pub isolated: Isolated,
    /// Why it is as big as it is.
    pub explanation: Vec<Reason>,
    /// Where the recomputed grouping differs from the kernel's: the recomputed groups of its members. Empty otherwise.
    pub recomputed: Vec<Vec<Address>>,
    /// The kernel parameter that switches on every control that is merely off.
    pub parameter: Option<String>,
    /// The ports of this machine with a slot in which a card would be isolated; for groups that need one.
    pub isolated_slots: Vec<Address>,
    /// The ACS capabilities of its members, for those that have one.
    pub acs: Vec<FunctionAcs>,
}

fields!(Group {
    id,
    r#type,
    devices,
    viable,
    blockers,
    isolated,
    explanation,
    recomputed,
    parameter,
    isolated_slots,
    acs
});

/// A member whose host driver keeps the group from a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocker {
    /// The member.
    pub device: Address,
    /// Its driver.
    pub driver: String,
}

fields!(Blocker { device, driver });

/// What backs the split of a group from all others, the weakest last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Isolated {
    /// One function on a root bus, alone in its slot: there is nothing to split.
    NotNeeded,
    /// ACS controls that are on.
    Acs,
    /// What the kernel knows of devices without an ACS capability.
    Quirk,
    /// Nothing but `pcie_acs_override=`: the kernel only pretends.
    Override,
    /// Nothing.
    No,
    /// Not known, because configuration space was not readable.
    Unknown,
}

words!(Isolated {
    Acs: "acs",
    Quirk: "quirk",
    Override: "override",
    NotNeeded: "not-needed",
    No: "no",
    Unknown: "unknown",
});

/// One reason for the size of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// The bridge or function that is the reason; `None` when something could not be read.
    pub bridge: Option<Address>,
    /// The required controls that it lacks.
    pub missing: Controls,
    /// Those of them that it has but that are switched off.
    pub off: Controls,
    /// The members that share the group because of it.
    pub devices: Vec<Address>,
    /// All of that in a sentence.
    pub text: String,
}

fields!(Reason { bridge, missing, off, devices, text });

/// The ACS capability of one function: SV TB RR CR UF EC DT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionAcs {
    /// The function.
    pub device: Address,
    /// The controls that it implements.
    pub implemented: Controls,
    /// The controls that are on.
    pub enabled: Controls,
}

fields!(FunctionAcs { device, implemented, enabled });

impl Group {
    /// Whether it holds one of these devices, or nobody named any.
    pub fn is_wanted(&self, only: &[Address]) -> bool {
        only.is_empty() || self.devices.iter().any(|device| only.contains(device))
    }
}
