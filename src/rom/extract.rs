// SPDX-License-Identifier: MIT OR Apache-2.0
//! Extracts one image, or the driver in it, from a ROM.

use std::borrow::Cow;
use std::fmt;

use super::Payload;
use super::bytes::part;
use super::decompress::{self as compression, Budget};
use super::efi::{GuestMachine, machine_name};
use super::image::Image;

/// What to extract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExtractTarget {
    /// The image with this number, counted from 0, as it is.
    Image(usize),
    /// The EFI driver; that for this machine if there are several. As it is stored, or decompressed.
    EfiDriver {
        /// The machine.
        machine: GuestMachine,
        /// Decompress it.
        decompress: bool,
    },
}

/// What was extracted.
#[derive(Clone, Debug)]
pub struct Extracted<'a> {
    /// The bytes.
    pub bytes: Cow<'a, [u8]>,
    /// What they are, one line.
    pub description: String,
}

/// Why nothing could be extracted; prints as one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtractError(String);

impl fmt::Display for ExtractError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ExtractError {}

/// Extracts an image or a driver from `rom`.
pub fn extract(rom: &[u8], target: ExtractTarget) -> Result<Extracted<'_>, ExtractError> {
    let parsed = super::parse(rom);
    let no = |text: &str| Err(ExtractError(text.to_owned()));
    let images = &parsed.images;
    if images.is_empty() {
        let why = parsed.problems.first().map_or("no image", |problem| &problem.message);
        return no(why);
    }
    match target {
        ExtractTarget::Image(number) => {
            let Some(image) = images.get(number) else {
                return Err(ExtractError(format!(
                    "there is no image {number}; the last one is {}",
                    images.len().saturating_sub(1)
                )));
            };
            let end = image.offset.saturating_add(image.length);
            match part(rom, image.offset, image.length) {
                Some(bytes) if !bytes.is_empty() => {
                    let description = format!("image {number}, bytes {:#x} to {end:#x}", image.offset);
                    Ok(Extracted { bytes: Cow::Borrowed(bytes), description })
                }
                _ => Err(ExtractError(format!("image {number} is incomplete: it should end at {end:#x}"))),
            }
        }
        ExtractTarget::EfiDriver { machine, decompress } => match preferred_driver(images, machine.0) {
            Some((number, image)) => driver(rom, number, image, decompress),
            None => no("there is no EFI driver"),
        },
    }
}

/// The image with the driver for this machine, or else the first one with a driver.
fn preferred_driver(images: &[Image], machine: u16) -> Option<(usize, &Image)> {
    let all = || {
        let has_driver = |image: &&Image| image.efi.as_ref().is_some_and(|efi| efi.payload != Payload::Unknown);
        images.iter().enumerate().filter(move |(_, image)| has_driver(image))
    };
    all().find(|(_, image)| image.efi.as_ref().is_some_and(|efi| efi.built_for() == machine)).or_else(|| all().next())
}

fn driver<'a>(rom: &'a [u8], number: usize, image: &Image, decompress: bool) -> Result<Extracted<'a>, ExtractError> {
    let incomplete = || ExtractError(format!("the driver of image {number} is incomplete"));
    let efi = image.efi.as_ref().ok_or_else(incomplete)?;
    let (at, length) = efi.stored;
    let stored = part(rom, at, length).ok_or_else(incomplete)?;
    let machine = machine_name(efi.built_for());
    if decompress && efi.payload == Payload::Compressed {
        let bytes = compression::decompress(stored, &mut Budget::default())
            .map_err(|error| ExtractError(format!("the driver at {at:#x} cannot be decompressed: {error}")))?;
        let description = format!("{machine} driver of image {number}, decompressed from {length} bytes at {at:#x}");
        return Ok(Extracted { bytes: Cow::Owned(bytes), description });
    }
    let packed = if efi.payload == Payload::Compressed { ", compressed" } else { "" };
    let end = at.saturating_add(length);
    let description = format!("{machine} driver of image {number}{packed}, bytes {at:#x} to {end:#x}");
    Ok(Extracted { bytes: Cow::Borrowed(stored), description })
}
