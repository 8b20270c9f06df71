// SPDX-License-Identifier: MIT OR Apache-2.0
//! `vfio-early libvirt`.

use crate::exit::{Exit, Failure};
use crate::machine::Machine;
use crate::pci::Address;
use crate::{guest, pipeline};

use super::output::Output;

/// Runs the command.
pub(super) fn run(machine: &dyn Machine, addresses: &[Address], output: &mut Output) -> Result<Exit, Failure> {
    if addresses.is_empty() {
        let message = "name a device by its address (vfio-early status lists them)";
        return Err(Failure::Message(Exit::Usage, message.to_owned()));
    }
    let guest = pipeline::guest(machine, addresses)?;
    for sentence in guest.unclaimed() {
        output.warn(&sentence);
    }
    output.result(&guest::libvirt(&guest));
    if !guest.iommu.is_enabled() {
        output.warn(&format!("no guest can use a device: {}", guest.iommu.reason()));
        return Ok(Exit::Unprotected);
    }
    Ok(Exit::Ok)
}
