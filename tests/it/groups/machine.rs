// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reads a recorded machine as `vfio-early groups` does.

use vfio_early::inventory::Inventory;
use vfio_early::machine::Recorded;

/// The inventory of a recorded machine, with configuration spaces.
pub(crate) fn inventory(content: &[u8]) -> Inventory {
    let machine = Recorded::parse(content).expect("a recorded machine");
    let mut inventory = Inventory::survey(&machine, true).expect("a machine with PCI");
    inventory.read_config_spaces(&machine, None);
    assert!(!inventory.functions.is_empty(), "no function was recorded");
    inventory
}
