// SPDX-License-Identifier: MIT OR Apache-2.0
//! What completes a value: a word that the three shells' own functions know.

use vfio_early::config::{Guard, OPTIONS, RESET_METHODS};

use crate::support::usage::Usage;

/// What the value of an option, or a word, of this name in a help text is.
///
/// - `device`, `id`, `release`, `file`, `root`: a device of the machine, an ID of one, a kernel, a file, a directory or a file
/// - `rom`: a file or a device
/// - `claim:NAME,NAME`: a device or one of these options of a claim
/// - `ONE|TWO`: one of these words; `ONE+TWO`: some of them, joined
/// - `any`: nobody can tell
pub(crate) fn kind(usage: &Usage, name: &str) -> String {
    let kind = match (usage.path.as_str(), name) {
        ("bind", "address") => {
            // An address names one device, so there is nothing to match.
            let names: Vec<&str> = OPTIONS.iter().map(|word| word.name).filter(|name| *name != "match").collect();
            return format!("claim:{}", names.join(","));
        }
        ("release", "address") => "claim:with",
        (_, "address") => "device",
        (_, "vvvv:dddd") => "id",
        (_, "file") => "file",
        (_, "rom") => "rom",
        (_, "dir") => "root",
        (_, "release") => "release",
        ("guest", "format") => "libvirt|qemu|proxmox",
        ("guest", "system") => "windows|linux",
        (_, "format") => "text|prometheus|nfd",
        ("guest", "size" | "name") | (_, "n") => "any",
        (_, "machine") => "x64|aarch64|ia32|arm|riscv64|loongarch64",
        (path, name) => panic!("tests/it/completions/kind.rs: what completes <{name}> of `vfio-early {path}`?"),
    };
    kind.to_owned()
}

/// What the value of an option of a claim is, as the configuration's table writes it.
pub(crate) fn of_option(values: &str) -> String {
    if values.starts_with("VVVV:DDDD") {
        return "id".to_owned();
    }
    if values.starts_with("GUARD") {
        let guards: Vec<&str> =
            Guard::ALL.iter().filter(|guard| guard.is_liftable()).map(|guard| guard.name()).collect();
        return guards.join("+");
    }
    if values.starts_with("METHOD") {
        return RESET_METHODS.join("+");
    }
    let small = |word: &&str| word.starts_with(|letter: char| letter.is_ascii_lowercase());
    let words: Vec<&str> = values.split('|').filter(small).collect();
    if words.is_empty() { "any".to_owned() } else { words.join("|") }
}
