// SPDX-License-Identifier: MIT OR Apache-2.0
//! The section JSON of vfio-early(8) against the structures that are printed, and against documents: those of the golden
//! cases, which are what the program prints, and those of built ROMs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use vfio_early::config::Guard;
use vfio_early::rom::{self, judge, parse};

use super::{PROGRAM, literals, sources};
use crate::rom::build;
use crate::support::case;
use crate::support::files::files;
use crate::support::json::{self, Value};
use crate::support::mdoc::{Part, page, part, section, words};

/// The manual's names of the structures.
const STRUCTURES: &[(&str, &str)] = &[
    ("Report", "Report"),
    ("IOMMU", "Iommu"),
    ("Step", "ReportedStep"),
    ("Claim", "ClaimedDevice"),
    ("Saved ROM", "SavedRom"),
    ("Problem", "Problem"),
    ("Status", "Status"),
    ("Last claim", "LastClaim"),
    ("Trial", "Trial"),
    ("Device", "DeviceStatus"),
    ("BAR", "Bar"),
    ("Process", "Process"),
    ("Group", "Group"),
    ("Blocker", "Blocker"),
    ("Reason", "Reason"),
    ("ACS", "FunctionAcs"),
    ("Check", "Check"),
    ("Failure", "FailureReport"),
    ("ROM", "RomJson"),
    ("Prefix", "Prefix"),
    ("Answer", "Compatibility"),
    ("ROM problem", "RomProblem"),
    ("Image", "ImageJson"),
    ("EFI", "EfiJson"),
    ("Signer", "Signer"),
    ("NPDE", "Npde"),
    ("ATOM", "Atom"),
    ("VBT", "Vbt"),
    ("Version", "Version"),
];

/// The parts that list the words of a field.
const CODES: &[&str] = &["Codes", "ROM codes"];

/// What the manual says of a field.
struct Field {
    name: String,
    /// The part that describes what it holds.
    holds: Option<String>,
    /// The words that it may be.
    words: Vec<String>,
}

fn fields(part: &Part) -> Vec<Field> {
    let mut fields = Vec::new();
    for item in &part.items {
        for name in words(&item.head, "Cm") {
            let lines: Vec<&str> = item.body.iter().filter_map(|line| line.strip_prefix(".Sx ")).collect();
            assert!(lines.len() < 2, "{}: {name}: two parts describe it", part.title);
            let holds = lines.first().map(|line| line.trim_end_matches([' ', '.', ',', ':']).to_owned());
            fields.push(Field { name, holds, words: item.words("Cm", "One of") });
        }
    }
    fields
}

fn words_of(page: &[Part], title: &str) -> BTreeSet<String> {
    let mut words: BTreeSet<String> = part(page, title).items.iter().flat_map(|item| words(&item.head, "Cm")).collect();
    if title == "Codes" {
        words.extend(Guard::ALL.iter().map(|guard| guard.name().to_owned()));
    }
    words
}

/// The fields of every structure that is printed, from `fields!(NAME { FIELD, ... })` or `const FIELDS`.
fn printed() -> BTreeMap<String, Vec<String>> {
    let mut found = BTreeMap::new();
    for (path, text) in sources() {
        for rest in text.split("\nfields!(").skip(1) {
            let (name, rest) = rest.split_once('{').unwrap();
            let names = rest.split('}').next().unwrap().split(',').map(|name| name.trim().trim_start_matches("r#"));
            let names = names.filter(|name| !name.is_empty()).map(ToOwned::to_owned).collect();
            let twice = found.insert(name.trim().to_owned(), names);
            assert!(twice.is_none(), "{}: two structures are called {name}", path.display());
        }
        // A structure whose document is put together by hand lists its fields itself.
        if let Some((before, rest)) = text.split_once("const FIELDS: &str = \"") {
            let after = rest.split_once("impl Json for ").unwrap().1;
            assert!(!before.contains("const FIELDS"));
            let names = rest.split('"').next().unwrap().replace('\\', "");
            let names = names.split_whitespace().map(ToOwned::to_owned).collect();
            found.insert(after.split(' ').next().unwrap().to_owned(), names);
        }
    }
    found
}

#[test]
fn structures_have_the_fields_that_are_printed() {
    let page = page(PROGRAM);
    let mut printed = printed();
    for (title, name) in STRUCTURES {
        let told: Vec<String> = fields(part(&page, title)).into_iter().map(|field| field.name).collect();
        let known = printed.remove(*name).unwrap_or_else(|| panic!("there is no structure {name}"));
        assert_eq!(told, known, "{title} in vfio-early(8), {name} in the source");
    }
    assert!(printed.is_empty(), "not in vfio-early(8): {printed:?}");
    let titles = section(&page, "JSON").into_iter().map(|part| part.title.as_str()).filter(|title| !title.is_empty());
    let known: BTreeSet<&str> = STRUCTURES.iter().map(|(title, _)| *title).chain(CODES.iter().copied()).collect();
    assert_eq!(titles.collect::<BTreeSet<_>>(), known);
}

#[test]
fn words_are_in_the_source() {
    let page = page(PROGRAM);
    let known = literals("");
    for (title, _) in STRUCTURES {
        for word in fields(part(&page, title)).iter().flat_map(|field| &field.words) {
            assert!(known.contains(word), "{title}: nobody says {word}");
        }
    }
    for title in CODES {
        for word in words_of(&page, title) {
            assert!(known.contains(&word), "{title}: nobody says {word}");
        }
    }
}

/// The words that `words!(NAME { VARIANT: "word" })` and `readable_words!` name, and the codes of problems where they are made.
#[test]
fn words_of_the_source_are_told() {
    let page = page(PROGRAM);
    let mut told: BTreeSet<String> = Guard::ALL.iter().map(|guard| guard.name().to_owned()).collect();
    for (title, _) in STRUCTURES {
        told.extend(fields(part(&page, title)).into_iter().flat_map(|field| field.words));
    }
    let codes = words_of(&page, "Codes");
    let of_rom = words_of(&page, "ROM codes");
    let (mut seen, mut codes_seen) = (0, 0);
    for (path, text) in sources() {
        // The macros themselves name no words.
        let macros = path.ends_with("json/mod.rs");
        for rest in text.split("words!(").skip(1).filter(|rest| !macros && rest.starts_with(char::is_alphabetic)) {
            let list = if rest.starts_with("Code ") { &codes } else { &told };
            for word in rest.split(')').next().unwrap().split('"').skip(1).step_by(2) {
                assert!(list.contains(word), "{}: {word} is missing in vfio-early(8), JSON", path.display());
                seen += 1;
            }
        }
        let in_rom = path.parent().unwrap().ends_with("src/rom");
        let calls: &[&str] = if in_rom {
            &["problems.error(", "problems.warning(", "problems.repairable(", "problems.note(", "no("]
        } else {
            &[]
        };
        for call in calls {
            for rest in text.split(call).skip(1) {
                let Some(code) = rest.trim_start().strip_prefix('"').and_then(|rest| rest.split('"').next()) else {
                    continue;
                };
                let list = if in_rom { &of_rom } else { &codes };
                // `no(` makes sentences elsewhere.
                if code.contains(' ') {
                    continue;
                }
                assert!(list.contains(code), "{}: the code {code} is missing in vfio-early(8), JSON", path.display());
                codes_seen += 1;
            }
        }
    }
    assert!(seen >= 100 && codes_seen >= 20, "{seen} words, {codes_seen} codes");
}

/// The states that a claim may have on a running system.
#[test]
fn states_of_the_status_are_told() {
    let page = page(PROGRAM);
    let status = page.iter().find(|part| part.title.starts_with("status ")).unwrap();
    let told: Vec<String> = status.items.iter().flat_map(|item| words(&item.head, "Cm")).collect();
    let known: Vec<&str> = vfio_early::status::STATES.iter().map(|state| state.name()).collect();
    assert_eq!(told, known, "vfio-early(8), status");
}

/// Holds documents against the manual.
struct Reader {
    structures: BTreeMap<String, Vec<Field>>,
    codes: BTreeMap<String, BTreeSet<String>>,
    /// The structures that were met.
    met: BTreeSet<String>,
    wrong: Vec<String>,
}

impl Reader {
    fn new() -> Self {
        let page = page(PROGRAM);
        Self {
            structures: STRUCTURES.iter().map(|(title, _)| ((*title).to_owned(), fields(part(&page, title)))).collect(),
            codes: CODES.iter().map(|title| ((*title).to_owned(), words_of(&page, title))).collect(),
            met: BTreeSet::new(),
            wrong: Vec::new(),
        }
    }

    fn structure(&mut self, title: &str, value: &Value, place: &str) {
        let Some(fields) = self.structures.remove(title) else { panic!("{place}: what is {title}?") };
        match value {
            Value::Object(object) => {
                self.met.insert(title.to_owned());
                let keys: Vec<&str> = object.iter().map(|(key, _)| key.trim_matches('"')).collect();
                let names: Vec<&str> = fields.iter().map(|field| field.name.as_str()).collect();
                if keys == names {
                    for (field, (_, value)) in fields.iter().zip(object) {
                        self.field(field, value, &format!("{place}: {}", field.name));
                    }
                } else {
                    self.wrong.push(format!("{place}: the fields {keys:?} are not those of {title}: {names:?}"));
                }
            }
            Value::List(list) => {
                self.structures.insert(title.to_owned(), fields);
                return list.iter().for_each(|value| self.structure(title, value, place));
            }
            Value::Word(word) if word == "null" => {}
            other => self.wrong.push(format!("{place}: {other:?} is no {title}")),
        }
        self.structures.insert(title.to_owned(), fields);
    }

    fn field(&mut self, field: &Field, value: &Value, place: &str) {
        match (&field.holds, value) {
            (Some(title), Value::Text(word)) if self.codes.contains_key(title) => {
                if !self.codes[title].contains(word.trim_matches('"')) {
                    self.wrong.push(format!("{place}: {word} is missing in {title}"));
                }
            }
            (Some(title), _) => self.structure(title, value, place),
            (None, Value::Text(word)) if !field.words.is_empty() => {
                if !field.words.iter().any(|known| known == word.trim_matches('"')) {
                    self.wrong.push(format!("{place}: {word} is not one of {:?}", field.words));
                }
            }
            (None, Value::Object(_)) => self.wrong.push(format!("{place}: the manual does not say what it holds")),
            (None, Value::List(list)) => list.iter().for_each(|value| self.field(field, value, place)),
            (None, _) => {}
        }
    }
}

#[test]
fn documents_are_as_the_manual_says() {
    let mut reader = Reader::new();
    let page = page(PROGRAM);
    // The document of each command, by its name.
    let mut documents = BTreeMap::new();
    for item in &section(&page, "JSON")[0].items {
        let title = item.body.iter().find_map(|line| line.strip_prefix(".Sx ")).unwrap();
        for command in item.head.strip_prefix("Ic ").unwrap().split(" , ") {
            documents.insert(command.to_owned(), title.to_owned());
        }
    }
    let mut commands = BTreeSet::new();
    for path in files("tests/golden", "txt") {
        let text = fs::read_to_string(&path).unwrap();
        for run in case::Case::parse(&text).runs.iter().filter(|run| run.is_json()) {
            let place = format!("{}: {}", path.display(), run.arguments);
            let Ok(value) = json::parse(run.stdout.as_deref().unwrap_or_default()) else { panic!("{place}") };
            let mut command = run.arguments.split_whitespace().filter(|word| !word.starts_with('-'));
            let mut command = command.next().unwrap_or_default().to_owned();
            if command == "rom" {
                command += run.arguments.split_once("rom").unwrap().1.split_inclusive(' ').nth(1).unwrap_or_default();
                command = command.trim_end().replacen("rom", "rom ", 1);
            }
            let failed = matches!(&value, Value::Object(object) if object.len() == 4 && object[1].0 == "\"status\"");
            let title = match documents.get(&command) {
                _ if failed => "Failure",
                Some(title) => title,
                None => panic!("{place}: vfio-early(8) names no document of {command}"),
            };
            reader.structure(title, &value, &place);
            commands.insert(command);
        }
    }
    let expected: BTreeSet<String> = documents.into_keys().collect();
    assert!(commands.is_superset(&expected), "no golden case prints one of {expected:?}, only {commands:?}");
    for path in files("tests/rom", "txt") {
        let rom = build::build(&fs::read_to_string(&path).unwrap());
        let text = vfio_early::json::to_string(&rom::json::document(&judge(parse(&rom), None)));
        reader.structure("ROM", &json::parse(&text).unwrap(), &path.display().to_string());
    }
    assert!(reader.wrong.is_empty(), "{}", reader.wrong.join("\n"));
    let never: Vec<_> = reader.structures.keys().filter(|title| !reader.met.contains(*title)).collect();
    assert!(never.is_empty(), "no document has one of {never:?}");
}
