// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a fault may be an excuse for, and what it may not.

use vfio_early::machine::Operation;
use vfio_early::pci::{Address, Slot};

use super::case::{Case, Run};
use crate::simulated::{Entry, Fault, Hang, Kind, Lasts};

/// Which slots a fault may keep from being claimed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Hurt {
    /// None: the program can do without.
    Nobody,
    /// These.
    Slots(Vec<Slot>),
    /// It may be any: the configuration, the list of devices, the module that all need.
    Anybody,
}

/// What the program reads for the record only, or can do without.
const NEEDLESS: &[&str] = &[
    "/dev/kmsg",
    "/run/",
    "/proc/uptime",
    "/proc/sys/",
    "/proc/interrupts",
    "/proc/cpuinfo",
    "/proc/self/",
    "/proc/net/",
    "/etc/initrd-release",
    "/sys/firmware/",
    "/sys/bus/platform/",
    "/sys/bus/pci/drivers",
];

impl Hurt {
    /// Whom a fault may hurt, from what it hit.
    pub(super) fn by(case: &Case, run: &Run, fault: &Fault) -> Self {
        if let Kind::Vanish(device) = &fault.kind {
            let gone = case.machine.devices().into_iter().filter(|name| !run.machine.devices().contains(name));
            let mut slots: Vec<Slot> = gone.map(|name| slot(&name)).collect();
            slots.push(slot(device));
            return Self::Slots(slots);
        }
        let Some(hit) = run.log.get(fault.at - 1) else { return Self::Nobody };
        // What everybody writes to.
        let shared = hit.operation == Operation::Write && !hit.object.starts_with("/sys/bus/pci/devices/");
        let one_of_many = fault.lasts == Lasts::Once && shared;
        match (fault.lasts, addresses(hit).as_slice()) {
            (Lasts::ForAll, _) => Self::Anybody,
            // Whether a claim may be carried out depends on what the other devices are.
            _ if hit.object.ends_with("/modalias") => Self::Anybody,
            (_, [slot, ..]) if !shared || one_of_many => Self::Slots(vec![*slot]),
            _ if shared && hit.object.starts_with("/sys/bus/pci/") => Self::Anybody,
            _ if hit.operation == Operation::Load && fault.kind == Kind::Hang(Hang::Done) => Self::Nobody,
            _ if hit.operation == Operation::Load => Self::Anybody,
            // That a driver is there although its module hangs is told by this list alone.
            _ if case.sick && hit.object == "/sys/bus/pci/drivers" => Self::Anybody,
            _ if NEEDLESS.iter().any(|needless| hit.object.starts_with(needless)) => Self::Nobody,
            _ => match hit.object.strip_prefix("/sys/kernel/iommu_groups/") {
                Some(rest) => Self::Slots(members(case, rest.split('/').next().unwrap_or(""))),
                None => Self::Anybody,
            },
        }
    }

    pub(super) fn has(&self, address: Address) -> bool {
        match self {
            Self::Nobody => false,
            Self::Slots(slots) => slots.contains(&address.slot()),
            Self::Anybody => true,
        }
    }
}

/// Whether a fault takes away the only means to give this device back: its own override, or the file that has a device
/// probed or bound, does not work any more. Where a write takes effect in the end, there is no excuse.
pub(super) fn beyond_help(case: &Case, run: &Run, fault: Option<&Fault>, address: &str) -> bool {
    // Its own driver will not have it back. One that fails once gets a second try, unless something else fails as well.
    if case.unwanted.iter().any(|(device, passes)| device == address && (!passes || fault.is_some())) {
        return true;
    }
    let Some(fault) = fault else { return false };
    let Some(hit) = run.log.get(fault.at - 1) else { return false };
    if fault.lasts == Lasts::Once || !matches!(fault.kind, Kind::Fail(_) | Kind::Hang(Hang::Lost)) {
        return false;
    }
    let means = hit.object.ends_with(&format!("{address}/driver_override"))
        || hit.object.ends_with("drivers_probe")
        || hit.object.ends_with("/bind");
    fault.lasts == Lasts::ForAll || (hit.operation == Operation::Write && means)
}

/// The device that two failures keep from being given back: the one kept its probe from being asked for, and the other hung when
/// its driver was to bind it. After a step that hung, nothing more is tried on a device.
pub(super) fn gone_with_both<'a>(run: &'a Run, faults: &[&Fault]) -> Option<&'a str> {
    let [first, second] = faults else { return None };
    let hit = |fault: &Fault, end: &str| {
        let entry = run.log.get(fault.at - 1)?;
        (entry.operation == Operation::Write && entry.object.ends_with(end))
            .then(|| entry.value.as_deref().unwrap_or("").trim())
    };
    let device = hit(first, "/drivers_probe").filter(|_| matches!(first.kind, Kind::Fail(_)))?;
    (second.kind == Kind::Hang(Hang::Lost) && hit(second, "/bind") == Some(device)).then_some(device)
}

/// Whether nobody can read which driver has this device.
pub(super) fn blind(run: &Run, fault: Option<&Fault>, address: &str) -> bool {
    let Some(fault) = fault else { return false };
    let link = |entry: &Entry| {
        entry.operation == Operation::Link && entry.object == format!("/sys/bus/pci/devices/{address}/driver")
    };
    fault.lasts == Lasts::ForAll || fault.lasts == Lasts::ForThis && run.log.get(fault.at - 1).is_some_and(link)
}

fn slot(name: &str) -> Slot {
    name.parse::<Address>().unwrap().slot()
}

/// The slots that an operation names.
fn addresses(entry: &Entry) -> Vec<Slot> {
    let words = entry.object.split('/').chain(entry.value.as_deref());
    words.filter_map(|word| word.trim().parse::<Address>().ok()).map(Address::slot).collect()
}

/// The slots in an IOMMU group.
fn members(case: &Case, group: &str) -> Vec<Slot> {
    let names = case.machine.tree().list(&format!("/sys/kernel/iommu_groups/{group}/devices")).unwrap_or_default();
    names.iter().map(|name| slot(name)).collect()
}
