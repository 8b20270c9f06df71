// SPDX-License-Identifier: MIT OR Apache-2.0
//! `vfio-early groups`: every IOMMU group, and why it is as big as it is.

use crate::config::words;
use crate::door::Door;
use crate::groups::{self, Function, Host};
use crate::pci::Address;
use crate::picture::{Firmware, Picture};

use super::output::Output;
use super::{Exit, Failure, arguments, layout};

/// Runs the command. Where addresses are named, a group of theirs that is not viable is what did not hold.
pub(super) fn run(door: &dyn Door, options: &arguments::Groups, output: &mut Output) -> Result<Exit, Failure> {
    let picture = Picture::survey(door, true)?;
    let functions = picture.functions(door, &|_, _| true);
    let types = picture.group_types(door, &functions);
    let examination = groups::examine(&functions, &host(&picture, &types));

    let wanted = |group: &groups::Group| {
        options.address.is_empty() || group.devices.iter().any(|device| options.address.contains(device))
    };
    let shown: Vec<&groups::Group> = examination.groups.iter().filter(|group| wanted(group)).collect();
    let lost: Vec<&Address> =
        options.address.iter().filter(|address| !shown.iter().any(|group| group.devices.contains(address))).collect();
    if options.json {
        output.result(&miniserde::json::to_string(&shown));
    } else if options.tree {
        output.result(&examination.tree());
    } else {
        for line in examination.text(&options.address).lines() {
            let indent = line.len().saturating_sub(line.trim_start().len()).saturating_add(2);
            output.result(&layout::wrap(line, &" ".repeat(indent)));
        }
        if shown.is_empty() && lost.is_empty() {
            output.result("no IOMMU groups: the IOMMU is off or absent (vfio-early status tells which)");
        }
    }
    for address in &lost {
        output.warn(&without_group(&functions, **address));
    }
    let viable = options.address.is_empty() || shown.iter().all(|group| group.viable);
    Ok(if viable && lost.is_empty() { Exit::Ok } else { Exit::NotHeld })
}

/// What else bears on the groups.
pub(super) fn host<'a>(picture: &Picture, types: &'a [(u32, String)]) -> Host<'a> {
    Host {
        acs_override: words(&picture.command_line).any(|(name, _)| name == "pcie_acs_override"),
        amd_iommu: picture.iommu.firmware == Some(Firmware::Ivrs),
        kernel: picture.kernel_version(),
        types,
    }
}

fn without_group(functions: &[Function], address: Address) -> String {
    if functions.iter().any(|function| function.address == address) {
        format!("{address} is in no IOMMU group")
    } else {
        format!("there is no device at {address}")
    }
}
