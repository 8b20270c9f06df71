// SPDX-License-Identifier: MIT OR Apache-2.0
//! What NVIDIA adds to an option ROM: a prefix before the first image (IFR, "init from ROM"), and the extension of the
//! PCI data structure (NPDE). Sources: NVIDIA/open-gpu-kernel-modules, kernel_gsp_vbios_tu102.c and pciexptbl.h;
//! Linux, drivers/gpu/drm/nouveau/nvkm/subdev/bios/{npde,image,shadowrom}.c.

use crate::json::fields;

use super::bytes::{blocks, part, u8_at, u16_at, u32_at};

/// The first word of the prefix.
const SIGNATURE: &[u8] = b"NVGI";
/// The ROM directory of version 3 follows the flash status, a section of one page.
const FLASH_STATUS: usize = 4096;

/// What the prefix says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ifr {
    /// Its version: 1, 2 and 3 are known.
    pub(super) version: u8,
    /// Where the ROM directory (`RFRD`) is; only version 3 has one.
    pub(super) directory: Option<usize>,
    /// Where the first image is, if that can be followed.
    pub(super) image: Option<usize>,
}

/// Reads the prefix, if the file starts with one.
pub(super) fn parse_ifr(rom: &[u8]) -> Option<Ifr> {
    if !rom.starts_with(SIGNATURE) {
        return None;
    }
    let version = u8_at(rom, 5)?;
    let mut ifr = Ifr { version, directory: None, image: None };
    match version {
        1 | 2 => ifr.image = image_offset(rom),
        3 => {
            ifr.directory = directory_offset(rom);
            ifr.image = ifr.directory.and_then(|at| u32_at(rom, at.checked_add(8)?));
        }
        _ => {}
    }
    Some(ifr)
}

/// Versions 1 and 2: the extended section follows the fixed data; its second word is the offset.
fn image_offset(rom: &[u8]) -> Option<usize> {
    let size = usize::from(u16_at(rom, 6)? & 0x7fff);
    u32_at(rom, size.checked_add(4)?)
}

/// Version 3: after all data comes the offset of the flash status, and behind that the directory.
fn directory_offset(rom: &[u8]) -> Option<usize> {
    let total = u32_at(rom, 8)? & 0x000f_ffff;
    let at = u32_at(rom, total)?.checked_add(FLASH_STATUS)?;
    (part(rom, at, 4)? == b"RFRD").then_some(at)
}

/// NVIDIA's extension of the PCI data structure. Its length and last bit count for NVIDIA's own programs; a firmware, the
/// kernel and QEMU know only those of the PCI data structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Npde {
    /// Where it is, in bytes from the start of the file.
    pub offset: usize,
    /// Its revision: 0x100 or 0x101.
    pub revision: u16,
    /// The length of this image, in bytes.
    pub length: usize,
    /// Whether this is the last image. `None`: the structure is too short to say.
    pub last: Option<bool>,
    /// Bit 0: private images follow, bit 2: no checksum.
    pub flags: u8,
}

fields!(Npde { offset, revision, length, last, flags });

/// Reads the extension of the PCI data structure of `length` bytes that is `pcir` bytes into `image`: it is at the next
/// multiple of 16. `base` is where the image starts in the file.
pub(super) fn parse_npde(image: &[u8], pcir: usize, length: u16, base: usize) -> Option<Npde> {
    let at = pcir.checked_add(usize::from(length))?.checked_next_multiple_of(16)?;
    let table = image.get(at..)?;
    if !table.starts_with(b"NPDE") {
        return None;
    }
    let revision = u16_at(table, 4)?;
    if !matches!(revision, 0x100 | 0x101) {
        return None;
    }
    let size = u16_at(table, 6)?;
    let length = blocks(u16_at(table, 8)?);
    let last = if size > 10 { Some(u8_at(table, 10)? & 0x80 != 0) } else { None };
    let flags = if size > 11 { u8_at(table, 11)? } else { 0 };
    Some(Npde { offset: base.checked_add(at)?, revision, length, last, flags })
}
