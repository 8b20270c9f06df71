// SPDX-License-Identifier: MIT OR Apache-2.0
//! `set isolation required`: what the hardware does not isolate from the host is not claimed.

use crate::groups::{Examination, Isolated};
use crate::inventory::{Device, Inventory};
use crate::problem::Code;

use super::Refusal;

/// Why a function is refused while isolation is required: with the hops that lack ACS controls, and which.
pub(super) fn refusal(inventory: &Inventory, examination: &Examination<'_>, device: &Device) -> Option<Refusal> {
    let name = device.name();
    let Some(group) = examination.group_of(device.address) else {
        if inventory.is_grouped_later(device) {
            return Some(refuse(&format!(
                "{name} has no IOMMU group yet: before Linux 6.15, the kernel assigns it when a driver binds to the device, so its \
                 isolation is not known"
            )));
        }
        return Some(refuse(&format!("{name} is in no IOMMU group, so nothing isolates it")));
    };
    let what = match group.isolated {
        Isolated::NotNeeded | Isolated::Acs | Isolated::Quirk => return None,
        Isolated::No => "the hardware does not isolate from others",
        Isolated::Override => "only pcie_acs_override= separates from others, which does not change the hardware",
        Isolated::Unknown => "may not be isolated from others: configuration space could not be read (needs root)",
    };
    let mut reason = format!("{name} is in IOMMU group {}, which {what}", group.id);
    let reasons = group.explanation.iter().filter(|_| group.isolated != Isolated::Unknown);
    for (hop, separator) in reasons.zip([": ", "; ", "; "]) {
        reason.push_str(separator);
        reason.push_str(&hop.text);
    }
    Some(refuse(&reason))
}

fn refuse(reason: &str) -> Refusal {
    Refusal::new(Code::Isolation, format!("{reason} (`set isolation required`)"))
}
