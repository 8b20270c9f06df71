// SPDX-License-Identifier: MIT OR Apache-2.0
//! The devices that are shown, with what no claim asks for: names, abilities, and who has them open.

use crate::inventory::{Features, Holders, Inventory};
use crate::machine::Machine;
use crate::pci::names::{self, Names};
use crate::pci::{Address, Identity};
use crate::plan::{Plan, Problem, is_vfio_driver};
use crate::report::status::DeviceEntry;

/// Where distributions put pci.ids.
const LISTS: &[&str] = &["/usr/share/hwdata/pci.ids", "/usr/share/misc/pci.ids", "/usr/share/pci.ids"];

/// How large it may be: five times what it is.
const MOST: usize = 8 * 1024 * 1024;

/// What these functions are called, where the list of that is there.
pub(in crate::cli) fn names(machine: &dyn Machine, identities: &[Identity]) -> Vec<Names> {
    let list = LISTS.iter().find_map(|path| machine.read(path, MOST).ok()).unwrap_or_default();
    names::look_up(&list, identities)
}

/// Looks at the devices that are shown.
pub(super) fn entries(machine: &dyn Machine, inventory: &Inventory, shown: &[Address]) -> Vec<DeviceEntry> {
    let devices = || shown.iter().filter_map(|address| inventory.device(*address));
    let identities: Vec<Identity> = devices().map(|device| device.identity).collect();
    let names = names(machine, &identities);
    // Nobody can have open what no VFIO driver holds.
    let mut holders = None;
    let mut entries = Vec::with_capacity(names.len());
    for (device, names) in devices().zip(&names) {
        let features = Features::read(machine, device);
        let group = device.detail.as_ref().and_then(|detail| detail.group);
        let open_by = match device.driver().filter(|driver| is_vfio_driver(driver)) {
            Some(driver) => {
                let holders: &Holders = holders.get_or_insert_with(|| Holders::read(machine));
                holders.of(machine, driver, group, features.vfio.as_deref())
            }
            None => Some(Vec::new()),
        };
        entries.push(DeviceEntry::new(device, names, &features, open_by));
    }
    entries
}

/// The claimed displays that do not come back from a guest.
pub(super) fn without_reset(plan: &Plan, devices: &[DeviceEntry]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for entry in plan.entries.iter().filter(|entry| entry.decision.holds()) {
        let Some(address) = entry.device else { continue };
        let name = address.to_string();
        let Some(device) = devices.iter().find(|device| device.address == name && device.class.starts_with("03"))
        else {
            continue;
        };
        let message = match (device.resets, device.reset_methods.as_slice()) {
            (Some(false), _) => format!(
                "{name} has no reset: it does not come back after its guest stops, until this machine is restarted"
            ),
            (_, [only]) if only == "bus" => format!(
                "{name} has no reset of its own, only that of its bus: many such displays do not come back after their \
                 guest stops, until this machine is restarted"
            ),
            _ => continue,
        };
        problems.push(Problem::warning("reset", Some(address), message).of(entry.claim));
    }
    problems
}
