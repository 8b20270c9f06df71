// SPDX-License-Identifier: MIT OR Apache-2.0
//! Takes the inventory that the status needs, and puts the status together.

use crate::config::{self, ConfigError, Sources};
use crate::exit::{Exit, Failure};
use crate::inventory::{Features, Holders, Inventory};
use crate::machine::Machine;
use crate::pci::{Address, Identity, Slot};
use crate::plan::{self, Decision, Plan, is_vfio_driver};
use crate::problem::Severity;
use crate::report;
use crate::status::{self, DeviceStatus, LastClaim, OtherConfiguration, Status};

use super::inventory::{Scope, find_virtual_functions, read_details, survey};
use super::names::names;
use super::trial;

/// The status, how the command ends, and what the configuration's reader warns of. `all`: every device is shown.
pub fn status(machine: &dyn Machine, all: bool) -> Result<(Status, Exit, Vec<ConfigError>), Failure> {
    let loaded = config::load(machine, Sources::All)?;
    let mut config = loaded.config;
    let mut inventory = survey(machine, &config)?;
    let before = report::load(machine);
    trial::read(machine, &config, &mut inventory, None);
    plan::join(&mut config, &inventory, status::bound_manually(before.as_ref()), true);
    find_virtual_functions(machine, &config, &mut inventory);
    let devices = if all {
        inventory.devices.iter().map(|device| device.address).collect()
    } else {
        plan::devices_of_interest(&config, &inventory)
    };
    read_details(machine, &config, &mut inventory, &devices, Scope::Cards);
    let shown = shown(&inventory, &plan::plan(&config, &inventory, &[])?, all);
    let slots: Vec<Slot> = shown.iter().map(|address| address.slot()).collect();
    inventory.read_config_spaces(machine, Some(&slots));
    // Once more: what is claimed may have a drawback, now that isolation is known.
    let plan = plan::plan(&config, &inventory, &[])?;

    let mut devices = device_statuses(machine, &inventory, &shown);
    status::add_hot_resets(&inventory, &plan, &mut devices);
    status::add_boot_display(&inventory, &mut devices);
    let groups = inventory.examine(Some(&shown)).groups;
    let mut problems = plan.problems.clone();
    problems.extend(plan::cards(&config, &inventory, &plan));
    problems.extend(status::held_memory(&config, &inventory, &plan));
    problems.extend(status::without_reset(&config, &plan, &devices));
    problems.extend(status::conflicts(&other_configuration(machine, &inventory), &config, &inventory, &plan));
    let mut status = Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        kernel: inventory.kernel.clone(),
        headline: String::new(),
        iommu: plan.iommu.clone(),
        claims: status::current(&config, &plan, before.as_ref()),
        devices,
        groups,
        problems,
        boot: before.as_ref().map(LastClaim::from),
        trial: plan.trial.clone(),
    };
    status.headline = status::headline(&status, plan.off);
    let errors = plan.problems.iter().any(|problem| problem.severity == Severity::Error);
    let exit = status::exit(&status, plan.unprotected, errors);
    Ok((status, exit, loaded.warnings))
}

/// The devices that are shown: displays, what is claimed, and everything in a group with either.
fn shown(inventory: &Inventory, plan: &Plan, all: bool) -> Vec<Address> {
    let claimed = |address: Address| {
        plan.devices
            .iter()
            .any(|planned| planned.device == Some(address) && !matches!(planned.decision, Decision::Missing { .. }))
    };
    let interesting: Vec<Address> = inventory
        .devices
        .iter()
        .filter(|device| all || device.identity.class.is_display() || claimed(device.address))
        .map(|device| device.address)
        .collect();
    let mut shown = interesting.clone();
    for group in &inventory.groups {
        if group.members.iter().any(|member| interesting.contains(member)) {
            shown.extend(&group.members);
        }
    }
    shown.sort_unstable();
    shown.dedup();
    shown
}

/// Reads what no claim asks for of the devices that are shown.
fn device_statuses(machine: &dyn Machine, inventory: &Inventory, shown: &[Address]) -> Vec<DeviceStatus> {
    let devices = || shown.iter().filter_map(|address| inventory.device(*address));
    let identities: Vec<Identity> = devices().map(|device| device.identity).collect();
    let names = names(machine, &identities);
    // Only what is on a VFIO driver can be open in a guest.
    let mut holders = None;
    let mut statuses = Vec::with_capacity(names.len());
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
        statuses.push(DeviceStatus::new(device, names, features, open_by));
    }
    statuses
}

/// What else on the machine says who gets a device.
pub(super) fn other_configuration(machine: &dyn Machine, inventory: &Inventory) -> OtherConfiguration {
    let mut other = OtherConfiguration { modprobe: config::modprobe_directives(machine), aliases: Vec::new() };
    if status::needs_aliases(&other, inventory) {
        other.aliases = Inventory::aliases_of(machine, &inventory.kernel);
    }
    other
}
