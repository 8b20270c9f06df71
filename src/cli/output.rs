// SPDX-License-Identifier: MIT OR Apache-2.0
//! The two streams: results to standard output, everything else to standard error.

use std::io::{ErrorKind, IsTerminal, Write};

use crate::exit::Exit;
use crate::layout;
use crate::machine::{Error, Operation};
use crate::report::FailureReport;

/// What the program prints. Results are collected and written at the end, so that a document comes whole or not at all.
#[derive(Debug, Default)]
pub(super) struct Output {
    results: Vec<u8>,
    /// `--json`: standard output is one document, however the command ends.
    json: bool,
    /// Nothing is noted: somebody wants to know only what a command reads.
    silent: bool,
    /// `--quiet`: only errors are noted.
    pub(super) quiet: bool,
}

impl Output {
    /// Nothing printed yet; `json` where one document is asked for.
    pub(super) fn new(json: bool) -> Self {
        Self { json, ..Self::default() }
    }

    /// For somebody who wants to know only what a command reads.
    pub(super) fn silent() -> Self {
        Self { silent: true, ..Self::default() }
    }

    /// Says why the command could not be carried out, in the document too where one is asked for.
    pub(super) fn fail(&mut self, exit: Exit, messages: &[String]) -> Exit {
        for message in messages {
            self.warn(message);
        }
        if self.json {
            self.results.clear();
            self.result(&crate::json::to_string(&FailureReport::new(exit, messages)));
        }
        exit
    }

    /// Adds lines to the results; nothing where there are none.
    pub(super) fn result(&mut self, text: &str) {
        self.raw(text.as_bytes());
        if !text.is_empty() && !text.ends_with('\n') {
            self.raw(b"\n");
        }
    }

    /// Adds bytes to the results, as they are.
    pub(super) fn raw(&mut self, bytes: &[u8]) {
        self.results.extend_from_slice(bytes);
    }

    /// Whether a person looks at the results.
    #[expect(clippy::unused_self, reason = "both streams are reached through the one who owns them")]
    pub(super) fn is_terminal(&self) -> bool {
        std::io::stdout().is_terminal()
    }

    /// Prints a message to standard error. A failure to do so is ignored.
    pub(super) fn warn(&self, message: &str) {
        if self.silent {
            return;
        }
        let _ = writeln!(std::io::stderr(), "vfio-early: {}", layout::plain(message.trim_end()));
    }

    /// Whether results may be coloured.
    pub(super) fn colour(&self) -> bool {
        self.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
    }

    /// Writes the results. A reader that went away has seen enough; any other failure is one of the system.
    pub(super) fn finish(self, exit: Exit) -> Exit {
        let mut stream = std::io::stdout().lock();
        match stream.write_all(&self.results).and_then(|()| stream.flush()) {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => {
                self.warn(&Error::new(Operation::Write, "to standard output", error).to_string());
                Exit::System
            }
            _ => exit,
        }
    }
}

/// What `--verbose` speaks through. Loggers from elsewhere panic where standard error is full or nobody reads it.
struct Logger;

impl log::Log for Logger {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let _ = writeln!(std::io::stderr(), "vfio-early: {}", layout::plain(&record.args().to_string()));
    }

    fn flush(&self) {}
}

/// Has everything told that the program reads and writes.
pub(super) fn log_to_standard_error() {
    // A second logger is the only error, and there is none.
    if log::set_logger(&Logger).is_ok() {
        log::set_max_level(log::LevelFilter::Debug);
    }
}
