// SPDX-License-Identifier: MIT OR Apache-2.0
#![no_main]

#[allow(dead_code, reason = "each target uses one entry point")]
#[path = "../entries/mod.rs"]
mod entries;

libfuzzer_sys::fuzz_target!(|data: &[u8]| entries::names::run(data));
