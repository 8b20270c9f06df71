// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reads numbers and slices from untrusted bytes: every access is checked, none can panic.

/// The unit of every length in an option ROM header, in bytes.
pub(super) const BLOCK: usize = 512;

/// The byte at `at`.
pub(super) fn u8_at(bytes: &[u8], at: usize) -> Option<u8> {
    bytes.get(at).copied()
}

/// The little-endian 16-bit number at `at`.
pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    array(bytes, at).map(u16::from_le_bytes)
}

/// The little-endian 32-bit number at `at`, as the index or length that it always is here.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<usize> {
    array(bytes, at).map(u32::from_le_bytes).and_then(|value| usize::try_from(value).ok())
}

/// The `N` bytes at `at`.
pub(super) fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    part(bytes, at, N)?.try_into().ok()
}

/// The `length` bytes at `at`, all of them or none.
pub(super) fn part(bytes: &[u8], at: usize, length: usize) -> Option<&[u8]> {
    bytes.get(at..at.checked_add(length)?)
}

/// The bytes from `at` on, at most `length` of them.
pub(super) fn up_to(bytes: &[u8], at: usize, length: usize) -> &[u8] {
    let rest = bytes.get(at..).unwrap_or_default();
    rest.get(..length).unwrap_or(rest)
}

/// A length in blocks of 512 bytes, in bytes. Cannot overflow: 65535 blocks are less than 32 MiB.
pub(super) fn blocks(count: u16) -> usize {
    usize::from(count).saturating_mul(BLOCK)
}

/// The sum of all bytes, modulo 256: the checksum rule of legacy ROMs is that it is zero.
pub(super) fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum: u8, &byte| sum.wrapping_add(byte))
}

/// Whether every byte is `byte`.
pub(super) fn is_filled_with(bytes: &[u8], byte: u8) -> bool {
    bytes.iter().all(|&b| b == byte)
}

/// Whether the bytes are erased flash (all FF) or zeros.
pub(super) fn is_blank(bytes: &[u8]) -> bool {
    is_filled_with(bytes, 0xff) || is_filled_with(bytes, 0)
}

/// The offset of the first `needle`.
pub(super) fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    let first = *needle.first()?;
    let mut from = 0_usize;
    while let Some(at) = bytes.get(from..)?.iter().position(|&b| b == first) {
        from = from.checked_add(at)?;
        if bytes.get(from..)?.starts_with(needle) {
            return Some(from);
        }
        from = from.checked_add(1)?;
    }
    None
}

/// The printable ASCII text at the start of `bytes`, at most `limit` characters, without blanks at both ends. No other
/// bytes of a ROM reach a terminal.
pub(super) fn printable(bytes: &[u8], limit: usize) -> String {
    let text: String =
        bytes.iter().take(limit).map_while(|&b| matches!(b, b' '..=b'~').then(|| char::from(b))).collect();
    text.trim().to_owned()
}
