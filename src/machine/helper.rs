// SPDX-License-Identifier: MIT OR Apache-2.0
//! Operations that may hang, carried out by a helper process with a time limit.
//!
//! A write to /sys runs driver code. If the driver hangs, the writer is in uninterruptible sleep (state D): signals do not
//! reach it, and a process cannot exit while one of its threads is in that state, so a thread would block the boot as well.
//! A process that hangs can be abandoned.
//!
//! The program starts itself once, with a hidden command, and sends orders to the helper's standard input. For each order,
//! in turn, there is one answer on its standard output. A helper that does not answer in time, that dies, or whose answer
//! is cut, gets no further orders: the next one starts another helper.
//!
//! | frame | content |
//! | --- | --- |
//! | order | kind (1 byte), length of the path, length of the argument (4 bytes each), path, argument |
//! | answer | error number (1 byte; 0: none), length (4 bytes), content |

use std::cell::RefCell;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::WaitStatus;
use nix::unistd::{Pid, pipe2};

use super::child::{self, Streams};
use super::{Host, Machine};

/// The hidden command: `vfio-early step-helper ROOT`.
pub const HELPER: &str = "step-helper";

/// The running executable.
const OWN_EXECUTABLE: &str = "/proc/self/exe";

/// The largest path or argument of an order that a helper takes; paths have at most 4096 bytes, attributes one page.
const MAX_FIELD: u32 = 1024 * 1024;

/// What a helper is to do.
#[derive(Debug, Clone, Copy)]
pub(super) enum Order<'a> {
    /// Write this value to an attribute.
    Write(&'a str, &'a str),
    /// Read an attribute.
    Attribute(&'a str),
    /// Read at most so many bytes of a file that a device's driver serves.
    Device(&'a str, usize),
    /// Write this content to the file of an EFI variable.
    Variable(&'a str, &'a [u8]),
    /// Make a file immutable, or mutable.
    Immutable(&'a str, bool),
    /// Mount at this directory a file system of the kernel.
    Mount(&'a str, &'a str),
}

impl Order<'_> {
    const WRITE: u8 = b'w';
    const ATTRIBUTE: u8 = b'a';
    const DEVICE: u8 = b'd';
    const VARIABLE: u8 = b'v';
    const IMMUTABLE: u8 = b'i';
    const MUTABLE: u8 = b'c';
    const MOUNT: u8 = b'm';

    /// The largest content of an answer.
    fn max_content(&self) -> usize {
        match self {
            Self::Write(..) | Self::Variable(..) | Self::Immutable(..) | Self::Mount(..) => 0,
            Self::Attribute(_) => 4096,
            Self::Device(_, max) => *max,
        }
    }

    fn frame(&self) -> Vec<u8> {
        let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX).to_be_bytes();
        let max = number(self.max_content());
        let (kind, path, argument) = match self {
            Self::Write(path, value) => (Self::WRITE, path, value.as_bytes()),
            Self::Attribute(path) => (Self::ATTRIBUTE, path, [].as_slice()),
            Self::Device(path, _) => (Self::DEVICE, path, max.as_slice()),
            Self::Variable(path, content) => (Self::VARIABLE, path, *content),
            Self::Immutable(path, true) => (Self::IMMUTABLE, path, [].as_slice()),
            Self::Immutable(path, false) => (Self::MUTABLE, path, [].as_slice()),
            Self::Mount(path, file_system) => (Self::MOUNT, path, file_system.as_bytes()),
        };
        [&[kind], number(path.len()).as_slice(), &number(argument.len()), path.as_bytes(), argument].concat()
    }
}

/// Why a helper gets no further orders.
enum Failure {
    /// It did not answer in time.
    TimedOut(Duration),
    /// It ended.
    Ended,
    /// This signal killed it.
    Killed(Signal),
    /// The answer makes no sense.
    Garbled,
}

impl Failure {
    fn error(&self) -> io::Error {
        match self {
            Self::TimedOut(limit) => child::timeout_error(*limit),
            Self::Ended => io::Error::other("the helper process ended without an answer"),
            Self::Killed(signal) => io::Error::other(format!("the helper process was killed by {signal}")),
            Self::Garbled => io::Error::other("the helper process gave a wrong answer"),
        }
    }
}

/// Starts helpers for a machine: none until the first order, and never two that take orders.
#[derive(Debug)]
pub(super) struct Helper {
    root: OsString,
    process: RefCell<Option<Process>>,
}

impl Helper {
    /// For the machine below this root directory.
    pub(super) fn new(root: &OsStr) -> Self {
        Self { root: root.to_owned(), process: RefCell::new(None) }
    }

    /// Ends the helper, if there is one.
    pub(super) fn end(&self) {
        self.process.take();
    }

    /// Has these orders carried out, within `limit` altogether. Returns a result for each. `None` if no helper can be
    /// started, as without /proc.
    pub(super) fn carry_out(&self, orders: &[Order<'_>], limit: Duration) -> Option<Vec<io::Result<Vec<u8>>>> {
        // An idle helper has nothing to say: one that has ended or that speaks is replaced.
        let idle = self.process.take().filter(Process::is_idle);
        let mut process = idle.or_else(|| Process::start(&self.root).ok())?;
        let mut answers = Vec::new();
        let failure = process.exchange(orders, &mut answers, limit).err();
        match failure {
            None => drop(self.process.replace(Some(process))),
            Some(failure) => {
                let failure = process.abandon(failure);
                answers.extend(orders.iter().skip(answers.len()).map(|_| Err(failure.error())).collect::<Vec<_>>());
            }
        }
        Some(answers)
    }

    /// Has one order carried out.
    pub(super) fn carry_out_one(&self, order: Order<'_>, limit: Duration) -> Option<io::Result<Vec<u8>>> {
        self.carry_out(&[order], limit)?.pop()
    }
}

/// A running helper. Dropping it ends it.
#[derive(Debug)]
struct Process {
    id: Pid,
    /// Its standard input; `None` once there are no further orders.
    orders: Option<OwnedFd>,
    /// Its standard output.
    answers: OwnedFd,
}

impl Process {
    fn start(root: &OsStr) -> nix::Result<Self> {
        let (input, orders) = pipe2(OFlag::O_CLOEXEC)?;
        let (answers, output) = pipe2(OFlag::O_CLOEXEC)?;
        // Only these ends: the helper waits.
        fcntl(&orders, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        fcntl(&answers, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        // Its standard error can only be read: a helper that is left behind must not keep the program's own stream open,
        // and has nothing to say there.
        let streams = Streams { input: input.as_fd(), output: output.as_fd(), error: input.as_fd() };
        let id = child::spawn(OWN_EXECUTABLE, &[HELPER.into(), root.to_owned()], &[], &streams, None)?;
        Ok(Self { id, orders: Some(orders), answers })
    }

    fn is_idle(&self) -> bool {
        let mut files = [PollFd::new(self.answers.as_fd(), PollFlags::POLLIN)];
        matches!(poll(&mut files, PollTimeout::ZERO), Ok(0))
    }

    /// Sends orders and adds the answers as they come.
    fn exchange(
        &mut self,
        orders: &[Order<'_>],
        answers: &mut Vec<io::Result<Vec<u8>>>,
        limit: Duration,
    ) -> Result<(), Failure> {
        let deadline = Instant::now().checked_add(limit);
        let frames: Vec<u8> = orders.iter().flat_map(Order::frame).collect();
        let mut unsent = frames.as_slice();
        let mut received = Vec::new();
        while let Some(order) = orders.get(answers.len()) {
            if let Some(answer) = take_answer(&mut received, order.max_content())? {
                answers.push(answer);
                continue;
            }
            let left = deadline.map_or(limit, |deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return Err(Failure::TimedOut(limit));
            }
            // Rounded up, so that the last part of a millisecond is slept as well.
            let left = left.saturating_add(Duration::from_micros(999));
            let mut files = vec![PollFd::new(self.answers.as_fd(), PollFlags::POLLIN)];
            if let (Some(orders), false) = (&self.orders, unsent.is_empty()) {
                files.push(PollFd::new(orders.as_fd(), PollFlags::POLLOUT));
            }
            match poll(&mut files, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(_) => return Err(Failure::Ended),
            }
            let mut buffer = [0; 16 * 1024];
            match nix::unistd::read(&self.answers, &mut buffer) {
                Ok(0) => return Err(Failure::Ended),
                Ok(count) => received.extend_from_slice(buffer.get(..count).unwrap_or_default()),
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                Err(_) => return Err(Failure::Ended),
            }
            if let (Some(orders), false) = (&self.orders, unsent.is_empty()) {
                match nix::unistd::write(orders, unsent) {
                    Ok(count) => unsent = unsent.get(count..).unwrap_or_default(),
                    // Answers may still be in the pipe of one that takes no orders: EPIPE is no end yet.
                    Err(Errno::EAGAIN | Errno::EINTR) => {}
                    Err(_) => unsent = &[],
                }
            }
        }
        if received.is_empty() { Ok(()) } else { Err(Failure::Garbled) }
    }

    /// Kills the helper. In uninterruptible sleep it survives that, and init reaps it later. Returns why it failed; of one
    /// that ended by itself, how.
    fn abandon(mut self, failure: Failure) -> Failure {
        let status = if matches!(failure, Failure::Ended) { self.wait() } else { None };
        match status {
            Some(WaitStatus::Signaled(_, signal, _)) => Failure::Killed(signal),
            Some(_) => failure,
            None => {
                let _ = kill(self.id, Signal::SIGKILL);
                failure
            }
        }
    }

    /// Ends the orders, and waits briefly for the helper's end.
    fn wait(&mut self) -> Option<WaitStatus> {
        self.orders = None;
        child::wait_briefly(self.id)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.wait();
    }
}

/// Takes the next answer from what was received, if all of it is there. An error answer has no content.
fn take_answer(received: &mut Vec<u8>, max: usize) -> Result<Option<io::Result<Vec<u8>>>, Failure> {
    let Some(([errno, length @ ..], content)) = received.split_first_chunk::<5>() else { return Ok(None) };
    let (errno, length) = (*errno, usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX));
    if length > max || (errno != 0 && length != 0) {
        return Err(Failure::Garbled);
    }
    if content.len() < length {
        return Ok(None);
    }
    let mut content = received.split_off(5);
    *received = content.split_off(length);
    Ok(Some(if errno == 0 { Ok(content) } else { Err(io::Error::from_raw_os_error(i32::from(errno))) }))
}

/// Implements [`HELPER`]: carries out the orders on standard input, until it ends. Returns the exit status.
pub fn helper(root: &OsStr) -> u8 {
    u8::from(serve(root).is_err())
}

fn serve(root: &OsStr) -> io::Result<()> {
    let host = Host::open(root)?;
    // Without the buffers of std's streams.
    let mut orders = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut answers = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    loop {
        let mut header = [0; 9];
        match orders.read_exact(&mut header) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(()),
            result => result?,
        }
        let [kind, a, b, c, d, lengths @ ..] = header;
        let path = field(&mut orders, [a, b, c, d])?;
        let argument = field(&mut orders, lengths)?;
        let (errno, content) = match perform(&host, kind, path, argument) {
            Ok(content) => (0, content),
            // Linux has no error number above 255.
            Err(error) => (u8::try_from(error.raw_os_error().unwrap_or(nix::libc::EIO)).unwrap_or(u8::MAX), Vec::new()),
        };
        let length = u32::try_from(content.len()).map_err(io::Error::other)?.to_be_bytes();
        answers.write_all(&[&[errno], length.as_slice(), content.as_slice()].concat())?;
    }
}

/// Reads a field of an order.
fn field(orders: &mut File, length: [u8; 4]) -> io::Result<Vec<u8>> {
    let length = u32::from_be_bytes(length);
    if length > MAX_FIELD {
        return Err(ErrorKind::InvalidData.into());
    }
    let mut field = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    orders.read_exact(&mut field)?;
    Ok(field)
}

/// Carries out an order. Returns the content of the answer.
fn perform(host: &Host, kind: u8, path: Vec<u8>, argument: Vec<u8>) -> io::Result<Vec<u8>> {
    let text = |bytes| String::from_utf8(bytes).map_err(|_| Errno::EINVAL);
    let path = text(path)?;
    match kind {
        Order::WRITE => Ok(host.write_now(&path, &text(argument)?).map(|()| Vec::new())?),
        Order::ATTRIBUTE => host.attribute(&path).map_err(|error| error.source),
        Order::DEVICE => {
            let max = argument.try_into().map(u32::from_be_bytes).map_err(|_| Errno::EINVAL)?;
            host.read_device_now(&path, u64::from(max))
        }
        Order::VARIABLE => Ok(host.write_variable_now(&path, &argument).map(|()| Vec::new())?),
        Order::IMMUTABLE | Order::MUTABLE => {
            Ok(host.set_immutable_now(&path, kind == Order::IMMUTABLE).map(|()| Vec::new())?)
        }
        Order::MOUNT => Ok(host.mount_now(&path, &text(argument)?).map(|()| Vec::new())?),
        _ => Err(Errno::EINVAL.into()),
    }
}
