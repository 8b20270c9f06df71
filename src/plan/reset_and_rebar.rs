// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a claim wants of a device besides its driver: the ways to reset it, and how large its BARs are.
//!
//! None of it keeps a device from being claimed: a card that cannot be reset as asked is still better off with its guest's
//! driver than with the host's. It is an error nevertheless, because a request was not met.

use crate::config::{Claim, Options, Rebar};
use crate::inventory::{Detail, Device, Inventory};
use crate::pci::{Address, Identity};

use super::{Op, PlannedDevice, Step, same_name};
use crate::problem::{Code, Problem, Severity};

/// The step that sets the reset methods of a function, where they are not what its claim asks for. A function that comes
/// along has methods of its own; it is left as it is unless it lists all that are asked for.
pub(super) fn reset(inventory: &Inventory, options: &Options, planned: &PlannedDevice, device: &Device) -> Option<Op> {
    let detail = device.detail.as_ref()?;
    if detail.reset_methods == options.reset {
        return None;
    }
    let mut methods: Vec<&str> = options.reset.clone();
    if planned.along.is_some() && !lists_all(options, detail) {
        return None;
    }
    let accepts = |method: &str| method != "bus" || bus_refusal(inventory, device).is_none();
    methods.retain(|method| accepts(method));
    if methods.is_empty() || detail.reset_methods == methods {
        return None;
    }
    // The list can be written back only as far as the kernel takes it today. One that cannot be read may be anything: then
    // the kernel's own choice is the way back.
    let before: Vec<&str> = detail.reset_methods.iter().map(String::as_str).filter(|method| accepts(method)).collect();
    let before = if detail.reset_methods_known { before.join(" ") } else { "default".to_owned() };
    Some(Op::ResetMethod { methods: methods.join(" "), before })
}

/// Why the kernel refuses `bus` for a function: it would reset others too (drivers/pci/pci.c, `pci_parent_bus_reset`, for
/// Linux 6.1, 6.12 and 7.2 alike). At boot it lists `bus` all the same for the first function of a slot, because it probes
/// each function before it adds the next one, and refuses a list with it later.
fn bus_refusal(inventory: &Inventory, device: &Device) -> Option<&'static str> {
    let Address { domain, bus, .. } = device.address;
    let shares = |other: &&Device| (other.address.domain, other.address.bus) == (domain, bus);
    if inventory.devices.iter().filter(shares).count() > 1 {
        Some("other functions are on its bus")
    } else if device.chain.len() == 1 {
        Some("it is on a root bus")
    } else {
        None
    }
}

/// Whether VFIO can reset a function together with everything else on its bus, as a guest does that has all of it
/// (drivers/vfio/pci/vfio_pci_core.c, `vfio_pci_ioctl_pci_hot_reset`): it is behind a bridge, none of them is known to break,
/// and all of them are on VFIO drivers, which `claimed` says. `parents`: the bridges above it.
pub fn has_hot_reset(
    inventory: &Inventory,
    device: &Device,
    parents: &[Address],
    claimed: &dyn Fn(Address) -> bool,
) -> bool {
    let bridge = parents.last().is_some_and(|parent| parent.domain == device.address.domain);
    let Address { domain, bus, .. } = device.address;
    let mut shared =
        inventory.devices.iter().filter(|other| (other.address.domain, other.address.bus) == (domain, bus));
    bridge
        && !device.is_virtual()
        && shared.all(|other| claimed(other.address) && !breaks_by_bus_reset(&other.identity))
}

/// Devices that do not survive a reset of their bus (drivers/pci/quirks.c, `quirk_no_bus_reset`, Linux 7.2).
fn breaks_by_bus_reset(identity: &Identity) -> bool {
    match identity.vendor {
        0x10de => identity.device & 0xffc0 == 0x2340 || matches!(identity.device, 0x22ce | 0x22d0),
        0x168c => matches!(identity.device, 0x0030 | 0x0032 | 0x0033 | 0x0034 | 0x003c | 0x003e),
        0x17cb => matches!(identity.device, 0x1103 | 0x1107 | 0x0308),
        0x177d => identity.device == 0xa100,
        _ => false,
    }
}

/// Finds the BARs that have not the size that is asked for, and why they cannot get it.
fn resize(options: &Options, planned: &PlannedDevice, detail: &Detail, found: &mut dyn FnMut(Rebar, Option<&str>)) {
    // What comes along has BARs of its own.
    for rebar in options.rebar.iter().filter(|_| planned.along.is_none()) {
        let bar = detail.bars.iter().find(|bar| bar.bar == rebar.bar);
        let (size, sizes) = bar.map_or((0, 0), |bar| (bar.size, bar.sizes));
        let bound = || detail.driver.as_deref().is_some_and(|driver| same_name(driver, &planned.target));
        if size == rebar.bytes() {
            continue;
        }
        if sizes.wrapping_shr(rebar.exponent.into()) & 1 == 0 {
            let why = "this BAR cannot have that size (vfio-early status shows what it can have, from Linux 6.1 on)";
            found(*rebar, Some(why));
        } else {
            found(*rebar, bound().then_some("the device has its driver already: release it first, then claim it"));
        }
    }
}

/// Adds the steps that resize BARs.
pub(super) fn resizes(options: &Options, planned: &PlannedDevice, detail: &Detail, steps: &mut Vec<Step>) {
    resize(options, planned, detail, &mut |rebar, why| {
        if why.is_none() {
            let bar = detail.bars.iter().find(|bar| bar.bar == rebar.bar);
            let before = bar.and_then(|bar| Rebar::of(bar.bar, bar.size));
            steps.push(Step { device: planned.device, op: Op::Rebar { rebar, text: rebar.to_string(), before } });
        }
    });
}

fn lists_all(options: &Options, detail: &Detail) -> bool {
    options.reset.iter().all(|method| detail.reset_methods.iter().any(|known| known == method))
}

/// Adds what may not come true of it. A method that is not listed may have been switched off, so that only the kernel can
/// tell whether the device has it.
pub(super) fn problems(
    inventory: &Inventory,
    claim: &Claim,
    planned: &PlannedDevice,
    device: &Device,
    problems: &mut Vec<Problem>,
) {
    let options = &claim.options;
    let Some(detail) = &device.detail else { return };
    let Some(address) = planned.device else { return };
    let mut report = |severity, code, message| {
        problems.push(Problem { severity, code, source: Some(claim.origin.clone()), device: planned.device, message });
    };
    resize(options, planned, detail, &mut |rebar, why| {
        if let Some(why) = why {
            report(Severity::Error, Code::Rebar, format!("rebar={rebar} of {address}: {why}"));
        }
    });
    if planned.along.is_some() || options.reset.is_empty() {
        return;
    }
    let (asked, listed) = (options.reset.join("+"), detail.reset_methods.join("+"));
    let refusal = bus_refusal(inventory, device).filter(|_| options.reset.contains(&"bus"));
    if let Some(why) = refusal {
        let others: Vec<&str> = options.reset.iter().copied().filter(|method| *method != "bus").collect();
        let instead = match others.as_slice() {
            _ if detail.reset_methods == options.reset => "reset_method lists it from boot, to no effect".to_owned(),
            [] => "reset_method stays as it is".to_owned(),
            others => format!("only {} is set", others.join("+")),
        };
        let message = format!(
            "{address}: reset={asked}: the kernel refuses `bus` because {why}; {instead}. A guest that has every function \
             of the card resets them together through VFIO"
        );
        report(Severity::Warning, Code::Reset, message);
    } else if !lists_all(options, detail) {
        let message = format!(
            "{address}: reset={asked}: its reset_method lists `{listed}`, and the kernel refuses a method that the device \
             does not have"
        );
        report(Severity::Warning, Code::Reset, message);
    }
}
