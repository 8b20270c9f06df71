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
    let mut out = Vec::with_capacity(size);
    while out.len() < size {
        budget.spend(BLOCK_WORK)?;
        block(&mut bits, &mut out, size)?;
    }
    Ok(out)
}

/// One block: its three codes, then its symbols.
fn block(bits: &mut Bits<'_>, out: &mut Vec<u8>, size: usize) -> Result<(), DecompressError> {
    // The counter of the reference is 16 bits wide and counts down before it is tested: 0 is 65536.
    let symbols = match bits.take(16)? {
        0 => 0x1_0000,
        count => count,
    };
    let extra: Code<19> = read_short_lengths(bits, 5, Some(3))?;
    let chars = read_char_lengths(bits, &extra)?;
    let positions: Code<16> = read_short_lengths(bits, 4, None)?;
    for _ in 0..symbols {
        let symbol = chars.read(bits)?;
        match u8::try_from(symbol) {
            Ok(byte) => out.push(byte),
            Err(_) => copy(bits, out, size, usize::from(symbol).saturating_sub(253), &positions)?,
        }
        if out.len() >= size {
            break;
        }
    }
    Ok(())
}

/// Repeats `length` bytes from a distance that the stream names; the last copy may reach over the end of the output.
fn copy(
    bits: &mut Bits<'_>,
    out: &mut Vec<u8>,
    size: usize,
    length: usize,
    positions: &Code<16>,
) -> Result<(), DecompressError> {
    let width = u32::from(positions.read(bits)?);
    let distance = match width.checked_sub(1) {
        None => 0,
        Some(low) => (1_usize << low) | bits.take(low)?,
    };
    let from = out.len().checked_sub(distance.saturating_add(1)).ok_or(DecompressError::Copy(bits.place()))?;
    let length = length.min(size.saturating_sub(out.len()));
    // Source and target may overlap: what was just written is read again.
    for at in from..from.saturating_add(length) {
        let byte = out.get(at).copied().ok_or(DecompressError::Copy(bits.place()))?;
        out.push(byte);
    }
    Ok(())
}

/// The lengths of the "extra" and of the position code: three bits each, seven and more in unary, a run of zeros after
/// the third of the extra code.
fn read_short_lengths<const N: usize>(
    bits: &mut Bits<'_>,
    width: u32,
    zeros_after: Option<usize>,
) -> Result<Code<N>, DecompressError> {
    let count = bits.take(width)?;
    if count == 0 {
        return Code::single(bits.take(width)?, bits.place());
    }
    let mut lengths = [0_u8; N];
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
    Code::new(&lengths, bits.place())
}

/// The lengths of the code for characters and copy lengths, themselves in the extra code: 0, 1 and 2 are runs of zeros.
fn read_char_lengths(bits: &mut Bits<'_>, extra: &Code<19>) -> Result<Code<510>, DecompressError> {
    let count = bits.take(9)?;
    if count == 0 {
        return Code::single(bits.take(9)?, bits.place());
    }
    let mut lengths = [0_u8; 510];
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
    Code::new(&lengths, bits.place())
}

/// A canonical Huffman code of at most `N` symbols with at most 16 bits each.
struct Code<const N: usize> {
    /// The symbols, shorter codes first.
    symbols: [u16; N],
    /// For each length: the first code that is longer, moved to 16 bits, and the place of the first symbol, less the
    /// number of its code.
    rows: [(u32, u32); 17],
    /// The length of the shortest code.
    shortest: usize,
}

impl<const N: usize> Code<N> {
    /// The code with one symbol, which takes no bits.
    fn single(symbol: usize, at: usize) -> Result<Self, DecompressError> {
        let symbol = u16::try_from(symbol).ok().filter(|&s| usize::from(s) < N).ok_or(DecompressError::Code(at))?;
        let mut symbols = [0; N];
        if let Some(first) = symbols.first_mut() {
            *first = symbol;
        }
        let mut rows = [(0, 0); 17];
        if let Some(row) = rows.first_mut() {
            *row = (0x1_0000, 0);
        }
        Ok(Self { symbols, rows, shortest: 0 })
    }

    /// The code in which symbol `i` has `lengths[i]` bits, 0 for none. It has to be complete.
    fn new(lengths: &[u8; N], at: usize) -> Result<Self, DecompressError> {
        let mut counts = [0_u32; 17];
        for &length in lengths {
            let count = counts.get_mut(usize::from(length)).ok_or(DecompressError::Code(at))?;
            *count = count.saturating_add(1);
        }
        let mut rows = [(0, 0); 17];
        let mut places = [0_usize; 17];
        let (mut end, mut place) = (0_u32, 0_u32);
        for (length, ((row, start), count)) in (0_u32..).zip(rows.iter_mut().zip(&mut places).zip(counts)).skip(1) {
            let shift = 16_u32.saturating_sub(length);
            *start = usize::try_from(place).unwrap_or(usize::MAX);
            let first = end >> shift;
            end = end.saturating_add(count << shift);
            *row = (end, place.wrapping_sub(first));
            place = place.saturating_add(count);
        }
        if end != 0x1_0000 {
            return Err(DecompressError::Code(at));
        }
        let mut symbols = [0; N];
        for (symbol, &length) in (0_u16..).zip(lengths).filter(|&(_, &length)| length != 0) {
            let place = places.get_mut(usize::from(length)).ok_or(DecompressError::Code(at))?;
            *symbols.get_mut(*place).ok_or(DecompressError::Code(at))? = symbol;
            *place = place.saturating_add(1);
        }
        let shortest = rows.iter().position(|&(end, _)| end != 0).unwrap_or(0);
        Ok(Self { symbols, rows, shortest })
    }

    /// The next symbol.
    fn read(&self, bits: &mut Bits<'_>) -> Result<u16, DecompressError> {
        let ahead = bits.peek16();
        for (length, &(end, base)) in (0_u32..).zip(&self.rows).skip(self.shortest) {
            if ahead < end {
                bits.skip(length)?;
                let code = ahead >> 16_u32.saturating_sub(length);
                let place =
                    if length == 0 { 0 } else { usize::try_from(code.wrapping_add(base)).unwrap_or(usize::MAX) };
                return self.symbols.get(place).copied().ok_or(DecompressError::Code(bits.place()));
            }
        }
        Err(DecompressError::Code(bits.place()))
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
    fn peek16(&mut self) -> u32 {
        while self.count < 16 {
            let Some(&byte) = self.data.get(self.at) else { break };
            self.held |= u64::from(byte) << 56_u32.saturating_sub(self.count);
            self.at = self.at.saturating_add(1);
            self.count = self.count.saturating_add(8);
        }
        u32::try_from(self.held >> 48).unwrap_or(0)
    }

    /// Moves on by `count` of the bits that were peeked at.
    fn skip(&mut self, count: u32) -> Result<(), DecompressError> {
        self.count = self.count.checked_sub(count).ok_or(DecompressError::Ends)?;
        self.held <<= count;
        Ok(())
    }

    /// The next `count` bits, at most 16, as a number.
    fn take(&mut self, count: u32) -> Result<usize, DecompressError> {
        let ahead = self.peek16();
        self.skip(count)?;
        usize::try_from(ahead >> 16_u32.saturating_sub(count)).map_err(|_| DecompressError::Ends)
    }

    /// The byte of the stream, its header included, that the next bit is in.
    fn place(&self) -> usize {
        let held = usize::try_from(self.count.div_ceil(8)).unwrap_or(0);
        self.at.saturating_sub(held).saturating_add(8)
    }
}
