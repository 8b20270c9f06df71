// SPDX-License-Identifier: MIT OR Apache-2.0
//! The header of an EFI driver: PE32 or PE32+ (Microsoft PE and COFF Specification; UEFI Specification 2.1.1).

use super::bytes::{part, u16_at, u32_at};
use super::signature;

/// What the PE header of a driver says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pe {
    /// The machine it runs on, see [`super::efi::machine_name`].
    pub machine: u16,
    /// 11: boot service driver, 12: runtime driver.
    pub subsystem: u16,
    /// Its size as a file in bytes: headers, sections and signatures, without what follows.
    pub size: usize,
    /// Whether it carries an Authenticode signature. Which key made it is not checked.
    pub signed: bool,
    /// Where the signatures are, in bytes from the start of the driver: offset and length.
    pub(super) signatures: Option<(usize, usize)>,
}

/// Reads the header of the driver that starts `bytes`. `None`: this is not one, or a part of it is missing.
pub(super) fn parse(bytes: &[u8]) -> Option<Pe> {
    if !bytes.starts_with(b"MZ") {
        return None;
    }
    let coff = u32_at(bytes, 0x3c)?;
    if part(bytes, coff, 4)? != b"PE\0\0" {
        return None;
    }
    let machine = u16_at(bytes, coff.checked_add(4)?)?;
    let sections = usize::from(u16_at(bytes, coff.checked_add(6)?)?);
    let optional = coff.checked_add(24)?;
    let table = optional.checked_add(usize::from(u16_at(bytes, coff.checked_add(20)?)?))?;
    // The data directories follow the fields whose width differs between PE32 and PE32+.
    let directories = optional.checked_add(match u16_at(bytes, optional)? {
        0x10b => 96,
        0x20b => 112,
        _ => return None,
    })?;
    let subsystem = u16_at(bytes, optional.checked_add(68)?)?;
    let mut size = u32_at(bytes, optional.checked_add(60)?)?;
    for index in 0..sections {
        let section = table.checked_add(index.checked_mul(40)?)?;
        let raw = u32_at(bytes, section.checked_add(16)?)?;
        let at = u32_at(bytes, section.checked_add(20)?)?;
        if raw != 0 {
            size = size.max(at.checked_add(raw)?);
        }
    }
    let certificates = certificates(bytes, directories, table);
    if let Some((at, length)) = certificates {
        size = size.max(at.checked_add(length)?);
    }
    let signed = certificates.is_some_and(|place| signature::all(bytes, place).next().is_some());
    Some(Pe { machine, subsystem, size, signed, signatures: certificates })
}

/// Offset and length of the attribute certificate table: the fifth data directory, the only one that has a file offset.
fn certificates(bytes: &[u8], directories: usize, table: usize) -> Option<(usize, usize)> {
    let count = u32_at(bytes, directories.checked_sub(4)?)?;
    let entry = directories.checked_add(32)?;
    if count < 5 || entry.checked_add(8)? > table {
        return None;
    }
    let (at, length) = (u32_at(bytes, entry)?, u32_at(bytes, entry.checked_add(4)?)?);
    (at != 0 && length != 0).then_some((at, length))
}
