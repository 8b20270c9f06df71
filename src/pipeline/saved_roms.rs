// SPDX-License-Identifier: MIT OR Apache-2.0
//! What became of the option ROMs that claims are to save, for the report.

use crate::config::Config;
use crate::execute::Execution;
use crate::execute::option_rom::MAX_ROM_SIZE;
use crate::inventory::{Device, Inventory, rom_path};
use crate::machine::Machine;
use crate::pci::ExpectedId;
use crate::plan::Plan;
use crate::problem::{Code, Problem};
use crate::report::{Report, SavedRom};
use crate::rom::{self, JudgedRom};

/// Adds to a report the ROMs that were saved, now or earlier, and why others were not.
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
        let mut warn = |code: Code, message: &str| {
            let message = format!("option ROM of {}: {message}", device.address);
            problems.push(Problem::warning(code, Some(device.address), message).of(config, planned.claim));
        };
        let mut results = execution.iter().flat_map(|execution| &execution.roms);
        let result = results.find(|(address, _)| *address == device.address).map(|(_, result)| result);
        claim.rom = match result {
            Some(Ok(saved)) => {
                for warning in &saved.warnings {
                    warn(warning.code, &warning.message);
                }
                let problem = saved.warnings.first().map(|warning| warning.message.clone());
                Some(entry_of(saved.path.clone(), &saved.judged, problem))
            }
            Some(Err(error)) => {
                // Most functions that are no display have none.
                if error.code != Code::NoRom || device.identity.class.is_display() {
                    warn(error.code, &error.message);
                }
                let earlier = saved_earlier(machine, device).unwrap_or_default();
                Some(SavedRom { problem: Some(error.message.clone()), ..earlier })
            }
            None => saved_earlier(machine, device).or_else(|| execution.map(|_| SavedRom::default())),
        };
    }
    report.problems.extend(problems);
}

/// The option ROM of a device that an earlier run saved.
fn saved_earlier(machine: &dyn Machine, device: &Device) -> Option<SavedRom> {
    let path = rom_path(device.address);
    if machine.untrusted(&path).is_some() {
        return None;
    }
    let bytes = machine.read(&path, MAX_ROM_SIZE).ok()?;
    let id = ExpectedId { vendor: device.identity.vendor, device: device.identity.device, subsystem: None };
    let judged = rom::judge(rom::parse(&bytes), Some(&id));
    let problem = judged.why_not_valid();
    Some(entry_of(path, &judged, problem))
}

/// The entry in the report for a saved ROM.
fn entry_of(path: String, judged: &JudgedRom, problem: Option<String>) -> SavedRom {
    SavedRom {
        path: Some(path),
        size: u64::try_from(judged.rom.size).unwrap_or(0),
        verdict: Some(judged.verdict),
        problem,
    }
}
