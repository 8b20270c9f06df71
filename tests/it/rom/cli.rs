// SPDX-License-Identifier: MIT OR Apache-2.0
//! `vfio-early rom` from end to end: files, exit statuses, and what is never written.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Output};

use vfio_early::rom::{ExtractTarget, extract, repair};

use super::{X64, build, described};
use crate::support::disk::Scratch;

impl Scratch {
    fn write(&self, name: &str, content: &[u8]) {
        let path = self.0.join(name.trim_start_matches('/'));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.0.join(name.trim_start_matches('/'))).unwrap()
    }

    /// Every file below, hidden ones too.
    fn files(&self) -> Vec<String> {
        fn collect(directory: &Path, into: &mut Vec<String>) {
            for entry in fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
                if entry.is_dir() && !entry.is_symlink() {
                    collect(&entry, into);
                } else {
                    into.push(entry.to_str().unwrap().to_owned());
                }
            }
        }
        let mut files = Vec::new();
        collect(&self.0, &mut files);
        files.sort();
        files
    }

    fn run(&self, arguments: &str) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vfio-early"));
        command.current_dir(&self.0).args(arguments.split_whitespace()).env_clear().output().unwrap()
    }

    /// Runs the program and expects this status; what it said on both streams.
    fn expect(&self, status: i32, arguments: &str) -> String {
        let output = self.run(arguments);
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(status), "{arguments}: {said}");
        said
    }
}

#[test]
fn every_described_rom_ends_as_its_verdict_says() {
    let scratch = Scratch::new("verdicts");
    for (name, description) in super::descriptions() {
        let rom = build(&description);
        scratch.write("in.rom", &rom);
        let verdict = super::judged(&rom, None).verdict.name();
        let (show, verify, repaired) = match verdict {
            "valid" => (0, 0, 0),
            "repairable" => (0, 1, 0),
            _ => (1, 1, 1),
        };
        assert!(
            scratch.expect(show, "rom show in.rom --machine x64").starts_with(&format!("in.rom: {verdict},")),
            "{name}"
        );
        assert!(
            scratch
                .expect(verify, "rom verify in.rom --json --machine x64")
                .contains(&format!("\"verdict\":\"{verdict}\""))
        );
        let repairs = repair(&rom, None, X64);
        if repairs.is_ok() == (repaired == 0) {
            scratch.expect(repaired, "rom repair in.rom --machine x64 -o out.rom --force");
        }
        match repairs {
            Ok(repaired) => assert_eq!(scratch.read("out.rom"), repaired.bytes, "{name}"),
            Err(_) => assert!(!scratch.0.join("out.rom").exists(), "{name}: nothing is written"),
        }
        assert_eq!(scratch.read("in.rom"), rom, "{name}: the input is never written");
        let _ = fs::remove_file(scratch.0.join("out.rom"));
        assert_eq!(scratch.files().len(), 1, "{name}: {:?}", scratch.files());
    }
}

#[test]
fn a_file_is_replaced_only_when_that_is_asked_for() {
    let scratch = Scratch::new("force");
    let rom = described("several-machines");
    scratch.write("in.rom", &rom);
    scratch.write("out.efi", b"precious");
    assert!(scratch.expect(2, "rom extract in.rom --machine x64 --efi --raw -o out.efi").contains("--force"));
    assert_eq!(scratch.read("out.efi"), b"precious");
    assert!(
        scratch.expect(0, "rom extract in.rom --machine x64 --efi --raw -o=out.efi --force").contains("decompressed")
    );
    assert_eq!(
        scratch.read("out.efi"),
        *extract(&rom, ExtractTarget::EfiDriver { machine: X64, decompress: true }).unwrap().bytes
    );
    scratch.expect(0, "rom extract in.rom --image 1 -o image");
    assert_eq!(scratch.read("image"), *extract(&rom, ExtractTarget::Image(1)).unwrap().bytes);
    assert_eq!(scratch.files().len(), 3);
    // Through a directory that cannot be written, as everybody but root.
    fs::create_dir(scratch.0.join("closed")).unwrap();
    fs::set_permissions(scratch.0.join("closed"), PermissionsExt::from_mode(0o555)).unwrap();
    if fs::write(scratch.0.join("closed/probe"), b"").is_err() {
        scratch.expect(4, "rom extract in.rom --machine x64 --efi -o closed/out");
    }
    scratch.expect(4, "rom extract in.rom --machine x64 --efi -o nowhere/out");
    assert!(!scratch.0.join("nowhere").exists(), "no directory is made");
}

#[test]
fn the_input_is_never_the_output() {
    let scratch = Scratch::new("same");
    let rom = described("padded");
    scratch.write("in.rom", &rom);
    fs::create_dir(scratch.0.join("sub")).unwrap();
    symlink("../in.rom", scratch.0.join("sub/link")).unwrap();
    symlink("sub", scratch.0.join("way")).unwrap();
    fs::hard_link(scratch.0.join("in.rom"), scratch.0.join("hard")).unwrap();
    let absolute = scratch.0.join("in.rom");
    for output in
        ["in.rom", "./in.rom", "way/../in.rom", "sub/link", "hard", absolute.to_str().unwrap(), "sub", "/dev/null"]
    {
        let said = scratch.expect(2, &format!("rom repair in.rom --machine x64 -o {output} --force"));
        assert!(said.contains("the input") || said.contains("not a regular file"), "{output}: {said}");
    }
    // The input by another name: its target is not replaced either.
    scratch.expect(2, "rom repair sub/link -o in.rom --force");
    assert_eq!(scratch.read("in.rom"), rom);
    assert!(fs::symlink_metadata("/dev/null").unwrap().file_type().is_symlink() || !Path::new("/dev/null").is_file());
}

#[test]
fn a_rom_is_repaired_for_the_guest_that_is_named() {
    let scratch = Scratch::new("machine");
    scratch.write("in.rom", &build("image 1002:73bf type=3 blocks=6 last=1\n  efi compression=0\n  pe\n"));
    let said = scratch.expect(1, "rom repair in.rom --machine aarch64 -o out.rom");
    assert!(said.contains("the guest is aarch64"), "{said}");
    scratch.expect(0, "rom repair in.rom --machine x64 -o out.rom");
}

#[test]
fn what_is_said_wrong_changes_nothing() {
    let scratch = Scratch::new("usage");
    scratch.write("in.rom", &described("amd"));
    // Larger than any flash chip.
    fs::File::create(scratch.0.join("large")).unwrap().set_len(64 * 1024 * 1024 + 1).unwrap();
    scratch.write("most", &vec![0xff; 16 * 1024 * 1024]);
    for (status, arguments) in [
        (2, "rom"),
        (2, "rom show"),
        (2, "rom dump nothing -o out"),
        (2, "rom extract in.rom -o out"),
        (2, "rom extract in.rom --image 0 --efi -o out"),
        (2, "rom extract in.rom --image 0 --raw -o out"),
        (2, "rom extract in.rom --image -1 -o out"),
        (2, "rom extract in.rom --efi"),
        (2, "rom repair in.rom"),
        (2, "rom repair in.rom --machine x64 -o out --id 10de"),
        (2, "rom verify in.rom --id 10de:1e04 --device 01:00.0"),
        (1, "rom extract in.rom --image 9 -o out"),
        (1, "rom repair in.rom --machine x64 -o out --id 10de:1e04"),
        (1, "rom show most"),
        (4, "rom show large"),
        (4, "rom show not-there"),
        (4, "rom show ."),
        (4, "rom repair not-there -o out"),
    ] {
        scratch.expect(status, arguments);
        assert_eq!(scratch.files().len(), 3, "{arguments}");
    }
}

/// Below `--root`, the files of the user lie there too, and a link does not lead out of it.
#[test]
fn a_machine_in_a_directory_keeps_its_files_to_itself() {
    let scratch = Scratch::new("root");
    let rom = described("amd");
    let device = "/root/sys/bus/pci/devices/0000:03:00.0";
    scratch.write(&format!("{device}/modalias"), b"pci:v00001002d000067DFsv00001DA2sd0000E353bc03sc00i00\n");
    scratch.write(&format!("{device}/rom"), &rom);
    fs::create_dir_all(scratch.0.join("root/tmp")).unwrap();
    symlink("/", scratch.0.join("root/out-of-it")).unwrap();
    let said = scratch.expect(0, "--root root rom dump 03:00.0 -o /tmp/card.rom");
    assert!(said.starts_with("/tmp/card.rom: valid"), "{said}");
    assert_eq!(scratch.read("root/tmp/card.rom"), rom);
    assert_eq!(scratch.read(&format!("{device}/rom")), rom, "what was read is as it was");
    scratch.expect(0, "--root root rom verify /tmp/card.rom --device 03:00.0");
    scratch.expect(2, "--root root rom dump 03:00.0 -o /out-of-it/../tmp/card.rom");
    scratch.expect(0, "--root root rom dump 03:00.0 -o /out-of-it/tmp/other.rom");
    assert!(scratch.0.join("root/tmp/other.rom").exists(), "the link leads to the root of that machine");
    let piped = scratch.run("--root root rom dump 03:00.0");
    assert_eq!((piped.stdout, piped.status.code()), (rom, Some(0)));
    scratch.write(&format!("{device}/rom"), &[0xff; 512]);
    let said = scratch.expect(1, "--root root rom dump 03:00.0 -o /tmp/third.rom");
    assert!(said.contains("nothing but FF") && !scratch.0.join("root/tmp/third.rom").exists(), "{said}");
}
