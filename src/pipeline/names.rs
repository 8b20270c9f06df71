// SPDX-License-Identifier: MIT OR Apache-2.0
//! The names of devices, from the system's pci.ids.

use crate::machine::Machine;
use crate::pci::Identity;
use crate::pci::names::{self, Names};

/// Where distributions put pci.ids.
const LISTS: &[&str] = &["/usr/share/hwdata/pci.ids", "/usr/share/misc/pci.ids", "/usr/share/pci.ids"];

/// How large it may be: five times what it is.
const MAX_LIST: usize = 8 * 1024 * 1024;

/// What these functions are called; empty names where the machine has no list.
pub(super) fn names(machine: &dyn Machine, identities: &[Identity]) -> Vec<Names> {
    let list = LISTS.iter().find_map(|path| machine.read(path, MAX_LIST).ok()).unwrap_or_default();
    names::look_up(&list, identities)
}
