// SPDX-License-Identifier: MIT OR Apache-2.0
//! Configuration space and its two capability lists.
//!
//! The bytes come from /sys/bus/pci/devices/ADDRESS/config: 64 (128 for `CardBus`) without root, 256 for a function whose
//! extended space the kernel cannot access, 4096 otherwise. Bytes beyond those are [`Unreadable`], never zero.

use std::fmt;

/// Capability ID of the PCI Express structure (PCI Code and ID Assignment Specification).
pub const PCI_EXPRESS: u8 = 0x10;
/// Extended capability ID of Access Control Services.
pub const ACCESS_CONTROL: u16 = 0x000d;

const STATUS: usize = 0x06;
const HEADER_TYPE: usize = 0x0e;
const STANDARD_SIZE: usize = 0x100;
/// The maximum length of the list in the standard space (drivers/pci/pci.h, `PCI_FIND_CAP_TTL`).
const MAX_CAPABILITIES: usize = 48;
/// The maximum length of the list in the extended space: 3840 bytes, at least eight for each capability.
const MAX_EXTENDED_CAPABILITIES: usize = 480;

/// The required bytes could not be read. Reading more than 64 bytes of configuration space requires root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreadable;

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("configuration space is not readable at this offset (requires root)")
    }
}

impl std::error::Error for Unreadable {}

/// The readable part of a function's configuration space. Numbers are little-endian, as on the bus.
#[derive(Clone, Copy, Debug)]
pub struct ConfigSpace<'a>(&'a [u8]);

impl<'a> ConfigSpace<'a> {
    /// The configuration space that begins with `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    fn bytes<const N: usize>(self, offset: usize) -> Result<[u8; N], Unreadable> {
        let rest = self.0.get(offset..).ok_or(Unreadable)?;
        rest.first_chunk::<N>().copied().ok_or(Unreadable)
    }

    /// The byte at `offset`.
    pub fn u8(self, offset: usize) -> Result<u8, Unreadable> {
        self.bytes::<1>(offset).map(|[byte]| byte)
    }

    /// The 16-bit number at `offset`.
    pub fn u16(self, offset: usize) -> Result<u16, Unreadable> {
        self.bytes(offset).map(u16::from_le_bytes)
    }

    /// The 32-bit number at `offset`.
    pub fn u32(self, offset: usize) -> Result<u32, Unreadable> {
        self.bytes(offset).map(u32::from_le_bytes)
    }

    /// The header type: 0 for a device, 1 for a PCI bridge, 2 for a `CardBus` bridge.
    pub fn header_type(self) -> Result<u8, Unreadable> {
        self.u8(HEADER_TYPE).map(|value| value & 0x7f)
    }

    /// Whether the header says that the device has several functions.
    pub fn is_multifunction(self) -> Result<bool, Unreadable> {
        self.u8(HEADER_TYPE).map(|value| value & 0x80 != 0)
    }

    /// The capabilities in the standard space, in list order. Terminates for any bytes.
    pub fn capabilities(self) -> Walk<'a> {
        Walk { space: self, next: self.first_capability(), left: MAX_CAPABILITIES, extended: false }
    }

    /// The capabilities in the extended space, in list order; none if the space ends at 256 bytes. Terminates for any bytes.
    pub fn extended_capabilities(self) -> Walk<'a> {
        let next = match self.0.len() {
            STANDARD_SIZE => Ok(None),
            _ => match self.u32(STANDARD_SIZE) {
                // Zero: there is no list. All ones: the device does not respond (drivers/pci/probe.c,
                // `pci_cfg_space_size_ext`).
                Ok(0 | u32::MAX) => Ok(None),
                Ok(_) => Ok(Some(STANDARD_SIZE)),
                Err(Unreadable) => Err(Unreadable),
            },
        };
        Walk { space: self, next, left: MAX_EXTENDED_CAPABILITIES, extended: true }
    }

    /// The offset of the capability with this ID; `None` if there is none.
    pub fn capability(self, id: u8) -> Result<Option<usize>, Unreadable> {
        find(self.capabilities(), u16::from(id))
    }

    /// The offset of the extended capability with this ID; `None` if there is none.
    pub fn extended_capability(self, id: u16) -> Result<Option<usize>, Unreadable> {
        find(self.extended_capabilities(), id)
    }

    fn first_capability(self) -> Result<Option<usize>, Unreadable> {
        if self.u16(STATUS)? & 0x10 == 0 {
            return Ok(None);
        }
        let pointer = match self.header_type()? {
            0 | 1 => 0x34,
            2 => 0x14,
            _ => return Ok(None),
        };
        self.u8(pointer).map(|first| Some(usize::from(first)))
    }
}

fn find(mut walk: Walk<'_>, id: u16) -> Result<Option<usize>, Unreadable> {
    walk.find_map(|step| match step {
        Ok(found) if found.id == id => Some(Ok(found.offset)),
        Ok(_) => None,
        Err(Unreadable) => Some(Err(Unreadable)),
    })
    .transpose()
}

/// One entry of a capability list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capability {
    /// Its ID.
    pub id: u16,
    /// Its offset in configuration space, in bytes.
    pub offset: usize,
}

/// An iterator over one list, with the kernel's limits (drivers/pci/pci.c, `__pci_find_next_cap_ttl` and
/// `pci_find_next_ext_capability`). If an entry is unreadable, the last item is an error.
#[derive(Clone, Debug)]
pub struct Walk<'a> {
    space: ConfigSpace<'a>,
    next: Result<Option<usize>, Unreadable>,
    left: usize,
    extended: bool,
}

impl Walk<'_> {
    fn read(&self, offset: usize) -> Result<Option<(u16, usize)>, Unreadable> {
        if self.extended {
            if offset < STANDARD_SIZE {
                return Ok(None);
            }
            let [id_low, id_high, next_low, next_high] = self.space.bytes::<4>(offset)?;
            let next = usize::from(u16::from_le_bytes([next_low, next_high]) >> 4) & !3;
            return Ok(Some((u16::from_le_bytes([id_low, id_high]), next)));
        }
        if offset < 0x40 {
            return Ok(None);
        }
        let [id, next] = self.space.bytes::<2>(offset)?;
        Ok((id != 0xff).then_some((u16::from(id), usize::from(next))))
    }
}

impl Iterator for Walk<'_> {
    type Item = Result<Capability, Unreadable>;

    fn next(&mut self) -> Option<Self::Item> {
        let offset = match std::mem::replace(&mut self.next, Ok(None)) {
            Ok(offset) => offset? & !3,
            Err(Unreadable) => return Some(Err(Unreadable)),
        };
        self.left = self.left.checked_sub(1)?;
        match self.read(offset) {
            Ok(None) => None,
            Ok(Some((id, next))) => {
                self.next = Ok(Some(next));
                Some(Ok(Capability { id, offset }))
            }
            Err(Unreadable) => Some(Err(Unreadable)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space(size: usize) -> Vec<u8> {
        let mut bytes = vec![0; size];
        bytes[STATUS] = 0x10;
        bytes[0x34] = 0x40;
        bytes[0x40..0x42].copy_from_slice(&[0x01, 0x50]);
        bytes[0x50..0x52].copy_from_slice(&[PCI_EXPRESS, 0]);
        if size > 0x100 {
            bytes[0x100..0x104].copy_from_slice(&[0x01, 0x00, 0x01, 0x14]);
            bytes[0x140..0x144].copy_from_slice(&[0x0d, 0x00, 0x01, 0x00]);
        }
        bytes
    }

    #[test]
    fn both_lists_are_walked() {
        let bytes = space(4096);
        let config = ConfigSpace::new(&bytes);
        assert_eq!(config.capability(PCI_EXPRESS), Ok(Some(0x50)));
        assert_eq!(config.capability(0x05), Ok(None));
        assert_eq!(config.extended_capability(ACCESS_CONTROL), Ok(Some(0x140)));
        assert_eq!(config.extended_capability(0x0e), Ok(None));
    }

    #[test]
    fn what_cannot_be_read_is_unknown_and_not_absent() {
        let bytes = space(4096);
        let short = ConfigSpace::new(&bytes[..64]);
        assert_eq!(short.header_type(), Ok(0));
        assert_eq!(short.capability(PCI_EXPRESS), Err(Unreadable));
        assert_eq!(short.extended_capability(ACCESS_CONTROL), Err(Unreadable));
        assert_eq!(ConfigSpace::new(&bytes[..256]).extended_capability(ACCESS_CONTROL), Ok(None));
        assert_eq!(ConfigSpace::new(&[]).capability(PCI_EXPRESS), Err(Unreadable));
        let mut none = bytes;
        none[STATUS] = 0;
        assert_eq!(ConfigSpace::new(&none[..64]).capability(PCI_EXPRESS), Ok(None), "the header says there is no list");
    }

    #[test]
    fn loops_end() {
        let mut bytes = space(4096);
        bytes[0x51] = 0x40;
        bytes[0x142..0x144].copy_from_slice(&[0x01, 0x10]);
        let config = ConfigSpace::new(&bytes);
        assert_eq!(config.capabilities().count(), MAX_CAPABILITIES);
        assert_eq!(config.extended_capabilities().count(), MAX_EXTENDED_CAPABILITIES);
        for fill in [0x00, 0xff] {
            let bytes = [fill; 4096];
            assert_eq!(ConfigSpace::new(&bytes).capabilities().count(), 0);
            assert_eq!(ConfigSpace::new(&bytes).extended_capabilities().count(), 0);
        }
    }
}
