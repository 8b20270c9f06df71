// SPDX-License-Identifier: MIT OR Apache-2.0
//! The AMD part of a legacy image (Linux, drivers/gpu/drm/amd/include/atomfirmware.h, amdgpu/atom.c and
//! amdgpu_bios.c).

use crate::json::fields;

use super::bytes::{array, find, part, printable, u8_at, u16_at, up_to};

/// At 0x30 of every AMD legacy image.
const MAGIC: &[u8] = b" 761295520";
/// Where AMD keeps the byte that makes the checksum right.
pub(super) const CHECKSUM_OFFSET: usize = 0x21;

/// The ATOM ROM header and the texts around it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Atom {
    /// Where the ATOM ROM header is, in bytes from the start of the file.
    pub offset: usize,
    /// `ATOM`, or `MOTA` in ROMs for the other byte order.
    pub signature: &'static str,
    /// For example `113-D1990103-O09`.
    pub part_number: String,
    /// For example `016.001.001.000.008774`: what follows `ATOMBIOSBK-AMD VER`.
    pub build: String,
    /// What the ROM would print at boot.
    pub message: String,
    /// The name of the configuration it was built from.
    pub configuration: String,
    /// When it was built, as written there.
    pub date: String,
    /// Subsystem vendor and device ID of the board, as in `lspci`.
    pub subsystem: String,
}

fields!(Atom { offset, signature, part_number, build, message, configuration, date, subsystem });

/// Whether this is an AMD legacy image.
pub(super) fn is_atom(image: &[u8]) -> bool {
    part(image, 0x30, MAGIC.len()) == Some(MAGIC)
}

/// Reads the AMD part of `image`, which starts at `base` of the file.
pub(super) fn parse(image: &[u8], base: usize) -> Option<Atom> {
    if !is_atom(image) {
        return None;
    }
    let header = usize::from(u16_at(image, 0x48)?);
    let signature = match &array::<4>(image, header.checked_add(4)?)? {
        b"ATOM" => "ATOM",
        b"MOTA" => "MOTA",
        _ => return None,
    };
    let named = |field: usize| {
        let at = usize::from(u16_at(image, header.checked_add(field)?)?);
        Some(if at == 0 { String::new() } else { text_at(image, at) })
    };
    let number = |field: usize| u16_at(image, header.checked_add(field)?);
    let part_number = match u8_at(image, 0x2f)? {
        0 => 0x80,
        _ => usize::from(u16_at(image, 0x6e)?),
    };
    Some(Atom {
        offset: base.checked_add(header)?,
        signature,
        part_number: text_at(image, part_number),
        build: build_version(image),
        message: named(0x10)?,
        configuration: named(0x0c)?,
        date: text_at(image, 0x50),
        subsystem: format!("{:04x}:{:04x}", number(0x18)?, number(0x1a)?),
    })
}

/// The text at `at`; leading line ends and one leading zero are skipped.
fn text_at(image: &[u8], at: usize) -> String {
    let bytes = up_to(image, at, 128);
    let start = bytes.iter().position(|b| !matches!(b, 0 | b'\r' | b'\n' | b' ')).filter(|&start| start < 4);
    printable(up_to(bytes, start.unwrap_or(0), 128), 80)
}

/// The version that the build put after its mark.
fn build_version(image: &[u8]) -> String {
    const MARK: &[u8] = b"ATOMBIOSBK-AMD VER";
    let strings = up_to(image, 0, 0x2000);
    find(strings, MARK).map_or_else(String::new, |at| printable(up_to(strings, at.saturating_add(MARK.len()), 40), 40))
}
