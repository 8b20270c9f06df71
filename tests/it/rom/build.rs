// SPDX-License-Identifier: MIT OR Apache-2.0
//! Builds option ROMs from readable descriptions, so that no vendor's firmware is needed to test what vendors do.
//!
//! One directive a line, `#` starts a comment, numbers in hexadecimal with 0x or decimal, `_` in a text is a blank:
//!
//! ```text
//! nvgi 3 at=0x1400                     NVIDIA's prefix of this version; the first image starts at 0x1400
//! image 10de:1e04 type=0 blocks=16     an image; the lines up to the next one are in it
//!   npde blocks=8 last=0 flags=1
//!   efi machine=0x8664 compression=1
//!   pe machine=0x8664 size=0x1800 signed=1 text=Some_GOP_Driver
//! fill 0xff 512                        bytes behind it
//! set 0x1402 7f                        damage: bytes at an offset of the file
//! cut 0x3000                           damage: the file ends here
//! ```

use std::collections::BTreeMap;

/// The words of a line: the first ones, and those with a `=`.
pub(crate) struct Line<'a> {
    pub(crate) words: Vec<&'a str>,
    pub(crate) values: BTreeMap<&'a str, &'a str>,
}

impl<'a> Line<'a> {
    fn new(line: &'a str) -> Option<Self> {
        let line = line.split('#').next().unwrap();
        let (values, words): (Vec<_>, Vec<_>) = line.split_whitespace().partition(|word| word.contains('='));
        let values = values.into_iter().map(|word| word.split_once('=').unwrap()).collect();
        (!words.is_empty()).then_some(Self { words, values })
    }

    pub(crate) fn number(&self, name: &str, default: usize) -> usize {
        self.values.get(name).map_or(default, |text| number(text))
    }

    fn text(&self, name: &str) -> String {
        self.values.get(name).unwrap_or(&"").replace('_', " ")
    }
}

fn number(text: &str) -> usize {
    match text.strip_prefix("0x") {
        Some(digits) => usize::from_str_radix(digits, 16).unwrap(),
        None => text.parse().unwrap(),
    }
}

fn hex(text: &str) -> Vec<u8> {
    text.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

pub(crate) fn put(bytes: &mut Vec<u8>, at: usize, what: &[u8]) {
    if bytes.len() < at + what.len() {
        bytes.resize(at + what.len(), 0);
    }
    bytes[at..at + what.len()].copy_from_slice(what);
}

pub(crate) fn put16(bytes: &mut Vec<u8>, at: usize, value: usize) {
    put(bytes, at, &u16::try_from(value).unwrap().to_le_bytes());
}

pub(crate) fn put32(bytes: &mut Vec<u8>, at: usize, value: usize) {
    put(bytes, at, &u32::try_from(value).unwrap().to_le_bytes());
}

pub(crate) fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, &byte| sum.wrapping_add(byte))
}

/// Builds the ROM that `description` describes.
pub(crate) fn build(description: &str) -> Vec<u8> {
    build_with(description, &|line| panic!("no directive {}", line.words[0]))
}

/// The same with a further directive, which gives bytes.
pub(crate) fn build_with(description: &str, further: &dyn Fn(&Line<'_>) -> Vec<u8>) -> Vec<u8> {
    let mut rom = Vec::new();
    let mut image: Option<Image> = None;
    for line in description.lines().filter_map(Line::new) {
        match line.words[0] {
            "npde" | "efi" | "pe" | "atom" | "bit" | "vbt" | "pnp" | "junk" => image.as_mut().unwrap().part(&line),
            _ => {
                if let Some(image) = image.take() {
                    rom.extend(image.finish());
                }
                match line.words[0] {
                    "nvgi" => rom = nvgi(&line),
                    "image" => image = Some(Image::new(&line)),
                    "fill" => {
                        rom.resize(rom.len() + number(line.words[2]), u8::try_from(number(line.words[1])).unwrap());
                    }
                    "set" => put(&mut rom, number(line.words[1]), &hex(line.words[2])),
                    "cut" => rom.truncate(number(line.words[1])),
                    _ => rom.extend(further(&line)),
                }
            }
        }
    }
    if let Some(image) = image {
        rom.extend(image.finish());
    }
    rom
}

/// NVIDIA's prefix: `at` is where the image is, and where the prefix says that it is unless `says` says otherwise.
fn nvgi(line: &Line<'_>) -> Vec<u8> {
    let (version, at) = (number(line.words[1]), line.number("at", 0x400));
    let says = line.number("says", at);
    let mut prefix = b"NVGI".to_vec();
    prefix.resize(at, 0xa5);
    put(&mut prefix, 5, &[u8::try_from(version).unwrap()]);
    if version < 3 {
        // The highest bit of the size is none of it.
        put16(&mut prefix, 6, 0x8040);
        put32(&mut prefix, 0x44, says);
    } else {
        put32(&mut prefix, 8, 0xfff0_0080);
        put32(&mut prefix, 0x80, 0x200);
        put(&mut prefix, 0x1200, b"RFRD");
        put32(&mut prefix, 0x1208, says);
    }
    prefix
}

struct Image {
    bytes: Vec<u8>,
    blocks: usize,
    pcir: usize,
    legacy: bool,
    checksum: bool,
    declared: usize,
    /// Where the next part goes.
    free: usize,
    efi: Option<(usize, usize)>,
}

impl Image {
    fn new(line: &Line<'_>) -> Self {
        let kind = line.number("type", 0);
        let revision = line.number("rev", 3);
        let blocks = line.number("blocks", 8);
        let pcir = line.number("pcir", 0x1c);
        let mut bytes = hex(line.values.get("signature").unwrap_or(&"55aa"));
        let declared = line.number("declared", blocks);
        if kind == 0 {
            put(&mut bytes, 2, &[u8::try_from(declared).unwrap()]);
            put(&mut bytes, 3, &hex(line.values.get("jump").unwrap_or(&"e97d00")));
        }
        put16(&mut bytes, 0x18, line.number("pointer", pcir));
        put(&mut bytes, pcir, line.values.get("name").unwrap_or(&"PCIR").as_bytes());
        let (vendor, device) = line.words[1].split_once(':').unwrap();
        put16(&mut bytes, pcir + 4, usize::from_str_radix(vendor, 16).unwrap());
        put16(&mut bytes, pcir + 6, usize::from_str_radix(device, 16).unwrap());
        put16(&mut bytes, pcir + 0x0a, if revision == 3 { 0x1c } else { 0x18 });
        put(&mut bytes, pcir + 0x0c, &[u8::try_from(revision).unwrap()]);
        let class = u32::from_str_radix(line.values.get("class").unwrap_or(&"030000"), 16).unwrap();
        put(&mut bytes, pcir + 0x0d, &class.to_le_bytes()[..3]);
        put16(&mut bytes, pcir + 0x10, blocks);
        put16(&mut bytes, pcir + 0x12, line.number("code", 1));
        put(&mut bytes, pcir + 0x14, &[u8::try_from(kind).unwrap()]);
        put(&mut bytes, pcir + 0x15, &[if line.number("last", 0) == 1 { 0x80 } else { 0 }]);
        if revision == 3 {
            put16(&mut bytes, pcir + 0x16, line.number("runtime", 0));
            put16(&mut bytes, pcir + 0x18, line.number("utility", 0));
            put16(&mut bytes, pcir + 0x1a, line.number("clp", 0));
        } else {
            put16(&mut bytes, pcir + 8, line.number("vital", 0));
        }
        let mut free = 0x100;
        if let Some(devices) = line.values.get("devices") {
            put16(&mut bytes, pcir + 8, free - pcir);
            for device in devices.split('+') {
                put16(&mut bytes, free, usize::from_str_radix(device, 16).unwrap());
                free += 2;
            }
            put16(&mut bytes, free, 0);
            free += 16;
        }
        if let Some(pointer) = line.values.get("list") {
            put16(&mut bytes, pcir + 8, number(pointer));
        }
        let checksum = line.number("checksum", 1) == 1;
        Self { bytes, blocks, pcir, legacy: kind == 0, checksum, declared, free, efi: None }
    }

    fn part(&mut self, line: &Line<'_>) {
        match line.words[0] {
            "npde" => self.npde(line),
            "efi" => self.efi_header(line),
            "pe" => self.driver(line),
            "atom" => self.atom(line),
            "bit" => self.bit(line),
            "vbt" => self.vbt(line),
            "pnp" => self.pnp(line),
            _ => self.bytes.resize(self.blocks * 512, u8::try_from(line.number("byte", 0x90)).unwrap()),
        }
    }

    fn npde(&mut self, line: &Line<'_>) {
        let length = usize::from(u16::from_le_bytes([self.bytes[self.pcir + 10], self.bytes[self.pcir + 11]]));
        let at = (self.pcir + length).next_multiple_of(16);
        let size = line.number("size", 12);
        put(&mut self.bytes, at, b"NPDE");
        put16(&mut self.bytes, at + 4, line.number("revision", 0x101));
        put16(&mut self.bytes, at + 6, size);
        put16(&mut self.bytes, at + 8, line.number("blocks", self.blocks));
        put(&mut self.bytes, at + 10, &[if line.number("last", 0) == 1 { 0x80 } else { 0 }]);
        put(&mut self.bytes, at + 11, &[u8::try_from(line.number("flags", 1)).unwrap()]);
    }

    fn efi_header(&mut self, line: &Line<'_>) {
        let at = line.number("at", 0x200);
        let compression = line.number("compression", 0);
        put16(&mut self.bytes, 2, line.number("declared", self.blocks));
        put32(&mut self.bytes, 4, line.number("signature", 0x0ef1));
        put16(&mut self.bytes, 8, line.number("subsystem", 11));
        put16(&mut self.bytes, 10, line.number("machine", 0x8664));
        put16(&mut self.bytes, 12, compression);
        put16(&mut self.bytes, 0x16, at);
        self.efi = Some((at, compression));
    }

    fn driver(&mut self, line: &Line<'_>) {
        let (at, compression) = self.efi.expect("an efi line before the pe line");
        let driver = pe(
            line.number("machine", 0x8664),
            line.number("subsystem", 11),
            line.number("size", 0x600),
            line.number("signed", 0) == 1,
            &line.text("text"),
        );
        let driver = match line.values.get("signer") {
            Some(_) => sign(driver, &line.text("signer"), &line.text("issuer")),
            None => driver,
        };
        let stored = if compression == 1 { compress(&driver) } else { driver };
        put(&mut self.bytes, at, &stored);
    }

    /// Puts a text where there is room, with a zero behind it.
    fn string(&mut self, text: &str) -> usize {
        let at = self.free;
        put(&mut self.bytes, at, text.as_bytes());
        put(&mut self.bytes, at + text.len(), &[0]);
        self.free += text.len() + 1;
        at
    }

    fn atom(&mut self, line: &Line<'_>) {
        put(&mut self.bytes, 0x30, b" 761295520");
        let header = 0x200;
        self.free = self.free.max(0x240);
        put16(&mut self.bytes, 0x48, header);
        put(&mut self.bytes, header + 4, line.values.get("name").unwrap_or(&"ATOM").as_bytes());
        put(&mut self.bytes, 0x50, line.text("date").as_bytes());
        for (field, name) in [(0x0c, "configuration"), (0x10, "message")] {
            let at = self.string(&line.text(name));
            put16(&mut self.bytes, header + field, at);
        }
        put16(&mut self.bytes, header + 0x18, line.number("subvendor", 0x1002));
        put16(&mut self.bytes, header + 0x1a, line.number("subdevice", 0));
        put(&mut self.bytes, 0x2f, &[1]);
        let part = self.string(&line.text("part"));
        put16(&mut self.bytes, 0x6e, part);
        self.string(&format!("ATOMBIOSBK-AMD VER{}", line.text("build")));
    }

    fn bit(&mut self, line: &Line<'_>) {
        let version = hex(&line.values["version"].replace('.', ""));
        let (table, data) = (0x300, 0x340);
        put(&mut self.bytes, table, b"\xff\xb8BIT\0\0\x01\x0c\x06\x02\0");
        put(&mut self.bytes, table + 12, b"B\x02\x05\0\0\0");
        put(&mut self.bytes, table + 18, b"i\x02\x40\0");
        put16(&mut self.bytes, table + 22, data);
        put(&mut self.bytes, data, &[version[3], version[2], version[1], version[0], version[4]]);
    }

    fn vbt(&mut self, line: &Line<'_>) {
        let at = 0x400;
        put(&mut self.bytes, at, format!("{:20}", format!("$VBT {}", line.text("name"))).as_bytes());
        put16(&mut self.bytes, at + 24, 0x80);
        put32(&mut self.bytes, at + 28, 0x30);
        put(&mut self.bytes, at + 0x30, b"BIOS_DATA_BLOCK ");
        put16(&mut self.bytes, at + 0x40, line.number("version", 250));
        put(&mut self.bytes, at + 0x7f, &[0]);
        let wrong = sum(&self.bytes[at..at + 0x80]).wrapping_add(u8::try_from(line.number("wrong", 0)).unwrap());
        put(&mut self.bytes, at + 26, &[wrong.wrapping_neg()]);
    }

    fn pnp(&mut self, line: &Line<'_>) {
        let at = 0x80;
        put16(&mut self.bytes, 0x1a, at);
        put(&mut self.bytes, at, b"$PnP\x01\x02");
        for (field, name) in [(0x0e, "manufacturer"), (0x10, "product")] {
            let string = self.string(&line.text(name));
            put16(&mut self.bytes, at + field, string);
        }
        put(&mut self.bytes, at + 31, &[0]);
        let sum = sum(&self.bytes[at..at + 32]);
        put(&mut self.bytes, at + 9, &[sum.wrapping_neg()]);
    }

    fn finish(mut self) -> Vec<u8> {
        let length = self.blocks * 512;
        assert!(self.bytes.len() <= length, "the image is too small for its parts: {:#x}", self.bytes.len());
        self.bytes.resize(length, 0);
        let declared = (self.declared * 512).min(length);
        if self.legacy && self.checksum && declared > 6 {
            self.bytes[6] = self.bytes[6].wrapping_sub(sum(&self.bytes[..declared]));
        }
        self.bytes
    }
}

/// A driver for EFI with one section; as much of PE as anybody looks at.
pub(crate) fn pe(machine: usize, subsystem: usize, size: usize, signed: bool, text: &str) -> Vec<u8> {
    let mut pe = b"MZ".to_vec();
    let coff = 0x80;
    put32(&mut pe, 0x3c, coff);
    put(&mut pe, coff, b"PE\0\0");
    put16(&mut pe, coff + 4, machine);
    put16(&mut pe, coff + 6, 1);
    let optional = coff + 24;
    let wide = machine != 0x014c;
    let directories = optional + if wide { 112 } else { 96 };
    put16(&mut pe, coff + 20, directories + 128 - optional);
    put16(&mut pe, optional, if wide { 0x20b } else { 0x10b });
    put32(&mut pe, optional + 60, 0x200);
    put16(&mut pe, optional + 68, subsystem);
    put32(&mut pe, directories - 4, 16);
    let section = directories + 128;
    put(&mut pe, section, b".text\0\0\0");
    put32(&mut pe, section + 16, size - 0x200);
    put32(&mut pe, section + 20, 0x200);
    let wide_text: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    put(&mut pe, 0x210, &wide_text);
    // Something that compresses well here and badly there.
    let mut state = 1_u32;
    for at in pe.len() + 2..size {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        put(&mut pe, at, &[if at % 512 < 300 { u8::try_from(at % 7).unwrap() } else { state.to_le_bytes()[3] }]);
    }
    if signed {
        put32(&mut pe, directories + 32, size);
        put32(&mut pe, directories + 36, 24);
        put32(&mut pe, size, 24);
        put(&mut pe, size + 4, &[0, 2, 2, 0, 0x30, 0x82, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14]);
    }
    pe
}

/// Puts a signature behind a driver: no right one, but with everything in it that names somebody.
fn sign(mut driver: Vec<u8>, signer: &str, issuer: &str) -> Vec<u8> {
    let der = |tag: u8, parts: &[Vec<u8>]| {
        let body = parts.concat();
        let [high, low] = u16::try_from(body.len()).unwrap().to_be_bytes();
        let length = match body.len() {
            0..=0x7f => vec![low],
            0x80..=0xff => vec![0x81, low],
            _ => vec![0x82, high, low],
        };
        [vec![tag], length, body].concat()
    };
    // An organization first, as in real names.
    let part = |kind: u8, text: &str| der(0x31, &[der(0x30, &[vec![6, 3, 0x55, 4, kind], der(0x0c, &[text.into()])])]);
    let name = |text: &str| der(0x30, &[part(10, "Somebody"), part(3, text)]);
    let empty = || der(0x30, &[]);
    let certificate = |serial: u8, of: &str, by: &str| {
        let version = der(0xa0, &[vec![2, 1, 2]]);
        let fields = [version, vec![2, 1, serial], empty(), name(by), empty(), name(of), empty()];
        der(0x30, &[der(0x30, &fields), empty(), vec![3, 1, 0]])
    };
    let info = der(0x30, &[vec![2, 1, 1], der(0x30, &[name(issuer), vec![2, 1, 7]]), empty()]);
    let certificates = der(0xa0, &[certificate(1, issuer, "Root"), certificate(7, signer, issuer)]);
    let data = der(0x30, &[vec![2, 1, 1], der(0x31, &[]), empty(), certificates, der(0x31, &[info])]);
    let content = der(0x30, &[vec![6, 1, 42], der(0xa0, &[data])]);
    let directories = usize::from(u16::from_le_bytes([driver[0x3c], driver[0x3d]])) + 24 + 112;
    let (at, length) = (driver.len().next_multiple_of(8), (content.len() + 8).next_multiple_of(8));
    put32(&mut driver, directories + 32, at);
    put32(&mut driver, directories + 36, length);
    driver.resize(at + length, 0);
    put32(&mut driver, at, length);
    put(&mut driver, at + 4, &[0, 2, 2, 0]);
    put(&mut driver, at + 8, &content);
    driver
}

/// Compresses as the UEFI Specification has it, with fixed codes: eight or nine bits for each character or length, three
/// or four for each position.
pub(crate) fn compress(data: &[u8]) -> Vec<u8> {
    // Small blocks, so that there are several.
    compress_in_blocks(data, 1000)
}

/// The same, with so many symbols in a block.
pub(crate) fn compress_in_blocks(data: &[u8], most: usize) -> Vec<u8> {
    let mut symbols = Vec::new();
    let mut at = 0;
    while at < data.len() {
        let found = (1..=at.min(4096))
            .step_by(if at % 3 == 0 { 1 } else { 7 })
            .map(|distance| {
                let same =
                    (0..256).take_while(|&i| at + i < data.len() && data[at + i] == data[at + i - distance]).count();
                (same, distance)
            })
            .max();
        match found {
            Some((length, distance)) if length >= 3 => {
                symbols.push((length + 253, distance - 1));
                at += length;
            }
            _ => {
                symbols.push((usize::from(data[at]), 0));
                at += 1;
            }
        }
    }
    let mut bits = Bits::default();
    for block in symbols.chunks(most) {
        block_header(&mut bits, block.len());
        for &(symbol, position) in block {
            if symbol < 2 {
                bits.put(symbol, 8);
            } else {
                bits.put(symbol + 2, 9);
            }
            if symbol >= 256 {
                let width = usize::try_from(usize::BITS - position.leading_zeros()).unwrap();
                if width < 2 {
                    bits.put(width, 3);
                } else {
                    bits.put(width + 2, 4);
                }
                if width > 1 {
                    bits.put(position & ((1 << (width - 1)) - 1), width - 1);
                }
            }
        }
    }
    let mut out = Vec::new();
    let packed = bits.finish();
    put32(&mut out, 0, packed.len());
    put32(&mut out, 4, data.len());
    out.extend(packed);
    out
}

/// The head of a block with these fixed codes.
pub(crate) fn block_header(bits: &mut Bits, count: usize) {
    bits.put(count, 16);
    // The extra code: symbols 10 and 11, one bit each. Three zeros follow the third length for free.
    bits.put(12, 5);
    for length in [0, 0, 0] {
        bits.put(length, 3);
    }
    bits.put(3, 2);
    for length in [0, 0, 0, 0, 1, 1] {
        bits.put(length, 3);
    }
    // 510 characters and lengths: the first two have eight bits, the others nine.
    bits.put(510, 9);
    for symbol in 0..510 {
        bits.put(usize::from(symbol >= 2), 1);
    }
    // 14 positions: the first two have three bits, the others four.
    bits.put(14, 4);
    for symbol in 0..14 {
        bits.put(if symbol < 2 { 3 } else { 4 }, 3);
    }
}

/// A stream of bits, most significant first.
#[derive(Default)]
pub(crate) struct Bits(Vec<bool>);

impl Bits {
    pub(crate) fn put(&mut self, value: usize, width: usize) {
        for bit in (0..width).rev() {
            self.0.push(value >> bit & 1 == 1);
        }
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.0
            .chunks(8)
            .map(|byte| (0..8).fold(0, |sum, i| sum << 1 | u8::from(*byte.get(i).unwrap_or(&false))))
            .collect()
    }
}
