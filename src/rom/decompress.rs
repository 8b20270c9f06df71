// SPDX-License-Identifier: MIT OR Apache-2.0
//! The compression of EFI option ROMs (UEFI Specification, "Compression Algorithm Specification"): LZ77 in blocks, each
//! with three Huffman codes, most significant bit first.
//!
//! Not a dependency: the only crate for it is deprecated by its authors, needs `bitvec`, and does not limit the work
//! that a hostile stream can cause: a block costs a few bits of input and the building of three tables. Here a
//! [`Budget`] covers every ROM as a whole.

use super::bytes::{part, u32_at};

/// How much work all streams of one ROM may cause together: one unit for each byte of output, two for each of input, and a
/// lump for each block. 4 MiB is a driver of 2 MiB; the largest known one (iPXE with every network driver) has about 1 MiB.
#[derive(Debug)]
pub(super) struct Budget(usize);

impl Default for Budget {
    fn default() -> Self {
        Self(4 << 20)
    }
}

impl Budget {
    fn spend(&mut self, work: usize) -> Result<(), DecompressError> {
        self.0 = self.0.checked_sub(work).ok_or(DecompressError::TooMuch)?;
        Ok(())
    }
}

/// The cost of a block beside its output: three tables are built for it.
const BLOCK_WORK: usize = 600;

/// Why a stream cannot be decompressed. Offsets are in bytes from the start of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DecompressError {
    /// The eight bytes of the header are not all there, or the stream is longer than the room for it.
    Header,
    /// The stream ends before all output is there.
    Ends,
    /// A table of code lengths is no Huffman code.
    Code(usize),
    /// A copy from before the start of the output.
    Copy(usize),
    /// More output, or more blocks, than any driver needs.
    TooMuch,
}

impl std::fmt::Display for DecompressError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Header => f.write_str("its sizes exceed the image"),
            Self::Ends => f.write_str("it ends too early"),
            Self::Code(at) => write!(f, "invalid Huffman code at byte {at:#x} of it"),
            Self::Copy(at) => write!(f, "it copies from before its start at byte {at:#x} of it"),
            Self::TooMuch => f.write_str("it decompresses to more than any driver needs"),
        }
    }
}

/// The header of a stream: compressed size without the header itself, and size of the output, in bytes.
pub(super) fn sizes(stream: &[u8]) -> Option<(usize, usize)> {
    Some((u32_at(stream, 0)?, u32_at(stream, 4)?))
}

/// Decompresses `stream`, which starts with its header and may be followed by padding.
pub(super) fn decompress(stream: &[u8], budget: &mut Budget) -> Result<Vec<u8>, DecompressError> {
    let (packed, size) = sizes(stream).ok_or(DecompressError::Header)?;
    let data = part(stream, 8, packed).ok_or(DecompressError::Header)?;
    if size == 0 {
        return Err(DecompressError::Header);
    }
    budget.spend(size.saturating_add(packed.saturating_mul(2)))?;
    let mut bits = Bits { data, at: 0, held: 0, count: 0 };
    let mut out = vec![0; size];
    let mut filled = 0;
    let (mut chars, mut positions) = (Code::default(), Code::default());
    while filled < size {
        budget.spend(BLOCK_WORK)?;
        // The counter of the reference is 16 bits wide and counts down before it is tested: 0 is 65536.
        let symbols = match bits.take(16)? {
            0 => 0x1_0000,
            count => count,
        };
        // The extra code is needed for the lengths of the next one only.
        read_short_lengths(&mut positions, 19, &mut bits, 5, Some(3))?;
        read_char_lengths(&mut chars, &mut bits, &positions)?;
        read_short_lengths(&mut positions, 16, &mut bits, 4, None)?;
        filled = read_symbols(symbols, &chars, &positions, &mut bits, &mut out, filled)?;
    }
    Ok(out)
}

/// The symbols of one block: bytes below 256, the lengths of copies above. Answers how much of the output there is then.
fn read_symbols(
    symbols: usize,
    chars: &Code,
    positions: &Code,
    bits: &mut Bits<'_>,
    out: &mut [u8],
    mut filled: usize,
) -> Result<usize, DecompressError> {
    for _ in 0..symbols {
        // The last copy may reach over the end of the output.
        let Some(next) = out.get_mut(filled) else { break };
        let symbol = chars.read(bits)?;
        if let Ok(byte) = u8::try_from(symbol) {
            *next = byte;
            filled = filled.saturating_add(1);
            continue;
        }
        let width = u32::from(positions.read(bits)?);
        let distance = match width.checked_sub(1) {
            None => 1,
            Some(low) => (1_usize << low).saturating_add(bits.take(low)?).saturating_add(1),
        };
        let end = filled.saturating_add(usize::from(symbol).saturating_sub(253)).min(out.len());
        let mut from = filled.checked_sub(distance).ok_or(DecompressError::Copy(bits.place()))?;
        // Source and target may overlap: what was just written is read again.
        while filled < end {
            let byte = out.get(from).copied().unwrap_or(0);
            if let Some(next) = out.get_mut(filled) {
                *next = byte;
            }
            from = from.saturating_add(1);
            filled = filled.saturating_add(1);
        }
    }
    Ok(filled)
}

/// The lengths of the "extra" and of the position code: three bits each, seven and more in unary, a run of zeros after
/// the third of the extra code.
fn read_short_lengths(
    code: &mut Code,
    most: usize,
    bits: &mut Bits<'_>,
    width: u32,
    zeros_after: Option<usize>,
) -> Result<(), DecompressError> {
    let count = bits.take(width)?;
    if count == 0 {
        return code.set_single(bits.take(width)?, most, bits.place());
    }
    let mut lengths = [0_u8; 19];
    let lengths = lengths.get_mut(..most).unwrap_or_default();
    let mut index = 0;
    while index < count {
        let mut length = bits.take(3)?;
        while length >= 7 && bits.take(1)? == 1 {
            length = length.saturating_add(1);
        }
        let error = DecompressError::Code(bits.place());
        *lengths.get_mut(index).ok_or(error)? = u8::try_from(length).map_err(|_| error)?;
        index = index.saturating_add(1);
        if Some(index) == zeros_after {
            index = index.saturating_add(bits.take(2)?);
        }
    }
    code.set(lengths, bits.place())
}

/// The lengths of the code for characters and copy lengths, themselves in the extra code: 0, 1 and 2 are runs of zeros.
fn read_char_lengths(code: &mut Code, bits: &mut Bits<'_>, extra: &Code) -> Result<(), DecompressError> {
    let count = bits.take(9)?;
    if count == 0 {
        return code.set_single(bits.take(9)?, SYMBOLS, bits.place());
    }
    let mut lengths = [0_u8; SYMBOLS];
    let mut index = 0_usize;
    while index < count {
        let skip = match extra.read(bits)? {
            0 => 1,
            1 => bits.take(4)?.saturating_add(3),
            2 => bits.take(9)?.saturating_add(20),
            length => {
                let place = lengths.get_mut(index).ok_or(DecompressError::Code(bits.place()))?;
                *place = u8::try_from(length.saturating_sub(2)).map_err(|_| DecompressError::Code(bits.place()))?;
                1
            }
        };
        index = index.saturating_add(skip);
    }
    if index > lengths.len() {
        return Err(DecompressError::Code(bits.place()));
    }
    code.set(&lengths, bits.place())
}

/// The most symbols of a code: 256 bytes and 254 lengths of copies.
const SYMBOLS: usize = 510;
/// So many bits of a code are looked up at once; longer codes are rare.
const LOOKUP: u32 = 10;
/// In the table for what is longer.
const LONGER: u16 = u16::MAX;

/// A canonical Huffman code with at most 16 bits a symbol.
struct Code {
    /// For each value of the next [`LOOKUP`] bits: the symbol, and in the lowest five bits the length of its code.
    table: [u16; 1 << LOOKUP],
    /// The symbols, shorter codes first.
    symbols: [u16; SYMBOLS],
    /// For each length: the first code that is longer, moved to 16 bits, and the place of the first symbol, less the
    /// number of its code.
    rows: [(u32, u32); 17],
}

impl Default for Code {
    fn default() -> Self {
        Self { table: [0; 1 << LOOKUP], symbols: [0; SYMBOLS], rows: [(0, 0); 17] }
    }
}

impl Code {
    /// Becomes the code with one symbol of at most `most`, which takes no bits.
    fn set_single(&mut self, symbol: usize, most: usize, at: usize) -> Result<(), DecompressError> {
        let symbol = u16::try_from(symbol).ok().filter(|_| symbol < most).ok_or(DecompressError::Code(at))?;
        self.table.fill(symbol << 5);
        Ok(())
    }

    /// Becomes the code in which symbol `i` has `lengths[i]` bits, 0 for none. It has to be complete.
    fn set(&mut self, lengths: &[u8], at: usize) -> Result<(), DecompressError> {
        let error = DecompressError::Code(at);
        let mut counts = [0_u32; 17];
        for &length in lengths {
            let count = counts.get_mut(usize::from(length)).ok_or(error)?;
            *count = count.saturating_add(1);
        }
        let mut places = [0_usize; 17];
        let (mut end, mut place) = (0_u32, 0_u32);
        for (length, ((row, start), count)) in (0_u32..).zip(self.rows.iter_mut().zip(&mut places).zip(counts)).skip(1)
        {
            let shift = 16_u32.saturating_sub(length);
            *start = usize::try_from(place).unwrap_or(usize::MAX);
            let first = end >> shift;
            end = end.saturating_add(count << shift);
            *row = (end, place.wrapping_sub(first));
            place = place.saturating_add(count);
        }
        if end != 0x1_0000 {
            return Err(error);
        }
        for (symbol, &length) in (0_u16..).zip(lengths).filter(|&(_, &length)| length != 0) {
            let place = places.get_mut(usize::from(length)).ok_or(error)?;
            *self.symbols.get_mut(*place).ok_or(error)? = symbol;
            *place = place.saturating_add(1);
        }
        // In the order of their codes, the symbols fill the table from its start.
        let mut filled = 0_usize;
        for &symbol in self.symbols.iter().take(usize::try_from(place).unwrap_or(0)) {
            let length = lengths.get(usize::from(symbol)).copied().ok_or(error)?;
            let Some(shift) = LOOKUP.checked_sub(u32::from(length)) else { break };
            let next = filled.saturating_add(1 << shift);
            self.table.get_mut(filled..next).ok_or(error)?.fill(symbol << 5 | u16::from(length));
            filled = next;
        }
        self.table.get_mut(filled..).ok_or(error)?.fill(LONGER);
        Ok(())
    }

    /// The next symbol.
    #[allow(clippy::inline_always, reason = "the build is for size, and this is done for each symbol")]
    #[inline(always)]
    fn read(&self, bits: &mut Bits<'_>) -> Result<u16, DecompressError> {
        let ahead = bits.peek16();
        let place = usize::from(ahead >> 16_u32.saturating_sub(LOOKUP));
        let entry = self.table.get(place).copied().unwrap_or(LONGER);
        if entry == LONGER {
            return self.read_longer(bits, u32::from(ahead));
        }
        bits.skip(u32::from(entry & 0x1f))?;
        Ok(entry >> 5)
    }

    /// The next symbol, whose code is not in the table.
    #[inline(never)]
    fn read_longer(&self, bits: &mut Bits<'_>, ahead: u32) -> Result<u16, DecompressError> {
        let length = (0_u32..).zip(&self.rows).skip(1).find(|(_, (end, _))| ahead < *end);
        let (length, (_, base)) = length.ok_or(DecompressError::Code(bits.place()))?;
        bits.skip(length)?;
        let place = (ahead >> 16_u32.saturating_sub(length)).wrapping_add(*base);
        let symbol = usize::try_from(place).ok().and_then(|place| self.symbols.get(place));
        symbol.copied().ok_or(DecompressError::Code(bits.place()))
    }
}

/// The stream, bit by bit, most significant first.
struct Bits<'a> {
    data: &'a [u8],
    /// The next byte that is not yet held.
    at: usize,
    /// The bits that were read ahead, the next one highest; zeros below them, as if zeros followed the stream.
    held: u64,
    /// How many there are.
    count: u32,
}

impl Bits<'_> {
    /// The next 16 bits without taking them.
    #[allow(clippy::inline_always, reason = "the build is for size, and this is done for each symbol")]
    #[inline(always)]
    fn peek16(&mut self) -> u16 {
        if self.count < 16 {
            self.fill();
        }
        u16::try_from(self.held >> 48).unwrap_or(0)
    }

    /// Reads ahead, where fewer than 16 bits are held.
    #[inline(never)]
    fn fill(&mut self) {
        let rest = self.data.get(self.at..).unwrap_or_default();
        if let Some(&bytes) = rest.first_chunk() {
            self.held |= u64::from(u32::from_be_bytes(bytes)) << 32_u32.saturating_sub(self.count);
            self.at = self.at.saturating_add(4);
            self.count = self.count.saturating_add(32);
            return;
        }
        for &byte in rest {
            self.held |= u64::from(byte) << 56_u32.saturating_sub(self.count);
            self.at = self.at.saturating_add(1);
            self.count = self.count.saturating_add(8);
        }
    }

    /// Moves on by `count` of the bits that were peeked at.
    #[allow(clippy::inline_always, reason = "the build is for size, and this is done for each symbol")]
    #[inline(always)]
    fn skip(&mut self, count: u32) -> Result<(), DecompressError> {
        self.count = self.count.checked_sub(count).ok_or(DecompressError::Ends)?;
        self.held <<= count;
        Ok(())
    }

    /// The next `count` bits, at most 16, as a number.
    fn take(&mut self, count: u32) -> Result<usize, DecompressError> {
        let ahead = u32::from(self.peek16());
        self.skip(count)?;
        usize::try_from(ahead >> 16_u32.saturating_sub(count)).map_err(|_| DecompressError::Ends)
    }

    /// The byte of the stream, its header included, that the next bit is in.
    fn place(&self) -> usize {
        let held = usize::try_from(self.count.div_ceil(8)).unwrap_or(0);
        self.at.saturating_sub(held).saturating_add(8)
    }
}
