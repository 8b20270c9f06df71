// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where the first image of a ROM starts, and the prefix before it.

use crate::json::fields;

use super::bytes::{BLOCK, is_filled_with, part, u16_at, up_to};
use super::image::{self, Rules};
use super::nvidia;
use super::problem::Problems;

/// The bytes before the first image: flash tools need them, a guest cannot use them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix {
    /// `nvgi`: NVIDIA's; `flash`: the file is a whole flash image; `unknown`: anything else.
    pub kind: &'static str,
    /// Its length in bytes.
    pub length: usize,
    /// The version of NVIDIA's prefix.
    pub version: Option<u8>,
    /// Where NVIDIA's ROM directory (`RFRD`) is, in bytes from the start of the file.
    pub directory: Option<usize>,
}

fields!(Prefix { kind, length, version, directory });

/// Finds the offset of the first image; reports why there is none, and a prefix before it.
pub(super) fn find_first_image(rom: &[u8], prefix: &mut Option<Prefix>, problems: &mut Problems) -> Option<usize> {
    const AWAKE: &str = "dump the ROM again while the card is awake and has no driver";
    if rom.is_empty() {
        problems.error("empty", 0, "the file is empty".to_owned(), AWAKE);
        return None;
    }
    if is_filled_with(rom, 0xff) {
        let message = "nothing but FF: the card was asleep or its ROM was disabled when it was read".to_owned();
        problems.error("all-ff", 0, message, AWAKE);
        return None;
    }
    if is_filled_with(rom, 0) {
        let message = "nothing but 00: this is not the content of the card's ROM".to_owned();
        problems.error("all-00", 0, message, AWAKE);
        return None;
    }
    let is_image = |at: usize| image::parse(rom, at, Rules::Bios).is_ok_and(|image| image.length > 0);
    let Err(first) = image::parse(rom, 0, Rules::Bios) else { return Some(0) };
    let ifr = nvidia::parse_ifr(rom);
    let found = ifr.and_then(|ifr| ifr.image).filter(|&at| is_image(at)).or_else(|| search(rom, is_image));
    match found {
        Some(length) => {
            let (kind, who) = match ifr {
                Some(_) => ("nvgi", "NVIDIA's flash header"),
                None if is_flash(rom, length) => ("flash", "a whole flash image"),
                None => ("unknown", "an unknown header"),
            };
            let (version, directory) = (ifr.map(|ifr| ifr.version), ifr.and_then(|ifr| ifr.directory));
            *prefix = Some(Prefix { kind, length, version, directory });
            let message = format!("{length} bytes before the first image: {who}");
            problems.repairable(
                "prefix",
                0,
                message,
                "`rom repair` removes them; flash tools need them, guests cannot use them",
            );
        }
        None if rom.starts_with(b"MZ") => problems.error(
            "driver",
            0,
            "an EFI driver without an option ROM header".to_owned(),
            "EfiRom from edk2 makes an option ROM of it",
        ),
        None => problems.error(first.code, first.offset, first.message, "this is not the option ROM of a PCI device"),
    }
    found
}

/// How far a header before the first image reaches that is not made of whole blocks: NVIDIA aligns to four bytes.
const MAX_PREFIX: usize = 2 << 20;

/// Searches for the first image behind a prefix that does not say where it ends: in whole blocks, as flash chips are laid
/// out, up to the end of the file; then every four bytes.
fn search(rom: &[u8], is_image: impl Fn(usize) -> bool) -> Option<usize> {
    // The cheap test first: a file can be full of signatures.
    let has_pcir = |at: usize| {
        let pointer = u16_at(rom, at.saturating_add(0x18)).map_or(0, usize::from);
        part(rom, at.saturating_add(pointer), 4) == Some(b"PCIR")
    };
    let first = |bytes: &[u8], step: usize| {
        let found = bytes.chunks(step).zip((0_usize..).step_by(step));
        let mut found = found.filter(|(chunk, at)| chunk.starts_with(&[0x55, 0xaa]) && has_pcir(*at) && is_image(*at));
        found.next().map(|(_, at)| at)
    };
    first(rom, BLOCK).or_else(|| first(up_to(rom, 0, MAX_PREFIX), 4))
}

/// Whether the file is the content of a whole flash chip: of a card or a mainboard, with much else in it. Intel's start with
/// a flash descriptor or a partition table at 0 or 0x10; no header of a card's ROM alone is that long.
fn is_flash(rom: &[u8], first_image: usize) -> bool {
    let signatures: [&[u8]; 2] = [&[0x5a, 0xa5, 0xf0, 0x0f], b"$FPT"];
    first_image >= MAX_PREFIX / 2
        || [0, 0x10].iter().any(|&at| part(rom, at, 4).is_some_and(|bytes| signatures.contains(&bytes)))
}
