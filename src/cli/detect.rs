// SPDX-License-Identifier: MIT OR Apache-2.0
//! `vfio-early detect`.

use crate::exit::{Exit, Failure};
use crate::machine::Machine;
use crate::{detect, pipeline};

use super::output::Output;
use super::{arguments, rom};

/// Runs the command.
pub(super) fn run(machine: &dyn Machine, options: &arguments::Detect, output: &mut Output) -> Result<Exit, Failure> {
    let file = options.output.as_deref().filter(|path| *path != rom::STANDARD_OUTPUT);
    let proposal = pipeline::detect(machine, file)?;
    let text = detect::text(&proposal);
    match file {
        Some(path) => {
            rom::create(machine, path, text.as_bytes(), options.force, None)?;
            let image = pipeline::image_command(machine);
            output
                .warn(&format!("{path} written: run vfio-early check, then {image} makes the image of the next boot"));
        }
        None => output.result(&text),
    }
    Ok(if proposal.iommu.is_enabled() { Exit::Ok } else { Exit::Unprotected })
}
