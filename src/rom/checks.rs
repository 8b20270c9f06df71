// SPDX-License-Identifier: MIT OR Apache-2.0
//! Checks of single images: alignment, declared length, checksum, signature, vendor.

use crate::pci::Class;

use super::bytes::part;
use super::efi::Efi;
use super::image::{Checksum, Image, is_aligned};
use super::pcir::{EFI, LEGACY};
use super::problem::Problems;
use super::signature::EXPIRED;

/// Reports what is wrong with single images. Cheap: their bytes have been read before.
pub(super) fn check_images(images: &[Image], rom: &[u8], problems: &mut Problems) {
    for (index, image) in images.iter().enumerate() {
        let at = image.offset;
        let pcir = image.pcir.offset;
        if image.in_pci_chain() && !is_aligned(at, pcir) {
            let message = format!("the PCIR of the image at {at:#x} is not aligned to 4 bytes: OVMF stops here");
            let remedy = "use another version of the ROM for a guest with OVMF";
            let hidden = |image: &Image| image.pcir.code_type == EFI && image.in_pci_chain() && !image.found_by.uefi;
            if images.iter().skip(index).any(hidden) {
                problems.error("pcir-alignment", pcir, message, remedy);
            } else {
                problems.warning("pcir-alignment", pcir, message, remedy);
            }
        }
        if image.pcir.code_type == LEGACY && image.signature == [0x55, 0xaa] {
            check_legacy_image(image, images, rom, problems);
        }
        if let Some(efi) = &image.efi {
            check_signature(efi, problems);
        }
        if image.in_pci_chain() && matches!(image.pcir.vendor, 0 | 0xffff) {
            // As in NVIDIA's own EFI images. edk2 compares no IDs, and SeaBIOS only those of legacy images.
            let message = format!("{:04x} is not a valid vendor ID", image.pcir.vendor);
            problems.note("vendor", pcir.saturating_add(4), message);
        }
    }
}

/// Notes what a firmware with Secure Boot may mind. Whether it verifies option ROMs is its own policy: OVMF does not
/// (OvmfPkg/OvmfPkgX64.dsc, PcdOptionRomImageVerificationPolicy 0).
fn check_signature(efi: &Efi, problems: &mut Problems) {
    if efi.pe.is_some_and(|pe| !pe.signed) {
        let message = "the EFI driver is not signed: firmware that verifies option ROMs under Secure Boot does not run it \
                       (OVMF does not verify them)";
        problems.note("unsigned", efi.stored.0, message.to_owned());
    } else if !efi.signers.is_empty() && efi.signers.iter().all(|signer| signer.issuer == EXPIRED) {
        let message = format!(
            "the EFI driver is signed by {EXPIRED}, which expired in June 2026: firmware that only trusts Microsoft Option ROM \
             UEFI CA 2023 does not run it under Secure Boot"
        );
        problems.note("signer-expired", efi.stored.0, message);
    }
}

/// Checks the length and the checksum that a BIOS reads.
fn check_legacy_image(image: &Image, images: &[Image], rom: &[u8], problems: &mut Problems) {
    let at = image.offset;
    let private = image.npde.is_some_and(|npde| npde.flags & 4 != 0);
    if image.declared == 0 {
        let message = format!("the header of the image at {at:#x} has length 0: SeaBIOS skips it");
        problems.warning("declared-length", at.saturating_add(2), message, "a guest with OVMF does not need it");
    } else if part(rom, at, image.declared).is_none() {
        let end = at.saturating_add(image.declared);
        let message = format!("truncated: the header of the image at {at:#x} says that it ends at {end:#x}");
        problems.error("truncated", rom.len(), message, "dump the ROM again: a part of it is missing");
    } else if image.declared > image.pcir.image_length {
        let message =
            format!("the image header says {} bytes, the PCIR says {}", image.declared, image.pcir.image_length);
        problems.warning("declared-length", at.saturating_add(2), message, "firmware uses the larger value");
    }
    if image.checksum == Checksum::Bad && !private && part(rom, at, image.declared).is_some() {
        let message = format!("the legacy image at {at:#x} has a wrong checksum: a BIOS skips it");
        problems.repairable("checksum", at, message, "`rom repair` corrects it");
        let alone = images.iter().all(|other| other.pcir.code_type == LEGACY);
        if alone && Class(image.pcir.class).is_display() {
            problems.warning(
                "shadow",
                at,
                "this may be the copy of a boot display's ROM in memory, which changes while the display is used"
                    .to_owned(),
                "dump the ROM in the initramfs, or with another display as the boot display",
            );
        }
    }
}
