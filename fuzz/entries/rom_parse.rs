// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reading, judging and printing any bytes: no panic, nothing unprintable.

use vfio_early::rom::{json, judge, parse, parse_vfct, text};

/// The entry point.
pub(crate) fn run(data: &[u8]) {
    let judged = judge(parse(data), None);
    let text = text::show("x", &judged);
    assert!(text.bytes().all(|byte| byte == b'\n' || (b' '..=b'~').contains(&byte)));
    let _ = json::document(&judged);
    for found in parse_vfct(data).into_iter().flatten() {
        assert!(found.offset + found.rom.len() <= data.len());
    }
}
