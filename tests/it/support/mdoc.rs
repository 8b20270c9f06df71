// SPDX-License-Identifier: MIT OR Apache-2.0
//! As much of mdoc(7) as the manuals use.

use std::fs;
use std::path::Path;

/// A part of a page: what stands below a heading, up to the next one.
pub(crate) struct Part {
    /// The section, `.Sh`.
    pub(crate) section: String,
    /// The heading within it, `.Ss`, as it is written there; empty before the first one.
    pub(crate) title: String,
    pub(crate) items: Vec<Item>,
    /// The lines that belong to no item.
    pub(crate) lines: Vec<String>,
}

/// An item of a list.
pub(crate) struct Item {
    /// What stands behind `.It`.
    pub(crate) head: String,
    pub(crate) body: Vec<String>,
}

/// Reads a page of the folder man.
pub(crate) fn page(name: &str) -> Vec<Part> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("man").join(name)).unwrap();
    let mut parts: Vec<Part> = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        let heading = line.strip_prefix(".Sh ").or_else(|| line.strip_prefix(".Ss "));
        if let Some(heading) = heading {
            let section = match parts.last() {
                Some(part) if line.starts_with(".Ss ") => part.section.clone(),
                _ => heading.to_owned(),
            };
            let title = if line.starts_with(".Ss ") { heading } else { "" }.to_owned();
            parts.push(Part { section, title, items: Vec::new(), lines: Vec::new() });
            continue;
        }
        let Some(part) = parts.last_mut() else { continue };
        if let Some(head) = line.strip_prefix(".It ") {
            part.items.push(Item { head: head.to_owned(), body: Vec::new() });
            inside = true;
        } else if line == ".El" {
            inside = false;
        } else if inside {
            part.items.last_mut().unwrap().body.push(line.to_owned());
        } else {
            part.lines.push(line.to_owned());
        }
    }
    parts
}

/// The parts of a section.
pub(crate) fn section<'a>(page: &'a [Part], name: &str) -> Vec<&'a Part> {
    let parts: Vec<&Part> = page.iter().filter(|part| part.section == name).collect();
    assert!(!parts.is_empty(), "there is no section {name}");
    parts
}

/// The part with this title.
pub(crate) fn part<'a>(page: &'a [Part], title: &str) -> &'a Part {
    page.iter().find(|part| part.title == title).unwrap_or_else(|| panic!("there is no heading {title}"))
}

impl Item {
    /// The words that a macro is given in what the item says; `from`: only in the sentence that begins so.
    pub(crate) fn words(&self, wanted: &str, from: &str) -> Vec<String> {
        let lines = self.body.iter().skip_while(|line| !from.is_empty() && !line.ends_with(from));
        let mut found = Vec::new();
        for line in lines {
            let Some(line) = line.strip_prefix('.') else { continue };
            if !line.starts_with("Pq ") {
                found.extend(words(line, wanted));
            }
            if !from.is_empty() && (line.ends_with(" .") || line.ends_with(" ;")) {
                break;
            }
        }
        found
    }
}

/// Whether a word is a macro: a capital letter and a small one.
fn is_macro(word: &str) -> bool {
    let mut letters = word.chars();
    let both = letters.next().is_some_and(|first| first.is_ascii_uppercase())
        && letters.next().is_some_and(|second| second.is_ascii_lowercase());
    both && letters.next().is_none()
}

/// The words that a macro is given, in a line without its leading point: `Cm one , two` has two of `Cm`.
pub(crate) fn words(line: &str, wanted: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut now = "";
    for word in line.split_whitespace() {
        if is_macro(word) {
            now = word;
        } else if now == wanted && !matches!(word, "," | "." | ";" | ":" | "|") {
            found.push(word.replace("\\-", "-"));
        }
    }
    found
}

/// A line as it is shown, without its leading point: `Cm claim Ar SELECTOR Op Ar OPTION...` is `claim SELECTOR [OPTION...]`.
pub(crate) fn plain(line: &str) -> String {
    let (mut text, mut joined, mut open) = (String::new(), true, 0);
    for word in line.split_whitespace() {
        match word {
            "Ns" => joined = true,
            "Op" => {
                text.push_str(if joined { "[" } else { " [" });
                open += 1;
                joined = true;
            }
            "Oo" => {
                text.push_str(if joined { "[" } else { " [" });
                joined = true;
            }
            "Oc" => text.push(']'),
            _ if is_macro(word) => {}
            _ => {
                text.push_str(if joined { "" } else { " " });
                text.push_str(&word.replace("\\-", "-"));
                joined = false;
            }
        }
    }
    text + &"]".repeat(open)
}
