// SPDX-License-Identifier: MIT OR Apache-2.0
//! The groups as text for people.

use std::fmt::Write as _;

use crate::pci::Address;

use super::isolation::Isolation;
use super::machine::Node;
use super::report::{Group, Isolated};
use super::{Examination, acs::Acs};

impl Examination<'_> {
    /// The groups that hold one of `only` (all groups when it is empty), as text.
    pub fn text(&self, only: &[Address]) -> String {
        let mut out = String::new();
        let wanted = |group: &&Group| only.is_empty() || group.devices.iter().any(|device| only.contains(device));
        for group in self.groups.iter().filter(wanted) {
            self.group_text(&mut out, group);
        }
        out
    }

    fn group_text(&self, out: &mut String, group: &Group) {
        let _ = write!(out, "group {}", group.id);
        if let Some(domain) = &group.r#type {
            let _ = write!(out, " ({domain})");
        }
        let _ = writeln!(out, ": {}, {}", if group.viable { "viable" } else { "not viable" }, sentence(group.isolated));
        for device in &group.devices {
            if let Some(node) = self.node(*device) {
                self.line(out, node);
            }
        }
        for blocker in &group.blockers {
            let _ = writeln!(out, "  not viable: {} is on host driver {}", blocker.device, blocker.driver);
        }
        for reason in &group.explanation {
            let _ = writeln!(out, "  why: {}", reason.text);
        }
        if let Some(parameter) = &group.parameter {
            let _ = write!(out, "  kernel parameter (Linux 6.11 or newer");
            if let Some((major, minor)) = self.kernel.filter(|kernel| *kernel < (6, 11)) {
                let _ = write!(out, "; this is {major}.{minor}");
            }
            let _ = writeln!(out, "): {parameter}");
        }
        if !group.isolated_slots.is_empty() {
            let _ = writeln!(out, "  a card would be isolated below: {}", list(&group.isolated_slots, " "));
        }
        if !group.recomputed.is_empty() {
            let split: Vec<String> = group.recomputed.iter().map(|part| list(part, " ")).collect();
            let _ = writeln!(out, "  the kernel groups: {}", list(&group.devices, " "));
            let _ = writeln!(out, "  what was read says: {}", split.join(" | "));
        }
    }

    fn line(&self, out: &mut String, node: &Node<'_>) {
        let function = node.function;
        let (vendor, device) = (function.vendor, function.device);
        let _ = write!(out, "  {}  {vendor:04x}:{device:04x}  {}", function.address, node.kind());
        if let Some(driver) = &function.driver {
            let _ = write!(out, "  {driver}");
        }
        if let Ok(Some(acs)) = Acs::read(node.config(), false) {
            let _ = write!(out, "  ACS on: {}", acs.enabled);
            let rest = acs.implemented.without(acs.enabled);
            if !rest.is_empty() {
                let _ = write!(out, ", off: {rest}");
            }
        }
        if let Ok(index) = self.machine.nodes.binary_search_by_key(&function.address, |node| node.function.address)
            && let Some(Isolation::Quirk(quirk)) = self.regrouping.isolation.get(index)
        {
            let (major, minor) = quirk.kernel;
            let _ = write!(out, "  isolates: {} (Linux {major}.{minor})", quirk.kind.name());
        }
        out.push('\n');
    }

    fn node(&self, address: Address) -> Option<&Node<'_>> {
        let index = self.machine.nodes.binary_search_by_key(&address, |node| node.function.address).ok()?;
        self.machine.nodes.get(index)
    }
}

/// What backs the split of a group, for people.
pub fn sentence(isolated: Isolated) -> &'static str {
    match isolated {
        Isolated::Acs => "isolated by ACS",
        Isolated::Quirk => "isolated, as the kernel knows of this device",
        Isolated::Override => "NOT isolated: pcie_acs_override only pretends",
        Isolated::NotNeeded => "alone, no isolation needed",
        Isolated::No => "isolated by nothing",
        Isolated::Unknown => "isolation unknown (needs root)",
    }
}

fn list(addresses: &[Address], between: &str) -> String {
    let mut out = String::new();
    for (index, address) in addresses.iter().enumerate() {
        let _ = write!(out, "{}{address}", if index == 0 { "" } else { between });
    }
    out
}
