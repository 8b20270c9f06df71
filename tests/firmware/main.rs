// SPDX-License-Identifier: MIT OR Apache-2.0
//! Holds what `rom verify` says of SeaBIOS and OVMF against SeaBIOS and OVMF, for every ROM of variants.txt, and for what
//! `rom repair` makes of it. `make firmware`; `cargo test --test firmware -- WORD...` takes those whose name has a word.

#[path = "../it/rom/build.rs"]
#[allow(dead_code, reason = "shared with the tests in tests/it, which use more of it")]
mod build;

mod ask;
mod real;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use ask::{CARD, OVMF};
use vfio_early::pci::ExpectedId;
use vfio_early::rom::{GuestMachine, JudgedRom, Usable, judge, parse, repair};

/// So many cards are in one virtual machine.
const TOGETHER: usize = 12;

/// A ROM, and what the program says of it.
struct Variant {
    name: String,
    alone: bool,
    rom: Vec<u8>,
    judged: JudgedRom,
    /// What the firmware has to do if this is a repaired ROM: the answers before the repair.
    before: Option<(Usable, Usable)>,
}

fn variant(name: &str, alone: bool, rom: Vec<u8>, before: Option<(Usable, Usable)>) -> Variant {
    let id: ExpectedId = CARD.parse().unwrap();
    Variant { name: name.to_owned(), alone, judged: judge(parse(&rom), Some(&id)), rom, before }
}

/// Every ROM of variants.txt whose name has one of the words, each followed by its repaired form if there is one.
fn variants(words: &[String]) -> Vec<Variant> {
    let id: ExpectedId = CARD.parse().unwrap();
    let mut all = Vec::new();
    for block in include_str!("variants.txt").split("\n== ").skip(1) {
        let (name, description) = block.split_once('\n').unwrap();
        if !words.is_empty() && words.iter().all(|word| !name.contains(word.as_str())) {
            continue;
        }
        let alone = description.starts_with("alone\n");
        let rom = build::build_with(description.trim_start_matches("alone\n"), &real::image);
        let as_it_is = variant(name, alone, rom, None);
        let answers = (as_it_is.judged.ovmf.answer, as_it_is.judged.seabios.answer);
        let repaired = repair(&as_it_is.rom, Some(&id), GuestMachine::default())
            .ok()
            .filter(|repaired| !repaired.changes.is_empty());
        let wants_repair = answers.0 == Usable::AfterRepair || answers.1 == Usable::AfterRepair;
        assert!(repaired.is_some() || !wants_repair, "{name}: told to be repairable, but is not");
        all.push(as_it_is);
        all.extend(
            repaired.map(|repaired| variant(&format!("{name}, repaired"), alone, repaired.bytes, Some(answers))),
        );
    }
    all
}

/// Where the drivers start that the program says OVMF runs.
fn told(judged: &JudgedRom) -> BTreeSet<usize> {
    let numbers = judged.ovmf.text.split(" in image ").skip(1);
    let offset = |text: &str| {
        let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
        judged.rom.images[digits.parse::<usize>().unwrap()].offset
    };
    if judged.ovmf.answer == Usable::Yes { numbers.map(offset).collect() } else { BTreeSet::new() }
}

/// Where the program and the firmwares disagree.
fn compare(variant: &Variant, ovmf: &BTreeSet<usize>, seabios: bool) -> Vec<String> {
    let judged = &variant.judged;
    let mut wrong = Vec::new();
    let told = told(judged);
    // Where the header names another machine than the driver's own, edk2-stable202211 starts a driver beside those whose
    // headers are right; edk2 of 2024 only if there is no other.
    let foreign = |offset: &usize| {
        let image = judged.rom.images.iter().find(|image| image.offset == *offset);
        image.and_then(|image| image.efi.as_ref()).is_some_and(|efi| efi.machine != 0x8664)
    };
    if !told.is_subset(ovmf) || !ovmf.difference(&told).all(|offset| !told.is_empty() && foreign(offset)) {
        wrong.push(format!(
            "OVMF ran {ovmf:x?}; told: {}: {} ({told:x?})",
            judged.ovmf.answer.name(),
            judged.ovmf.text
        ));
    }
    if (judged.seabios.answer == Usable::Yes) != seabios {
        let ran = if seabios { "ran it" } else { "did not run it" };
        wrong.push(format!("SeaBIOS {ran}; told: {}: {}", judged.seabios.answer.name(), judged.seabios.text));
    }
    if let Some((for_ovmf, for_seabios)) = variant.before {
        if for_ovmf != Usable::No && ovmf.is_empty() {
            wrong.push(format!("OVMF does not run it, although {} was told before the repair", for_ovmf.name()));
        }
        if for_seabios != Usable::No && !seabios {
            wrong.push(format!("SeaBIOS does not run it, although {} was told before the repair", for_seabios.name()));
        }
    }
    wrong
}

/// What is missing here.
fn missing() -> Option<String> {
    let files = [(real::ROM, "ipxe-qemu"), (OVMF, "ovmf")];
    let absent = files.iter().find(|(file, _)| !Path::new(file).exists());
    let no_qemu = Command::new("qemu-system-x86_64").arg("--version").output().is_err();
    absent
        .map(|(file, package)| format!("{file} is missing: install {package}"))
        .or_else(|| no_qemu.then(|| "qemu-system-x86_64 is missing: install qemu-system-x86".to_owned()))
}

/// What OVMF does with the ROMs, in virtual machines that hold several of them.
fn ask_ovmf(folder: &Path, variants: &[Variant]) -> Vec<BTreeSet<usize>> {
    let mut answers = vec![BTreeSet::new(); variants.len()];
    let (alone, together): (Vec<usize>, Vec<usize>) = (0..variants.len()).partition(|&index| variants[index].alone);
    for group in together.chunks(TOGETHER).chain(alone.chunks(1)) {
        let roms: Vec<_> = group.iter().map(|&index| variants[index].rom.clone()).collect();
        match ask::ovmf(folder, &roms, false) {
            Some(boot) => group.iter().zip(boot.drivers).for_each(|(&index, drivers)| answers[index] = drivers),
            // A guest that hangs runs nothing.
            None if group.len() == 1 => println!("{}: OVMF does not come up", variants[group[0]].name),
            None => {
                let names: Vec<_> = group.iter().map(|&index| variants[index].name.as_str()).collect();
                panic!("OVMF does not come up with: {}", names.join(", "));
            }
        }
    }
    answers
}

/// Whether SeaBIOS runs a ROM. With some of them it never comes to an end: then it has run nothing.
fn ask_seabios(folder: &Path, variant: &Variant) -> bool {
    ask::seabios(folder, &variant.rom).unwrap_or_else(|_| {
        println!("{}: SeaBIOS does not come up", variant.name);
        false
    })
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    if let Some(missing) = missing() {
        println!("NOT RUN: the ROMs in SeaBIOS and OVMF: {missing}");
        return ExitCode::SUCCESS;
    }
    let folder: PathBuf = std::env::temp_dir().join(format!("vfio-early-firmware-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let variants = variants(&words);
    // The control: a driver that is listed does manage its card, and a card without a ROM gets none.
    if words.is_empty() {
        let whole = std::fs::read(real::ROM).unwrap();
        let boot = ask::ovmf(&folder, &[whole, vec![0; 2048]], true).expect("OVMF comes up");
        assert!(boot.manages[0] && boot.drivers[1].is_empty(), "the driver of the real ROM manages a device");
    }
    // Both at a time.
    let (started, ran) = std::thread::scope(|scope| {
        let ovmf = scope.spawn(|| ask_ovmf(&folder, &variants));
        let seabios: Vec<bool> = variants.iter().map(|variant| ask_seabios(&folder, variant)).collect();
        (ovmf.join().unwrap(), seabios)
    });
    let mut failed = 0;
    for ((variant, started), seabios) in variants.iter().zip(&started).zip(ran) {
        let wrong = compare(variant, started, seabios);
        let (ovmf, bios) = (variant.judged.ovmf.answer.name(), variant.judged.seabios.answer.name());
        println!("{}: {}, OVMF {ovmf}, SeaBIOS {bios}", variant.name, variant.judged.verdict.name());
        for line in &wrong {
            println!("  WRONG: {line}");
        }
        failed += usize::from(!wrong.is_empty());
    }
    let _ = std::fs::remove_dir_all(&folder);
    println!("firmware: {} passed, {failed} failed", variants.len() - failed);
    if failed == 0 && !variants.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
