// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the program reads and writes, told by a test that fails: `RUST_LOG=debug cargo test --test it links::`. The test
//! harness keeps it to itself where a test passes.

use std::sync::OnceLock;

use simple_logger::SimpleLogger;

/// Has it told from now on where `RUST_LOG` is set; whether it is.
pub(crate) fn start() -> bool {
    static STARTED: OnceLock<bool> = OnceLock::new();
    *STARTED.get_or_init(|| {
        let wanted = std::env::var_os("RUST_LOG").is_some();
        if wanted {
            SimpleLogger::new().env().init().unwrap();
        }
        wanted
    })
}

/// Passes on what a program that was started with `--verbose` told of itself; what is left is its messages.
pub(crate) fn take(stderr: &str) -> String {
    const DONE: &[&str] = &["read ", "list ", "follow ", "take ", "write ", "load ", "save ", "create "];
    let told = |line: &&str| {
        let line = line.strip_prefix("vfio-early: ").unwrap_or_default();
        DONE.iter().any(|word| line.starts_with(word))
    };
    let (told, messages): (Vec<&str>, Vec<&str>) = stderr.split_inclusive('\n').partition(told);
    for line in told {
        log::debug!("{}", line.trim_end());
    }
    messages.concat()
}
