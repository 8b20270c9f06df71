// SPDX-License-Identifier: MIT OR Apache-2.0
//! The guest as elements of a libvirt domain (<https://libvirt.org/formatdomain.html>).

use std::fmt::Write as _;

use crate::inventory::Processor;
use crate::pci::Address;

use super::{Function, Guest};

/// The guest's bus for the first card. Below it, tools put what every guest has; libvirt adds the ports that are missing.
const FIRST_BUS: u8 = 0x0a;

/// What Windows works better with (Hyper-V Top Level Functional Specification); other guests do not look at it.
const HYPERV: &str = "\
<features>
  <acpi/>
  <apic/>
  <hyperv mode='custom'>
    <relaxed state='on'/>
    <vapic state='on'/>
    <spinlocks state='on' retries='8191'/>
    <vpindex state='on'/>
    <runtime state='on'/>
    <synic state='on'/>
    <stimer state='on'/>
    <frequencies state='on'/>
    <tlbflush state='on'/>
    <ipi state='on'/>
  </hyperv>
</features>
<clock offset='localtime'>
  <timer name='rtc' tickpolicy='catchup'/>
  <timer name='pit' tickpolicy='delay'/>
  <timer name='hpet' present='no'/>
  <timer name='hypervclock' present='yes'/>
</clock>
";

/// The elements.
pub fn libvirt(guest: &Guest) -> String {
    let mut text = "<!-- Merge into <domain>: replace elements of the same name, append to <devices>. -->\n".to_owned();
    processors(&mut text, guest.processor == Processor::Amd, &guest.cores, guest.node);
    if guest.processor != Processor::Other {
        text.push_str(HYPERV);
    }
    text.push_str("<devices>\n");
    for (card, bus) in guest.cards.iter().zip(FIRST_BUS..) {
        hostdevs(&mut text, bus, card);
    }
    text.push_str("</devices>\n");
    text
}

/// The elements of one card, in one slot of the guest.
fn hostdevs(text: &mut String, bus: u8, card: &[Function]) {
    let first = card.first().map_or(0, |function| function.address.function);
    for function in card {
        let Address { domain, bus: from, device: slot, function: number } = function.address;
        let rom = function.rom.as_ref().map(|rom| format!("\n    <rom file='{rom}'/>")).unwrap_or_default();
        // A slot needs a function 0, which says that there are others.
        let to = number.saturating_sub(first);
        let multi = if to == 0 && card.len() > 1 { " multifunction='on'" } else { "" };
        let _ = write!(
            text,
            "  <hostdev mode='subsystem' type='pci' managed='no'>
    <source>
      <address domain='{domain:#06x}' bus='{from:#04x}' slot='{slot:#04x}' function='{number:#x}'/>
    </source>{rom}
    <address type='pci' domain='0x0000' bus='{bus:#04x}' slot='0x00' function='{to:#x}'{multi}/>
  </hostdev>
"
        );
    }
}

/// Whole cores for the guest; one is left for the host and for what the guest itself makes work, or, where some have fewer
/// threads than others, all of those: they are the slow ones.
fn processors(text: &mut String, amd: bool, cores: &[Vec<u16>], node: Option<u16>) {
    let threads = cores.iter().map(Vec::len).max().unwrap_or(0);
    let differ = cores.iter().any(|core| core.len() < threads);
    let (mut host, mut pins) = (String::new(), String::new());
    let (mut whole, mut number) = (0_usize, 0_usize);
    for core in cores {
        let stays = if differ { core.len() < threads } else { host.is_empty() };
        for cpu in core {
            if stays {
                let _ = write!(host, "{}{cpu}", if host.is_empty() { "" } else { "," });
            } else {
                let _ = writeln!(pins, "  <vcpupin vcpu='{number}' cpuset='{cpu}'/>");
                number = number.saturating_add(1);
            }
        }
        whole = whole.saturating_add(usize::from(!stays));
    }
    if whole == 0 {
        text.push_str("<!-- Too few processors near the device to pin any. -->\n");
    } else {
        // Without it, a guest on AMD does not believe in threads.
        let topoext = if amd && threads > 1 { "  <feature policy='require' name='topoext'/>\n" } else { "" };
        let _ = write!(
            text,
            "<!-- {whole} of {} cores near the device; the rest is left to the host. -->
<vcpu placement='static'>{number}</vcpu>
<cputune>
{pins}  <emulatorpin cpuset='{host}'/>
</cputune>
<cpu mode='host-passthrough' check='none'>
  <topology sockets='1' dies='1' cores='{whole}' threads='{threads}'/>
{topoext}</cpu>
",
            cores.len()
        );
    }
    if let Some(node) = node {
        let _ = writeln!(text, "<numatune>\n  <memory mode='strict' nodeset='{node}'/>\n</numatune>");
    }
}
