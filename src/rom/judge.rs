// SPDX-License-Identifier: MIT OR Apache-2.0
//! The verdict on a ROM, on its own or for a device.

use crate::json::readable_words;
use crate::pci::ExpectedId;
use crate::severity::Severity;

use super::Rom;
use super::compatibility::{Compatibility, Usable, with_device, with_ovmf, with_seabios};
use super::efi::GuestMachine;
use super::problem::{Problems, RomProblem};

/// The verdict on a ROM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It can be used as it is.
    Valid,
    /// `rom repair` makes a valid ROM of it.
    Repairable,
    /// A part of it is missing, damaged, or for another device.
    Invalid,
}

readable_words!(Verdict { Valid: "valid", Repairable: "repairable", Invalid: "invalid" });

/// A ROM and the verdict on it: made once from the bytes, then printed, saved and reported.
#[derive(Clone, Debug)]
pub struct JudgedRom {
    /// The content. Its problems include those with the expected device, which come last.
    pub rom: Rom,
    /// The verdict.
    pub verdict: Verdict,
    /// Whether OVMF, like every UEFI firmware built from edk2, would load a driver from it.
    pub ovmf: Compatibility,
    /// Whether SeaBIOS would run it.
    pub seabios: Compatibility,
    /// Whether it is the ROM of the expected device, if there is one.
    pub card: Option<Compatibility>,
}

impl JudgedRom {
    /// The worst error, unless the ROM is valid.
    pub fn worst_error(&self) -> Option<&RomProblem> {
        let errors = || self.rom.problems.iter().filter(|problem| problem.severity == Severity::Error);
        errors().find(|problem| !problem.repairable).or_else(|| errors().next())
    }

    /// Why the ROM cannot be used as it is, one line; `None` if it is valid.
    pub fn why_not_valid(&self) -> Option<String> {
        let worst = self.worst_error()?;
        Some(format!("the option ROM is {}: {} ({})", self.verdict.name(), worst.message, worst.remedy))
    }
}

/// Judges a ROM, on its own or for a device, for guests of the kind that this machine runs.
pub fn judge(rom: Rom, device: Option<&ExpectedId>) -> JudgedRom {
    judge_for(rom, device, GuestMachine::default())
}

/// Judges a ROM for guests whose UEFI firmware is for `machine`.
pub fn judge_for(mut rom: Rom, device: Option<&ExpectedId>, machine: GuestMachine) -> JudgedRom {
    let mut problems = Problems(std::mem::take(&mut rom.problems));
    let card = device.map(|id| with_device(&rom, id, &mut problems));
    let mut verdict = verdict(&problems.0);
    let ovmf = with_ovmf(&rom, machine.0, verdict);
    let seabios = with_seabios(&rom, device, verdict);
    if verdict == Verdict::Valid && ovmf.answer == Usable::No && seabios.answer == Usable::No {
        let message = format!("no firmware runs it: OVMF: {}; SeaBIOS: {}", ovmf.text, seabios.text);
        problems.error("unusable", 0, message, "use a ROM for this card and for the firmware of the guest");
        verdict = Verdict::Invalid;
    }
    rom.problems = problems.0;
    JudgedRom { rom, verdict, ovmf, seabios, card }
}

/// The verdict that follows from the errors.
fn verdict(problems: &[RomProblem]) -> Verdict {
    let mut errors = problems.iter().filter(|problem| problem.severity == Severity::Error).peekable();
    if errors.peek().is_none() {
        Verdict::Valid
    } else if errors.all(|error| error.repairable) {
        Verdict::Repairable
    } else {
        Verdict::Invalid
    }
}
