// SPDX-License-Identifier: MIT OR Apache-2.0
//! Selectors: how a claim names its devices.

use std::fmt;
use std::str::FromStr;

use crate::pci::{Address, DevicePath, IdPattern, ModaliasPattern, Slot};

/// Selects the devices of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// `0000:01:00.0`: the function at this address.
    Address(Address),
    /// `01:00.*`: every function of the slot.
    Slot(Slot),
    /// `00:01.0/00.0`: the function below these bridges.
    Path(DevicePath),
    /// `10de:1e04`: functions with this ID.
    Id(IdPattern),
    /// `pci:v000010DEd*bc03*`: functions with a matching modalias.
    Modalias(ModaliasPattern),
    /// `vf:0000:01:00.0`: every virtual function of the physical function at this address.
    VirtualFunctions(Address),
}

impl Selector {
    /// The address, if the selector is one.
    pub fn address(&self) -> Option<Address> {
        if let Self::Address(address) = self { Some(*address) } else { None }
    }

    /// The physical function, if the selector is for its virtual functions.
    pub fn physical(&self) -> Option<Address> {
        if let Self::VirtualFunctions(physical) = self { Some(*physical) } else { None }
    }

    /// Whether the selector can match several unrelated devices, so that `match=` applies.
    pub fn is_pattern(&self) -> bool {
        matches!(self, Self::Id(_) | Self::Modalias(_))
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Slot(slot) => write!(f, "{slot}.*"),
            Self::Path(path) => path.fmt(f),
            Self::Id(pattern) => pattern.fmt(f),
            Self::Modalias(pattern) => pattern.fmt(f),
            Self::VirtualFunctions(physical) => write!(f, "vf:{physical}"),
        }
    }
}

impl FromStr for Selector {
    /// The message says what was expected.
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // The form of the word decides on the kind of selector, so that the error message fits.
        if let Some(physical) = text.strip_prefix("vf:") {
            let expected = "expected the address of a physical function, such as vf:01:00.0";
            physical.parse().map(Self::VirtualFunctions).map_err(|_| expected.to_owned())
        } else if text.starts_with("pci:") {
            text.parse().map(Self::Modalias).map_err(|error| error.to_string())
        } else if text.contains('/') {
            text.parse().map(Self::Path).map_err(|error| error.to_string())
        } else if let Some(slot) = text.strip_suffix(".*") {
            slot.parse().map(Self::Slot).map_err(|_| "expected a slot such as 01:00.* (device 00 to 1f)".to_owned())
        } else if text.contains('.') {
            text.parse().map(Self::Address).map_err(|error| error.to_string())
        } else if text.parse::<Slot>().is_ok() {
            Err(format!("expected a function: {text}.0 for the first one, or {text}.* for all of them"))
        } else if text.contains(':') {
            text.parse().map(Self::Id).map_err(|error| error.to_string())
        } else {
            Err("expected a selector: an address (01:00.0), a slot (01:00.*), a path (00:01.0/00.0), an ID (10de:1e04), \
                 virtual functions (vf:01:00.0) or a modalias pattern (pci:v000010DEd*bc03*)"
                .to_owned())
        }
    }
}
