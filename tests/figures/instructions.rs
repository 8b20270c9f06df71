// SPDX-License-Identifier: MIT OR Apache-2.0
//! How many instructions a command takes: the same each time on any machine, so that growth of a few percent is seen.
//! `instructions.txt` holds the counts; `VFIO_EARLY_BLESS=1` writes them anew, and the change is part of the commit.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use vfio_early::rom::{ExtractTarget, GuestMachine, extract};

use super::build::{build, compress_in_blocks};
use super::disk::Scratch;
use super::program::{have, say};

/// So many functions in all.
const SIZES: [usize; 4] = [16, 64, 512, 4096];
/// A change of so many percent has to be in the file.
const PERCENT: u64 = 3;
/// The recorded machine that is filled up, and how many functions it has.
const BASE: (&str, usize) = ("desktop", 16);

/// The recorded machine with more network functions, as a machine with SR-IOV has them, each in a group of its own.
fn machine(functions: usize) -> String {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut text = fs::read_to_string(manifest.join(format!("tests/machines/{}.txt", BASE.0))).unwrap();
    text.push_str("\nat /\netc/vfio-early.conf = claim 01:00.0\n");
    let mut links = String::from("at /sys/bus/pci/devices\n");
    for index in 0..functions - BASE.1 {
        let address = format!("0000:{:02x}:{:02x}.{}", 0xc1 + index / 256, index / 8 % 32, index % 8);
        let group = 200 + index;
        write!(
            text,
            "\nat /sys/devices/pci0000:c0/{address}\n\
             modalias = pci:v00008086d00001889sv00000000sd00000000bc02sc00i00\n\
             driver_override = (null)\n\
             iommu_group -> ../../../kernel/iommu_groups/{group}\n\
             at /sys/kernel/iommu_groups/{group}\n\
             type = DMA-FQ\n\
             devices/{address} -> ../../../../devices/pci0000:c0/{address}\n"
        )
        .unwrap();
        writeln!(links, "{address} -> ../../../devices/pci0000:c0/{address}").unwrap();
    }
    text + &links
}

/// The instructions of one run.
fn count(scratch: &Scratch, binary: &Path, arguments: &[&str]) -> u64 {
    let out = scratch.0.join("callgrind");
    let mut command = Command::new("valgrind");
    command.args(["-q", "--tool=callgrind", &format!("--callgrind-out-file={}", out.display())]);
    command.arg(binary).args(arguments).env_clear().env("PATH", "/usr/bin:/bin");
    let output = command.output().unwrap();
    assert!(!output.stdout.is_empty(), "{arguments:?}: {output:?}");
    let text = fs::read_to_string(out).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("summary: ").or_else(|| line.strip_prefix("totals: ")));
    line.unwrap().trim().parse().unwrap()
}

/// The compiler, whose optimiser decides as well.
fn compiler() -> String {
    let output = Command::new("rustc").arg("--version").output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// The lines `COUNT NAME` below the compiler's.
fn kept(path: &Path) -> (String, BTreeMap<String, u64>) {
    let text = fs::read_to_string(path).unwrap_or_default();
    let compiler = text.lines().next().unwrap_or_default().trim_start_matches("# ").to_owned();
    let lines = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.trim().split_once(' '));
    (compiler, lines.map(|(count, name)| (name.to_owned(), count.parse().unwrap())).collect())
}

/// A ROM of the EFI driver that Debian's iPXE has, as it is and compressed.
fn roms(scratch: &Scratch) -> Option<[PathBuf; 2]> {
    let Ok(ipxe) = fs::read("/usr/lib/ipxe/qemu/efi-e1000e.rom") else {
        say("NOT MEASURED: rom show: no ipxe-qemu here");
        return None;
    };
    let driver =
        extract(&ipxe, ExtractTarget::EfiDriver { machine: GuestMachine::default(), decompress: true }).unwrap().bytes;
    let rom = |name: &str, compression: u8, stored: &[u8]| {
        let blocks = (0x200 + stored.len()).div_ceil(512);
        let mut rom =
            build(&format!("image 8086:10d3 type=3 blocks={blocks}\n  efi machine=0x8664 compression={compression}\n"));
        rom[0x200..0x200 + stored.len()].copy_from_slice(stored);
        let path = scratch.0.join(name);
        fs::write(&path, rom).unwrap();
        path
    };
    Some([rom("plain.rom", 0, &driver), rom("compressed.rom", 1, &compress_in_blocks(&driver, 16_000))])
}

#[test]
fn no_command_takes_more_instructions_than_before() {
    let Some(binary) = super::release() else { return };
    if !have("valgrind", "how many instructions a command takes") {
        return;
    }
    let scratch = Scratch::new("instructions");
    let mut counts = BTreeMap::new();
    for size in SIZES {
        let path = scratch.0.join(format!("{size}.txt"));
        fs::write(&path, machine(size)).unwrap();
        let path = path.to_str().unwrap();
        for command in ["claim --dry-run", "status", "groups", "detect"] {
            let mut arguments = vec!["--root", path];
            arguments.extend(command.split(' '));
            counts.insert(format!("{command}, {size} functions"), count(&scratch, &binary, &arguments));
        }
    }
    if let Some(roms) = roms(&scratch) {
        let [plain, packed] = roms.map(|rom| count(&scratch, &binary, &["rom", "show", rom.to_str().unwrap()]));
        say(&format!(
            "figures: rom show: {plain} instructions, {packed} where the driver is compressed, at most three times as many"
        ));
        assert!(packed <= 3 * plain, "{packed} is more than three times {plain}");
        counts.insert("rom show, an EFI driver".to_owned(), plain);
        counts.insert("rom show, an EFI driver, compressed".to_owned(), packed);
    }
    for command in ["claim --dry-run", "status", "groups", "detect"] {
        let at = |size: usize| counts[&format!("{command}, {size} functions")];
        let each = |few: usize, many: usize| (at(many) - at(few)) / u64::try_from(many - few).unwrap();
        let (first, last) = (each(SIZES[1], SIZES[2]), each(SIZES[2], SIZES[3]));
        say(&format!("figures: {command}: {first} instructions for each function more, {last} with thousands"));
        // The files of a recorded machine are in a tree, whose depth grows too.
        assert!(5 * last < 6 * first, "{command} grows faster than the machine: {first}, then {last}");
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/figures/instructions.txt");
    let (with, before) = kept(&path);
    if std::env::var_os("VFIO_EARLY_BLESS").is_some() {
        let lines = counts.iter().fold(String::new(), |text, (name, count)| text + &format!("{count:>12} {name}\n"));
        fs::write(&path, format!("# {}\n{lines}", compiler())).unwrap();
        return;
    }
    if with != compiler() {
        say(&format!("NOT COMPARED: the counts were taken with {with}, this is {}", compiler()));
        return;
    }
    let grown = counts.iter().filter(|(name, count)| {
        let before = before.get(*name).copied().unwrap_or(0);
        **count > before + before * PERCENT / 100
    });
    let grown: Vec<String> =
        grown.map(|(name, count)| format!("{name}: {count}, {:?} before", before.get(name))).collect();
    assert!(
        grown.is_empty(),
        "more instructions than {} says (VFIO_EARLY_BLESS=1 cargo test --test figures instructions):\n{}",
        path.display(),
        grown.join("\n")
    );
}
