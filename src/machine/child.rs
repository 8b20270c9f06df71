// SPDX-License-Identifier: MIT OR Apache-2.0
//! Child processes: the helper is started here, and modprobe is run with a time limit.

use std::ffi::{CString, OsString};
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStringExt;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, PosixSpawnFlags, posix_spawn};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, pipe2};

/// The number of bytes kept of a program's output.
const MAX_OUTPUT: usize = 1024 * 1024;

/// How long the end of a child process is waited for.
const END_TIMEOUT: Duration = Duration::from_millis(50);

/// How a child process ended.
pub(super) enum Outcome {
    /// It exited with this status.
    Exited(i32),
    /// A signal killed it.
    Killed,
    /// It did not end within the time limit. It was killed, or abandoned where it could not be killed.
    TimedOut,
}

/// The standard streams of a child process.
pub(super) struct Streams<'a> {
    pub(super) input: BorrowedFd<'a>,
    pub(super) output: BorrowedFd<'a>,
    pub(super) error: BorrowedFd<'a>,
}

/// Starts a program. With `own_group`, it blocks these signals only, and is in a process group of its own, which a terminal
/// sends no signals to; else it shares both with this process. `std::process` does the same with twenty times the code.
pub(super) fn spawn(
    program: &str,
    arguments: &[OsString],
    environment: &[CString],
    streams: &Streams<'_>,
    own_group: Option<&SigSet>,
) -> nix::Result<Pid> {
    let mut actions = PosixSpawnFileActions::init()?;
    for (stream, number) in [(streams.input, 0), (streams.output, 1), (streams.error, 2)] {
        actions.add_dup2(stream.as_raw_fd(), number)?;
    }
    // The Rust runtime ignores SIGPIPE, and children would inherit that.
    let mut attributes = PosixSpawnAttr::init()?;
    attributes.set_sigdefault(&SigSet::from(Signal::SIGPIPE))?;
    let mut flags = PosixSpawnFlags::POSIX_SPAWN_SETSIGDEF;
    if let Some(blocked) = own_group {
        attributes.set_sigmask(blocked)?;
        attributes.set_pgroup(Pid::from_raw(0))?;
        flags |= PosixSpawnFlags::POSIX_SPAWN_SETSIGMASK | PosixSpawnFlags::POSIX_SPAWN_SETPGROUP;
    }
    attributes.set_flags(flags)?;
    let mut argv = vec![CString::new(program).map_err(|_| Errno::EINVAL)?];
    for argument in arguments {
        argv.push(CString::new(argument.clone().into_vec()).map_err(|_| Errno::EINVAL)?);
    }
    posix_spawn(program, &actions, &attributes, &argv, environment)
}

/// Runs a program with empty standard input and waits for it at most `limit`. It blocks the signals `blocked`. Returns how
/// it ended and the first [`MAX_OUTPUT`] bytes, or a few more, of its standard output and standard error so far.
pub(super) fn run_with_timeout(
    program: &str,
    arguments: &[OsString],
    environment: &[CString],
    blocked: &SigSet,
    limit: Duration,
) -> io::Result<(Outcome, Vec<u8>)> {
    let deadline = Instant::now().checked_add(limit);
    let (child, reader) = {
        // A pipe without a writer reads as empty, and unlike /dev/null it is always available.
        let (empty, _) = pipe2(OFlag::O_CLOEXEC)?;
        let (reader, writer) = pipe2(OFlag::O_CLOEXEC)?;
        let streams = Streams { input: empty.as_fd(), output: writer.as_fd(), error: writer.as_fd() };
        (spawn(program, arguments, environment, &streams, Some(blocked))?, reader)
    };
    let mut reader = std::fs::File::from(reader);
    let mut output = Vec::new();
    let mut open = true;
    let mut outcome = None;
    loop {
        if outcome.is_none() {
            outcome = match waitpid(child, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(_, status)) => Some(Outcome::Exited(status)),
                Ok(WaitStatus::Signaled(..)) => Some(Outcome::Killed),
                Ok(_) => None,
                // This process inherited an ignored SIGCHLD, so the kernel reaped the child and its status is lost.
                // Callers read back what became of it.
                Err(Errno::ECHILD) => Some(Outcome::Exited(0)),
                Err(errno) => return Err(errno.into()),
            };
        }
        let left = deadline.map_or(Duration::ZERO, |deadline| deadline.saturating_duration_since(Instant::now()));
        if outcome.is_none() && left.is_zero() {
            // In uninterruptible sleep it survives SIGKILL; init reaps it later.
            let _ = kill(child, Signal::SIGKILL);
            wait_briefly(child);
            return Ok((Outcome::TimedOut, output));
        }
        // Poll in short intervals, because a grandchild may keep the pipe open after the child exited; in shorter ones once
        // the pipe is closed and only the exit is missing.
        let interval = left.min(Duration::from_millis(if open { 100 } else { 1 }));
        // After the child exited, its last output is already in the pipe.
        let interval = if outcome.is_some() { Duration::ZERO } else { interval };
        let interval = PollTimeout::try_from(interval).unwrap_or(PollTimeout::ZERO);
        let mut files = [PollFd::new(reader.as_fd(), PollFlags::POLLIN)];
        let ready = match poll(if open { &mut files } else { &mut [] }, interval) {
            Err(Errno::EINTR) => continue,
            ready => ready?,
        };
        if ready > 0 {
            let mut buffer = [0; 4096];
            let count = reader.read(&mut buffer)?;
            open = count > 0;
            if output.len() < MAX_OUTPUT {
                output.extend_from_slice(buffer.get(..count).unwrap_or_default());
            }
        }
        if ready <= 0 || !open || left.is_zero() {
            if let Some(outcome) = outcome {
                return Ok((outcome, output));
            }
        }
    }
}

/// Waits briefly for the end of a child process that was told to end, so that it does not stay behind as a zombie.
pub(super) fn wait_briefly(child: Pid) -> Option<WaitStatus> {
    let deadline = Instant::now().checked_add(END_TIMEOUT)?;
    loop {
        match waitpid(child, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) if Instant::now() < deadline => std::thread::sleep(Duration::from_micros(200)),
            Ok(WaitStatus::StillAlive) => return None,
            // This process inherited an ignored SIGCHLD, so the kernel reaped the child.
            Err(Errno::ECHILD) => return Some(WaitStatus::Exited(child, 0)),
            result => return result.ok(),
        }
    }
}

/// The error of an operation that exceeded its time limit.
pub(super) fn timeout_error(limit: Duration) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("timed out after {} s", limit.as_secs()))
}
