// SPDX-License-Identifier: MIT OR Apache-2.0
//! The program: everything it does is in the library, so that tests reach it too.

fn main() {}
