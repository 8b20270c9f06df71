// SPDX-License-Identifier: MIT OR Apache-2.0
//! A reason as a sentence for people.

use std::fmt::Write as _;

use crate::pci::Address;

use super::function_isolation::{MissingAcs, MissingCause};
use super::port_type::PortType;
use super::reasons::ReasonKind;
use super::topology::Node;

/// The number of devices that a sentence names.
const MAX_DEVICES: usize = 4;

/// The sentence for a reason of this kind. `node` is the function that is the reason, `missing_acs` what it is missing if
/// that is the reason, `devices` are those that share the group because of it.
pub(super) fn reason_text(
    kind: ReasonKind,
    node: &Node<'_>,
    missing_acs: Option<MissingAcs>,
    devices: &[Address],
) -> String {
    let address = node.function.address;
    let mut text = String::new();
    let _ = match kind {
        ReasonKind::Unreadable => {
            text.push_str("unknown (needs root): cannot read configuration space");
            return text;
        }
        ReasonKind::Bridge => write!(text, "{} {address} ", node.type_name()),
        ReasonKind::Slot => write!(text, "functions of slot {} can reach each other: ", address.slot()),
        ReasonKind::RealDmaDevice | ReasonKind::DmaAlias => write!(text, "{address} "),
    };
    let cause = missing_acs.map(|missing| missing.cause);
    text.push_str(match (kind, cause, node.port_type) {
        (ReasonKind::RealDmaDevice, ..) => "uses its own requester ID for the devices of the PCI domain behind it",
        (ReasonKind::DmaAlias, ..) => "uses the requester ID of another function",
        (ReasonKind::Slot, _, PortType::Conventional) => "they are conventional PCI",
        (_, _, PortType::Conventional) => "leads to a conventional PCI bus, which its devices share",
        (ReasonKind::Bridge, _, _) if node.keeps_requester_ids => {
            "has no ACS capability (SV RR CR UF missing in hardware)"
        }
        (ReasonKind::Slot, _, PortType::PcieToPciBridge | PortType::PciToPcieBridge) => {
            "they include a bridge to conventional PCI"
        }
        (_, _, PortType::PcieToPciBridge | PortType::PciToPcieBridge) => {
            "uses one requester ID for all devices behind it"
        }
        (ReasonKind::Slot, Some(MissingCause::Disabled), _) => "they have ACS, but with ",
        (_, Some(MissingCause::Disabled), _) => "has ACS, but with ",
        (ReasonKind::Slot, Some(MissingCause::PchLocked), _) => {
            "the firmware prevents the kernel from enabling their chipset-specific isolation controls"
        }
        (_, Some(MissingCause::PchLocked), _) => {
            "has chipset-specific isolation controls, but the firmware prevents the kernel from enabling them"
        }
        (ReasonKind::Slot, Some(MissingCause::PchOff), _) => {
            "the kernel has not enabled their chipset-specific isolation controls, though the firmware allows it"
        }
        (_, Some(MissingCause::PchOff), _) => {
            "has chipset-specific isolation controls, which the kernel has not enabled, though the firmware allows it"
        }
        (ReasonKind::Slot, ..) => "they have no ACS capability",
        (_, Some(MissingCause::Quirk), _) => "does not isolate, by a kernel quirk (SV RR CR UF missing in hardware)",
        _ => "has no ACS capability (SV RR CR UF missing in hardware)",
    });
    if let Some(MissingAcs { cause: MissingCause::Disabled, disabled, .. }) = missing_acs {
        let _ = write!(text, "{disabled} disabled");
    }
    text.push_str(match kind {
        ReasonKind::Bridge => ": it shares a group with ",
        ReasonKind::Slot => " (",
        _ => ": ",
    });
    write_addresses(&mut text, devices, ", ", MAX_DEVICES);
    if kind == ReasonKind::Slot {
        text.push(')');
    }
    text
}

/// Writes the first addresses, at most `limit`, and how many more there are.
pub(super) fn write_addresses(text: &mut String, addresses: &[Address], separator: &str, limit: usize) {
    for (index, address) in addresses.iter().take(limit).enumerate() {
        let _ = write!(text, "{}{address}", if index == 0 { "" } else { separator });
    }
    if let Some(more @ 1..) = addresses.len().checked_sub(limit) {
        let _ = write!(text, " and {more} more");
    }
}
