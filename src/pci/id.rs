// SPDX-License-Identifier: MIT OR Apache-2.0
//! Vendor, device and subsystem IDs, and patterns for them.

use std::fmt;
use std::str::FromStr;

use super::{Class, hex_field};

/// The IDs and the class of a function, as in the kernel's modalias.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Identity {
    /// Vendor ID.
    pub vendor: u16,
    /// Device ID.
    pub device: u16,
    /// Subsystem vendor ID.
    pub subvendor: u16,
    /// Subsystem device ID.
    pub subdevice: u16,
    /// Class code.
    pub class: Class,
}

impl Identity {
    /// `vendor:device`, as `lspci -n` prints it.
    pub fn id(&self) -> String {
        format!("{:04x}:{:04x}", self.vendor, self.device)
    }

    /// `subvendor:subdevice`.
    pub fn subsystem(&self) -> String {
        format!("{:04x}:{:04x}", self.subvendor, self.subdevice)
    }
}

/// A selector by ID: `vendor:device[:subvendor:subdevice[:class[:class_mask]]]`, each of the first four a number or `*`,
/// as in vfio-pci's `ids=` (drivers/vfio/pci/vfio_pci.c, `vfio_pci_fill_ids`), where `*` is `ffffffff`. `None` is `*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct IdPattern {
    /// Vendor ID; the only mandatory field.
    pub vendor: u16,
    /// Device ID.
    pub device: Option<u16>,
    /// Subsystem vendor ID.
    pub subvendor: Option<u16>,
    /// Subsystem device ID.
    pub subdevice: Option<u16>,
    /// Class code.
    pub class: u32,
    /// The bits of the class code that are compared; 0: any class.
    pub class_mask: u32,
}

/// The error for a text that is not an [`IdPattern`] or an [`ExpectedId`]. Prints what was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAnId(&'static str);

impl fmt::Display for NotAnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {}", self.0)
    }
}

impl std::error::Error for NotAnId {}

const PATTERN: NotAnId =
    NotAnId("an ID such as 10de:1e04, 10de:* or 10de:1e04:1462:3711[:CLASS[:MASK]], four hexadecimal digits each");
const EXPECTED: NotAnId = NotAnId("VVVV:DDDD or VVVV:DDDD:SSVV:SSDD, four hexadecimal digits each");

/// Parses a field of a pattern; `None` is `*`.
fn number_or_star(text: Option<&str>) -> Result<Option<u16>, NotAnId> {
    match text {
        Some("*" | "ffffffff") => Ok(None),
        Some(text) => hex_field(text, 4, 4).and_then(|value| u16::try_from(value).ok()).map(Some).ok_or(PATTERN),
        None => Err(PATTERN),
    }
}

impl IdPattern {
    /// Whether the pattern matches a function with this identity.
    pub fn matches(&self, identity: &Identity) -> bool {
        self.vendor == identity.vendor
            && self.device.is_none_or(|device| device == identity.device)
            && self.subvendor.is_none_or(|subvendor| subvendor == identity.subvendor)
            && self.subdevice.is_none_or(|subdevice| subdevice == identity.subdevice)
            && (self.class ^ identity.class.0) & self.class_mask == 0
    }

    /// Whether the pattern can match a function with the expected ID.
    pub fn may_be(&self, id: &ExpectedId) -> bool {
        self.vendor == id.vendor
            && self.device.is_none_or(|device| device == id.device)
            && id.subsystem.is_none_or(|(subvendor, subdevice)| {
                self.subvendor.is_none_or(|own| own == subvendor) && self.subdevice.is_none_or(|own| own == subdevice)
            })
    }

    /// Whether the pattern includes the device ID and the subsystem ID.
    pub fn names_subsystem(&self) -> bool {
        self.device.is_some() && self.subvendor.is_some() && self.subdevice.is_some()
    }
}

impl FromStr for IdPattern {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, NotAnId> {
        let mut fields = text.split(':');
        let mut next = || fields.next();
        let vendor = next().and_then(|field| hex_field(field, 4, 4)).ok_or(PATTERN)?;
        let vendor = u16::try_from(vendor).map_err(|_| PATTERN)?;
        let device = number_or_star(next())?;
        let (subvendor, subdevice) = match next() {
            None => (None, None),
            // vfio-pci accepts a subsystem vendor without a subsystem device, but it is most likely a mistake.
            Some(field) => (number_or_star(Some(field))?, number_or_star(next())?),
        };
        let class = next()
            .map(|field| hex_field(field, 1, 8).filter(|class| *class <= 0x00ff_ffff).ok_or(PATTERN))
            .transpose()?;
        let mask = next().map(|field| hex_field(field, 1, 8).ok_or(PATTERN)).transpose()?;
        if next().is_some() {
            return Err(PATTERN);
        }
        // A class without a mask is compared as a whole; vfio-pci would assume the mask 0 and ignore the class.
        let class_mask = mask.unwrap_or(if class.is_some() { 0x00ff_ffff } else { 0 });
        // "Any class" has one representation, so that equal patterns compare equal.
        let class = class.filter(|_| class_mask != 0).unwrap_or(0);
        Ok(Self { vendor, device, subvendor, subdevice, class, class_mask })
    }
}

impl fmt::Display for IdPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = |f: &mut fmt::Formatter<'_>, value: Option<u16>| match value {
            Some(value) => write!(f, ":{value:04x}"),
            None => f.write_str(":*"),
        };
        write!(f, "{:04x}", self.vendor)?;
        part(f, self.device)?;
        if self.subvendor.is_some() || self.subdevice.is_some() || self.class_mask != 0 {
            part(f, self.subvendor)?;
            part(f, self.subdevice)?;
        }
        if self.class_mask != 0 {
            write!(f, ":{:06x}", self.class)?;
            if self.class_mask != 0x00ff_ffff {
                write!(f, ":{:06x}", self.class_mask)?;
            }
        }
        Ok(())
    }
}

/// The expected ID of a device (`id=`): `VVVV:DDDD`, with or without the subsystem.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ExpectedId {
    /// Vendor ID.
    pub vendor: u16,
    /// Device ID.
    pub device: u16,
    /// Subsystem vendor and device ID.
    pub subsystem: Option<(u16, u16)>,
}

impl ExpectedId {
    /// Whether a function with this identity has the expected ID.
    pub fn matches(&self, identity: &Identity) -> bool {
        (self.vendor, self.device) == (identity.vendor, identity.device)
            && self.subsystem.is_none_or(|subsystem| subsystem == (identity.subvendor, identity.subdevice))
    }
}

impl FromStr for ExpectedId {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, NotAnId> {
        let field = |text: &str| hex_field(text, 4, 4).and_then(|value| u16::try_from(value).ok()).ok_or(EXPECTED);
        let mut fields = text.split(':');
        let mut next = || fields.next();
        let vendor = field(next().unwrap_or(""))?;
        let device = field(next().unwrap_or(""))?;
        let subsystem = match next() {
            None => None,
            Some(subvendor) => Some((field(subvendor)?, field(next().unwrap_or(""))?)),
        };
        if next().is_some() { Err(EXPECTED) } else { Ok(Self { vendor, device, subsystem }) }
    }
}

impl fmt::Display for ExpectedId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}:{:04x}", self.vendor, self.device)?;
        match self.subsystem {
            Some((vendor, device)) => write!(f, ":{vendor:04x}:{device:04x}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gpu() -> Identity {
        Identity { vendor: 0x10de, device: 0x1e04, subvendor: 0x1462, subdevice: 0x3711, class: Class(0x03_0000) }
    }

    #[test]
    fn patterns_select_what_they_name() {
        for text in [
            "10de:1e04",
            "10de:*",
            "10de:1e04:1462:3711",
            "10de:*:1462:*",
            "10de:*:*:*:030000",
            "10de:*:*:*:030200:ff0000",
        ] {
            let pattern: IdPattern = text.parse().unwrap();
            assert!(pattern.matches(&gpu()), "{text}");
            assert_eq!(pattern.to_string(), text);
        }
        // The syntax of vfio-pci.
        let written: IdPattern = "10de:ffffffff:ffffffff:ffffffff:00030000:ffff00ff".parse().unwrap();
        assert!(written.matches(&gpu()));
        assert_eq!(written.to_string(), "10de:*:*:*:030000:ffff00ff");
        for text in ["10df:1e04", "10de:1e05", "10de:1e04:1462:3712", "10de:*:*:*:030200"] {
            assert!(!text.parse::<IdPattern>().unwrap().matches(&gpu()), "{text}");
        }
    }

    #[test]
    fn what_is_no_id_is_refused() {
        for text in [
            "",
            "10de",
            "10de:",
            "*:1e04",
            "10de:1e0",
            "10de:1e04:1462",
            "10de:1e04:1462:3711:03:ff:1",
            "10de:1e04:1462:3711:01030000",
            "10de:fffffff",
            "10DE:1E0G",
            "0x10de:1e04",
        ] {
            assert!(text.parse::<IdPattern>().is_err(), "{text}");
        }
        for text in ["10de", "10de:*", "10de:1e04:1462", "10de:1e04:1462:3711:0"] {
            assert!(text.parse::<ExpectedId>().is_err(), "{text}");
        }
        assert!("10DE:1E04".parse::<ExpectedId>().unwrap().matches(&gpu()));
        assert!(!"10de:1e04:1462:0000".parse::<ExpectedId>().unwrap().matches(&gpu()));
    }
}
