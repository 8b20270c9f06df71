// SPDX-License-Identifier: MIT OR Apache-2.0
//! The report: whole or not at all, readable for everybody, and shared by claims that run at once.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};

use crate::support::json;
use crate::support::program::{MachineRoot, by_shell, have, may_unshare, program, run, tree};

const REPORT: &str = "/run/vfio-early/report.json";

/// A machine whose claims hold already, so that saving is all that can fail.
fn claimed() -> MachineRoot {
    let machine = MachineRoot::new(&tree("two-identical-gpus-claimed", "claim 65:00.0\n"));
    fs::create_dir(machine.at("/run")).unwrap();
    machine
}

/// Runs a claim in a mount namespace, after a line of shell for which $R is the machine's root.
fn claim_after(line: &str, machine: &MachineRoot) -> crate::support::program::Ran {
    let line = format!("R={}; {line} || exit 99; exec \"$@\"", machine.root.display());
    let line = format!("exec unshare --user --map-root-user --mount /bin/sh -c '{line}' sh \"$@\"");
    run(&mut by_shell(&line, &program(&machine.root, "claim")))
}

/// The names where the report lies, but for the lock.
fn beside(machine: &MachineRoot) -> Vec<String> {
    let names = fs::read_dir(machine.at("/run/vfio-early")).unwrap();
    let mut names: Vec<String> = names.map(|name| name.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| name != "lock");
    names
}

#[test]
fn a_directory_that_cannot_be_written() {
    if !may_unshare("a directory that cannot be written") {
        return;
    }
    let machine = claimed();
    let ran = claim_after("mount --bind $R/run $R/run && mount -o remount,bind,ro $R/run", &machine);
    assert_eq!(ran.status, 4, "{ran:?}");
    assert_eq!(ran.stderr, "vfio-early: cannot save /run/vfio-early/report.json: Read-only file system\n");
    // What the claim came to is told all the same.
    assert!(ran.stdout.contains("claimed"), "{ran:?}");

    let machine = claimed();
    fs::set_permissions(machine.at("/run"), fs::Permissions::from_mode(0o555)).unwrap();
    let ran = run(&mut by_shell("exec unshare --user \"$@\"", &program(&machine.root, "claim")));
    assert_eq!(ran.status, 4, "{ran:?}");
    assert_eq!(ran.stderr, "vfio-early: cannot save /run/vfio-early/report.json: Permission denied\n");
    fs::set_permissions(machine.at("/run"), fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_disk_that_is_full() {
    if !may_unshare("a disk that is full") {
        return;
    }
    // No room at all, then room for a part of the report alone: the earlier report stays as it is.
    for (size, most) in [("8k", 4096), ("12k", 8192)] {
        let machine =
            MachineRoot::new(&tree("server-eight-gpus-running", "claim 10de:* match=all\nset on-failure keep\n"));
        fs::create_dir(machine.at("/run")).unwrap();
        let fill = format!("head -c {most} /dev/zero >$R/run/fill");
        let old = "mkdir $R/run/vfio-early && echo old >$R/run/vfio-early/report.json";
        let list = "\"$@\" >/dev/null; s=$?; ls -A $R/run/vfio-early; cat $R/run/vfio-early/report.json; exit $s";
        let line = format!("mount -t tmpfs -o size={size} tmpfs $R/run && {old} && {fill}; true");
        let line = format!("R={}; {line} || exit 99; {list}", machine.root.display());
        let line = format!("exec unshare --user --map-root-user --mount /bin/sh -c '{line}' sh \"$@\"");
        let ran = run(&mut by_shell(&line, &program(&machine.root, "claim")));
        // The claims themselves failed: nothing moves in a directory.
        assert_eq!(ran.status, 1, "{ran:?}");
        assert!(ran.stderr.contains("cannot save /run/vfio-early/report.json: No space left on device"), "{ran:?}");
        assert_eq!(ran.stdout, "lock\nreport.json\nold\n", "{ran:?}");
    }
    let machine = claimed();
    let ran = claim_after("mount -t tmpfs -o size=4k tmpfs $R/run && head -c 4096 /dev/zero >$R/run/fill", &machine);
    assert_eq!(ran.status, 4, "{ran:?}");
}

/// Killed at each system call that saving is made of: the earlier report or the new one is there, whole.
#[test]
fn a_kill_leaves_no_half_report() {
    if !have("strace", "that a killed claim leaves no half report") {
        return;
    }
    let mut kept = 0;
    for call in ["write", "fsync", "fchmod", "renameat", "exit_group"] {
        let machine = claimed();
        fs::create_dir(machine.at("/run/vfio-early")).unwrap();
        fs::write(machine.at(REPORT), "old").unwrap();
        let line = format!("exec strace -o /dev/null -e inject={call}:signal=KILL:when=1 \"$@\" >/dev/null");
        let ran = run(&mut by_shell(&line, &program(&machine.root, "claim")));
        assert_eq!(ran.status, 137, "{call}: {ran:?}");
        let report = machine.report();
        assert!(report == "old" || json::parse(&report).is_ok(), "{call}: {report}");
        kept += usize::from(report == "old");

        // The next claim is not troubled by what is left.
        assert_eq!(machine.run("claim").status, 0, "{call}");
        assert!(json::parse(&machine.report()).is_ok(), "{call}");
    }
    // The signal comes before the call: only who lives longer than renameat has put the new report in place.
    assert_eq!(kept, 4);
}

#[test]
fn everybody_may_read_it_whatever_the_umask() {
    for umask in ["000", "022", "077", "777"] {
        let machine = claimed();
        let ran = run(&mut by_shell(&format!("umask {umask}; exec \"$@\""), &program(&machine.root, "claim")));
        assert_eq!(ran.status, 0, "{umask}: {ran:?}");
        let mode = |path: &str| fs::metadata(machine.at(path)).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode(REPORT), 0o644, "{umask}");
        assert_eq!(mode("/run/vfio-early"), 0o755, "{umask}: nobody gets to the report");
        assert_eq!(mode("/run/vfio-early/lock") & 0o177, 0, "{umask}: others could keep the lock");
        assert_eq!(beside(&machine), ["report.json"]);
    }
}

/// A directory that was there keeps its rights.
#[test]
fn directories_that_are_there_are_left_alone() {
    let machine = claimed();
    fs::create_dir(machine.at("/run/vfio-early")).unwrap();
    fs::set_permissions(machine.at("/run/vfio-early"), fs::Permissions::from_mode(0o711)).unwrap();
    assert_eq!(machine.run("claim").status, 0);
    assert_eq!(fs::metadata(machine.at("/run/vfio-early")).unwrap().permissions().mode() & 0o7777, 0o711);
}

/// The addresses in a report's claims.
fn reported(machine: &MachineRoot) -> Vec<String> {
    let report = machine.report();
    let mut found: Vec<String> =
        report.split("\"device\":\"").skip(1).map(|rest| rest[..rest.find('"').unwrap()].to_owned()).collect();
    found.sort();
    found.dedup();
    found
}

/// What udev does when a card of four functions appears: a claim for each of them, all at once.
#[test]
fn claims_at_once_lose_nothing_of_each_other() {
    let machine = MachineRoot::new(&tree("server-eight-gpus-running", "claim 10de:* match=all\nset on-failure keep\n"));
    let slots = ["04", "05", "08", "09"];
    let addresses: Vec<String> =
        slots.iter().flat_map(|bus| (0..4).map(move |function| format!("0000:{bus}:00.{function}"))).collect();
    let children: Vec<_> = addresses
        .iter()
        .map(|address| {
            let mut command = program(&machine.root, &format!("claim --device {address}"));
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
        })
        .collect();
    for mut child in children {
        assert_eq!(child.wait().unwrap().code(), Some(1));
    }
    assert_eq!(reported(&machine), addresses);
    json::parse(&machine.report()).unwrap();
}

/// A ROM is read and judged once: only that of an earlier run is read from its file, and the report says the same of it.
#[test]
fn a_saved_rom_is_not_read_back() {
    const FILE: &str = "/run/vfio-early/rom/0000:65:00.0.rom";
    let machine = MachineRoot::new(&tree("two-identical-gpus-claimed", "claim 65:00.0 rom=save\n"));
    fs::create_dir(machine.at("/run")).unwrap();
    fs::write(machine.attribute("0000:65:00.0", "rom"), "not much of a ROM").unwrap();
    let entry = || {
        let report = machine.report();
        let entry = report.split("\"rom\":").skip(1).find(|rest| rest.starts_with('{')).unwrap();
        entry[..=entry.find('}').unwrap()].to_owned()
    };
    let saving = machine.run("--verbose claim");
    let saved = entry();
    assert_eq!(fs::read(machine.at(FILE)).unwrap(), b"not much of a ROM", "{saving:?}");
    assert!(saved.contains("\"size\":17,\"verdict\":\"invalid\",\"problem\":\"the option ROM is invalid"), "{saved}");
    assert!(!saving.stderr.contains(&format!("read {FILE}")), "{saving:?}");
    let later = machine.run("--verbose claim");
    assert!(later.stderr.contains(&format!("read {FILE}")), "{later:?}");
    assert_eq!(entry(), saved);
}

/// Holds the lock of a machine.
fn hold(path: &Path) -> Flock<fs::File> {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let file = fs::File::create(path).unwrap();
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| errno).unwrap()
}

#[test]
fn a_claim_waits_for_another() {
    let machine = claimed();
    let lock = hold(&machine.at("/run/vfio-early/lock"));
    let mut child = program(&machine.root, "-q claim").stdout(Stdio::null()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(500));
    assert!(child.try_wait().unwrap().is_none(), "it did not wait");
    assert_eq!(machine.report(), "");
    // Looking waits for nobody.
    assert_eq!(machine.run("status").status, 0);
    assert_eq!(machine.run("claim --dry-run").status, 0);
    let start = Instant::now();
    drop(lock);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(start.elapsed() < Duration::from_secs(5));
    assert!(!machine.report().is_empty());
}
