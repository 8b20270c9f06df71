// SPDX-License-Identifier: MIT OR Apache-2.0
//! Asks the firmwares: QEMU without KVM, one processor, a network card with the ROM in question.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// OVMF and its variables, where Debian has them.
pub(crate) const OVMF: &str = "/usr/share/OVMF/OVMF_CODE_4M.fd";
const VARIABLES: &str = "/usr/share/OVMF/OVMF_VARS_4M.fd";
/// A shell for builds of OVMF that have none (package efi-shell-x64).
const SHELL: &str = "/usr/share/efi-shell-x64/shellx64.efi";

/// The ID of the card.
pub(crate) const CARD: &str = "8086:10d3";

fn qemu() -> Command {
    let mut command = Command::new("qemu-system-x86_64");
    let line = "-M q35,accel=tcg -smp 1 -m 256 -nodefaults -vga none -display none -monitor none -nic none \
                -global apic-common.vapic=off";
    command.args(line.split_whitespace()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Waits until the file has one of the texts, or the time is up; the file's content.
fn wait(mut child: Child, file: &Path, texts: &[&str], limit: Duration) -> String {
    let start = Instant::now();
    loop {
        let ended = child.try_wait().unwrap().is_some();
        let said = String::from_utf8_lossy(&fs::read(file).unwrap_or_default()).into_owned();
        if ended || texts.iter().any(|text| said.contains(text)) || start.elapsed() > limit {
            let _ = child.kill();
            let _ = child.wait();
            return said;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Whether SeaBIOS runs the ROM. It says so on its debug port.
pub(crate) fn seabios(folder: &Path, rom: &[u8]) -> Result<bool, String> {
    let (file, log) = (folder.join("seabios.rom"), folder.join("seabios.log"));
    fs::write(&file, rom).unwrap();
    let _ = fs::remove_file(&log);
    let mut command = qemu();
    command.arg("-chardev").arg(format!("file,id=log,path={}", log.display()));
    command.args(["-device", "isa-debugcon,iobase=0x402,chardev=log", "-device"]);
    command.arg(format!("e1000e,addr=2,romfile={}", file.display()));
    let ran = "Running option rom at c000:0003";
    let said = wait(command.spawn().unwrap(), &log, &[ran, "Booting from"], Duration::from_secs(60));
    match (said.contains(ran), said.contains("Booting from")) {
        (true, _) => Ok(true),
        (_, true) => Ok(false),
        _ => Err(said),
    }
}

/// A boot of OVMF with a card for each ROM.
pub(crate) struct Boot {
    /// For each ROM, where the images start whose drivers OVMF has loaded and started.
    pub(crate) drivers: Vec<BTreeSet<usize>>,
    /// For each ROM, whether a driver from the ROM of this very card manages a device.
    pub(crate) manages: Vec<bool>,
}

/// Boots OVMF to its shell, which lists the drivers that were started, and from where. `connect` also lets them take their
/// devices. `None`: the shell never came.
pub(crate) fn ovmf(folder: &Path, roms: &[Vec<u8>], connect: bool) -> Option<Boot> {
    let esp = folder.join("esp");
    fs::create_dir_all(esp.join("EFI/BOOT")).unwrap();
    let connect = if connect { "connect -r\r\n" } else { "" };
    let script = format!("@echo -off\r\n{connect}drivers\r\ndh -p LoadedImage -v\r\necho THAT-IS-ALL\r\nreset -s\r\n");
    fs::write(esp.join("startup.nsh"), script).unwrap();
    if Path::new(SHELL).exists() {
        fs::copy(SHELL, esp.join("EFI/BOOT/BOOTX64.EFI")).unwrap();
    }
    let (variables, log) = (folder.join("variables.fd"), folder.join("ovmf.log"));
    fs::copy(VARIABLES, &variables).unwrap();
    let _ = fs::remove_file(&log);
    let mut command = qemu();
    command.arg("-drive").arg(format!("if=pflash,format=raw,readonly=on,file={OVMF}"));
    command.arg("-drive").arg(format!("if=pflash,format=raw,file={}", variables.display()));
    command.arg("-drive").arg(format!("if=none,id=esp,format=raw,readonly=on,file=fat:{}", esp.display()));
    command.args(["-device", "virtio-blk-pci,drive=esp,addr=0x1e,bootindex=0,romfile="]);
    for (number, rom) in roms.iter().enumerate() {
        let file: PathBuf = folder.join(format!("{number}.rom"));
        fs::write(&file, rom).unwrap();
        command.arg("-device").arg(format!("e1000e,addr={:#x},romfile={}", number + 2, file.display()));
    }
    command.arg("-serial").arg(format!("file:{}", log.display()));
    let limit = Duration::from_secs(if roms.len() == 1 { 60 } else { 300 });
    let said = wait(command.spawn().unwrap(), &log, &["THAT-IS-ALL"], limit);
    said.contains("THAT-IS-ALL").then(|| read(&said, roms.len()))
}

/// Reads the lists of the shell: a row of `drivers` starts with handle, version, type and two flags, then come the numbers of
/// devices and children; a row of `dh` starts with the handle, and has the device path of the image.
fn read(said: &str, count: usize) -> Boot {
    let mut managing = BTreeSet::new();
    let mut boot = Boot { drivers: vec![BTreeSet::new(); count], manages: vec![false; count] };
    for line in said.lines().map(str::trim) {
        let words: Vec<&str> = line.split_whitespace().collect();
        if words.len() > 7 && words[1].len() == 8 && words[5].parse::<usize>().is_ok() {
            managing.insert(words[0].to_owned());
        }
        for number in 0..count {
            let path = format!("PciRoot(0x0)/Pci({:#X},0x0)/Offset(0x", number + 2).replace("0X", "0x");
            let Some((handle, rest)) = line.split_once(':') else { continue };
            let Some((_, range)) = rest.split_once(&path) else { continue };
            let start = range.split(',').next().unwrap();
            boot.drivers[number].insert(usize::from_str_radix(start, 16).unwrap());
            boot.manages[number] |= managing.contains(handle);
        }
    }
    boot
}
