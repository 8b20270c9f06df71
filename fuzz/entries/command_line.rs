// SPDX-License-Identifier: MIT OR Apache-2.0
//! Any bytes as the kernel command line.

use vfio_early::config::words;

use super::config::hold;
use super::files::Files;

/// The entry point.
pub(crate) fn run(data: &[u8]) {
    let count = words(data).count();
    assert!(count <= data.len());
    hold(&Files::with("/proc/cmdline", data));
}
