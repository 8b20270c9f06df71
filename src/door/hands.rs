// SPDX-License-Identifier: MIT OR Apache-2.0
//! Operations that may never come back, done by a child process that can be left behind.
//!
//! A write to /sys runs driver code, and a driver that hangs leaves the writer in an uninterruptible sleep. No signal and
//! no thread helps there: a process does not end while one of its threads sleeps so, and the boot would wait for it. A
//! child that hangs is left to the kernel instead, and the program goes on.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::Host;

/// The hidden command that the program runs itself with, to write one attribute: `vfio-early step-write ROOT PATH VALUE`.
pub const STEP_WRITE: &str = "step-write";

/// How much of what a program says is kept: its last words tell why it failed.
const WORDS: usize = 4096;

/// Runs a program and waits for it, at most `limit`. Returns how it ended and what it said. Past the limit it is killed,
/// or, where it cannot be, left behind.
pub(super) fn run(command: &mut Command, limit: Duration) -> io::Result<(ExitStatus, String)> {
    let end = Instant::now().checked_add(limit);
    // Not `Stdio::null()`: that needs /dev/null. A pipe whose other end is dropped reads as empty as well.
    let (reader, writer) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
    command.stdin(Stdio::piped()).stdout(Stdio::from(writer.try_clone()?)).stderr(Stdio::from(writer));
    let mut child = command.spawn()?;
    drop(child.stdin.take());
    // The command keeps the writing ends; while it does, the pipe never reads as ended.
    command.stdout(Stdio::inherit()).stderr(Stdio::inherit());

    let mut reader = std::fs::File::from(reader);
    let mut said = Vec::new();
    let mut open = true;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok((status, String::from_utf8_lossy(&said).trim().to_owned()));
        }
        let left = end.map_or(Duration::ZERO, |end| end.saturating_duration_since(Instant::now()));
        if left.is_zero() {
            // It may sleep too deeply for that; then it stays, and init reaps it when it wakes.
            let _ = child.kill();
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("no answer for {} s, abandoned", limit.as_secs()),
            ));
        }
        // Short naps, because a grandchild may hold the pipe open after the child has gone; shorter still at the end,
        // when the pipe is closed and only the child's exit is awaited.
        let nap = left.min(Duration::from_millis(if open { 100 } else { 1 }));
        let nap = PollTimeout::try_from(nap).unwrap_or(PollTimeout::ZERO);
        let mut files = [PollFd::new(reader.as_fd(), PollFlags::POLLIN)];
        let ready = poll(if open { &mut files } else { &mut [] }, nap)?;
        if ready > 0 {
            let mut buffer = [0; 512];
            let count = reader.read(&mut buffer)?;
            open = count > 0;
            if said.len() < WORDS {
                said.extend_from_slice(buffer.get(..count).unwrap_or_default());
            }
        }
    }
}

/// Writes an attribute below `root` in a child process, at most `limit`.
pub(super) fn write(root: &OsStr, path: &str, value: &str, limit: Duration) -> io::Result<()> {
    let mut command = Command::new("/proc/self/exe");
    let (status, _) = run(command.arg(STEP_WRITE).arg(root).arg(path).arg(value), limit)?;
    match status.code() {
        Some(0) => Ok(()),
        Some(errno) => Err(io::Error::from_raw_os_error(errno)),
        None => Err(io::Error::other(format!("the writing process died ({status})"))),
    }
}

/// What the child process does: one write. Returns the exit status: 0, or the error number (they are all below 256).
pub fn step_write(root: &OsStr, path: &str, value: &str) -> u8 {
    let result = Host::open(root).and_then(|host| host.write_now(path, value).map_err(io::Error::from));
    let errno = match result {
        Ok(()) => 0,
        Err(error) => error.raw_os_error().unwrap_or(nix::libc::EIO),
    };
    u8::try_from(errno).unwrap_or(u8::MAX)
}
