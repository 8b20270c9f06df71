// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the program says about recorded machines, word for word. The cases are in tests/golden; support/case.rs tells
//! how one is written. `VFIO_EARLY_BLESS=1 cargo test --test it golden::` takes what the program says now for what it
//! shall say: look at the difference before it is committed.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::support::case::{Case, Run};
use crate::support::disk::{self, Scratch};
use crate::support::files::files;
use crate::support::program::say;
use crate::support::{json, text};

/// What one run of the program came to.
#[derive(PartialEq)]
struct Outcome {
    status: Option<i32>,
    stdout: String,
    stderr: String,
}

/// Runs the program on a machine, a file or a directory. What differs from place to place is taken out of its words.
fn run(arguments: &str, root: &Path) -> Outcome {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vfio-early"));
    command.arg("--root").arg(root).args(arguments.split_whitespace());
    command.env_clear().stdin(Stdio::null());
    let start = Instant::now();
    let output = command.output().unwrap();
    assert!(start.elapsed() < Duration::from_secs(10), "{arguments}: took {:?}", start.elapsed());
    let words = |bytes: Vec<u8>| {
        let text = String::from_utf8(bytes).expect("the program says something that is not UTF-8");
        text.replace(root.to_str().unwrap(), "MACHINE").replace(env!("CARGO_PKG_VERSION"), "VERSION")
    };
    Outcome { status: output.status.code(), stdout: words(output.stdout), stderr: words(output.stderr) }
}

/// What holds for every run of every case; the output as the case's file has it.
fn judge(run: &Run, outcome: &mut Outcome) -> Vec<String> {
    let mut wrong = Vec::new();
    if !matches!(outcome.status, Some(0..=4)) {
        wrong.push(format!("no exit status of the contract: {:?}", outcome.status));
    }
    for (name, content) in [("stdout", &outcome.stdout), ("stderr", &outcome.stderr)] {
        if !content.is_empty() && !content.ends_with('\n') {
            wrong.push(format!("{name} does not end with a newline"));
        }
        if content.contains(|c: char| c.is_control() && c != '\n') {
            wrong.push(format!("{name} has control characters: {content:?}"));
        }
        if content.lines().any(|line| line.ends_with(' ')) {
            wrong.push(format!("{name} has blanks at the end of a line"));
        }
    }
    if run.arguments.starts_with("status") && !run.arguments.contains("--") {
        // A word that is longer than a line stays whole.
        let too_long = |line: &&str| line.chars().count() > 80 && line.trim_start().contains(' ');
        wrong.extend(outcome.stdout.lines().filter(too_long).map(|line| format!("more than 80 columns: {line:?}")));
    }
    if run.is_json() {
        match json::parse(&outcome.stdout) {
            Ok(mut value) => {
                // How long it took differs from run to run.
                value.replace("duration_ms", "0");
                outcome.stdout = json::layout(&value, 0) + "\n";
            }
            Err(message) => wrong.push(format!("stdout is no JSON document: {message}")),
        }
    }
    if run.status.is_some_and(|status| Some(status) != outcome.status) {
        wrong.push(format!("status {:?}, not {}", outcome.status, run.status.unwrap()));
    }
    let both = format!("{}{}", outcome.stdout, outcome.stderr);
    // What is said may be broken into lines anywhere.
    let flowing = both.split_whitespace().collect::<Vec<_>>().join(" ");
    for words in run.says.iter().filter(|words| !both.contains(*words) && !flowing.contains(*words)) {
        wrong.push(format!("does not say {words:?}"));
    }
    for words in run.never.iter().filter(|words| both.contains(*words)) {
        wrong.push(format!("says {words:?}"));
    }
    wrong
}

/// The lines that differ, in the manner of diff.
fn difference(name: &str, expected: Option<&String>, found: &str) -> Option<String> {
    let expected = expected.map_or("", String::as_str);
    if expected == found {
        return None;
    }
    let (old, new): (Vec<&str>, Vec<&str>) = (expected.lines().collect(), found.lines().collect());
    let same = old.iter().zip(&new).take_while(|(old, new)| old == new).count();
    let tail = old[same..].iter().rev().zip(new[same..].iter().rev()).take_while(|(old, new)| old == new).count();
    let mut text = format!("{name}, from line {}:\n", same + 1);
    old[same..old.len() - tail].iter().for_each(|line| writeln!(text, "  - {line}").unwrap());
    new[same..new.len() - tail].iter().for_each(|line| writeln!(text, "  + {line}").unwrap());
    Some(text)
}

/// A directory that looks like the recorded machine is the same machine: what is said of it differs nowhere.
fn compare(run: &Run, outcome: &Outcome, directory: &Path) -> Vec<String> {
    let other = self::run(&run.arguments, directory);
    let plain = |text: &str| {
        json::parse(text).map_or_else(
            |_| text.to_owned(),
            |mut value| {
                value.replace("duration_ms", "0");
                json::layout(&value, 0)
            },
        )
    };
    let mut wrong = Vec::new();
    for (name, one, other) in [("stdout", &outcome.stdout, &other.stdout), ("stderr", &outcome.stderr, &other.stderr)] {
        wrong.extend(difference(
            &format!("run: {}: as a directory: {name}", run.arguments),
            Some(&plain(one)),
            &plain(other),
        ));
    }
    if other.status != outcome.status {
        wrong.push(format!(
            "run: {}: as a directory: status {:?}, not {:?}",
            run.arguments, other.status, outcome.status
        ));
    }
    wrong
}

/// Runs one case; what is wrong with it.
fn check(path: &Path, bless: bool, as_directory: bool) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    let mut case = Case::parse(&text);
    let strange = case.strange_lines();
    assert!(strange.is_empty(), "{}: what is {strange:?}?", path.display());
    assert!(case.has_expectation(), "{}: says nowhere what a person expects", path.display());
    assert!(!case.runs.is_empty(), "{}: runs nothing", path.display());

    let places = ["tests/machines/NAME.txt", "tests/groups/machines/NAME.machine"]
        .map(|place| Path::new(env!("CARGO_MANIFEST_DIR")).join(place.replace("NAME", case.machine())));
    let machine = places.iter().find(|place| place.exists()).unwrap_or(&places[0]);
    let tree = case.machine_tree(&fs::read(machine).unwrap_or_else(|error| panic!("{}: {error}", machine.display())));
    let scratch = Scratch::new("golden");
    let (file, directory) = (scratch.0.join("machine"), scratch.0.join("root"));
    fs::write(&file, text::write(&tree, "")).unwrap();
    if as_directory {
        fs::create_dir(&directory).unwrap();
        disk::build(&tree, &directory);
    }

    let mut wrong = Vec::new();
    for run in &mut case.runs {
        let mut outcome = self::run(&run.arguments, &file);
        if as_directory {
            wrong.extend(compare(run, &outcome, &directory));
        }
        wrong.extend(judge(run, &mut outcome).into_iter().map(|message| format!("run: {}: {message}", run.arguments)));
        if bless {
            run.status = run.status.or(outcome.status);
            run.stdout = Some(outcome.stdout);
            run.stderr = Some(outcome.stderr);
            continue;
        }
        if run.stdout.is_none() || run.status.is_none() {
            wrong.push(format!("run: {}: not blessed yet", run.arguments));
        }
        let pairs = [("stdout", &run.stdout, &outcome.stdout), ("stderr", &run.stderr, &outcome.stderr)];
        for (name, expected, found) in pairs {
            wrong.extend(difference(&format!("run: {}: {name}", run.arguments), expected.as_ref(), found));
        }
    }
    if bless && case.print() != text {
        fs::write(path, case.print()).unwrap();
    }
    wrong
}

#[test]
fn every_case_says_what_it_said() {
    let bless = std::env::var_os("VFIO_EARLY_BLESS").is_some();
    let only = std::env::var("VFIO_EARLY_CASE").unwrap_or_default();
    let mut cases = files("tests/golden", "txt");
    cases.retain(|path| path.to_str().unwrap().contains(&only));
    assert!(!cases.is_empty(), "no case");
    // Making a directory of a machine takes its time; one case of each machine does that.
    let is_first = |index: usize| index == 0 || cases[index - 1].parent() != cases[index].parent();
    // qemu-user of QEMU 7.2 knows no openat2(2), and that of 10.0 answers /proc/cpuinfo itself in any directory.
    let emulated = std::env::var_os("VFIO_EARLY_EMULATED").is_some();
    if emulated {
        say("NOT RUN: machines as directories: emulated");
    }
    let next = AtomicUsize::new(0);
    let failed = AtomicUsize::new(0);
    let work = || {
        while let Some(path) =
            cases.get(next.load(Ordering::Relaxed)).and_then(|_| cases.get(next.fetch_add(1, Ordering::Relaxed)))
        {
            let index = cases.iter().position(|case| case == path).unwrap();
            let name = path.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap().display();
            let wrong = std::panic::catch_unwind(|| check(path, bless, !emulated && is_first(index)));
            let wrong = wrong.unwrap_or_else(|_| vec!["the test broke off".to_owned()]);
            if !wrong.is_empty() {
                failed.fetch_add(1, Ordering::Relaxed);
                eprintln!("{name}:\n{}\n", wrong.join("\n"));
            }
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(work);
        scope.spawn(work);
    });
    let failed = failed.into_inner();
    assert_eq!(failed, 0, "of {} cases (VFIO_EARLY_CASE=WORD runs those with WORD in their path alone)", cases.len());
}

#[test]
fn a_case_survives_being_read_and_printed() {
    let text = "# why\nmachine: m\nconf: a\nexpect: x\n\nrun: claim --json\n# note\nstatus: 1\nsays: x\nnever: y\njson:\n  {}\nstderr:\n  a\n\n  b\n\nrun: status\nstatus: 0\nstdout:\nstderr:\n";
    assert_eq!(Case::parse(text).print(), text);
    let case = Case::parse(text);
    assert_eq!(case.runs[0].stderr.as_deref(), Some("a\n\nb\n"));
    assert_eq!(case.runs[1].stdout.as_deref(), Some(""));
}
