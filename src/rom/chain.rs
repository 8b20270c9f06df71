// SPDX-License-Identifier: MIT OR Apache-2.0
//! The chain of images. There are two ways to follow it: that of the PCI Firmware Specification, which every firmware,
//! the kernel (drivers/pci/rom.c) and QEMU take, and that of NVIDIA's own programs, which may find further images.

use super::bytes::{BLOCK, blank, up_to};
use super::image::{self, Image, NoImage, Rules};
use super::problem::Problems;

/// More images than this are no option ROM; five is the most that is known.
const MOST: usize = 128;

/// A chain that was followed as far as it goes.
struct Walk {
    images: Vec<Image>,
    /// Where the next image would be.
    end: usize,
    stop: Stop,
}

/// Why a walk ended.
enum Stop {
    /// At an image that says it is the last.
    Last,
    /// There is no image where the one before says that one follows.
    NoImage(NoImage),
    /// The last image found has length zero: it would follow itself for ever.
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

/// Follows the chain of the ROM that starts at `start`. The images are in the order of their offsets.
pub(super) fn follow(rom: &[u8], start: usize, problems: &mut Problems) -> Chain {
    let pci = walk(rom, start, Rules::Pci);
    report(rom, &pci, problems);
    let mut own = walk(rom, start, Rules::Nvidia);
    for image in &mut own.images {
        image.in_pci_chain = pci.images.iter().any(|other| other.offset == image.offset);
    }
    report_own(&mut own, &pci, problems);
    let mut images = own.images;
    for image in pci.images {
        if images.iter().all(|other| other.offset != image.offset) {
            stray(&images, &image, problems);
            images.push(image);
        }
    }
    images.sort_by_key(|image| image.offset);
    let end = images.iter().map(|image| image.reach().min(rom.len())).max().unwrap_or(start);
    Chain { images, end }
}

/// An image that only the firmware finds, because a PCI data structure points into the middle of another image.
fn stray(images: &[Image], image: &Image, problems: &mut Problems) {
    let inside =
        |other: &&Image| other.offset < image.offset && image.offset < other.offset.saturating_add(other.length);
    if let Some(other) = images.iter().find(inside) {
        let message = format!("the PCI chain has an image here, in the middle of the one at {:#x}", other.offset);
        problems.error("overlap", image.offset, message, DUMP);
    }
}

fn walk(rom: &[u8], start: usize, rules: Rules) -> Walk {
    let mut images: Vec<Image> = Vec::new();
    let mut at = start;
    let stop = loop {
        if images.len() >= MOST {
            break Stop::TooMany;
        }
        let image = match image::parse(rom, at, rules) {
            Ok(image) => image,
            Err(no) => match gap(rom, at, rules) {
                Some(next) if !images.is_empty() => {
                    at = next;
                    continue;
                }
                _ => break Stop::NoImage(no),
            },
        };
        let (length, last) = (image.length, image.last);
        let end = at.saturating_add(length);
        images.push(image);
        if length == 0 {
            break Stop::Zero;
        }
        if end > rom.len() {
            break Stop::Truncated;
        }
        at = end;
        if last {
            break Stop::Last;
        }
    };
    Walk { images, end: at, stop }
}

/// The next image behind an empty stretch in front of which the chain broke. edk2 looks at every 512 bytes too.
fn gap(rom: &[u8], at: usize, rules: Rules) -> Option<usize> {
    let rest = rom.get(at..)?;
    let filler = *rest.first().filter(|&&b| b == 0 || b == 0xff)?;
    let empty = rest.iter().position(|&b| b != filler)?;
    let next = at.checked_add(empty)?;
    let whole = empty.checked_rem(BLOCK)? == 0;
    (whole && image::parse(rom, next, rules).is_ok()).then_some(next)
}

const DUMP: &str = "dump the ROM again; a part of it is missing or damaged";

/// What is wrong with the chain as every firmware reads it.
fn report(rom: &[u8], pci: &Walk, problems: &mut Problems) {
    let mut expected = pci.images.first().map_or(0, |image| image.offset);
    for image in &pci.images {
        if image.offset != expected {
            let length = image.offset.saturating_sub(expected);
            problems.repairable(
                "gap",
                expected,
                format!("{length} empty bytes between two images"),
                "`rom repair` drops them",
            );
        }
        expected = image.offset.saturating_add(image.length);
    }
    let Some(last) = pci.images.last() else { return };
    match &pci.stop {
        Stop::Last => {}
        Stop::Zero => {
            let message = format!("the image at {:#x} has length 0 and would follow itself for ever", last.offset);
            problems.error("length", last.pcir.offset.saturating_add(0x10), message, DUMP);
        }
        Stop::Truncated => {
            let end = last.offset.saturating_add(last.length);
            let message = format!(
                "truncated: the image at {:#x} reaches to {end:#x}, the file ends at {:#x}",
                last.offset,
                rom.len()
            );
            problems.error("truncated", rom.len(), message, DUMP);
        }
        Stop::TooMany => {
            problems.error("too-many-images", pci.end, format!("more than {MOST} images"), "this is no option ROM");
        }
        Stop::NoImage(_) if blank(up_to(rom, pci.end, usize::MAX)) => {
            let message = format!("the image at {:#x} says that another follows, and none does", last.offset);
            let remedy = "`rom repair` marks it as the last; if the card has more images, dump the ROM again";
            problems.repairable("no-last-image", last.pcir.offset.saturating_add(0x15), message, remedy);
        }
        Stop::NoImage(_) if rom.get(pci.end..).is_some_and(|rest| rest.starts_with(b"VN")) => problems.warning(
            "nvidia-image",
            pci.end,
            "the chain runs into NVIDIA's own image, the kernel says \"Invalid PCI ROM header signature\"".to_owned(),
            "harmless: the images before it are used",
        ),
        Stop::NoImage(no) => {
            let message = format!("the image at {:#x} says that another follows: {}", last.offset, no.message);
            problems.error(no.code, no.offset, message, DUMP);
        }
    }
}

/// What is wrong with NVIDIA's own chain beyond the images that every firmware finds. A guest needs none of it, so what
/// is broken there is left out.
fn report_own(own: &mut Walk, pci: &Walk, problems: &mut Problems) {
    let Some(last) = own.images.last_mut() else { return };
    // Where nothing is NVIDIA's, both walks are the same, and all has been said.
    let same = pci.images.last().is_some_and(|other| other.offset == last.offset && last.npde.is_none());
    match &own.stop {
        Stop::Last => {}
        _ if same => {}
        Stop::NoImage(no) => problems.note(
            "nvidia-chain",
            no.offset,
            "NVIDIA's own images that should follow are not in this file: normal for a dump through sysfs, and no guest \
             needs them"
                .to_owned(),
        ),
        Stop::Zero | Stop::Truncated | Stop::TooMany => {
            let at = last.npde.map_or(last.pcir.offset, |npde| npde.offset);
            problems.warning(
                "nvidia-chain",
                at,
                format!("NVIDIA's own chain breaks at the image at {:#x}; no guest needs it", last.offset),
                "the images that the firmware finds are not affected",
            );
            if last.in_pci_chain {
                last.length = last.pcir.image_length;
                last.last = last.pcir.last;
            } else {
                own.images.pop();
            }
        }
    }
}
