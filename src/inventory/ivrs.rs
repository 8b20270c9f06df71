// SPDX-License-Identifier: MIT OR Apache-2.0
//! Requester ID aliases from the IVRS table of an AMD IOMMU (AMD I/O Virtualization Technology Specification;
//! drivers/iommu/amd/init.c, `init_iommu_from_acpi`, the same in Linux 6.1, 6.12 and 7.2). Only root can read the table.

use crate::pci::Address;

/// The length of the table's header.
const HEADER: usize = 48;
/// The block types that the kernel knows: the fixed one, and those with a copy of the feature registers.
const MAX_TYPE: u8 = 0x40;

/// Functions that use the requester ID of another one, each a range of device IDs (bus, device, function).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Alias {
    segment: u16,
    first: u16,
    last: u16,
    to: u16,
}

/// The aliases in a table, in its order. The kernel uses the blocks of the highest type that describes the first unit.
pub(super) fn aliases(table: &[u8]) -> Vec<Alias> {
    let blocks = || Blocks(table.get(HEADER..).unwrap_or_default());
    let unit = |block: &[u8]| word(block, 4);
    let Some(first) = blocks().next().and_then(unit) else { return Vec::new() };
    let kind = |block: &[u8]| block.first().copied().unwrap_or(u8::MAX);
    let known = blocks().take_while(|block| kind(block) <= MAX_TYPE);
    let used = known.filter(|block| unit(block) == Some(first)).last().map(kind);
    let mut found = Vec::new();
    for block in blocks().filter(|block| Some(kind(block)) == used) {
        let size = if used == Some(0x10) { 24 } else { 40 };
        let Some(segment) = word(block, 16) else { continue };
        entries(segment, block.get(size..).unwrap_or_default(), &mut found);
    }
    found
}

/// The device and function whose requester ID this function also uses on its own bus (drivers/iommu/amd/iommu.c,
/// `setup_aliases`); one on another bus makes no group.
pub(super) fn alias_of(aliases: &[Alias], address: Address) -> Option<(u8, u8)> {
    let place = address.device.wrapping_shl(3) | address.function & 7;
    let own = u16::from_be_bytes([address.bus, place]);
    let of_function =
        |alias: &&Alias| u32::from(alias.segment) == address.domain && (alias.first..=alias.last).contains(&own);
    let [bus, to] = aliases.iter().rev().find(of_function)?.to.to_be_bytes();
    (bus == address.bus && to != place).then_some((to >> 3, to & 7))
}

/// Reads the device entries of a block.
fn entries(segment: u16, mut rest: &[u8], found: &mut Vec<Alias>) {
    // A range with an alias has begun.
    let mut range = None;
    while let (Some(kind), Some(id)) = (rest.first().copied(), word(rest, 1)) {
        match kind {
            0x42 => found.extend(word(rest, 5).map(|to| Alias { segment, first: id, last: id, to })),
            0x43 => range = word(rest, 5).map(|to| (id, to)),
            0x03 | 0x47 => range = None,
            0x04 => found.extend(range.map(|(first, to)| Alias { segment, first, last: id, to })),
            _ => {}
        }
        let length = match kind {
            ..0x80 => 4_usize.wrapping_shl(u32::from(kind >> 6)),
            0xf0 => rest.get(21).map_or(usize::MAX, |uid| usize::from(*uid).saturating_add(22)),
            _ => return,
        };
        rest = rest.get(length..).unwrap_or_default();
    }
}

/// The blocks of a table, each with its header.
struct Blocks<'a>(&'a [u8]);

impl<'a> Iterator for Blocks<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let length = word(self.0, 2).map(usize::from).filter(|length| *length >= 24)?;
        let (block, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(block)
    }
}

/// The 16-bit number at an offset.
fn word(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().copied().map(u16::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(kind: u8, unit: u16, entries: &[u8]) -> Vec<u8> {
        let size = if kind == 0x10 { 24 } else { 40 };
        let mut block = vec![0; size];
        block[0] = kind;
        block.extend(entries);
        let length = u16::try_from(block.len()).unwrap();
        block[2..4].copy_from_slice(&length.to_le_bytes());
        block[4..6].copy_from_slice(&unit.to_le_bytes());
        block
    }

    #[test]
    fn aliases_on_one_bus_are_found_in_the_blocks_that_the_kernel_uses() {
        // 00:02.0 to 00:02.7 use 00:01.0; 00:03.0 uses 01:00.0; an ACPI device with a name of three letters comes between.
        let range = [0x43, 0x10, 0, 0, 0, 0x08, 0, 0, 0x04, 0x17, 0, 0];
        let mut hid = [0_u8; 25];
        (hid[0], hid[21]) = (0xf0, 3);
        let single = [0x42, 0x18, 0, 0, 0, 0x00, 0x01, 0];
        let mut table = vec![0; HEADER];
        table.extend(block(0x10, 2, &[0x42, 0x10, 0, 0, 0, 0x20, 0, 0]));
        table.extend(block(0x40, 2, &[&range[..], &hid, &single].concat()));
        let aliases = aliases(&table);
        let of = |address: &str| alias_of(&aliases, address.parse().unwrap());
        assert_eq!(of("00:02.0"), Some((1, 0)));
        assert_eq!(of("00:02.7"), Some((1, 0)));
        assert_eq!(of("00:03.0"), None, "another bus");
        assert_eq!(of("0001:00:02.0"), None, "another segment");
        assert_eq!(of("00:04.0"), None);
    }

    #[test]
    fn a_broken_table_has_an_end() {
        for length in 0..120 {
            let mut table: Vec<u8> = (0..120_u8).map(|byte| byte.wrapping_mul(37)).collect();
            table.truncate(length);
            let _ = aliases(&table);
        }
        let mut endless = vec![0; HEADER];
        endless.extend(block(0x10, 2, &[0x42]));
        endless.extend([0; 24]);
        assert_eq!(aliases(&endless), []);
    }
}
