// SPDX-License-Identifier: MIT OR Apache-2.0
//! Intel's video BIOS table, in the ROMs of its graphics cards (Linux, drivers/gpu/drm/i915/display/intel_bios.c and
//! intel_vbt_defs.h).

use crate::json::fields;

use super::bytes::{array, part, printable, sum, u16_at, u32_at, up_to};

/// The header of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vbt {
    /// Where it is, in bytes from the start of the file.
    pub offset: usize,
    /// Its length in bytes.
    pub length: usize,
    /// The name behind `$VBT`, for example `DG2`.
    pub name: String,
    /// The version of its data blocks.
    pub version: u16,
    /// Whether the bytes add up to zero.
    pub checksum_ok: bool,
}

fields!(Vbt { offset, length, name, version, checksum_ok });

/// No image that has the table is longer.
const MAX_SEARCH: usize = 1 << 20;

/// Finds the table in an image that starts at `base` of the file. Like the kernel, it searches at
/// multiples of four bytes.
pub(super) fn parse(image: &[u8], base: usize) -> Option<Vbt> {
    let words = up_to(image, 0, MAX_SEARCH).chunks_exact(4);
    let at = words.zip((0_usize..).step_by(4)).find(|(word, _)| *word == b"$VBT").map(|(_, at)| at)?;
    let table = image.get(at..)?;
    let length = usize::from(u16_at(table, 24)?);
    let data = u32_at(table, 28)?;
    if array::<15>(table, data)? != *b"BIOS_DATA_BLOCK" {
        return None;
    }
    Some(Vbt {
        offset: base.checked_add(at)?,
        length,
        name: printable(part(table, 4, 16)?, 16),
        version: u16_at(table, data.checked_add(16)?)?,
        checksum_ok: sum(part(table, 0, length)?) == 0,
    })
}
