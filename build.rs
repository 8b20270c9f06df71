// SPDX-License-Identifier: MIT OR Apache-2.0
#![allow(clippy::print_stdout, reason = "that is how a build script speaks to cargo")]
//! Leaves the unwind tables out of the release binary. Only out of that: tests do unwind.

fn main() {
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    println!("cargo::rerun-if-changed=packaging/no-unwind.ld");
    // The compiler has no static-pie for arm64's glibc, and gcc's crtbeginT.o wants its tables.
    let static_pie = variable("CARGO_CFG_TARGET_ENV") == "gnu" && variable("CARGO_CFG_TARGET_ARCH") == "x86_64";
    if variable("PROFILE") == "release" && static_pie {
        println!("cargo::rustc-link-arg-bins=-Wl,--no-eh-frame-hdr");
        println!("cargo::rustc-link-arg-bins=-Wl,-T,{}/packaging/no-unwind.ld", variable("CARGO_MANIFEST_DIR"));
    }
}
