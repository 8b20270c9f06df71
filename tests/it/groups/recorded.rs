// SPDX-License-Identifier: MIT OR Apache-2.0
//! Machines recorded with their configuration spaces: the recomputed groups are the kernel's. The output for each machine is
//! in tests/golden.
//!
//! `tests/groups/machines/NAME.machine` was recorded in a guest by tests/boot/groups.sh (with `GROUPS_KEEP`), or converted from
//! NAME.lspci (`VFIO_EARLY_BLESS=1` converts it again).

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use vfio_early::inventory::Inventory;

use super::machine::inventory;
use crate::support::files::{files, here};

/// Converts a dump to a recorded machine.
fn convert(dump: &[u8]) -> Vec<u8> {
    let mut script = Command::new(here("tests/groups/from-lspci.sh"));
    let mut child = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let dump = dump.to_vec();
    let writer = std::thread::spawn(move || input.write_all(&dump).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success());
    output.stdout
}

fn recorded(path: &Path) -> Inventory {
    inventory(&std::fs::read(path).unwrap())
}

#[test]
fn recomputed_groups_are_those_of_the_recorded_kernel() {
    for path in files("tests/groups/machines", "machine") {
        let machine = recorded(&path);
        let examination = machine.examine(None);
        assert!(!examination.groups.is_empty(), "{}", path.display());
        assert!(examination.matches_kernel(), "{}: {}", path.display(), examination.text(&[]));
    }
}

#[test]
fn dumps_of_lspci_convert_to_the_committed_machines() {
    for path in files("tests/groups/machines", "lspci") {
        let converted = convert(&std::fs::read(&path).unwrap());
        let machine = path.with_extension("machine");
        if std::env::var_os("VFIO_EARLY_BLESS").is_some() {
            std::fs::write(&machine, &converted).unwrap();
        }
        assert!(
            converted == std::fs::read(&machine).unwrap(),
            "{} differs from the conversion of {}",
            machine.display(),
            path.display()
        );
    }
}

/// A machine as `lspci -vvnDxxxx` prints it.
fn as_lspci(machine: &Inventory) -> String {
    let mut out = String::new();
    for function in &machine.functions {
        let _ = writeln!(out, "{} {:04x}: 0000:0000", function.address, function.class.with_subclass());
        if let Some(group) = function.sys_group {
            let _ = writeln!(out, "\tIOMMU group: {group}");
        }
        if let Some(driver) = &function.driver {
            let _ = writeln!(out, "\tKernel driver in use: {driver}");
        }
        let full = if function.config.len() > 256 { 4096 } else { 256 };
        let mut config = function.config.clone();
        config.resize(full, 0);
        for (line, bytes) in config.chunks(16).enumerate() {
            let _ = write!(out, "{:02x}:", line * 16);
            for byte in bytes {
                let _ = write!(out, " {byte:02x}");
            }
            out.push('\n');
        }
        out.push('\n');
    }
    out
}

#[test]
fn the_converter_keeps_what_groups_depend_on() {
    for path in files("tests/groups/machines", "machine") {
        let mut machine = recorded(&path);
        let converted = inventory(&convert(as_lspci(&machine).as_bytes()));
        let identities = |machine: &Inventory| machine.devices.iter().map(|one| one.identity.id()).collect::<Vec<_>>();
        assert_eq!(identities(&machine), identities(&converted), "{}", path.display());
        let parents = |machine: &Inventory| machine.functions.iter().map(|one| one.parents.clone()).collect::<Vec<_>>();
        assert_eq!(parents(&machine), parents(&converted), "{}", path.display());
        let groups = |machine: &Inventory| {
            let mut groups = machine.examine(None).groups;
            for group in &mut groups {
                group.r#type = None;
            }
            groups
        };
        let expected = groups(&machine);
        machine.functions = converted.functions;
        assert_eq!(expected, groups(&machine), "{}", path.display());
    }
}

#[test]
fn isolation_is_unknown_in_a_dump_without_extended_configuration_space() {
    let mut machine = recorded(&here("tests/groups/machines/switch.machine"));
    let unknown = |machine: &Inventory| {
        machine.examine(None).groups.iter().filter(|group| group.isolated.name() == "unknown").count()
    };
    assert_eq!(unknown(&machine), 0);
    for function in &mut machine.functions {
        function.config.truncate(256);
    }
    assert!(unknown(&inventory(&convert(as_lspci(&machine).as_bytes()))) > 0);
}
