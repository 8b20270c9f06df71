// SPDX-License-Identifier: MIT OR Apache-2.0
//! Any bytes as a list of names: together, functions have the names that each has alone.

use vfio_early::pci::names::look_up;
use vfio_early::pci::{Class, Identity};

/// The entry point.
pub(crate) fn run(data: &[u8]) {
    // The first bytes say which functions are asked for: few numbers, so that they are found.
    let Some((asked, list)) = data.split_at_checked(8) else { return };
    let number = |byte: u8| u16::from(byte % 4) * 0x1111;
    let function = |bytes: &[u8]| Identity {
        vendor: number(bytes[0]),
        device: number(bytes[1]),
        subvendor: number(bytes[2]),
        subdevice: number(bytes[3]),
        class: Class(0),
    };
    let wanted = [function(&asked[..4]), function(&asked[4..])];
    let together = look_up(list, &wanted);
    assert_eq!(together.len(), 2);
    for (names, identity) in together.iter().zip(wanted) {
        assert_eq!(look_up(list, &[identity]).first(), Some(names));
        for name in [&names.vendor, &names.device, &names.subsystem] {
            assert!(!name.contains('\n') && name.len() <= 3 * list.len());
        }
    }
}
