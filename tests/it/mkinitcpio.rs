// SPDX-License-Identifier: MIT OR Apache-2.0
//! Both files for mkinitcpio against a stand-in for the functions that mkinitcpio(8) gives to a build hook: mkinitcpio is in
//! no registry, so that its real images are made and booted only where MKINITCPIO= names a checkout (tests/boot).

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::program::{self, MachineRoot, Ran, have, may_unshare, run, tree};

/// What a hook may call: every call is a line.
const FUNCTIONS: &[&str] = &[
    "add_all_modules",
    "add_binary",
    "add_checked_modules",
    "add_dir",
    "add_file",
    "add_full_dir",
    "add_module",
    "add_runscript",
    "add_symlink",
    "add_udev_rule",
    "error",
    "warning",
];

fn file(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("mkinitcpio").join(name).display().to_string()
}

/// Runs lines of bash behind a hook's file, on a machine whose /etc is the running one's. `None` where that is not allowed.
fn bash(hook: &str, lines: &str, machine: &MachineRoot) -> Option<Ran> {
    if !have("bash", "the files for mkinitcpio") || !may_unshare("the files for mkinitcpio") {
        return None;
    }
    let script = format!(
        "for f in {}; do eval \"$f() {{ echo \\\"$f \\$*\\\"; }}\"; done\n\
         vfio-early() {{ \"$PROGRAM\" --root \"$MACHINE\" \"$@\"; }}\n\
         mount --bind \"$MACHINE/etc\" /etc || exit 99\nKERNELVERSION=6.1.0-50-amd64\n. {}\n{lines}\n",
        FUNCTIONS.join(" "),
        file(hook)
    );
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "bash", "-u", "-c", &script]);
    command.env("PROGRAM", env!("CARGO_BIN_EXE_vfio-early")).env("MACHINE", &machine.root);
    Some(run(&mut command))
}

fn machine(configuration: &str) -> MachineRoot {
    MachineRoot::new(&tree("two-identical-gpus", configuration))
}

#[test]
fn the_build_hook_packs_what_an_image_needs() {
    let machine = machine("claim 65:00.0 id=10de:2204\n");
    let drop_ins = machine.at("/etc/vfio-early.d");
    fs::create_dir(&drop_ins).unwrap();
    fs::write(drop_ins.join("10-more.conf"), "# nothing\n").unwrap();
    std::os::unix::fs::symlink("/dev/null", drop_ins.join("20-hidden.conf")).unwrap();
    fs::write(drop_ins.join("notes.txt"), "not a configuration\n").unwrap();
    let Some(ran) = bash("install/vfio-early", "build\necho \"built $?\"", &machine) else { return };
    let calls: Vec<&str> = ran.stdout.lines().collect();
    assert_eq!(
        calls.iter().filter(|call| !call.starts_with("add_module ")).copied().collect::<Vec<_>>(),
        [
            "add_binary vfio-early /usr/bin/vfio-early",
            "add_file /etc/vfio-early.conf",
            "add_file /etc/vfio-early.d/10-more.conf",
            "add_symlink /etc/vfio-early.d/20-hidden.conf /dev/null",
            "add_udev_rule 60-vfio-early.rules",
            "add_runscript ",
            "add_file /usr/lib/systemd/system/vfio-early.service",
            "add_symlink /usr/lib/systemd/system/sysinit.target.wants/vfio-early.service ../vfio-early.service",
            "built 0",
        ],
        "{ran:?}"
    );
    assert!(calls.iter().any(|call| call.starts_with("add_module vfio")), "{ran:?}");
}

#[test]
fn a_broken_configuration_ends_the_build() {
    let machine = machine("claim 65:00.0\nclaim nonsense\n");
    let Some(ran) = bash("install/vfio-early", "build\necho \"built $?\"", &machine) else { return };
    // What build() returns is not heeded by mkinitcpio: only an exit ends it.
    assert_eq!(ran.status, 1, "{ran:?}");
    assert!(!ran.stdout.contains("built"), "{ran:?}");
    assert!(ran.stdout.contains("error vfio-early: the configuration is broken"), "{ran:?}");
    assert!(ran.stderr.contains("/etc/vfio-early.conf:2"), "{ran:?}");
}

#[test]
fn a_configuration_for_another_machine_is_packed_with_a_warning() {
    let machine = machine("claim 77:00.0\n");
    let Some(ran) = bash("install/vfio-early", "build\necho \"built $?\"", &machine) else { return };
    assert!(ran.stdout.contains("warning vfio-early: the configuration does not fit this machine"), "{ran:?}");
    assert!(ran.stdout.ends_with("built 0\n"), "{ran:?}");
}

#[test]
fn the_runtime_hook_is_an_early_one_that_claims() {
    let machine = machine("");
    let lines = "/usr/bin/vfio-early() { echo \"ran $*\"; }\nrun_earlyhook\n\
                 for name in run_hook run_latehook run_cleanuphook; do declare -F \"$name\"; done; true";
    let Some(ran) = bash("hooks/vfio-early", lines, &machine) else { return };
    assert_eq!(ran.stdout, "ran -q claim\n", "{ran:?}");
}

/// The stand-in has no function that mkinitcpio does not have.
#[test]
fn the_stand_in_is_true() {
    let Some(checkout) = std::env::var_os("MKINITCPIO") else {
        program::say("NOT RUN: the stand-in against mkinitcpio itself: MKINITCPIO= names no checkout");
        return;
    };
    let text = fs::read_to_string(Path::new(&checkout).join("functions")).unwrap();
    for name in FUNCTIONS {
        assert!(text.contains(&format!("\n{name}() {{")), "mkinitcpio has no {name}");
    }
}
