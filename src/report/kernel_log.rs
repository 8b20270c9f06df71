// SPDX-License-Identifier: MIT OR Apache-2.0
//! Lines in the kernel log: the one place that every boot keeps.

use crate::machine::Machine;

/// How much of a line the kernel keeps (kernel/printk/printk.c, LOG_LINE_MAX less its prefix).
const LINE: usize = 900;

/// How much a line matters, as in syslog(3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Something asked for does not hold.
    Error,
    /// It holds, but.
    Warning,
    /// For the record.
    Info,
}

/// Writes `vfio-early: MESSAGE` to the kernel log, with the facility `daemon`. Where there is no /dev/kmsg, it is said
/// elsewhere anyway.
pub fn say(machine: &dyn Machine, level: Level, message: &str) {
    let priority = match level {
        Level::Error => 3 << 3 | 3,
        Level::Warning => 3 << 3 | 4,
        Level::Info => 3 << 3 | 6_u8,
    };
    let mut line = format!("<{priority}>vfio-early: {}", message.replace('\n', " "));
    if line.len() > LINE {
        let end = (0..=LINE).rev().find(|end| line.is_char_boundary(*end)).unwrap_or(0);
        line.truncate(end);
        line.push_str("...");
    }
    line.push('\n');
    if let Err(error) = machine.write("/dev/kmsg", &line) {
        log::debug!("{error}");
    }
}
