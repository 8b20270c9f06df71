// SPDX-License-Identifier: MIT OR Apache-2.0
//! Takes inventory: what a configuration needs to know of a machine, and no more.

use crate::config::{Config, ConfigError};
use crate::inventory::{Extent, Holders, Inventory};
use crate::machine::{Error, Machine};
use crate::pci::Address;
use crate::plan::{self, Decision, Op, Plan};
use crate::problem::Code;

/// What of a machine is looked at closer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// What the claims decide on.
    Claims,
    /// What reports show as well: whole cards, and all details of the neighbours in a group.
    Cards,
}

/// The inventory that a configuration needs.
pub(super) fn take_inventory(machine: &dyn Machine, config: &Config, scope: Scope) -> Result<Inventory, Error> {
    let mut inventory = survey(machine, config)?;
    add_details(machine, config, &mut inventory, scope);
    Ok(inventory)
}

/// What every device is, as far as the selectors of the claims need to know.
pub(super) fn survey(machine: &dyn Machine, config: &Config) -> Result<Inventory, Error> {
    let mut inventory = Inventory::survey(machine, plan::needs_chains(config))?;
    find_virtual_functions(machine, config, &mut inventory);
    Ok(inventory)
}

/// Finds out which devices are virtual functions, where that matters to the claims.
pub(super) fn find_virtual_functions(machine: &dyn Machine, config: &Config, inventory: &mut Inventory) {
    let physical = plan::physical_functions(config);
    inventory.read_virtual_functions(machine, &physical, &|device| plan::may_be_virtual(config, device));
}

/// Adds the details of the devices that the claims are about.
pub(super) fn add_details(machine: &dyn Machine, config: &Config, inventory: &mut Inventory, scope: Scope) {
    if config.claims.iter().any(|claim| claim.options.save_rom) {
        inventory.list_saved_roms(machine);
    }
    let devices = match scope {
        Scope::Claims => plan::devices_of_claims(config, inventory),
        Scope::Cards => plan::devices_of_interest(config, inventory),
    };
    read_details(machine, config, inventory, &devices, scope);
    // Reading every configuration space takes time; it matters only where the kernel may group without ACS, or isolation is
    // required.
    if (inventory.acs_override() || config.settings.isolation_required) && !devices.is_empty() {
        inventory.read_config_spaces(machine, None);
    }
}

/// Reads the details of these devices as far as the configuration asks for them.
pub(super) fn read_details(
    machine: &dyn Machine,
    config: &Config,
    inventory: &mut Inventory,
    devices: &[Address],
    scope: Scope,
) {
    let some = scope == Scope::Claims && !plan::claims_groups(config);
    inventory.read_details(machine, devices, if some { Extent::Driver } else { Extent::Full });
    if plan::needs_bars(config) {
        inventory.read_bars(machine, devices);
    }
    if plan::needs_aliases(config) {
        inventory.read_aliases(machine);
    }
}

/// Plans, and once more where a device that is to be detached is open in a process, or a virtual function of it in a guest.
pub(super) fn plan_around_guests(
    machine: &dyn Machine,
    inventory: &mut Inventory,
    plan: &dyn Fn(&Inventory) -> Result<Plan, Vec<ConfigError>>,
) -> Result<Plan, Vec<ConfigError>> {
    let first = plan(inventory)?;
    let detached = detached(&first);
    let mut holders = None;
    let is_open = find_processes(machine, inventory, &detached, &mut holders);
    // A guest that has a virtual function is the better reason to refuse its physical one.
    let refused = first.devices.iter().filter(
        |planned| matches!(&planned.decision, Decision::Refuse(refusal) if refusal.code == Code::VirtualFunctions),
    );
    let devices: Vec<Address> = detached.into_iter().chain(refused.filter_map(|planned| planned.device)).collect();
    inventory.find_guests(machine, &devices, &mut holders);
    if inventory.guests.is_empty() && !is_open { Ok(first) } else { plan(inventory) }
}

/// Plans, and once more where a device that is to be detached is open in a process. `at_boot`: only mass storage is considered.
/// At boot, no process has a device open yet, but those of today need their disks then, too.
pub(super) fn plan_around_processes(
    machine: &dyn Machine,
    inventory: &mut Inventory,
    at_boot: bool,
    plan: &dyn Fn(&Inventory) -> Result<Plan, Vec<ConfigError>>,
) -> Result<Plan, Vec<ConfigError>> {
    let first = plan(inventory)?;
    let is_storage =
        |address: &Address| inventory.device(*address).is_some_and(|device| device.identity.class.is_storage());
    let devices: Vec<Address> =
        detached(&first).into_iter().filter(|address| !at_boot || is_storage(address)).collect();
    if find_processes(machine, inventory, &devices, &mut None) { plan(inventory) } else { Ok(first) }
}

/// The devices that a plan detaches from their drivers.
fn detached(plan: &Plan) -> Vec<Address> {
    let steps = plan.steps.iter().filter(|step| matches!(step.op, Op::Detach(_)));
    steps.filter_map(|step| step.device).collect()
}

/// Whether processes have any of these devices open.
fn find_processes(
    machine: &dyn Machine,
    inventory: &mut Inventory,
    devices: &[Address],
    holders: &mut Option<Holders>,
) -> bool {
    let before = inventory.in_use.len();
    inventory.find_processes(machine, devices, holders);
    inventory.in_use.len() > before
}
