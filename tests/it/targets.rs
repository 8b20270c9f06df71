// SPDX-License-Identifier: MIT OR Apache-2.0
//! Machines that the program is not built for. No compiler here has a library for them, so this compiles the one file that
//! refuses them (src/target.rs), and brings the one macro that it needs.

use std::fs;
use std::process::Command;

use crate::support::disk::Scratch;

/// What the compiler says of src/target.rs for a target; empty where it accepts it.
fn compiled(scratch: &Scratch, target: &str) -> String {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/src/target.rs");
    let source = scratch.0.join("lib.rs");
    let text = format!(
        "#![feature(no_core, rustc_attrs)]\n#![no_core]\n#![allow(internal_features, unused_macros)]\n\
         #[rustc_builtin_macro] macro_rules! compile_error {{ ($text:expr $(,)?) => {{}} }}\n\
         #[path = {file:?}] mod target;\n"
    );
    fs::write(&source, text).unwrap();
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let mut command = Command::new(rustc);
    // Code is not made: parsing is all that it takes, and it does not need what a language has in `core`.
    command.args(["--crate-type", "lib", "-Zunpretty=expanded", "--edition", "2024", "--target", target]).arg(&source);
    let output = command.env("RUSTC_BOOTSTRAP", "1").current_dir(&scratch.0).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.success(), text.is_empty(), "{target}: {text}");
    text
}

#[test]
fn only_64_bit_little_endian_targets_are_accepted() {
    let scratch = Scratch::new("targets");
    for target in ["x86_64-unknown-linux-musl", "aarch64-unknown-linux-gnu", "riscv64gc-unknown-linux-gnu"] {
        assert_eq!(compiled(&scratch, target), "");
    }
    let others = [
        "i686-unknown-linux-gnu",
        "armv7-unknown-linux-gnueabihf",
        "s390x-unknown-linux-gnu",
        "aarch64_be-unknown-linux-gnu",
        "powerpc64-unknown-linux-gnu",
    ];
    for target in others {
        let text = compiled(&scratch, target);
        assert!(text.contains("vfio-early can be built for 64-bit little-endian machines only"), "{target}: {text}");
    }
}
