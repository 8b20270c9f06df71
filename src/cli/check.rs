// SPDX-License-Identifier: MIT OR Apache-2.0
//! `vfio-early check`.

use crate::exit::{Exit, Failure};
use crate::machine::Machine;
use crate::{check, json, pipeline};

use super::arguments;
use super::output::Output;

/// Runs the command.
pub(super) fn run(machine: &dyn Machine, options: &arguments::Check, output: &mut Output) -> Result<Exit, Failure> {
    let (check, exit) = pipeline::check(machine, options.image)?;
    output.result(&if options.json { json::to_string(&check) } else { check::text(&check) });
    Ok(exit)
}
