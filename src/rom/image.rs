// SPDX-License-Identifier: MIT OR Apache-2.0
//! One image of an option ROM: its header (PCI Firmware Specification 3.3, section 5.1.1) and its contents.

use crate::json::words;

use super::atom::{self, Atom};
use super::bytes::{array, blocks, sum, u8_at, u16_at, up_to};
use super::decompress::Budget;
use super::efi::{self, Efi};
use super::nvidia::{self, Npde};
use super::pcir::{self, EFI, LEGACY, Pcir};
use super::problem::Problems;
use super::vbt::{self, Vbt};
use super::versions::{self, Version};

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
    /// Who finds it without following NVIDIA's extension.
    pub found_by: FoundBy,
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
    pub fn end(&self) -> usize {
        let pci = if self.in_pci_chain() { self.pcir.image_length } else { 0 };
        self.offset.saturating_add(self.length.max(self.declared).max(pci))
    }

    /// Whether a firmware or the kernel finds it.
    pub fn in_pci_chain(&self) -> bool {
        self.found_by.bios || self.found_by.uefi
    }

    /// Whether it is for this device: by its ID or by its device list.
    pub fn is_for(&self, vendor: u16, device: u16) -> bool {
        self.pcir.vendor == vendor && (self.pcir.device == device || self.pcir.device_list.contains(&device))
    }
}

/// Who finds an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FoundBy {
    /// SeaBIOS and the kernel: they go from image to image.
    pub bios: bool,
    /// edk2: it also looks behind a gap.
    pub uefi: bool,
}

/// The state of an image's checksum.
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

/// Why there is no image at an offset, and where exactly in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ImageError {
    pub(super) code: &'static str,
    pub(super) offset: usize,
    pub(super) message: String,
}

/// The rules by which the chain is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rules {
    /// Those of the PCI Firmware Specification, from image to image: SeaBIOS (src/optionroms.c, `map_pcirom`) and the
    /// kernel (drivers/pci/rom.c, `pci_get_rom_size`).
    Bios,
    /// Those of edk2 (MdeModulePkg/Bus/Pci/PciBusDxe/PciOptionRomSupport.c, `LoadOpRomImage`): the PCIR is aligned, no image
    /// is longer than the ROM BAR, and behind anything that is no image the next one is searched for.
    Uefi,
    /// Those of NVIDIA's own programs, which are the same wherever NVIDIA added nothing.
    Nvidia,
}

/// Reads the header and the PCI data structure of the image at `at`, nothing else: the cost does not depend on its length.
pub(super) fn parse(rom: &[u8], at: usize, rules: Rules) -> Result<Image, ImageError> {
    let no = |code, offset, message| Err(ImageError { code, offset, message });
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
        return no("signature", at, format!("wrong image signature: {a:02x} {b:02x} instead of 55 aa"));
    }
    let Some(pointer) = u16_at(rom, at.saturating_add(0x18)) else {
        return no("truncated", at, "the file ends inside an image header".to_owned());
    };
    let from = usize::from(pointer);
    let offset = at.saturating_add(from);
    let table = rom.get(offset..).unwrap_or_default();
    let signature_name = match array::<4>(table, 0) {
        Some(name) if name == *b"PCIR" => "PCIR",
        Some(name) if name == *b"NPDS" && rules == Rules::Nvidia => "NPDS",
        Some(name) if name == *b"RGIS" && rules == Rules::Nvidia => "RGIS",
        Some(_) if from != 0 => return no("pcir", offset, format!("the image at {at:#x} points to no PCIR")),
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
    let Some(pcir) = pcir::parse(table, offset, signature_name) else {
        return no("truncated", offset, "the file ends inside the PCIR".to_owned());
    };
    if rules == Rules::Uefi && !is_aligned(at, offset) {
        return no("pcir-alignment", offset, format!("the PCIR of the image at {at:#x} is not aligned to 4 bytes"));
    }
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
        found_by: FoundBy::default(),
        checksum: Checksum::None,
        pcir_sum: None,
        efi: None,
        atom: None,
        vbt: None,
        versions: Vec::new(),
    })
}

/// Whether the PCI data structure is where edk2 accepts it.
pub(super) fn is_aligned(image: usize, pcir: usize) -> bool {
    pcir.saturating_sub(image).trailing_zeros() >= 2
}

fn npde_of(rom: &[u8], at: usize, pcir: usize, length: u16) -> Option<Npde> {
    nvidia::parse_npde(rom.get(at..)?, pcir, length, at)
}

/// Reads what is in the image: device list, checksums, drivers, and versions if asked. Costs about one pass over it.
pub(super) fn parse_contents(
    image: &mut Image,
    rom: &[u8],
    with_versions: bool,
    budget: &mut Budget,
    problems: &mut Problems,
) {
    let bytes = up_to(rom, image.offset, image.length);
    pcir::parse_device_list(&mut image.pcir, bytes, image.offset, problems);
    if image.pcir.code_type == EFI && image.signature == [0x55, 0xaa] {
        image.efi = efi::parse(rom, image.offset, image.length, budget, problems, &mut image.versions);
    }
    if image.pcir.code_type == LEGACY {
        let whole = sum(up_to(rom, image.offset, image.pcir.image_length));
        image.pcir_sum = Some(whole);
        if image.declared != 0 {
            // Behind a file that is too short a firmware reads the zeros with which QEMU fills the ROM BAR.
            let declared = if image.declared == image.pcir.image_length {
                whole
            } else {
                sum(up_to(rom, image.offset, image.declared))
            };
            image.checksum = if declared == 0 { Checksum::Ok } else { Checksum::Bad };
        }
        image.atom = atom::parse(bytes, image.offset);
        if with_versions {
            versions::of_legacy_image(bytes, &mut image.versions);
        }
    }
    if with_versions && image.pcir.vendor == 0x8086 && image.pcir.code_type != EFI {
        image.vbt = vbt::parse(bytes, image.offset);
    }
}
