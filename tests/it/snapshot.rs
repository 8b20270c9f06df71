// SPDX-License-Identifier: MIT OR Apache-2.0
//! A snapshot says of a machine what the machine itself says, and nothing of its owner.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Output;

use proptest::prelude::*;
use vfio_early::machine::{Node, Observation, Recorded, Tree, print};
use vfio_early::snapshot;

use crate::support::disk::Scratch;
use crate::support::files::{here, recordings};
use crate::support::program::program;

const READING: &[&str] = &[
    "status",
    "status --all",
    "status --json --all",
    "status --format prometheus",
    "status --format nfd",
    "check",
    "check --json",
    "check --image",
    "groups",
    "groups --json",
    "groups --tree",
    "detect",
    "modules",
    "claim --dry-run",
    "claim --dry-run --json",
];

fn run(root: &Path, arguments: &str) -> Output {
    program(root, arguments).output().unwrap()
}

/// Whether two texts are the same but for names: each one is replaced by the same `nameN` wherever it is, as `known` says.
fn is_same_but_for_names(text: &str, replaced: &str, known: &mut BTreeMap<String, String>) -> bool {
    let words = |text: &str| text.split_whitespace().map(ToOwned::to_owned).collect::<Vec<_>>();
    let (text, replaced) = (words(text), words(replaced));
    text.len() == replaced.len()
        && text.iter().zip(&replaced).all(|(word, new)| word == new || is_same_word(word, new, known))
}

fn is_same_word(word: &str, replaced: &str, known: &mut BTreeMap<String, String>) -> bool {
    let place = replaced
        .match_indices("name")
        .map(|(at, _)| at)
        .find(|at| replaced[at + 4..].starts_with(|c: char| c.is_ascii_digit()));
    let Some(place) = place else { return word == replaced };
    let end = place + 4 + replaced[place + 4..].bytes().take_while(u8::is_ascii_digit).count();
    let Some(rest) = word.strip_prefix(&replaced[..place]) else { return false };
    let after = &replaced[end..];
    // The longest name that leaves the same end.
    (1..=rest.len()).rev().filter(|at| rest.is_char_boundary(*at)).any(|at| {
        let name = known.get(&replaced[place..end]);
        let fits = name.is_none_or(|name| *name == rest[..at]) && is_same_word(&rest[at..], after, known);
        if fits {
            known.insert(replaced[place..end].to_owned(), rest[..at].to_owned());
        }
        fits
    })
}

/// The same words, whatever the time that a run took.
fn told(root: &Path, arguments: &str) -> String {
    let output = run(root, arguments);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(&root.display().to_string(), "ROOT");
    let all = format!("{:?}\n{}\n{}", output.status.code(), text(&output.stdout), text(&output.stderr));
    match all.split_once("\"duration_ms\":") {
        Some((before, after)) => format!("{before}{}", after.trim_start_matches(|digit: char| digit.is_ascii_digit())),
        None => all,
    }
}

/// The addresses of a machine's displays.
fn displays(machine: &Path) -> Vec<String> {
    let status = String::from_utf8(run(machine, "status --all").stdout).unwrap();
    let displays = status.lines().filter(|line| line.contains(" VGA controller ") || line.contains(" 3D controller "));
    displays.filter_map(|line| line.split_whitespace().next()).map(ToOwned::to_owned).collect()
}

#[test]
fn every_reading_command_says_the_same_over_a_snapshot() {
    let folder = Scratch::new("snapshots");
    for machine in recordings() {
        let text = run(&machine, "snapshot").stdout;
        assert!(Recorded::recognises(&text), "{}: {}", machine.display(), String::from_utf8_lossy(&text));
        let copy = folder.0.join(machine.file_name().unwrap());
        fs::write(&copy, &text).unwrap();
        let mut known = BTreeMap::new();
        let mut assert_same = |arguments: &str| {
            let (told, replaced) = (told(&machine, arguments), told(&copy, arguments));
            let same = is_same_but_for_names(&told, &replaced, &mut known);
            assert!(same, "{}: {arguments}:\n{told}\n{replaced}", machine.display());
        };
        for arguments in READING {
            assert_same(arguments);
        }
        for address in displays(&machine) {
            for command in ["libvirt", "bind --dry-run", "release --dry-run", "groups"] {
                assert_same(&format!("{command} {address}"));
            }
        }
        // A snapshot of a snapshot is that snapshot.
        let again = run(&copy, "snapshot").stdout;
        assert_eq!(String::from_utf8_lossy(&again), String::from_utf8_lossy(&text), "{}", machine.display());
    }
}

/// A claim that wants to know more: the drivers' aliases, reset methods and BARs.
#[test]
fn a_claim_with_a_driver_to_be_found_says_the_same() {
    let folder = Scratch::new("snapshots");
    for machine in recordings() {
        let mut text = fs::read_to_string(&machine).unwrap();
        text.push_str("\nat /etc\nvfio-early.conf = claim 10de:* match=all driver=auto reset=bus+flr rebar=1:8G\n");
        let changed = folder.0.join(format!("auto-{}", machine.file_name().unwrap().to_string_lossy()));
        fs::write(&changed, text).unwrap();
        let copy = changed.with_extension("copy");
        fs::write(&copy, run(&changed, "snapshot").stdout).unwrap();
        for arguments in ["claim --dry-run", "check", "modules"] {
            assert_eq!(told(&copy, arguments), told(&changed, arguments), "{}: {arguments}", machine.display());
        }
    }
}

/// The mark of a trial is bytes, and what it says decides about the next boot.
#[test]
fn a_configuration_on_trial_is_on_trial_in_a_snapshot() {
    let folder = Scratch::new("snapshots");
    let machine = recordings().into_iter().find(|machine| machine.ends_with("one-gpu-running.txt")).unwrap();
    let mut answers = BTreeSet::new();
    for mark in
        ["running a819b82af385b883 1a2b3c4d", "good a819b82af385b883", "retry a819b82af385b883", "Hugo's secret"]
    {
        let mut text = fs::read_to_string(&machine).unwrap();
        text.push_str("\nat /etc\nvfio-early.conf |\n  set trial yes\n  claim 07:00.0 allow=last-display\n");
        text.push_str("at /sys/firmware/efi/efivars\nVfioEarlyTrial-a5b1ee7b-8618-4581-b594-89541b6a48b5 = ");
        text.push_str(&format!("\\x07\\x00\\x00\\x00{mark}\\c\n"));
        let changed = folder.0.join("trial.txt");
        fs::write(&changed, text).unwrap();
        let copy = folder.0.join("trial.copy");
        let snapshot = run(&changed, "snapshot").stdout;
        assert!(!String::from_utf8_lossy(&snapshot).contains("Hugo"), "{}", String::from_utf8_lossy(&snapshot));
        fs::write(&copy, snapshot).unwrap();
        for arguments in ["check", "status", "claim --dry-run"] {
            assert_eq!(told(&copy, arguments), told(&changed, arguments), "{mark}: {arguments}");
        }
        answers.insert(told(&changed, "check"));
    }
    assert!(answers.len() > 1, "no mark changes anything: {answers:?}");
}

#[test]
fn what_tells_one_machine_from_others_is_left_out() {
    let file = |path: &str, text: &str| (path.to_owned(), Observation::File(text.as_bytes().to_vec()));
    let mut config = vec![0_u8; 4096];
    // A serial number capability, and one behind it.
    config[0x100..0x10c].copy_from_slice(&[3, 0, 0x01, 0x14, 1, 2, 3, 4, 5, 6, 7, 8]);
    config[0x140..0x144].copy_from_slice(&[0x0d, 0, 1, 0]);
    let seen = vec![
        file(
            "/proc/cmdline",
            "root=UUID=0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0 resume=PARTUUID=12345678-02 ip=dhcp:52:54:00:12:34:56 \
             systemd.hostname=tardis rd.luks.uuid=luks-aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee quiet\n",
        ),
        file("/sys/block/dm-0/dm/name", "luks-aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee\n"),
        file("/sys/block/dm-0/dm/uuid", "LVM-Abcdef0123456789Abcdef0123456789Abcdef0123456789Abcdef0123456789\n"),
        file("/proc/net/ipv6_route", "00000000000000000000000000000000 00 fe80000000000000525400fffe123456 eth0\n"),
        file("/sys/devices/x/modalias", "pci:v000010DEd00001E04sv00001462sd00003711bc03sc00i00\n"),
        (String::from("/sys/devices/x/config"), Observation::File(config)),
        (String::from("/sys/fs/btrfs"), Observation::Names(vec!["0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0".to_owned()])),
        (String::from("/dev/mapper/tardis--vg-root"), Observation::Link("../dm-0".to_owned())),
    ];
    let text = snapshot::print(seen, "none");
    for secret in
        ["0f1e2d3c", "12345678-02", "52:54", "tardis", "aaaaaaaa", "Abcdef", "525400", " 01 02 03 04 05 06 07 08"]
    {
        assert!(!text.contains(secret), "{secret}:\n{text}");
    }
    for kept in ["v000010DEd00001E04sv00001462sd00003711", "quiet", "0d 00 01 00", "rd.luks.uuid=", "root=UUID="] {
        assert!(text.contains(kept), "{kept}:\n{text}");
    }
    // What was alike still is.
    let machine = Recorded::parse(text.as_bytes()).unwrap();
    let name = String::from_utf8(machine.tree().file("/sys/block/dm-0/dm/name").unwrap().to_vec()).unwrap();
    assert!(text.contains(&format!("rd.luks.uuid={}", name.trim())), "{text}");
}

/// Of what processes have open, only device files are kept, and of files that devices are made of only devices.
#[test]
fn what_other_processes_have_open_is_left_out() {
    let file = |path: &str, text: &str| (path.to_owned(), Observation::File(text.as_bytes().to_vec()));
    let link = |path: &str, target: &str| (path.to_owned(), Observation::Link(target.to_owned()));
    let names = |path: &str, names: &[&str]| {
        (path.to_owned(), Observation::Names(names.iter().map(|name| (*name).to_owned()).collect()))
    };
    let seen = vec![
        names("/proc", &["811", "902", "self"]),
        file("/proc/811/comm", "Xorg\n"),
        names("/proc/811/fd", &["3", "14", "15", "16"]),
        link("/proc/811/fd/3", "/home/anna/diary"),
        link("/proc/811/fd/14", "/dev/dri/card1"),
        link("/proc/811/fd/15", "/dev/nvme0n1"),
        link("/proc/811/fd/16", "/dev/anna"),
        link("/proc/902/fd/3", "/home/anna/letters"),
        file("/proc/902/comm", "annas-editor\n"),
        file("/proc/driver/nvidia/gpus/0000:01:00.0/information", "Model: \t Anna\nDevice Minor: \t 3\n"),
        file("/sys/devices/virtual/block/loop0/loop/backing_file", "/home/anna/disk.img\n"),
        file("/sys/devices/virtual/block/loop1/loop/backing_file", "/dev/nvme0n1\n"),
        link("/sys/class/block/nvme0n1", "../../devices/pci0000:00/0000:00:1d.0/nvme/nvme0/nvme0n1"),
    ];
    let text = snapshot::print(seen, "none");
    for secret in ["anna", "Anna", "902"] {
        assert!(!text.contains(secret), "{secret}:\n{text}");
    }
    for kept in [
        "comm = Xorg",
        "14 -> /dev/dri/card1",
        "15 -> /dev/nvme0n1",
        "Device Minor: \\x09 3",
        "backing_file = /dev/nvme0n1",
    ] {
        assert!(text.contains(kept), "{kept}:\n{text}");
    }
}

#[test]
fn the_file_is_new_or_whole() {
    let machine = here("tests/machines/desktop.txt");
    // Nothing is written below a recorded machine.
    let output = run(&machine, "snapshot -o /tmp/anywhere");
    assert_eq!(output.status.code(), Some(4), "{output:?}");
}

proptest! {
    /// Whatever a file holds and whatever it is called, the record gives it back or leaves it out, and can be read.
    #[test]
    fn a_printed_machine_is_read_back(
        files in prop::collection::btree_map("/[a-c]{1,2}/[a-z |#=!>-]{1,8}", prop_oneof![
            prop::collection::vec(any::<u8>(), 0..80),
            "[ a-z\\\\\n\t]{0,40}".prop_map(String::into_bytes),
        ], 0..8)
    ) {
        let mut tree = Tree::default();
        for (path, content) in &files {
            tree.put(path, Node::File(content.clone()));
        }
        let text = print(&tree);
        let back = Recorded::parse(text.as_bytes());
        prop_assert!(back.is_ok(), "{:?}\n{}", back, text);
        let back = back.unwrap();
        for (path, node) in back.tree().iter() {
            if let Node::File(content) = node {
                prop_assert_eq!(Some(content), files.get(path), "{}", text);
            }
        }
        let plain = |path: &&String| path.bytes().skip(1).all(|byte| byte.is_ascii_lowercase() || byte == b'/');
        for path in files.keys().filter(plain) {
            prop_assert!(back.tree().file(path).is_ok(), "{} is missing in\n{}", path, text);
        }
    }
}
