// SPDX-License-Identifier: MIT OR Apache-2.0
//! `vfio-early confirm`.

use crate::exit::{Exit, Failure};
use crate::pipeline;

use super::output::Output;
use super::{OpenMachine, arguments};

/// Runs the command.
pub(super) fn run(machine: &OpenMachine, options: &arguments::Confirm, output: &mut Output) -> Result<Exit, Failure> {
    // udev may be claiming a device.
    let lock = if let OpenMachine::Host(host) = machine { Some(pipeline::lock_for_reading(host)) } else { None };
    let done = pipeline::confirm(machine.get(), options.retry)?;
    drop(lock);
    output.result(&done);
    Ok(Exit::Ok)
}
