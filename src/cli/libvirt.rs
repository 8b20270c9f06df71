// SPDX-License-Identifier: MIT OR Apache-2.0
//! `vfio-early libvirt`: what a libvirt domain needs for devices (<https://libvirt.org/formatdomain.html>).

use std::fmt::Write as _;

use crate::inventory::{self, Device, Inventory, Processor};
use crate::machine::Machine;
use crate::pci::Address;
use crate::plan::{IommuVerdict, State, is_vfio_driver};

use super::output::Output;
use super::{Exit, Failure};

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

/// Runs the command.
pub(super) fn run(machine: &dyn Machine, addresses: &[Address], output: &mut Output) -> Result<Exit, Failure> {
    if addresses.is_empty() {
        return Ok(
            output.fail(Exit::Usage, &["name a device by its address (vfio-early status lists them)".to_owned()])
        );
    }
    let mut inventory = Inventory::survey(machine, false)?;
    let mut near: Vec<Address> = inventory.devices.iter().map(|device| device.address).collect();
    near.retain(|device| addresses.iter().any(|address| address.slot() == device.slot()));
    inventory.read_details(machine, &near);

    let mut done: Vec<Address> = Vec::new();
    let mut devices = String::new();
    let mut bus = FIRST_BUS;
    let mut node = None;
    for address in addresses.iter().copied() {
        let Some(device) = inventory.device(address).filter(|device| !device.identity.class.is_bridge()) else {
            let message = format!("there is no device at {address} that a guest could have");
            return Ok(output.fail(Exit::NotHeld, &[message]));
        };
        if done.contains(&address) {
            continue;
        }
        let mut functions = near.clone();
        let is_virtual = |address: Address| inventory.device(address).is_some_and(Device::is_virtual);
        let is_chipset = near.iter().any(|other| {
            other.slot() == address.slot()
                && inventory.device(*other).is_some_and(|other| other.identity.class.is_bridge())
        });
        // A card is one slot. A chipset's slot and one of virtual functions are none.
        let alone = is_chipset || is_virtual(address);
        functions
            .retain(|other| *other == address || (!alone && other.slot() == address.slot() && !is_virtual(*other)));
        hostdevs(machine, &inventory, &mut devices, bus, &functions, output);
        bus = bus.saturating_add(1);
        done.extend(functions);
        node = node.or(device.detail.as_ref().and_then(|detail| detail.numa_node));
    }
    let mut text =
        "<!-- Into the <domain>: in place of what has the same name there, and <devices> to those it has. -->\n"
            .to_owned();
    processors(&mut text, inventory.iommu.processor == Processor::Amd, &inventory::cores_of_node(machine, node), node);
    if inventory.iommu.processor != Processor::Other {
        text.push_str(HYPERV);
    }
    text.push_str("<devices>\n");
    text.push_str(&devices);
    text.push_str("</devices>\n");
    output.result(&text);
    let verdict = IommuVerdict::of(&inventory);
    if verdict.state != State::Enabled {
        output.warn(&format!("no guest can have a device here: {}", verdict.reason()));
        return Ok(Exit::Unprotected);
    }
    Ok(Exit::Ok)
}

/// The elements of one card, in one slot of the guest.
fn hostdevs(
    machine: &dyn Machine,
    inventory: &Inventory,
    text: &mut String,
    bus: u8,
    functions: &[Address],
    output: &Output,
) {
    let first = functions.first().map_or(0, |address| address.function);
    for address in functions {
        let Address { domain, bus: from, device: slot, function } = *address;
        let driver = inventory.device(*address).and_then(Device::driver).unwrap_or("no driver");
        if !is_vfio_driver(driver) {
            output.warn(&format!("{address} has {driver}: claim it before the guest starts"));
        }
        let mut rom = inventory::rom_path(*address);
        rom = if machine.attribute(&rom).is_ok() { format!("\n    <rom file='{rom}'/>") } else { String::new() };
        // Function 0 must be there in a slot, and says that there are others.
        let to = function.saturating_sub(first);
        let multi = if to == 0 && functions.len() > 1 { " multifunction='on'" } else { "" };
        let _ = write!(
            text,
            "  <hostdev mode='subsystem' type='pci' managed='no'>
    <source>
      <address domain='{domain:#06x}' bus='{from:#04x}' slot='{slot:#04x}' function='{function:#x}'/>
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
