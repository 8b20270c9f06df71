// SPDX-License-Identifier: MIT OR Apache-2.0
//! Makes a valid ROM of a repairable one: into new bytes, every change named, nothing guessed.

use std::fmt::{self, Write as _};

use super::bytes::{BLOCK, sum, u16_at, up_to};
use super::efi::GuestMachine;
use super::image::{Checksum, Image};
use super::judge::{JudgedRom, Verdict, judge_for};
use super::pcir::{EFI, LEGACY};
use super::{Rom, atom, parse};
use crate::pci::ExpectedId;
use crate::severity::Severity;

/// One change. The offsets are those of the input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Where it starts.
    pub offset: usize,
    /// How many bytes it covers.
    pub length: usize,
    /// The bytes that were there, in hexadecimal; empty where bytes were removed. An ID or a length as it is read.
    pub before: String,
    /// The bytes that are there now.
    pub after: String,
    /// What was changed, one line.
    pub description: String,
}

/// A repaired ROM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repaired {
    /// The new ROM.
    pub bytes: Vec<u8>,
    /// What was changed; empty when there was nothing to repair.
    pub changes: Vec<Change>,
    /// The signatures that are no longer valid, one line each.
    pub broken_signatures: Vec<String>,
}

/// Why a ROM cannot be repaired; prints as one line with the offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepairError(String);

impl fmt::Display for RepairError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for RepairError {}

/// Repairs a ROM: what is wrong is corrected, and what no firmware needs around and between the images is removed. With
/// `device`, images of the same vendor get its device ID unless one of them already is for it; without, no ID is changed.
/// The result is judged for guests of this machine type before it is returned, so it is valid and has the same images.
pub fn repair(bytes: &[u8], device: Option<&ExpectedId>, machine: GuestMachine) -> Result<Repaired, RepairError> {
    let judged = judge_for(parse(bytes), device, machine);
    let rom = &judged.rom;
    if let Some(worst) = judged.worst_error().filter(|_| judged.verdict == Verdict::Invalid) {
        return Err(RepairError(format!("cannot be repaired: {:#x}: {}", worst.offset, worst.message)));
    }
    let unchanged = || Repaired { bytes: bytes.to_vec(), changes: Vec::new(), broken_signatures: Vec::new() };
    let problems = || rom.problems.iter().filter(|problem| problem.repairable);
    if problems().next().is_none() {
        return Ok(unchanged());
    }
    let mut repairer = Repairer::new(bytes, rom);
    for problem in problems() {
        match (problem.code, device) {
            ("wrong-device", Some(device)) => repairer.set_device(rom, device.device),
            ("image-after-last", _) => repairer.set_last(rom, problem.offset, false),
            ("hidden-image", _) => repairer.write_npde_chain(rom),
            ("efi-compression-type", _) => {
                repairer.set(problem.offset, &[0, 0], "compression type of the EFI header".to_owned());
            }
            _ => {}
        }
    }
    // What follows the images is left out, so the last one has to say that it is. An NVIDIA-only image has a chain of its own.
    if let Some(last) = rom.images.last().filter(|image| image.found_by.bios || image.found_by.uefi) {
        repairer.set_last(rom, last.pcir.offset.saturating_add(0x15), true);
    }
    repairer.correct_checksums(rom);
    let result = repairer.finish(rom);
    match check_result(rom, &judge_for(parse(&result.bytes), device, machine)) {
        Ok(()) => Ok(result),
        // What can be used as it is stays as it is.
        Err(_) if judged.verdict == Verdict::Valid => Ok(unchanged()),
        Err(error) => Err(error),
    }
}

/// Holds the result to the promise: it is valid, and has the images of the input.
fn check_result(before: &Rom, after: &JudgedRom) -> Result<(), RepairError> {
    let mut left =
        after.rom.problems.iter().filter(|problem| problem.severity == Severity::Error || problem.repairable);
    if let Some(left) = left.next() {
        return Err(RepairError(format!("cannot be repaired completely: {}", left.message)));
    }
    let key = |image: &Image| (image.pcir.code_type, image.length, image.pcir.vendor);
    let lost = |(before, after): (&Image, &Image)| before.in_pci_chain() && !after.in_pci_chain();
    if before.images.iter().map(key).ne(after.rom.images.iter().map(key))
        || before.images.iter().zip(&after.rom.images).any(lost)
    {
        return Err(RepairError("cannot be repaired: NVIDIA's chain and the PCI chain disagree".to_owned()));
    }
    Ok(())
}

/// A ROM that is being repaired.
struct Repairer<'a> {
    input: &'a [u8],
    output: Vec<u8>,
    /// The ranges of the input that are kept: offset, length, and offset in the output.
    kept: Vec<(usize, usize, usize)>,
    changes: Vec<Change>,
}

impl<'a> Repairer<'a> {
    /// Copies the images, without what is before, between and after them.
    fn new(input: &'a [u8], rom: &Rom) -> Self {
        let mut repairer =
            Self { input, output: Vec::with_capacity(input.len()), kept: Vec::new(), changes: Vec::new() };
        let mut at = 0_usize;
        for image in &rom.images {
            let end = image.end().min(input.len());
            if image.offset > at || repairer.kept.is_empty() {
                let what = if repairer.kept.is_empty() {
                    "the bytes before the first image"
                } else {
                    "the gap between two images"
                };
                repairer.remove(at, image.offset, what);
                at = image.offset;
            }
            if end > at {
                let length = end.saturating_sub(at);
                repairer.kept.push((at, length, repairer.output.len()));
                repairer.output.extend_from_slice(up_to(input, at, length));
                at = end;
            }
        }
        repairer.remove(at, input.len(), "the bytes after the last image");
        repairer
    }

    /// Records that a range of the input was left out.
    fn remove(&mut self, from: usize, to: usize, what: &str) {
        let length = to.saturating_sub(from);
        if length != 0 {
            let description = format!("removed {what}");
            self.changes.push(Change {
                offset: from,
                length,
                before: String::new(),
                after: String::new(),
                description,
            });
        }
    }

    /// The offset in the output of a byte of the input.
    fn output_offset(&self, at: usize) -> Option<usize> {
        self.kept.iter().find_map(|&(start, length, output)| {
            let from = at.checked_sub(start).filter(|&from| from < length)?;
            output.checked_add(from)
        })
    }

    /// Overwrites the bytes that were at `at` of the input.
    fn set(&mut self, at: usize, bytes: &[u8], description: String) {
        let Some(now) = self.output_offset(at) else { return };
        let Some(old) = now.checked_add(bytes.len()).and_then(|end| self.output.get_mut(now..end)) else { return };
        if old != bytes {
            let change = Change { offset: at, length: bytes.len(), before: hex(old), after: hex(bytes), description };
            old.copy_from_slice(bytes);
            self.changes.push(change);
        }
    }

    /// Writes a number in the byte order of the file; the description tells it in reading order.
    fn set16(&mut self, at: usize, value: u16, what: &str) {
        let Some(old) = u16_at(self.input, at) else { return };
        self.set(at, &value.to_le_bytes(), what.to_owned());
        if let Some(change) = self.changes.last_mut().filter(|change| change.offset == at) {
            change.before = format!("{old:04x}");
            change.after = format!("{value:04x}");
        }
    }

    /// Writes a device ID into every image that a firmware finds and that is of the vendor of the first.
    fn set_device(&mut self, rom: &Rom, device: u16) {
        let vendor = rom.images.first().map(|image| image.pcir.vendor);
        for image in rom.images.iter().filter(|image| image.in_pci_chain() && Some(image.pcir.vendor) == vendor) {
            self.set16(
                image.pcir.offset.saturating_add(6),
                device,
                &format!("device ID of the image at {:#x}", image.offset),
            );
        }
    }

    /// Sets or clears the last bit that is at `at`.
    fn set_last(&mut self, rom: &Rom, at: usize, last: bool) {
        self.set_bit(at, last, "last image indicator");
        // NVIDIA's own programs read their own bit, and what follows or does not follow is the same for them.
        let image = rom.images.iter().find(|image| image.pcir.offset.saturating_add(0x15) == at);
        let Some(npde) = image.and_then(|image| image.npde).filter(|npde| npde.last == Some(!last)) else { return };
        let is_end = rom.images.last().map(|image| image.offset) == image.map(|image| image.offset);
        if is_end || !last {
            self.set_bit(npde.offset.saturating_add(10), last, "NVIDIA's last image indicator");
        }
    }

    fn set_bit(&mut self, at: usize, on: bool, what: &str) {
        if let Some(&old) = self.input.get(at) {
            self.set(at, &[if on { old | 0x80 } else { old & 0x7f }], what.to_owned());
        }
    }

    /// Writes the lengths of NVIDIA's extension into the PCI data structures, up to the last EFI image, which becomes the
    /// last image of the chain.
    fn write_npde_chain(&mut self, rom: &Rom) {
        let Some(end) = rom.images.iter().rposition(|image| image.pcir.code_type == EFI) else { return };
        for (index, image) in rom.images.iter().enumerate().take(end.saturating_add(1)) {
            let blocks = u16::try_from(image.length.checked_div(BLOCK).unwrap_or(0)).unwrap_or(u16::MAX);
            let what = format!("length of the image at {:#x}", image.offset);
            self.set16(image.pcir.offset.saturating_add(0x10), blocks, &what);
            self.set_bit(image.pcir.offset.saturating_add(0x15), index == end, "last image indicator");
        }
    }

    /// Corrects the checksum of every legacy image that was wrong or has been changed.
    fn correct_checksums(&mut self, rom: &Rom) {
        for image in &rom.images {
            let legacy = image.pcir.code_type == LEGACY && image.checksum != Checksum::None;
            let Some(now) = self.output_offset(image.offset).filter(|_| legacy) else { continue };
            let bytes = up_to(&self.output, now, image.declared);
            let wrong = sum(bytes);
            let place = checksum_offset(image, bytes);
            if let Some(old) = bytes.get(place).copied().filter(|_| wrong != 0) {
                let description = format!("checksum of the legacy image at {:#x}", image.offset);
                self.set(image.offset.saturating_add(place), &[old.wrapping_sub(wrong)], description);
            }
        }
    }

    fn finish(mut self, rom: &Rom) -> Repaired {
        self.changes.sort_by_key(|change| change.offset);
        let broken_signatures = rom.images.iter().filter_map(|image| self.broken_signature(image, rom)).collect();
        Repaired { bytes: self.output, changes: self.changes, broken_signatures }
    }

    /// The signature of an image that covers a changed byte.
    fn broken_signature(&self, image: &Image, rom: &Rom) -> Option<String> {
        let touched = |start: usize, length: usize| {
            let end = start.saturating_add(length);
            let hit = |change: &&Change| change.offset < end && change.offset.saturating_add(change.length) > start;
            self.changes.iter().filter(|change| !change.after.is_empty()).any(|change| hit(&change))
        };
        let number = rom.images.iter().position(|other| other.offset == image.offset)?;
        let signed = image.efi.as_ref().filter(|efi| efi.pe.is_some_and(|pe| pe.signed));
        if signed.is_some_and(|efi| touched(efi.stored.0, efi.stored.1)) {
            return Some(format!("the Authenticode signature of image {number} is no longer valid"));
        }
        // Both vendors sign the legacy image as a whole; only their own cards and flash tools check it.
        if image.pcir.code_type == LEGACY
            && matches!(image.pcir.vendor, 0x10de | 0x1002)
            && touched(image.offset, image.length)
        {
            return Some(format!(
                "the vendor's signature of image {number} is no longer valid: do not flash this ROM, use it for guests only"
            ));
        }
        None
    }
}

/// The offset in a legacy image of the byte that corrects its checksum: AMD and NVIDIA have
/// their own place; else the one that QEMU uses (hw/pci/pci.c, `pci_patch_ids`), which is free behind a short or a near
/// jump at offset 3; else the last byte.
fn checksum_offset(image: &Image, bytes: &[u8]) -> usize {
    let last = image.declared.saturating_sub(1);
    if atom::is_atom(bytes) {
        atom::CHECKSUM_OFFSET
    } else if image.pcir.vendor != 0x10de && matches!(up_to(bytes, 3, 1), [0xe9 | 0xeb]) {
        6
    } else {
        last
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
