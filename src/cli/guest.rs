// SPDX-License-Identifier: MIT OR Apache-2.0
//! `vfio-early guest`, and its short form `vfio-early libvirt`.

use crate::exit::{Exit, Failure};
use crate::guest::{self, Format, Options};
use crate::machine::Machine;
use crate::pci::Address;
use crate::pipeline;

use super::arguments;
use super::output::Output;

/// Runs `guest`.
pub(super) fn run(machine: &dyn Machine, given: &arguments::Guest, output: &mut Output) -> Result<Exit, Failure> {
    let options = Options {
        format: given.format.unwrap_or_default(),
        os: given.os.unwrap_or_default(),
        vcpus: given.vcpus,
        memory: given.memory,
        hide_kvm: given.hide_kvm,
        domain: given.domain.clone(),
        iommufd: given.iommufd,
        across_nodes: given.across_nodes,
        unclaimed: false,
        devices: given.address.clone(),
    };
    describe(machine, &options, output)
}

/// Runs `libvirt`.
pub(super) fn libvirt(machine: &dyn Machine, addresses: &[Address], output: &mut Output) -> Result<Exit, Failure> {
    describe(machine, &Options { devices: addresses.to_vec(), unclaimed: true, ..Options::default() }, output)
}

fn describe(machine: &dyn Machine, options: &Options, output: &mut Output) -> Result<Exit, Failure> {
    options.check().map_err(|message| Failure::Message(Exit::Usage, message.to_owned()))?;
    let guest = match pipeline::guest(machine, options)? {
        Ok(guest) => guest,
        Err((exit, reasons)) => {
            for reason in &reasons {
                output.warn(reason);
            }
            return Ok(exit);
        }
    };
    let text = match options.format {
        Format::Libvirt => guest::libvirt(&guest),
        Format::Qemu => guest::qemu(&guest),
        Format::Proxmox => guest::proxmox(&guest).map_err(|message| Failure::Message(Exit::NotMet, message))?,
    };
    for note in &guest.notes {
        output.warn(note);
    }
    output.result(&text);
    Ok(if guest.unclaimed { Exit::NotMet } else { Exit::Ok })
}
