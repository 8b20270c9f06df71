// SPDX-License-Identifier: MIT OR Apache-2.0
//! Arguments: both ways to give a value, global options on both sides of the command, and what is no argument at all.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::process::Command;

use crate::support::json;
use crate::support::program::{MachineRoot, Ran, run, tree};

fn vfio_early(arguments: &[&[u8]]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vfio-early"));
    run(command.args(arguments.iter().map(|argument| OsStr::from_bytes(argument))).env_clear())
}

fn words(line: &str) -> Ran {
    vfio_early(&line.split_whitespace().map(str::as_bytes).collect::<Vec<_>>())
}

fn machine() -> (MachineRoot, String) {
    let machine = MachineRoot::new(&tree("two-identical-gpus-claimed", "claim 65:00.0\n"));
    let root = machine.root.to_str().unwrap().to_owned();
    (machine, root)
}

#[test]
fn every_way_to_say_the_same_is_the_same() {
    let (_machine, root) = machine();
    let expected = words(&format!("--root {root} claim --dry-run --device 65:00.0"));
    assert_eq!((expected.status, expected.stderr.as_str()), (0, ""), "{expected:?}");
    for line in [
        format!("--root={root} claim --dry-run --device=65:00.0"),
        format!("claim --root {root} --dry-run --device 0000:65:00.0"),
        format!("claim --dry-run --device=0000:65:00.0 --root={root}"),
        format!("claim --device 65:00.0 --dry-run --root {root}"),
    ] {
        let ran = words(&line);
        assert_eq!((ran.status, &ran.stdout, &ran.stderr), (0, &expected.stdout, &expected.stderr), "{line}");
    }
    for line in [
        format!("-q --root {root} claim --dry-run"),
        format!("--root {root} claim -q --dry-run"),
        format!("--root {root} claim --dry-run --quiet"),
        format!("--root {root} -q claim --dry-run -q"),
    ] {
        let ran = words(&line);
        assert_eq!((ran.status, ran.stdout.as_str(), ran.stderr.as_str()), (0, "", ""), "{line}");
    }
    for line in ["-v --root ROOT status", "status -v --root ROOT", "--verbose status --verbose --root=ROOT"] {
        let ran = words(&line.replace("ROOT", &root));
        assert_eq!(ran.status, 0, "{line}: {ran:?}");
        assert!(ran.stderr.contains("read /sys/"), "{line}: {ran:?}");
        assert!(!ran.stdout.contains("read /sys/"), "{line}: {ran:?}");
    }
}

#[test]
fn version_and_help_are_results() {
    for line in ["--version", "status --version", "claim --version"] {
        let ran = words(line);
        let version = format!("vfio-early {}\n", env!("CARGO_PKG_VERSION"));
        assert_eq!((ran.status, ran.stdout, ran.stderr.as_str()), (0, version, ""), "{line}");
    }
    let help = words("--help");
    let commands = help.stdout.split("\nCommands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    // Lines of a command begin two blanks in, what continues them further.
    let commands = commands.lines().filter(|line| !line.starts_with("   ")).map(str::trim);
    let commands: Vec<&str> = commands.map(|line| line.split(' ').next().unwrap()).collect();
    assert!(commands.contains(&"claim") && commands.contains(&"status"), "{commands:?}");
    for command in commands {
        for line in [format!("{command} --help"), format!("--help {command}"), format!("{command} -h")] {
            let ran = words(&line);
            assert_eq!((ran.status, ran.stderr.as_str()), (0, ""), "{line}: {ran:?}");
            assert!(ran.stdout.starts_with("Usage: vfio-early"), "{line}: {ran:?}");
        }
    }
}

#[test]
fn bad_usage_is_status_2_with_one_message() {
    for line in [
        "",
        "frobnicate",
        "claim frobnicate",
        "--frobnicate status",
        "status --frobnicate",
        "--root",
        "claim --device",
        "claim --device 99:99.9",
        "claim --device=",
        "claim --dry-run=yes",
        "--verbose=1 status",
        "status status",
        "--root a --root b status",
        "-x status",
        "--",
        "-",
    ] {
        let ran = words(line);
        assert_eq!((ran.status, ran.stdout.as_str()), (2, ""), "{line}: {ran:?}");
        assert!(ran.stderr.starts_with("vfio-early: "), "{line}: {ran:?}");
    }
}

#[test]
fn arguments_that_are_not_utf_8() {
    for arguments in [
        &[b"\xff\xfe".as_slice()][..],
        &[b"status", b"\xff"],
        &[b"--root", b"/\xff", b"status"],
        &[b"claim", b"--device", b"\xc3\x28"],
        &[b"claim", b"--device=\xe2\x82"],
        &[b"--root=/\x80", b"--help"],
    ] {
        let ran = vfio_early(arguments);
        assert_eq!((ran.status, ran.stdout.as_str()), (2, ""), "{arguments:?}: {ran:?}");
        assert!(ran.stderr.contains("is not UTF-8"), "{arguments:?}: {ran:?}");
    }
    let ran = vfio_early(&[b"claim", b"\x1b[2J\xff"]);
    assert!(ran.status == 2 && !ran.stderr.contains('\x1b'), "{ran:?}");
    // The hidden command runs nothing either.
    let ran = vfio_early(&[b"step-helper", b"/nowhere\xff"]);
    assert!(ran.status != 0 && !ran.stderr.contains("panicked"), "{ran:?}");
}

#[test]
fn no_argument_is_too_long_or_too_many() {
    let long = "x".repeat(100_000);
    let ran = words(&format!("status {long}"));
    assert_eq!(ran.status, 2, "{}", ran.stderr.len());
    let (_machine, root) = machine();
    let many = "--device 65:00.0 ".repeat(2000);
    assert_eq!(words(&format!("--root {root} claim --dry-run {many}")).status, 0);
    let many = "-v ".repeat(2000);
    assert_eq!(words(&format!("--root {root} {many} claim --dry-run")).status, 0);
}

/// One document on standard output, whatever the exit status.
#[test]
fn json_is_one_document_for_every_status() {
    let running = tree("two-identical-gpus-running", "claim 65:00.0\n");
    let claimed = tree("two-identical-gpus-claimed", "claim 65:00.0\n");
    let broken = tree("two-identical-gpus-running", "claim what\nset is this\n");
    let unprotected = tree("no-iommu", "claim 01:00.0\n");
    let mut empty = tree("no-pci", "");
    empty.remove("/sys");
    for (status, machine) in [(0, claimed), (1, running), (2, broken), (3, unprotected), (4, empty)] {
        let machine = MachineRoot::new(&machine);
        for arguments in ["status --json", "claim --json", "-q status --json --all"] {
            let ran = machine.run(arguments);
            assert_eq!(ran.status, status, "{arguments}: {ran:?}");
            json::parse(&ran.stdout).unwrap_or_else(|error| panic!("{arguments}, status {status}: {error}: {ran:?}"));
        }
    }
    for line in ["--root /nowhere status --json", "--root /dev/null status --json", "status --json --frobnicate"] {
        let ran = words(line);
        assert!([2, 4].contains(&ran.status), "{line}: {ran:?}");
        json::parse(&ran.stdout).unwrap_or_else(|error| panic!("{line}: {error}: {ran:?}"));
    }
}
