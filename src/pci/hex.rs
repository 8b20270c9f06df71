// SPDX-License-Identifier: MIT OR Apache-2.0
//! Hexadecimal numbers of limited width.

/// Parses a number of `min` to `max` hexadecimal digits, without sign and `0x`.
pub(crate) fn hex_field(text: &str, min: usize, max: usize) -> Option<u32> {
    if !(min..=max.min(8)).contains(&text.len()) {
        return None;
    }
    text.bytes().try_fold(0, |number, digit| Some((number << 4) | char::from(digit).to_digit(16)?))
}

/// Gives each hexadecimal digit of a number to `put`; at least `min` of them, at most eight.
pub(crate) fn hex_digits(number: u32, min: u32, put: &mut dyn FnMut(u8)) {
    let digits = u32::BITS.saturating_sub(number.leading_zeros()).div_ceil(4).max(min).min(8);
    for place in (0..digits).rev() {
        let digit = char::from_digit((number >> place.saturating_mul(4)) & 15, 16);
        put(digit.and_then(|digit| u8::try_from(digit).ok()).unwrap_or(b'0'));
    }
}
