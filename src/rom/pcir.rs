// SPDX-License-Identifier: MIT OR Apache-2.0
//! The PCI data structure of an image (PCI Firmware Specification 3.3, section 5.1.2), and its code types.

use super::bytes::{array, blocks, u8_at, u16_at};
use super::problem::Problems;

/// The PCI data structure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pcir {
    /// Where it is, in bytes from the start of the file.
    pub offset: usize,
    /// `PCIR`, or `NPDS` or `RGIS` in NVIDIA's own images.
    pub signature: &'static str,
    /// Vendor ID.
    pub vendor: u16,
    /// Device ID.
    pub device: u16,
    /// Further device IDs of the same vendor (revision 3).
    pub device_list: Vec<u16>,
    /// Where the vital product data is, from the start of this structure (revision 0; the field is reserved later).
    pub vital_data: Option<u16>,
    /// The length of this structure in bytes.
    pub length: u16,
    /// Its revision: 0 (PCI 2.x) or 3 (PCI 3.0).
    pub revision: u8,
    /// Class code, 24 bits.
    pub class: u32,
    /// The length of the image, in bytes.
    pub image_length: usize,
    /// The revision of the code, as the vendor counts.
    pub code_revision: u16,
    /// What the code is, see [`code_type_name`].
    pub code_type: u8,
    /// Whether the last bit is set.
    pub last: bool,
    /// The most that stays in memory at run time, in bytes (revision 3).
    pub run_time_length: Option<usize>,
    /// Where the header of the configuration utility is, from the start of the image (revision 3; 0: none).
    pub configuration_utility: Option<u16>,
    /// The entry point of the DMTF command line (CLP), from the start of the image (revision 3; 0: none).
    pub dmtf_clp: Option<u16>,
}

/// PC-AT compatible: what a legacy BIOS runs.
pub const LEGACY: u8 = 0;
/// What a UEFI firmware runs.
pub const EFI: u8 = 3;

/// The name of a code type.
pub fn code_type_name(code_type: u8) -> &'static str {
    match code_type {
        LEGACY => "PC-AT",
        1 => "Open Firmware",
        2 => "PA-RISC",
        EFI => "EFI",
        // NVIDIA: open-gpu-kernel-modules, pciexptbl.h and kernel_gsp_vbios_tu102.c.
        0x70 => "NVIDIA NBSI",
        0xe0 => "NVIDIA FWSEC",
        _ => "unknown",
    }
}

/// Reads the fixed part of the PCI data structure that starts `table`.
pub(super) fn parse(table: &[u8], offset: usize, signature: &'static str) -> Option<Pcir> {
    let length = u16_at(table, 0x0a)?;
    let revision = u8_at(table, 0x0c)?;
    let [low, middle, high] = array(table, 0x0d)?;
    let new = revision >= 3 && length >= 0x1c;
    let field = |at: usize| if new { u16_at(table, at) } else { None };
    Some(Pcir {
        offset,
        signature,
        vendor: u16_at(table, 4)?,
        device: u16_at(table, 6)?,
        device_list: Vec::new(),
        vital_data: u16_at(table, 8).filter(|&at| revision == 0 && at != 0),
        length,
        revision,
        class: u32::from_be_bytes([0, high, middle, low]),
        image_length: blocks(u16_at(table, 0x10)?),
        code_revision: u16_at(table, 0x12)?,
        code_type: u8_at(table, 0x14)?,
        last: u8_at(table, 0x15)? & 0x80 != 0,
        run_time_length: field(0x16).map(blocks),
        configuration_utility: field(0x18),
        dmtf_clp: field(0x1a),
    })
}

/// No device list has more entries. The specification names no limit.
const MAX_DEVICE_LIST: usize = 1024;

/// Reads the further device IDs: from the pointer in a PCIR of revision 3, relative to it, up to a zero.
pub(super) fn parse_device_list(pcir: &mut Pcir, image: &[u8], image_offset: usize, problems: &mut Problems) {
    let Some(from) = pcir.offset.checked_sub(image_offset) else { return };
    let pointer = u16_at(image, from.saturating_add(8)).unwrap_or(0);
    if pcir.revision < 3 || pointer == 0 {
        return;
    }
    let start = from.saturating_add(usize::from(pointer));
    for pair in image.get(start..).unwrap_or_default().chunks_exact(2).take(MAX_DEVICE_LIST) {
        let id = u16_at(pair, 0).unwrap_or(0);
        if id == 0 {
            return;
        }
        pcir.device_list.push(id);
    }
    pcir.device_list.clear();
    let message = format!("the device list of the PCIR at {:#x} has no end", pcir.offset);
    problems.warning("device-list", image_offset.saturating_add(start), message, "the list is ignored");
}
