// SPDX-License-Identifier: MIT OR Apache-2.0
//! Any bytes as a file of modprobe.d: never more than a warning.

use vfio_early::config::{Sources, load, modprobe_directives};

use super::config::hold;
use super::files::Files;

/// The entry point.
pub(crate) fn run(data: &[u8]) {
    let machine = Files::with("/etc/modprobe.d/vfio.conf", data);
    assert!(load(&machine, Sources::AtBoot).is_ok());
    assert!(modprobe_directives(&machine).len() <= data.iter().filter(|byte| **byte == b'\n').count() + 1);
    hold(&machine);
    hold(&machine.and("/etc/vfio-early.conf", b"set adopt-ids no\n"));
}
