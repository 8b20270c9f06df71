// SPDX-License-Identifier: MIT OR Apache-2.0
//! Operations that may never come back, done by a child process that can be left behind.
//!
//! A write to /sys runs driver code, and a driver that hangs leaves the writer in an uninterruptible sleep. No signal and
//! no thread helps there: a process does not end while one of its threads sleeps so, and the boot would wait for it. A
//! child that hangs is left to the kernel instead, and the program goes on.

use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{Door, Host};

/// The hidden command that the program runs itself with, to write one attribute: `vfio-early step-write ROOT PATH VALUE`.
pub const STEP_WRITE: &str = "step-write";

/// The hidden command for reading attributes: `vfio-early step-read ROOT PATH...`.
pub const STEP_READ: &str = "step-read";

/// How much of what a program says is kept.
const WORDS: usize = 1024 * 1024;

/// How a program ended within its time.
pub(super) enum Ended {
    /// By itself.
    With(ExitStatus),
    /// Not at all: it was killed, or, where it could not be, left behind.
    NotInTime,
}

/// Runs a program and waits for it, at most `limit`. Returns how it ended and what it said until then.
pub(super) fn run(command: &mut Command, limit: Duration) -> io::Result<(Ended, Vec<u8>)> {
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
        let ended = child.try_wait()?;
        let left = end.map_or(Duration::ZERO, |end| end.saturating_duration_since(Instant::now()));
        if ended.is_none() && left.is_zero() {
            // It may sleep too deeply for that; then it stays, and init reaps it when it wakes.
            let _ = child.kill();
            return Ok((Ended::NotInTime, said));
        }
        // Short naps, because a grandchild may hold the pipe open after the child has gone; shorter still at the end,
        // when the pipe is closed and only the child's exit is awaited.
        let nap = left.min(Duration::from_millis(if open { 100 } else { 1 }));
        // What a child that has gone said last is still in the pipe, and is there at once.
        let nap = if ended.is_some() { Duration::ZERO } else { nap };
        let nap = PollTimeout::try_from(nap).unwrap_or(PollTimeout::ZERO);
        let mut files = [PollFd::new(reader.as_fd(), PollFlags::POLLIN)];
        let ready = poll(if open { &mut files } else { &mut [] }, nap)?;
        if ready > 0 {
            let mut buffer = [0; 4096];
            let count = reader.read(&mut buffer)?;
            open = count > 0;
            if said.len() < WORDS {
                said.extend_from_slice(buffer.get(..count).unwrap_or_default());
            }
        }
        match ended {
            Some(status) if ready <= 0 || !open || left.is_zero() => return Ok((Ended::With(status), said)),
            _ => {}
        }
    }
}

/// The error of an operation that was abandoned.
pub(super) fn abandoned(limit: Duration) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("no answer for {} s, abandoned", limit.as_secs()))
}

/// The program itself.
fn itself(step: &str, root: &OsStr) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg(step).arg(root);
    command
}

/// Writes an attribute below `root` in a child process, at most `limit`.
pub(super) fn write(root: &OsStr, path: &str, value: &str, limit: Duration) -> io::Result<()> {
    match run(itself(STEP_WRITE, root).arg(path).arg(value), limit)?.0 {
        Ended::NotInTime => Err(abandoned(limit)),
        Ended::With(status) => match status.code() {
            Some(0) => Ok(()),
            Some(errno) => Err(io::Error::from_raw_os_error(errno)),
            None => Err(io::Error::other(format!("the writing process died ({status})"))),
        },
    }
}

/// Reads attributes below `root` in a child process, at most `limit`; those that did not come in time are missing at the
/// end.
pub(super) fn read(root: &OsStr, paths: &[String], limit: Duration) -> io::Result<Vec<io::Result<Vec<u8>>>> {
    let (_, said) = run(itself(STEP_READ, root).args(paths), limit)?;
    let mut answers = Vec::new();
    let mut rest = said.as_slice();
    // Each answer: an error number, the length, the bytes.
    while let Some(([errno, high, low], after)) = rest.split_first_chunk() {
        let Some((content, after)) = after.split_at_checked(usize::from(u16::from_be_bytes([*high, *low]))) else {
            break;
        };
        answers.push(match errno {
            0 => Ok(content.to_vec()),
            errno => Err(io::Error::from_raw_os_error(i32::from(*errno))),
        });
        rest = after;
    }
    Ok(answers)
}

/// What the child process does that writes: one write. Returns the exit status: 0, or the error number (they are all
/// below 256).
pub fn step_write(root: &OsStr, path: &str, value: &str) -> u8 {
    match Host::open(root).and_then(|host| host.write_now(path, value).map_err(io::Error::from)) {
        Ok(()) => 0,
        Err(error) => number(&error),
    }
}

/// What the child process does that reads: an answer for each attribute, as soon as there is one.
pub fn step_read(root: &OsStr, paths: &[impl AsRef<OsStr>]) -> u8 {
    let Ok(host) = Host::open(root) else { return 1 };
    let mut stream = io::stdout().lock();
    for path in paths {
        let (errno, content) = match host.attribute(&path.as_ref().to_string_lossy()) {
            Ok(content) => (0, content),
            Err(error) => (number(&error.source), Vec::new()),
        };
        let length = u16::try_from(content.len()).unwrap_or(0).to_be_bytes();
        let answer = [&[errno], length.as_slice(), content.as_slice()].concat();
        if stream.write_all(&answer).and_then(|()| stream.flush()).is_err() {
            return 1;
        }
    }
    0
}

/// An error as one byte; every number of Linux fits.
fn number(error: &io::Error) -> u8 {
    u8::try_from(error.raw_os_error().unwrap_or(nix::libc::EIO)).unwrap_or(u8::MAX)
}
