// SPDX-License-Identifier: MIT OR Apache-2.0
//! vfio-early.conf(5) against the tables that a configuration is read by.

use vfio_early::config::{Config, DIRECTIVES, Guard, Keyword, OPTIONS, RESET_METHODS, Reader, SETTINGS, Selector};

use super::CONFIGURATION;
use crate::support::mdoc::{Item, page, part, plain, section, words};

/// A configuration file of these lines.
fn read(lines: &str) -> Config {
    let mut reader = Reader::default();
    reader.file("/etc/vfio-early.conf", lines.as_bytes());
    reader.finish().unwrap_or_else(|errors| panic!("{lines}: {errors:?}"))
}

/// An item that says `The default is X.`
fn default(item: &Item) -> Option<String> {
    let at = item.body.iter().position(|line| line == "The default is")?;
    let word = item.words("Cm", "The default is").first().cloned();
    // A default that depends on something is followed by words.
    word.filter(|_| item.body[at + 1].ends_with(" ."))
}

/// Holds a list of the page against a table.
fn compare(title: &str, table: &[Keyword], join: &str) {
    let page = page(CONFIGURATION);
    let items = &part(&page, title).items;
    let told: Vec<String> = items.iter().map(|item| plain(&item.head).replace(" | ", "|")).collect();
    let known: Vec<String> = table.iter().map(|word| format!("{}{join}{}", word.name, word.values)).collect();
    assert_eq!(told, known, "{title}: vfio-early.conf(5), and the table");
    for (item, word) in items.iter().zip(table) {
        let said = item.words("Cm", "");
        let values = word.values.split('|').filter(|value| value.chars().all(|c| !c.is_ascii_uppercase()));
        for value in values {
            assert!(said.iter().any(|said| said == value), "{title}: {}: nothing is said of {value}", word.name);
        }
    }
}

#[test]
fn directives_are_those_of_the_table() {
    compare("Directives", DIRECTIVES, " ");
}

#[test]
fn options_are_those_of_the_table() {
    compare("Options of a claim", OPTIONS, "=");
    let page = page(CONFIGURATION);
    let mut seen = 0;
    for (item, word) in part(&page, "Options of a claim").items.iter().zip(OPTIONS) {
        if let Some(value) = default(item) {
            let with = format!("claim 10de:1e04 {}={value}", word.name);
            assert_eq!(read(&with).claims, read("claim 10de:1e04").claims, "{}: the default", word.name);
            seen += 1;
        }
    }
    assert!(seen >= 3, "only {seen} defaults of options were found");
}

#[test]
fn reset_methods_are_those_of_the_table() {
    let page = page(CONFIGURATION);
    let item = part(&page, "Options of a claim").items.iter().find(|item| item.head.contains("reset=")).unwrap();
    assert_eq!(item.words("Cm", ""), RESET_METHODS);
}

#[test]
fn settings_are_those_of_the_table() {
    compare("Settings", SETTINGS, " ");
    let page = page(CONFIGURATION);
    let printed = Config::default().to_string();
    for (item, word) in part(&page, "Settings").items.iter().zip(SETTINGS) {
        let value = default(item).unwrap_or_else(|| panic!("{}: no default is told", word.name));
        let line = format!("set {} {value}", word.name);
        assert!(printed.lines().any(|known| known == line), "{line} is not the default");
    }
}

#[test]
fn guards_are_those_of_the_table() {
    let page = page(CONFIGURATION);
    let items = &part(&page, "Guards").items;
    let told: Vec<String> = items.iter().flat_map(|item| words(&item.head, "Cm")).collect();
    assert_eq!(told, Guard::ALL.iter().map(|guard| guard.name()).collect::<Vec<_>>());
    for (item, guard) in items.iter().zip(Guard::ALL) {
        let said = item.body.iter().any(|line| line.starts_with("Cannot be lifted"));
        assert_eq!(said, !guard.is_liftable(), "{}", guard.name());
    }
}

#[test]
fn selectors_can_be_read() {
    let page = page(CONFIGURATION);
    let mut seen = [false; 6];
    for item in &part(&page, "Selectors").items {
        for word in words(&item.head, "Li").iter().chain(&item.words("Li", "")) {
            let selector: Selector = word.parse().unwrap_or_else(|error| panic!("{word}: {error}"));
            seen[match selector {
                Selector::Address(_) => 0,
                Selector::Slot(_) => 1,
                Selector::Path(_) => 2,
                Selector::Id(_) => 3,
                Selector::Modalias(_) => 4,
                Selector::VirtualFunctions(_) => 5,
            }] = true;
        }
    }
    assert_eq!(seen, [true; 6], "a kind of selector is missing");
}

#[test]
fn lines_may_be_as_long_as_is_said() {
    let page = page(CONFIGURATION);
    let said = section(&page, "DESCRIPTION")[0].lines.join(" ");
    let most: usize = said.split("A line has at most ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    for (length, fits) in [(most, true), (most + 1, false)] {
        let mut reader = Reader::default();
        reader.file("/etc/vfio-early.conf", "#".repeat(length).as_bytes());
        assert_eq!(reader.finish().is_ok(), fits, "a line of {length} bytes");
    }
}

#[test]
fn kernel_parameters_can_be_read() {
    let page = page(CONFIGURATION);
    let heads: Vec<String> = part(&page, "Kernel command line").items.iter().map(|item| plain(&item.head)).collect();
    assert_eq!(
        heads,
        ["vfio_early=off", "vfio_early.claim=SELECTOR[,OPTION...][,SELECTOR...]", "vfio_early.NAME=VALUE"]
    );
    for word in SETTINGS {
        let value = Config::default().to_string();
        let value = value.lines().find_map(|line| line.strip_prefix(&format!("set {} ", word.name))).unwrap();
        for name in [word.name.to_owned(), word.name.replace('-', "_")] {
            let mut reader = Reader::default();
            reader.command_line(format!("vfio_early=on vfio_early.{name}={value}").as_bytes());
            assert!(reader.finish().is_ok(), "{name}");
        }
    }
}

#[test]
fn examples_can_be_read() {
    let page = page(CONFIGURATION);
    let mut seen = 0;
    for line in &section(&page, "EXAMPLES")[0].lines {
        let line = line.strip_prefix(".Dl ").unwrap_or(line);
        if line.starts_with("claim ") || line.starts_with("set ") {
            read(line);
        } else if line.starts_with("vfio_early.") {
            let mut reader = Reader::default();
            reader.command_line(line.as_bytes());
            assert_eq!(reader.finish().unwrap().claims.len(), 1, "{line}");
        } else {
            continue;
        }
        seen += 1;
    }
    assert!(seen >= 8, "only {seen} examples were found");
}
