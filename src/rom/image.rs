// SPDX-License-Identifier: MIT OR Apache-2.0
//! One image of an option ROM: its header and its PCI data structure (PCI Firmware Specification 3.3, section 5.1).

use crate::json::words;

use super::atom::{self, Atom};
use super::bytes::{array, blocks, part, sum, u8_at, u16_at, up_to};
use super::decompress::Budget;
use super::efi::{self, Efi};
use super::nvidia::{self, Npde};
use super::problem::Problems;
use super::strings::{self, Version};
use super::vbt::{self, Vbt};

/// One image of the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Where it starts, in bytes from the start of the file.
    pub offset: usize,
    /// How long it is, in bytes: what NVIDIA's extension says, or else the PCI data structure.
    pub length: usize,
    /// The first two bytes: 55 AA, or one of NVIDIA's own.
    pub signature: [u8; 2],
    /// The length in the header of a legacy image, in bytes; 0 where the header has none.
    pub declared: usize,
    /// Its PCI data structure.
    pub pcir: Pcir,
    /// NVIDIA's extension of it.
    pub npde: Option<Npde>,
    /// Whether this ends the chain that `length` belongs to.
    pub last: bool,
    /// Whether a firmware, the kernel and QEMU find it. They do not follow NVIDIA's extension.
    pub in_pci_chain: bool,
    /// The checksum of a legacy image, over its declared length.
    pub checksum: Checksum,
    /// The sum of all bytes of a legacy image over the length in its PCI data structure, modulo 256.
    pub pcir_sum: Option<u8>,
    /// The EFI part of an EFI image.
    pub efi: Option<Efi>,
    /// The AMD part of a legacy image.
    pub atom: Option<Atom>,
    /// Intel's video BIOS table.
    pub vbt: Option<Vbt>,
    /// Versions and names.
    pub versions: Vec<Version>,
}

impl Image {
    /// Where it ends, in bytes from the start of the file. Some old cards declare more in the header than in the PCI data
    /// structure, and firmwares honour that (edk2, `LoadOpRomImage`).
    pub fn reach(&self) -> usize {
        let pci = if self.in_pci_chain { self.pcir.image_length } else { 0 };
        self.offset.saturating_add(self.length.max(self.declared).max(pci))
    }

    /// Whether it is for this device: by its ID or by its device list.
    pub fn is_for(&self, vendor: u16, device: u16) -> bool {
        self.pcir.vendor == vendor && (self.pcir.device == device || self.pcir.device_list.contains(&device))
    }
}

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

/// What the checksum of an image says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// All bytes add up to zero.
    Ok,
    /// They do not.
    Bad,
    /// This kind of image has none.
    None,
}

words!(Checksum { Ok: "ok", Bad: "bad", None: "none" });

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

/// Why there is no image at an offset: where exactly in the file, and what is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NoImage {
    pub(super) code: &'static str,
    pub(super) offset: usize,
    pub(super) message: String,
}

/// Which rules the chain is read by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rules {
    /// Those of the PCI Firmware Specification: firmware, kernel, QEMU.
    Pci,
    /// Those of NVIDIA's own programs, which are the same wherever NVIDIA added nothing.
    Nvidia,
}

/// Reads header and PCI data structure of the image at `at`. Looks at nothing else: the cost does not depend on lengths,
/// but for the device list, which ends within the image.
pub(super) fn parse(rom: &[u8], at: usize, rules: Rules) -> Result<Image, NoImage> {
    let no = |code, offset, message| Err(NoImage { code, offset, message });
    let Some(signature) = array::<2>(rom, at) else {
        return no("truncated", at, "the file ends where an image should start".to_owned());
    };
    let known = match signature {
        [0x55, 0xaa] => true,
        // "VN" and 77 BB: NVIDIA's own images.
        [0x56, 0x4e] | [0x77, 0xbb] => rules == Rules::Nvidia,
        _ => false,
    };
    if !known {
        let [a, b] = signature;
        return no("signature", at, format!("no image: {a:02x} {b:02x} instead of 55 aa"));
    }
    let Some(pointer) = u16_at(rom, at.saturating_add(0x18)) else {
        return no("truncated", at, "the file ends inside the header of an image".to_owned());
    };
    let from = usize::from(pointer);
    let offset = at.saturating_add(from);
    let table = rom.get(offset..).unwrap_or_default();
    let signature_name = match array::<4>(table, 0) {
        Some(name) if name == *b"PCIR" => "PCIR",
        Some(name) if name == *b"NPDS" && rules == Rules::Nvidia => "NPDS",
        Some(name) if name == *b"RGIS" && rules == Rules::Nvidia => "RGIS",
        Some(_) if from != 0 => return no("pcir", offset, format!("no PCIR where the image at {at:#x} points")),
        Some(_) => {
            return no(
                "pcir",
                at,
                "no PCI data structure: a ROM for ISA or for a virtual device, not for PCI".to_owned(),
            );
        }
        None => {
            return no("truncated", offset, format!("the PCIR of the image at {at:#x} is past the end of the file"));
        }
    };
    let Some(pcir) = pcir(table, offset, signature_name) else {
        return no("truncated", offset, "the file ends inside the PCIR".to_owned());
    };
    let npde = if rules == Rules::Nvidia { npde_of(rom, at, from, pcir.length) } else { None };
    let length = npde.map_or(pcir.image_length, |npde| npde.length);
    let last = match npde {
        // Too short to say: more follows when it made the image shorter.
        Some(Npde { last: None, length, .. }) => pcir.last && length >= pcir.image_length,
        Some(Npde { last: Some(last), .. }) => last,
        None => pcir.last,
    };
    // NVIDIA's NBSI image always is the last one (Linux, nouveau/nvkm/subdev/bios/image.c).
    let last = last || (rules == Rules::Nvidia && pcir.code_type == 0x70);
    let declared =
        if pcir.code_type == LEGACY { blocks(u8_at(rom, at.saturating_add(2)).map_or(0, u16::from)) } else { 0 };
    Ok(Image {
        offset: at,
        length,
        signature,
        declared,
        pcir,
        npde,
        last,
        in_pci_chain: true,
        checksum: Checksum::None,
        pcir_sum: None,
        efi: None,
        atom: None,
        vbt: None,
        versions: Vec::new(),
    })
}

fn npde_of(rom: &[u8], at: usize, pcir: usize, length: u16) -> Option<Npde> {
    nvidia::npde(rom.get(at..)?, pcir, length, at)
}

/// The fixed part of the PCI data structure that starts `table`.
fn pcir(table: &[u8], offset: usize, signature: &'static str) -> Option<Pcir> {
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

/// Looks into the image: device list, checksums, drivers; and names, if asked to. Costs about one pass over it.
pub(super) fn look_inside(image: &mut Image, rom: &[u8], names: bool, budget: &mut Budget, problems: &mut Problems) {
    let bytes = up_to(rom, image.offset, image.length);
    device_list(image, bytes, problems);
    if image.pcir.code_type == EFI && image.signature == [0x55, 0xaa] {
        image.efi = efi::parse(rom, image.offset, image.length, budget, problems, &mut image.versions);
    }
    if image.pcir.code_type == LEGACY {
        let whole = sum(up_to(rom, image.offset, image.pcir.image_length));
        image.pcir_sum = Some(whole);
        if let Some(code) = part(rom, image.offset, image.declared).filter(|code| !code.is_empty()) {
            let declared = if image.declared == image.pcir.image_length { whole } else { sum(code) };
            image.checksum = if declared == 0 { Checksum::Ok } else { Checksum::Bad };
        }
        image.atom = atom::parse(bytes, image.offset);
        if names {
            strings::of_legacy(bytes, &mut image.versions);
        }
    }
    if names && image.pcir.vendor == 0x8086 && image.pcir.code_type != EFI {
        image.vbt = vbt::parse(bytes, image.offset);
    }
}

/// The further device IDs: from the pointer in a PCIR of revision 3, relative to it, up to a zero.
fn device_list(image: &mut Image, bytes: &[u8], problems: &mut Problems) {
    let pcir = &mut image.pcir;
    let Some(from) = pcir.offset.checked_sub(image.offset) else { return };
    let pointer = u16_at(bytes, from.saturating_add(8)).unwrap_or(0);
    if pcir.revision < 3 || pointer == 0 {
        return;
    }
    let start = from.saturating_add(usize::from(pointer));
    for pair in bytes.get(start..).unwrap_or_default().chunks_exact(2).take(MOST_DEVICES) {
        let id = u16_at(pair, 0).unwrap_or(0);
        if id == 0 {
            return;
        }
        pcir.device_list.push(id);
    }
    pcir.device_list.clear();
    let message = format!("the device list of the PCIR at {:#x} does not end", pcir.offset);
    problems.warning("device-list", image.offset.saturating_add(start), message, "the list is left out of account");
}

/// No device list has more entries. The specification names no limit.
const MOST_DEVICES: usize = 1024;
