// SPDX-License-Identifier: MIT OR Apache-2.0
//! The IDs that vfio-pci itself was given, as claims.

use super::*;

/// What a machine adopts: its claims, and its warnings.
fn adopted(machine: &Files) -> (Vec<String>, Vec<String>) {
    let loaded = machine.loaded();
    (claims(&loaded.config), loaded.warnings.iter().map(ToString::to_string).collect())
}

#[test]
fn the_ids_of_vfio_pci_become_claims() {
    let machine = Files::new(
        "",
        &[
            (
                "/etc/modprobe.d/vfio.conf",
                "# options vfio-pci ids=1111:1111\noptions vfio-pci disable_vga=1 \\\n  ids=10de:1e04,\\\n10DE:10f7 # both\noptions vfio ids=2222:2222\nsoftdep nouveau pre: vfio-pci",
            ),
            ("/etc/vfio-early.conf", "claim 10de:10f7 with=card"),
        ],
    );
    let (claims, warnings) = adopted(&machine);
    assert_eq!(
        claims,
        [
            "/etc/vfio-early.conf:1: claim 10de:10f7 with=card",
            "/etc/modprobe.d/vfio.conf:2: claim 10de:1e04 match=all with=none",
        ]
    );
    assert!(warnings.is_empty(), "{warnings:?}");

    // The same device in other words is the same selector.
    for (own, entry) in [("8086:0001:0002:0003", "8086:1:2:3:030000"), ("10DE:*:*:*", "10de:ffffffff")] {
        let file = format!("claim {own} match=all");
        let (claims, _) = adopted(&Files::new(&format!("vfio-pci.ids={entry}"), &[("/etc/vfio-early.conf", &file)]));
        assert_eq!(claims.len(), 1, "{claims:?}");
        assert!(claims[0].starts_with("/etc/vfio-early.conf:1: "), "{claims:?}");
    }
}

#[test]
fn adopting_can_be_turned_off() {
    for line in ["vfio-pci.ids=10de:1e04", "vfio_pci.ids=\"10de:1e04\"", "\"vfio-pci.ids=10de:1e04,\""] {
        let (claims, warnings) = adopted(&Files::new(line, &[]));
        assert_eq!(claims, ["kernel command line: claim 10de:1e04 match=all with=none"], "{line}");
        assert!(warnings.is_empty());
        let (claims, warnings) = adopted(
            &Files::new(&format!("{line} vfio_early.adopt_ids=no"), &[])
                .with("/etc/modprobe.d", Node::File(Vec::new())),
        );
        assert!(claims.is_empty() && warnings.is_empty(), "{claims:?} {warnings:?}");
    }
}

#[test]
fn the_last_list_is_the_one_that_vfio_pci_takes() {
    let machine = Files::new(
        "vfio-pci.ids=0003:0003",
        &[
            ("/lib/modprobe.d/a.conf", "options vfio_pci ids=0001:0001"),
            ("/usr/lib/modprobe.d/b.conf", "options vfio_pci ids=0009:0009"),
            ("/etc/modprobe.d/b.conf", "\noptions vfio_pci ids=0002:0002"),
            ("/run/modprobe.d/c.conf.bak", "options vfio_pci ids=0009:0009"),
        ],
    );
    let (claims, warnings) = adopted(&machine);
    assert_eq!(claims, ["kernel command line: claim 0003:0003 match=all with=none"]);
    assert_eq!(
        warnings,
        [
            "/lib/modprobe.d/a.conf:1: ids= has no effect: vfio-pci uses only the last one (/etc/modprobe.d/b.conf:2)",
            "/etc/modprobe.d/b.conf:2: ids= has no effect: vfio-pci uses only the last one (kernel command line)",
        ]
    );
}

#[test]
fn what_vfio_pci_cannot_use_is_told_and_breaks_nothing() {
    for (entry, claim, warning) in [
        ("10de:1e04:1462:3711", "10de:1e04:1462:3711", ""),
        ("10de:1e04:1462", "10de:1e04:1462:*", ""),
        ("10de:ffffffff", "10de:*", ""),
        ("0x10de:0X1E04", "10de:1e04", ""),
        ("10de:1e04junk", "10de:1e04", "vfio-pci ignores `junk`"),
        ("8086:ffffffff:ffffffff:ffffffff:00030000:ffffffff", "8086:*:*:*:030000", ""),
        ("8086:ffffffff:ffffffff:ffffffff:00030000:00ff0000", "8086:*:*:*:030000:ff0000", ""),
        ("8086:1:2:3:ff030000:ffff00", "8086:0001:0002:0003:030000:ffff00", ""),
        ("8086:1:2:3:030000", "8086:0001:0002:0003", ""),
        ("ffffffff:ffffffff:ffffffff:ffffffff:00030000:00ffff00", "pci:v*d*sv*sd*bc03sc00i*", ""),
        ("ffffffff:1e04", "pci:v*d00001E04sv*sd*bc*sc*i*", ""),
        ("ffffffff:ffffffff", "", "it matches all devices"),
        ("ffffffff:1:2:3:030000:00fff000", "", "its class mask covers only part of a byte"),
        ("10de", "", "expected VENDOR:DEVICE; vfio-pci rejects it as well"),
        ("10de:*", "", "expected VENDOR:DEVICE; vfio-pci rejects it as well"),
        ("gpu", "", "expected VENDOR:DEVICE; vfio-pci rejects it as well"),
        ("10de1:1e04", "", "no device has such an ID"),
        ("10de:1e04:1:2:03000000:ff000000", "", "no device has such a class"),
    ] {
        let (claims, warnings) = adopted(&Files::new(&format!("vfio-pci.ids=,{entry},,{entry},abcd:abcd"), &[]));
        let mut expected: Vec<String> = [claim, "abcd:abcd"]
            .iter()
            .filter(|claim| !claim.is_empty())
            .map(|claim| format!("kernel command line: claim {claim} match=all with=none"))
            .collect();
        assert_eq!(claims, expected, "{entry}");
        let what = if claim.is_empty() { " is not claimed" } else { "" };
        expected = vec![format!("kernel command line: ids= entry `{entry}`{what}: {warning}"); 2];
        expected.truncate(if warning.is_empty() { 0 } else { 2 });
        assert_eq!(warnings, expected, "{entry}");
    }
}

#[test]
fn trouble_with_modprobe_files_is_only_a_warning() {
    let machine = Files::new("", &[("/etc/modprobe.d/z.conf", "options vfio-pci ids=10de:1e04")])
        .with("/etc/modprobe.d/a.conf", Node::Directory)
        .with("/etc/modprobe.d/b.conf", Node::Link("/dev/null".into()))
        .with("/etc/modprobe.d/c.conf", Node::File(vec![0; 2 << 20]))
        .with("/usr/lib/modprobe.d/b.conf", Node::File(b"options vfio-pci ids=1111:1111".to_vec()))
        .with("/lib", Node::Link("usr/lib".into()))
        .with("/run/modprobe.d", Node::Broken(Errno::EACCES));
    let (claims, warnings) = adopted(&machine);
    assert_eq!(claims, ["/etc/modprobe.d/z.conf:1: claim 10de:1e04 match=all with=none"]);
    assert_eq!(
        warnings,
        [
            "/run/modprobe.d: cannot be read: Permission denied",
            "/etc/modprobe.d/a.conf: is a directory, not a file",
            "/etc/modprobe.d/c.conf: is too large (maximum 1 MiB)",
        ]
    );
    let (claims, warnings) = adopted(&Files::new(&format!("vfio-pci.ids={}", "a".repeat(1024)), &[]));
    assert!(claims.is_empty());
    assert_eq!(warnings, ["kernel command line: ids= is too long (1024 characters); vfio-pci accepts at most 1023"]);
}
