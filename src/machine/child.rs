// SPDX-License-Identifier: MIT OR Apache-2.0
//! Operations that may never come back, done by a child process that can be left behind.
//!
//! A write to /sys runs driver code, and a driver that hangs leaves the writer in an uninterruptible sleep. No signal and
//! no thread helps there: a process does not end while one of its threads sleeps so, and the boot would wait for it. A
//! child that hangs is left to the kernel instead, and the program goes on.

use std::ffi::{CString, OsStr, OsString};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, PosixSpawnFlags, posix_spawn};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::{Host, Machine};

/// The hidden command that the program runs itself with, to write one attribute: `vfio-early step-write ROOT PATH VALUE`.
pub const STEP_WRITE: &str = "step-write";

/// The hidden command for reading attributes: `vfio-early step-read ROOT PATH...`.
pub const STEP_READ: &str = "step-read";

/// Where the program finds itself.
pub(super) const ITSELF: &str = "/proc/self/exe";

/// The hidden command for reading one file that a device makes: `vfio-early step-read-device ROOT PATH`.
pub const STEP_READ_DEVICE: &str = "step-read-device";

/// How much of what a program says is kept.
pub(super) const WORDS: usize = 1024 * 1024;

/// How a program ended within its time.
pub(super) enum Ended {
    /// By itself, with this status.
    With(i32),
    /// By this signal.
    By(Signal),
    /// Not at all: it was killed, or, where it could not be, left behind.
    NotInTime,
}

/// Starts a program that reads nothing. Returns it and what it will say on both streams. The standard library's way to do
/// this is twenty times as much code.
fn start(program: &str, arguments: &[OsString], environment: &[CString]) -> nix::Result<(Pid, OwnedFd)> {
    // Not /dev/null, which may be missing: a pipe whose other end is dropped reads as empty as well.
    let (nothing, _) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
    let (reader, writer) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
    let mut streams = PosixSpawnFileActions::init()?;
    streams.add_dup2(nothing.as_raw_fd(), 0)?;
    streams.add_dup2(writer.as_raw_fd(), 1)?;
    streams.add_dup2(writer.as_raw_fd(), 2)?;
    // A Rust program ignores SIGPIPE; others expect it to end them.
    let mut attributes = PosixSpawnAttr::init()?;
    attributes.set_sigdefault(&SigSet::from(Signal::SIGPIPE))?;
    attributes.set_flags(PosixSpawnFlags::POSIX_SPAWN_SETSIGDEF)?;
    let mut words = vec![CString::new(program).map_err(|_| Errno::EINVAL)?];
    for argument in arguments {
        words.push(CString::new(argument.clone().into_vec()).map_err(|_| Errno::EINVAL)?);
    }
    let child = posix_spawn(program, &streams, &attributes, &words, environment)?;
    Ok((child, reader))
}

/// Runs a program and waits for it, at most `limit`. Returns how it ended and what it said until then: at least the first
/// `most` bytes.
pub(super) fn run(
    program: &str,
    arguments: &[OsString],
    environment: &[CString],
    limit: Duration,
    most: usize,
) -> io::Result<(Ended, Vec<u8>)> {
    let end = Instant::now().checked_add(limit);
    let (child, reader) = start(program, arguments, environment)?;
    let mut reader = std::fs::File::from(reader);
    let mut said = Vec::new();
    let mut open = true;
    let mut ended = None;
    loop {
        if ended.is_none() {
            ended = match waitpid(child, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(_, status)) => Some(Ended::With(status)),
                Ok(WaitStatus::Signaled(_, signal, _)) => Some(Ended::By(signal)),
                Ok(_) => None,
                // Whoever started us ignores SIGCHLD: it has ended, and nobody tells how. What counts is read back.
                Err(Errno::ECHILD) => Some(Ended::With(0)),
                Err(errno) => return Err(errno.into()),
            };
        }
        let left = end.map_or(Duration::ZERO, |end| end.saturating_duration_since(Instant::now()));
        if ended.is_none() && left.is_zero() {
            // It may sleep too deeply for that; then it stays, and init reaps it when it wakes.
            let _ = kill(child, Signal::SIGKILL);
            let _ = waitpid(child, Some(WaitPidFlag::WNOHANG));
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
            if said.len() < most {
                said.extend_from_slice(buffer.get(..count).unwrap_or_default());
            }
        }
        if ready <= 0 || !open || left.is_zero() {
            if let Some(ended) = ended {
                return Ok((ended, said));
            }
        }
    }
}

/// The error of an operation that was abandoned.
pub(super) fn abandoned(limit: Duration) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("no answer for {} s, abandoned", limit.as_secs()))
}

/// Runs the program itself for one step below `root`.
fn itself(step: &str, root: &OsStr, words: &[&str], limit: Duration, most: usize) -> io::Result<(Ended, Vec<u8>)> {
    let mut arguments = vec![step.into(), root.to_owned()];
    arguments.extend(words.iter().map(OsString::from));
    run(ITSELF, &arguments, &[], limit, most)
}

/// Writes an attribute below `root` in a child process, at most `limit`.
pub(super) fn write(root: &OsStr, path: &str, value: &str, limit: Duration) -> io::Result<()> {
    outcome(&itself(STEP_WRITE, root, &[path, value], limit, WORDS)?.0, limit)
}

/// Reads at least `most` bytes of a file below `root` in a child process, or all of it, within `limit`.
pub(super) fn read_device(root: &OsStr, path: &str, most: usize, limit: Duration) -> io::Result<Vec<u8>> {
    let (ended, said) = itself(STEP_READ_DEVICE, root, &[path], limit, most)?;
    outcome(&ended, limit).map(|()| said)
}

/// What the child process said with its exit status.
fn outcome(ended: &Ended, limit: Duration) -> io::Result<()> {
    match ended {
        Ended::NotInTime => Err(abandoned(limit)),
        Ended::With(0) => Ok(()),
        Ended::With(errno) => Err(io::Error::from_raw_os_error(*errno)),
        Ended::By(signal) => Err(io::Error::other(format!("the process for it died ({signal})"))),
    }
}

/// Reads attributes below `root` in a child process, at most `limit`; those that did not come in time are missing at the
/// end.
pub(super) fn read(root: &OsStr, paths: &[String], limit: Duration) -> io::Result<Vec<io::Result<Vec<u8>>>> {
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    let (_, said) = itself(STEP_READ, root, &paths, limit, WORDS)?;
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
    status(Host::open(root).and_then(|host| host.write_now(path, value).map_err(io::Error::from)))
}

/// What the child process does that reads one file: its bytes as they come.
pub fn step_read_device(root: &OsStr, path: &str) -> u8 {
    status(Host::open(root).and_then(|host| host.copy(path, &mut io::stdout().lock())))
}

/// The exit status for a result.
fn status(result: io::Result<()>) -> u8 {
    result.map_or_else(|error| number(&error), |()| 0)
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
