// SPDX-License-Identifier: MIT OR Apache-2.0
//! The commands and their options, as the parser itself tells them with `--help`.

use std::process::Command;

/// A command, or the program before any command.
#[derive(Debug)]
pub(crate) struct Usage {
    /// Its words: none for the program itself, `rom dump` for that.
    pub(crate) path: String,
    pub(crate) options: Vec<Opt>,
    /// What is no option.
    pub(crate) words: Vec<Word>,
    /// The commands below it, with what each does.
    pub(crate) commands: Vec<(String, String)>,
}

#[derive(Debug)]
pub(crate) struct Opt {
    /// `-o` and `--output`, or one of them.
    pub(crate) names: Vec<String>,
    /// What the value is called, for an option that takes one.
    pub(crate) value: Option<String>,
    pub(crate) repeats: bool,
    pub(crate) help: String,
}

#[derive(Debug)]
pub(crate) struct Word {
    pub(crate) name: String,
    pub(crate) repeats: bool,
    pub(crate) help: String,
}

/// The program and every command, those of a command behind it.
pub(crate) fn all() -> Vec<Usage> {
    let mut found = Vec::new();
    below("", &mut found);
    assert!(found.len() > 9, "only {} commands were found", found.len());
    found
}

/// What a command says of itself; the program before any command where the path is empty.
pub(crate) fn help(path: &str) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vfio-early"));
    let output = command.args(path.split_whitespace()).arg("--help").env_clear().output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{path} --help");
    String::from_utf8(output.stdout).unwrap()
}

fn below(path: &str, found: &mut Vec<Usage>) {
    let usage = read(path, &help(path));
    let names: Vec<String> = usage.commands.iter().map(|(name, _)| name.clone()).collect();
    found.push(usage);
    for name in names {
        below(format!("{path} {name}").trim(), found);
    }
}

/// Reads a help text: the line `Usage: ...`, then chapters of two columns.
fn read(path: &str, help: &str) -> Usage {
    let mut usage = Usage { path: path.to_owned(), options: Vec::new(), words: Vec::new(), commands: Vec::new() };
    let line = help.lines().next().and_then(|line| line.strip_prefix("Usage: vfio-early"));
    let line = line.unwrap_or_else(|| panic!("`{path} --help` begins otherwise: {help}"));
    let mut parts = line.split_whitespace().skip(path.split_whitespace().count());
    while let Some(part) = parts.next() {
        // [-v], [--device <address...>], -o <file>, [--], [<address...>], <command> [<args>]
        let name = part.trim_matches(['[', ']']);
        match name {
            "--" | "<args>" | "<command>" => {}
            _ if name.starts_with('-') => {
                let value = if part.ends_with(']') { None } else { parts.next() };
                let value = value.map(|value| value.trim_matches(['[', ']', '<', '>']));
                usage.options.push(Opt {
                    names: vec![name.to_owned()],
                    repeats: value.is_some_and(|value| value.ends_with("...")),
                    value: value.map(|value| value.trim_end_matches("...").to_owned()),
                    help: String::new(),
                });
            }
            _ => {
                let name = name.trim_matches(['<', '>']);
                usage.words.push(Word {
                    name: name.trim_end_matches("...").to_owned(),
                    repeats: name.ends_with("..."),
                    help: String::new(),
                });
            }
        }
    }
    let lost = |name: &str| -> ! { panic!("`{path} --help` has no `{name}` in its first line: {help}") };
    for (name, text) in rows(help, "Options:") {
        let names: Vec<String> = name.split(", ").map(str::to_owned).collect();
        if names.iter().any(|name| name == "--help") {
            continue;
        }
        let option = usage.options.iter_mut().find(|option| names.contains(&option.names[0]));
        let option = option.unwrap_or_else(|| lost(&name));
        (option.names, option.help) = (names, text);
    }
    for (name, text) in rows(help, "Positional Arguments:") {
        usage.words.iter_mut().find(|word| word.name == name).unwrap_or_else(|| lost(&name)).help = text;
    }
    usage.commands = rows(help, "Commands:");
    for (word, help) in &mut usage.commands {
        *help = help.trim_end_matches('.').to_owned();
        assert!(!word.starts_with('-'));
    }
    let told = usage.options.iter().map(|option| &option.help).chain(usage.words.iter().map(|word| &word.help));
    assert!(told.clone().all(|help| !help.is_empty()), "`{path} --help` does not tell what everything is: {help}");
    usage
}

/// The rows of a chapter: a name, and a text that may go on in the next lines.
pub(crate) fn rows(help: &str, chapter: &str) -> Vec<(String, String)> {
    let mut rows: Vec<(String, String)> = Vec::new();
    let lines = help.lines().skip_while(|line| *line != chapter).skip(1).take_while(|line| line.starts_with("  "));
    for line in lines {
        let (name, text) = match line[2..].strip_prefix("  ") {
            Some(more) => ("", more.trim()),
            None => line.trim().split_once("  ").unwrap_or((line.trim(), "")),
        };
        if !name.is_empty() {
            rows.push((name.to_owned(), text.trim().to_owned()));
        } else if let Some((_, whole)) = rows.last_mut() {
            *whole = format!("{whole} {text}").trim().to_owned();
        }
    }
    rows
}
