// SPDX-License-Identifier: MIT OR Apache-2.0
//! Device paths: functions identified by the bridges above them.

use std::fmt;
use std::str::FromStr;

use super::Address;
use super::address::device_function;

/// The path of a function: the address of a bridge on a root bus, and device and function numbers below each bridge,
/// `0000:00:01.0/00.0`. It does not change when buses are renumbered (drivers/pci/pci.c, `pci_dev_str_match_path`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DevicePath {
    /// The bridge on the root bus.
    pub root: Address,
    /// Device and function numbers below each bridge; at least one.
    pub below: Vec<(u8, u8)>,
}

impl DevicePath {
    /// Whether the path leads to the last address of `chain`, the addresses from the root bus down to a function. As in the
    /// kernel, a path may start at any bridge.
    pub fn matches(&self, chain: &[Address]) -> bool {
        let Some(start) = chain.iter().position(|address| *address == self.root) else { return false };
        let Some((_, below)) = chain.get(start..).and_then(|rest| rest.split_first()) else { return false };
        below.len() == self.below.len()
            && below.iter().zip(&self.below).all(|(address, step)| (address.device, address.function) == *step)
    }
}

/// The error for a text that is not a [`DevicePath`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAPath;

impl fmt::Display for NotAPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected a path such as 00:01.0/00.0 (a bridge's address, then DEVICE.FUNCTION below each bridge)")
    }
}

impl std::error::Error for NotAPath {}

impl FromStr for DevicePath {
    type Err = NotAPath;

    fn from_str(text: &str) -> Result<Self, NotAPath> {
        let mut parts = text.split('/');
        let root = parts.next().and_then(|part| part.parse().ok()).ok_or(NotAPath)?;
        let below: Option<Vec<_>> = parts.map(device_function).collect();
        match below {
            Some(below) if !below.is_empty() => Ok(Self { root, below }),
            _ => Err(NotAPath),
        }
    }
}

impl fmt::Display for DevicePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.root)?;
        self.below.iter().try_for_each(|(device, function)| write!(f, "/{device:02x}.{function}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_follows_the_bridges_whatever_their_buses_are_called() {
        let path: DevicePath = "00:01.0/00.0".parse().unwrap();
        let chain = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<Address>>();
        assert!(path.matches(&chain(&["0000:00:01.0", "0000:07:00.0"])));
        assert!(!path.matches(&chain(&["0000:00:01.0", "0000:07:00.1"])));
        assert!(!path.matches(&chain(&["0000:00:01.0"])));
        assert!(!path.matches(&chain(&["0000:00:01.0", "0000:07:00.0", "0000:08:00.0"])));
        assert_eq!(path.to_string(), "0000:00:01.0/00.0");
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for text in ["00:01.0", "00:01.0/", "00:01.0/20.0", "00:01.0/00.8", "/00.0", "00:01.0/0"] {
            assert!(text.parse::<DevicePath>().is_err(), "{text}");
        }
    }
}
