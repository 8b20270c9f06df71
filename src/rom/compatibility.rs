// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who can use a ROM: a UEFI guest (OVMF), a BIOS guest (SeaBIOS), the device at hand.

use crate::json::{fields, words};
use crate::pci::ExpectedId;

use super::Rom;
use super::efi::{APPLICATION, Efi, machine_name};
use super::image::{Checksum, Image};
use super::judge::Verdict;
use super::pcir::LEGACY;
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

/// The firmware of a UEFI guest for `machine` (edk2, MdeModulePkg/Bus/Pci/PciBusDxe/PciOptionRomSupport.c). Its
/// `ProcessOpRomImage` starts the drivers whose header names its own machine, and only if none of them starts, all others;
/// there the driver's own header decides (MdeModulePkg/Core/Dxe/Image/Image.c, `CoreLoadPeImage`).
pub(super) fn with_ovmf(rom: &Rom, machine: u16, verdict: Verdict) -> Compatibility {
    let no = |text: String| Compatibility::new(Usable::No, text);
    let efi_images =
        || rom.images.iter().enumerate().filter_map(|(index, image)| Some((index, image, image.efi.as_ref()?)));
    let Some((index, first, first_efi)) = efi_images().next() else { return no("no EFI image".to_owned()) };
    if rom.uefi_hangs {
        return no("OVMF would read an image of length 0 again and again".to_owned());
    }
    let runs_on = |efi: &Efi| efi.pe.is_some_and(|pe| runs(pe.machine, machine));
    let starts_application = |efi: &Efi| {
        runs_on(efi) && matches!(efi.subsystem, 11 | 12) && efi.pe.is_some_and(|pe| pe.subsystem == APPLICATION)
    };
    if let Some((index, ..)) = efi_images().find(|(_, image, efi)| image.found_by.uefi && starts_application(efi)) {
        return no(format!("OVMF would start the application in image {index}, and the guest would hang"));
    }
    let drivers = |usable: &dyn Fn(&Image, &Efi) -> bool| {
        let usable = |native: bool| {
            let these = efi_images()
                .filter(|(_, image, efi)| runs_on(efi) && usable(image, efi) && (efi.machine == machine) == native);
            these.map(|(index, _, efi)| driver_text(index, efi)).collect::<Vec<_>>().join("; ")
        };
        let native = usable(true);
        if native.is_empty() { usable(false) } else { native }
    };
    let now = drivers(&|image, efi| image.found_by.uefi && efi.loadable);
    if !now.is_empty() {
        return Compatibility::new(if rom.prefix.is_none() { Usable::Yes } else { after_repair(verdict) }, now);
    }
    let later = drivers(&|_, efi| efi.loadable || efi.repairable);
    if verdict == Verdict::Repairable && !later.is_empty() {
        return Compatibility::new(Usable::AfterRepair, later);
    }
    no(match first_efi.pe {
        Some(_) if !first.found_by.uefi => "OVMF does not find the EFI image".to_owned(),
        Some(pe) if first_efi.loadable => {
            format!(
                "the driver in image {index} is for {}, the guest is {}",
                machine_name(pe.machine),
                machine_name(machine)
            )
        }
        _ => "the EFI image cannot be loaded".to_owned(),
    })
}

/// Whether a firmware runs a driver for `driver`: that for its own machine, or byte code (MdeModulePkg/Universal/EbcDxe).
fn runs(driver: u16, machine: u16) -> bool {
    driver == machine || (driver == 0x0ebc && matches!(machine, 0x014c | 0x8664 | 0xaa64))
}

fn driver_text(index: usize, efi: &Efi) -> String {
    let Some(pe) = &efi.pe else { return String::new() };
    format!("{} driver in image {index}, {}", machine_name(pe.machine), efi.signature_text(pe))
}

/// SeaBIOS: the first legacy image with the ID of the device itself, and a right checksum over the length in its header
/// (src/optionroms.c, `map_pcirom` and `is_valid_rom`).
pub(super) fn with_seabios(rom: &Rom, device: Option<&ExpectedId>, verdict: Verdict) -> Compatibility {
    let legacy =
        || rom.images.iter().enumerate().filter(|(_, image)| image.pcir.code_type == LEGACY && image.in_pci_chain());
    // Without a device, that of the first legacy image.
    let own = |image: &Image| {
        device.is_none_or(|device| (image.pcir.vendor, image.pcir.device) == (device.vendor, device.device))
    };
    let found = legacy()
        .find(|(_, image)| own(image) && image.found_by.bios)
        .or_else(|| legacy().find(|(_, image)| own(image)));
    let Some((index, image)) = found else {
        let listed = |image: &Image| device.is_some_and(|device| image.is_for(device.vendor, device.device));
        let why = match legacy().next() {
            None => "no legacy image",
            Some(_) if legacy().any(|(_, image)| listed(image)) => "SeaBIOS ignores the device list",
            Some(_) => "the legacy image is for another device",
        };
        return Compatibility::new(Usable::No, why.to_owned());
    };
    match image.checksum {
        Checksum::Ok if image.found_by.bios && rom.prefix.is_none() => {
            Compatibility::new(Usable::Yes, format!("legacy image {index}"))
        }
        Checksum::Ok => Compatibility::new(after_repair(verdict), format!("legacy image {index}")),
        Checksum::Bad => {
            Compatibility::new(after_repair(verdict), format!("legacy image {index} has a wrong checksum"))
        }
        Checksum::None => Compatibility::new(Usable::No, format!("legacy image {index} has no usable length")),
    }
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
