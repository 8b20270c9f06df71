// SPDX-License-Identifier: MIT OR Apache-2.0
//! Real ROMs, from the packages of the distribution: ipxe-qemu and seabios. Nothing of them is in this repository, so the
//! tests say aloud when they had nothing to look at. `VFIO_EARLY_ROMS` names a directory with more.

use std::fs;
use std::path::Path;
use std::process::Command;

use vfio_early::rom::{Checksum, ExtractTarget, LEGACY, Usable, Verdict, extract, parse, repair};

use super::{X64, judge};
use crate::support::disk::Scratch;
use crate::support::program::say;

/// The ROMs in a directory, or a loud nothing.
fn roms(directory: &str, package: &str) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = entry.file_name().into_string().unwrap();
        if Path::new(&name).extension().is_some_and(|extension| extension == "rom" || extension == "bin") {
            found.push((name, fs::read(entry.path()).unwrap()));
        }
    }
    if found.is_empty() {
        say(&format!("NOT RUN: there are no ROMs in {directory} (install {package})"));
    }
    found.sort();
    found
}

/// iPXE names its ROMs after the device that they are for; these are the IDs of the devices that QEMU emulates, as
/// `lspci -nn` prints them in a guest and pci.ids names them.
const DEVICES: &[(&str, u16, u16)] = &[
    ("e1000", 0x8086, 0x100e),
    ("e1000e", 0x8086, 0x10d3),
    ("pcnet", 0x1022, 0x2000),
    ("rtl8139", 0x10ec, 0x8139),
    ("vmxnet3", 0x15ad, 0x07b0),
];

#[test]
fn ipxe() {
    let roms = roms("/usr/lib/ipxe/qemu", "ipxe-qemu");
    for (name, rom) in &roms {
        let judged = judge(parse(rom), None);
        let parsed = &judged.rom;
        assert_eq!(judged.verdict, Verdict::Valid, "{name}: {:?}", parsed.problems);
        assert_eq!(parsed.end, rom.len(), "{name}");
        let legacy = &parsed.images[0];
        assert_eq!(
            (legacy.pcir.code_type, legacy.checksum, legacy.pcir_sum),
            (LEGACY, Checksum::Ok, Some(0)),
            "{name}"
        );
        assert_eq!(legacy.pcir.class, 0x02_0000, "{name}: an Ethernet controller");
        assert!(legacy.versions.iter().any(|version| version.text == "iPXE"), "{name}: {:?}", legacy.versions);
        let kind = name.trim_end_matches(".rom");
        let device = kind.trim_start_matches("efi-").trim_start_matches("pxe-");
        if let Some((_, vendor, device)) = DEVICES.iter().find(|(other, ..)| *other == device) {
            assert!(parsed.images.iter().all(|image| image.is_for(*vendor, *device)), "{name}");
        }
        assert_eq!(parsed.images.len(), if kind.starts_with("efi-") { 2 } else { 1 }, "{name}");
        assert_eq!(judged.ovmf.answer, if kind.starts_with("efi-") { Usable::Yes } else { Usable::No }, "{name}");
        assert_eq!(repair(rom, None, X64).unwrap().bytes, *rom, "{name}");
    }
    if let Some((_, rom)) = roms.iter().find(|(name, _)| name == "efi-e1000e.rom") {
        driver(rom);
        damaged(rom);
    }
}

/// The driver that was put into Debian's efi-e1000e.rom, by what its own PE header says.
fn driver(rom: &[u8]) {
    let driver = extract(rom, ExtractTarget::EfiDriver { machine: X64, decompress: true }).unwrap().bytes;
    assert_eq!(&driver[..2], b"MZ");
    let pe = usize::from(driver[0x3c]);
    assert_eq!(&driver[pe..pe + 6], b"PE\0\0\x64\x86", "for x64");
    let parsed = parse(rom);
    let efi = parsed.images[1].efi.as_ref().unwrap();
    assert_eq!(efi.pe.unwrap().size, driver.len());
    assert!(parsed.images[1].versions.iter().any(|version| version.text == "808610d3.efidrv"));
}

/// A real ROM with everything done to it that people meet.
fn damaged(rom: &[u8]) {
    let mut flash = b"NVGI\0\x01\x40\0".to_vec();
    flash.resize(0x600, 0);
    flash[0x44..0x48].copy_from_slice(&0x600_u32.to_le_bytes());
    flash.extend(rom);
    flash.resize(0x8_0000, 0xff);
    assert_eq!(repair(&flash, None, X64).unwrap().bytes, rom);
    flash[0x600 + 6] ^= 0x55;
    assert_eq!(repair(&flash, None, X64).unwrap().bytes, rom, "the checksum is where QEMU puts it");
    for length in [1, 0x100, 0x1_2600, rom.len() - 1] {
        assert_ne!(judge(parse(&rom[..length]), None).verdict, Verdict::Valid, "cut to {length:#x}");
    }
}

#[test]
fn seabios() {
    for (name, rom) in roms("/usr/share/seabios", "seabios") {
        let Some(kind) = name.strip_prefix("vgabios").map(|name| name.trim_end_matches(".bin")) else { continue };
        let judged = judge(parse(&rom), None);
        let parsed = &judged.rom;
        // Those for ISA and for a framebuffer without a device have no PCI data structure (vgasrc/Kconfig, VGA_PCI).
        if matches!(kind, "" | "-isavga" | "-ramfb") {
            assert_eq!((judged.verdict, parsed.problems[0].code), (Verdict::Invalid, "pcir"), "{name}");
            continue;
        }
        assert_eq!(judged.verdict, Verdict::Valid, "{name}: {:?}", parsed.problems);
        assert_eq!((judged.seabios.answer, judged.ovmf.answer), (Usable::Yes, Usable::No), "{name}");
        let image = &parsed.images[0];
        assert_eq!((image.pcir.class, image.length), (0x03_0000, rom.len()), "{name}: a VGA controller");
        let vendor = match kind {
            "-ati" => 0x1002,
            "-cirrus" => 0x1013,
            "-qxl" => 0x1b36,
            "-virtio" => 0x1af4,
            "-vmware" => 0x15ad,
            _ => 0x1234,
        };
        assert_eq!(image.pcir.vendor, vendor, "{name}");
    }
}

/// Who signed the driver in an EFI image.
fn signer(driver: &[u8]) -> (String, String) {
    let blocks = (driver.len() + 0x200).div_ceil(512);
    let mut rom = super::build(&format!("image 8086:10d3 type=3 blocks={blocks} last=1\n efi"));
    rom[0x200..0x200 + driver.len()].copy_from_slice(driver);
    let parsed = parse(&rom);
    let signer = parsed.images[0].efi.as_ref().and_then(|efi| efi.signers.first().cloned()).unwrap();
    (signer.name, signer.issuer)
}

/// A real driver with a real signature.
#[test]
fn names_who_signed() {
    let Ok(rom) = fs::read("/usr/lib/ipxe/qemu/efi-e1000e.rom") else {
        say("NOT RUN: who signed a driver (install ipxe-qemu)");
        return;
    };
    let scratch = Scratch::new("signed");
    let target = ExtractTarget::EfiDriver { machine: X64, decompress: true };
    fs::write(scratch.0.join("driver"), extract(&rom, target).unwrap().bytes).unwrap();
    let line = "openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -subj '/O=Test/CN=Test CA' -days 2 && \
                openssl req -newkey rsa:2048 -nodes -keyout key -out request -subj '/C=US/O=Test/CN=Test Publisher' && \
                openssl x509 -req -in request -CA ca.pem -CAkey ca.key -CAcreateserial -out cert -days 2 && \
                sbsign --key key --cert cert --output signed driver";
    let output = Command::new("sh").args(["-c", line]).current_dir(&scratch.0).output().unwrap();
    if !output.status.success() {
        say("NOT RUN: who signed a driver (install sbsigntool and openssl)");
        return;
    }
    let driver = fs::read(scratch.0.join("signed")).unwrap();
    assert_eq!(signer(&driver), ("Test Publisher".to_owned(), "Test CA".to_owned()));
}

/// What Microsoft signs looks like this.
#[test]
fn names_microsoft() {
    let Ok(shim) = fs::read("/usr/lib/shim/shimx64.efi.signed") else {
        say("NOT RUN: a signature of Microsoft's (install shim-signed)");
        return;
    };
    let (name, issuer) = signer(&shim);
    assert!(name.starts_with("Microsoft Windows UEFI Driver Publisher"), "{name}");
    assert!(issuer.starts_with("Microsoft") && issuer.contains("UEFI CA 20"), "{issuer}");
}

/// More real ROMs, from wherever somebody has them: nothing but the promises can be checked.
#[test]
fn from_a_drawer() {
    let Some(directory) = std::env::var_os("VFIO_EARLY_ROMS") else {
        say("NOT RUN: VFIO_EARLY_ROMS names no directory with further ROMs");
        return;
    };
    for (name, rom) in roms(directory.to_str().unwrap(), "some ROMs there") {
        let judged = judge(parse(&rom), None);
        let parsed = &judged.rom;
        say(&format!("{name}: {}, {} images", judged.verdict.name(), parsed.images.len()));
        if let Ok(repaired) = repair(&rom, None, X64) {
            assert_eq!(judge(parse(&repaired.bytes), None).verdict, Verdict::Valid, "{name}");
        }
        for image in parsed.images.iter().filter_map(|image| image.efi.as_ref()).filter(|efi| efi.loadable) {
            let driver = extract(&rom, ExtractTarget::EfiDriver { machine: X64, decompress: true }).unwrap().bytes;
            assert_eq!(image.unpacked.unwrap_or(image.stored.1), driver.len(), "{name}");
        }
    }
}
