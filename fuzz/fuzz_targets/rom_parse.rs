// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reading, judging and printing any bytes: no panic, nothing unprintable.
#![no_main]

use vfio_early::rom::{judge, parse, show, vfct};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let rom = parse(data);
    let judgement = judge(&rom, None);
    let text = show::show("x", &rom, &judgement);
    assert!(text.bytes().all(|byte| byte == b'\n' || (b' '..=b'~').contains(&byte)));
    let _ = show::json(&rom, &judgement);
    for found in vfct(data).into_iter().flatten() {
        assert!(found.offset + found.rom.len() <= data.len());
    }
});
