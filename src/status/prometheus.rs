// SPDX-License-Identifier: MIT OR Apache-2.0
//! The status as a text-collector file for node_exporter (Prometheus exposition formats, version 0.0.4).

use std::fmt::Write as _;

use crate::exit::Exit;
use crate::report::ClaimState;

use super::Status;
use super::text::seconds;

/// What a claim can be.
pub const STATES: &[ClaimState] = &[
    ClaimState::Claimed,
    ClaimState::Pending,
    ClaimState::Refused,
    ClaimState::Failed,
    ClaimState::Missing,
    ClaimState::Drifted,
    ClaimState::Taken,
];

/// A document of gauges.
#[derive(Default)]
struct Page {
    text: String,
    /// The lines before the first sample of a metric; a metric without samples has none.
    head: String,
}

impl Page {
    /// Begins a metric.
    fn metric(&mut self, name: &str, help: &str) {
        self.head.clear();
        let _ = writeln!(self.head, "# HELP vfio_early_{name} {help}\n# TYPE vfio_early_{name} gauge");
    }

    /// A sample of the metric that was begun.
    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: &str) {
        self.text.push_str(&std::mem::take(&mut self.head));
        let _ = write!(self.text, "vfio_early_{name}");
        let mut before = '{';
        for (label, text) in labels {
            let _ = write!(self.text, "{before}{label}=\"");
            for letter in text.chars() {
                match letter {
                    '\\' | '"' => self.text.extend(['\\', letter]),
                    '\n' => self.text.push_str("\\n"),
                    _ if letter.is_control() => self.text.push('?'),
                    _ => self.text.push(letter),
                }
            }
            self.text.push('"');
            before = ',';
        }
        let _ = writeln!(self.text, "{} {value}", if before == ',' { "}" } else { "" });
    }

    /// One sample for each state that something can be in: 1 for the one that it is in, 0 for the others.
    fn states(&mut self, name: &str, labels: &[(&str, &str)], all: &[&str], now: &str) {
        for state in all {
            let labels = [labels, &[("state", *state)]].concat();
            self.sample(name, &labels, if *state == now { "1" } else { "0" });
        }
    }
}

/// The whole file; without a status, the exit status alone.
pub fn prometheus(status: Option<&Status>, exit: Exit) -> String {
    let mut page = Page::default();
    page.metric(
        "status",
        "Exit status of vfio-early status: 0 as configured, 1 not, 2 broken configuration, 3 no IOMMU.",
    );
    page.sample("status", &[], &exit.code().to_string());
    let Some(status) = status else { return page.text };
    page.metric("info", "Versions of the program and the kernel.");
    page.sample("info", &[("version", &status.version), ("kernel", &status.kernel)], "1");
    page.metric("iommu_state", "State of the IOMMU.");
    page.states("iommu_state", &[], &["enabled", "disabled", "absent"], status.iommu.state.name());
    page.metric("interrupt_remapping", "State of interrupt remapping.");
    let all = ["enabled", "disabled", "unknown"];
    page.states("interrupt_remapping", &[], &all, status.iommu.interrupt_remapping.name());
    page.metric("claims", "Claimed functions by state.");
    for state in STATES {
        page.sample("claims", &[("state", state.name())], &status.count(*state).to_string());
    }
    if let Some(boot) = &status.boot {
        page.metric("last_claim_seconds", "When devices were last claimed, since the kernel started.");
        page.sample("last_claim_seconds", &[("stage", boot.stage.name())], &seconds(boot.time_ms));
        page.metric("last_claim_duration_seconds", "How long that took.");
        page.sample("last_claim_duration_seconds", &[], &seconds(boot.duration_ms));
        page.metric("last_claim_status", "Exit status of that claim.");
        page.sample("last_claim_status", &[], &boot.status.to_string());
    }
    if status.claims.is_empty() {
        return page.text;
    }
    page.metric("claim_state", "State of each claimed function.");
    let labels: Vec<[String; 3]> = status
        .claims
        .iter()
        .map(|claim| {
            let device = claim.device.map(|address| address.to_string()).unwrap_or_default();
            [device, claim.selector.clone(), claim.source.to_string()]
        })
        .collect();
    let names: Vec<&str> = STATES.iter().map(|state| state.name()).collect();
    for (index, (claim, own)) in status.claims.iter().zip(&labels).enumerate() {
        // Two samples may not have the same labels, whatever is written twice.
        if !labels.iter().take(index).any(|earlier| earlier == own) {
            let [device, selector, source] = own.each_ref().map(String::as_str);
            let own = [("device", device), ("selector", selector), ("source", source)];
            page.states("claim_state", &own, &names, claim.state.name());
        }
    }
    page.metric("group_viable", "Whether the kernel lets a guest have the IOMMU group of a claimed function.");
    for group in &status.groups {
        let id = group.id.to_string();
        for device in &group.devices {
            if status.claims.iter().any(|claim| claim.device == Some(*device)) {
                let device = device.to_string();
                let labels = [("device", device.as_str()), ("group", id.as_str())];
                page.sample("group_viable", &labels, if group.viable { "1" } else { "0" });
            }
        }
    }
    page.text
}
