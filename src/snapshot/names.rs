// SPDX-License-Identifier: MIT OR Apache-2.0
//! Names: those that are known to be harmless are kept, all others are replaced, the same name always by the same one.

use std::collections::{BTreeMap, BTreeSet};

use super::vocabulary;

/// What a replacement begins with. A number follows.
const REPLACEMENT: &str = "name";

/// How many digits a harmless name may have altogether: more can be an address, a serial number or a telephone number.
const MAX_DIGITS: usize = 5;

/// The names that were replaced so far.
#[derive(Default)]
pub(super) struct Names {
    known: BTreeMap<String, String>,
    /// The numbers of names on the machine that look like replacements: they are kept.
    taken: BTreeSet<u32>,
    last: u32,
}

impl Names {
    /// Notes the names in a text that look like replacements, so that no replacement is one of them.
    pub(super) fn reserve(&mut self, text: &str) {
        for part in text.split(REPLACEMENT).skip(1) {
            let end = part.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(part.len());
            self.taken.extend(part.get(..end).and_then(|digits| digits.parse::<u32>().ok()));
        }
    }

    /// A name as it is if it is harmless, or its replacement.
    pub(super) fn plain(&mut self, name: &str) -> String {
        if is_harmless(name, MAX_DIGITS) { name.to_owned() } else { self.replace(name) }
    }

    /// The replacement of a name.
    pub(super) fn replace(&mut self, name: &str) -> String {
        if name.is_empty() || is_replacement(name) {
            return name.to_owned();
        }
        if let Some(replacement) = self.known.get(name) {
            return replacement.clone();
        }
        loop {
            self.last = self.last.saturating_add(1);
            if self.taken.insert(self.last) {
                break;
            }
        }
        let replacement = format!("{REPLACEMENT}{}", self.last);
        self.known.insert(name.to_owned(), replacement.clone());
        replacement
    }

    /// The replacement of a name that was replaced before, or the name.
    pub(super) fn again(&self, name: &str) -> String {
        self.known.get(name).cloned().unwrap_or_else(|| name.to_owned())
    }
}

/// Whether a name is a replacement.
fn is_replacement(name: &str) -> bool {
    let number = name.strip_prefix(REPLACEMENT).unwrap_or_default();
    number.len() < 9 && number.parse::<u32>().is_ok_and(|parsed| parsed.to_string() == number)
}

/// Whether a name consists of harmless words, single letters and at most `digits` digits.
pub(super) fn is_harmless(name: &str, digits: usize) -> bool {
    is_replacement(name)
        || name.bytes().all(|byte| byte.is_ascii_graphic())
            && name.bytes().filter(u8::is_ascii_digit).count() <= digits
            && name.bytes().filter(|byte| matches!(byte, b'.' | b':')).count() < 2
            && name.split(|letter: char| !letter.is_ascii_alphabetic()).all(is_harmless_word)
}

/// Whether a word names no person, machine or network.
fn is_harmless_word(word: &str) -> bool {
    let is_multipath = || word.strip_prefix("mpath").is_some_and(|letters| letters.len() < 3);
    word.len() < 2 || vocabulary::has(&word.to_ascii_lowercase()) || is_multipath()
}

/// Whether a name is one that the kernel gives to block devices.
pub(super) fn is_block_device(name: &str) -> bool {
    let Some(kind) = ["sd", "hd", "vd", "xvd"].iter().find_map(|kind| name.strip_prefix(kind)) else {
        return is_harmless(name, 8);
    };
    let letters = kind.bytes().take_while(u8::is_ascii_lowercase).count();
    let digits = kind.get(letters..).unwrap_or_default();
    (1..4).contains(&letters) && digits.len() < 4 && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether a name is one that the kernel, udev (systemd.net-naming-scheme(7)) or a common tool gives to network interfaces;
/// not one made of a MAC address.
pub(super) fn is_interface(name: &str) -> bool {
    let (device, vlan) = name.split_once('.').unwrap_or((name, "1"));
    let is_number = |text: &str| text.len() < 6 && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(vlan) {
        return false;
    }
    match ["en", "wl", "ib", "ww", "sl"].iter().find_map(|kind| device.strip_prefix(kind)) {
        Some(place) => is_place(place),
        None => is_harmless(device, MAX_DIGITS),
    }
}

/// Whether the rest of an interface's name is its place: letters, each with a number (`p129s0f1np1`).
fn is_place(place: &str) -> bool {
    let mut rest = place;
    while let Some((letter, after)) = rest.split_at_checked(1) {
        let digits = after.bytes().take_while(u8::is_ascii_digit).count();
        let (number, next) = after.split_at_checked(digits).unwrap_or((after, ""));
        let is_port = letter == "n" && next.starts_with('p');
        if !"PpsfdnuicovbrT".contains(letter) || number.len() > 5 || number.is_empty() && !is_port {
            return false;
        }
        rest = next;
        if rest.is_empty() {
            break;
        }
    }
    true
}
