// SPDX-License-Identifier: MIT OR Apache-2.0
//! The manuals tell what there is, all of it and nothing else: commands and options against `--help`, the configuration
//! against the tables that it is read by, fields against the JSON documents, files against what is installed.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

mod configuration;
mod documents;

use crate::support::files::{files, here};
use crate::support::mdoc::{Part, page, part, section, words};
use crate::support::usage::{self, Usage};

const PROGRAM: &str = "vfio-early.8";
const CONFIGURATION: &str = "vfio-early.conf.5";

/// What a command takes: options by the first of their names, each with its value's name, and the names of operands.
#[derive(Debug, Default, PartialEq)]
struct Takes {
    options: BTreeSet<(String, Option<String>)>,
    operands: BTreeSet<String>,
}

impl Takes {
    fn add(&mut self, flag: &mut Option<String>, value: Option<&str>) {
        match (flag.take(), value) {
            (None, None) => {}
            (None, Some(name)) => drop(self.operands.insert(name.to_owned())),
            (Some(flag), value) => drop(self.options.insert((flag, value.map(ToOwned::to_owned)))),
        }
    }

    fn of_help(usage: &Usage) -> Self {
        let options = usage.options.iter().map(|option| (option.names[0].clone(), option.value.clone()));
        Self { options: options.collect(), operands: usage.words.iter().map(|word| word.name.clone()).collect() }
    }

    /// From lines of mdoc.
    fn of_manual(lines: &str) -> Self {
        let mut usage = Self::default();
        let (mut flag, mut now) = (None, "");
        for word in lines.split_whitespace() {
            match (now, word) {
                (_, "Fl" | "Ar" | "Cm") => now = word,
                (_, "Oo" | "Oc" | "Op" | "Po" | "Pc" | "Pq" | "|" | ",") => usage.add(&mut flag, None),
                (_, "...") => {}
                ("Fl", name) => {
                    usage.add(&mut flag, None);
                    flag = Some(format!("-{}", name.replace("\\-", "-")));
                }
                ("Ar", name) => usage.add(&mut flag, Some(name)),
                _ => {}
            }
        }
        usage.add(&mut flag, None);
        usage
    }
}

/// The options that a part has items for: all names of each.
fn documented(part: &Part) -> BTreeSet<Vec<String>> {
    let names = part.items.iter().map(|item| words(&item.head, "Fl"));
    names.filter(|names| !names.is_empty()).map(|names| names.iter().map(|name| format!("-{name}")).collect()).collect()
}

/// The options that a help text tells of, but for `--help`.
fn told(usage: &Usage) -> BTreeSet<Vec<String>> {
    usage.options.iter().map(|option| option.names.clone()).collect()
}

#[test]
fn commands_have_the_options_of_their_help() {
    let page = page(PROGRAM);
    let all = usage::all();
    let commands: Vec<&Usage> = all.iter().filter(|usage| usage.commands.is_empty()).collect();
    assert!(commands.len() >= 13, "{commands:?}");
    let parts: Vec<&Part> = section(&page, "COMMANDS").into_iter().filter(|part| !part.title.is_empty()).collect();
    let titles = parts.iter().map(|part| {
        let command = part.title.split_whitespace().take_while(|word| word.chars().all(|c| c.is_ascii_lowercase()));
        command.collect::<Vec<_>>().join(" ")
    });
    let titles: Vec<String> = titles.collect();
    let names: Vec<&str> = commands.iter().map(|usage| usage.path.as_str()).collect();
    assert_eq!(titles, names, "vfio-early(8) has other commands than --help, or another order");
    for (usage, part) in commands.into_iter().zip(parts) {
        let (command, takes) = (&usage.path, Takes::of_help(usage));
        assert_eq!(Takes::of_manual(&part.title), takes, "{command}: heading in vfio-early(8), --help");
        assert_eq!(documented(part), told(usage), "{command}: options in vfio-early(8), --help");
        for item in &part.items {
            let own = Takes::of_manual(&item.head);
            let Some((_, value)) = own.options.iter().max_by_key(|(_, value)| value.is_some()) else { continue };
            let known = |(flag, of): &(String, Option<String>)| {
                of == value && words(&item.head, "Fl").contains(&flag[1..].to_owned())
            };
            assert!(takes.options.iter().any(known), "{command}: {}: another value than in --help", item.head);
        }
    }
}

#[test]
fn global_options_are_those_of_the_help() {
    let page = page(PROGRAM);
    let all = usage::all();
    let mut expected = told(all.iter().find(|usage| usage.path.is_empty()).unwrap());
    // What argh does not know.
    for own in [vec!["--version"], vec!["-h", "--help"]] {
        expected.insert(own.iter().copied().map(ToOwned::to_owned).collect());
        for option in own {
            let status = Command::new(env!("CARGO_BIN_EXE_vfio-early")).arg(option).output().unwrap().status;
            assert_eq!(status.code(), Some(0), "{option}");
        }
    }
    assert_eq!(documented(section(&page, "DESCRIPTION")[0]), expected);
    let synopsis = section(&page, "SYNOPSIS")[0].lines.join("\n");
    for name in expected.iter().flatten().filter(|name| *name != "-h") {
        assert!(synopsis.contains(&name[1..].replace('-', "\\-")), "{name} is missing in the synopsis");
    }
}

#[test]
fn exit_statuses_are_those_of_the_help() {
    let page = page(PROGRAM);
    let items = &section(&page, "EXIT STATUS")[0].items;
    let rows = usage::rows(&usage::help(""), "Error codes:");
    let codes: Vec<_> = rows.iter().map(|(row, _)| row.split_once(' ').unwrap()).collect();
    assert_eq!(
        items.iter().map(|item| item.head.as_str()).collect::<Vec<_>>(),
        codes.iter().map(|(code, _)| *code).collect::<Vec<_>>()
    );
    for (item, (code, meaning)) in items.iter().zip(&codes) {
        let meaning = meaning.split(';').next().unwrap();
        let said = item.body.join(" ").to_lowercase();
        assert!(said.starts_with(&meaning.to_lowercase()), "{code}: {meaning}: {said}");
    }
    assert_eq!(codes.last().unwrap().0, vfio_early::exit::Exit::System.code().to_string());
}

/// The program's source, file by file.
fn sources() -> Vec<(PathBuf, String)> {
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        (path, text.split("#[cfg(test)]").next().unwrap().to_owned())
    };
    files("src", "rs").into_iter().map(read).collect()
}

/// The texts between quotes that begin like this, in the program's source.
fn literals(start: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (_, text) in sources() {
        for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
            for (at, _) in line.match_indices(&format!("\"{start}")) {
                found.insert(line[at + 1..].split('"').next().unwrap().to_owned());
            }
        }
    }
    found
}

#[test]
fn environment_variables_are_those_that_are_read() {
    let page = page(PROGRAM);
    let told: BTreeSet<String> =
        section(&page, "ENVIRONMENT")[0].items.iter().flat_map(|item| words(&item.head, "Ev")).collect();
    let mut read = BTreeSet::new();
    for (path, text) in sources() {
        for (at, _) in text.match_indices("env::var") {
            let after = text[at..].trim_start_matches(|c: char| c != '(');
            match after.strip_prefix("(\"") {
                Some(name) => drop(read.insert(name.split('"').next().unwrap().to_owned())),
                // All of them are looked through, by name.
                None => {
                    assert!(after.starts_with("()"), "{}: {}", path.display(), &after[..40]);
                    let names = text.split("name == \"").chain(text.split("name != \"")).skip(1);
                    let names = names.map(|rest| rest.split('"').next().unwrap());
                    let is_name = |name: &&str| name.chars().all(|c| c.is_ascii_uppercase() || c == '_');
                    read.extend(names.filter(is_name).map(ToOwned::to_owned));
                }
            }
        }
    }
    assert_eq!(told, read, "vfio-early(8), and what the program asks for");
}

#[test]
fn files_are_those_that_are_used_and_installed() {
    let page = page(PROGRAM);
    let told: BTreeSet<String> =
        section(&page, "FILES")[0].items.iter().flat_map(|item| words(&item.head, "Pa")).collect();
    let mut known = BTreeSet::new();
    for start in [
        "/run/vfio-early",
        "/run/motd.d/",
        "/sys/firmware/efi/efivars/Vfio",
        "/etc/vfio-early",
        "/usr/lib/vfio-early",
        "/usr/share/",
    ] {
        known.extend(literals(start));
    }
    let known: BTreeSet<String> = known.iter().map(|path| path.trim_end_matches('/').to_owned()).collect();
    // A directory is named with what is in it.
    let is_below = |path: &str, folder: &str| path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'));
    for path in &known {
        let found = told.iter().any(|told| told == path || is_below(told, path));
        assert!(found, "{path} is missing in vfio-early(8), FILES");
    }
    let makefile = fs::read_to_string(here("Makefile")).unwrap();
    let lines = makefile.lines().skip_while(|line| !line.starts_with("INSTALLED")).skip(1);
    let places: Vec<String> = lines
        .take_while(|line| line.starts_with('\t'))
        .map(|line| format!("/usr/{}", line.trim_end_matches(['\\', ' ']).rsplit(':').next().unwrap()))
        .collect();
    assert!(places.len() >= 13, "{places:?}");
    for place in places.iter().filter(|place| place.contains("/systemd/") || place.contains("/udev/")) {
        assert!(told.contains(place), "{place} is missing in vfio-early(8), FILES");
    }
    for path in &told {
        let real = places.contains(path) || known.iter().any(|known| known == path || is_below(path, known));
        assert!(real, "{path} in vfio-early(8), FILES: nobody makes or reads it");
    }
}

#[test]
fn metrics_and_features_are_those_that_are_printed() {
    let page = page(PROGRAM);
    let names = |title: &str| -> BTreeSet<String> {
        part(&page, title).items.iter().flat_map(|item| words(&item.head, "Cm")).collect()
    };
    let (mut metrics, mut features) = (BTreeSet::new(), BTreeSet::new());
    for (_, text) in sources() {
        let found = text.split("page.metric(").skip(1).map(|rest| rest.split('"').nth(1).unwrap());
        metrics.extend(found.map(|name| format!("vfio_early_{name}")));
        let found = text.split("feature(&mut file, ").skip(1).map(|rest| match rest.split('"').nth(1).unwrap() {
            name if rest.starts_with('"') => name,
            _ if rest.starts_with("state") => "STATE",
            _ => "claimed.VVVV-DDDD",
        });
        features.extend(found.map(|name| format!("vfio-early.{name}")));
    }
    assert!(metrics.len() > 5 && features.len() > 4, "{metrics:?} {features:?}");
    assert_eq!(names("Metrics"), metrics);
    assert_eq!(names("Features"), features);
}

#[test]
fn references_lead_somewhere() {
    for name in [PROGRAM, CONFIGURATION] {
        let page = page(name);
        let headings: BTreeSet<&str> =
            page.iter().flat_map(|part| [part.section.as_str(), part.title.as_str()]).collect();
        let bodies =
            page.iter().flat_map(|part| part.lines.iter().chain(part.items.iter().flat_map(|item| &item.body)));
        for line in bodies.filter_map(|line| line.strip_prefix(".Sx ")) {
            let heading = line.trim_end_matches([' ', '.', ',', ';', ':']);
            assert!(headings.contains(heading), "{name}: there is no heading {heading}");
        }
    }
}

#[test]
fn examples_can_be_typed() {
    let (mut seen, all) = (0, usage::all());
    for part in [page(PROGRAM), page(CONFIGURATION)].iter().flatten().filter(|part| part.section == "EXAMPLES") {
        for line in &part.lines {
            let line = line.strip_prefix(".Dl ").unwrap_or(line);
            let mut words = line.split(['#', '>']).next().unwrap().split_whitespace();
            if words.next() != Some("vfio-early") {
                continue;
            }
            let words: Vec<&str> = words.collect();
            let words = if words[0] == "--root" { &words[2..] } else { &words };
            let command = words[..if words[0] == "rom" { 2 } else { 1 }].join(" ");
            let usage = all.iter().find(|usage| usage.path == command);
            let known = told(usage.unwrap_or_else(|| panic!("{line}: there is no command {command}")));
            for option in words.iter().filter(|word| word.starts_with('-')) {
                let found = known.iter().flatten().any(|name| name == option);
                assert!(found, "{line}: {command} has no {option}");
            }
            seen += 1;
        }
    }
    assert!(seen >= 9, "only {seen} examples were found");
}
