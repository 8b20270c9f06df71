// SPDX-License-Identifier: MIT OR Apache-2.0
//! `vfio-early modules`.

use crate::exit::{Exit, Failure};
use crate::machine::Machine;
use crate::pipeline;

use super::arguments;
use super::output::Output;

/// Runs the command.
pub(super) fn run(machine: &dyn Machine, options: &arguments::Modules, output: &mut Output) -> Result<Exit, Failure> {
    for module in pipeline::modules(machine, options.kernel.as_deref())? {
        output.result(&module);
    }
    Ok(Exit::Ok)
}
