// SPDX-License-Identifier: MIT OR Apache-2.0
//! Makes a valid ROM of a repairable one: into new bytes, every change named, nothing guessed.

use std::fmt::{self, Write as _};

use super::bytes::{sum, up_to};
use super::image::{Checksum, Image};
use super::judge::{Verdict, judge};
use super::pcir::LEGACY;
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
    /// The bytes that were there, in hexadecimal; empty where bytes were removed.
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
    /// What was changed; empty when the ROM was valid.
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

/// Repairs a ROM. With `device`, images of the same vendor get its device ID unless one of them already is for it; without,
/// no ID is changed. The result is judged before it is returned, so it is valid and has the same images.
pub fn repair(bytes: &[u8], device: Option<&ExpectedId>) -> Result<Repaired, RepairError> {
    let judged = judge(parse(bytes), device);
    match judged.verdict {
        Verdict::Valid => {
            return Ok(Repaired { bytes: bytes.to_vec(), changes: Vec::new(), broken_signatures: Vec::new() });
        }
        Verdict::Repairable => {}
        Verdict::Invalid => {
            let worst = judged.worst_error();
            let why = worst.map_or_else(String::new, |worst| format!(": {:#x}: {}", worst.offset, worst.message));
            return Err(RepairError(format!("cannot be repaired{why}")));
        }
    }
    let rom = &judged.rom;
    let problem = |code: &str| rom.problems.iter().find(|problem| problem.code == code);
    let mut repairer = Repairer::new(bytes, rom);
    if let (Some(device), Some(_)) = (device, problem("wrong-device")) {
        repairer.set_device(rom, device.device);
    }
    if let Some(problem) = problem("no-last-image") {
        repairer.set_last(rom, problem.offset);
    }
    repairer.correct_checksums(rom);
    let result = repairer.finish(rom);
    check_result(rom, &result.bytes, device)?;
    Ok(result)
}

/// Holds the result to the promise: it is valid, and has the images of the input.
fn check_result(before: &Rom, bytes: &[u8], device: Option<&ExpectedId>) -> Result<(), RepairError> {
    let after = judge(parse(bytes), device);
    let mut errors = after.rom.problems.iter().filter(|problem| problem.severity == Severity::Error);
    if let Some(left) = errors.next() {
        return Err(RepairError(format!("cannot be repaired completely: {}", left.message)));
    }
    let key = |image: &Image| (image.pcir.code_type, image.length, image.pcir.vendor, image.in_pci_chain);
    if before.images.iter().map(key).ne(after.rom.images.iter().map(key)) {
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

    /// Writes a device ID into every image that a firmware finds and that is of the vendor of the first.
    fn set_device(&mut self, rom: &Rom, device: u16) {
        let vendor = rom.images.first().map(|image| image.pcir.vendor);
        for image in rom.images.iter().filter(|image| image.in_pci_chain && Some(image.pcir.vendor) == vendor) {
            let description = format!("device ID of the image at {:#x}", image.offset);
            self.set(image.pcir.offset.saturating_add(6), &device.to_le_bytes(), description);
        }
    }

    /// Sets the last bit that is at `at`.
    fn set_last(&mut self, rom: &Rom, at: usize) {
        if let Some(&indicator) = self.input.get(at) {
            self.set(at, &[indicator | 0x80], "last image indicator".to_owned());
        }
        // NVIDIA's own programs read their own bit, and no image of theirs follows either.
        let Some(last) = rom.images.last().filter(|last| last.pcir.offset.saturating_add(0x15) == at) else {
            return;
        };
        let Some(npde) = last.npde.filter(|npde| npde.last == Some(false)) else { return };
        let place = npde.offset.saturating_add(10);
        if let Some(&indicator) = self.input.get(place) {
            self.set(place, &[indicator | 0x80], "NVIDIA's last image indicator".to_owned());
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
