// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the program proposes is right: a configuration by `detect` passes `check`.

use std::fs;
use std::path::Path;
use std::process::Output;

use vfio_early::machine::{Node, Recorded, Tree};

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
    // Beside what the machine has.
    const PLACE: &str = "/etc/vfio-early.d/proposed.conf";
    let mut proposed = 0;
    for machine in machines() {
        let mut tree = tree(&machine);
        // What is wrong with the machine's own configuration stays wrong beside a proposal.
        let before = run(&tree, "check").0;
        if before == 1 {
            continue;
        }
        let (status, proposal) = run(&tree, "detect");
        tree.put(PLACE, Node::File(proposal.clone().into_bytes()));
        let claims = proposal.lines().filter(|line| line.starts_with("claim ")).count();
        proposed += claims;
        let (checked, said) = run(&tree, "check");
        // Without an IOMMU, nothing can be claimed, and both say so.
        let expected = if claims == 0 { before } else { status };
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
