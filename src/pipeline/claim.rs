// SPDX-License-Identifier: MIT OR Apache-2.0
//! Claims what the configuration says.

use std::time::Instant;

use crate::config::{Config, ConfigError};
use crate::execute::load_iommu_driver;
use crate::exit::Failure;
use crate::inventory::Inventory;
use crate::machine::Machine;
use crate::pci::Address;
use crate::plan;
use crate::report::{self, ClaimState, Level, Stage};

use super::Run;
use super::inventory::{Scope, plan_around_guests, take_inventory};
use super::record::{Purpose, execute_and_record};
use super::trial;

/// Claims what the configuration says. `devices`: only these are considered; all of them when it is empty. A dry run ends
/// with the plan. `began`: when the run began.
pub fn claim(
    machine: &dyn Machine,
    config: &Config,
    devices: &[Address],
    dry_run: bool,
    began: Instant,
) -> Result<Run, Failure> {
    let unmounted = trial::prepare(machine, config, dry_run);
    let take_inventory = || {
        take_inventory(machine, config, Scope::Claims).map_err(|error| {
            // Standard error is lost at boot.
            if !dry_run {
                report::write(machine, Level::Error, &format!("{error}; nothing was claimed"));
            }
            Failure::from(error)
        })
    };
    let mut inventory = take_inventory()?;
    if !dry_run && !config.off && !config.claims.is_empty() && load_iommu_driver(machine, &inventory.iommu) {
        inventory = take_inventory()?;
    }
    trial::read(machine, config, &mut inventory, unmounted.as_ref());
    let mut plan =
        match plan_around_guests(machine, &mut inventory, &|inventory| plan::plan(config, inventory, devices)) {
            Ok(plan) => plan,
            Err(errors) => return Err(reject_configuration(machine, errors, dry_run)),
        };
    if !dry_run {
        trial::begin(machine, &mut plan);
    }
    let purpose = Purpose {
        config,
        inventory: &inventory,
        stage: stage(&inventory, devices),
        asked: ClaimState::Claimed,
        partial: !devices.is_empty(),
        dry_run,
        began,
    };
    Ok(execute_and_record(machine, &purpose, plan))
}

/// Rejects a broken configuration, in the kernel log too: standard error is lost at boot.
pub fn reject_configuration(machine: &dyn Machine, errors: Vec<ConfigError>, dry_run: bool) -> Failure {
    for error in errors.iter().filter(|_| !dry_run) {
        report::write(machine, Level::Error, &format!("{error}; nothing was claimed"));
    }
    Failure::Config(errors)
}

/// Where the program runs.
fn stage(inventory: &Inventory, devices: &[Address]) -> Stage {
    match (devices.is_empty(), inventory.initramfs) {
        (false, _) => Stage::Udev,
        (true, true) => Stage::Initramfs,
        (true, false) => Stage::Command,
    }
}
