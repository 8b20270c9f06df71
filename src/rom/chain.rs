// SPDX-License-Identifier: MIT OR Apache-2.0
//! The chain of images. It is followed three times, by the rules of [`Rules`]: as a BIOS and the kernel do, as a UEFI firmware
//! does, and as NVIDIA's own programs do. Each may find images that the others do not.

use super::bytes::{BLOCK, is_blank, up_to};
use super::image::{self, Image, ImageError, Rules};
use super::pcir::{EFI, LEGACY};
use super::problem::Problems;

/// A ROM with more images is not an option ROM; five is the highest known number.
const MAX_IMAGES: usize = 128;

/// The images that one set of rules finds.
struct Traversal {
    images: Vec<Image>,
    /// Where the next image would be.
    end: usize,
    reason: ChainEnd,
}

impl Traversal {
    fn has(&self, offset: usize) -> bool {
        self.images.iter().any(|image| image.offset == offset)
    }
}

/// Why no further image was read.
enum ChainEnd {
    /// The last image found says that it is the last.
    Last,
    /// There is no image where the one before says that one follows.
    NoImage(ImageError),
    /// The last image found has length zero: it would follow itself, unless it says that it is the last.
    Zero { last: bool },
    /// The last image found is cut off by the end of the file.
    Truncated,
    /// Too many images.
    TooMany,
}

/// The chain, and where in the file it ends.
pub(super) struct Chain {
    pub(super) images: Vec<Image>,
    pub(super) end: usize,
    /// edk2 reads the last image again and again: its length is zero.
    pub(super) uefi_hangs: bool,
}

/// Reads the chain of images that starts at `start`. The images are in the order of their offsets.
pub(super) fn parse(rom: &[u8], start: usize, problems: &mut Problems) -> Chain {
    let bios = follow(rom, start, Rules::Bios);
    let uefi = follow(rom, start, Rules::Uefi);
    let mut nvidia = follow(rom, start, Rules::Nvidia);
    check_bios_chain(rom, &bios, &uefi, problems);
    check_nvidia_chain(&mut nvidia, &bios, problems);
    let mut images = nvidia.images;
    for image in uefi.images.iter().chain(&bios.images) {
        if images.iter().all(|other| other.offset != image.offset) {
            check_overlap(&images, image, problems);
            images.push(image.clone());
        }
    }
    for image in &mut images {
        image.found_by.bios = bios.has(image.offset);
        image.found_by.uefi = uefi.has(image.offset);
    }
    images.sort_by_key(|image| image.offset);
    check_gaps(&images, problems);
    check_hidden(&images, problems);
    add_images_after_last(rom, &mut images, problems);
    let uefi_hangs = matches!(uefi.reason, ChainEnd::Zero { last: false }) && !uefi.images.is_empty();
    Chain { end: end_of(&images, rom).unwrap_or(start), images, uefi_hangs }
}

/// Where the last of the images ends.
fn end_of(images: &[Image], rom: &[u8]) -> Option<usize> {
    images.iter().map(|image| image.end().min(rom.len())).max()
}

/// Reports an image that only the firmware finds, because a PCI data structure points into the middle of another image.
fn check_overlap(images: &[Image], image: &Image, problems: &mut Problems) {
    let inside =
        |other: &&Image| other.offset < image.offset && image.offset < other.offset.saturating_add(other.length);
    if let Some(other) = images.iter().find(inside) {
        let message = format!("the PCI chain has an image inside the image at {:#x}", other.offset);
        problems.error("overlap", image.offset, message, DUMP_AGAIN);
    }
}

fn follow(rom: &[u8], start: usize, rules: Rules) -> Traversal {
    // QEMU gives a ROM file a BAR whose size is the next power of two, filled with zeros (hw/pci/pci.c,
    // `pci_add_option_rom`).
    let bar = rom.len().saturating_sub(start).checked_next_power_of_two().unwrap_or(usize::MAX).saturating_add(start);
    let mut images: Vec<Image> = Vec::new();
    let mut at = start;
    let reason = loop {
        if images.len() >= MAX_IMAGES {
            break ChainEnd::TooMany;
        }
        let image = match image::parse(rom, at, rules) {
            Ok(image) => image,
            Err(error) => match next_image(rom, at, rules, &error) {
                Some(next) if !images.is_empty() => {
                    at = next;
                    continue;
                }
                _ => break ChainEnd::NoImage(error),
            },
        };
        let (length, last) = (image.length, image.last);
        let end = at.saturating_add(length);
        if rules == Rules::Uefi && end > bar {
            break ChainEnd::Truncated;
        }
        images.push(image);
        if length == 0 {
            break ChainEnd::Zero { last };
        }
        at = end;
        if end > rom.len() {
            break ChainEnd::Truncated;
        }
        if last {
            break ChainEnd::Last;
        }
    };
    // An image without a length is no part of what edk2 copies.
    if rules == Rules::Uefi {
        images.retain(|image| image.length != 0);
    }
    Traversal { images, end: at, reason }
}

/// The next image behind something that is none. edk2 tries every 512 bytes; NVIDIA's chain has blank gaps at most.
fn next_image(rom: &[u8], at: usize, rules: Rules, error: &ImageError) -> Option<usize> {
    match rules {
        Rules::Bios => None,
        Rules::Uefi if error.code != "signature" => None,
        Rules::Uefi => {
            let next = at.checked_add(BLOCK)?;
            let rest = rom.get(next..)?;
            let found = rest.chunks(BLOCK).position(|block| block.starts_with(&[0x55, 0xaa]))?;
            next.checked_add(found.checked_mul(BLOCK)?)
        }
        Rules::Nvidia => image_after_gap(rom, at),
    }
}

/// The next image behind a blank gap.
fn image_after_gap(rom: &[u8], at: usize) -> Option<usize> {
    let rest = rom.get(at..)?;
    let filler = *rest.first().filter(|&&b| b == 0 || b == 0xff)?;
    let empty = rest.iter().position(|&b| b != filler)?;
    let next = at.checked_add(empty)?;
    let whole = empty.checked_rem(BLOCK)? == 0;
    (whole && image::parse(rom, next, Rules::Bios).is_ok()).then_some(next)
}

const DUMP_AGAIN: &str = "dump the ROM again: a part of it is missing or damaged";

/// Reports what is wrong with the chain as a BIOS and the kernel read it, unless a UEFI firmware goes on behind it.
fn check_bios_chain(rom: &[u8], bios: &Traversal, uefi: &Traversal, problems: &mut Problems) {
    let Some(last) = bios.images.last() else { return };
    let goes_on = uefi.images.iter().any(|image| image.offset >= bios.end);
    // A UEFI guest has what it needs, whatever follows; without an EFI image, that may be what is missing.
    let complete = bios.images.iter().any(|image| image.pcir.code_type == EFI);
    match &bios.reason {
        ChainEnd::Last => {}
        ChainEnd::Zero { .. } => {
            let message = format!("the image at {:#x} has length 0", last.offset);
            problems.error("length", last.pcir.offset.saturating_add(0x10), message, DUMP_AGAIN);
        }
        ChainEnd::Truncated => {
            let end = last.offset.saturating_add(last.length);
            let message = format!(
                "truncated: the image at {:#x} ends at {end:#x}, the file ends at {:#x}",
                last.offset,
                rom.len()
            );
            problems.error("truncated", rom.len(), message, DUMP_AGAIN);
        }
        ChainEnd::TooMany => {
            problems.error(
                "too-many-images",
                bios.end,
                format!("more than {MAX_IMAGES} images"),
                "this is not an option ROM",
            );
        }
        ChainEnd::NoImage(_) if goes_on => {}
        ChainEnd::NoImage(_) if is_blank(up_to(rom, bios.end, usize::MAX)) => {
            let message = format!("the image at {:#x} is not marked as the last, but no other follows", last.offset);
            let remedy = "`rom repair` marks it as the last; if the card has more images, dump the ROM again";
            let place = last.pcir.offset.saturating_add(0x15);
            if complete {
                problems.repairable_warning("no-last-image", place, message, remedy);
            } else {
                problems.repairable("no-last-image", place, message, remedy);
            }
        }
        ChainEnd::NoImage(_) if rom.get(bios.end..).is_some_and(|rest| rest.starts_with(b"VN")) => problems.warning(
            "nvidia-image",
            bios.end,
            "the chain continues with an NVIDIA-only image: the kernel logs \"Invalid PCI ROM header signature\""
                .to_owned(),
            "harmless: the images before it are used",
        ),
        ChainEnd::NoImage(error) => {
            let message = format!(
                "the image at {:#x} is not the last, but no valid image follows: {}",
                last.offset, error.message
            );
            if complete {
                let remedy = "firmware uses the images before it; `rom repair` marks the last one";
                problems.repairable_warning(error.code, error.offset, message, remedy);
            } else {
                problems.error(error.code, error.offset, message, DUMP_AGAIN);
            }
        }
    }
}

/// Reports gaps between images. Only edk2 looks behind one, so the only image for a BIOS must not be there.
fn check_gaps(images: &[Image], problems: &mut Problems) {
    let legacy = || images.iter().filter(|image| image.pcir.code_type == LEGACY);
    let lost = legacy().any(|image| image.found_by.uefi) && !legacy().any(|image| image.found_by.bios);
    for (image, next) in images.iter().zip(images.iter().skip(1)) {
        let length = next.offset.saturating_sub(image.end());
        let message = format!("{length} bytes between two images");
        if length != 0 && lost {
            let message = format!("{message}: SeaBIOS does not look behind them");
            problems.repairable("gap", image.end(), message, "`rom repair` removes them");
        } else if length != 0 {
            problems.repairable_note("gap", image.end(), message);
        }
    }
}

/// Reports an EFI image that only NVIDIA's own programs find, because the length or the last bit in a PCI data structure
/// hides it from the firmware.
fn check_hidden(images: &[Image], problems: &mut Problems) {
    if images.iter().any(|image| image.pcir.code_type == EFI && image.in_pci_chain()) {
        return;
    }
    let Some(hidden) = images.iter().find(|image| image.pcir.code_type == EFI) else { return };
    let before = images.iter().rfind(|image| image.offset < hidden.offset && image.in_pci_chain());
    if let Some(before) = before {
        let message = format!(
            "no firmware finds the EFI image at {:#x}: by its PCIR, the image at {:#x} has {} bytes{}; by NVIDIA's extension it has {}",
            hidden.offset,
            before.offset,
            before.pcir.image_length,
            if before.pcir.last { " and is the last" } else { "" },
            before.length
        );
        problems.repairable(
            "hidden-image",
            before.pcir.offset.saturating_add(0x10),
            message,
            "`rom repair` makes the PCIR say the same",
        );
    }
}

/// Adds and reports an EFI image behind the one that says it is the last.
fn add_images_after_last(rom: &[u8], images: &mut Vec<Image>, problems: &mut Problems) {
    let Some(last) = images.last().filter(|image| image.pcir.last && image.length != 0) else { return };
    if images.iter().any(|image| image.pcir.code_type == EFI) {
        return;
    }
    let (place, at, end) = (last.pcir.offset.saturating_add(0x15), last.offset, last.end());
    let next = if image::parse(rom, end, Rules::Bios).is_ok() { Some(end) } else { image_after_gap(rom, end) };
    let more = next.map(|next| follow(rom, next, Rules::Uefi).images).unwrap_or_default();
    let Some(efi) = more.iter().find(|image| image.pcir.code_type == EFI) else { return };
    let message =
        format!("the image at {at:#x} is marked as the last, so no firmware finds the EFI image at {:#x}", efi.offset);
    problems.repairable("image-after-last", place, message, "`rom repair` clears the mark");
    images.extend(more);
}

/// Reports what is wrong with NVIDIA's own chain beyond the images that every firmware finds. A guest needs none of it, so
/// broken images there are dropped.
fn check_nvidia_chain(nvidia: &mut Traversal, bios: &Traversal, problems: &mut Problems) {
    let Some(last) = nvidia.images.last_mut() else { return };
    // Without NVIDIA's extensions both chains are the same, and all problems are reported already.
    let in_pci_chain = bios.has(last.offset);
    let same = bios.images.last().is_some_and(|other| other.offset == last.offset && last.npde.is_none());
    match &nvidia.reason {
        ChainEnd::Last => {}
        _ if same => {}
        ChainEnd::NoImage(error) => problems.note(
            "nvidia-chain",
            error.offset,
            "the NVIDIA-only images that should follow are missing: normal for a dump through sysfs, and no guest needs \
             them"
                .to_owned(),
        ),
        ChainEnd::Zero { .. } | ChainEnd::Truncated | ChainEnd::TooMany => {
            let at = last.npde.map_or(last.pcir.offset, |npde| npde.offset);
            problems.warning(
                "nvidia-chain",
                at,
                format!("NVIDIA's own chain is broken at the image at {:#x}; no guest needs it", last.offset),
                "the images that the firmware finds are not affected",
            );
            if in_pci_chain {
                last.length = last.pcir.image_length;
                last.last = last.pcir.last;
            } else {
                nvidia.images.pop();
            }
        }
    }
}
