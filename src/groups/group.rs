// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is known of each group: the `groups` array of the JSON documents.

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
    /// Whether the kernel would let VFIO assign it to a guest.
    pub viable: bool,
    /// The members that keep it from being viable.
    pub blockers: Vec<Blocker>,
    /// What isolates it from all other groups.
    pub isolated: Isolated,
    /// Why it is as big as it is.
    pub explanation: Vec<Reason>,
    /// The recomputed groups of its members, if they differ from this group; empty otherwise.
    pub recomputed: Vec<Vec<Address>>,
    /// The kernel parameter that enables all required controls that are implemented but disabled.
    pub parameter: Option<String>,
    /// The ports of this machine with a slot that isolates a card, if a bridge of this group does not isolate.
    pub isolated_slots: Vec<Address>,
    /// The ACS capabilities of its members.
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

/// A member whose driver makes the group not viable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocker {
    /// The member.
    pub device: Address,
    /// Its driver.
    pub driver: String,
}

fields!(Blocker { device, driver });

/// What isolates a group from all others, the weakest last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Isolated {
    /// Nothing needs to: the group is one function on a root bus, alone in its slot.
    NotNeeded,
    /// Enabled ACS controls.
    Acs,
    /// A kernel quirk for a device.
    Quirk,
    /// Only `pcie_acs_override=`, which does not change the hardware.
    Override,
    /// Nothing.
    No,
    /// Unknown, because configuration space could not be read.
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
    /// The bridge or function that is the reason; `None` if configuration space could not be read.
    pub bridge: Option<Address>,
    /// The required controls that it does not implement or that are disabled.
    pub missing: Controls,
    /// The required controls that it implements but that are disabled.
    pub off: Controls,
    /// The members that share the group because of it.
    pub devices: Vec<Address>,
    /// The reason as a sentence.
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
    /// The controls that are enabled.
    pub enabled: Controls,
}

fields!(FunctionAcs { device, implemented, enabled });

impl Group {
    /// Whether it has one of these devices as a member, or `addresses` is empty.
    pub fn is_selected(&self, addresses: &[Address]) -> bool {
        addresses.is_empty() || self.devices.iter().any(|device| addresses.contains(device))
    }
}
