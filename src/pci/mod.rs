// SPDX-License-Identifier: MIT OR Apache-2.0
//! PCI addresses, IDs, classes, modaliases and configuration spaces. Values only: nothing in this module reads from a
//! machine.

mod address;
pub mod capability;
mod class;
mod driver;
mod hex;
mod id;
mod modalias;
pub mod names;
mod path;

pub use address::{Address, Slot};
pub use class::Class;
pub use driver::{is_vfio_driver, same_name};
pub use id::{ExpectedId, IdPattern, Identity};
pub use modalias::{ModaliasPattern, parse_modalias};
pub use path::DevicePath;

pub(crate) use hex::{hex_digits, hex_field};
