// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the program proposes is right: a configuration by `detect` passes `check`, and a domain by `libvirt` is one.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use vfio_early::machine::{Machine, Node, Recorded, Tree};

use crate::support::disk::Scratch;
use crate::support::files::machines;
use crate::support::{program, text};

fn tree(machine: &Path) -> Tree {
    Recorded::parse(&fs::read(machine).unwrap()).unwrap().into_tree()
}

fn run(tree: &Tree, arguments: &str) -> (i32, String) {
    let scratch = Scratch::new("proposals");
    let file = scratch.0.join("machine");
    fs::write(&file, text::write(tree, "")).unwrap();
    let Output { status, stdout, .. } = program::program(&file, arguments).output().unwrap();
    (status.code().unwrap(), String::from_utf8(stdout).unwrap())
}

#[test]
fn what_detect_proposes_passes_check() {
    const PLACE: &str = "/etc/vfio-early.d/gpu.conf";
    let mut proposed = 0;
    for machine in machines() {
        let mut tree = tree(&machine);
        // What is wrong with the machine's own configuration stays wrong beside a proposal.
        if run(&tree, "check").0 == 1 {
            continue;
        }
        let (status, proposal) = run(&tree, "detect");
        tree.put(PLACE, Node::File(proposal.clone().into_bytes()));
        let claims = proposal.lines().filter(|line| line.starts_with("claim ")).count();
        proposed += claims;
        let (checked, said) = run(&tree, "check");
        // Without an IOMMU, nothing can be claimed, and both say so.
        let expected = if claims == 0 { 0 } else { status };
        assert_eq!(checked, expected, "{}:\n{proposal}\n{said}", machine.display());
        assert!(!said.contains("error") || expected == 3, "{}:\n{proposal}\n{said}", machine.display());
        let (_, again) = run(&tree, "detect");
        assert!(!again.lines().any(|line| line.starts_with("claim ")), "{}: {again}", machine.display());
        // What stands there for those who mean it has to be right as well.
        let meant: String = proposal
            .lines()
            .map(|line| line.strip_prefix('#').filter(|rest| rest.starts_with(['c', 's'])).unwrap_or(line))
            .flat_map(|line| [line, "\n"])
            .collect();
        tree.put(PLACE, Node::File(meant.into_bytes()));
        let (checked, said) = run(&tree, "check");
        assert!(checked == 0 || checked == 3, "{}: {said}", machine.display());
    }
    assert!(proposed > 10);
}

#[test]
fn what_libvirt_gets_is_a_domain() {
    if !program::have("virt-xml-validate", "what vfio-early libvirt prints is not validated")
        || !program::have("xmllint", "what vfio-early libvirt prints is not validated")
    {
        return;
    }
    let scratch = Scratch::new("domains");
    let mut validated = 0;
    for machine in machines() {
        let mut tree = tree(&machine);
        let recorded = Recorded::parse(&fs::read(&machine).unwrap()).unwrap();
        for address in recorded.list("/sys/bus/pci/devices").unwrap_or_default() {
            let class = recorded.attribute(&format!("/sys/bus/pci/devices/{address}/class")).unwrap();
            // Displays, and one of everything else would only take longer.
            if !class.starts_with(b"0x03") {
                continue;
            }
            tree.put(&format!("/run/vfio-early/rom/{address}.rom"), Node::File(b"\x55\xaa".to_vec()));
            let (status, fragment) = run(&tree, &format!("libvirt {address}"));
            let units = recorded.list("/sys/class/iommu").unwrap_or_default();
            assert_eq!(status, if units.is_empty() { 3 } else { 0 }, "{}: {address}", machine.display());
            assert!(fragment.contains(&format!("{address}.rom")), "{fragment}");
            let domain = format!(
                "<domain type='kvm'>\n<name>guest</name>\n<memory unit='GiB'>8</memory>\n\
                 <os><type arch='x86_64' machine='q35'>hvm</type></os>\n{fragment}</domain>\n"
            );
            let file = scratch.0.join(format!("{validated}.xml"));
            fs::write(&file, &domain).unwrap();
            let output = Command::new("virt-xml-validate").arg(&file).arg("domain").output().unwrap();
            assert!(output.status.success(), "{}: {output:?}\n{domain}", machine.display());
            validated += 1;
        }
    }
    assert!(validated > 20);
    // The judge can tell.
    let file = scratch.0.join("wrong.xml");
    fs::write(&file, "<domain type='kvm'><name>guest</name><hostdev/></domain>\n").unwrap();
    assert!(!Command::new("virt-xml-validate").arg(&file).arg("domain").output().unwrap().status.success());
}
