// SPDX-License-Identifier: MIT OR Apache-2.0
//! `vfio-early claim`: picture, plan, act, report.

use std::time::Instant;

use crate::config::{self, Config, ConfigError, Sources};
use crate::inventory::Inventory;
use crate::machine::Machine;
use crate::pci::Address;
use crate::plan;
use crate::report::{self, Level};

use super::carry::{About, Claimed, carry_through, decide, lock, take_inventory};
use super::output::Output;
use super::told::tell;
use super::{Exit, Failure, Room, arguments};

/// Runs the command.
pub(super) fn run(room: &mut Room, options: &arguments::Claim, output: &mut Output) -> Result<Exit, Failure> {
    let began = Instant::now();
    let loaded = match config::load(room.machine(), Sources::AtBoot) {
        Ok(loaded) => loaded,
        Err(errors) => return Err(refuse_config(room.machine(), errors, options.dry_run)),
    };
    let lock = lock(room, &loaded.config, options.dry_run);
    for warning in &loaded.warnings {
        output.warn(&warning.to_string());
    }
    let claimed = claim(room.machine(), &loaded.config, &options.device, options.dry_run, began)?;
    drop(lock);
    Ok(tell(&claimed, options.json, output))
}

/// Claims what the configuration says: picture, plan, act, report. `devices`: only these are considered; all of them when
/// it is empty. A dry run ends with the plan. `began`: when the run began.
pub fn claim(
    machine: &dyn Machine,
    config: &Config,
    devices: &[Address],
    dry_run: bool,
    began: Instant,
) -> Result<Claimed, Failure> {
    let mut inventory = take_inventory(machine, config).inspect_err(|failure| {
        // At boot nobody reads standard error.
        if let (Failure::Machine(error), false) = (failure, dry_run) {
            report::say(machine, Level::Error, &format!("{error}; nothing was claimed"));
        }
    })?;
    let plan = match decide(machine, &mut inventory, &|inventory| plan::plan(config, inventory, devices)) {
        Ok(plan) => plan,
        Err(errors) => return Err(refuse_config(machine, errors, dry_run)),
    };
    let partial = !devices.is_empty();
    let stage = stage(&inventory, devices);
    let run = About { config, inventory: &inventory, stage, saves: true, partial, dry_run, began };
    Ok(carry_through(machine, &run, plan))
}

/// A broken configuration at boot is told where the boot is told.
fn refuse_config(machine: &dyn Machine, errors: Vec<ConfigError>, dry_run: bool) -> Failure {
    if !dry_run {
        for error in &errors {
            report::say(machine, Level::Error, &format!("{error}; nothing was claimed"));
        }
    }
    Failure::Config(errors)
}

/// Where the program runs.
fn stage(inventory: &Inventory, devices: &[Address]) -> &'static str {
    match (devices.is_empty(), inventory.initramfs) {
        (false, _) => "udev",
        (true, true) => "initramfs",
        (true, false) => "command",
    }
}
