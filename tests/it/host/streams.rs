// SPDX-License-Identifier: MIT OR Apache-2.0
//! Standard streams that are closed, full, or read by nobody, and a root with nothing in it.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use nix::fcntl::OFlag;
use vfio_early::machine::Tree;

use crate::support::disk::{Scratch, build};
use crate::support::json;
use crate::support::program::{MachineRoot, by_shell, may_unshare, program, run, run_with, say, tree};

/// How the closed ones of standard input, output and error are written for a shell.
fn closed(which: u8) -> String {
    let words = [(1, "<&-"), (2, ">&-"), (4, "2>&-")];
    words.into_iter().filter(|(bit, _)| which & bit != 0).map(|(_, word)| word).collect::<Vec<_>>().join(" ")
}

fn running() -> Tree {
    tree("two-identical-gpus-running", "claim 65:00.0\nset on-failure keep\n")
}

#[test]
fn closed_streams_change_nothing() {
    let expected = {
        let machine = MachineRoot::new(&running());
        let ran = machine.run("claim");
        (ran.status, machine.attribute("0000:65:00.0", "driver_override"), ran.stdout)
    };
    for which in 0..8 {
        let machine = MachineRoot::new(&running());
        let line = format!("exec \"$@\" {}", closed(which));
        let ran = run(&mut by_shell(&line, &program(&machine.root, "claim")));
        assert_eq!(ran.status, expected.0, "{which}: {ran:?}");
        assert_eq!(ran.stdout, if which & 2 == 0 { expected.2.as_str() } else { "" }, "{which}");
        // No message went to a file that came to be open in a stream's place.
        let overridden = fs::read_to_string(machine.attribute("0000:65:00.0", "driver_override")).unwrap();
        assert_eq!(overridden, "vfio-pci\n", "{which}");
        json::parse(&machine.report()).unwrap();

        let line = format!("exec \"$@\" {}", closed(which));
        let ran = run(&mut by_shell(&line, &program(&machine.root, "claim --no-such-option")));
        assert_eq!(ran.status, 2, "{which}: {ran:?}");
        let ran = run(&mut by_shell(&line, &program(&machine.root, "-v status --json")));
        assert_eq!(ran.status, 1, "{which}: {ran:?}");
    }
}

#[test]
fn a_full_standard_output_is_the_system_failing() {
    let machine = MachineRoot::new(&tree("two-identical-gpus-claimed", "claim 65:00.0\n"));
    for arguments in ["status", "status --json", "claim", "claim --dry-run --json", "--help", "--version"] {
        let ran = run(&mut by_shell("exec \"$@\" >/dev/full", &program(&machine.root, arguments)));
        assert_eq!(ran.status, 4, "{arguments}: {ran:?}");
        let message = "vfio-early: cannot write to standard output: No space left on device\n";
        assert_eq!(ran.stderr, message, "{arguments}");
    }
    // Where nobody can be told either.
    let ran = run(&mut by_shell("exec \"$@\" >/dev/full 2>/dev/full", &program(&machine.root, "status")));
    assert_eq!(ran.status, 4, "{ran:?}");
    let ran = run(&mut by_shell("exec \"$@\" 2>/dev/full", &program(&machine.root, "claim --no-such-option")));
    assert_eq!(ran.status, 2, "{ran:?}");
}

#[test]
fn a_reader_that_went_away_has_seen_enough() {
    let machine = MachineRoot::new(&tree("two-identical-gpus-claimed", "claim 65:00.0\n"));
    for arguments in ["status", "status --json", "claim", "--help"] {
        let (reader, writer) = nix::unistd::pipe2(OFlag::O_CLOEXEC).unwrap();
        drop(reader);
        let ran = run_with(program(&machine.root, arguments).stdout(Stdio::from(writer)).stderr(Stdio::piped()));
        assert_eq!(ran.status, 0, "{arguments}: {ran:?}");
    }
    // Nobody reads the messages either: no signal, no panic.
    for (arguments, status) in [("claim --no-such-option", 2), ("-v status", 0)] {
        let (reader, writer) = nix::unistd::pipe2(OFlag::O_CLOEXEC).unwrap();
        drop(reader);
        let out = Stdio::from(writer.try_clone().unwrap());
        let ran = run_with(program(&machine.root, arguments).stdout(out).stderr(Stdio::from(writer)));
        assert_eq!(ran.status, status, "{arguments}: {ran:?}");
    }
}

/// Whether the program can run in a root without libraries; says aloud what is not tested where it cannot.
fn may_be_alone(otherwise: &str) -> bool {
    if !cfg!(target_feature = "crt-static") {
        say(&format!("NOT RUN: {otherwise}: this build of the program is not static; make check"));
        return false;
    }
    may_unshare(otherwise)
}

/// A root with the program in it, and nothing else but what is built into it.
fn root_with_program(tree: &Tree) -> Scratch {
    let scratch = Scratch::new("chroot");
    build(tree, &scratch.0);
    fs::copy(env!("CARGO_BIN_EXE_vfio-early"), scratch.0.join("vfio-early")).unwrap();
    scratch
}

/// Runs the program with that root as the only one, on a line of shell for which `$R` is the root.
fn inside(root: &Path, arguments: &str, redirections: &str) -> crate::support::program::Ran {
    let line = format!("R={}; exec unshare --map-root-user chroot $R \"$@\" {redirections}", root.display());
    let mut command = std::process::Command::new("/vfio-early");
    command.args(arguments.split_whitespace());
    run(&mut by_shell(&line, &command))
}

#[test]
fn an_empty_root_is_enough() {
    if !may_be_alone("an empty root") {
        return;
    }
    let root = root_with_program(&Tree::default());
    for arguments in ["--help", "--version", "status --help"] {
        let ran = inside(&root.0, arguments, "");
        assert_eq!((ran.status, ran.stderr.as_str()), (0, ""), "{arguments}: {ran:?}");
    }
    for arguments in ["status", "claim", "claim --dry-run"] {
        let ran = inside(&root.0, arguments, "");
        assert_eq!(ran.status, 4, "{arguments}: {ran:?}");
        assert!(ran.stderr.contains("cannot list /sys/"), "{arguments}: {ran:?}");
    }
}

/// An image may have no /dev/kmsg, no /dev/null and no /proc/self/exe. What is claimed is claimed all the same.
#[test]
fn a_root_without_devices_is_enough() {
    if !may_be_alone("a root without devices") {
        return;
    }
    let root = root_with_program(&running());
    let ran = inside(&root.0, "claim", "");
    assert_eq!(ran.status, 1, "{ran:?}");
    let overridden = root.0.join("sys/bus/pci/devices/0000:65:00.0/driver_override");
    assert_eq!(fs::read_to_string(overridden).unwrap(), "vfio-pci\n");
    assert!(root.0.join("run/vfio-early/report.json").exists());
}

/// Where a standard stream is closed and there is no /dev/null to put in its place, Rust's runtime ends the program before
/// its first line. The hooks therefore give it a directory to read, which is there in every root: `</`.
#[test]
fn the_hooks_open_standard_input_without_any_device() {
    if !may_be_alone("a root without devices, streams closed") {
        return;
    }
    let hook = Path::new(env!("CARGO_MANIFEST_DIR")).join("initramfs-tools/scripts/init-top/00-vfio-early");
    let hook = fs::read_to_string(hook).unwrap();
    assert!(hook.lines().any(|line| line == "/usr/bin/vfio-early -q claim </"), "{hook}");

    let root = root_with_program(&running());
    let abort = 134;
    assert_eq!(inside(&root.0, "-q claim", "<&-").status, abort, "the guard is not needed any more");
    assert_eq!(inside(&root.0, "-q claim", "</").status, 1);
}
