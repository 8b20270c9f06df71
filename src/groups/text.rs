// SPDX-License-Identifier: MIT OR Apache-2.0
//! Prints groups as text for people.

use std::fmt::Write as _;

use crate::pci::Address;

use super::Examination;
use super::function_isolation::Isolation;
use super::group::{Group, Isolated};
use super::reason_text::write_addresses;
use super::reasons::CONFIG_ACS;

impl Examination<'_> {
    /// The groups that have one of `addresses` as a member, or all groups if that is empty.
    pub fn text(&self, addresses: &[Address]) -> String {
        let mut out = String::new();
        // The kernel takes the parameter once, so that of several groups has to be one.
        let (mut parameters, mut several) = (String::new(), false);
        for group in self.groups.iter().filter(|group| group.is_selected(addresses)) {
            self.write_group(&mut out, group);
            if let Some(parameter) = &group.parameter {
                several = !parameters.is_empty();
                parameters.push_str(if several { ";" } else { CONFIG_ACS });
                parameters.push_str(parameter.strip_prefix(CONFIG_ACS).unwrap_or_default());
            }
        }
        if several {
            let _ = writeln!(out, "kernel parameter for all groups above: {parameters}");
        }
        if parameters.contains(';') {
            self.write_quoting(&mut out, &parameters);
        }
        out
    }

    /// How to write a parameter that names several ports, and which kernels take it.
    fn write_quoting(&self, out: &mut String, parameter: &str) {
        let _ = writeln!(
            out,
            "in /etc/default/grub, with both kinds of quotes, since GRUB ends a command at a bare `;`: \
             GRUB_CMDLINE_LINUX_DEFAULT='\"{parameter}\"'"
        );
        out.push_str(
            "in /etc/kernel/cmdline, entries of systemd-boot and limine.conf, without quotes; as an argument of \
             kernelstub or another command, in single quotes\n",
        );
        // Fixed early in 2025 (drivers/pci/pci.c, `__pci_config_acs`); Linux 6.12.117 has it.
        if self.kernel.is_some_and(|kernel| ((6, 11)..(6, 15)).contains(&kernel)) {
            out.push_str(
                "Linux 6.11 to 6.14 without the fix of 2025 applies it to the first port only, and logs \
                 `Can't parse ACS command line parameter`\n",
            );
        }
    }

    fn write_group(&self, out: &mut String, group: &Group) {
        let _ = write!(out, "group {}", group.id);
        if let Some(domain) = &group.r#type {
            let _ = write!(out, " ({domain})");
        }
        let viable = if group.viable { "viable" } else { "not viable" };
        let _ = writeln!(out, ": {viable}, {}", group.isolated.description());
        for device in &group.devices {
            self.write_device(out, *device);
        }
        // The line of a single device already has its driver.
        if !group.viable && group.devices.len() > 1 {
            let mut separator = "  bound to a host driver: ";
            for blocker in &group.blockers {
                let _ = write!(out, "{separator}{} {}", blocker.device, blocker.driver);
                separator = ", ";
            }
            out.push('\n');
        }
        for reason in &group.explanation {
            let _ = writeln!(out, "  why: {}", reason.text);
        }
        if let Some(parameter) = &group.parameter {
            out.push_str("  kernel parameter (Linux 6.11 or newer");
            if let Some((major, minor)) = self.kernel.filter(|kernel| *kernel < (6, 11)) {
                let _ = write!(out, "; running {major}.{minor}");
            }
            let _ = writeln!(out, "): {parameter}");
        }
        let mut separator = "  ports with an isolated slot: ";
        for slot in &group.isolated_slots {
            let _ = write!(out, "{separator}{slot}");
            if self.topology.index_of(*slot).is_some_and(|slot| !self.topology.node(slot).has_children) {
                out.push_str(" (empty)");
            }
            separator = ", ";
        }
        if !group.isolated_slots.is_empty() {
            out.push('\n');
        }
        let mut separator = "  kernel group differs; recomputed from configuration space: ";
        for part in &group.recomputed {
            out.push_str(separator);
            write_addresses(out, part, " ", 16);
            separator = " | ";
        }
        if !group.recomputed.is_empty() {
            out.push('\n');
        }
    }

    fn write_device(&self, out: &mut String, address: Address) {
        let node = self.topology.node(self.topology.index_of(address).unwrap_or(usize::MAX));
        let function = node.function;
        let (vendor, device) = (function.vendor, function.device);
        let _ = write!(out, "  {address}  {vendor:04x}:{device:04x}  {}", node.type_name());
        if let Some(driver) = &function.driver {
            let _ = write!(out, "  {driver}");
        }
        if let Ok(Some(acs)) = node.acs() {
            let _ = write!(out, "  ACS on: {}", acs.enabled);
            let rest = acs.implemented.without(acs.enabled);
            if !rest.is_empty() {
                let _ = write!(out, ", off: {rest}");
            }
            if node.broken_source_validation {
                out.push_str(" (SV is broken; the kernel leaves it off)");
            }
        }
        if let Isolation::Quirk(quirk) = node.isolation {
            let (major, minor) = quirk.kernel;
            let _ = write!(out, "  isolates by kernel quirk: {} (Linux {major}.{minor})", quirk.kind.description());
        }
        out.push('\n');
    }
}

impl Isolated {
    /// A few words for people.
    pub fn description(self) -> &'static str {
        match self {
            Self::Acs => "isolated from other groups by ACS",
            Self::Quirk => "isolated from other groups by a kernel quirk",
            Self::Override => "NOT isolated: separated only by pcie_acs_override, which does not change the hardware",
            Self::NotNeeded => "single device, no isolation needed",
            Self::No => "not isolated",
            Self::Unknown => "isolation unknown (needs root)",
        }
    }
}
