// SPDX-License-Identifier: MIT OR Apache-2.0
//! The guest as a command line of QEMU.

use std::fmt::Write as _;

use super::Guest;
use super::firmware::{Firmware, Rom};
use super::hyperv::CLOCK;
use super::options::Os;

/// One line for a shell.
pub fn qemu(guest: &Guest) -> String {
    let mut words: Vec<String> = Vec::new();
    // QEMU pins no vCPU itself.
    let pinned = guest.pinned();
    if !pinned.is_empty() {
        words.extend(["taskset".to_owned(), "-c".to_owned(), pinned]);
    }
    let x86 = guest.processor.is_x86();
    words.push(if x86 { "qemu-system-x86_64" } else { "qemu-system-aarch64" }.to_owned());
    let mut add = |option: &str, value: String| words.extend([option.to_owned(), value]);
    let mut board = if x86 { "q35" } else { "virt,gic-version=max" }.to_owned();
    let windows = guest.options.os == Os::Windows && x86;
    if windows {
        board.push_str(",hpet=off");
    }
    if let Some(backend) = memory_backend(guest) {
        board.push_str(",memory-backend=ram");
        add("-object", backend);
    }
    add("-machine", board);
    add("-accel", if guest.kvm { "kvm" } else { "tcg" }.to_owned());
    add("-cpu", processor(guest));
    let placement = &guest.placement;
    add("-smp", format!("{},sockets=1,cores={},threads={}", placement.vcpus.len(), placement.cores, placement.threads));
    add("-m", format!("{}M", guest.memory.mib));
    if windows {
        add("-rtc", "base=localtime,driftfix=slew".to_owned());
        add("-global", "kvm-pit.lost_tick_policy=delay".to_owned());
    }
    if let Some((code, variables)) = guest.firmware_files.filter(|_| guest.firmware == Firmware::Uefi) {
        add("-drive", format!("if=pflash,format=raw,readonly=on,file={code}"));
        // Its variables last as long as the guest; a copy of this file keeps them.
        add("-drive", format!("if=pflash,format=raw,snapshot=on,file={variables}"));
    }
    add("-display", "none".to_owned());
    add("-serial", "mon:stdio".to_owned());
    words.push("-nodefaults".to_owned());
    devices(guest, &mut words);
    let quoted: Vec<String> = words.iter().map(|word| quoted(word)).collect();
    quoted.join(" ") + "\n"
}

/// A root port for each card, and its functions behind it.
fn devices(guest: &Guest, words: &mut Vec<String>) {
    let mut add = |option: &str, value: String| words.extend([option.to_owned(), value]);
    if guest.options.iommufd {
        add("-object", "iommufd,id=iommufd".to_owned());
    }
    for (card, port) in guest.cards.iter().zip(1_usize..) {
        add("-device", format!("pcie-root-port,id=port{port},bus=pcie.0,chassis={port}"));
        for function in card {
            let number = function.number;
            let mut device = format!("vfio-pci,host={},bus=port{port},addr=0.{number:x}", function.address);
            if number == 0 && card.len() > 1 {
                device.push_str(",multifunction=on");
            }
            match &function.rom {
                Rom::Device => {}
                // A comma in a value is written twice.
                Rom::File(file) => {
                    let _ = write!(device, ",romfile={}", file.replace(',', ",,"));
                }
                Rom::Off(_) => device.push_str(",rombar=0"),
            }
            if guest.options.iommufd {
                device.push_str(",iommufd=iommufd");
            }
            add("-device", device);
        }
    }
}

/// The memory where it has to be of certain nodes or pages.
fn memory_backend(guest: &Guest) -> Option<String> {
    let mib = guest.memory.mib;
    let mut backend = match guest.memory.page {
        Some(page) => format!("memory-backend-memfd,id=ram,size={mib}M,hugetlb=on,hugetlbsize={page}M,prealloc=on"),
        None if guest.nodes.is_empty() => return None,
        None => format!("memory-backend-ram,id=ram,size={mib}M"),
    };
    if !guest.nodes.is_empty() {
        // A list has several values of the same name.
        for node in &guest.nodes {
            let _ = write!(backend, ",host-nodes={node}");
        }
        backend.push_str(",policy=bind");
    }
    Some(backend)
}

/// The processor and what it shows of the hypervisor, also for Proxmox VE.
pub(super) fn processor(guest: &Guest) -> String {
    let mut text = if guest.kvm { "host" } else { "max" }.to_owned();
    if guest.needs_topoext() {
        text.push_str(",topoext=on");
    }
    for one in &guest.enlightenments {
        let value = if one.libvirt == "spinlocks" { "=0x1fff" } else { "=on" };
        let _ = write!(text, ",{}{value}", one.qemu);
    }
    if guest.options.hide_kvm {
        text.push_str(",kvm=off");
        if !guest.enlightenments.is_empty() {
            let _ = write!(text, ",hv-vendor-id={}", guest.vendor());
        }
    }
    debug_assert!(guest.kvm || !text.contains(CLOCK), "an emulated guest has no enlightenments");
    text
}

/// A word as a shell reads it.
fn quoted(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_=+:,./".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_words_as_they_are() {
        assert_eq!(quoted("host=0000:01:00.0,addr=0.1"), "host=0000:01:00.0,addr=0.1");
        assert_eq!(quoted("two words"), "'two words'");
        assert_eq!(quoted("it's"), "'it'\\''s'");
        assert_eq!(quoted(""), "''");
    }
}
