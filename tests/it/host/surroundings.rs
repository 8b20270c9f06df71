// SPDX-License-Identifier: MIT OR Apache-2.0
//! What others left on the machine: links, files and directories that a run as root must not follow, obey or believe.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, lchown, symlink};
use std::path::Path;

use crate::support::program::{MachineRoot, program, run, say, tree};

/// Somebody who is not root.
const OTHER: Option<u32> = Some(65_534);

/// How somebody changes a machine; the path is the place that they do it at.
type Change = fn(&MachineRoot, &Path);

/// Whether files can be given to somebody else here.
fn is_root(otherwise: &str) -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        say(&format!("NOT RUN: {otherwise}: the tests do not run as root"));
    }
    root
}

fn machine() -> MachineRoot {
    MachineRoot::new(&tree("two-identical-gpus-running", "claim 65:00.0\nset on-failure keep\n"))
}

fn allow(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_status_goes_to_its_file_and_nowhere_else() {
    if !is_root("output beside links of others") {
        return;
    }
    let machine = machine();
    let folder = machine.at("/srv/textfile");
    fs::create_dir_all(&folder).unwrap();
    chown(&folder, OTHER, None).unwrap();
    let secret = machine.at("/etc/secret");
    fs::write(&secret, "secret\n").unwrap();
    let file = folder.join("vfio.prom");
    for planted in [Path::new("/etc/secret"), Path::new("nowhere"), Path::new("../../etc/secret")] {
        let _ = fs::remove_file(&file);
        symlink(planted, &file).unwrap();
        lchown(&file, OTHER, None).unwrap();
        let ran = machine.run("status --format prometheus -o /srv/textfile/vfio.prom");
        // What is wrong with the claims.
        assert_eq!((ran.status, ran.stdout.as_str()), (1, ""), "{ran:?}");
        let stat = fs::symlink_metadata(&file).unwrap();
        assert!(stat.is_file() && stat.permissions().mode() & 0o7777 == 0o644, "{stat:?}");
        assert!(fs::read_to_string(&file).unwrap().contains("vfio_early_status"));
        assert_eq!(fs::read_to_string(&secret).unwrap(), "secret\n");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
    }
    // A link of root leads on: the administrator put it there.
    fs::create_dir(machine.at("/srv/real")).unwrap();
    fs::remove_file(&file).unwrap();
    symlink("../real/status", &file).unwrap();
    assert_eq!(machine.run("status -o /srv/textfile/vfio.prom").status, 1);
    assert!(fs::symlink_metadata(&file).unwrap().is_symlink() && machine.at("/srv/real/status").is_file());
    // A directory that is somebody else's link does not.
    symlink("real", machine.at("/srv/link")).unwrap();
    lchown(machine.at("/srv/link"), OTHER, None).unwrap();
    for command in ["status -o", "snapshot -o"] {
        let ran = machine.run(&format!("{command} /srv/link/file"));
        assert_eq!(ran.status, 4, "{command}: {ran:?}");
        assert!(ran.stderr.contains("symbolic link that belongs to user 65534"), "{command}: {ran:?}");
    }
    // Something that is no file stays.
    for (place, words) in [("/srv/textfile", "not a regular file"), ("/nowhere/file", "No such file")] {
        let ran = machine.run(&format!("status -o {place}"));
        assert!(ran.status == 4 && ran.stderr.contains(words), "{ran:?}");
    }
    // Nothing is written where there is no status: the old file stays.
    fs::write(machine.at("/etc/vfio-early.conf"), "what\n").unwrap();
    fs::write(machine.at("/srv/old"), "old\n").unwrap();
    assert_eq!(machine.run("status -o /srv/old").status, 2);
    assert_eq!(fs::read_to_string(machine.at("/srv/old")).unwrap(), "old\n");
}

#[test]
fn a_configuration_of_others_is_refused() {
    if !is_root("a configuration that others can write") {
        return;
    }
    let refused = |machine: &MachineRoot, words: &str| {
        for command in ["check", "claim --dry-run", "status", "claim"] {
            let ran = machine.run(command);
            let said = format!("{} {}", ran.words(), ran.stderr);
            assert_eq!(ran.status, 2, "{command}: {ran:?}");
            assert!(said.contains(words), "{command}: {ran:?}");
        }
        // Nothing was done, and a snapshot says the same.
        assert!(!fs::read_to_string(machine.attribute("0000:65:00.0", "driver_override")).unwrap().contains("vfio"));
        let copy = machine.scratch.0.join("copy");
        fs::write(&copy, machine.run("snapshot").stdout).unwrap();
        assert_eq!(run(&mut program(&copy, "status")).status, 2);
    };
    let directory = |machine: &MachineRoot| {
        let place = machine.at("/etc/vfio-early.d");
        fs::create_dir_all(&place).unwrap();
        place
    };
    let changes: [(&str, Change); 7] = [
        ("can be written by others", |machine, _| allow(&machine.at("/etc/vfio-early.conf"), 0o666)),
        ("belongs to user 65534", |machine, _| chown(machine.at("/etc/vfio-early.conf"), OTHER, None).unwrap()),
        ("can be written by others", |machine, _| {
            chown(machine.at("/etc/vfio-early.conf"), None, OTHER).unwrap();
            allow(&machine.at("/etc/vfio-early.conf"), 0o664);
        }),
        ("can be written by others", |_, place| allow(place, 0o777)),
        ("belongs to user 65534", |_, place| chown(place, OTHER, None).unwrap()),
        ("belongs to user 65534", |machine, place| {
            fs::write(machine.at("/srv.conf"), "claim 17:00.0\n").unwrap();
            symlink("/srv.conf", place.join("a.conf")).unwrap();
            lchown(place.join("a.conf"), OTHER, None).unwrap();
        }),
        ("can be written by others", |machine, _| allow(&machine.at("/etc"), 0o777)),
    ];
    for (words, change) in changes {
        let machine = machine();
        let place = directory(&machine);
        change(&machine, &place);
        refused(&machine, words);
    }
    // What nobody else can write is obeyed: files of root's group, a masked file, links of root.
    let machine = machine();
    let place = directory(&machine);
    allow(&machine.at("/etc/vfio-early.conf"), 0o664);
    symlink("/dev/null", place.join("b.conf")).unwrap();
    fs::write(machine.at("/srv.conf"), "set framebuffer keep\n").unwrap();
    symlink("../../srv.conf", place.join("c.conf")).unwrap();
    assert_eq!(machine.run("check").status, 0);
}

#[test]
fn a_run_directory_of_others_is_not_used() {
    if !is_root("a run directory made by others") {
        return;
    }
    let link: Change = |machine, place| {
        fs::create_dir_all(machine.at("/home/other")).unwrap();
        symlink("/home/other", place).unwrap();
        lchown(place, OTHER, None).unwrap();
    };
    let file: Change = |_, place| fs::write(place, "").unwrap();
    let theirs: Change = |_, place| {
        fs::create_dir(place).unwrap();
        chown(place, OTHER, None).unwrap();
    };
    for (change, words) in [(link, "symbolic link"), (file, "Not a directory"), (theirs, "belongs to user 65534")] {
        let machine = machine();
        fs::create_dir_all(machine.at("/run")).unwrap();
        change(&machine, &machine.at("/run/vfio-early"));
        let ran = machine.run("claim");
        // The claim is made all the same; only its report is lost.
        assert!(ran.stderr.contains(words) && [1, 4].contains(&ran.status), "{ran:?}");
        let written = fs::read_to_string(machine.attribute("0000:65:00.0", "driver_override")).unwrap();
        assert_eq!(written, "vfio-pci\n");
        for place in ["/home/other", "/run/vfio-early"] {
            assert_eq!(fs::read_dir(machine.at(place)).map_or(0, Iterator::count), 0, "{place}: {ran:?}");
        }
    }
}

/// A directory of root that others can write is closed, and what they put there is not believed.
#[test]
fn what_others_put_into_the_run_directory_is_not_believed() {
    if !is_root("a run directory that others can write") {
        return;
    }
    let machine = machine();
    let place = machine.at("/run/vfio-early");
    fs::create_dir_all(&place).unwrap();
    allow(&place, 0o777);
    let secret = machine.at("/etc/secret");
    fs::write(&secret, "secret\n").unwrap();
    for name in ["report.json", "lock"] {
        symlink("/etc/secret", place.join(name)).unwrap();
        lchown(place.join(name), OTHER, None).unwrap();
    }
    machine.run("claim");
    assert_eq!(fs::read_to_string(&secret).unwrap(), "secret\n");
    assert_eq!(fs::metadata(&place).unwrap().permissions().mode() & 0o7777, 0o755);
    let report = fs::symlink_metadata(place.join("report.json")).unwrap();
    assert!(report.is_file() && report.permissions().mode() & 0o7777 == 0o644);
    let good = machine.report();
    // Control: the report is believed as it is, and not once somebody else owns it.
    assert!(machine.run("status --json").stdout.contains("\"boot\":{"));
    chown(place.join("report.json"), OTHER, None).unwrap();
    assert!(machine.run("status --json").stdout.contains("\"boot\":null"));
    assert!(!good.is_empty());
}

/// Whoever starts the program chooses none of what it does.
#[test]
fn the_environment_has_no_effect() {
    let machine = machine();
    let with = |arguments: &str, variables: &[(&str, &str)]| {
        let mut command = program(&machine.root, arguments);
        let ran = run(command.envs(variables.iter().copied()));
        (ran.status, ran.stdout, ran.stderr)
    };
    let hostile = [
        ("HOME", "/nowhere"),
        ("PATH", "/nowhere"),
        ("TMPDIR", "/nowhere"),
        ("LD_PRELOAD", "/nowhere/evil.so"),
        ("LD_LIBRARY_PATH", "/nowhere"),
        ("LOCPATH", "/nowhere"),
        ("LC_ALL", "tr_TR.UTF-8"),
        ("LANG", "xx"),
        ("GCONV_PATH", "/nowhere"),
        ("SUDO_USER", "mallory"),
        ("SUDO_UID", "1000"),
        ("SUDO_COMMAND", "/bin/sh"),
        ("MODPROBE_OPTIONS", "-C /nowhere"),
        ("MALLOC_CHECK_", "3"),
        ("RUST_LOG", "trace"),
        ("RUST_BACKTRACE", "full"),
    ];
    // Those of the dynamic loader, which a build that is not static has (`make check` tests the one that is).
    let hostile: Vec<_> = hostile
        .into_iter()
        .filter(|(name, _)| cfg!(target_feature = "crt-static") || !name.starts_with("LD_"))
        .collect();
    for arguments in ["status", "status --json --all", "check", "groups", "detect", "claim --dry-run", "snapshot"] {
        assert_eq!(with(arguments, &hostile), with(arguments, &[]), "{arguments}");
    }
}
