// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reads a ROM: the first image, the chain of images, their contents, and what follows them.

use super::bytes::{is_filled_with, up_to};
use super::decompress::Budget;
use super::first_image::{Prefix, find_first_image};
use super::image::{self, Image};
use super::problem::{Problems, RomProblem};
use super::{chain, checks};

/// The content of a ROM.
#[derive(Clone, Debug)]
pub struct Rom {
    /// Its size in bytes.
    pub size: usize,
    /// The bytes before the first image.
    pub prefix: Option<Prefix>,
    /// The images, in the order of their offsets.
    pub images: Vec<Image>,
    /// Where the last image ends; 0 when there is none.
    pub end: usize,
    /// edk2 would read an image of length zero again and again.
    pub(super) uefi_hangs: bool,
    /// What is wrong with it, in the order of the offsets.
    pub problems: Vec<RomProblem>,
}

impl Rom {
    /// The number of bytes after the last image.
    pub fn trailing(&self) -> usize {
        if self.images.is_empty() { 0 } else { self.size.saturating_sub(self.end) }
    }
}

/// Versions are searched for in the first images only: the search costs more than anything else, and no known ROM has
/// more images.
const MAX_IMAGES_WITH_VERSIONS: usize = 16;

/// Reads a ROM.
pub fn parse(bytes: &[u8]) -> Rom {
    let mut problems = Problems::default();
    let mut rom =
        Rom { size: bytes.len(), prefix: None, images: Vec::new(), end: 0, uefi_hangs: false, problems: Vec::new() };
    if let Some(start) = find_first_image(bytes, &mut rom.prefix, &mut problems) {
        let chain = chain::parse(bytes, start, &mut problems);
        rom.images = chain.images;
        rom.end = chain.end;
        rom.uefi_hangs = chain.uefi_hangs;
        let mut budget = Budget::default();
        for (number, image) in rom.images.iter_mut().enumerate() {
            let with_versions = number < MAX_IMAGES_WITH_VERSIONS;
            image::parse_contents(image, bytes, with_versions, &mut budget, &mut problems);
        }
        checks::check_images(&rom.images, bytes, &mut problems);
        check_trailing(bytes, &rom, &mut problems);
    }
    rom.problems = problems.0;
    rom.problems.sort_by_key(|problem| problem.offset);
    rom
}

/// Reports the bytes after the last image.
fn check_trailing(bytes: &[u8], rom: &Rom, problems: &mut Problems) {
    let length = rom.trailing();
    if length == 0 {
        return;
    }
    let rest = up_to(bytes, rom.end, length);
    let (code, what) = match (is_filled_with(rest, 0xff), is_filled_with(rest, 0)) {
        (true, _) => ("padding", "bytes of FF padding"),
        (_, true) => ("padding", "bytes of 00 padding"),
        _ => ("trailing", "unknown bytes"),
    };
    problems.repairable_note(code, rom.end, format!("{length} {what} after the last image"));
}
