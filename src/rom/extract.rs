// SPDX-License-Identifier: MIT OR Apache-2.0
//! Taking one image, or the driver in it, out of a ROM.

use std::borrow::Cow;
use std::fmt;

use super::Payload;
use super::bytes::part;
use super::decompress::{self, Budget};
use super::efi::machine_name;
use super::image::Image;

/// What to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// The image with this number, counted from 0, as it is.
    Image(usize),
    /// The EFI driver; that for x64 if there are several. As it is stored, or decompressed.
    Efi {
        /// Decompress it.
        raw: bool,
    },
}

/// What was taken.
#[derive(Clone, Debug)]
pub struct Extracted<'a> {
    /// The bytes.
    pub bytes: Cow<'a, [u8]>,
    /// What they are, one line.
    pub what: String,
}

/// Why nothing could be taken; prints as one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotThere(String);

impl fmt::Display for NotThere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NotThere {}

/// Takes an image or a driver out of `rom`.
pub fn extract(rom: &[u8], what: What) -> Result<Extracted<'_>, NotThere> {
    let parsed = super::parse(rom);
    let no = |text: &str| Err(NotThere(text.to_owned()));
    let images = &parsed.images;
    if images.is_empty() {
        let why = parsed.problems.first().map_or("there is no image", |problem| &problem.message);
        return no(why);
    }
    match what {
        What::Image(number) => {
            let Some(image) = images.get(number) else {
                return Err(NotThere(format!(
                    "there is no image {number}; the last one is {}",
                    images.len().saturating_sub(1)
                )));
            };
            let end = image.offset.saturating_add(image.length);
            match part(rom, image.offset, image.length) {
                Some(bytes) if !bytes.is_empty() => {
                    let what = format!("image {number}, bytes {:#x} to {end:#x}", image.offset);
                    Ok(Extracted { bytes: Cow::Borrowed(bytes), what })
                }
                _ => Err(NotThere(format!("image {number} is not whole: it should end at {end:#x}"))),
            }
        }
        What::Efi { raw } => match chosen(images) {
            Some((number, image)) => driver(rom, number, image, raw),
            None => no("there is no EFI driver"),
        },
    }
}

/// The image whose driver is meant.
fn chosen(images: &[Image]) -> Option<(usize, &Image)> {
    let all = || {
        let there = |image: &&Image| image.efi.as_ref().is_some_and(|efi| efi.payload != Payload::Unknown);
        images.iter().enumerate().filter(move |(_, image)| there(image))
    };
    all().find(|(_, image)| image.efi.as_ref().is_some_and(|efi| efi.machine == 0x8664)).or_else(|| all().next())
}

fn driver<'a>(rom: &'a [u8], number: usize, image: &Image, raw: bool) -> Result<Extracted<'a>, NotThere> {
    let gone = || NotThere(format!("the driver of image {number} is not whole"));
    let efi = image.efi.as_ref().ok_or_else(gone)?;
    let (at, length) = efi.stored;
    let stored = part(rom, at, length).ok_or_else(gone)?;
    let machine = machine_name(efi.machine);
    if raw && efi.payload == Payload::Compressed {
        let bytes = decompress::decompress(stored, &mut Budget::default())
            .map_err(|fault| NotThere(format!("the driver at {at:#x} cannot be decompressed: {fault}")))?;
        let what = format!("{machine} driver of image {number}, decompressed from {length} bytes at {at:#x}");
        return Ok(Extracted { bytes: Cow::Owned(bytes), what });
    }
    let packed = if efi.payload == Payload::Compressed { ", compressed" } else { "" };
    let end = at.saturating_add(length);
    let what = format!("{machine} driver of image {number}{packed}, bytes {at:#x} to {end:#x}");
    Ok(Extracted { bytes: Cow::Borrowed(stored), what })
}
