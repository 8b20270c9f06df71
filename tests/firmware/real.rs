// SPDX-License-Identifier: MIT OR Apache-2.0
//! The images of a real ROM, with changes that a line of variants.txt asks for.

use std::sync::OnceLock;

use crate::build::{Line, compress, put, put16, put32, sum};

/// The ROM, from Debian's package ipxe-qemu: a legacy and an EFI image, not compressed.
pub(crate) const ROM: &str = "/usr/lib/ipxe/qemu/efi-e1000e.rom";

fn rom() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| std::fs::read(ROM).unwrap())
}

/// The image that the line asks for.
pub(crate) fn image(line: &Line<'_>) -> Vec<u8> {
    assert_eq!(line.words[0], "real", "no directive {}", line.words[0]);
    let length = |at: usize| usize::from(u16::from_le_bytes([rom()[at + 0x2c], rom()[at + 0x2d]])) * 512;
    let legacy = length(0);
    let efi = line.words[1] == "efi";
    let mut bytes = if efi { rom()[legacy..legacy + length(legacy)].to_vec() } else { rom()[..legacy].to_vec() };
    let number = |name: &str| line.values.contains_key(name).then(|| line.number(name, 0));
    if let Some(blocks) = number("grow") {
        bytes.resize(bytes.len() + blocks * 512, 0);
        let blocks = bytes.len() / 512;
        put16(&mut bytes, 0x2c, blocks);
        put16(&mut bytes, 2, blocks);
    }
    let driver = usize::from(u16::from_le_bytes([bytes[0x16], bytes[0x17]]));
    if efi {
        let pe = driver + usize::from(bytes[driver + 0x3c]);
        for (name, at) in [("pe-machine", pe + 4), ("pe-subsystem", pe + 24 + 68)] {
            number(name).into_iter().for_each(|value| put16(&mut bytes, at, value));
        }
        if number("packed").is_some() {
            let packed = compress(&bytes[driver..]);
            bytes.truncate(driver);
            bytes.extend(packed);
            bytes.resize(bytes.len().next_multiple_of(512), 0);
            let blocks = bytes.len() / 512;
            put16(&mut bytes, 0x2c, blocks);
            put16(&mut bytes, 2, blocks);
        }
        for (name, at) in [("declared", 2), ("subsystem", 8), ("machine", 10), ("compression", 12), ("at", 0x16)] {
            number(name).into_iter().for_each(|value| put16(&mut bytes, at, value));
        }
        number("signature").into_iter().for_each(|value| put32(&mut bytes, 4, value));
    } else if let Some(declared) = number("declared") {
        bytes[2] = u8::try_from(declared).unwrap();
    }
    for (name, at) in [("vendor", 0x20), ("device", 0x22), ("length", 0x2c)] {
        number(name).into_iter().for_each(|value| put16(&mut bytes, at, value));
    }
    if let Some(last) = number("last") {
        bytes[0x31] = if last == 1 { 0x80 } else { 0 };
    }
    if let Some(shift) = number("shift") {
        let pcir = bytes[0x1c..0x34].to_vec();
        put(&mut bytes, 0x1c + shift, &pcir);
        put16(&mut bytes, 0x18, 0x1c + shift);
    }
    if !efi {
        let declared = (usize::from(bytes[2]) * 512).min(bytes.len());
        // A byte that nothing uses (QEMU's place, too).
        bytes[6] = bytes[6].wrapping_sub(sum(&bytes[..declared]));
        if line.values.get("checksum") == Some(&"bad") {
            bytes[6] ^= 0x55;
        }
    }
    bytes
}
