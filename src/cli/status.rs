// SPDX-License-Identifier: MIT OR Apache-2.0
//! `vfio-early status`.

use crate::exit::{Exit, Failure};
use crate::machine::Machine;
use crate::{json, pipeline, status};

use super::arguments;
use super::output::Output;

/// Runs the command.
pub(super) fn run(machine: &dyn Machine, options: &arguments::Status, output: &mut Output) -> Result<Exit, Failure> {
    let format = options.format.as_deref().unwrap_or(if options.json { "json" } else { "text" });
    let known = ["text", "prometheus", "nfd"].contains(&format);
    if options.format.is_some() && (options.json || !known) {
        let message = format!("--format {format}: expected text, prometheus or nfd, or --json in its place");
        return Err(Failure::Message(Exit::Usage, message));
    }
    let result = pipeline::status(machine, options.all);
    let (status, exit) = match &result {
        Ok((status, exit, warnings)) => {
            for warning in warnings {
                output.warn(&warning.to_string());
            }
            (Some(status), *exit)
        }
        Err(failure) => (None, failure.exit()),
    };
    match (format, status) {
        // Monitoring has to see that a machine is broken.
        ("prometheus", _) => output.result(&status::prometheus(status, exit)),
        ("nfd", _) => output.result(&status::nfd(status, exit)),
        ("json", Some(status)) => output.result(&json::to_string(status)),
        (_, Some(status)) => output.result(&status::text(status, exit == Exit::Ok, output.colour())),
        (_, None) => {}
    }
    result.map(|(_, exit, _)| exit)
}
