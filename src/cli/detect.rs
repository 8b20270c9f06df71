// SPDX-License-Identifier: MIT OR Apache-2.0
//! `vfio-early detect`.

use crate::exit::{Exit, Failure};
use crate::machine::Machine;
use crate::{detect, pipeline};

use super::output::Output;

/// Runs the command.
pub(super) fn run(machine: &dyn Machine, output: &mut Output) -> Result<Exit, Failure> {
    let proposal = pipeline::detect(machine)?;
    output.result(&detect::text(&proposal));
    Ok(if proposal.iommu.is_enabled() { Exit::Ok } else { Exit::Unprotected })
}
