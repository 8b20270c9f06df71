// SPDX-License-Identifier: MIT OR Apache-2.0
//! Option ROMs: built ones from the descriptions in `tests/rom`, each with what is said of it; and real ones.

pub(crate) mod build;
mod cli;
mod properties;
mod real;

use std::fmt::Write as _;
use std::path::PathBuf;

use build::build;
use miniserde::{Deserialize, json};
use vfio_early::pci::ExpectedId;
use vfio_early::rom::{
    ExtractTarget, GuestMachine, Image, JudgedRom, Rom, Usable, Verdict, extract, judge_for, parse, parse_vfct, repair,
    text,
};

use crate::support::files::{files, here, stem};

/// The guests that the answers are for, whatever machine runs the tests.
const X64: GuestMachine = GuestMachine(0x8664);

fn judge(rom: Rom, device: Option<&ExpectedId>) -> JudgedRom {
    judge_for(rom, device, X64)
}

/// Every description in `tests/rom`, with its name.
fn descriptions() -> Vec<(String, String)> {
    let read = |path: &PathBuf| (stem(path).to_owned(), std::fs::read_to_string(path).unwrap());
    let mut found: Vec<_> = files("tests/rom", "txt").iter().map(read).collect();
    found.sort();
    found
}

pub(crate) fn described(name: &str) -> Vec<u8> {
    build(&descriptions().into_iter().find(|(other, _)| other == name).unwrap().1)
}

fn judged(rom: &[u8], device: Option<&str>) -> JudgedRom {
    judge(parse(rom), device.map(|id| id.parse().unwrap()).as_ref())
}

fn codes(rom: &[u8]) -> Vec<&'static str> {
    parse(rom).problems.iter().map(|problem| problem.code).collect()
}

/// What `rom show` and `rom repair` say of every described ROM. `VFIO_EARLY_BLESS=1` writes the answers down: read the difference.
#[test]
fn says_what_is_written_down() {
    let mut all = String::new();
    for (name, description) in descriptions() {
        let rom = build(&description);
        write!(all, "{}", text::show(&name, &judged(&rom, None))).unwrap();
        match repair(&rom, None, X64) {
            Ok(result) => write!(all, "repair:\n{}\n", text::repaired(&name, &result)).unwrap(),
            Err(error) => write!(all, "repair:\n{error}\n\n").unwrap(),
        }
    }
    let file = here("tests/rom/expected.out");
    if std::env::var_os("VFIO_EARLY_BLESS").is_some() {
        std::fs::write(&file, &all).unwrap();
    }
    let expected = std::fs::read_to_string(&file).unwrap_or_default();
    for (number, (is, should)) in all.lines().zip(expected.lines()).enumerate() {
        assert_eq!(is, should, "line {} of tests/rom/expected.out", number + 1);
    }
    assert_eq!(all.len(), expected.len());
}

#[test]
fn verdicts() {
    let expected = [
        (Verdict::Valid, "amd intel nvidia-broken-npde nvidia-runs-into-vn nvidia-subimages nvidia-sysfs plain-pcir0"),
        (
            Verdict::Valid,
            "several-machines endless-device-list gap garbage-after-driver no-last padded signed-2011 signed-2023",
        ),
        (
            Verdict::Repairable,
            "amd-swapped-bad-checksum bad-checksum efi-not-compressed last-too-early nvidia-flash-v1",
        ),
        (Verdict::Repairable, "nvidia-flash-v2 nvidia-flash-v3 nvidia-hides-efi shadow unknown-prefix"),
        (
            Verdict::Invalid,
            "asleep-halfway efi-application efi-bad-header efi-bad-stream efi-wrong-machine garbage-follows",
        ),
        (Verdict::Invalid, "misaligned no-pcir other-machine overlap truncated zero-length"),
    ];
    let mut count = 0;
    for (verdict, names) in expected {
        for name in names.split(' ') {
            let rom = described(name);
            assert_eq!(judged(&rom, None).verdict, verdict, "{name}: {:?}", codes(&rom));
            count += 1;
        }
    }
    assert_eq!(count, descriptions().len(), "every description has a verdict");
}

#[test]
fn repair_names_what_it_changes_and_nothing_else_changes() {
    for (name, description) in descriptions() {
        let rom = build(&description);
        let Ok(repaired) = repair(&rom, None, X64) else { continue };
        // Undoing the changes gives the input: nothing else was touched.
        let mut undone = repaired.bytes.clone();
        let mut removed = 0;
        for change in &repaired.changes {
            if change.after.is_empty() {
                removed += change.length;
                undone.splice(change.offset..change.offset, rom[change.offset..][..change.length].iter().copied());
            } else {
                let before: Vec<u8> = (0..change.length).map(|i| rom[change.offset + i]).collect();
                undone[change.offset..][..change.length].copy_from_slice(&before);
            }
        }
        assert_eq!(undone, rom, "{name}");
        assert_eq!(repaired.bytes.len() + removed, rom.len(), "{name}");
    }
}

#[test]
fn nvidia_flash_image_becomes_what_the_kernel_would_have_read() {
    let flash = described("nvidia-flash-v3");
    let repaired = repair(&flash, None, X64).unwrap();
    assert_eq!(repaired.bytes, flash[0x1400..0x1400 + (16 + 12 + 4 + 2) * 512]);
    assert!(repaired.broken_signatures.is_empty(), "only bytes around the images were removed");
    let parsed = parse(&repaired.bytes);
    assert_eq!(parsed.images.iter().map(Image::in_pci_chain).collect::<Vec<_>>(), [true, true, false, false]);
    assert!(parsed.images[3].last && !parsed.images[1].last && parsed.images[1].pcir.last);
}

/// The prefix says where the first image is; searching for it is for prefixes that do not.
#[test]
fn nvidia_prefix_is_believed() {
    let decoy = build("image 10de:0001 type=0 blocks=1 last=1");
    for version in 1..=3 {
        let mut flash = build(&format!("nvgi {version} at=0x1400\nimage 10de:1b80 type=0 blocks=4 last=1\n"));
        flash[0x800..0x800 + decoy.len()].copy_from_slice(&decoy);
        let parsed = parse(&flash);
        assert_eq!((parsed.images[0].offset, parsed.images[0].pcir.device), (0x1400, 0x1b80), "version {version}");
        assert_eq!(parsed.prefix.unwrap().version, Some(version));
    }
}

#[test]
fn a_device_id_is_written_only_when_asked_for() {
    let rom = described("bad-checksum");
    let id: ExpectedId = "8086:1533".parse().unwrap();
    let without = repair(&rom, None, X64).unwrap().bytes;
    let with = repair(&rom, Some(&id), X64).unwrap();
    assert!(parse(&without).images.iter().all(|image| image.pcir.device == 0x10d3));
    assert!(parse(&with.bytes).images.iter().all(|image| image.pcir.device == 0x1533));
    let judged = judged(&with.bytes, Some("8086:1533"));
    assert_eq!((judged.verdict, judged.card.unwrap().answer), (Verdict::Valid, Usable::Yes));
    assert_eq!(judged.seabios.answer, Usable::Yes);
    // Another vendor's ROM is the wrong ROM, whatever is written into it.
    let other: ExpectedId = "10de:10d3".parse().unwrap();
    let error = repair(&rom, Some(&other), X64).unwrap_err().to_string();
    assert_eq!(error, "cannot be repaired: 0x20: the ROM is for 8086:10d3, the device is 10de:10d3");
}

#[test]
fn the_device_list_counts_for_the_card_but_not_for_seabios() {
    let rom = repair(&described("nvidia-flash-v3"), None, X64).unwrap().bytes;
    let listed = judged(&rom, Some("10de:1e07"));
    assert_eq!((listed.verdict, listed.card.unwrap().answer), (Verdict::Valid, Usable::Yes));
    assert_eq!((listed.seabios.answer, listed.ovmf.answer), (Usable::No, Usable::Yes));
    let own = judged(&rom, Some("10de:1e04"));
    assert_eq!(own.seabios.answer, Usable::Yes);
    let neither = judged(&rom, Some("10de:1e09"));
    assert_eq!((neither.verdict, neither.card.unwrap().answer), (Verdict::Repairable, Usable::AfterRepair));
}

#[test]
fn a_signature_never_breaks_silently() {
    // The driver of a crafted ROM covers the last bit that has to be set.
    let mut rom = build("image 10de:1b80 type=3 blocks=16\n efi at=0x200\n pe signed=1\n");
    rom[0x18..0x1a].copy_from_slice(&0x300_u16.to_le_bytes());
    let pcir = rom[0x1c..0x38].to_vec();
    rom[0x300..0x31c].copy_from_slice(&pcir);
    let arm = repair(&rom, None, GuestMachine(0xaa64)).unwrap_err().to_string();
    assert!(arm.contains("the driver in image 0 is for x64, the guest is aarch64"), "{arm}");
    let repaired = repair(&rom, None, X64).unwrap();
    assert_eq!(repaired.broken_signatures, ["the Authenticode signature of image 0 is no longer valid"]);
    assert!(text::repaired("x", &repaired).contains("warning: the Authenticode signature"));
    // A checksum in a vendor's own image.
    let repaired = repair(&described("amd-swapped-bad-checksum"), None, X64).unwrap();
    assert_eq!(repaired.broken_signatures.len(), 1);
    assert_eq!(repaired.changes[0].offset, 0x21, "where AMD keeps it");
}

#[test]
fn extracts_images_and_drivers() {
    let rom = described("several-machines");
    let driver = build::pe(0x8664, 11, 0x600, false, "");
    let raw = extract(&rom, ExtractTarget::EfiDriver { machine: X64, decompress: true }).unwrap();
    assert_eq!(raw.bytes, driver, "the x64 driver is preferred, and decompressed");
    let stored = extract(&rom, ExtractTarget::EfiDriver { machine: X64, decompress: false }).unwrap();
    assert_eq!(stored.bytes, build::compress(&driver));
    let image = extract(&rom, ExtractTarget::Image(3)).unwrap();
    assert_eq!((image.bytes.len(), &image.bytes[..2]), (6 * 512, &[0x55, 0xaa][..]));
    assert_eq!(
        extract(&rom, ExtractTarget::Image(6)).unwrap_err().to_string(),
        "there is no image 6; the last one is 5"
    );
    let cut = extract(&described("truncated"), ExtractTarget::Image(1)).unwrap_err().to_string();
    assert_eq!(cut, "image 1 is incomplete: it should end at 0x3000");
    assert_eq!(
        extract(&[0xff; 4096], ExtractTarget::Image(0)).unwrap_err().to_string().split(':').next(),
        Some("nothing but FF")
    );
    // An uncompressed driver ends where its header says, not where its image does; a signature belongs to it.
    let rom = described("nvidia-sysfs");
    let driver = extract(&rom, ExtractTarget::EfiDriver { machine: X64, decompress: true }).unwrap();
    assert_eq!(driver.bytes, build::pe(0x8664, 11, 0x600, true, ""));
}

/// The certificate authority is named wherever the answer for OVMF is, and the one that has expired with what follows.
#[test]
fn says_who_signed_a_driver() {
    for (name, issuer, expired) in [
        ("signed-2011", "Microsoft Corporation UEFI CA 2011", true),
        ("signed-2023", "Microsoft Option ROM UEFI CA 2023", false),
    ] {
        let rom = described(name);
        let judged = judged(&rom, None);
        let signer = judged.rom.images.iter().find_map(|image| image.efi.as_ref()?.signers.first().cloned()).unwrap();
        assert_eq!((signer.name.as_str(), signer.issuer.as_str()), ("Microsoft Windows UEFI Driver Publisher", issuer));
        assert!(text::verify(name, &judged).replace("\n  ", " ").contains(issuer), "{}", text::verify(name, &judged));
        assert_eq!(codes(&rom).contains(&"signer-expired"), expired);
    }
}

/// Whether a driver can be used is a matter of the guest.
#[test]
fn a_driver_for_another_machine_is_for_another_guest() {
    let rom = described("other-machine");
    let on = |machine: &str| judge_for(parse(&rom), None, machine.parse().unwrap());
    assert_eq!((on("x64").verdict, on("x86_64").ovmf.answer), (Verdict::Invalid, Usable::No));
    assert_eq!((on("aarch64").verdict, on("arm64").ovmf.answer), (Verdict::Valid, Usable::Yes));
    assert!("z80".parse::<GuestMachine>().unwrap_err().contains("x64"));
}

/// What a card's flash chip holds beside its ROM, which may be anywhere in it.
#[test]
fn finds_the_rom_in_a_whole_flash_image() {
    let rom = described("amd");
    let decoy = build("image 10de:0001 type=0 blocks=1 last=1");
    for (at, size) in [(0x45_8000, 8 << 20), (0x130_0000, 32 << 20)] {
        let mut flash = vec![0x33; size];
        flash[0x1004..0x1004 + decoy.len()].copy_from_slice(&decoy);
        flash[at..at + rom.len()].copy_from_slice(&rom);
        let judged = judged(&flash, None);
        assert_eq!((judged.rom.images[0].offset, judged.verdict), (at, Verdict::Repairable));
        assert!(judged.rom.problems[0].message.ends_with("a whole flash image"), "{}", judged.rom.problems[0].message);
        assert_eq!(repair(&flash, None, X64).unwrap().bytes, rom);
    }
}

/// IDs and lengths are numbers, not bytes.
#[test]
fn a_changed_id_is_told_as_it_is_read() {
    let id: ExpectedId = "8086:1533".parse().unwrap();
    let said = text::repaired("x", &repair(&described("bad-checksum"), Some(&id), X64).unwrap());
    assert!(said.contains("10d3 -> 1533"), "{said}");
}

#[test]
fn nothing_there() {
    assert_eq!(codes(&[]), ["empty"]);
    assert_eq!(codes(&[0xff; 16384]), ["all-ff"]);
    assert_eq!(codes(&[0; 16384]), ["all-00"]);
    assert_eq!(codes(b"\x55"), ["truncated"]);
    assert_eq!(codes(b"\x55\xaa"), ["truncated"]);
    assert_eq!(codes(b"NVGI"), ["signature"]);
    assert_eq!(codes(&build::pe(0x8664, 11, 0x400, false, "")), ["driver"]);
    for length in 0..2048 {
        let whole = described("plain-pcir0");
        assert_eq!(judged(&whole[..length], None).verdict, Verdict::Invalid, "{length} bytes");
    }
}

/// The fields that the contract names, with their types. Fields may be added, never renamed.
#[derive(Deserialize)]
struct Contract {
    size: u64,
    prefix: Option<ContractPrefix>,
    images: Vec<ContractImage>,
    trailing_bytes: u64,
    efi_capable: bool,
    verdict: String,
    problems: Vec<ContractProblem>,
}

#[derive(Deserialize)]
struct ContractPrefix {
    kind: String,
    length: u64,
}

#[derive(Deserialize)]
struct ContractImage {
    offset: u64,
    length: u64,
    code_type: u8,
    code_type_name: String,
    vendor: String,
    device: String,
    class: String,
    pcir_revision: u8,
    code_revision: u16,
    device_list: Vec<String>,
    last: bool,
    checksum: String,
    efi: Option<ContractEfi>,
}

#[derive(Deserialize)]
struct ContractEfi {
    signature_ok: bool,
    subsystem: u16,
    machine: String,
    compression: u16,
    image_offset: u64,
    payload: String,
}

#[derive(Deserialize)]
struct ContractProblem {
    severity: String,
    code: String,
    offset: u64,
    message: String,
}

fn document(rom: &[u8]) -> String {
    vfio_early::json::to_string(&vfio_early::rom::json::document(&judged(rom, None)))
}

#[test]
fn json_is_what_the_contract_says() {
    let rom = described("nvidia-flash-v3");
    let text = document(&rom);
    let value: Contract = json::from_str(&text).unwrap();
    let prefix = value.prefix.unwrap();
    assert_eq!((value.size, prefix.kind.as_str(), prefix.length), (0x6800, "nvgi", 0x1400));
    assert_eq!((value.trailing_bytes, value.efi_capable, value.verdict.as_str()), (4096, true, "repairable"));
    let problem = &value.problems[0];
    assert_eq!((problem.severity.as_str(), problem.code.as_str(), problem.offset), ("error", "prefix", 0));
    assert!(problem.message.contains("5120 bytes before the first image"));
    let legacy = &value.images[0];
    assert_eq!((legacy.offset, legacy.length, legacy.last), (0x1400, 8192, false));
    assert_eq!((legacy.code_type, legacy.code_type_name.as_str(), legacy.checksum.as_str()), (0, "PC-AT", "ok"));
    assert_eq!((legacy.vendor.as_str(), legacy.device.as_str(), legacy.class.as_str()), ("10de", "1e04", "030000"));
    assert_eq!((legacy.pcir_revision, legacy.code_revision, legacy.efi.is_none()), (3, 1, true));
    assert_eq!(legacy.device_list, ["1e04", "1e07"]);
    let efi = value.images[1].efi.as_ref().unwrap();
    assert_eq!((efi.signature_ok, efi.subsystem, efi.machine.as_str()), (true, 11, "8664"));
    assert_eq!((efi.compression, efi.image_offset, efi.payload.as_str()), (1, 0x200, "compressed"));
    // A file without any image has every key all the same.
    let text = document(&[0xff; 512]);
    let value: Contract = json::from_str(&text).unwrap();
    assert!(value.prefix.is_none() && value.images.is_empty() && text.contains("\"prefix\":null"));
}

#[test]
fn nothing_unprintable_reaches_the_terminal() {
    let mut rom = described("amd");
    for byte in &mut rom[0x230..0x400] {
        *byte = byte.wrapping_add(0x80);
    }
    let text = text::show("x", &judged(&rom, None));
    assert!(text.bytes().all(|byte| byte == b'\n' || (b' '..=b'~').contains(&byte)), "{text}");
}

#[test]
fn takes_a_rom_from_the_firmware_s_table() {
    let rom = described("amd");
    let mut table = b"VFCT".to_vec();
    table.resize(76, 0);
    for (device, content) in [(0x1638_u16, &rom[..]), (0x164e, &[][..]), (0x13c0, &rom[..512])] {
        let mut header = Vec::new();
        for number in [5_u32, 0, 1] {
            header.extend(number.to_le_bytes());
        }
        header.extend(0x1002_u16.to_le_bytes());
        header.extend(device.to_le_bytes());
        header.resize(24, 0);
        header.extend(u32::try_from(content.len()).unwrap().to_le_bytes());
        table.extend(header);
        table.extend(content);
    }
    let length = u32::try_from(table.len()).unwrap().to_le_bytes();
    table[4..8].copy_from_slice(&length);
    table[52..56].copy_from_slice(&76_u32.to_le_bytes());
    let found = parse_vfct(&table).unwrap();
    assert_eq!(found.iter().map(|one| one.id).collect::<Vec<_>>(), [(0x1002, 0x1638), (0x1002, 0x13c0)]);
    assert_eq!((found[0].at, found[0].rom), ((5, 0, 1), &rom[..]));
    // Cut off: what is whole is still found, and what is not, is not.
    table.pop();
    let length = u32::try_from(table.len()).unwrap().to_le_bytes();
    table[4..8].copy_from_slice(&length);
    assert_eq!(parse_vfct(&table).unwrap().len(), 1);
    assert!(parse_vfct(b"VFC").is_none() && parse_vfct(&rom).is_none());
}
