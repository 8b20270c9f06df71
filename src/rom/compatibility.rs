// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who can use a ROM: a UEFI guest (OVMF), a BIOS guest (SeaBIOS), the device at hand.

use std::fmt::Write as _;

use crate::json::{fields, words};
use crate::pci::ExpectedId;

use super::Rom;
use super::checks::is_aligned;
use super::efi::machine_name;
use super::image::Checksum;
use super::judge::Verdict;
use super::pcir::{EFI, LEGACY};
use super::problem::Problems;

/// Whether a ROM can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usable {
    /// As it is.
    Yes,
    /// After `rom repair`.
    AfterRepair,
    /// Not at all.
    No,
}

words!(Usable { Yes: "yes", AfterRepair: "after-repair", No: "no" });

/// Whether a firmware or a device can use a ROM, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compatibility {
    /// Whether it can.
    pub answer: Usable,
    /// Why, one line.
    pub text: String,
}

fields!(Compatibility { answer, text });

impl Compatibility {
    fn new(answer: Usable, text: String) -> Self {
        Self { answer, text }
    }
}

/// What holds for a ROM with this verdict that cannot be used as it is.
fn after_repair(verdict: Verdict) -> Usable {
    match verdict {
        Verdict::Repairable => Usable::AfterRepair,
        Verdict::Valid | Verdict::Invalid => Usable::No,
    }
}

/// The firmware of a UEFI guest: the first check that fails ends it (edk2, PciOptionRomSupport.c).
pub(super) fn with_ovmf(rom: &Rom, verdict: Verdict) -> Compatibility {
    let reachable = || rom.images.iter().filter(|image| image.in_pci_chain).take_while(|image| is_aligned(image));
    let mut drivers = String::new();
    for (index, image) in rom.images.iter().enumerate() {
        let Some(efi) = image.efi.as_ref().filter(|efi| efi.loadable && image.end() <= rom.size) else { continue };
        if reachable().any(|other| other.offset == image.offset) {
            let signed =
                if efi.pe.is_some_and(|pe| pe.signed) { "signed" } else { "unsigned (Secure Boot rejects it)" };
            if !drivers.is_empty() {
                drivers.push_str("; ");
            }
            let _ = write!(drivers, "{} driver in image {index}, {signed}", machine_name(efi.machine));
        }
    }
    if drivers.is_empty() {
        let text = if rom.images.iter().any(|image| image.pcir.code_type == EFI) {
            "the EFI image cannot be loaded"
        } else {
            "no EFI image"
        };
        return Compatibility::new(Usable::No, text.to_owned());
    }
    Compatibility::new(if is_found_as_it_is(rom) { Usable::Yes } else { after_repair(verdict) }, drivers)
}

/// Whether a firmware finds the first image at once, and nothing stops it on the way.
fn is_found_as_it_is(rom: &Rom) -> bool {
    rom.prefix.is_none() && rom.problems.iter().all(|problem| problem.code != "gap")
}

/// SeaBIOS: the first legacy image with the ID of the device itself, and a right checksum (src/optionroms.c).
pub(super) fn with_seabios(rom: &Rom, device: Option<&ExpectedId>, verdict: Verdict) -> Compatibility {
    let mut why = "no legacy image";
    for (index, image) in rom.images.iter().enumerate() {
        if image.pcir.code_type != LEGACY || !image.in_pci_chain {
            continue;
        }
        let id = (image.pcir.vendor, image.pcir.device);
        if device.is_some_and(|device| id != (device.vendor, device.device)) {
            let listed = device.is_some_and(|device| image.is_for(device.vendor, device.device));
            why = if listed { "SeaBIOS ignores the device list" } else { "the legacy image is for another device" };
            continue;
        }
        return match image.checksum {
            Checksum::Ok if is_found_as_it_is(rom) => Compatibility::new(Usable::Yes, format!("legacy image {index}")),
            Checksum::Ok => Compatibility::new(after_repair(verdict), format!("legacy image {index}")),
            Checksum::Bad => {
                Compatibility::new(after_repair(verdict), format!("legacy image {index} has a wrong checksum"))
            }
            Checksum::None => Compatibility::new(Usable::No, format!("legacy image {index} has no usable length")),
        };
    }
    Compatibility::new(Usable::No, why.to_owned())
}

/// Whether this is the device's own ROM.
pub(super) fn with_device(rom: &Rom, id: &ExpectedId, problems: &mut Problems) -> Compatibility {
    let wanted = format!("{:04x}:{:04x}", id.vendor, id.device);
    let Some(first) = rom.images.first() else {
        return Compatibility::new(Usable::No, "no image".to_owned());
    };
    if rom.images.iter().any(|image| image.is_for(id.vendor, id.device)) {
        return Compatibility::new(Usable::Yes, wanted);
    }
    let found = format!("{:04x}:{:04x}", first.pcir.vendor, first.pcir.device);
    let message = format!("the ROM is for {found}, the device is {wanted}");
    let at = first.pcir.offset.saturating_add(4);
    let text = format!("it is for {found}, not {wanted}");
    if first.pcir.vendor == id.vendor {
        let remedy = "if the cards are compatible, `rom repair --id` writes the new ID, as QEMU does";
        problems.repairable("wrong-device", at, message, remedy);
        return Compatibility::new(Usable::AfterRepair, text);
    }
    problems.error("wrong-vendor", at, message, "dump the ROM of the right card");
    Compatibility::new(Usable::No, text)
}
