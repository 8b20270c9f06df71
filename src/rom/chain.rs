// SPDX-License-Identifier: MIT OR Apache-2.0
//! The chain of images. It is followed twice: by the rules of the PCI Firmware Specification, as every firmware, the kernel
//! (drivers/pci/rom.c) and QEMU do, and by those of NVIDIA's own programs, which may find further images.

use super::bytes::{BLOCK, is_blank, up_to};
use super::image::{self, Image, ImageError, Rules};
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

/// Why no further image was read.
enum ChainEnd {
    /// The last image found says that it is the last.
    Last,
    /// There is no image where the one before says that one follows.
    NoImage(ImageError),
    /// The last image found has length zero: it would follow itself.
    Zero,
    /// The last image found is cut off by the end of the file.
    Truncated,
    /// Too many images.
    TooMany,
}

/// The chain, and where in the file it ends.
pub(super) struct Chain {
    pub(super) images: Vec<Image>,
    pub(super) end: usize,
}

/// Reads the chain of images that starts at `start`. The images are in the order of their offsets.
pub(super) fn parse(rom: &[u8], start: usize, problems: &mut Problems) -> Chain {
    let pci = follow(rom, start, Rules::Pci);
    check_pci_chain(rom, &pci, problems);
    let mut nvidia = follow(rom, start, Rules::Nvidia);
    for image in &mut nvidia.images {
        image.in_pci_chain = pci.images.iter().any(|other| other.offset == image.offset);
    }
    check_nvidia_chain(&mut nvidia, &pci, problems);
    let mut images = nvidia.images;
    for image in pci.images {
        if images.iter().all(|other| other.offset != image.offset) {
            check_overlap(&images, &image, problems);
            images.push(image);
        }
    }
    images.sort_by_key(|image| image.offset);
    let end = images.iter().map(|image| image.end().min(rom.len())).max().unwrap_or(start);
    Chain { images, end }
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
    let mut images: Vec<Image> = Vec::new();
    let mut at = start;
    let reason = loop {
        if images.len() >= MAX_IMAGES {
            break ChainEnd::TooMany;
        }
        let image = match image::parse(rom, at, rules) {
            Ok(image) => image,
            Err(error) => match image_after_gap(rom, at, rules) {
                Some(next) if !images.is_empty() => {
                    at = next;
                    continue;
                }
                _ => break ChainEnd::NoImage(error),
            },
        };
        let (length, last) = (image.length, image.last);
        let end = at.saturating_add(length);
        images.push(image);
        if length == 0 {
            break ChainEnd::Zero;
        }
        if end > rom.len() {
            break ChainEnd::Truncated;
        }
        at = end;
        if last {
            break ChainEnd::Last;
        }
    };
    Traversal { images, end: at, reason }
}

/// The next image behind a gap in the chain. edk2 searches every 512 bytes too.
fn image_after_gap(rom: &[u8], at: usize, rules: Rules) -> Option<usize> {
    let rest = rom.get(at..)?;
    let filler = *rest.first().filter(|&&b| b == 0 || b == 0xff)?;
    let empty = rest.iter().position(|&b| b != filler)?;
    let next = at.checked_add(empty)?;
    let whole = empty.checked_rem(BLOCK)? == 0;
    (whole && image::parse(rom, next, rules).is_ok()).then_some(next)
}

const DUMP_AGAIN: &str = "dump the ROM again: a part of it is missing or damaged";

/// Reports what is wrong with the chain as every firmware reads it.
fn check_pci_chain(rom: &[u8], pci: &Traversal, problems: &mut Problems) {
    let mut expected = pci.images.first().map_or(0, |image| image.offset);
    for image in &pci.images {
        if image.offset != expected {
            let length = image.offset.saturating_sub(expected);
            problems.repairable(
                "gap",
                expected,
                format!("{length} empty bytes between two images"),
                "`rom repair` removes them",
            );
        }
        expected = image.offset.saturating_add(image.length);
    }
    let Some(last) = pci.images.last() else { return };
    match &pci.reason {
        ChainEnd::Last => {}
        ChainEnd::Zero => {
            let message = format!("the image at {:#x} has length 0, so the chain does not end", last.offset);
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
                pci.end,
                format!("more than {MAX_IMAGES} images"),
                "this is not an option ROM",
            );
        }
        ChainEnd::NoImage(_) if is_blank(up_to(rom, pci.end, usize::MAX)) => {
            let message = format!("the image at {:#x} is not marked as the last, but no other follows", last.offset);
            let remedy = "`rom repair` marks it as the last; if the card has more images, dump the ROM again";
            problems.repairable("no-last-image", last.pcir.offset.saturating_add(0x15), message, remedy);
        }
        ChainEnd::NoImage(_) if rom.get(pci.end..).is_some_and(|rest| rest.starts_with(b"VN")) => problems.warning(
            "nvidia-image",
            pci.end,
            "the chain continues with an NVIDIA-only image: the kernel logs \"Invalid PCI ROM header signature\""
                .to_owned(),
            "harmless: the images before it are used",
        ),
        ChainEnd::NoImage(error) => {
            let message = format!(
                "the image at {:#x} is not the last, but no valid image follows: {}",
                last.offset, error.message
            );
            problems.error(error.code, error.offset, message, DUMP_AGAIN);
        }
    }
}

/// Reports what is wrong with NVIDIA's own chain beyond the images that every firmware finds. A guest needs none of it, so
/// broken images there are dropped.
fn check_nvidia_chain(nvidia: &mut Traversal, pci: &Traversal, problems: &mut Problems) {
    let Some(last) = nvidia.images.last_mut() else { return };
    // Without NVIDIA's extensions both chains are the same, and all problems are reported already.
    let same = pci.images.last().is_some_and(|other| other.offset == last.offset && last.npde.is_none());
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
        ChainEnd::Zero | ChainEnd::Truncated | ChainEnd::TooMany => {
            let at = last.npde.map_or(last.pcir.offset, |npde| npde.offset);
            problems.warning(
                "nvidia-chain",
                at,
                format!("NVIDIA's own chain is broken at the image at {:#x}; no guest needs it", last.offset),
                "the images that the firmware finds are not affected",
            );
            if last.in_pci_chain {
                last.length = last.pcir.image_length;
                last.last = last.pcir.last;
            } else {
                nvidia.images.pop();
            }
        }
    }
}
