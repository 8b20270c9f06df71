// SPDX-License-Identifier: MIT OR Apache-2.0
//! The file of an EFI variable in a directory: written at once by the helper, although a flag protects it.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use vfio_early::trial::{MARK, Mark, Verdict};

use crate::support::program::{self, MachineRoot, have, run, tree};

const DIGEST: &str = "0123456789abcdef";

fn mark(verdict: Verdict) -> Mark {
    Mark { verdict, digest: DIGEST.to_owned() }
}

/// A machine whose boot has claimed a configuration on trial.
fn machine() -> MachineRoot {
    let machine = MachineRoot::new(&tree("one-gpu-running", ""));
    fs::create_dir_all(machine.at("/run/vfio-early")).unwrap();
    let report = format!("{{\"trial\":{{\"state\":\"running\",\"digest\":\"{DIGEST}\"}}}}\n");
    fs::write(machine.at("/run/vfio-early/report.json"), report).unwrap();
    fs::write(machine.at(MARK), mark(Verdict::Running("1a2b3c4d".to_owned())).bytes()).unwrap();
    machine
}

fn found(machine: &MachineRoot) -> Option<Mark> {
    Mark::parse(&fs::read(machine.at(MARK)).unwrap())
}

#[test]
fn a_mark_is_changed() {
    let machine = machine();
    let ran = run(&mut program::program(&machine.root, "confirm"));
    assert_eq!((ran.status, found(&machine)), (0, Some(mark(Verdict::Good))), "{ran:?}");
    let ran = run(&mut program::program(&machine.root, "confirm --retry"));
    assert_eq!((ran.status, found(&machine)), (0, Some(mark(Verdict::Retry))), "{ran:?}");
    // Nothing but a file is written through.
    fs::rename(machine.at(MARK), machine.at("/elsewhere")).unwrap();
    symlink("/elsewhere", machine.at(MARK)).unwrap();
    fs::write(machine.at("/elsewhere"), mark(Verdict::Running(String::new())).bytes()).unwrap();
    let ran = run(&mut program::program(&machine.root, "confirm"));
    assert_eq!(ran.status, 4, "{ran:?}");
}

/// As in efivarfs: on a file system that knows the flag.
#[test]
fn a_mark_that_is_immutable_is_changed() {
    if !have("chattr", "a mark that is immutable") {
        return;
    }
    let machine = machine();
    let chattr = |flag: &str| Command::new("chattr").arg(flag).arg(machine.at(MARK)).output().unwrap().status.success();
    if !chattr("+i") {
        program::say("NOT RUN: a mark that is immutable: this file system or user cannot set the flag");
        return;
    }
    assert!(fs::write(machine.at(MARK), "x").is_err());
    let ran = run(&mut program::program(&machine.root, "confirm"));
    let (mark_now, protected) = (found(&machine), fs::write(machine.at(MARK), "x").is_err());
    assert!(chattr("-i"));
    assert_eq!((ran.status, mark_now), (0, Some(mark(Verdict::Good))), "{ran:?}");
    assert!(protected, "it is immutable again");
}
