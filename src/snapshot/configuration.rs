// SPDX-License-Identifier: MIT OR Apache-2.0
//! Configuration files: directives stay, comments go, and words that are wrong stay wrong.

use crate::config::{DIRECTIVES, Keyword, MAX_LINE, OPTIONS, Reader, SETTINGS, Selector};
use crate::pci::{Address, is_vfio_driver};

use super::files::Redactor;
use super::names::is_harmless;

/// The program's own configuration. Lines keep their number.
pub(super) fn redact(content: &[u8], redactor: &mut Redactor<'_>) -> Vec<u8> {
    let content = content.strip_prefix(b"\xef\xbb\xbf").unwrap_or(content);
    let mut out = Vec::new();
    for line in content.split_inclusive(|byte| *byte == b'\n') {
        let (line, end) = line.strip_suffix(b"\n").map_or((line, b"".as_slice()), |line| (line, b"\n"));
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        out.extend(match std::str::from_utf8(line) {
            // Wrong in the same way.
            _ if line.len() > MAX_LINE => vec![b'#'; line.len()],
            _ if line.contains(&0) => vec![0],
            Err(_) => vec![0xff],
            Ok(line) => directive(line, redactor).into_bytes(),
        });
        out.extend_from_slice(end);
    }
    out
}

/// A line without its comment.
fn directive(line: &str, redactor: &mut Redactor<'_>) -> String {
    let words = line.split([' ', '\t']).filter(|word| !word.is_empty());
    let words: Vec<&str> = words.take_while(|word| !word.starts_with('#')).collect();
    let has = |keywords: &[Keyword], name: &str| keywords.iter().any(|keyword| keyword.name == name);
    match words.as_slice() {
        [] if line.contains('#') => "#".to_owned(),
        ["claim", claim @ ..] => {
            format!("claim {}", claim_words(claim.iter().copied(), redactor).join(" ")).trim_end().to_owned()
        }
        ["set", name, value] if has(SETTINGS, name) => {
            let mut reader = Reader::default();
            reader.file("", format!("set {name} {value}").as_bytes());
            let value = if reader.finish().is_ok() { (*value).to_owned() } else { redactor.names.replace(value) };
            format!("set {name} {value}")
        }
        words => {
            let keep = |word: &&str| has(DIRECTIVES, word) || has(SETTINGS, word);
            let kept =
                words.iter().map(|word| if keep(word) { (*word).to_owned() } else { redactor.names.plain(word) });
            kept.collect::<Vec<_>>().join(" ")
        }
    }
}

/// The selectors and options of `vfio_early.claim=`.
pub(super) fn parameter(value: &str, redactor: &mut Redactor<'_>) -> String {
    claim_words(value.split(','), redactor).join(",")
}

/// The words of a claim.
fn claim_words<'a>(words: impl Iterator<Item = &'a str>, redactor: &mut Redactor<'_>) -> Vec<String> {
    let valid = |selector: &str, option: &str| {
        let mut reader = Reader::default();
        reader.file("", format!("claim {selector} {option}").as_bytes());
        reader.finish().is_ok()
    };
    let kept = words.map(|word| match word.split_once('=') {
        None if word.parse::<Selector>().is_ok() => word.to_owned(),
        None => redactor.names.replace(word),
        // Some options suit only addresses, others only patterns.
        Some(_) if valid("00:00.0", word) || valid("pci:v*", word) => word.to_owned(),
        Some((name, value)) if OPTIONS.iter().any(|keyword| keyword.name == name) => {
            let replaced = format!("{name}={}", redactor.names.plain(value));
            // A name may be the right word for a driver where the value was none: what is wrong stays wrong.
            if valid("00:00.0", &replaced) { replaced + ":" } else { replaced }
        }
        Some((name, value)) => format!("{}={}", redactor.names.replace(name), redactor.names.plain(value)),
    });
    kept.collect()
}

/// A line of another program's configuration, such as modprobe.d.
pub(super) fn other_line(line: &str, redactor: &mut Redactor<'_>) -> String {
    if line.trim_start().starts_with(['#', ';']) {
        return "#".to_owned();
    }
    let line = line.split(" #").next().unwrap_or_default();
    let is_separator = |letter: char| letter.is_ascii_whitespace() || "()\"'=+,;{}[]<>|&$*\\".contains(letter);
    let mut out = String::new();
    for piece in line.split_inclusive(is_separator) {
        let word = piece.trim_end_matches(is_separator);
        // `\n` and `\t`, which a shell's echo has left.
        let escape =
            word.get(..1).filter(|letter| out.ends_with('\\') && matches!(*letter, "n" | "t")).unwrap_or_default();
        out.push_str(escape);
        out.push_str(&other_word(word.strip_prefix(escape).unwrap_or(word), redactor));
        out.push_str(piece.get(word.len()..).unwrap_or_default());
    }
    out
}

/// A word of such a line.
fn other_word(word: &str, redactor: &mut Redactor<'_>) -> String {
    let same = |module: &String| module.replace('-', "_") == word.replace('-', "_");
    let is_id = |parts: Vec<&str>| {
        (2..7).contains(&parts.len())
            && parts
                .iter()
                .all(|part| [4, 6, 8].contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_hexdigit()))
    };
    if word.is_empty()
        || word.parse::<Address>().is_ok()
        || is_id(word.split(':').collect())
        || redactor.modules.iter().any(same)
    {
        return word.to_owned();
    }
    if is_vfio_driver(word) || word.starts_with("vfio") && is_harmless(&word.replace("vfio", ""), 2) {
        return word.to_owned();
    }
    if word.starts_with('/') { redactor.path(word) } else { redactor.names.plain(word) }
}
