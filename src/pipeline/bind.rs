// SPDX-License-Identifier: MIT OR Apache-2.0
//! Claims devices now, configured or not.

use std::time::Instant;

use crate::config::{self, Config, Origin};
use crate::exit::Failure;
use crate::machine::Machine;
use crate::pci::Address;
use crate::plan;
use crate::report::{ClaimState, Stage};

use super::Run;
use super::inventory::{Scope, add_details, find_virtual_functions, plan_around_guests, survey};
use super::record::{Purpose, execute_and_record};

/// Claims devices now, whether they are configured or not. `words`: addresses, and options as a claim has them. `began`:
/// when the run began.
pub fn bind(
    machine: &dyn Machine,
    config: Config,
    words: &[String],
    dry_run: bool,
    began: Instant,
) -> Result<Run, Failure> {
    let manual = config::claims_from_arguments(Origin::BIND, words)?;
    let addresses: Vec<Address> = manual.iter().filter_map(|claim| claim.selector.address()).collect();
    // `vfio_early=off` is about what is configured.
    let mut config = Config { off: false, ..config };
    let mut inventory = survey(machine, &config)?;
    let bare = words.iter().all(|word| !word.contains('='));
    plan::join(&mut config, &inventory, manual, bare);
    find_virtual_functions(machine, &config, &mut inventory);
    add_details(machine, &config, &mut inventory, Scope::Claims);
    let plan = plan_around_guests(machine, &mut inventory, &|inventory| plan::bind(&config, inventory, &addresses))?;
    let purpose = Purpose {
        config: &config,
        inventory: &inventory,
        stage: Stage::Command,
        asked: ClaimState::Claimed,
        partial: true,
        dry_run,
        began,
    };
    Ok(execute_and_record(machine, &purpose, plan))
}
