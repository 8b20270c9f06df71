// SPDX-License-Identifier: MIT OR Apache-2.0
//! What `guest` prints is what its readers read: a domain for libvirt, one command for a shell, lines for Proxmox VE.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use vfio_early::machine::{Machine, Node, Recorded, Tree};

use crate::rom::described;
use crate::support::disk::Scratch;
use crate::support::files::{here, machines};
use crate::support::{program, text};

/// A machine on which everything but bridges is claimed, so that a guest can have all of it.
fn claimed(machine: &Path) -> (Tree, Vec<String>) {
    let recorded = Recorded::parse(&fs::read(machine).unwrap()).unwrap();
    let mut tree = recorded.tree().clone();
    let mut displays = Vec::new();
    for address in recorded.list("/sys/bus/pci/devices").unwrap_or_default() {
        let class = recorded.attribute(&format!("/sys/bus/pci/devices/{address}/class")).unwrap();
        if class.starts_with(b"0x06") {
            continue;
        }
        let directory = recorded.tree().resolve(&format!("/sys/bus/pci/devices/{address}"), true).unwrap();
        tree.put(&format!("{directory}/driver"), Node::Link("/sys/bus/pci/drivers/vfio-pci".to_owned()));
        // Displays, and one of everything else would only take longer.
        displays.extend(class.starts_with(b"0x03").then_some(address));
    }
    (tree, displays)
}

fn run(tree: &Tree, arguments: &str) -> (i32, String, String) {
    let scratch = Scratch::new("guests");
    let file = scratch.0.join("machine");
    fs::write(&file, text::write(tree, "")).unwrap();
    let Output { status, stdout, stderr } = program::program(&file, arguments).output().unwrap();
    (status.code().unwrap(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

#[test]
fn what_libvirt_gets_is_a_domain() {
    if !program::have("virt-xml-validate", "what vfio-early guest prints is not validated")
        || !program::have("xmllint", "what vfio-early guest prints is not validated")
    {
        return;
    }
    let scratch = Scratch::new("domains");
    let validate = |domain: &str| {
        let file = scratch.0.join("domain.xml");
        fs::write(&file, domain).unwrap();
        Command::new("virt-xml-validate").arg(&file).arg("domain").output().unwrap()
    };
    let mut validated = 0;
    for machine in machines() {
        let (tree, displays) = claimed(&machine);
        for address in displays {
            // Each display with another set of options: all of them with each would only take longer.
            let all = ["", "--os windows --hide-kvm --vcpus 1", "--os windows --domain a&b --memory 512M"];
            let options = all[validated % all.len()];
            let (status, printed, said) = run(&tree, &format!("guest {options} {address}"));
            let why = format!("{}: {options} {address}: {said}", machine.display());
            if status != 0 {
                let known =
                    ["there is no IOMMU", "the IOMMU is", "virtual function", "no IOMMU group", "reserves memory"];
                assert!(known.iter().any(|reason| said.contains(reason)), "{why}");
                assert!(printed.is_empty(), "{why}");
                continue;
            }
            let domain = if options.contains("--domain") {
                printed
            } else {
                let os = "<os><type arch='x86_64' machine='q35'>hvm</type></os>\n";
                let os = if printed.contains("<os") { "" } else { os };
                format!(
                    "<domain type='kvm'>\n<name>guest</name>\n<memory unit='GiB'>8</memory>\n{os}{printed}</domain>\n"
                )
            };
            let output = validate(&domain);
            assert!(output.status.success(), "{why}: {output:?}\n{domain}");
            validated += 1;
        }
    }
    assert!(validated > 20, "only {validated}");
    // The judge can tell.
    assert!(!validate("<domain type='kvm'><name>guest</name><hostdev/></domain>\n").status.success());
}

/// A shell takes the command for QEMU apart as it was meant: every device is an argument of its own.
#[test]
fn a_shell_reads_the_command() {
    let (mut tree, _) = claimed(&here("tests/machines/two-identical-gpus-running.txt"));
    let whole = described("nvidia-sysfs");
    tree.put("/run/vfio-early/rom/0000:65:00.0.rom", Node::File(whole));
    let (status, printed, said) = run(&tree, "guest --format qemu --os windows 65:00.0");
    assert_eq!(status, 0, "{said}");
    assert_eq!(printed.lines().count(), 1, "{printed}");
    let script = format!("set -- {printed}\nprintf '%s\\n' \"$@\"");
    let output = Command::new("sh").arg("-euc").arg(&script).output().unwrap();
    let words = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{printed}");
    assert!(words.lines().any(|word| word == "vfio-pci,host=0000:65:00.1,bus=port1,addr=0.1"), "{words}");
}

/// A saved ROM is used only if it is valid for the device, and Windows gets the firmware that it has an image for.
#[test]
fn option_roms_decide_on_firmware() {
    let machine = here("tests/machines/server-eight-gpus-claimed.txt");
    let (tree, _) = claimed(&machine);
    let told = |rom: Option<&str>, arguments: &str| {
        let mut tree = tree.clone();
        if let Some(rom) = rom {
            tree.put("/run/vfio-early/rom/0000:04:00.0.rom", Node::File(described(rom)));
        }
        let (status, printed, said) = run(&tree, &format!("guest {arguments} 04:00.0"));
        assert_eq!(status, 0, "{said}");
        (printed, said)
    };
    let (printed, _) = told(Some("nvidia-sysfs"), "--os windows");
    assert!(printed.contains("<rom file='/run/vfio-early/rom/0000:04:00.0.rom'/>"), "{printed}");
    assert!(printed.contains("<os firmware='efi'>"), "{printed}");
    let (printed, said) = told(Some("nvidia-sysfs"), "--os windows --format qemu");
    assert!(printed.contains("romfile=/run/vfio-early/rom/0000:04:00.0.rom"), "{printed}");
    assert!(said.contains("no UEFI firmware for QEMU was found"), "{said}");
    let (printed, _) = told(Some("nvidia-sysfs"), "--os windows --format proxmox");
    assert!(printed.contains("bios: ovmf") && printed.contains("romfile=0000-04-00.0.rom"), "{printed}");
    // Nothing of this for Linux, but for the ROM.
    let (printed, _) = told(Some("nvidia-sysfs"), "--os linux");
    assert!(printed.contains("rom file=") && !printed.contains("firmware="), "{printed}");
    // Not this card's.
    let (printed, said) = told(Some("intel"), "--os windows");
    assert!(printed.contains("<rom bar='off'/>") && said.contains("the option ROM is invalid"), "{printed}{said}");
    let (printed, said) = told(None, "--os windows");
    assert!(!printed.contains("<rom") && said.contains("its option ROM is not saved"), "{printed}{said}");
}
