// SPDX-License-Identifier: MIT OR Apache-2.0
//! Links below `--root DIR` lead nowhere but there, in reading and in writing.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use vfio_early::machine::{Host, Machine, Node};

use crate::support::disk::Scratch;
use crate::support::logger;
use crate::support::program::{MachineRoot, changes, inventory, tree};

const GPU: &str = "0000:65:00.0";
const AUDIO: &str = "0000:65:00.1";

fn machine() -> MachineRoot {
    MachineRoot::new(&tree("two-identical-gpus-running", "claim 65:00.0\nset on-failure keep\n"))
}

/// Where the directory of a device lies below the root.
fn directory(machine: &MachineRoot, address: &str) -> String {
    let path = fs::canonicalize(machine.attribute(address, "")).unwrap();
    path.strip_prefix(fs::canonicalize(&machine.root).unwrap()).unwrap().to_str().unwrap().to_owned()
}

#[test]
fn a_claim_writes_these_files_and_no_other() {
    let machine = machine();
    let before = inventory(&machine.root);
    let ran = machine.run("claim");
    // Nothing moves the driver links of a directory, so no claim holds there.
    assert_eq!(ran.status, 1, "{ran:?}");
    let (gpu, audio) = (directory(&machine, GPU), directory(&machine, AUDIO));
    let expected = [
        "run".to_owned(),
        "run/vfio-early".to_owned(),
        "run/vfio-early/lock".to_owned(),
        "run/vfio-early/report.json".to_owned(),
        "sys/bus/pci/drivers/nouveau/unbind".to_owned(),
        "sys/bus/pci/drivers/snd_hda_intel/unbind".to_owned(),
        "sys/bus/pci/drivers_probe".to_owned(),
        format!("{gpu}/driver_override"),
        format!("{audio}/driver_override"),
    ];
    let mut expected = expected.to_vec();
    // Detached is what stays on its driver here, so no probe is due.
    let found = changes(&before, &inventory(&machine.root));
    expected.retain(|path| path != "sys/bus/pci/drivers_probe" || found.contains(path));
    expected.sort();
    assert_eq!(found, expected);
    assert_eq!(fs::read(machine.attribute(GPU, "driver_override")).unwrap(), b"vfio-pci\n");
    assert_eq!(fs::read(machine.at("/sys/bus/pci/drivers/nouveau/unbind")).unwrap(), GPU.as_bytes());
    assert_eq!(fs::read(machine.at("/sys/bus/pci/drivers/snd_hda_intel/unbind")).unwrap(), AUDIO.as_bytes());
}

/// What tempts the program to leave its root: an absolute link, one that climbs, and one through a directory's link.
fn ways_out(outside: &Path) -> [PathBuf; 3] {
    let climbing = Path::new(&"../".repeat(40)).join(outside.strip_prefix("/").unwrap());
    [outside.to_owned(), climbing, Path::new("/proc/self/root").join(outside.strip_prefix("/").unwrap())]
}

#[test]
fn nothing_outside_is_read() {
    for way in 0..3 {
        let machine = machine();
        let outside = machine.scratch.0.join("outside");
        fs::create_dir(&outside).unwrap();
        // Were it read, two more devices would be claimed.
        fs::write(outside.join("a.conf"), "claim 00:14.0\n").unwrap();
        fs::write(outside.join("modalias"), "pci:v0000DEADd0000BEEFsv00000000sd00000000bc03sc00i00\n").unwrap();

        fs::remove_file(machine.at("/etc/vfio-early.conf")).unwrap();
        symlink(&ways_out(&outside.join("a.conf"))[way], machine.at("/etc/vfio-early.conf")).unwrap();
        let ran = machine.run("status");
        assert_eq!(ran.status, 2, "{ran:?}");
        assert!(ran.stderr.contains("/etc/vfio-early.conf: cannot be read"), "{ran:?}");

        fs::remove_file(machine.at("/etc/vfio-early.conf")).unwrap();
        symlink(&ways_out(&outside)[way], machine.at("/etc/vfio-early.d")).unwrap();
        let ran = machine.run("status");
        assert!(!ran.stdout.contains("0000:00:14.0"), "{ran:?}");

        let modalias = machine.attribute(GPU, "modalias");
        fs::remove_file(&modalias).unwrap();
        symlink(&ways_out(&outside.join("modalias"))[way], &modalias).unwrap();
        fs::remove_file(machine.at("/etc/vfio-early.d")).unwrap();
        let ran = machine.run("status --all --json");
        assert!(!ran.stdout.contains("beef"), "{ran:?}");
        // Its other files say what it is.
        assert!(ran.stdout.contains("\"0000:65:00.0\",\"vendor\":\"10de\""), "{ran:?}");
    }
}

#[test]
fn nothing_outside_is_written() {
    let places: &[&str] = &[
        "/sys/bus/pci/devices/0000:65:00.0/driver_override",
        "/sys/bus/pci/devices/0000:65:00.1/driver_override",
        "/sys/bus/pci/drivers_probe",
        "/sys/bus/pci/drivers/nouveau/unbind",
        "/sys/bus/pci/drivers/snd_hda_intel/unbind",
        "/dev/kmsg",
        "/run/vfio-early/report.json",
        "/run/vfio-early/lock",
    ];
    for way in 0..3 {
        let machine = machine();
        let outside = machine.scratch.0.join("outside");
        fs::create_dir(&outside).unwrap();
        fs::create_dir_all(machine.at("/run/vfio-early")).unwrap();
        fs::create_dir_all(machine.at("/dev")).unwrap();
        for (index, place) in places.iter().enumerate() {
            let canary = outside.join(index.to_string());
            fs::write(&canary, "canary").unwrap();
            let _ = fs::remove_file(machine.at(place));
            symlink(&ways_out(&canary)[way], machine.at(place)).unwrap();
        }
        let before = inventory(&outside);
        let ran = machine.run("claim");
        assert_eq!(ran.status, 1, "{ran:?}");
        assert_eq!(changes(&before, &inventory(&outside)), [""; 0]);
        // The report is a file of its own now, in the link's place.
        assert!(machine.report().contains(GPU));
    }
}

#[test]
fn no_directory_outside_is_written_to() {
    for way in 0..3 {
        for place in ["/run", "/run/vfio-early", "/sys/bus/pci/devices/0000:65:00.0"] {
            let machine = machine();
            let outside = machine.scratch.0.join("outside");
            fs::create_dir_all(outside.join("vfio-early")).unwrap();
            fs::write(outside.join("driver_override"), "canary").unwrap();
            fs::write(outside.join("modalias"), "pci:v000010DEd00002204sv00000000sd00000000bc03sc00i00\n").unwrap();
            let before = inventory(&outside);
            fs::create_dir_all(machine.at(place).parent().unwrap()).unwrap();
            let _ = fs::remove_file(machine.at(place));
            symlink(&ways_out(&outside)[way], machine.at(place)).unwrap();
            let ran = machine.run("claim");
            assert!([1, 4].contains(&ran.status), "{place}: {ran:?}");
            assert_eq!(changes(&before, &inventory(&outside)), [""; 0], "{place}");
        }
    }
}

/// A link that is absolute, as on the machine itself, means the same file below the root.
#[test]
fn absolute_links_lead_inside() {
    let machine = machine();
    let gpu = machine.attribute(GPU, "driver_override");
    fs::remove_file(&gpu).unwrap();
    symlink("/var/override", &gpu).unwrap();
    fs::create_dir_all(machine.at("/var/elsewhere")).unwrap();
    fs::write(machine.at("/var/override"), "(null)\n").unwrap();
    symlink("/var/elsewhere", machine.at("/run")).unwrap();
    let ran = machine.run("claim");
    assert_eq!(ran.status, 1, "{ran:?}");
    assert_eq!(fs::read(machine.at("/var/override")).unwrap(), b"vfio-pci\n");
    assert!(machine.at("/var/elsewhere/vfio-early/report.json").exists());
}

#[test]
fn loops_end() {
    for place in ["/etc/vfio-early.conf", "/etc/vfio-early.d", "/proc/cmdline"] {
        let machine = machine();
        let _ = fs::remove_file(machine.at(place));
        symlink(Path::new(place).file_name().unwrap(), machine.at(place)).unwrap();
        let ran = machine.run("claim");
        assert_eq!(ran.status, 2, "{place}: {ran:?}");
        assert!(ran.stderr.contains(&format!("{place}: cannot be read: Too many symbolic links")), "{ran:?}");
    }
    let tree = {
        let mut tree = tree("two-identical-gpus-running", "claim 65:00.0\n");
        tree.remove("/sys/bus/pci/devices/0000:65:00.1");
        tree.put("/sys/bus/pci/devices/0000:65:00.1", Node::Link("0000:65:00.1".into()));
        tree.put("/run/vfio-early", Node::Link("/run/vfio-early".into()));
        tree
    };
    let ran = MachineRoot::new(&tree).run("claim");
    assert_eq!(ran.status, 1, "{ran:?}");
    assert!(ran.stderr.contains("cannot save /run/vfio-early/report.json: Too many symbolic links"), "{ran:?}");
}

/// The kernel gives up a look through `..` while something is renamed, wherever on the machine that is (openat2(2)).
#[test]
fn renames_elsewhere_spoil_no_look() {
    let scratch = Scratch::new("renames");
    let (root, elsewhere) = (scratch.0.join("root"), scratch.0.join("elsewhere"));
    fs::create_dir_all(root.join("a")).unwrap();
    fs::create_dir_all(&elsewhere).unwrap();
    fs::write(root.join("file"), "x\n").unwrap();
    symlink("../file", root.join("a/link")).unwrap();
    logger::start();
    let host = Host::open(root.as_os_str()).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (one, other) = (elsewhere.join("one"), elsewhere.join("other"));
            fs::write(&one, "").unwrap();
            while !done.load(Ordering::Relaxed) {
                fs::rename(&one, &other).unwrap();
                fs::rename(&other, &one).unwrap();
            }
        });
        let failed: Vec<_> = (0..20_000).filter_map(|_| host.attribute("/a/link").err()).collect();
        done.store(true, Ordering::Relaxed);
        assert!(failed.is_empty(), "{} looks failed, as {}", failed.len(), failed[0]);
    });
}
