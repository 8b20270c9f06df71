// SPDX-License-Identifier: MIT OR Apache-2.0
//! The way of every command through the program: load the configuration, take inventory, plan, execute, record.
//!
//! Each stage is a function of its own with typed input and output. [`config::load`](crate::config::load) loads,
//! `inventory` takes inventory, [`plan`](crate::plan) decides, [`execute`](crate::execute::execute) does it, and `record`
//! keeps what came of it. Commands that only read end after the plan.

mod bind;
mod check;
mod claim;
mod detect;
mod guest;
mod inventory;
mod modules;
mod names;
mod record;
mod release;
mod save;
mod saved_roms;
mod status;
mod trial;

use std::time::Duration;

use crate::config::Config;
use crate::exit::Exit;
use crate::machine::{Error, Host, Lock};
use crate::plan::Plan;
use crate::report::Report;

pub use bind::bind;
pub use check::check;
pub use claim::{claim, reject_configuration};
pub use detect::detect;
pub use guest::guest;
pub use modules::modules;
pub use release::release;
pub use save::{NewFile, files_of_claims, image_command};
pub use status::status;
pub use trial::confirm;

/// What a run came to.
#[derive(Debug)]
pub struct Run {
    /// What was decided.
    pub plan: Plan,
    /// What became of it.
    pub report: Report,
    /// Why the report could not be saved.
    pub unsaved: Option<Error>,
    /// How the program ends.
    pub exit: Exit,
}

/// The lock that keeps runs apart: udev starts one for each function of a card.
const LOCK: &str = "/run/vfio-early/lock";

/// How long a run waits for another: a network card may make hundreds of virtual functions at once, and a run that does not
/// wait for its turn spoils the record of others. udev gives an event three minutes.
const LOCK_WAIT: Duration = Duration::from_secs(100);

/// Waits until no other run changes anything, and keeps others waiting for as long as the lock lives: for a command that
/// reads what cannot be read by two at once. Such a command leaves nothing in a directory that holds a machine: there, the
/// lock is taken if its file exists.
pub fn lock_for_reading(host: &Host) -> Lock {
    host.begin(LOCK, LOCK_WAIT, host.is_running())
}

/// The same for a run with this configuration. A dry run locks nothing.
pub fn lock_for(host: &mut Host, config: &Config, dry_run: bool) -> Option<Lock> {
    host.set_limit(config.settings.step_timeout);
    (!dry_run).then(|| host.begin(LOCK, LOCK_WAIT, true))
}
