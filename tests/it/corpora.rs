// SPDX-License-Identifier: MIT OR Apache-2.0
//! The corpora of the fuzz targets, replayed: what a fuzzer once found is tried with every change.

use std::fs;

#[path = "../../fuzz/entries/mod.rs"]
mod entries;

type Entry = fn(&[u8]);

const ENTRIES: &[(&str, Entry)] = &[
    ("command_line", entries::command_line::run),
    ("config", entries::config::run),
    ("groups", entries::groups::run),
    ("modprobe", entries::modprobe::run),
    ("names", entries::names::run),
    ("recording", entries::recording::run),
    ("report", entries::report::run),
    ("rom_extract", entries::rom_extract::run),
    ("rom_parse", entries::rom_parse::run),
    ("rom_repair", entries::rom_repair::run),
];

#[test]
fn no_input_of_a_corpus_is_a_finding() {
    let corpora = crate::support::files::here("fuzz/corpora");
    for (name, entry) in ENTRIES {
        let mut count = 0;
        for input in fs::read_dir(corpora.join(name)).unwrap() {
            entry(&fs::read(input.unwrap().path()).unwrap());
            count += 1;
        }
        assert!(count > 3, "{name} has a corpus of {count} inputs");
    }
    // Each target has its entry here.
    assert_eq!(fs::read_dir(&corpora).unwrap().count(), ENTRIES.len());
}
