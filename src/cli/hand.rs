// SPDX-License-Identifier: MIT OR Apache-2.0
//! `vfio-early bind` and `release`: by hand, at once. The same way as a claim: picture, plan, act, report.

use std::time::Instant;

use crate::config::{self, Config, Origin, Sources};
use crate::inventory::Inventory;
use crate::machine::{Error, Machine};
use crate::pci::Address;
use crate::plan;
use crate::report::{self, json::Claim, json::Report};

use super::carry::{About, Claimed, carry_through, decide, lock, look, take_inventory};
use super::output::Output;
use super::told::tell;
use super::{Exit, Failure, Room, arguments};

/// Runs the command `bind`.
pub(super) fn run_bind(room: &mut Room, options: &arguments::Bind, output: &mut Output) -> Result<Exit, Failure> {
    let began = Instant::now();
    let loaded = config::load(room.machine(), Sources::AtBoot)?;
    for warning in &loaded.warnings {
        output.warn(&warning.to_string());
    }
    let lock = lock(room, &loaded.config, options.dry_run);
    let bound = bind(room.machine(), loaded.config, &options.words, options.dry_run, began)?;
    drop(lock);
    Ok(tell(&bound, options.json, output))
}

/// Runs the command `release`.
pub(super) fn run_release(room: &mut Room, options: &arguments::Release, output: &mut Output) -> Result<Exit, Failure> {
    let began = Instant::now();
    let lock = lock(room, &Config::default(), options.dry_run);
    let released = release(room.machine(), &options.words, options.dry_run, began)?;
    drop(lock);
    Ok(tell(&released, options.json, output))
}

/// Claims devices now, whether they are configured or not. `words`: addresses, and options as a claim has them. `began`:
/// when the run began.
pub fn bind(
    machine: &dyn Machine,
    config: Config,
    words: &[String],
    dry_run: bool,
    began: Instant,
) -> Result<Claimed, Failure> {
    let by_hand = config::claims_from_arguments(Origin::BIND, words)?;
    let addresses: Vec<Address> = by_hand.iter().filter_map(|claim| claim.selector.address()).collect();
    // "Nothing is touched" is about what is configured.
    let mut config = Config { off: false, ..config };
    let mut inventory = Inventory::survey(machine, plan::needs_chains(&config))?;
    let bare = words.iter().all(|word| !word.contains('='));
    plan::join(&mut config, &inventory, by_hand, bare);
    look(machine, &config, &mut inventory);
    let plan = decide(machine, &mut inventory, &|inventory| plan::bind(&config, inventory, &addresses))?;
    Ok(carry_through(machine, &about(&config, &inventory, true, dry_run, began), plan))
}

/// Gives devices back to the host. What is configured does not matter, and may be broken: this is a way back. `words`:
/// addresses, and `with=`. `began`: when the run began.
pub fn release(machine: &dyn Machine, words: &[String], dry_run: bool, began: Instant) -> Result<Claimed, Failure> {
    if let Some(word) = words.iter().find(|word| word.contains('=') && !word.starts_with("with=")) {
        return Err(Failure::Said(Exit::Usage, format!("release: {word}: expected with= or an address")));
    }
    let config = Config { claims: config::claims_from_arguments("release", words)?, ..Config::default() };
    let mut inventory = take_inventory(machine, &config)?;
    let before = report::load(machine);
    let claimed = |address: Address| {
        let name = address.to_string();
        let claims = before.as_ref().map(|report| report.claims.as_slice()).unwrap_or_default();
        let claim = claims.iter().find(|claim| claim.device.as_deref() == Some(&name) && claim.stage.is_some());
        claim.map(|claim| claim.target.clone())
    };
    let plan = decide(machine, &mut inventory, &|inventory| Ok(plan::release(&config, inventory, &claimed)))?;
    let mut released = carry_through(machine, &about(&config, &inventory, false, dry_run, began), plan);
    if let (Some(report), false) = (before, dry_run) {
        if let Err(error) = forget(machine, report, &released.report) {
            released.unsaved = Some(error);
            released.exit = if released.exit == Exit::Ok { Exit::System } else { released.exit };
        }
    }
    Ok(released)
}

/// What was bound by hand is nobody's wish any more once it is released, or was to be and is gone; a claim that is
/// configured has drifted.
fn forget(machine: &dyn Machine, mut report: Report, released: &Report) -> Result<(), Error> {
    let all = report.claims.len();
    let gone = |old: &Claim| {
        released.claims.iter().any(|new| match new.state.as_str() {
            "released" => new.device == old.device,
            "missing" => Some(&new.selector) == old.device.as_ref(),
            _ => false,
        })
    };
    report.claims.retain(|old| old.source != Origin::BIND || !gone(old));
    if report.claims.len() == all { Ok(()) } else { report::save(machine, &report) }
}

fn about<'a>(config: &'a Config, inventory: &'a Inventory, saves: bool, dry_run: bool, began: Instant) -> About<'a> {
    About { config, inventory, stage: "command", saves, partial: true, dry_run, began }
}
