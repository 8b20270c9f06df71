// SPDX-License-Identifier: MIT OR Apache-2.0
//! The program: everything it does is in the library, so that tests reach it too.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(vfio_early::cli::run(std::env::args_os().collect()))
}
