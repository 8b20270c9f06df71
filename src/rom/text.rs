// SPDX-License-Identifier: MIT OR Apache-2.0
//! What `rom show`, `rom verify`, `rom extract` and `rom repair` print. One fact a line, offsets in hexadecimal.

use std::fmt::Write as _;

use super::efi::machine_name;
use super::image::{Checksum, Image};
use super::pcir::code_type_name;
use super::{Compatibility, JudgedRom, Repaired, RomProblem, Usable};
use crate::pci::Class;

/// The text of `rom show`. `name`: the file or the address, as the user wrote it.
pub fn show(name: &str, judged: &JudgedRom) -> String {
    let rom = &judged.rom;
    let mut out = summary(name, judged);
    if let Some(prefix) = &rom.prefix {
        let _ = write!(out, "prefix: {} bytes, {}", prefix.length, prefix.kind);
        if let Some(version) = prefix.version {
            let _ = write!(out, " version {version}");
        }
        if let Some(directory) = prefix.directory {
            let _ = write!(out, ", ROM directory at {directory:#x}");
        }
        out.push('\n');
    }
    for (number, image) in rom.images.iter().enumerate() {
        image_lines(&mut out, number, image);
    }
    if rom.trailing() != 0 {
        let _ = writeln!(out, "trailing: {} bytes at {:#x}", rom.trailing(), rom.end);
    }
    problem_lines(&mut out, &judged.rom.problems);
    out
}

/// The text of `rom verify`.
pub fn verify(name: &str, judged: &JudgedRom) -> String {
    let mut out = summary(name, judged);
    problem_lines(&mut out, &judged.rom.problems);
    out
}

/// The text of `rom repair`: the changes to the ROM called `name`.
pub fn repaired(name: &str, result: &Repaired) -> String {
    let mut out = String::new();
    if result.changes.is_empty() {
        let _ = writeln!(out, "{name}: nothing to repair");
    }
    for change in &result.changes {
        let end = change.offset.saturating_add(change.length);
        let _ = write!(out, "{:#x}-{end:#x}: {}", change.offset, change.description);
        if !change.after.is_empty() {
            let _ = write!(out, ": {} -> {}", change.before, change.after);
        }
        out.push('\n');
    }
    for broken in &result.broken_signatures {
        let _ = writeln!(out, "warning: {broken}");
    }
    out
}

/// The first lines: the verdict, and who can use the ROM.
fn summary(name: &str, judged: &JudgedRom) -> String {
    let (verdict, rom) = (judged.verdict.name(), &judged.rom);
    let count = match rom.images.len() {
        1 => "1 image".to_owned(),
        count => format!("{count} images"),
    };
    let mut out = format!("{name}: {verdict}, {} bytes, {count}\n", rom.size);
    let mut line = |who: &str, usable: &Compatibility| {
        let word = match usable.answer {
            Usable::AfterRepair => "after `rom repair`",
            other => other.name(),
        };
        let _ = writeln!(out, "{who}: {word}: {}", usable.text);
    };
    line("UEFI guest (OVMF)", &judged.ovmf);
    line("BIOS guest (SeaBIOS)", &judged.seabios);
    if let Some(card) = &judged.card {
        line("this device's ROM", card);
    }
    out
}

fn problem_lines(out: &mut String, problems: &[RomProblem]) {
    for problem in problems {
        let _ = write!(out, "{} at {:#x}: {}", problem.severity.name(), problem.offset, problem.message);
        if !problem.remedy.is_empty() {
            let _ = write!(out, " ({})", problem.remedy);
        }
        out.push('\n');
    }
}

fn image_lines(out: &mut String, number: usize, image: &Image) {
    let pcir = &image.pcir;
    let (name, last) = (code_type_name(pcir.code_type), if image.last { ", last" } else { "" });
    let _ = writeln!(
        out,
        "image {number}: {name} (type {:#04x}) at {:#x}, {} bytes{last}",
        pcir.code_type, image.offset, image.length
    );
    if image.signature != [0x55, 0xaa] {
        let [a, b] = image.signature;
        let _ = writeln!(out, "  signature: {a:02x} {b:02x} (NVIDIA)");
    }
    let class = Class(pcir.class);
    let _ =
        writeln!(out, "  for: {:04x}:{:04x}, class {:06x} ({})", pcir.vendor, pcir.device, pcir.class, class.name());
    if !pcir.device_list.is_empty() {
        out.push_str("  also for:");
        for device in &pcir.device_list {
            let _ = write!(out, " {:04x}:{device:04x}", pcir.vendor);
        }
        out.push('\n');
    }
    let _ = write!(out, "  {} at {:#x}: revision {}", pcir.signature, pcir.offset, pcir.revision);
    let _ = write!(out, ", code revision {:#06x}, length {}", pcir.code_revision, pcir.image_length);
    if pcir.last {
        out.push_str(", last bit set");
    }
    out.push('\n');
    revision_fields(out, image);
    if let Some(npde) = image.npde {
        let last = if npde.last == Some(true) { ", last" } else { "" };
        let (offset, length, flags) = (npde.offset, npde.length, npde.flags);
        let _ = writeln!(
            out,
            "  NPDE at {offset:#x}: revision {:#05x}, length {length}{last}, flags {flags:#04x}",
            npde.revision
        );
    }
    match (image.found_by.bios, image.found_by.uefi) {
        (true, true) => {}
        (true, false) => out.push_str("  found by a BIOS and the kernel, not by OVMF\n"),
        (false, true) => out.push_str("  found by OVMF, not by a BIOS and the kernel\n"),
        (false, false) => out.push_str("  found by no firmware\n"),
    }
    match image.checksum {
        Checksum::None => {}
        state => {
            let word = if state == Checksum::Ok { "ok" } else { "bad" };
            let _ = writeln!(out, "  checksum: {word} over {} bytes", image.declared);
        }
    }
    efi_line(out, image);
    vendor_lines(out, image);
    for version in &image.versions {
        let _ = writeln!(out, "  {}: {}", version.name, version.text);
    }
}

/// The fields that only one revision of the PCI data structure has.
fn revision_fields(out: &mut String, image: &Image) {
    let pcir = &image.pcir;
    if let Some(vital) = pcir.vital_data {
        let _ = writeln!(out, "  vital product data: at {vital:#x} of the PCIR");
    }
    if let Some(length) = pcir.run_time_length.filter(|&length| length != 0) {
        let _ = writeln!(out, "  run-time length: at most {length} bytes");
    }
    for (name, entry) in [("configuration utility", pcir.configuration_utility), ("DMTF CLP entry", pcir.dmtf_clp)] {
        if let Some(at) = entry.filter(|&at| at != 0) {
            let _ = writeln!(out, "  {name}: at {at:#x} of the image");
        }
    }
}

fn efi_line(out: &mut String, image: &Image) {
    let Some(efi) = &image.efi else { return };
    let subsystem = match efi.subsystem {
        11 => "boot service driver",
        12 => "runtime driver",
        _ => "unknown subsystem",
    };
    let (at, length) = efi.stored;
    let _ = write!(out, "  EFI: {subsystem} for {} at {at:#x}, {length} bytes", machine_name(efi.built_for()));
    if efi.compression != 0 {
        out.push_str(", compressed");
    }
    if let Some(unpacked) = efi.unpacked {
        let _ = write!(out, " from {unpacked}");
    }
    match &efi.pe {
        Some(pe) => {
            let _ = writeln!(out, ", {}", efi.signature_text(pe));
        }
        None => out.push_str(", cannot be read\n"),
    }
}

fn vendor_lines(out: &mut String, image: &Image) {
    if let Some(atom) = &image.atom {
        let _ = writeln!(out, "  {} header at {:#x}", atom.signature, atom.offset);
        let fields = [
            ("part number", &atom.part_number),
            ("vBIOS version", &atom.build),
            ("configuration", &atom.configuration),
            ("message", &atom.message),
            ("date", &atom.date),
            ("subsystem", &atom.subsystem),
        ];
        for (name, text) in fields.iter().filter(|(_, text)| !text.is_empty()) {
            let _ = writeln!(out, "  {name}: {text}");
        }
    }
    if let Some(vbt) = &image.vbt {
        let checksum = if vbt.checksum_ok { "ok" } else { "bad" };
        let _ = writeln!(
            out,
            "  VBT at {:#x}: {}, version {}, {} bytes, checksum {checksum}",
            vbt.offset, vbt.name, vbt.version, vbt.length
        );
    }
}
