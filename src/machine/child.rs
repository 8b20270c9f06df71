// SPDX-License-Identifier: MIT OR Apache-2.0
//! Operations that may hang, run in child processes with a time limit.
//!
//! A write to /sys runs driver code. If the driver hangs, the writer is in uninterruptible sleep (state D): signals do not
//! reach it, and a process cannot exit while one of its threads is in that state, so a thread would block the boot as well.
//! A child process that hangs can be abandoned.

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

/// Hidden command that writes one attribute: `vfio-early step-write ROOT PATH VALUE`.
pub const STEP_WRITE: &str = "step-write";

/// Hidden command that reads attributes: `vfio-early step-read ROOT PATH...`.
pub const STEP_READ: &str = "step-read";

/// Hidden command that reads one file served by a device's driver: `vfio-early step-read-device ROOT PATH`.
pub const STEP_READ_DEVICE: &str = "step-read-device";

/// The running executable.
pub(super) const OWN_EXECUTABLE: &str = "/proc/self/exe";

/// The number of bytes kept of a child's output.
pub(super) const MAX_OUTPUT: usize = 1024 * 1024;

/// How a child process ended.
pub(super) enum Outcome {
    /// It exited with this status.
    Exited(i32),
    /// This signal killed it.
    Killed(Signal),
    /// It did not end within the time limit. It was killed, or abandoned where it could not be killed.
    TimedOut,
}

/// Starts a program with empty standard input. Returns its process ID and the read end of a pipe with its standard output
/// and standard error. `std::process` does the same with twenty times the code.
fn spawn(program: &str, arguments: &[OsString], environment: &[CString]) -> nix::Result<(Pid, OwnedFd)> {
    // A pipe without a writer reads as empty, and unlike /dev/null it is always available.
    let (empty, _) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
    let (reader, writer) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
    let mut streams = PosixSpawnFileActions::init()?;
    streams.add_dup2(empty.as_raw_fd(), 0)?;
    streams.add_dup2(writer.as_raw_fd(), 1)?;
    streams.add_dup2(writer.as_raw_fd(), 2)?;
    // The Rust runtime ignores SIGPIPE, and children would inherit that.
    let mut attributes = PosixSpawnAttr::init()?;
    attributes.set_sigdefault(&SigSet::from(Signal::SIGPIPE))?;
    attributes.set_flags(PosixSpawnFlags::POSIX_SPAWN_SETSIGDEF)?;
    let mut argv = vec![CString::new(program).map_err(|_| Errno::EINVAL)?];
    for argument in arguments {
        argv.push(CString::new(argument.clone().into_vec()).map_err(|_| Errno::EINVAL)?);
    }
    let child = posix_spawn(program, &streams, &attributes, &argv, environment)?;
    Ok((child, reader))
}

/// Runs a program and waits for it at most `limit`. Returns how it ended and its output so far: at least the first
/// `max_output` bytes.
pub(super) fn run_with_timeout(
    program: &str,
    arguments: &[OsString],
    environment: &[CString],
    limit: Duration,
    max_output: usize,
) -> io::Result<(Outcome, Vec<u8>)> {
    let deadline = Instant::now().checked_add(limit);
    let (child, reader) = spawn(program, arguments, environment)?;
    let mut reader = std::fs::File::from(reader);
    let mut output = Vec::new();
    let mut open = true;
    let mut outcome = None;
    loop {
        if outcome.is_none() {
            outcome = match waitpid(child, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(_, status)) => Some(Outcome::Exited(status)),
                Ok(WaitStatus::Signaled(_, signal, _)) => Some(Outcome::Killed(signal)),
                Ok(_) => None,
                // This process inherited an ignored SIGCHLD, so the kernel reaped the child and its status is lost.
                // Callers read back what they wrote.
                Err(Errno::ECHILD) => Some(Outcome::Exited(0)),
                Err(errno) => return Err(errno.into()),
            };
        }
        let left = deadline.map_or(Duration::ZERO, |deadline| deadline.saturating_duration_since(Instant::now()));
        if outcome.is_none() && left.is_zero() {
            // In uninterruptible sleep it survives SIGKILL; init reaps it later.
            let _ = kill(child, Signal::SIGKILL);
            let _ = waitpid(child, Some(WaitPidFlag::WNOHANG));
            return Ok((Outcome::TimedOut, output));
        }
        // Poll in short intervals, because a grandchild may keep the pipe open after the child exited; in shorter ones once
        // the pipe is closed and only the exit is missing.
        let interval = left.min(Duration::from_millis(if open { 100 } else { 1 }));
        // After the child exited, its last output is already in the pipe.
        let interval = if outcome.is_some() { Duration::ZERO } else { interval };
        let interval = PollTimeout::try_from(interval).unwrap_or(PollTimeout::ZERO);
        let mut files = [PollFd::new(reader.as_fd(), PollFlags::POLLIN)];
        let ready = poll(if open { &mut files } else { &mut [] }, interval)?;
        if ready > 0 {
            let mut buffer = [0; 4096];
            let count = reader.read(&mut buffer)?;
            open = count > 0;
            if output.len() < max_output {
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

/// The error of an operation that exceeded its time limit.
pub(super) fn timeout_error(limit: Duration) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("timed out after {} s", limit.as_secs()))
}

/// Runs a hidden command of this program on `root` in a child process.
fn run_step(
    step: &str,
    root: &OsStr,
    arguments: &[&str],
    limit: Duration,
    max_output: usize,
) -> io::Result<(Outcome, Vec<u8>)> {
    let mut all = vec![step.into(), root.to_owned()];
    all.extend(arguments.iter().map(OsString::from));
    run_with_timeout(OWN_EXECUTABLE, &all, &[], limit, max_output)
}

/// Writes an attribute below `root` in a child process, within `limit`.
pub(super) fn write(root: &OsStr, path: &str, value: &str, limit: Duration) -> io::Result<()> {
    step_result(&run_step(STEP_WRITE, root, &[path, value], limit, MAX_OUTPUT)?.0, limit)
}

/// Reads at least `max` bytes of a file below `root`, or all of it, in a child process, within `limit`.
pub(super) fn read_device(root: &OsStr, path: &str, max: usize, limit: Duration) -> io::Result<Vec<u8>> {
    let (outcome, output) = run_step(STEP_READ_DEVICE, root, &[path], limit, max)?;
    step_result(&outcome, limit).map(|()| output)
}

/// The result of a hidden command, whose exit status is 0 or an error number.
fn step_result(outcome: &Outcome, limit: Duration) -> io::Result<()> {
    match outcome {
        Outcome::TimedOut => Err(timeout_error(limit)),
        Outcome::Exited(0) => Ok(()),
        Outcome::Exited(errno) => Err(io::Error::from_raw_os_error(*errno)),
        Outcome::Killed(signal) => Err(io::Error::other(format!("the child process was killed by {signal}"))),
    }
}

/// Reads attributes below `root` in a child process, within `limit`. The result ends before the first attribute that was
/// not read in time.
pub(super) fn read(root: &OsStr, paths: &[String], limit: Duration) -> io::Result<Vec<io::Result<Vec<u8>>>> {
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    let (_, output) = run_step(STEP_READ, root, &paths, limit, MAX_OUTPUT)?;
    let mut answers = Vec::new();
    let mut rest = output.as_slice();
    // Each answer is an error number (1 byte), a length (2 bytes, big-endian) and the content.
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

/// Implements [`STEP_WRITE`]. Returns the exit status: 0, or the error number (Linux has none above 255).
pub fn step_write(root: &OsStr, path: &str, value: &str) -> u8 {
    exit_status(Host::open(root).and_then(|host| host.write_now(path, value).map_err(io::Error::from)))
}

/// Implements [`STEP_READ_DEVICE`]: copies the file to standard output. Returns the exit status.
pub fn step_read_device(root: &OsStr, path: &str) -> u8 {
    exit_status(Host::open(root).and_then(|host| host.copy(path, &mut io::stdout().lock())))
}

/// The exit status for a result.
fn exit_status(result: io::Result<()>) -> u8 {
    result.map_or_else(|error| errno_byte(&error), |()| 0)
}

/// Implements [`STEP_READ`]: writes an answer for each attribute to standard output as soon as it is read. Returns the exit
/// status.
pub fn step_read(root: &OsStr, paths: &[impl AsRef<OsStr>]) -> u8 {
    let Ok(host) = Host::open(root) else { return 1 };
    let mut stream = io::stdout().lock();
    for path in paths {
        let (errno, content) = match host.attribute(&path.as_ref().to_string_lossy()) {
            Ok(content) => (0, content),
            Err(error) => (errno_byte(&error.source), Vec::new()),
        };
        let length = u16::try_from(content.len()).unwrap_or(0).to_be_bytes();
        let answer = [&[errno], length.as_slice(), content.as_slice()].concat();
        if stream.write_all(&answer).and_then(|()| stream.flush()).is_err() {
            return 1;
        }
    }
    0
}

/// The error number as one byte.
fn errno_byte(error: &io::Error) -> u8 {
    u8::try_from(error.raw_os_error().unwrap_or(nix::libc::EIO)).unwrap_or(u8::MAX)
}
