// SPDX-License-Identifier: MIT OR Apache-2.0
//! `vfio-early snapshot`: one text file with everything that the reading commands read, found out by running them.

use std::time::Instant;

use crate::config::{self, Sources};
use crate::exit::{Exit, Failure};
use crate::guest::Options;
use crate::inventory::{Extent, Inventory, Resources};
use crate::machine::{Machine, Recorder};
use crate::{pipeline, snapshot};

use super::output::Output;
use super::{arguments, groups, rom};

/// Runs the command.
pub(super) fn run(machine: &dyn Machine, options: &arguments::Snapshot, output: &mut Output) -> Result<Exit, Failure> {
    let recorder = Recorder::new(machine);
    read_everything(&recorder);
    let digest = config::digest(machine);
    let text = snapshot::print(recorder.into_observations(), &digest);
    match options.output.as_deref() {
        Some(path) if path != rom::STANDARD_OUTPUT => {
            rom::create(machine, path, text.as_bytes(), options.force, None)?;
            output.warn(&format!("{path} holds this machine without its serial numbers, addresses and names; look at it before you give it away"));
        }
        _ => output.result(&text),
    }
    Ok(Exit::Ok)
}

/// Has every reading command read what it reads. How each ends does not matter here.
fn read_everything(machine: &dyn Machine) {
    let _ = pipeline::status(machine, true);
    for image in [false, true] {
        let _ = pipeline::check(machine, image);
    }
    let all = arguments::Groups { json: true, tree: false, address: Vec::new() };
    let _ = groups::run(machine, &all, &mut Output::silent());
    let _ = pipeline::modules(machine, None);
    let _ = pipeline::detect(machine, None);
    if let Ok(mut inventory) = Inventory::survey(machine, false) {
        // A bridge ends the command: no guest can have one.
        inventory.devices.retain(|device| !device.identity.class.is_bridge());
        let addresses: Vec<_> = inventory.devices.iter().map(|device| device.address).collect();
        // One at a time: what one guest cannot have says nothing about the others.
        for address in &addresses {
            let options = Options { iommufd: true, devices: vec![*address], ..Options::default() };
            let _ = pipeline::guest(machine, &options);
        }
        // Where nothing is claimed yet, as well.
        inventory.read_details(machine, &addresses, Extent::Full);
        let details = inventory.devices.iter().filter_map(|device| device.detail.as_ref());
        let mut nodes: Vec<u16> = details.filter_map(|detail| detail.numa_node).collect();
        nodes.sort_unstable();
        nodes.dedup();
        Resources::read(machine, &[]);
        for node in nodes {
            Resources::read(machine, &[node]);
        }
    }
    if let Ok(loaded) = config::load(machine, Sources::AtBoot) {
        let _ = pipeline::claim(machine, &loaded.config, &[], true, Instant::now());
    }
}
