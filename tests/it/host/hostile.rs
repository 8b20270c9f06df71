// SPDX-License-Identifier: MIT OR Apache-2.0
//! Machines that no kernel shows: recordings come from strangers, and `--root` has to be safe with all of them.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::time::Duration;

use vfio_early::machine::{Node, Tree};

use crate::support::json;
use crate::support::program::{MachineRoot, Ran, tree};

const PCI: &str = "/sys/bus/pci/devices";

fn base() -> Tree {
    tree("two-identical-gpus-running", "claim 65:00.0\n")
}

/// What holds for every output, whatever the machine: no panic, a status of the contract, whole documents, and nothing
/// that a terminal would obey.
fn examine(machine: &MachineRoot) -> Vec<Ran> {
    let commands = [
        "status",
        "status --all --json",
        "claim --dry-run",
        "claim --dry-run --json",
        "claim",
        "status --all",
        "status --format prometheus",
        "status --format nfd",
    ];
    let runs = commands.map(|arguments| {
        let ran = machine.run(arguments);
        assert!((0..=4).contains(&ran.status), "{arguments}: {ran:?}");
        assert!(ran.took < Duration::from_secs(20), "{arguments}: {ran:?}");
        assert!(!ran.stderr.contains("panicked"), "{arguments}: {ran:?}");
        if arguments.contains("--json") {
            json::parse(&ran.stdout).unwrap_or_else(|error| panic!("{arguments}: {error}: {ran:?}"));
        }
        for text in [&ran.stdout, &ran.stderr] {
            // In a document, what RFC 8259 wants escaped is; the rest is for whoever reads documents.
            let control = |c: char| c.is_control() && c != '\n' && !(arguments.contains("--json") && c >= '\x7f');
            assert!(!text.contains(control), "{arguments}: control characters: {text:?}");
        }
        ran
    });
    runs.into()
}

#[test]
fn garbage_in_attributes() {
    let garbage: &[&[u8]] = &[
        b"",
        b"\n",
        b"\0\0\0\0",
        b"\xff\xfe\xfd\n",
        b"\x1b]0;owned\x07\x1b[2J\n",
        b"pci:v\n",
        b"pci:v000010DEd00002204sv00000000sd00000000bc03sc00i00trailing\n",
        b"pci:vFFFFFFFFdFFFFFFFFsvFFFFFFFFsdFFFFFFFFbcFFscFFiFF\n",
        b"99999999999999999999999999999999\n",
        b"-1\n",
        &[b'A'; 5000],
    ];
    let attributes = [
        "modalias",
        "class",
        "vendor",
        "numa_node",
        "boot_vga",
        "power_state",
        "reset_method",
        "driver_override",
        "power/control",
        "d3cold_allowed",
        "config",
        "resource",
        "resource1_resize",
        "sriov_numvfs",
        "sriov_totalvfs",
        "physfn",
        "vfio-dev",
    ];
    for bytes in garbage {
        let mut tree = base();
        for attribute in attributes {
            tree.put(&format!("{}/{attribute}", at(&tree, "0000:17:00.0")), Node::File(bytes.to_vec()));
            if attribute != "modalias" {
                tree.put(&format!("{}/{attribute}", at(&tree, "0000:65:00.0")), Node::File(bytes.to_vec()));
            }
        }
        for path in ["/proc/cpuinfo", "/proc/uptime", "/proc/interrupts", "/proc/sys/kernel/osrelease"] {
            tree.put(path, Node::File(bytes.to_vec()));
        }
        for name in ["type", "reserved_regions"] {
            tree.put(&format!("/sys/kernel/iommu_groups/2/{name}"), Node::File(bytes.to_vec()));
        }
        for path in ["/proc/self/mountinfo", "/usr/share/hwdata/pci.ids", "/etc/modprobe.d/x.conf", "/proc/1/comm"] {
            tree.put(path, Node::File(bytes.to_vec()));
        }
        tree.put("/proc/1/fd/3", Node::Link("/dev/vfio/2".to_owned()));
        tree.put("/sys/bus/pci/drivers/vfio-pci/module/refcnt", Node::File(bytes.to_vec()));
        examine(&MachineRoot::new(&tree));
    }
}

/// The canonical path of a device.
fn at(tree: &Tree, address: &str) -> String {
    tree.resolve(&format!("{PCI}/{address}"), true).unwrap()
}

#[test]
fn names_that_are_no_addresses() {
    let machine = MachineRoot::new(&base());
    let target = fs::read_link(machine.at(PCI).join("0000:65:00.0")).unwrap();
    let names: &[&[u8]] = &[
        b"\xff\xfe",
        b"\x1b[2J",
        b"a\nb",
        b" ",
        b"...",
        b"0000:65:00",
        b"0000:65:00.8",
        b"0000:65:20.0",
        b"0000:100:00.0",
        b"10000:e1:00.0",
        b"ffffffff:ff:1f.7",
        b"100000000:00:00.0",
        b"0000:65:00.0 ",
        b"-000:65:00.0",
        b"0000:65:00.0.0",
        b"0000:\xc3\xa9:00.0",
        b"+1:65:00.0",
        b"0x00:65:00.0",
    ];
    for name in names {
        symlink(&target, machine.at(PCI).join(OsStr::from_bytes(name))).unwrap();
    }
    for place in ["/sys/kernel/iommu_groups/2/devices", "/sys/class/iommu", "/sys/bus/pci/drivers", "/etc/vfio-early.d"]
    {
        fs::create_dir_all(machine.at(place)).unwrap();
        for name in names {
            let name = [name, b".conf".as_slice()].concat();
            fs::write(machine.at(place).join(OsStr::from_bytes(&name)), "#\n").unwrap();
        }
    }
    for ran in examine(&machine) {
        assert!(!ran.stdout.contains("65:00.8") && !ran.stdout.contains("65:20.0"), "{ran:?}");
    }
}

#[test]
fn links_with_strange_ends() {
    for target in
        ["", "/", "..", ".", "\u{1b}[31mred", "a\nb", "\u{9b}31m", "99999999999999999999", "-1", "é", &"n".repeat(255)]
    {
        let mut tree = base();
        for (address, name) in [("0000:65:00.0", "driver"), ("0000:65:00.1", "iommu_group"), ("0000:17:00.0", "driver")]
        {
            let path = format!("{}/{name}", at(&tree, address));
            tree.remove(&path);
            if !target.is_empty() {
                tree.put(&path, Node::Link(target.to_owned()));
            }
        }
        let dead = Node::Link(format!("../../../{target}"));
        tree.put("/sys/class/iommu/dmar7", dead);
        examine(&MachineRoot::new(&tree));
    }
}

#[test]
fn directories_for_files_and_files_for_directories() {
    for path in ["modalias", "driver_override", "driver", "iommu_group", "power", "numa_node", "config"] {
        let mut tree = base();
        let directory = at(&tree, "0000:65:00.0");
        let path = format!("{directory}/{path}");
        let was_file = matches!(tree.get(&path), Ok(Node::File(_)));
        tree.remove(&path);
        tree.put(&path, if was_file { Node::Directory } else { Node::File(b"file\n".to_vec()) });
        examine(&MachineRoot::new(&tree));
    }
    for path in [
        "/proc/cmdline",
        "/proc/cpuinfo",
        "/proc/uptime",
        "/run/vfio-early/report.json",
        "/run/vfio-early/lock",
        "/etc/vfio-early.d",
        "/usr/lib/vfio-early.d",
        "/etc/modprobe.d",
        "/lib/modules",
        "/sys/kernel/iommu_groups",
        "/sys/class/iommu",
        "/sys/firmware/acpi/tables",
        "/sys/bus/pci/drivers",
        "/sys/bus/pci/drivers_probe",
        "/run",
        "/sys/bus/pci/devices",
        "/sys/bus",
        "/sys",
        "/proc",
        "/etc",
    ] {
        let mut tree = base();
        let was_directory =
            matches!(tree.get(path), Ok(Node::Directory)) || path.strip_suffix(".d").is_some() || path == "/run";
        tree.remove(path);
        tree.put(path, if was_directory { Node::File(b"file\n".to_vec()) } else { Node::Directory });
        examine(&MachineRoot::new(&tree));
    }
}

#[test]
fn every_link_leads_in_circles() {
    let mut tree = base();
    for name in ["driver", "iommu_group", "subsystem"] {
        let path = format!("{}/{name}", at(&tree, "0000:65:00.0"));
        tree.put(&path, Node::Link(name.to_owned()));
    }
    tree.put("/sys/kernel/iommu_groups/2/devices/0000:65:00.1", Node::Link("../devices/0000:65:00.1".to_owned()));
    examine(&MachineRoot::new(&tree));
    // A device of its own group, whose bridge is itself.
    let mut tree = tree_of_itself();
    tree.put("/etc/vfio-early.conf", Node::File(b"claim 00:01.0/00.0 with=group\n".to_vec()));
    examine(&MachineRoot::new(&tree));
}

fn tree_of_itself() -> Tree {
    let mut tree = base();
    tree.put(&format!("{PCI}/0000:65:00.0"), Node::Link("../devices/0000:65:00.0/../0000:65:00.0".to_owned()));
    tree
}

/// More devices than any machine has, all of them displays that are claimed, in one group.
#[test]
fn four_thousand_devices() {
    let mut tree = tree("no-iommu", "claim 10de:* match=all with=group\n");
    tree.put("/sys/class/iommu/dmar0", Node::Directory);
    for index in 0..4096_u32 {
        let address = format!("{:04x}:{:02x}:{:02x}.{}", index >> 14, index >> 8 & 0xff, index >> 3 & 0x1f, index & 7);
        let device = format!("/sys/devices/pci/{address}");
        tree.put(
            &format!("{device}/modalias"),
            Node::File(b"pci:v000010DEd00002204sv00001043sd00008734bc03sc00i00\n".to_vec()),
        );
        tree.put(&format!("{device}/driver_override"), Node::File(b"(null)\n".to_vec()));
        tree.put(&format!("{device}/iommu_group"), Node::Link("../../../kernel/iommu_groups/1".to_owned()));
        tree.put(&format!("{PCI}/{address}"), Node::Link(format!("../../../devices/pci/{address}")));
        tree.put(
            &format!("/sys/kernel/iommu_groups/1/devices/{address}"),
            Node::Link(format!("/sys/devices/pci/{address}")),
        );
    }
    let machine = MachineRoot::new(&tree);
    for arguments in ["status --all --json", "claim --dry-run --json", "status"] {
        let ran = machine.run(arguments);
        assert!([0, 1].contains(&ran.status), "{arguments}: {}", ran.status);
        assert!(ran.took < Duration::from_secs(20), "{arguments}: {:?}", ran.took);
        if arguments.contains("--json") {
            json::parse(&ran.stdout).unwrap();
        }
    }
}

/// The report of the boot is a file like others.
#[test]
fn hostile_reports() {
    let claim = r#"{"selector":"s","source":"x","device":"0000:65:00.0","state":"claimed","driver":null,"target":"vfio-pci","guard":null,"reason":null,"stage":"initramfs","time_ms":1,"before":[]}"#;
    let iommu = r#"{"state":"enabled","kind":null,"units":[],"firmware_table":null,"interrupt_remapping":"unknown","advice":[]}"#;
    let report = |claims: &str, time: &str, kernel: &str| {
        format!(
            r#"{{"version":"1","kernel":"{kernel}","dry_run":false,"stage":"initramfs","time_ms":{time},"duration_ms":1,"status":0,"iommu":{iommu},"steps":[],"claims":[{claims}],"problems":[]}}"#
        )
    };
    let mut reports: Vec<Vec<u8>> = vec![
        b"".to_vec(),
        b"null".to_vec(),
        b"[]".to_vec(),
        b"{}".to_vec(),
        b"{".to_vec(),
        b"\xff\xfe{}".to_vec(),
        vec![0; 4096],
        [vec![b'['; 1_000_000], vec![b']'; 1_000_000]].concat(),
        b"{\"claims\":".repeat(300_000),
        vec![b'1'; 5 << 20],
        report(claim, "18446744073709551615", "k").into_bytes(),
        report(claim, "18446744073709551616", "k").into_bytes(),
        report(claim, "-1", "k").into_bytes(),
        report(claim, "1e400", "k").into_bytes(),
        report(claim, "1", r"\u001b[2J\ud800").into_bytes(),
        report(&claim.replace("initramfs", r"\u001b[2J\u009b31m"), "1", "k").into_bytes(),
        report(&claim.replace("\"before\":[]", r#""before":["\u001b[2J\u0007"]"#), "1", "k").into_bytes(),
        report(&claim.replace("\"time_ms\":1", "\"time_ms\":18446744073709551615"), "1", "k").into_bytes(),
        report(&claim.replace("vfio-pci", r"\u001b[2J"), "1", "k").into_bytes(),
        report(&claim.replace("claimed", "failed").replace("\"reason\":null", r#""reason":"\u001b[2J\n""#), "1", "k")
            .into_bytes(),
    ];
    reports.push(report(&vec![claim; 3000].join(","), "1", "k").into_bytes());
    let machine = MachineRoot::new(&base());
    let claimed = MachineRoot::new(&tree("two-identical-gpus-claimed", "claim 65:00.0\n"));
    for machine in [&machine, &claimed] {
        fs::create_dir_all(machine.at("/run/vfio-early")).unwrap();
        for report in &reports {
            let beginning = String::from_utf8_lossy(&report[..report.len().min(300)]).into_owned();
            fs::write(machine.at("/run/vfio-early/report.json"), report).unwrap();
            examine(machine);
            fs::write(machine.at("/run/vfio-early/report.json"), report).unwrap();
            let ran = machine.run("claim --device 65:00.0");
            assert!([0, 1].contains(&ran.status), "{beginning}: {ran:?}");
            json::parse(&machine.report()).unwrap_or_else(|error| panic!("{beginning}: {error}"));
        }
    }
}
