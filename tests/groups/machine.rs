// SPDX-License-Identifier: MIT OR Apache-2.0
//! A recorded machine, read as the command reads it.

use vfio_early::door::Recorded;
use vfio_early::picture::Picture;

/// Everything that bears on the groups of a recorded machine.
pub(crate) fn picture(content: &[u8]) -> Picture {
    let door = Recorded::parse(content).expect("a recorded machine");
    let mut picture = Picture::survey(&door, true).expect("a machine with PCI");
    picture.look_at_functions(&door, None);
    assert!(!picture.functions.is_empty(), "no function was recorded");
    picture
}
