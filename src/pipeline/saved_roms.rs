// SPDX-License-Identifier: MIT OR Apache-2.0
//! The saved option ROMs in a report: which claims asked for one, and what became of it.

use crate::config::Config;
use crate::execute::Execution;
use crate::execute::option_rom::{MOST, doubt};
use crate::inventory::{Device, Inventory, rom_path};
use crate::machine::Machine;
use crate::pci::ExpectedId;
use crate::plan::Plan;
use crate::problem::{Code, Problem};
use crate::report::{Report, SavedRom};
use crate::rom;

/// Adds to a report what was saved, now or before, and what was not. What is saved is read back: only that counts.
pub(super) fn add(
    machine: &dyn Machine,
    config: &Config,
    inventory: &Inventory,
    plan: &Plan,
    execution: Option<&Execution>,
    report: &mut Report,
) {
    let mut problems = Vec::new();
    for (claim, planned) in report.claims.iter_mut().zip(&plan.devices) {
        let device = planned.device.and_then(|address| inventory.device(address));
        let Some(device) = device.filter(|device| planned.decision.holds() && planned.saves_rom(config, device)) else {
            continue;
        };
        let notes =
            execution.iter().flat_map(|execution| &execution.roms).filter(|(address, _)| *address == device.address);
        let notes: Vec<_> = notes.map(|(_, note)| note).collect();
        let mut saved = saved(machine, device).unwrap_or_default();
        if let Some(note) = notes.first() {
            saved.problem = Some(note.message.clone());
        }
        // Nobody expects one of a function that is no display.
        for note in notes.iter().filter(|note| note.code != "no-rom" || device.identity.class.is_display()) {
            let message = format!("option ROM of {}: {}", device.address, note.message);
            problems.push(Problem::warning(code(note.code), Some(device.address), message).of(config, planned.claim));
        }
        claim.rom = (execution.is_some() || saved.path.is_some()).then_some(saved);
    }
    report.problems.extend(problems);
}

/// The saved option ROM of a device.
fn saved(machine: &dyn Machine, device: &Device) -> Option<SavedRom> {
    let path = rom_path(device.address);
    let content = machine.read(&path, MOST).ok()?;
    let id = ExpectedId { vendor: device.identity.vendor, device: device.identity.device, subsystem: None };
    let judgement = rom::judge(&rom::parse(&content), Some(&id));
    Some(SavedRom {
        path: Some(path),
        size: u64::try_from(content.len()).unwrap_or(0),
        verdict: Some(judgement.verdict.word().to_owned()),
        problem: doubt(&judgement).map(|doubt| doubt.message),
    })
}

/// The code of what was found while a ROM was read.
fn code(name: &str) -> Code {
    use crate::json::{FromJson, Value};
    Code::from_json(&Value::Text(name.to_owned())).unwrap_or_default()
}
