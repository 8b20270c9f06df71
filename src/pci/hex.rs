// SPDX-License-Identifier: MIT OR Apache-2.0
//! Hexadecimal fields of a fixed width.

/// The value of `text` when it is made of `min` to `max` hexadecimal digits and of nothing else (no sign, no `0x`).
pub(crate) fn hex_field(text: &str, min: usize, max: usize) -> Option<u32> {
    let plain = (min..=max).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if plain { u32::from_str_radix(text, 16).ok() } else { None }
}
