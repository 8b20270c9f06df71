// SPDX-License-Identifier: MIT OR Apache-2.0
//! What `-o` writes, and what commands that read leave behind: nothing.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::{Command, Output};

use crate::rom::described;
use crate::support::disk::Scratch;
use crate::support::program::{MachineRoot, by_shell, changes, have, inventory, program, run, tree};

/// Runs the program in a directory.
fn run_in(scratch: &Scratch, arguments: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vfio-early"));
    command.current_dir(&scratch.0).args(arguments.split_whitespace()).env_clear().output().unwrap()
}

/// The names in a directory.
fn names(scratch: &Scratch) -> Vec<String> {
    let names = fs::read_dir(&scratch.0).unwrap();
    let mut names: Vec<String> = names.map(|name| name.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_dash_is_standard_output() {
    let scratch = Scratch::new("dash");
    fs::write(scratch.0.join("in.rom"), described("padded")).unwrap();
    for arguments in ["rom extract in.rom --image 0", "rom extract in.rom --efi", "rom repair in.rom"] {
        let file = run_in(&scratch, &format!("{arguments} -o out --force"));
        let stream = run_in(&scratch, &format!("{arguments} -o -"));
        assert_eq!(stream.status.code(), file.status.code(), "{arguments}");
        let content = if file.status.success() { fs::read(scratch.0.join("out")).unwrap() } else { Vec::new() };
        assert!(stream.stdout == content, "{arguments}");
        if file.status.success() {
            // What is said beside it goes to standard error, and nowhere if nobody wants it.
            assert!(String::from_utf8_lossy(&stream.stderr).starts_with("vfio-early: "), "{arguments}");
            assert!(run_in(&scratch, &format!("-q {arguments} -o -")).stderr.is_empty(), "{arguments}");
        }
        let _ = fs::remove_file(scratch.0.join("out"));
        assert_eq!(names(&scratch), ["in.rom"], "{arguments}");
    }
    // A file of this name is still possible.
    assert!(run_in(&scratch, "rom extract in.rom --image 0 -o ./-").status.success());
    assert_eq!(names(&scratch), ["-", "in.rom"]);

    let machine = MachineRoot::new(&tree("two-identical-gpus", ""));
    fs::write(machine.attribute("0000:65:00.0", "rom"), described("padded")).unwrap();
    let before = inventory(&machine.root);
    for arguments in ["snapshot", "rom dump 65:00.0"] {
        let piped = |rest: &str| {
            let output = program(&machine.root, &format!("{arguments} {rest}")).output().unwrap();
            (output.status.code(), output.stdout)
        };
        assert_eq!(piped("-o -"), piped(""), "{arguments}");
        assert!(!piped("-o -").1.is_empty(), "{arguments}");
    }
    assert_eq!(changes(&before, &inventory(&machine.root)), [""; 0]);
}

#[test]
fn file_names_may_be_as_long_as_the_kernel_allows() {
    let scratch = Scratch::new("long");
    fs::write(scratch.0.join("in.rom"), described("padded")).unwrap();
    let longest = "n".repeat(255);
    for force in ["", "--force"] {
        let ran = run_in(&scratch, &format!("rom extract in.rom --image 0 -o {longest} {force}"));
        assert!(ran.status.success(), "{ran:?}");
        assert_eq!(names(&scratch), ["in.rom", longest.as_str()]);
    }
    let ran = run_in(&scratch, &format!("rom extract in.rom --image 0 -o {longest}n"));
    assert_eq!(ran.status.code(), Some(4), "{ran:?}");
    assert_eq!(names(&scratch), ["in.rom", longest.as_str()]);
}

/// Whoever is killed leaves a file that the next run removes. That of a run that goes on stays, and what is no such file.
#[test]
fn what_a_killed_run_left_is_removed() {
    if !have("strace", "what a killed run leaves") {
        return;
    }
    for (call, force) in [("fsync", ""), ("fsync", "--force"), ("linkat", ""), ("renameat", "--force")] {
        let scratch = Scratch::new("killed");
        fs::write(scratch.0.join("in.rom"), described("padded")).unwrap();
        let alive = format!(".vfio-early.{}.0", std::process::id());
        let others = [".vfio-early.conf", ".vfio-early.1.x", alive.as_str()];
        for name in others {
            fs::write(scratch.0.join(name), "").unwrap();
        }
        // Process IDs are never this large.
        symlink("in.rom", scratch.0.join(".vfio-early.2000000000.1")).unwrap();
        fs::write(scratch.0.join(".vfio-early.2000000000.0"), "").unwrap();
        let arguments = format!("rom extract in.rom --image 0 -o out {force}");
        let mut command = Command::new(env!("CARGO_BIN_EXE_vfio-early"));
        command.args(arguments.split_whitespace());
        let line = format!("exec strace -o /dev/null -e inject={call}:signal=KILL:when=1 \"$@\"");
        let ran = run(by_shell(&line, &command).current_dir(&scratch.0));
        assert_eq!(ran.status, 137, "{call}: {ran:?}");
        assert!(names(&scratch).len() == 6, "{call}: nothing is left: {:?}", names(&scratch));

        assert!(run_in(&scratch, &arguments).status.success());
        let mut expected = vec!["in.rom", "out", ".vfio-early.2000000000.1"];
        expected.extend(others);
        expected.sort_unstable();
        assert_eq!(names(&scratch), expected, "{call}");
    }
}

#[test]
fn commands_that_read_leave_nothing() {
    let machine = MachineRoot::new(&tree("two-identical-gpus-claimed", "claim 65:00.0\n"));
    fs::write(machine.attribute("0000:65:00.0", "rom"), described("padded")).unwrap();
    let before = inventory(&machine.root);
    for arguments in [
        "status",
        "status --all --json",
        "check",
        "groups",
        "detect",
        "libvirt 65:00.0",
        "snapshot",
        "modules",
        "claim --dry-run",
        "bind --dry-run 65:00.0",
        "release --dry-run 65:00.0",
        "rom show 65:00.0",
        "rom verify 65:00.0",
        "rom dump 65:00.0",
    ] {
        let ran = run(program(&machine.root, arguments).current_dir(&machine.scratch.0));
        assert!(ran.status < 4 && !ran.stdout.is_empty(), "{arguments}: {ran:?}");
        assert_eq!(changes(&before, &inventory(&machine.root)), [""; 0], "{arguments}");
    }
}

#[test]
fn a_proposal_is_written_whole_and_never_over_another_file() {
    let machine = MachineRoot::new(&tree("desktop", ""));
    let detect = |arguments: &str| run(&mut program(&machine.root, arguments));
    let proposal = detect("detect");
    assert!(proposal.status == 0 && proposal.stdout.contains("\nclaim "), "{proposal:?}");
    let wrote = detect("detect -o proposed.conf");
    assert_eq!((wrote.status, wrote.stdout.as_str()), (0, ""), "{wrote:?}");
    assert!(wrote.stderr.contains("vfio-early check"), "{wrote:?}");
    let written = machine.root.join("proposed.conf");
    let read = || fs::read_to_string(&written).unwrap();
    assert_eq!(read(), proposal.stdout);

    fs::write(&written, "mine\n").unwrap();
    let kept = detect("detect -o proposed.conf");
    assert!(kept.status != 0 && kept.stderr.contains("proposed.conf"), "{kept:?}");
    assert_eq!(read(), "mine\n");
    let forced = detect("detect --force -o proposed.conf");
    assert_eq!((forced.status, read()), (0, proposal.stdout), "{forced:?}");
}
