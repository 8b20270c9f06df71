// SPDX-License-Identifier: MIT OR Apache-2.0
//! Extracting every image and the driver, also from a compressed stream that is the whole input.

use vfio_early::rom::{ExtractTarget, GuestMachine, extract, parse};

/// The entry point.
pub(crate) fn run(data: &[u8]) {
    let rom = parse(data);
    for (number, image) in rom.images.iter().enumerate() {
        if let Ok(extracted) = extract(data, ExtractTarget::Image(number)) {
            assert_eq!(extracted.bytes.len(), image.length);
        }
    }
    for decompress in [false, true] {
        let _ = extract(data, ExtractTarget::EfiDriver { machine: GuestMachine::default(), decompress });
    }
    let _ = extract(&wrapped(data), ExtractTarget::EfiDriver { machine: GuestMachine::default(), decompress: true });
}

/// An EFI image around a compressed driver, so that the fuzzer need not find the headers first.
fn wrapped(stream: &[u8]) -> Vec<u8> {
    let blocks = u16::try_from(stream.len() / 512 + 2).unwrap_or(u16::MAX);
    let mut rom = vec![0; 0x40];
    rom[..4].copy_from_slice(&[0x55, 0xaa, blocks.to_le_bytes()[0], blocks.to_le_bytes()[1]]);
    rom[4..6].copy_from_slice(&[0xf1, 0x0e]);
    rom[8..14].copy_from_slice(&[11, 0, 0x64, 0x86, 1, 0]);
    rom[0x16] = 0x40;
    rom[0x18] = 0x1c;
    rom[0x1c..0x20].copy_from_slice(b"PCIR");
    rom[0x26] = 0x18;
    rom[0x2c..0x2e].copy_from_slice(&blocks.to_le_bytes());
    rom[0x30..0x32].copy_from_slice(&[3, 0x80]);
    rom.extend(u32::try_from(stream.len()).unwrap_or(0).to_le_bytes());
    rom.extend(0x1_0000_u32.to_le_bytes());
    rom.extend(stream);
    rom.resize(usize::from(blocks) * 512, 0);
    rom
}
