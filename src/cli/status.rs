// SPDX-License-Identifier: MIT OR Apache-2.0
//! `vfio-early status`.

use crate::exit::{Exit, Failure};
use crate::machine::Machine;
use crate::{json, pipeline, status};

use super::output::Output;
use super::{arguments, rom};

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
    let text = match (format, status) {
        // Monitoring has to see that a machine is broken.
        ("prometheus", _) => Some(status::prometheus(status, exit)),
        ("nfd", _) => Some(status::nfd(status, exit)),
        ("json", Some(status)) => Some(json::to_string(status)),
        (_, Some(status)) => {
            let colour = options.output.is_none() && output.colour();
            Some(status::text(status, exit == Exit::Ok, colour))
        }
        (_, None) => None,
    };
    match (text, options.output.as_deref().filter(|path| *path != rom::STANDARD_OUTPUT)) {
        (Some(text), Some(path)) => {
            let end = if text.ends_with('\n') { "" } else { "\n" };
            machine.publish(path, format!("{text}{end}").as_bytes())?;
        }
        (Some(text), None) => output.result(&text),
        (None, _) => {}
    }
    result.map(|(_, exit, _)| exit)
}
