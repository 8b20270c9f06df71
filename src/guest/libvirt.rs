// SPDX-License-Identifier: MIT OR Apache-2.0
//! The guest as elements of a libvirt domain, or as a whole domain (<https://libvirt.org/formatdomain.html>).

use std::fmt::Write as _;

use super::firmware::{Firmware, Rom};
use super::hyperv::CLOCK;
use super::options::Os;
use super::{Function, Guest, joined};

/// The guest's bus for the first card where other devices may have the first buses. libvirt adds the ports that are missing.
const FIRST_BUS: usize = 0x0a;

/// The elements, or the domain.
pub fn libvirt(guest: &Guest) -> String {
    let mut text = String::new();
    let domain = guest.options.domain.as_ref();
    match domain {
        Some(name) => {
            let kind = if guest.kvm { "kvm" } else { "qemu" };
            let _ = writeln!(text, "<domain type='{kind}'>\n<name>{}</name>", escaped(&name.0));
        }
        None => {
            text.push_str("<!-- Merge into <domain>: replace elements of the same name, append to <devices>. -->\n");
        }
    }
    for note in &guest.notes {
        // Two hyphens would end a comment.
        let _ = writeln!(text, "<!-- {} -->", escaped(note).replace("--", "- -"));
    }
    memory(&mut text, guest);
    processors(&mut text, guest);
    system(&mut text, guest);
    features(&mut text, guest);
    text.push_str("<devices>\n");
    if domain.is_some() {
        for port in 1..=guest.cards.len() {
            let _ = writeln!(text, "  <controller type='pci' index='{port}' model='pcie-root-port'/>");
        }
        text.push_str("  <serial type='pty'/>\n");
    }
    let first = if domain.is_some() { 1 } else { FIRST_BUS };
    for (card, bus) in guest.cards.iter().zip(first..) {
        for function in card {
            hostdev(&mut text, guest, bus, function, card.len() > 1);
        }
    }
    // The pages of a guest with devices stay where they are: a balloon takes nothing away.
    text.push_str(if domain.is_some() {
        "  <memballoon model='none'/>\n</devices>\n</domain>\n"
    } else {
        "</devices>\n"
    });
    text
}

/// One function of a card.
fn hostdev(text: &mut String, guest: &Guest, bus: usize, function: &Function, shared: bool) {
    let (from, to) = (function.address, function.number);
    let multi = if to == 0 && shared { " multifunction='on'" } else { "" };
    let driver = if guest.options.iommufd { "\n    <driver iommufd='yes'/>" } else { "" };
    let rom = match &function.rom {
        Rom::Device => String::new(),
        Rom::File(file) => format!("\n    <rom file='{file}'/>"),
        Rom::Off(_) => "\n    <rom bar='off'/>".to_owned(),
    };
    let _ = write!(
        text,
        "  <hostdev mode='subsystem' type='pci' managed='no'>{driver}
    <source>
      <address domain='{:#06x}' bus='{:#04x}' slot='{:#04x}' function='{:#x}'/>
    </source>{rom}
    <address type='pci' domain='0x0000' bus='{bus:#04x}' slot='0x00' function='{to:#x}'{multi}/>
  </hostdev>
",
        from.domain, from.bus, from.device, from.function
    );
}

/// How much memory, and of which nodes and pages.
fn memory(text: &mut String, guest: &Guest) {
    if guest.options.memory.is_some() || guest.options.domain.is_some() {
        let _ = writeln!(text, "<memory unit='MiB'>{}</memory>", guest.memory.mib);
        if let Some(page) = guest.memory.page {
            let _ = write!(
                text,
                "<memoryBacking>\n  <hugepages>\n    <page size='{page}' unit='MiB'/>\n  </hugepages>\n</memoryBacking>\n"
            );
        }
    }
    if !guest.nodes.is_empty() {
        let nodes = guest.node_list();
        let _ = writeln!(text, "<numatune>\n  <memory mode='strict' nodeset='{nodes}'/>\n</numatune>");
    }
}

/// The vCPUs, and where they run.
fn processors(text: &mut String, guest: &Guest) {
    let placement = &guest.placement;
    let pinned = placement.vcpus.iter().zip(0_usize..).filter(|(cpus, _)| !cpus.is_empty());
    let mut pins = String::new();
    for (cpus, number) in pinned {
        let _ = writeln!(pins, "  <vcpupin vcpu='{number}' cpuset='{}'/>", joined(cpus.iter()));
    }
    if !pins.is_empty() {
        let host = joined(placement.host.iter());
        let _ = writeln!(
            text,
            "<!-- {} of {} cores near the devices; the rest is left to the host. -->",
            placement.cores, placement.of
        );
        let _ = writeln!(text, "<vcpu placement='static'>{}</vcpu>", placement.vcpus.len());
        let _ = writeln!(text, "<cputune>\n{pins}  <emulatorpin cpuset='{host}'/>\n</cputune>");
    } else if guest.options.vcpus.is_some() || guest.options.domain.is_some() {
        let _ = writeln!(text, "<vcpu placement='static'>{}</vcpu>", placement.vcpus.len());
    } else {
        return;
    }
    let mode = if guest.kvm { "host-passthrough' check='none" } else { "maximum" };
    let _ = writeln!(text, "<cpu mode='{mode}'>");
    let _ = writeln!(
        text,
        "  <topology sockets='1' dies='1' cores='{}' threads='{}'/>",
        placement.cores, placement.threads
    );
    // Without it, a guest on AMD does not believe in threads.
    if guest.needs_topoext() {
        text.push_str("  <feature policy='require' name='topoext'/>\n");
    }
    text.push_str("</cpu>\n");
}

/// The machine and its firmware.
fn system(text: &mut String, guest: &Guest) {
    let (arch, machine) = if guest.processor.is_x86() { ("x86_64", "q35") } else { ("aarch64", "virt") };
    let uefi = guest.firmware == Firmware::Uefi || !guest.processor.is_x86();
    if uefi || guest.options.domain.is_some() {
        let firmware = if uefi { " firmware='efi'" } else { "" };
        let _ = writeln!(text, "<os{firmware}>\n  <type arch='{arch}' machine='{machine}'>hvm</type>\n</os>");
    }
}

/// What the guest sees of its hypervisor, and its clocks.
fn features(text: &mut String, guest: &Guest) {
    let windows = guest.options.os == Os::Windows;
    let x86 = guest.processor.is_x86();
    if windows || guest.options.hide_kvm || guest.options.domain.is_some() {
        text.push_str("<features>\n  <acpi/>\n");
        text.push_str(if x86 { "  <apic/>\n" } else { "" });
        hyperv(text, guest);
        if guest.options.hide_kvm {
            text.push_str("  <kvm>\n    <hidden state='on'/>\n  </kvm>\n");
        }
        text.push_str("</features>\n");
    }
    if windows {
        let clock = guest.enlightenments.iter().any(|one| one.qemu == CLOCK);
        text.push_str("<clock offset='localtime'>\n");
        if x86 {
            text.push_str(
                "  <timer name='rtc' tickpolicy='catchup'/>\n  <timer name='pit' tickpolicy='delay'/>\n  <timer name='hpet' present='no'/>\n",
            );
        }
        if x86 && guest.kvm {
            let present = if clock { "yes" } else { "no" };
            let _ = writeln!(text, "  <timer name='hypervclock' present='{present}'/>");
        }
        text.push_str("</clock>\n");
    }
}

fn hyperv(text: &mut String, guest: &Guest) {
    if guest.enlightenments.is_empty() {
        return;
    }
    text.push_str("  <hyperv mode='custom'>\n");
    for one in guest.enlightenments.iter().filter(|one| one.qemu != CLOCK) {
        let retries = if one.libvirt == "spinlocks" { " retries='8191'" } else { "" };
        let _ = writeln!(text, "    <{} state='on'{retries}/>", one.libvirt);
    }
    if guest.options.hide_kvm {
        let _ = writeln!(text, "    <vendor_id state='on' value='{}'/>", guest.vendor());
    }
    text.push_str("  </hyperv>\n");
}

/// A text with what XML uses itself written in its way.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
