// SPDX-License-Identifier: MIT OR Apache-2.0
//! A golden test case: one file that says what is there, what is run, and what comes out.
//!
//! ```text
//! # Why this case is there.
//! machine: two-identical-gpus            a file in tests/machines, without .txt, or in tests/groups/machines, without .machine
//! conf: claim 10de:2204                  a line of /etc/vfio-early.conf
//! cmdline: vfio_early=off                words after those on the machine's kernel command line
//! overlay: at /etc/vfio-early.d          lines of the machine's format: more files, or others
//! overlay: 50-gpu.conf = claim 65:00.0
//! without: /lib/modules                  what is there and below it is taken away
//! expect: refused, and both are named    what a person expects, in words
//!
//! run: claim --dry-run                   the arguments; there may be several runs
//! status: 1                              the exit status
//! says: match=all                        words that standard output or standard error must have, or
//! never: driver_override                 must not have
//! stdout:
//!   the output, two spaces before each line (`json:` in its place where it is a JSON document, laid out anew)
//! stderr:
//! ```
//!
//! `status`, `says` and `never` are a person's intention: blessing fills in `stdout` and `stderr`, and never changes them.

use std::fmt::Write;

use vfio_early::machine::{Node, Recorded, Tree};

/// A case.
pub(crate) struct Case {
    /// The lines before the first run.
    head: Vec<String>,
    pub(crate) runs: Vec<Run>,
}

/// One run of the program.
#[derive(Default)]
pub(crate) struct Run {
    pub(crate) arguments: String,
    pub(crate) status: Option<i32>,
    pub(crate) says: Vec<String>,
    pub(crate) never: Vec<String>,
    /// Comment lines.
    notes: Vec<String>,
    pub(crate) stdout: Option<String>,
    pub(crate) stderr: Option<String>,
}

impl Case {
    pub(crate) fn parse(text: &str) -> Self {
        let mut case = Self { head: Vec::new(), runs: Vec::new() };
        let mut lines = text.lines().peekable();
        while let Some(line) = lines.next() {
            if let Some(arguments) = line.strip_prefix("run:") {
                case.runs.push(Run { arguments: arguments.trim().to_owned(), ..Run::default() });
                continue;
            }
            let Some(run) = case.runs.last_mut() else {
                case.head.push(line.to_owned());
                continue;
            };
            let (key, value) = line.split_once(':').map_or((line, ""), |(key, value)| (key, value.trim_start()));
            match key {
                "" => {}
                _ if line.starts_with('#') => run.notes.push(line.to_owned()),
                "status" => run.status = Some(value.parse().unwrap()),
                "says" => run.says.push(value.to_owned()),
                "never" => run.never.push(value.to_owned()),
                "stdout" | "stderr" | "json" => {
                    let mut content = String::new();
                    while let Some(line) = lines.next_if(|line| line.starts_with("  ") || line.is_empty()) {
                        content += line.strip_prefix("  ").unwrap_or("");
                        content.push('\n');
                    }
                    // The blank line before the next run is nobody's.
                    let content = if lines.peek().is_some_and(|line| line.starts_with("run:")) {
                        content.strip_suffix('\n').unwrap_or(&content).to_owned()
                    } else {
                        content
                    };
                    *(if key == "stderr" { &mut run.stderr } else { &mut run.stdout }) = Some(content);
                }
                _ => panic!("what is {line:?}?"),
            }
        }
        case
    }

    pub(crate) fn print(&self) -> String {
        let mut text = String::new();
        for line in &self.head {
            writeln!(text, "{line}").unwrap();
        }
        for (index, run) in self.runs.iter().enumerate() {
            if index > 0 {
                text.push('\n');
            }
            writeln!(text, "run: {}", run.arguments).unwrap();
            run.notes.iter().for_each(|note| writeln!(text, "{note}").unwrap());
            if let Some(status) = run.status {
                writeln!(text, "status: {status}").unwrap();
            }
            run.says.iter().for_each(|words| writeln!(text, "says: {words}").unwrap());
            run.never.iter().for_each(|words| writeln!(text, "never: {words}").unwrap());
            let name = if run.is_json() { "json" } else { "stdout" };
            for (name, content) in [(name, &run.stdout), ("stderr", &run.stderr)] {
                let Some(content) = content else { continue };
                writeln!(text, "{name}:").unwrap();
                for line in content.lines() {
                    writeln!(text, "{}", if line.is_empty() { String::new() } else { format!("  {line}") }).unwrap();
                }
            }
        }
        text
    }

    fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.head.iter().filter_map(move |line| line.strip_prefix(key)?.strip_prefix(':')).map(|value| {
            // One blank only: more of them may be meant.
            value.strip_prefix(' ').unwrap_or(value)
        })
    }

    /// The recorded machine's name.
    pub(crate) fn machine(&self) -> &str {
        self.all("machine").next().expect("a case names its machine")
    }

    /// Whether it says what a person expects.
    pub(crate) fn has_expectation(&self) -> bool {
        self.all("expect").next().is_some()
    }

    /// Lines of the head that mean nothing.
    pub(crate) fn strange_lines(&self) -> Vec<&String> {
        const KEYS: &[&str] = &["machine:", "conf:", "cmdline:", "overlay:", "without:", "expect:", "#"];
        self.head.iter().filter(|line| !line.is_empty() && !KEYS.iter().any(|key| line.starts_with(key))).collect()
    }

    /// The machine, changed as the case says.
    pub(crate) fn machine_tree(&self, recorded: &[u8]) -> Tree {
        let mut tree = Recorded::parse(recorded).unwrap().into_tree();
        for path in self.all("without") {
            assert!(tree.get(path).is_ok(), "without: {path}, which is not there anyway");
            tree.remove(path);
        }
        let conf: String = self.all("conf").map(|line| format!("{line}\n")).collect::<Vec<_>>().concat();
        if !conf.is_empty() {
            tree.put("/etc/vfio-early.conf", Node::File(conf.into_bytes()));
        }
        let overlay: Vec<&str> = std::iter::once("vfio-early machine 1").chain(self.all("overlay")).collect();
        for (path, node) in Recorded::parse(overlay.join("\n").as_bytes()).unwrap().tree().iter() {
            if *node != Node::Directory || tree.get(path).is_err() {
                tree.put(path, node.clone());
            }
        }
        let more: Vec<&str> = self.all("cmdline").collect();
        if !more.is_empty() {
            let text = String::from_utf8(tree.file("/proc/cmdline").unwrap().to_vec()).unwrap();
            tree.put("/proc/cmdline", Node::File(format!("{} {}\n", text.trim_end(), more.join(" ")).into_bytes()));
        }
        tree
    }
}

impl Run {
    pub(crate) fn is_json(&self) -> bool {
        self.arguments.split_whitespace().any(|word| word == "--json")
    }
}
