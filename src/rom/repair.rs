// SPDX-License-Identifier: MIT OR Apache-2.0
//! Making a valid ROM of a repairable one: into new bytes, every change named, and nothing guessed.

use std::fmt::{self, Write as _};

use super::bytes::{sum, up_to};
use super::image::{Checksum, Image, LEGACY};
use super::judge::{Verdict, checksum_place, judge};
use super::{Rom, parse};
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
    pub what: String,
}

/// A repaired ROM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repaired {
    /// The new ROM.
    pub bytes: Vec<u8>,
    /// What was changed; empty when the ROM was valid.
    pub changes: Vec<Change>,
    /// The signatures that no longer hold, one line each.
    pub broken_signatures: Vec<String>,
}

/// Why a ROM cannot be repaired; prints as one line with the offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotRepairable(String);

impl fmt::Display for NotRepairable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NotRepairable {}

/// Repairs `rom`. With `device`, images of the same vendor get its device ID unless one of them already is for it; without,
/// no ID is touched. The result is judged before it is handed out, so it is valid and has the same images.
pub fn repair(rom: &[u8], device: Option<&ExpectedId>) -> Result<Repaired, NotRepairable> {
    let parsed = parse(rom);
    let judgement = judge(&parsed, device);
    match judgement.verdict {
        Verdict::Valid => {
            return Ok(Repaired { bytes: rom.to_vec(), changes: Vec::new(), broken_signatures: Vec::new() });
        }
        Verdict::Repairable => {}
        Verdict::Invalid => {
            let worst =
                judgement.problems.iter().find(|problem| !problem.repairable && problem.severity == Severity::Error);
            let why = worst.map_or_else(String::new, |worst| format!(": {:#x}: {}", worst.offset, worst.message));
            return Err(NotRepairable(format!("cannot be repaired{why}")));
        }
    }
    let mut work = Work::new(rom, &parsed);
    if let Some(device) = device.filter(|_| judgement.problems.iter().any(|problem| problem.code == "wrong-device")) {
        work.set_device(&parsed, device.device);
    }
    if let Some(problem) = judgement.problems.iter().find(|problem| problem.code == "no-last-image") {
        work.set_last(&parsed, problem.offset);
    }
    work.checksums(&parsed);
    let result = work.finish(&parsed);
    check(&parsed, &result.bytes, device)?;
    Ok(result)
}

/// The promise: what comes out is valid and has the images that went in.
fn check(before: &Rom, bytes: &[u8], device: Option<&ExpectedId>) -> Result<(), NotRepairable> {
    let after = parse(bytes);
    let judgement = judge(&after, device);
    if let Some(left) = judgement.problems.iter().find(|problem| problem.severity == Severity::Error) {
        return Err(NotRepairable(format!("cannot be repaired: {}, and that is not all", left.message)));
    }
    let what = |image: &Image| (image.pcir.code_type, image.length, image.pcir.vendor, image.in_pci_chain);
    if before.images.iter().map(what).ne(after.images.iter().map(what)) {
        return Err(NotRepairable("cannot be repaired: NVIDIA's chain and the PCI chain disagree".to_owned()));
    }
    Ok(())
}

/// A ROM that is being repaired.
struct Work<'a> {
    rom: &'a [u8],
    /// The new bytes.
    out: Vec<u8>,
    /// Which stretches of the input are kept: start, length, and where they are now.
    kept: Vec<(usize, usize, usize)>,
    changes: Vec<Change>,
}

impl<'a> Work<'a> {
    /// Takes the images over, without what is before, between and behind them.
    fn new(rom: &'a [u8], parsed: &Rom) -> Self {
        let mut work = Self { rom, out: Vec::with_capacity(rom.len()), kept: Vec::new(), changes: Vec::new() };
        let mut at = 0_usize;
        for image in &parsed.images {
            let end = image.reach().min(rom.len());
            if image.offset > at || work.kept.is_empty() {
                let why = if work.kept.is_empty() {
                    "the bytes before the first image"
                } else {
                    "the gap between two images"
                };
                work.removed(at, image.offset, why);
                at = image.offset;
            }
            if end > at {
                let length = end.saturating_sub(at);
                work.kept.push((at, length, work.out.len()));
                work.out.extend_from_slice(up_to(rom, at, length));
                at = end;
            }
        }
        work.removed(at, rom.len(), "the bytes behind the last image");
        work
    }

    fn removed(&mut self, from: usize, to: usize, what: &str) {
        let length = to.saturating_sub(from);
        if length != 0 {
            let what = format!("removed {what}");
            self.changes.push(Change { offset: from, length, before: String::new(), after: String::new(), what });
        }
    }

    /// Where a byte of the input is now.
    fn place(&self, at: usize) -> Option<usize> {
        self.kept.iter().find_map(|&(start, length, now)| {
            let from = at.checked_sub(start).filter(|&from| from < length)?;
            now.checked_add(from)
        })
    }

    /// Writes bytes over those that were at `at` of the input.
    fn set(&mut self, at: usize, bytes: &[u8], what: String) {
        let Some(now) = self.place(at) else { return };
        let Some(old) = now.checked_add(bytes.len()).and_then(|end| self.out.get_mut(now..end)) else { return };
        if old != bytes {
            let change = Change { offset: at, length: bytes.len(), before: hex(old), after: hex(bytes), what };
            old.copy_from_slice(bytes);
            self.changes.push(change);
        }
    }

    /// Writes a device ID into every image that a firmware finds and that is of the vendor of the first.
    fn set_device(&mut self, parsed: &Rom, device: u16) {
        let vendor = parsed.images.first().map(|image| image.pcir.vendor);
        for image in parsed.images.iter().filter(|image| image.in_pci_chain && Some(image.pcir.vendor) == vendor) {
            let what = format!("device ID of the image at {:#x}", image.offset);
            self.set(image.pcir.offset.saturating_add(6), &device.to_le_bytes(), what);
        }
    }

    /// Sets the last bit that is at `at`.
    fn set_last(&mut self, parsed: &Rom, at: usize) {
        if let Some(&indicator) = self.rom.get(at) {
            self.set(at, &[indicator | 0x80], "last image indicator".to_owned());
        }
        // NVIDIA's own programs look at their own bit, and nothing of theirs follows either.
        let Some(last) = parsed.images.last().filter(|last| last.pcir.offset.saturating_add(0x15) == at) else {
            return;
        };
        let Some(npde) = last.npde.filter(|npde| npde.last == Some(false)) else { return };
        let place = npde.offset.saturating_add(10);
        if let Some(&indicator) = self.rom.get(place) {
            self.set(place, &[indicator | 0x80], "NVIDIA's last image indicator".to_owned());
        }
    }

    /// Corrects the checksum of every legacy image that was wrong or has been changed.
    fn checksums(&mut self, parsed: &Rom) {
        for image in &parsed.images {
            let legacy = image.pcir.code_type == LEGACY && image.checksum != Checksum::None;
            let Some(now) = self.place(image.offset).filter(|_| legacy) else { continue };
            let bytes = up_to(&self.out, now, image.declared);
            let wrong = sum(bytes);
            let place = checksum_place(image, bytes);
            if let Some(old) = bytes.get(place).copied().filter(|_| wrong != 0) {
                let what = format!("checksum of the legacy image at {:#x}", image.offset);
                self.set(image.offset.saturating_add(place), &[old.wrapping_sub(wrong)], what);
            }
        }
    }

    fn finish(mut self, parsed: &Rom) -> Repaired {
        self.changes.sort_by_key(|change| change.offset);
        let broken_signatures = parsed.images.iter().filter_map(|image| self.broken(image, parsed)).collect();
        Repaired { bytes: self.out, changes: self.changes, broken_signatures }
    }

    /// The signature of an image that covers a changed byte.
    fn broken(&self, image: &Image, parsed: &Rom) -> Option<String> {
        let touched = |start: usize, length: usize| {
            let end = start.saturating_add(length);
            let hit = |change: &&Change| change.offset < end && change.offset.saturating_add(change.length) > start;
            self.changes.iter().filter(|change| !change.after.is_empty()).any(|change| hit(&change))
        };
        let number = parsed.images.iter().position(|other| other.offset == image.offset)?;
        let signed = image.efi.as_ref().filter(|efi| efi.pe.is_some_and(|pe| pe.signed));
        if signed.is_some_and(|efi| touched(efi.stored.0, efi.stored.1)) {
            return Some(format!("the Authenticode signature of image {number} no longer holds"));
        }
        // Both vendors sign the legacy image as a whole; only their own cards and flash tools check it.
        if image.pcir.code_type == LEGACY
            && matches!(image.pcir.vendor, 0x10de | 0x1002)
            && touched(image.offset, image.length)
        {
            return Some(format!(
                "the vendor's signature of image {number} no longer holds: give it to a guest, never flash it"
            ));
        }
        None
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
