// SPDX-License-Identifier: MIT OR Apache-2.0
//! The report of earlier claims: its texts name mounts, volumes, interfaces and processes.

use std::fmt::Write;

use crate::json::{self, FromJson};
use crate::report::{Ended, Report};

use super::files::Redactor;
use super::names::is_block_device;
use super::paths;

/// The report with its names replaced; empty if it cannot be understood, as it is then ignored.
pub(super) fn redact(text: &str, redactor: &mut Redactor<'_>) -> Vec<u8> {
    let Some(mut report) = json::read(text).and_then(|value| Report::from_json(&value)) else { return Vec::new() };
    report.kernel = paths::release(&report.kernel, redactor.names);
    for step in &mut report.steps {
        if let Ended::Failed(why) = &mut step.result {
            *why = sentence(why, redactor);
        }
        step.value = sentence(&step.value, redactor);
    }
    for claim in &mut report.claims {
        claim.source.place = place(&claim.source.place, redactor);
        claim.reason = claim.reason.take().map(|reason| sentence(&reason, redactor));
        if let Some(rom) = &mut claim.rom {
            rom.problem = rom.problem.take().map(|problem| sentence(&problem, redactor));
        }
    }
    for problem in &mut report.problems {
        problem.message = sentence(&problem.message, redactor);
        if let Some(source) = &mut problem.source {
            source.place = place(&source.place, redactor);
        }
    }
    let mut text = json::to_string(&report);
    text.push('\n');
    text.into_bytes()
}

/// Where something is configured: a file, or words of the program.
fn place(place: &str, redactor: &mut Redactor<'_>) -> String {
    if place.starts_with('/') { redactor.path(place) } else { place.to_owned() }
}

/// A text of the program with its names replaced: those that it puts between words of its own, paths, and those that were
/// replaced elsewhere.
fn sentence(text: &str, redactor: &mut Redactor<'_>) -> String {
    let text = between(text, "mounted at ", " (through", &mut |path| redactor.path(path));
    let text = between(&text, "(through ", ")", &mut |layers| {
        let layers: Vec<String> = layers.split(", ").map(|layer| name(layer, redactor)).collect();
        layers.join(", ")
    });
    let text = between(&text, "ZFS pool ", " (through", &mut |pool| redactor.names.plain(pool));
    let text = between(&text, "in use: ", " (process ", &mut |process| redactor.names.plain(process));
    let text = holders(&text, redactor);
    let words: Vec<String> = text.split(' ').map(|word| self::word(word, redactor)).collect();
    words.join(" ")
}

/// `process 811 (Xorg)`.
fn holders(text: &str, redactor: &mut Redactor<'_>) -> String {
    let mut parts = text.split("process ");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let named = part.split_once(" (").filter(|(number, _)| number.bytes().all(|byte| byte.is_ascii_digit()));
        let named = named.and_then(|(number, rest)| Some((number, rest.split_once(')')?)));
        out.push_str("process ");
        match named {
            Some((number, (name, rest))) => {
                let _ = write!(out, "{number} ({}){rest}", redactor.names.plain(name));
            }
            None => out.push_str(part),
        }
    }
    out
}

/// A volume, a block device or an interface.
fn name(name: &str, redactor: &mut Redactor<'_>) -> String {
    if is_block_device(name) { name.to_owned() } else { paths::interface(name, redactor.names) }
}

/// A word: a path, or a name that was replaced elsewhere.
fn word(word: &str, redactor: &mut Redactor<'_>) -> String {
    let core = word.trim_matches(|letter: char| "(),;:.'\"`".contains(letter));
    let new = if core.starts_with('/') { redactor.path(core) } else { redactor.names.again(core) };
    if core.is_empty() { word.to_owned() } else { word.replacen(core, &new, 1) }
}

/// Replaces what stands between two texts, wherever it does.
fn between(text: &str, before: &str, after: &str, change: &mut dyn FnMut(&str) -> String) -> String {
    let mut parts = text.split(before);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        out.push_str(before);
        match part.split_once(after) {
            Some((inner, rest)) => {
                out.push_str(&change(inner));
                out.push_str(after);
                out.push_str(rest);
            }
            None => out.push_str(part),
        }
    }
    out
}
