// SPDX-License-Identifier: MIT OR Apache-2.0
//! What became of the option ROMs that claims are to save.

use crate::config::Config;
use crate::execute::Outcome;
use crate::execute::option_rom::{MOST, doubt};
use crate::inventory::{Device, Inventory, rom_path};
use crate::machine::Machine;
use crate::pci::ExpectedId;
use crate::plan::{Plan, Problem};
use crate::report::json;
use crate::rom;

/// Adds to a report what was saved, now or before, and what was not. What is saved is read back: only that counts.
pub(super) fn tell(
    machine: &dyn Machine,
    config: &Config,
    inventory: &Inventory,
    plan: &Plan,
    outcome: Option<&Outcome>,
    report: &mut json::Report,
) {
    let mut problems = Vec::new();
    for (claim, entry) in report.claims.iter_mut().zip(&plan.entries) {
        let device = entry.device.and_then(|address| inventory.device(address));
        let Some(device) = device.filter(|device| entry.decision.holds() && entry.saves_rom(config, device)) else {
            continue;
        };
        let notes = outcome.iter().flat_map(|outcome| &outcome.roms).filter(|(address, _)| *address == device.address);
        let notes: Vec<_> = notes.map(|(_, note)| note).collect();
        let mut saved = saved(machine, device).unwrap_or_default();
        if let Some(note) = notes.first() {
            saved.problem = Some(note.message.clone());
        }
        // Nobody expects one of a function that is no display.
        for note in notes.iter().filter(|note| note.code != "no-rom" || device.identity.class.is_display()) {
            let message = format!("option ROM of {}: {}", device.address, note.message);
            problems.push(Problem::warning(note.code, Some(device.address), message).of(entry.claim));
        }
        claim.rom = (outcome.is_some() || saved.path.is_some()).then_some(saved);
    }
    report.problems.extend(json::problems(config, &problems));
}

/// The saved option ROM of a device.
fn saved(machine: &dyn Machine, device: &Device) -> Option<json::SavedRom> {
    let path = rom_path(device.address);
    let content = machine.read(&path, MOST).ok()?;
    let id = ExpectedId { vendor: device.identity.vendor, device: device.identity.device, subsystem: None };
    let judgement = rom::judge(&rom::parse(&content), Some(&id));
    Some(json::SavedRom {
        path: Some(path),
        size: u64::try_from(content.len()).unwrap_or(0),
        verdict: Some(judgement.verdict.name().to_owned()),
        problem: doubt(&judgement).map(|doubt| doubt.message),
    })
}
