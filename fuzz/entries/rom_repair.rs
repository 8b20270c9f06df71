// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is repaired is valid, has the same images, can be used by the same firmware, and needs no second repair.

use vfio_early::pci::ExpectedId;
use vfio_early::rom::{GuestMachine, Usable, Verdict, judge, parse, repair};

/// The entry point.
pub(crate) fn run(data: &[u8]) {
    for id in [None, Some(ExpectedId { vendor: 0x10de, device: 0x1e09, subsystem: None })] {
        let before = judge(parse(data), id.as_ref());
        let verdict = before.verdict;
        let Ok(repaired) = repair(data, id.as_ref(), GuestMachine::default()) else {
            assert_ne!(verdict, Verdict::Valid);
            continue;
        };
        let after = judge(parse(&repaired.bytes), id.as_ref());
        assert_eq!(after.verdict, Verdict::Valid);
        assert_eq!(before.rom.images.len(), after.rom.images.len());
        assert!(verdict == Verdict::Valid || !repaired.changes.is_empty());
        assert_eq!(repaired.changes.is_empty(), repaired.bytes == data);
        for (before, after) in [(&before.ovmf, &after.ovmf), (&before.seabios, &after.seabios)] {
            assert!(before.answer == Usable::No || after.answer == Usable::Yes);
        }
        let again = repair(&repaired.bytes, id.as_ref(), GuestMachine::default()).unwrap();
        assert!(again.changes.is_empty() && again.bytes == repaired.bytes);
    }
}
