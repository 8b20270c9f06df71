// SPDX-License-Identifier: MIT OR Apache-2.0
//! Takes away what tells one machine from all others: UUIDs, MAC addresses, serial numbers, the host's name. Each is
//! replaced by one of the same shape, and the same one everywhere, so that what belongs together still does.

use crate::machine::Observation;

/// The shape of a UUID, of a MAC address: how many hexadecimal digits, and what stands between them.
const SHAPES: &[(&[usize], u8)] = &[(&[8, 4, 4, 4, 12], b'-'), (&[2, 2, 2, 2, 2, 2], b':')];

/// As many letters and digits in a row are a number of something: an LVM volume, a disk, an IPv6 address.
const LONG: usize = 32;

/// Redacts everything that was seen.
pub(super) fn all(seen: &mut [(String, Observation)], host: &str) {
    let mut masks = Masks { known: Vec::new(), host };
    for (path, what) in seen {
        *path = masks.text(path);
        match what {
            Observation::Link(target) => *target = masks.text(target),
            Observation::Names(names) => names.iter_mut().for_each(|name| *name = masks.text(name)),
            Observation::File(content) if path.ends_with("/config") => serial_number(content),
            Observation::File(content) => {
                if let Ok(text) = std::str::from_utf8(content) {
                    *content = masks.text(text).into_bytes();
                }
            }
            Observation::Broken(_) => {}
        }
    }
}

/// What was replaced so far.
struct Masks<'a> {
    known: Vec<String>,
    host: &'a str,
}

impl Masks<'_> {
    fn text(&mut self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let starts = !out.ends_with(|before: char| before.is_ascii_alphanumeric());
            let end = first.len_utf8();
            let taken = match starts.then(|| secret(rest, out.ends_with("UUID="), self.host)).flatten() {
                Some(length) => {
                    let (found, after) = rest.split_at_checked(length).unwrap_or((rest, ""));
                    out.push_str(&self.mask(found));
                    rest = after;
                    continue;
                }
                None => rest.split_at_checked(end),
            };
            let Some((character, after)) = taken else { break };
            out.push_str(character);
            rest = after;
        }
        out
    }

    /// The same shape with a number in it.
    fn mask(&mut self, found: &str) -> String {
        if found == self.host {
            return "host".to_owned();
        }
        let number = match self.known.iter().position(|known| known == found) {
            Some(number) => number,
            None => {
                self.known.push(found.to_owned());
                self.known.len().saturating_sub(1)
            }
        };
        let mut digits: Vec<u8> = number.saturating_add(1).to_string().into_bytes();
        let masked = found
            .bytes()
            .rev()
            .map(|byte| if byte.is_ascii_alphanumeric() { digits.pop().unwrap_or(b'0') } else { byte });
        let mut masked: Vec<u8> = masked.collect();
        masked.reverse();
        String::from_utf8(masked).unwrap_or_default()
    }
}

/// The length of a secret that the text begins with.
fn secret(text: &str, uuid: bool, host: &str) -> Option<usize> {
    let word = text.bytes().take_while(u8::is_ascii_alphanumeric).count();
    let ends = |length: usize| text.as_bytes().get(length).is_none_or(|byte| !byte.is_ascii_alphanumeric());
    if word == 0 {
        return None;
    }
    if uuid {
        return Some(text.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'-').count());
    }
    if host.len() > 2 && text.starts_with(host) && ends(host.len()) {
        return Some(host.len());
    }
    for (groups, between) in SHAPES {
        let mut bytes = text.bytes();
        let matches = groups.iter().enumerate().all(|(index, count)| {
            (index == 0 || bytes.next() == Some(*between))
                && (0..*count).all(|_| bytes.next().is_some_and(|byte| byte.is_ascii_hexdigit()))
        });
        let length = groups.iter().sum::<usize>().saturating_add(groups.len()).saturating_sub(1);
        if matches && ends(length) {
            return Some(length);
        }
    }
    let number = text.get(..word)?;
    let digits = number.bytes().filter(u8::is_ascii_digit).count();
    // Zeros are a mask, an address of nothing, a register. A modalias is a description: it has letters between its digits.
    let told = number.bytes().all(|byte| byte == b'0') || number.starts_with("v0000") || digits < 4;
    (word >= LONG && !told).then_some(word)
}

/// Zeroes the number in a Device Serial Number capability (PCI Express Base Specification, 7.9.3: extended capability 0003).
fn serial_number(config: &mut [u8]) {
    let word = |config: &[u8], at: usize| {
        let bytes = config.get(at..at.checked_add(4)?)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    };
    let mut at = 0x100;
    for _ in 0..1024 {
        let Some(header) = word(config, at).filter(|header| *header != 0 && *header != u32::MAX) else { return };
        if header & 0xffff == 3 {
            let number = at.saturating_add(4)..at.saturating_add(12);
            config.get_mut(number).unwrap_or_default().fill(0);
        }
        at = usize::try_from(header.wrapping_shr(20)).unwrap_or(0);
        if at < 0x100 {
            return;
        }
    }
}
