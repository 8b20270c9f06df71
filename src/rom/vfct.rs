// SPDX-License-Identifier: MIT OR Apache-2.0
//! The ACPI table in which the firmware hands over the ROMs of AMD graphics that have no ROM of their own (Linux,
//! drivers/gpu/drm/amd/amdgpu/amdgpu_bios.c and drivers/gpu/drm/amd/include/atombios.h).

use super::bytes::{part, u16_at, u32_at};

/// One ROM from the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VfctRom<'a> {
    /// Bus, device and function that it is for, as the firmware numbered them.
    pub at: (usize, usize, usize),
    /// Vendor and device ID.
    pub id: (u16, u16),
    /// Subsystem vendor and device ID of the card; zeros where the firmware left them out.
    pub subsystem: (u16, u16),
    /// Where it is, in bytes from the start of the table.
    pub offset: usize,
    /// The ROM.
    pub rom: &'a [u8],
}

/// Bytes of the header before each ROM.
const HEADER: usize = 28;

/// The ROMs in a VFCT table, up to the first incomplete one. `None`: not a VFCT.
pub fn parse_vfct(table: &[u8]) -> Option<Vec<VfctRom<'_>>> {
    if !table.starts_with(b"VFCT") {
        return None;
    }
    let table = table.get(..u32_at(table, 4)?)?;
    let mut at = u32_at(table, 52)?;
    let mut roms = Vec::new();
    // The header of the table has 76 bytes; a step is never shorter than a header, so this ends.
    while at >= 76 && roms.len() < 64 {
        let Some((rom, next)) = parse_entry(table, at) else { break };
        if !rom.rom.is_empty() {
            roms.push(rom);
        }
        at = next;
    }
    Some(roms)
}

/// The ROM whose header is at `at`, and where the next header is.
fn parse_entry(table: &[u8], at: usize) -> Option<(VfctRom<'_>, usize)> {
    let header = part(table, at, HEADER)?;
    let offset = at.checked_add(HEADER)?;
    let rom = part(table, offset, u32_at(header, 24)?)?;
    let place = (u32_at(header, 0)?, u32_at(header, 4)?, u32_at(header, 8)?);
    let id = (u16_at(header, 12)?, u16_at(header, 14)?);
    let subsystem = (u16_at(header, 16)?, u16_at(header, 18)?);
    Some((VfctRom { at: place, id, subsystem, offset, rom }, offset.checked_add(rom.len())?))
}
