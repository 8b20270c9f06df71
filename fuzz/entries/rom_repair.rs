// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is repaired is valid, has the same images, and needs no second repair; what was valid is left as it was.

use vfio_early::pci::ExpectedId;
use vfio_early::rom::{Verdict, judge, parse, repair};

/// The entry point.
pub(crate) fn run(data: &[u8]) {
    for id in [None, Some(ExpectedId { vendor: 0x10de, device: 0x1e09, subsystem: None })] {
        let before = judge(parse(data), id.as_ref());
        let verdict = before.verdict;
        let Ok(repaired) = repair(data, id.as_ref()) else {
            assert_ne!(verdict, Verdict::Valid);
            continue;
        };
        let after = judge(parse(&repaired.bytes), id.as_ref());
        assert_eq!(after.verdict, Verdict::Valid);
        assert_eq!(before.rom.images.len(), after.rom.images.len());
        assert_eq!(verdict == Verdict::Valid, repaired.changes.is_empty());
        assert!(verdict != Verdict::Valid || repaired.bytes == data);
        let again = repair(&repaired.bytes, id.as_ref()).unwrap();
        assert!(again.changes.is_empty() && again.bytes == repaired.bytes);
    }
}
