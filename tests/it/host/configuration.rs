// SPDX-License-Identifier: MIT OR Apache-2.0
//! What stands in a configuration's place and is none: one message with file and line, status 2, nothing changed.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::Duration;

use crate::support::program::{MachineRoot, by_shell, changes, fifo, inventory, may_unshare, program, run, tree};

const CONF: &str = "/etc/vfio-early.conf";
const DROP_IN: &str = "/etc/vfio-early.d/10-gpu.conf";
const VENDOR: &str = "/usr/lib/vfio-early.d/10-gpu.conf";

fn refused(put: impl Fn(&Path), message: &str) {
    if !may_unshare(message) {
        return;
    }
    for place in [CONF, DROP_IN, VENDOR] {
        let machine = MachineRoot::new(&tree("two-identical-gpus-running", "claim 65:00.0\n"));
        fs::create_dir_all(machine.at(place).parent().unwrap()).unwrap();
        let _ = fs::remove_file(machine.at(place));
        put(&machine.at(place));
        let before = inventory(&machine.root);
        for arguments in ["claim", "claim --dry-run", "status"] {
            // Without the rights of root, whoever runs the tests.
            let ran = run(&mut by_shell("exec unshare --user \"$@\"", &program(&machine.root, arguments)));
            assert_eq!(ran.status, 2, "{place}: {ran:?}");
            assert_eq!(ran.stderr, format!("vfio-early: {place}{message}\n"), "{place}: {ran:?}");
            assert_eq!(ran.stdout, "", "{place}: {ran:?}");
            assert!(ran.took < Duration::from_secs(5), "{place}: {ran:?}");
        }
        assert_eq!(changes(&before, &inventory(&machine.root)), [""; 0], "{place}");
    }
}

#[test]
fn a_fifo() {
    refused(fifo, ": cannot be read: not a regular file");
}

#[test]
fn a_directory() {
    refused(|path| fs::create_dir(path).unwrap(), ": is a directory, not a file");
}

#[test]
fn a_file_without_the_right_to_read_it() {
    if !may_unshare("a file without the right to read it") {
        return;
    }
    let forbidden = |path: &Path| {
        fs::write(path, "claim 65:00.0\n").unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o000)).unwrap();
    };
    for place in [CONF, DROP_IN, VENDOR] {
        let machine = MachineRoot::new(&tree("two-identical-gpus-running", "\n"));
        fs::create_dir_all(machine.at(place).parent().unwrap()).unwrap();
        let _ = fs::remove_file(machine.at(place));
        forbidden(&machine.at(place));
        let ran = run(&mut by_shell("exec unshare --user \"$@\"", &program(&machine.root, "claim")));
        assert_eq!(ran.status, 2, "{place}: {ran:?}");
        assert_eq!(ran.stderr, format!("vfio-early: {place}: cannot be read: Permission denied\n"), "{ran:?}");
    }
}

#[test]
fn a_line_of_ten_mebibytes() {
    let line = vec![b'x'; 10 << 20];
    refused(|path| fs::write(path, &line).unwrap(), ": is too large (maximum 1 MiB)");
    let line = [b"# fine\n", vec![b'x'; 1 << 19].as_slice(), b"\n"].concat();
    refused(|path| fs::write(path, &line).unwrap(), ":2: the line is too long (524288 bytes, maximum 4096)");
}

#[test]
fn a_nul_byte() {
    refused(|path| fs::write(path, "# fine\n\nclaim 65:00.0\0\n").unwrap(), ":3: the line contains a NUL byte");
}

#[test]
fn bytes_that_are_not_utf_8() {
    refused(
        |path| fs::write(path, b"set iommu optional\nclaim \xff\xfe\n").unwrap(),
        ":2: the line is not valid UTF-8",
    );
}

#[test]
fn endless_devices() {
    if !may_unshare("endless devices") {
        return;
    }
    // What /dev/zero is: a character device without end. It cannot be made without root, but be led to by a mount.
    let machine = MachineRoot::new(&tree("two-identical-gpus-running", "claim 65:00.0\n"));
    let line = format!("mount --bind /dev/zero {} && exec \"$@\"", machine.at(CONF).display());
    let line = format!("exec unshare --user --map-root-user --mount /bin/sh -c '{line}' sh \"$@\"");
    let ran = run(&mut by_shell(&line, &program(&machine.root, "claim")));
    assert_eq!(ran.status, 2, "{ran:?}");
    assert!(ran.stderr.contains("vfio-early.conf: is too large"), "{ran:?}");
}

/// Every other file that is read may be a FIFO too; then what it would have told is unknown, and nothing waits for it.
#[test]
fn fifos_everywhere() {
    let places: &[&[&str]] = &[
        &["/proc/cpuinfo", "/proc/interrupts", "/proc/uptime", "/proc/sys/kernel/osrelease", "/dev/kmsg"],
        &["/sys/bus/pci/devices/0000:65:00.0/modalias", "/sys/bus/pci/devices/0000:00:14.0/modalias"],
        &[
            "/sys/bus/pci/devices/0000:65:00.0/class",
            "/sys/bus/pci/devices/0000:65:00.0/numa_node",
            "/sys/bus/pci/devices/0000:65:00.0/boot_vga",
            "/sys/bus/pci/devices/0000:65:00.0/power_state",
            "/sys/bus/pci/devices/0000:65:00.0/reset_method",
            "/sys/bus/pci/devices/0000:65:00.0/config",
            "/sys/kernel/iommu_groups/2/reserved_regions",
            "/sys/kernel/iommu_groups/2/type",
        ],
        &["/run/vfio-early/report.json", "/run/vfio-early/lock", "/etc/initrd-release", "/proc/self/mountinfo"],
        &["/etc/modprobe.d/a.conf", "/lib/modules/6.1.0-50-amd64/modules.alias", "/sys/class/iommu"],
        &["/sys/bus/pci/devices/0000:65:00.0/driver", "/sys/bus/pci/devices/0000:65:00.0/iommu_group"],
    ];
    for places in places {
        let machine = MachineRoot::new(&tree("two-identical-gpus-running", "claim 65:00.0 driver=auto\n"));
        for place in *places {
            fs::create_dir_all(machine.at(place).parent().unwrap()).unwrap();
            let _ = fs::remove_dir_all(machine.at(place));
            fifo(&machine.at(place));
        }
        for arguments in ["status --all", "claim --dry-run", "claim"] {
            let ran = machine.run(arguments);
            assert!([0, 1, 2, 3].contains(&ran.status), "{places:?}: {ran:?}");
            assert!(ran.took < Duration::from_secs(5), "{places:?}: {ran:?}");
        }
    }
}

#[test]
fn a_link_to_dev_null_hides_a_file() {
    let machine = MachineRoot::new(&tree("two-identical-gpus-running", "\n"));
    for place in [DROP_IN, VENDOR] {
        fs::create_dir_all(machine.at(place).parent().unwrap()).unwrap();
    }
    fs::write(machine.at(VENDOR), "claim 65:00.0\n").unwrap();
    symlink("/dev/null", machine.at(DROP_IN)).unwrap();
    let ran = machine.run("status");
    assert!(ran.status == 0 && ran.stdout.starts_with("no claims configured"), "{ran:?}");
}
