// SPDX-License-Identifier: MIT OR Apache-2.0
//! Holds the configuration against the machine and changes nothing.

use crate::check::{self, Check};
use crate::config::{self, Sources};
use crate::exit::{Exit, Failure};
use crate::inventory::Inventory;
use crate::machine::Machine;
use crate::pci::Address;
use crate::plan::{self, Plan};
use crate::problem::{Code, Problem};
use crate::{report, status};

use super::inventory::{Scope, plan_around_processes, take_inventory};
use super::modules::is_available;
use super::status::other_configuration;
use super::trial;

/// Everything that is wrong with a configuration on this machine, and how the command ends. `image`: what an image holds is
/// checked, and the running kernel's command line is left out.
pub fn check(machine: &dyn Machine, image: bool) -> Result<(Check, Exit), Failure> {
    let sources = if image { Sources::Files } else { Sources::All };
    let loaded = match config::load(machine, sources) {
        Ok(loaded) => loaded,
        Err(errors) => return Ok((Check::broken(&errors), Exit::Usage)),
    };
    let mut config = loaded.config;
    let mut inventory = take_inventory(machine, &config, Scope::Cards)?;
    // What is switched off is checked all the same.
    let off = std::mem::take(&mut config.off);
    let plan = |inventory: &Inventory| plan::plan(&config, inventory, &[]);
    let plan = match plan_around_processes(machine, &mut inventory, image, &plan) {
        Ok(plan) => plan,
        Err(errors) => return Ok((Check::broken(&errors), Exit::Usage)),
    };
    let claimed: Vec<Address> = plan.devices.iter().filter_map(|planned| planned.device).collect();
    inventory.read_chains(machine, &claimed);
    let mut problems = Vec::new();
    if off {
        let message = "vfio_early=off is on the kernel command line: nothing is claimed at boot";
        problems.push(Problem::warning(Code::Off, None, message.to_owned()));
    }
    problems.extend(check::advice(&config, &inventory, &plan));
    problems.extend(missing_drivers(machine, &inventory, &plan));
    problems.extend(if image { None } else { other_image(machine) });
    problems.extend(trial::outlook(machine, &config, &inventory, image));
    problems.extend(status::conflicts(&other_configuration(machine, &inventory), &config, &inventory, &plan));
    let unprotected = plan.unprotected;
    let check = Check::new(&config, plan, problems, &loaded.warnings);
    let exit = check::exit(&check, unprotected);
    Ok((check, exit))
}

/// What the initramfs of this boot held, where it is not what is configured now.
fn other_image(machine: &dyn Machine) -> Option<Problem> {
    let held = report::load(machine)?.image?;
    let message = "the initramfs of this boot holds another configuration: the present one takes effect once the \
                   initramfs is regenerated (update-initramfs -u, dracut --force or mkinitcpio -P)";
    (held != config::digest(machine)).then(|| Problem::warning(Code::Image, None, message.to_owned()))
}

/// The drivers that this machine does not have.
fn missing_drivers(machine: &dyn Machine, inventory: &Inventory, plan: &Plan) -> Vec<Problem> {
    let mut drivers: Vec<&str> =
        plan.devices.iter().filter(|planned| planned.decision.holds()).map(|planned| planned.target.as_str()).collect();
    drivers.sort_unstable();
    drivers.dedup();
    drivers.retain(|driver| !is_available(machine, inventory, driver));
    let missing = drivers.into_iter().map(|driver| {
        let message = format!("{driver} is neither loaded nor among the modules of {}", inventory.kernel);
        Problem::warning(Code::NoDriver, None, message)
    });
    missing.collect()
}
