// SPDX-License-Identifier: MIT OR Apache-2.0
//! `lab.sh tools` beside another package manager. What it calls is replaced: the real ones would change this machine.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use crate::support::disk::Scratch;

/// Runs `lab.sh tools` where apt fails so often with this message, and returns what came of it and how often apt was called.
fn tools(failures: usize, message: &str) -> (Output, usize) {
    let scratch = Scratch::new("lab");
    let calls = scratch.0.join("calls");
    let script = |name: &str, body: &str| {
        let path = scratch.0.join(name);
        fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    };
    script("id", "echo 0");
    script("sleep", ":");
    // It knows no package, so the lists have to be fetched.
    script("apt-cache", "exit 1");
    let calls_path = calls.display();
    script(
        "apt-get",
        &format!(
            "echo \"$@\" >>{calls_path}\n[ $(wc -l <{calls_path}) -gt {failures} ] || {{ echo \"{message}\" >&2; exit 100; }}"
        ),
    );
    let path = format!("{}:{}", scratch.0.display(), std::env::var("PATH").unwrap());
    let lab = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/boot/lab.sh");
    let output = Command::new("sh").arg(lab).arg("tools").env("PATH", path).output().unwrap();
    (output, fs::read_to_string(calls).unwrap().lines().count())
}

#[test]
fn a_locked_package_manager_is_waited_for() {
    let message = "E: Could not get lock /var/lib/apt/lists/lock. It is held by process 4711 (apt-get)";
    let (output, calls) = tools(3, message);
    assert!(output.status.success() && calls >= 4, "{calls} {output:?}");
    let (output, calls) = tools(1000, message);
    assert!(!output.status.success() && calls == 60, "{calls} {output:?}");
}

#[test]
fn another_failure_of_the_package_manager_is_one() {
    let (output, calls) = tools(1, "E: Failed to fetch http://deb.debian.org/debian/dists/trixie/InRelease");
    assert!(!output.status.success() && calls == 1, "{calls} {output:?}");
}
