// SPDX-License-Identifier: MIT OR Apache-2.0
//! The machines that the program can be built for. tests/it/targets.rs compiles this file alone, for others.

#[cfg(not(all(target_pointer_width = "64", target_endian = "little")))]
compile_error!(
    "vfio-early can be built for 64-bit little-endian machines only, such as x86_64 and aarch64: it has not been tested on any \
     other, and a mistake in it can keep a machine from booting"
);
