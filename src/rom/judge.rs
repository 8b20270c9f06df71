// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a ROM is good for: can a UEFI guest use it, can a BIOS guest, is it this card's.

use crate::json::{fields, words};
use std::fmt::Write as _;

use super::bytes::{part, up_to};
use super::efi::machine_name;
use super::image::{Checksum, EFI, Image, LEGACY};
use super::problem::{Problem, Problems};
use super::{Rom, atom};
use crate::pci::{Class, ExpectedId};
use crate::severity::Severity;

/// The verdict on a ROM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing has to be done.
    Valid,
    /// `rom repair` makes a valid one of it.
    Repairable,
    /// A part of it is missing, damaged, or for something else.
    Invalid,
}

words!(Verdict { Valid: "valid", Repairable: "repairable", Invalid: "invalid" });

/// The answer to one question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// `yes`, `after-repair` or `no`.
    pub answer: &'static str,
    /// Why, one line.
    pub text: String,
}

fields!(Answer { answer, text });

impl Answer {
    fn new(answer: &'static str, text: String) -> Self {
        Self { answer, text }
    }
}

/// All answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// The verdict.
    pub verdict: Verdict,
    /// Whether OVMF, and with it every UEFI firmware that is built from edk2, would load a driver from it.
    pub ovmf: Answer,
    /// Whether SeaBIOS would run it.
    pub seabios: Answer,
    /// Whether it is the ROM of the expected device, if there is one.
    pub card: Option<Answer>,
    /// The problems of the ROM, and those with the expected device.
    pub problems: Vec<Problem>,
}

/// Judges a ROM, on its own or for a device.
pub fn judge(rom: &Rom, device: Option<&ExpectedId>) -> Judgement {
    let mut problems = Problems(rom.problems.clone());
    let card = device.map(|id| card(rom, id, &mut problems));
    let verdict = problems.0.iter().filter(|problem| problem.severity == Severity::Error).fold(
        Verdict::Valid,
        |verdict, problem| match (verdict, problem.repairable) {
            (Verdict::Invalid, _) | (_, false) => Verdict::Invalid,
            (_, true) => Verdict::Repairable,
        },
    );
    let repaired = match verdict {
        Verdict::Repairable => "after-repair",
        Verdict::Valid | Verdict::Invalid => "no",
    };
    Judgement {
        verdict,
        ovmf: ovmf(rom, repaired),
        seabios: seabios(rom, device, repaired),
        card,
        problems: problems.0,
    }
}

/// What is wrong with single images. Cheap: their bytes have been looked at before.
pub(super) fn images(images: &[Image], rom: &[u8], problems: &mut Problems) {
    for image in images {
        let at = image.offset;
        let pcir = image.pcir.offset;
        if image.in_pci_chain && !is_aligned(image) {
            let message = format!("the PCIR of the image at {at:#x} is not aligned to 4 bytes: OVMF stops here");
            problems.warning("pcir-alignment", pcir, message, "use another version of the ROM under OVMF");
        }
        if image.pcir.code_type == LEGACY && image.signature == [0x55, 0xaa] {
            legacy(image, images, rom, problems);
        }
        if let Some(efi) = image.efi.as_ref().filter(|efi| efi.pe.is_some_and(|pe| !pe.signed)) {
            let message = "the EFI driver is not signed: a guest with Secure Boot will not run it".to_owned();
            problems.note("unsigned", efi.stored.0, message);
        }
        if image.in_pci_chain && matches!(image.pcir.vendor, 0 | 0xffff) {
            let message = format!("vendor {:04x} is no vendor", image.pcir.vendor);
            problems.warning(
                "vendor",
                pcir.saturating_add(4),
                message,
                "the firmware may not give the ROM to the device",
            );
        }
    }
}

/// The length and the checksum that a BIOS looks at.
fn legacy(image: &Image, images: &[Image], rom: &[u8], problems: &mut Problems) {
    let at = image.offset;
    let private = image.npde.is_some_and(|npde| npde.flags & 4 != 0);
    if image.declared == 0 {
        let message = format!("the header of the image at {at:#x} has length 0: SeaBIOS skips it");
        problems.warning("declared-length", at.saturating_add(2), message, "a guest with OVMF does not need it");
    } else if part(rom, at, image.declared).is_none() {
        let end = at.saturating_add(image.declared);
        let message = format!("truncated: the header of the image at {at:#x} claims bytes up to {end:#x}");
        problems.error("truncated", rom.len(), message, "dump the ROM again; a part of it is missing");
    } else if image.declared > image.pcir.image_length {
        let message = format!("the header claims {} bytes, its PCIR has {}", image.declared, image.pcir.image_length);
        problems.warning("declared-length", at.saturating_add(2), message, "firmwares take the larger one");
    }
    if image.checksum == Checksum::Bad && !private {
        let message = format!("wrong checksum of the legacy image at {at:#x}: a BIOS skips it");
        problems.repairable("checksum", at, message, "`rom repair` corrects it");
        let alone = images.iter().all(|other| other.pcir.code_type == LEGACY);
        if alone && Class(image.pcir.class).is_display() {
            problems.warning(
                "shadow",
                at,
                "this may be the copy in memory of a boot display, changed while it ran".to_owned(),
                "dump the ROM in the initramfs, or with another display as the boot display",
            );
        }
    }
}

/// Whether the PCI data structure is where edk2 looks at it.
fn is_aligned(image: &Image) -> bool {
    image.pcir.offset.saturating_sub(image.offset).trailing_zeros() >= 2
}

/// The firmware of a UEFI guest: the first check that fails ends it (edk2, PciOptionRomSupport.c).
fn ovmf(rom: &Rom, repaired: &'static str) -> Answer {
    let reachable = || rom.images.iter().filter(|image| image.in_pci_chain).take_while(|image| is_aligned(image));
    let mut drivers = String::new();
    for (index, image) in rom.images.iter().enumerate() {
        let Some(efi) = image.efi.as_ref().filter(|efi| efi.loadable && image.reach() <= rom.size) else { continue };
        if reachable().any(|other| other.offset == image.offset) {
            let signed =
                if efi.pe.is_some_and(|pe| pe.signed) { "signed" } else { "unsigned, so not with Secure Boot" };
            if !drivers.is_empty() {
                drivers.push_str("; ");
            }
            let _ = write!(drivers, "{} driver in image {index}, {signed}", machine_name(efi.machine));
        }
    }
    if drivers.is_empty() {
        let text = if rom.images.iter().any(|image| image.pcir.code_type == EFI) {
            "its EFI image cannot be loaded"
        } else {
            "it has no EFI image"
        };
        return Answer::new("no", text.to_owned());
    }
    Answer::new(if as_is(rom) { "yes" } else { repaired }, drivers)
}

/// Whether a firmware finds the first image at once, and nothing stops it on the way.
fn as_is(rom: &Rom) -> bool {
    rom.prefix.is_none() && rom.problems.iter().all(|problem| problem.code != "gap")
}

/// SeaBIOS: the first legacy image with the ID of the device itself, and a right checksum (src/optionroms.c).
fn seabios(rom: &Rom, device: Option<&ExpectedId>, repaired: &'static str) -> Answer {
    let mut why = "it has no legacy image";
    for (index, image) in rom.images.iter().enumerate() {
        if image.pcir.code_type != LEGACY || !image.in_pci_chain {
            continue;
        }
        let id = (image.pcir.vendor, image.pcir.device);
        if device.is_some_and(|device| id != (device.vendor, device.device)) {
            let listed = device.is_some_and(|device| image.is_for(device.vendor, device.device));
            why = if listed { "it does not look at the device list" } else { "its legacy image is for another device" };
            continue;
        }
        return match image.checksum {
            Checksum::Ok if as_is(rom) => Answer::new("yes", format!("legacy image {index}")),
            Checksum::Ok => Answer::new(repaired, format!("legacy image {index}")),
            Checksum::Bad => Answer::new(repaired, format!("the checksum of legacy image {index} is wrong")),
            Checksum::None => Answer::new("no", format!("legacy image {index} has no usable length")),
        };
    }
    Answer::new("no", why.to_owned())
}

/// Whether this is the device's own ROM.
fn card(rom: &Rom, id: &ExpectedId, problems: &mut Problems) -> Answer {
    let wanted = format!("{:04x}:{:04x}", id.vendor, id.device);
    let Some(first) = rom.images.first() else {
        return Answer::new("no", "there is no image".to_owned());
    };
    if rom.images.iter().any(|image| image.is_for(id.vendor, id.device)) {
        return Answer::new("yes", wanted);
    }
    let found = format!("{:04x}:{:04x}", first.pcir.vendor, first.pcir.device);
    let message = format!("the ROM is for {found}, the device is {wanted}");
    let at = first.pcir.offset.saturating_add(4);
    let text = format!("it is for {found}, not for {wanted}");
    if first.pcir.vendor == id.vendor {
        let remedy = "if the cards are of the same kind, `rom repair --id` writes the new ID, as QEMU does";
        problems.repairable("wrong-device", at, message, remedy);
        return Answer::new("after-repair", text);
    }
    problems.error("wrong-vendor", at, message, "dump the ROM of the right card");
    Answer::new("no", text)
}

/// Where the byte is that makes the checksum of a legacy image right, from the start of the image: AMD and NVIDIA have
/// their own place; else the one that QEMU uses (hw/pci/pci.c, `pci_patch_ids`), which is free behind a short or a near
/// jump at offset 3; else the last byte.
pub(super) fn checksum_place(image: &Image, bytes: &[u8]) -> usize {
    let last = image.declared.saturating_sub(1);
    if atom::is_atom(bytes) {
        atom::CHECKSUM
    } else if image.pcir.vendor != 0x10de && matches!(up_to(bytes, 3, 1), [0xe9 | 0xeb]) {
        6
    } else {
        last
    }
}
