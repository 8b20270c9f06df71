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
    if kind == ReasonKind::Unreadable {
        return "unknown (needs root): configuration space was not readable".to_owned();
    }
    let address = node.function.address;
    let mut text = String::new();
    let slot = kind == ReasonKind::Slot;
    let _ = match kind {
        ReasonKind::Bridge => write!(text, "{} {address} ", node.type_name()),
        ReasonKind::Slot => write!(text, "the functions of slot {} can reach each other, ", address.slot()),
        _ => write!(text, "{address} "),
    };
    text.push_str(match (missing_acs.map(|missing| missing.cause), node.port_type) {
        _ if kind == ReasonKind::RealDmaDevice => "lends its requester ID to the domain behind it",
        _ if kind == ReasonKind::DmaAlias => "uses the requester ID of a neighbour",
        (_, PortType::Conventional) if slot => "being conventional PCI",
        (_, PortType::Conventional) => "leads to a conventional bus, which its devices share",
        (_, PortType::PcieToPciBridge | PortType::PciToPcieBridge) => "lends its requester ID to everything behind it",
        (Some(MissingCause::Disabled), _) => {
            if slot {
                "with ACS, but "
            } else {
                "has ACS, but "
            }
        }
        (Some(MissingCause::PchDisabled), _) => {
            "has controls of its own that the firmware does not let the kernel switch on"
        }
        _ if slot => "having no ACS capability",
        (Some(MissingCause::Quirk), _) => "is known not to isolate (SV RR CR UF missing in hardware)",
        _ => "has no ACS capability (SV RR CR UF missing in hardware)",
    });
    if let Some(MissingAcs { cause: MissingCause::Disabled, disabled, .. }) = missing_acs {
        let _ = write!(text, "{disabled} switched off");
    }
    text.push_str(if kind == ReasonKind::Bridge { ": it shares a group with " } else { ": " });
    write_addresses(&mut text, devices, ", ", MAX_DEVICES);
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
