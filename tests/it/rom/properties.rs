// SPDX-License-Identifier: MIT OR Apache-2.0
//! What holds for every file, however it was damaged.

use std::time::Duration;

use proptest::prelude::*;
use vfio_early::pci::ExpectedId;
use vfio_early::rom::{ExtractTarget, Image, Rom, Usable, Verdict, extract, parse, parse_vfct, repair, text};

use super::build::{Bits, block_header, build, compress};
use super::{X64, descriptions, judge};
use crate::support::disk::Scratch;
use crate::support::program::say;
use crate::support::time::Spent;

/// What must hold whatever the bytes are.
fn holds(rom: &[u8], id: Option<&ExpectedId>) {
    let judged = judge(parse(rom), id);
    let parsed = &judged.rom;
    assert!(!text::show("x", &judged).is_empty());
    assert!(parsed.end <= rom.len());
    for number in 0..parsed.images.len() {
        if let Ok(image) = extract(rom, ExtractTarget::Image(number)) {
            assert_eq!(image.bytes.len(), parsed.images[number].length);
        }
    }
    for decompress in [false, true] {
        let _ = extract(rom, ExtractTarget::EfiDriver { machine: X64, decompress });
    }
    let _ = parse_vfct(rom);
    match repair(rom, id, X64) {
        Err(error) => {
            assert!(!error.to_string().is_empty());
            assert_ne!(judged.verdict, Verdict::Valid);
        }
        Ok(repaired) => {
            let after = judge(parse(&repaired.bytes), id);
            assert_eq!(after.verdict, Verdict::Valid, "what was repaired is valid");
            assert_eq!(images(parsed), images(&after.rom), "and has the same images");
            assert!(!repaired.changes.is_empty() || judged.verdict == Verdict::Valid);
            assert_eq!(repaired.changes.is_empty(), repaired.bytes == rom, "every change is named");
            for (before, after) in [(&judged.ovmf, &after.ovmf), (&judged.seabios, &after.seabios)] {
                assert!(before.answer == Usable::No || after.answer == Usable::Yes, "{before:?}, then {after:?}");
            }
            let again = repair(&repaired.bytes, id, X64).unwrap();
            assert!(again.changes.is_empty() && again.bytes == repaired.bytes, "there is nothing left to do");
        }
    }
}

/// The images, without what a repair is for.
fn images(rom: &Rom) -> Vec<(u8, usize, u16, Vec<u16>, String)> {
    let one = |image: &Image| {
        let driver =
            format!("{:?} {:?}", image.efi.as_ref().map(|efi| (efi.machine, efi.unpacked, efi.pe)), image.versions);
        (image.pcir.code_type, image.length, image.pcir.vendor, image.pcir.device_list.clone(), driver)
    };
    rom.images.iter().map(one).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes(rom in proptest::collection::vec(any::<u8>(), 0..4096)) {
        holds(&rom, None);
    }

    #[test]
    fn any_damage(
        which in any::<prop::sample::Index>(),
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        header in proptest::collection::vec((0_usize..0x60, prop::sample::select(vec![0, 1, 2, 4, 0x1c, 0x55, 0x80, 0xaa, 0xff])), 0..3),
        start in 0_usize..4,
        cut in proptest::option::of(any::<prop::sample::Index>()),
        more in proptest::collection::vec(any::<u8>(), 0..40),
        id in proptest::option::of(prop::sample::select(vec!["10de:1e04", "10de:1e07", "10de:ffff", "8086:10d3", "1002:0001"])),
    ) {
        let all = descriptions();
        let mut rom = build(&all[which.index(all.len())].1);
        // Small numbers where the structures are hurt most.
        let image = parse(&rom).images.get(start).map_or(0, |image| image.offset);
        for (at, byte) in header {
            if let Some(place) = rom.get_mut(image + at) {
                *place = byte;
            }
        }
        for (at, byte) in edits {
            let at = at.index(rom.len());
            rom[at] = byte;
        }
        if let Some(cut) = cut {
            rom.truncate(cut.index(rom.len()));
        }
        rom.extend(more);
        holds(&rom, id.map(|id| id.parse().unwrap()).as_ref());
    }

    #[test]
    fn compression_goes_both_ways(data in proptest::collection::vec(prop::sample::select(vec![0_u8, 1, 2, 0xff]), 1..3000)) {
        prop_assert_eq!(unpack(&compress(&data)), Ok(data));
    }

    #[test]
    fn any_stream(mut stream in proptest::collection::vec(any::<u8>(), 8..400)) {
        let packed = u32::try_from(stream.len() - 8).unwrap();
        stream[..4].copy_from_slice(&packed.to_le_bytes());
        stream[6..8].fill(0);
        let _ = unpack(&stream);
    }
}

/// Decompresses a stream by putting it into an EFI image.
fn unpack(stream: &[u8]) -> Result<Vec<u8>, String> {
    let blocks = stream.len() / 512 + 2;
    let mut rom = build(&format!("image 1002:73bf type=3 blocks={blocks} last=1\n efi compression=1\n"));
    rom[0x200..0x200 + stream.len()].copy_from_slice(stream);
    extract(&rom, ExtractTarget::EfiDriver { machine: X64, decompress: true })
        .map(|driver| driver.bytes.into_owned())
        .map_err(|error| error.to_string())
}

fn stream(size: u32, fill: impl FnOnce(&mut Bits)) -> Vec<u8> {
    let mut bits = Bits::default();
    fill(&mut bits);
    let packed = bits.finish();
    let mut stream = u32::try_from(packed.len()).unwrap().to_le_bytes().to_vec();
    stream.extend(size.to_le_bytes());
    stream.extend(packed);
    stream
}

/// A block with codes of one symbol each: every symbol takes no bits at all.
fn single(bits: &mut Bits, count: usize, symbol: usize, position: usize) {
    bits.put(count, 16);
    for (value, width) in [(0, 5), (0, 5), (0, 9), (symbol, 9), (0, 4), (position, 4)] {
        bits.put(value, width);
    }
}

#[test]
fn codes_of_one_symbol() {
    assert_eq!(unpack(&stream(5, |bits| single(bits, 5, 0x41, 0))), Ok(b"AAAAA".to_vec()));
    // A count of 0 is 65536.
    assert_eq!(unpack(&stream(65536, |bits| single(bits, 0, 0x41, 0))).map(|data| data.len()), Ok(65536));
    // A copy that overlaps itself, and that ends where the output ends.
    let copied = stream(9, |bits| {
        single(bits, 1, 0x41, 0);
        single(bits, 1, 0x42, 0);
        single(bits, 9, 256 + 9, 1);
    });
    assert_eq!(unpack(&copied), Ok(b"ABABABABA".to_vec()));
}

#[test]
fn bad_streams_name_the_place() {
    let error = |stream: Vec<u8>| unpack(&stream).unwrap_err().split_once("decompressed: ").unwrap().1.to_owned();
    assert_eq!(error(stream(5, |bits| single(bits, 5, 256, 0))), "it copies from before its start at byte 0xe of it");
    assert_eq!(error(stream(5, |bits| bits.put(1, 16))), "it ends too early");
    assert_eq!(error(stream(0, |bits| bits.put(1, 16))), "its sizes exceed the image");
    assert_eq!(error(stream(5, |bits| single(bits, 5, 511, 0))), "invalid Huffman code at byte 0xd of it");
    assert_eq!(
        error(stream(500 << 20, |bits| single(bits, 0, 0x41, 0))),
        "it decompresses to more than any driver needs"
    );
    let mut long = stream(5, |bits| single(bits, 5, 0x41, 0));
    long[0..4].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(error(long), "its sizes exceed the image");
}

/// Files made to cost as much as possible for their 16 MiB.
fn hostile() -> Vec<(&'static str, Vec<u8>)> {
    const SIZE: usize = 16 << 20;
    let repeat = |unit: Vec<u8>| unit.iter().copied().cycle().take(SIZE).collect::<Vec<u8>>();
    // The shortest image, as often as possible.
    let images = repeat(build("image 10de:1b80 type=0 blocks=1 devices=1+2+3\n npde blocks=1\n"));
    // As many large images as possible, with everything in them that is looked for.
    let large = "image 10de:1b80 type=0 blocks=255\n npde blocks=255\n junk byte=0xff\n";
    // Compressed drivers, each with as much work in as few bits as possible.
    let mut blocks = Bits::default();
    for _ in 0..1500 {
        block_header(&mut blocks, 1);
        blocks.put(0, 8);
    }
    let mut bomb = blocks.finish();
    bomb.splice(0..0, u32::try_from(bomb.len()).unwrap().to_le_bytes().into_iter().chain(0x10_0000_u32.to_le_bytes()));
    let mut efi = build("image 8086:56a0 type=3 blocks=250\n efi compression=1\n");
    efi[0x200..0x200 + bomb.len()].copy_from_slice(&bomb);
    // Output without end from few bits, and output that costs most for each byte.
    let mut flood = build("image 8086:56a0 type=3 blocks=250\n efi compression=1\n");
    let zeros = stream(0x3f_0000, |bits| (0..70).for_each(|_| single(bits, 0, 0x41, 0)));
    flood[0x200..0x200 + zeros.len()].copy_from_slice(&zeros);
    let mut state = 1_u32;
    let noise = |state: &mut u32| {
        *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_le_bytes()[3]
    };
    let slow_data: Vec<u8> = (0..60_000).map(|_| noise(&mut state)).collect();
    let mut slow = build("image 8086:56a0 type=3 blocks=250\n efi compression=1\n");
    let packed = compress(&slow_data);
    slow[0x200..0x200 + packed.len()].copy_from_slice(&packed);
    vec![
        ("images", images),
        ("large images", repeat(build(large))),
        ("full tables", repeat(efi)),
        ("output for nothing", repeat(flood)),
        ("literals", repeat(slow)),
        ("signatures", repeat(vec![0x55, 0xaa, 0x18, 0])),
        (
            "NVGI and signatures",
            b"NVGI\0\x03\0\0\x10\0\0\0".iter().copied().chain(repeat(vec![0x55, 0xaa])).take(SIZE).collect(),
        ),
        ("one image", {
            let mut rom = build("image 8086:56a0 type=0 blocks=32767 declared=255 last=1\n");
            rom.resize(SIZE, 0xff);
            rom
        }),
        ("FF", vec![0xff; SIZE]),
        ("$VBT", {
            let mut rom = build("image 8086:56a0 type=0 blocks=32767 declared=255 last=1\n");
            for at in (0x1000..rom.len() - 4).step_by(4) {
                rom[at..at + 4].copy_from_slice(b"$VB$");
            }
            rom
        }),
    ]
}

/// In the build of the tests, which is about ten times slower than the program: under a second for 16 MiB.
#[test]
fn hostile_files_cost_little() {
    let limit = Duration::from_secs(1);
    for (name, rom) in hostile() {
        // The best of three: caches are cold at first.
        let best = (0..3).map(|_| {
            let start = Spent::now();
            assert!(text::show("x", &judge(parse(&rom), None)).len() < 1 << 20);
            start.elapsed()
        });
        let best = best.min().unwrap();
        say(&format!("hostile: {name}: {} ms for {} MiB", best.as_millis(), rom.len() >> 20));
        assert!(best < limit, "{name}: {best:?}");
    }
}

/// The promise: no more than twice the file in memory, beside what the program itself is.
#[test]
fn hostile_files_take_no_more_than_twice_their_size() {
    const OWN: usize = 8 << 20;
    let binary = env!("CARGO_BIN_EXE_vfio-early");
    let code = usize::try_from(std::fs::metadata(binary).unwrap().len()).unwrap();
    let scratch = Scratch::new("rom-memory");
    let file = scratch.0.join("rom");
    for (name, rom) in hostile() {
        std::fs::write(&file, &rom).unwrap();
        for command in ["show --json", "verify"] {
            let kib = (2 * rom.len() + code + OWN) >> 10;
            let line = format!("ulimit -v {kib} && exec {binary} rom {command} {}", file.display());
            let output = std::process::Command::new("sh").args(["-c", &line]).output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(matches!(output.status.code(), Some(0 | 1)), "{name}: {command} in {kib} KiB: {said}");
        }
    }
}
