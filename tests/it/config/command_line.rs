// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel command line: what is wrong there, what is none of our business, and the way back.

use super::*;

/// A kernel command line and what is said about it, after the place.
const WRONG_COMMAND_LINES: &[(&str, &str)] = &[
    ("vfio_early", "vfio_early=``: expected on or off"),
    ("vfio_early=0", "vfio_early=`0`: expected on or off"),
    ("vfio_early=OFF", "vfio_early=`OFF`: expected on or off"),
    ("vfio_early=no vfio_early=on", "vfio_early=`no`: expected on or off"),
    (
        "vfio_early.clam=01:00.0",
        "unknown vfio_early parameter `clam` (did you mean `claim`?); expected claim, trial, iommu, isolation, on-failure, framebuffer, adopt-ids or step-timeout",
    ),
    (
        "vfio_early.=1",
        "unknown vfio_early parameter ``; expected claim, trial, iommu, isolation, on-failure, framebuffer, adopt-ids or step-timeout",
    ),
    ("vfio_early.claim", "vfio_early.claim: expected vfio_early.claim=VALUE"),
    ("vfio-early.step-timeout", "vfio_early.step_timeout: expected vfio_early.step_timeout=VALUE"),
    (
        "vfio_early.claim=",
        "``: expected a selector: an address (01:00.0), a slot (01:00.*), a path (00:01.0/00.0), an ID (10de:1e04), virtual functions (vf:01:00.0) or a modalias pattern (pci:v000010DEd*bc03*)",
    ),
    (
        "vfio_early.claim=with=group,01:00.0",
        "`with=group`: expected a selector: an address (01:00.0), a slot (01:00.*), a path (00:01.0/00.0), an ID (10de:1e04), virtual functions (vf:01:00.0) or a modalias pattern (pci:v000010DEd*bc03*)",
    ),
    (
        "vfio_early.claim=01:00.0,,02:00.0",
        "``: expected a selector: an address (01:00.0), a slot (01:00.*), a path (00:01.0/00.0), an ID (10de:1e04), virtual functions (vf:01:00.0) or a modalias pattern (pci:v000010DEd*bc03*)",
    ),
    ("vfio_early.claim=\"pci:v* d*\"", "`pci:v* d*`: expected a modalias pattern such as pci:v000010DEd*bc03*"),
    ("vfio_early.claim=01:00.0,with=all", "`with=all`: expected card, group or none"),
    (
        "vfio_early.claim=01:00.0,01:00.0",
        "0000:01:00.0 is already claimed (kernel command line); remove one of the claims",
    ),
    ("vfio_early.iommu=on", "iommu `on`: expected required or optional"),
    ("vfio_early.on-failure=", "on-failure ``: expected restore or keep"),
    ("vfio_early.step_timeout=0", "step-timeout `0`: expected a number of seconds from 1 to 300"),
];

#[test]
fn every_wrong_parameter_is_told() {
    for (line, message) in WRONG_COMMAND_LINES {
        let machine = Files::new(&format!("quiet {line} ro"), &[]);
        assert_eq!(machine.errors(), [format!("kernel command line: {message}")], "{line:?}");
    }
}

#[test]
fn quotes_and_bytes_of_others_do_no_harm() {
    let mut line = b"BOOT_IMAGE=/vmlinuz root=LABEL=\xc3 \"vfio-early.claim=01:00.0,with=none\" vfio_early.claim=\"02:00.0\" vfio_earlyx=1 xvfio_early=2 vfio-early=\"on\" -- vfio_early.iommu=optional".to_vec();
    line.push(b'\n');
    let loaded = Files::new("", &[]).with("/proc/cmdline", Node::File(line)).loaded();
    assert_eq!(
        claims(&loaded.config),
        ["kernel command line: claim 0000:01:00.0 with=none", "kernel command line: claim 0000:02:00.0"]
    );
    assert_eq!(loaded.config.settings.iommu, IommuPolicy::Optional);
}

#[test]
fn off_wins_over_whatever_is_broken() {
    let off = Loaded { config: Config { off: true, ..Config::default() }, ..Loaded::default() };
    for line in [
        "vfio_early=off",
        "vfio-early=off vfio_early.claim=nonsense vfio_early.x=y",
        "vfio_early=on vfio_early=what vfio_early=\"off\"",
        "quiet -- \"vfio_early=off\"",
    ] {
        let machine = Files::new(line, &[("/etc/vfio-early.d/a.conf", "nonsense")])
            .with("/etc/vfio-early.conf", Node::Directory)
            .with("/etc/modprobe.d", Node::Broken(Errno::EIO));
        assert_eq!(machine.loaded(), off, "{line}");
    }
    assert!(!Files::new("vfio_early=off vfio_early=on", &[]).loaded().config.off);
    assert_eq!(
        Files::new("vfio_early=off vfio_early=of", &[]).errors(),
        ["kernel command line: vfio_early=`of`: expected on or off"]
    );
}

#[test]
fn a_command_line_that_cannot_be_read_is_told() {
    let machine = Files::new("", &[]).with("/proc/cmdline", Node::Broken(Errno::EACCES));
    assert_eq!(machine.errors(), ["/proc/cmdline: cannot be read: Permission denied"]);
    let loaded = Files(Tree::default()).loaded();
    let warnings: Vec<_> = loaded.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(warnings, ["/proc/cmdline: is missing; the kernel command line is ignored"]);
}
