// SPDX-License-Identifier: MIT OR Apache-2.0
//! Recorded machines with the groups that are expected of them.
//!
//! `tests/groups/machines/NAME.machine` was recorded in a guest by tests/boot/groups.sh (with `GROUPS_KEEP`), NAME.lspci is a
//! dump for the converter; NAME.txt is what is told about it. `UPDATE_EXPECTED=1` writes the latter anew.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::print_stdout,
    reason = "a test may panic, and says what it did"
)]

#[path = "groups/machine.rs"]
mod machine;

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use machine::Machine;
use vfio_early::groups::examine;

fn here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/groups")
}

fn files(extension: &str) -> Vec<PathBuf> {
    let listed = std::fs::read_dir(here().join("machines")).unwrap();
    let mut files: Vec<PathBuf> = listed.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|found| found == extension));
    files.sort();
    assert!(!files.is_empty(), "no recorded machine");
    files
}

fn convert(dump: &[u8]) -> Machine {
    let mut script = Command::new(here().join("from-lspci.sh"));
    let mut child = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let dump = dump.to_vec();
    let writer = std::thread::spawn(move || input.write_all(&dump).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success());
    Machine::parse(&output.stdout)
}

fn check(path: &Path, machine: &Machine) {
    let host = machine.host();
    let examination = examine(&machine.functions, &host);
    assert!(examination.agrees(), "{}: {}", path.display(), examination.text(&[]));
    let told = format!("{}\n{}", examination.text(&[]), examination.tree());
    let expected = path.with_extension("txt");
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        std::fs::write(&expected, &told).unwrap();
    }
    assert_eq!(told, std::fs::read_to_string(&expected).unwrap(), "{}", path.display());
}

#[test]
fn recorded_machines_are_told_as_expected() {
    for path in files("machine") {
        check(&path, &Machine::parse(&std::fs::read(&path).unwrap()));
    }
}

#[test]
fn dumps_of_lspci_are_told_as_expected() {
    for path in files("lspci") {
        check(&path, &convert(&std::fs::read(&path).unwrap()));
    }
}

/// A machine as lspci would print it.
fn as_lspci(machine: &Machine) -> String {
    let mut out = String::new();
    for function in &machine.functions {
        let _ = writeln!(out, "{} {:04x}: 0000:0000", function.address, function.class.with_subclass());
        if let Some(group) = function.sys_group {
            let _ = writeln!(out, "\tIOMMU group: {group}");
        }
        if let Some(driver) = &function.driver {
            let _ = writeln!(out, "\tKernel driver in use: {driver}");
        }
        let full = if function.config.len() > 256 { 4096 } else { 256 };
        let mut config = function.config.clone();
        config.resize(full, 0);
        for (line, bytes) in config.chunks(16).enumerate() {
            let _ = write!(out, "{:02x}:", line * 16);
            for byte in bytes {
                let _ = write!(out, " {byte:02x}");
            }
            out.push('\n');
        }
        out.push('\n');
    }
    out
}

#[test]
fn the_converter_keeps_what_matters() {
    for path in files("machine") {
        let recorded = Machine::parse(&std::fs::read(&path).unwrap());
        let converted = convert(as_lspci(&recorded).as_bytes());
        let parents = |machine: &Machine| machine.functions.iter().map(|one| one.parents.clone()).collect::<Vec<_>>();
        assert_eq!(parents(&recorded), parents(&converted), "{}", path.display());
        let groups = |machine: &Machine| {
            let mut groups = examine(&machine.functions, &recorded.host()).groups;
            for group in &mut groups {
                group.r#type = None;
            }
            groups
        };
        assert_eq!(groups(&recorded), groups(&converted), "{}", path.display());
    }
}

#[test]
fn a_dump_without_extended_space_is_unknown_and_not_without_acs() {
    let path = &files("machine")[0];
    let mut recorded = Machine::parse(&std::fs::read(path).unwrap());
    let shared = |machine: &Machine| {
        let examination = examine(&machine.functions, &machine.host());
        examination.groups.iter().filter(|group| group.isolated.name() == "unknown").count()
    };
    assert_eq!(shared(&recorded), 0);
    for function in &mut recorded.functions {
        function.config.truncate(256);
    }
    assert!(shared(&convert(as_lspci(&recorded).as_bytes())) > 0);
}
