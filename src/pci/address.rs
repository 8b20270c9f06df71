// SPDX-License-Identifier: MIT OR Apache-2.0
//! PCI addresses: domain, bus, device, function.

use std::fmt;
use std::str::FromStr;

use super::{hex_digits, hex_field};
use crate::json::{FromJson, Value};

/// The address of a function. Prints as in /sys/bus/pci/devices: `0000:01:00.0`.
///
/// Domains above ffff exist (Intel VMD starts at 10000), so the domain has four to eight digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// PCI domain (segment group).
    pub domain: u32,
    /// Bus number.
    pub bus: u8,
    /// Device number, 0 to 31.
    pub device: u8,
    /// Function number, 0 to 7.
    pub function: u8,
}

/// An [`Address`] without its function number: the slot of a card.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot {
    /// PCI domain (segment group).
    pub domain: u32,
    /// Bus number.
    pub bus: u8,
    /// Device number, 0 to 31.
    pub device: u8,
}

impl Address {
    /// The slot of this function.
    pub fn slot(self) -> Slot {
        Slot { domain: self.domain, bus: self.bus, device: self.device }
    }
}

impl Slot {
    /// Function `function` of this slot.
    pub fn function(self, function: u8) -> Address {
        Address { domain: self.domain, bus: self.bus, device: self.device, function }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        print(self.slot(), Some(self.function), f)
    }
}

impl FromJson for Address {
    fn from_json(value: &Value) -> Option<Self> {
        if let Value::Text(text) = value { text.parse().ok() } else { None }
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        print(*self, None, f)
    }
}

/// Prints a slot, and a function in it. By hand: an inventory of a large machine prints thousands of addresses.
fn print(slot: Slot, function: Option<u8>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut text = [0; 16];
    let mut places = text.iter_mut();
    let mut put = |byte: u8| {
        if let Some(place) = places.next() {
            *place = byte;
        }
    };
    hex_digits(slot.domain, 4, &mut put);
    put(b':');
    hex_digits(slot.bus.into(), 2, &mut put);
    put(b':');
    hex_digits(slot.device.into(), 2, &mut put);
    if let Some(function) = function {
        put(b'.');
        hex_digits(function.into(), 1, &mut put);
    }
    let rest = places.len();
    let used = text.get(..text.len().saturating_sub(rest)).unwrap_or_default();
    f.write_str(std::str::from_utf8(used).unwrap_or_default())
}

/// The error for a text that is not an [`Address`] or a [`Slot`]. Prints what was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAnAddress;

impl fmt::Display for NotAnAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected an address such as 0000:01:00.0 or 01:00.0 (device 00 to 1f, function 0 to 7)")
    }
}

impl std::error::Error for NotAnAddress {}

/// Parses the last part of an address, `DEVICE.FUNCTION`: `00.0`.
pub(super) fn device_function(text: &str) -> Option<(u8, u8)> {
    let (device, function) = text.split_once('.')?;
    let device = u8::try_from(hex_field(device, 1, 2)?).ok()?;
    let function = u8::try_from(hex_field(function, 1, 1)?).ok()?;
    (device < 32 && function < 8).then_some((device, function))
}

impl FromStr for Address {
    type Err = NotAnAddress;

    fn from_str(text: &str) -> Result<Self, NotAnAddress> {
        let (slot, function) = text.split_once('.').ok_or(NotAnAddress)?;
        let function = hex_field(function, 1, 1).and_then(|value| u8::try_from(value).ok()).ok_or(NotAnAddress)?;
        if function > 7 {
            return Err(NotAnAddress);
        }
        Ok(slot.parse::<Slot>()?.function(function))
    }
}

impl FromStr for Slot {
    type Err = NotAnAddress;

    fn from_str(text: &str) -> Result<Self, NotAnAddress> {
        let (rest, device) = text.rsplit_once(':').ok_or(NotAnAddress)?;
        let (domain, bus) = rest.split_once(':').unwrap_or(("0000", rest));
        let domain = hex_field(domain, 4, 8).ok_or(NotAnAddress)?;
        let bus = hex_field(bus, 1, 2).and_then(|value| u8::try_from(value).ok()).ok_or(NotAnAddress)?;
        let device = hex_field(device, 1, 2).and_then(|value| u8::try_from(value).ok()).ok_or(NotAnAddress)?;
        if device > 31 {
            return Err(NotAnAddress);
        }
        Ok(Self { domain, bus, device })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_as_they_print() {
        for text in ["0000:01:00.0", "10000:e1:1f.7", "0001:00:1f.3", "ffffffff:ff:1f.7"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        assert_eq!("01:00.0".parse::<Address>().unwrap().to_string(), "0000:01:00.0");
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in
            ["", "01:00", "01:20.0", "01:00.8", "1:2:3:4.0", "000:01:00.0", "01:00.0 ", "+1:00.0", "0x1:00.0", "é:00.0"]
        {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }
}
