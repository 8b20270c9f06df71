// SPDX-License-Identifier: MIT OR Apache-2.0
//! Hexadecimal numbers of limited width.

/// Parses a number of `min` to `max` hexadecimal digits, without sign and `0x`.
pub(crate) fn hex_field(text: &str, min: usize, max: usize) -> Option<u32> {
    let plain = (min..=max).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if plain { u32::from_str_radix(text, 16).ok() } else { None }
}
