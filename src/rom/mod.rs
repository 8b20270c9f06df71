// SPDX-License-Identifier: MIT OR Apache-2.0
//! Option ROMs: bytes in, values out. Nothing here touches the machine.
//!
//! [`parse`] reads whatever it gets and never fails: what is wrong becomes a [`Problem`] that names the offset.
//! [`judge`] answers the questions that people have, [`extract`](extract()) and [`repair`](repair()) make new bytes, and
//! [`show`](mod@show) turns all of it into text and JSON.
//!
//! Sources: PCI Firmware Specification 3.3, section 5; UEFI Specification, "PCI Option ROMs" and "Compression Algorithm
//! Specification"; and for what the vendors add, the files that the modules name.
//!
//! Cost: time is linear in the size of the file; memory beside the file is one decompressed driver of at most 4 MiB, and
//! for a repair one copy of the file.

use crate::json::fields;
mod atom;
mod bytes;
mod chain;
mod decompress;
pub mod efi;
mod extract;
mod image;
mod json;
mod judge;
mod nvidia;
mod pe;
mod problem;
mod repair;
pub mod show;
mod strings;
mod vbt;
mod vfct;

pub use atom::Atom;
pub use efi::{Efi, Payload};
pub use extract::{Extracted, What, extract};
pub use image::{Checksum, EFI, Image, LEGACY, Pcir, code_type_name};
pub use judge::{Answer, Judgement, Verdict, judge};
pub use nvidia::Npde;
pub use pe::Pe;
pub use problem::Problem;
pub use repair::{Change, Repaired, repair};
pub use strings::Version;
pub use vbt::Vbt;
pub use vfct::{FromFirmware, vfct};

use bytes::{only, part, u16_at, up_to};
use decompress::Budget;
use problem::Problems;

/// What a file says of itself.
#[derive(Clone, Debug)]
pub struct Rom {
    /// Its size in bytes.
    pub size: usize,
    /// What stands before the first image.
    pub prefix: Option<Prefix>,
    /// The images, in the order of their offsets.
    pub images: Vec<Image>,
    /// Where the last image ends; 0 when there is none.
    pub end: usize,
    /// What is wrong with it, in the order of the offsets.
    pub problems: Vec<Problem>,
}

impl Rom {
    /// The bytes behind the last image.
    pub fn trailing(&self) -> usize {
        if self.images.is_empty() { 0 } else { self.size.saturating_sub(self.end) }
    }
}

/// What stands before the first image: a tool that writes flash chips wants it, a guest cannot use it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix {
    /// `nvgi`: NVIDIA's; `unknown`: anything else.
    pub kind: &'static str,
    /// Its length in bytes.
    pub length: usize,
    /// The version of NVIDIA's prefix.
    pub version: Option<u8>,
    /// Where NVIDIA's ROM directory (`RFRD`) is, in bytes from the start of the file.
    pub directory: Option<usize>,
}

fields!(Prefix { kind, length, version, directory });

/// Reads a ROM.
pub fn parse(rom: &[u8]) -> Rom {
    let mut problems = Problems::default();
    let mut result = Rom { size: rom.len(), prefix: None, images: Vec::new(), end: 0, problems: Vec::new() };
    if let Some(start) = start(rom, &mut result.prefix, &mut problems) {
        let chain = chain::follow(rom, start, &mut problems);
        result.images = chain.images;
        result.end = chain.end;
        let mut budget = Budget::default();
        for (number, image) in result.images.iter_mut().enumerate() {
            image::look_inside(image, rom, number < MOST_NAMED, &mut budget, &mut problems);
        }
        judge::images(&result.images, rom, &mut problems);
        trailing(rom, &result, &mut problems);
    }
    result.problems = problems.0;
    result.problems.sort_by_key(|problem| problem.offset);
    result
}

/// Versions and names are searched for in so many images only: searching costs more than anything else, and no ROM has
/// more of them.
const MOST_NAMED: usize = 16;

/// Finds the first image, and says what is there when there is none.
fn start(rom: &[u8], prefix: &mut Option<Prefix>, problems: &mut Problems) -> Option<usize> {
    const AWAKE: &str = "dump it again while the card is awake and no driver has it";
    if rom.is_empty() {
        problems.error("empty", 0, "the file is empty".to_owned(), AWAKE);
        return None;
    }
    if only(rom, 0xff) {
        let message = "nothing but FF: the card was asleep or not decoding its ROM when this was read".to_owned();
        problems.error("all-ff", 0, message, AWAKE);
        return None;
    }
    if only(rom, 0) {
        let message = "nothing but 00: this is not what the card has in its ROM".to_owned();
        problems.error("all-00", 0, message, AWAKE);
        return None;
    }
    let is_image = |at: usize| image::parse(rom, at, image::Rules::Pci).is_ok_and(|image| image.length > 0);
    let Err(first) = image::parse(rom, 0, image::Rules::Pci) else { return Some(0) };
    let ifr = nvidia::ifr(rom);
    let found = ifr.and_then(|ifr| ifr.image).filter(|&at| is_image(at)).or_else(|| search(rom, is_image));
    match found {
        Some(length) => {
            let kind = if ifr.is_some() { "nvgi" } else { "unknown" };
            let who = if ifr.is_some() { "NVIDIA's flash header" } else { "a header of an unknown kind" };
            let (version, directory) = (ifr.map(|ifr| ifr.version), ifr.and_then(|ifr| ifr.directory));
            *prefix = Some(Prefix { kind, length, version, directory });
            let message = format!("{length} bytes before the first image: {who}");
            problems.repairable(
                "prefix",
                0,
                message,
                "`rom repair` strips them; the flash tool wants them, a guest does not",
            );
        }
        None if rom.starts_with(b"MZ") => problems.error(
            "driver",
            0,
            "an EFI driver without the header of an option ROM".to_owned(),
            "EfiRom of edk2 makes a ROM of it",
        ),
        None => problems.error(first.code, first.offset, first.message, "this is no option ROM of a PCI device"),
    }
    found
}

/// Flash chips of graphics cards have 1 or 2 MiB; no header before the first image is longer.
const LONGEST_PREFIX: usize = 2 << 20;

/// The first image behind a header that does not say where it ends. NVIDIA aligns to four bytes.
fn search(rom: &[u8], is_image: impl Fn(usize) -> bool) -> Option<usize> {
    // The cheap question first: a file can be full of signatures.
    let points = |at: usize| {
        let pointer = u16_at(rom, at.saturating_add(0x18)).map_or(0, usize::from);
        part(rom, at.saturating_add(pointer), 4) == Some(b"PCIR")
    };
    up_to(rom, 0, LONGEST_PREFIX)
        .chunks_exact(4)
        .zip((0_usize..).step_by(4))
        .find(|(word, at)| word.starts_with(&[0x55, 0xaa]) && points(*at) && is_image(*at))
        .map(|(_, at)| at)
}

/// What follows the last image.
fn trailing(rom: &[u8], result: &Rom, problems: &mut Problems) {
    let length = result.trailing();
    if length == 0 {
        return;
    }
    let rest = up_to(rom, result.end, length);
    let (code, what) = match (only(rest, 0xff), only(rest, 0)) {
        (true, _) => ("padding", "bytes FF of padding"),
        (_, true) => ("padding", "bytes 00 of padding"),
        _ => ("trailing", "bytes that belong to no image"),
    };
    let message = format!("{length} {what} behind the last image");
    problems.repairable(code, result.end, message, "`rom repair` cuts them off");
}
