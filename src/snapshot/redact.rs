// SPDX-License-Identifier: MIT OR Apache-2.0
//! Replaces identifiers of a machine: UUIDs, MAC addresses, serial numbers, the host name. Replacements have the same format
//! as the original, and the same identifier has the same replacement everywhere.

use crate::machine::Observation;

/// The formats of UUIDs and MAC addresses: the lengths of the groups of hexadecimal digits, and their separator.
const FORMATS: &[(&[usize], u8)] = &[(&[8, 4, 4, 4, 12], b'-'), (&[2, 2, 2, 2, 2, 2], b':')];

/// Words of this length or longer are identifiers: of LVM volumes, disks, IPv6 addresses.
const MIN_IDENTIFIER: usize = 32;

/// Redacts all observations.
pub(super) fn redact(observations: &mut [(String, Observation)], host: &str) {
    let mut redactor = Redactor { identifiers: Vec::new(), host };
    for (path, observation) in observations {
        *path = redactor.redact(path);
        match observation {
            Observation::Link(target) => *target = redactor.redact(target),
            Observation::Names(names) => names.iter_mut().for_each(|name| *name = redactor.redact(name)),
            Observation::File(content) if path.ends_with("/config") => clear_serial_number(content),
            Observation::File(content) => {
                if let Ok(text) = std::str::from_utf8(content) {
                    *content = redactor.redact(text).into_bytes();
                }
            }
            Observation::Broken(_) => {}
        }
    }
}

struct Redactor<'a> {
    /// The identifiers that were replaced so far.
    identifiers: Vec<String>,
    host: &'a str,
}

impl Redactor<'_> {
    /// Replaces all identifiers in a text.
    fn redact(&mut self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let is_word_start = !out.ends_with(|before: char| before.is_ascii_alphanumeric());
            let identifier =
                is_word_start.then(|| identifier_length(rest, out.ends_with("UUID="), self.host)).flatten();
            let Some((part, after)) = rest.split_at_checked(identifier.unwrap_or(first.len_utf8())) else { break };
            if identifier.is_some() {
                out.push_str(&self.replacement(part));
            } else {
                out.push_str(part);
            }
            rest = after;
        }
        out
    }

    /// The replacement of an identifier: its number, in the same format.
    fn replacement(&mut self, identifier: &str) -> String {
        if identifier == self.host {
            return "host".to_owned();
        }
        let index = match self.identifiers.iter().position(|known| known == identifier) {
            Some(index) => index,
            None => {
                self.identifiers.push(identifier.to_owned());
                self.identifiers.len().saturating_sub(1)
            }
        };
        let mut digits: Vec<u8> = index.saturating_add(1).to_string().into_bytes();
        let replacement = identifier
            .bytes()
            .rev()
            .map(|byte| if byte.is_ascii_alphanumeric() { digits.pop().unwrap_or(b'0') } else { byte });
        let mut replacement: Vec<u8> = replacement.collect();
        replacement.reverse();
        String::from_utf8(replacement).unwrap_or_default()
    }
}

/// The length of the identifier at the start of the text. `is_uuid`: the text follows `UUID=`.
fn identifier_length(text: &str, is_uuid: bool, host: &str) -> Option<usize> {
    let word = text.bytes().take_while(u8::is_ascii_alphanumeric).count();
    let ends = |length: usize| text.as_bytes().get(length).is_none_or(|byte| !byte.is_ascii_alphanumeric());
    if word == 0 {
        return None;
    }
    if is_uuid {
        return Some(text.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'-').count());
    }
    if host.len() > 2 && text.starts_with(host) && ends(host.len()) {
        return Some(host.len());
    }
    for (groups, separator) in FORMATS {
        let mut bytes = text.bytes();
        let matches = groups.iter().enumerate().all(|(index, count)| {
            (index == 0 || bytes.next() == Some(*separator))
                && (0..*count).all(|_| bytes.next().is_some_and(|byte| byte.is_ascii_hexdigit()))
        });
        let length = groups.iter().sum::<usize>().saturating_add(groups.len()).saturating_sub(1);
        if matches && ends(length) {
            return Some(length);
        }
    }
    let number = text.get(..word)?;
    let digits = number.bytes().filter(u8::is_ascii_digit).count();
    // Only zeros: a mask, an unspecified address or a register. `v0000`: part of a modalias. Few digits: a long name.
    let is_harmless = number.bytes().all(|byte| byte == b'0') || number.starts_with("v0000") || digits < 4;
    (word >= MIN_IDENTIFIER && !is_harmless).then_some(word)
}

/// Clears the number in a Device Serial Number capability (PCI Express Base Specification, 7.9.3: extended capability 0003).
fn clear_serial_number(config: &mut [u8]) {
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
