// SPDX-License-Identifier: MIT OR Apache-2.0
//! Modaliases and shell patterns that match them.

use std::fmt;
use std::str::FromStr;

use super::{Class, Identity, hex_field};

/// Parses `pci:v000010DEd00001E04sv00001462sd00003711bc03sc00i00` (drivers/pci/pci-sysfs.c, `modalias_show`), with or
/// without a newline. `None` if the text is not a PCI modalias.
pub fn parse_modalias(bytes: &[u8]) -> Option<Identity> {
    let text = std::str::from_utf8(bytes).ok()?.trim_end();
    let mut rest = text.strip_prefix("pci:")?;
    let mut field = |key: &str, width: usize| -> Option<u32> {
        let after = rest.strip_prefix(key)?;
        let (digits, tail) = after.split_at_checked(width)?;
        rest = tail;
        hex_field(digits, width, width)
    };
    let vendor = field("v", 8)?;
    let device = field("d", 8)?;
    let subvendor = field("sv", 8)?;
    let subdevice = field("sd", 8)?;
    let (base, sub, interface) = (field("bc", 2)?, field("sc", 2)?, field("i", 2)?);
    if !rest.is_empty() {
        return None;
    }
    let id = |value: u32| u16::try_from(value).ok();
    Some(Identity {
        vendor: id(vendor)?,
        device: id(device)?,
        subvendor: id(subvendor)?,
        subdevice: id(subdevice)?,
        class: Class((base << 16) | (sub << 8) | interface),
    })
}

impl Identity {
    /// The modalias of this identity. The prefix is `pci`, or `vfio_pci` for the aliases of variant drivers.
    pub fn modalias(&self, prefix: &str) -> String {
        let Class(class) = self.class;
        format!(
            "{prefix}:v{:08X}d{:08X}sv{:08X}sd{:08X}bc{:02X}sc{:02X}i{:02X}",
            self.vendor,
            self.device,
            self.subvendor,
            self.subdevice,
            (class >> 16) & 0xff,
            (class >> 8) & 0xff,
            class & 0xff
        )
    }
}

/// A shell pattern for modaliases, as in modprobe.d: `pci:v000010DEd*bc03*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModaliasPattern(glob::Pattern);

/// The error for a text that is not a [`ModaliasPattern`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotAPattern(String);

impl fmt::Display for NotAPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected a modalias pattern such as pci:v000010DEd*bc03*{}", self.0)
    }
}

impl std::error::Error for NotAPattern {}

impl ModaliasPattern {
    /// Whether the pattern matches a modalias. Case-sensitive, as in modprobe: the kernel prints upper-case digits.
    pub fn matches(&self, modalias: &str) -> bool {
        self.0.matches(modalias)
    }

    /// The number of wildcards in the pattern: the fewer, the more specific it is.
    pub fn wildcards(&self) -> usize {
        self.0.as_str().bytes().filter(|byte| matches!(byte, b'*' | b'?' | b'[')).count()
    }
}

impl FromStr for ModaliasPattern {
    type Err = NotAPattern;

    fn from_str(text: &str) -> Result<Self, NotAPattern> {
        // Printed patterns must be one word.
        if !text.contains(':') || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(NotAPattern(String::new()));
        }
        // In the glob crate, `**` is a special wildcard for paths; in fnmatch(3) it is the same as `*`.
        let mut single = String::with_capacity(text.len());
        for letter in text.chars() {
            if letter != '*' || !single.ends_with('*') {
                single.push(letter);
            }
        }
        glob::Pattern::new(&single).map(Self).map_err(|error| NotAPattern(format!(" ({})", error.msg)))
    }
}

impl fmt::Display for ModaliasPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GPU: &str = "pci:v000010DEd00001E04sv00001462sd00003711bc03sc00i00";

    #[test]
    fn a_modalias_reads_back_as_it_was() {
        let identity = parse_modalias(format!("{GPU}\n").as_bytes()).unwrap();
        assert_eq!((identity.vendor, identity.subdevice, identity.class), (0x10de, 0x3711, Class(0x03_0000)));
        assert_eq!(identity.modalias("pci"), GPU);
    }

    #[test]
    fn broken_modaliases_are_refused() {
        for text in ["", "pci:", "usb:v1", "pci:v000010DE", "pci:v000010DEd00001E04sv00001462sd00003711bc03sc00i00x"] {
            assert!(parse_modalias(text.as_bytes()).is_none(), "{text}");
        }
        assert!(parse_modalias(b"pci:v\xff").is_none());
    }

    #[test]
    fn patterns_match_as_modprobe_does() {
        for text in ["pci:v000010DEd*bc03*", "pci:*", "pci:v000010DEd**i00", "pci:v000010D[EF]d*"] {
            assert!(text.parse::<ModaliasPattern>().unwrap().matches(GPU), "{text}");
        }
        assert!(!"pci:v000010ded*".parse::<ModaliasPattern>().unwrap().matches(GPU));
        assert!("pci:v[".parse::<ModaliasPattern>().is_err());
        for text in ["no-colon", "pci:v d*", "pci:v\u{1b}*", "pci:é"] {
            assert!(text.parse::<ModaliasPattern>().is_err(), "{text}");
        }
    }
}
