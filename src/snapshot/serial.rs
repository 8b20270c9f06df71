// SPDX-License-Identifier: MIT OR Apache-2.0
//! The serial number in a configuration space.

/// Clears the number in a Device Serial Number capability (PCI Express Base Specification, 7.9.3: extended capability 0003).
pub(super) fn clear_serial_number(config: &mut [u8]) {
    let word = |config: &[u8], at: usize| {
        let bytes = config.get(at..at.checked_add(4)?)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    };
    let mut at = 0x100;
    for _ in 0..1024 {
        let Some(header) = word(config, at).filter(|header| *header != 0 && *header != u32::MAX) else { return };
        if header & 0xffff == 3 {
            let number = at.saturating_add(4)..at.saturating_add(12);
            config.get_mut(number).unwrap_or_default().fill(0);
        }
        at = usize::try_from(header.wrapping_shr(20)).unwrap_or(0);
        if at < 0x100 {
            return;
        }
    }
}
