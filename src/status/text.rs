// SPDX-License-Identifier: MIT OR Apache-2.0
//! The status for people, in 80 columns.

use std::fmt::Write as _;

use crate::layout;
use crate::report::{ClaimState, ClaimedDevice, SavedRom, Stage};
use crate::trial::State;

use super::{Bar, DeviceStatus, LastClaim, Status};

/// The colours of a terminal that states have.
const COLOURS: &[(ClaimState, u8)] = &[
    (ClaimState::Claimed, 32),
    (ClaimState::Pending, 33),
    (ClaimState::Refused, 31),
    (ClaimState::Failed, 31),
    (ClaimState::Missing, 31),
    (ClaimState::Drifted, 31),
    (ClaimState::Taken, 31),
];

/// The whole text. `met`: everything is as configured.
pub fn text(status: &Status, met: bool, colour: bool) -> String {
    let mut text = layout::wrap(&status.headline, "  ");
    if colour && !status.claims.is_empty() {
        text = format!("\x1b[1;{}m{}\x1b[0m\n", if met { 32 } else { 31 }, text.trim_end());
    }
    text.push_str(&layout::wrap(&format!("IOMMU: {}", status.iommu.headline()), "  "));
    for advice in &status.iommu.advice {
        text.push_str(&layout::wrap(&format!("  {advice}"), "  "));
    }
    // What else there is to say of a trial is a problem.
    if status.trial.as_ref().is_some_and(|trial| trial.state == State::Good) {
        text.push_str("Trial: confirmed\n");
    }
    if !status.claims.is_empty() {
        text.push_str("\nClaims:\n");
        text.push_str(&paint(claims(status), colour));
    }
    if let Some(boot) = &status.boot {
        last_claim(&mut text, boot);
    } else if !status.claims.is_empty() {
        text.push_str("\nLast claim: none in this boot (is vfio-early in the initramfs?)\n");
    }
    if !status.devices.is_empty() {
        text.push_str("\nDevices:\n");
        devices(&mut text, status);
    }
    groups(&mut text, status);
    for problem in status.problems.iter().filter(|problem| !problem.is_reason()) {
        text.push('\n');
        let place = problem.source.as_ref().filter(|_| problem.device.is_none());
        let place = place.map(|source| format!("{source}: ")).unwrap_or_default();
        text.push_str(&layout::wrap(&format!("{}: {place}{}", problem.severity.name(), problem.message), "  "));
    }
    text
}

/// One row a claim, with its history and reason below.
fn claims(status: &Status) -> String {
    let mut rows = Vec::new();
    for claim in &status.claims {
        let or_none = |word: &Option<String>| word.clone().unwrap_or_else(|| "-".to_owned());
        rows.push(vec![
            or_none(&claim.device.map(|address| address.to_string())),
            claim.state.name().to_owned(),
            or_none(&claim.driver),
            format!("{} ({})", claim.selector, claim.source),
        ]);
    }
    let mut text = String::new();
    for (row, claim) in layout::table(&rows).into_iter().zip(&status.claims) {
        text.push_str(&row);
        note(&mut text, &history(claim));
        note(&mut text, claim.reason.as_deref().unwrap_or_default());
        note(&mut text, &claim.rom.as_ref().map(SavedRom::text).unwrap_or_default());
    }
    text
}

/// A line below a row, if there is something to say.
fn note(text: &mut String, line: &str) {
    if !line.is_empty() {
        text.push_str(&layout::wrap(&format!("      {line}"), "      "));
    }
}

/// When and where a device was claimed, and whether that was in time.
fn history(claim: &ClaimedDevice) -> String {
    let Some((stage, time)) = claim.stage.zip(claim.time_ms) else {
        let unknown = claim.state == ClaimState::Claimed;
        return if unknown { "not on record: bound by other means" } else { "" }.to_owned();
    };
    let mut line = format!("claimed in the {} stage at {} s", stage.name(), seconds(time));
    if let Some(driver) = claim.before.first() {
        let _ = write!(line, ", taken from {driver}");
    } else if stage != Stage::Initramfs && !claim.selector.starts_with("vf:") {
        // No driver is probed for a virtual function that is claimed with `vf:`.
        line.push_str(", after host drivers could bind it");
    }
    line
}

/// What the last claim did, and what of it failed.
fn last_claim(text: &mut String, boot: &LastClaim) {
    let (time, took) = (seconds(boot.time_ms), boot.duration_ms);
    let line = format!("Last claim: {} stage at {time} s, took {took} ms, status {}", boot.stage.name(), boot.status);
    text.push('\n');
    text.push_str(&layout::wrap(&line, "  "));
    for step in &boot.failed {
        let device = step.device.map_or_else(|| "-".to_owned(), |address| address.to_string());
        let op = format!("{} {}", step.op.name(), step.value);
        let line = format!("  failed: {device} {}: {}", op.trim_end(), step.result.text());
        text.push_str(&layout::wrap(&line, "      "));
    }
}

/// One row a device, its name and what it can do below.
fn devices(text: &mut String, status: &Status) {
    let mut rows = vec![["ADDRESS", "ID", "KIND", "GROUP", "DRIVER"].map(ToOwned::to_owned).to_vec()];
    for device in &status.devices {
        let boot = if device.boot_display == Some(true) { " (boot display)" } else { "" };
        rows.push(vec![
            device.address.to_string(),
            device.identity.id(),
            device.identity.class.name().to_owned(),
            device.detail.group.map_or_else(|| "-".to_owned(), |group| group.to_string()),
            format!("{}{boot}", device.detail.driver.as_deref().unwrap_or("-")),
        ]);
    }
    let mut rows = layout::table(&rows).into_iter();
    text.push_str(&rows.next().unwrap_or_default());
    for (row, device) in rows.zip(&status.devices) {
        text.push_str(&row);
        // Without a list of names, the name is the ID, which the row has already.
        if device.name.contains(' ') {
            note(text, &device.name);
        }
        if !device.identity.class.is_bridge() {
            note(text, &facts(device).join(", "));
        }
        match device.open_by.as_deref() {
            None => note(text, "open in a guest: unknown (needs root)"),
            Some(processes) => {
                for process in processes {
                    note(text, &format!("open in {} (process {})", process.name, process.pid));
                }
            }
        }
    }
}

/// What a device can do, in a few words each.
fn facts(device: &DeviceStatus) -> Vec<String> {
    let mut facts = Vec::new();
    facts.extend(device.detail.numa_node.map(|node| format!("NUMA node {node}")));
    if let Some(state) = &device.detail.power_state {
        let never = if device.features.d3cold_allowed == Some(false) { " (never D3cold)" } else { "" };
        facts.push(format!("{state}{never}"));
    }
    match (device.features.resets, device.detail.reset_methods.as_slice()) {
        (_, []) if device.hot_reset => facts.push("reset: with its whole slot".to_owned()),
        (Some(false), []) => facts.push("no reset".to_owned()),
        (Some(true), []) => facts.push("reset".to_owned()),
        (None, []) => {}
        (_, methods) => facts.push(format!("reset: {}", methods.join(" "))),
    }
    for bar in device.features.bars.iter().map(Bar::of) {
        if let (Some(least), Some(most)) = (bar.sizes.first(), bar.sizes.last()) {
            facts.push(format!("BAR {}: {} of {} to {}", bar.bar, size(bar.size), size(*least), size(*most)));
        }
    }
    if let Some((now, most)) = device.features.virtual_functions {
        facts.push(format!("{now} of {most} virtual functions"));
    }
    facts.extend(device.features.physical.as_ref().map(|of| format!("virtual function of {of}")));
    facts
}

/// `256M`; the sizes of BARs are powers of two.
fn size(bytes: u64) -> String {
    let step = [(30, 'G'), (20, 'M'), (10, 'K')].into_iter().find(|(bits, _)| bytes >> bits > 0);
    step.map_or_else(|| bytes.to_string(), |(bits, letter)| format!("{}{letter}", bytes >> bits))
}

/// The groups of claimed devices.
fn groups(text: &mut String, status: &Status) {
    let mut title = "\nGroups:\n";
    for group in &status.groups {
        let member = |claim: &ClaimedDevice| claim.device.is_some_and(|device| group.devices.contains(&device));
        if !status.claims.iter().any(member) {
            continue;
        }
        text.push_str(std::mem::take(&mut title));
        let mut line = format!("  {}  ", group.id);
        match group.blockers.as_slice() {
            [] => line.push_str("viable"),
            [first, rest @ ..] => {
                let _ = write!(line, "not viable ({} is on {}", first.device, first.driver);
                if !rest.is_empty() {
                    let _ = write!(line, ", {} more", rest.len());
                }
                line.push(')');
            }
        }
        let _ = write!(line, ", {}", group.isolated.description());
        text.push_str(&layout::wrap(&line, "      "));
    }
}

/// Milliseconds as the seconds of the kernel log.
pub(super) fn seconds(milliseconds: u64) -> String {
    format!("{}.{:03}", milliseconds / 1000, milliseconds % 1000)
}

/// Colours the states.
fn paint(mut text: String, colour: bool) -> String {
    for (state, code) in COLOURS.iter().filter(|_| colour) {
        let state = state.name();
        // In its column; elsewhere the word is one of a sentence.
        text = text.replace(&format!("  {state}  "), &format!("  \x1b[{code}m{state}\x1b[0m  "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_coloured_in_its_column_alone() {
        let text = "  0000:01:00.0  claimed  vfio-pci\n      claimed in the initramfs stage\n".to_owned();
        assert_eq!(
            paint(text.clone(), true),
            "  0000:01:00.0  \x1b[32mclaimed\x1b[0m  vfio-pci\n      claimed in the initramfs stage\n"
        );
        assert_eq!(paint(text.clone(), false), text);
    }
}
