// SPDX-License-Identifier: MIT OR Apache-2.0
//! `vfio-early snapshot`: one text file with everything that the reading commands read, found out by running them.

use std::time::Instant;

use crate::config::{self, Extent};
use crate::door::{self, Door, Recorder};
use crate::picture::{self, Picture};
use crate::snapshot;

use super::output::Output;
use super::{Exit, Failure, arguments, check, claim, detect, groups, libvirt, modules, rom, status};

/// Runs the command.
pub(super) fn run(door: &dyn Door, options: &arguments::Snapshot, output: &mut Output) -> Result<Exit, Failure> {
    let recorder = Recorder::new(door);
    look(&recorder);
    let host = door::text(door, "/proc/sys/kernel/hostname").unwrap_or_default();
    let text = snapshot::print(recorder.into_seen(), &host);
    match &options.output {
        Some(path) => {
            rom::create(door, path, text.as_bytes(), options.force, None)?;
            output.warn(&format!("{path} holds this machine without its serial numbers, addresses and names; look at it before you give it away"));
        }
        None => output.result(&text),
    }
    Ok(Exit::Ok)
}

/// Has every reading command read what it reads. How each ends is its own affair.
fn look(door: &dyn Door) {
    let mut silent = Output::silent();
    let status = arguments::Status { json: true, all: true, format: None };
    let _ = status::run(door, &status, &mut silent);
    for image in [false, true] {
        let _ = check::run(door, &arguments::Check { json: true, image }, &mut silent);
    }
    let all = arguments::Groups { json: true, tree: false, address: Vec::new() };
    let _ = groups::run(door, &all, &mut silent);
    let _ = modules::run(door, &arguments::Modules { kernel: None }, &mut silent);
    let _ = detect::run(door, &mut silent);
    if let Ok(mut picture) = Picture::survey(door, false) {
        // What no guest can have ends the command.
        picture.devices.retain(|device| !device.identity.class.is_bridge());
        let addresses: Vec<_> = picture.devices.iter().map(|device| device.address).collect();
        let _ = libvirt::run(door, &addresses, &mut silent);
        // It tells of the processors near one device.
        picture.look_closer(door, &addresses);
        let mut nodes: Vec<_> =
            picture.devices.iter().map(|device| device.detail.as_ref().and_then(|detail| detail.numa_node)).collect();
        nodes.sort_unstable();
        nodes.dedup();
        for node in nodes {
            picture::of_node(door, node);
        }
    }
    if let Ok(loaded) = config::load(door, Extent::Heeded) {
        let _ = claim(door, &loaded.config, &[], true, Instant::now());
    }
}
