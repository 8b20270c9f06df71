// SPDX-License-Identifier: MIT OR Apache-2.0
//! The initramfs leaves a digest of its configuration, and `check` on the running system holds the files against it.

use std::fs;

use vfio_early::machine::Node;

use crate::support::program::{MachineRoot, tree};

#[test]
fn a_configuration_that_the_booted_image_did_not_hold_is_told() {
    let mut files = tree("two-identical-gpus-running", "claim 65:00.0 id=10de:2204\n");
    files.put("/etc/vfio-early.d/b.conf", Node::File(b"set framebuffer keep\n".to_vec()));
    files.put("/etc/initrd-release", Node::File(Vec::new()));
    let machine = MachineRoot::new(&files);
    let told = || machine.run("check").words().contains("the initramfs of this boot holds another configuration");
    machine.run("claim");
    // On to the real root, where a claim on the command line does not make the files those of the image.
    fs::remove_file(machine.at("/etc/initrd-release")).unwrap();
    assert!(!told());
    machine.run("claim");
    assert!(!told());
    fs::write(machine.at("/etc/vfio-early.d/b.conf"), "set framebuffer release\n").unwrap();
    assert!(told());
    machine.run("claim");
    machine.run("claim --device 0000:65:00.0");
    assert!(told());
    assert!(!machine.run("check --image").words().contains("initramfs of this boot"));
    // The same content under another name may be read in another order.
    fs::write(machine.at("/etc/vfio-early.d/b.conf"), "set framebuffer keep\n").unwrap();
    assert!(!told());
    fs::rename(machine.at("/etc/vfio-early.d/b.conf"), machine.at("/etc/vfio-early.d/c.conf")).unwrap();
    assert!(told());
}
