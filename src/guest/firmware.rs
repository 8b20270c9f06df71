// SPDX-License-Identifier: MIT OR Apache-2.0
//! Option ROMs, and the firmware that runs them.

use crate::inventory::{Device, rom_path};
use crate::pci::Address;
use crate::rom::{EFI, JudgedRom, LEGACY, Usable, Verdict};

/// The option ROM of a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rom {
    /// The guest's firmware reads it from the device.
    Device,
    /// A saved and valid one.
    File(String),
    /// It is hidden from the guest, for this reason.
    Off(String),
}

/// The firmware of a guest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Firmware {
    /// Whatever is usual.
    #[default]
    Usual,
    /// UEFI.
    Uefi,
}

/// Decides on the option ROM of a function from its saved one.
pub(super) fn rom(address: Address, saved: Option<&JudgedRom>) -> Rom {
    let Some(judged) = saved else { return Rom::Device };
    if judged.verdict == Verdict::Valid {
        return Rom::File(rom_path(address));
    }
    // Firmware can cope with some errors, such as bytes after the last image.
    let card = judged.card.as_ref().is_none_or(|card| card.answer == Usable::Yes);
    if card && (judged.ovmf.answer == Usable::Yes || judged.seabios.answer == Usable::Yes) {
        return Rom::Device;
    }
    Rom::Off(judged.why_not_valid().unwrap_or_else(|| "the option ROM cannot be used".to_owned()))
}

/// What a saved option ROM that is not used deserves to be said.
pub(super) fn rom_note(address: Address, rom: &Rom, saved: Option<&JudgedRom>) -> Option<String> {
    match (rom, saved) {
        (Rom::Off(reason), _) => Some(format!("{address}: {reason}; the guest does not see it")),
        (Rom::Device, Some(judged)) => {
            Some(format!("{address}: {}; the guest reads it from the device", judged.why_not_valid()?))
        }
        _ => None,
    }
}

/// Which firmware shows a picture on these displays before an operating system runs: UEFI where a ROM has an image for it.
/// The second value is a word about others.
pub(super) fn firmware(displays: &[(&Device, Option<&JudgedRom>)]) -> (Firmware, Option<String>) {
    let has = |judged: &JudgedRom, code_type: u8| {
        judged.rom.images.iter().any(|image| image.in_pci_chain() && image.pcir.code_type == code_type)
    };
    let known = || displays.iter().filter_map(|(device, judged)| Some((device.address, (*judged)?)));
    if known().any(|(_, judged)| has(judged, EFI)) {
        return (Firmware::Uefi, None);
    }
    let note = match (known().find(|(_, judged)| has(judged, LEGACY)), displays.first()) {
        (Some((address, _)), _) => Some(format!(
            "{address}: its option ROM has only a legacy image: UEFI firmware shows nothing on it, so the guest has a BIOS"
        )),
        (None, Some((device, _))) => Some(format!(
            "{}: its option ROM is not saved, so it is not known whether UEFI firmware shows anything on it (rom=save in the claim)",
            device.address
        )),
        (None, None) => None,
    };
    (Firmware::Usual, note)
}
