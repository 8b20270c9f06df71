// SPDX-License-Identifier: MIT OR Apache-2.0
//! The running machine, or a directory with a copy of a machine's files.

use std::cell::Cell;
use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, Flock, FlockArg, OFlag, OpenHow, ResolveFlag};
use nix::mount::MsFlags;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::stat::{Mode, SFlag};
use nix::unistd::{Pid, UnlinkatFlags, unlinkat};
use rustix::fs::{OFlags, RawDir};

use super::helper::{Helper, Order};
use super::walk::{Rule, close_to_others, place_of, walk};
use super::{Error, Machine, Operation, Result, child};

/// The default time limit of one step (the setting `step-timeout`).
const STEP_TIMEOUT: Duration = Duration::from_secs(10);

/// The time limit of [`Machine::queue_write`].
const QUEUE_WRITE_TIMEOUT: Duration = Duration::from_millis(500);

/// Writes to files below this run driver code.
const SYS: &str = "/sys/";

/// The directories with modprobe, and the `PATH` of the commands that it may run.
const PROGRAMS: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The signals that a run is not interrupted by.
const SIGNALS: [Signal; 3] = [Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM];

/// The running machine, or the one below a root directory. Below a root directory, the kernel resolves links inside it
/// (openat2(2), RESOLVE_IN_ROOT), and no program of the machine is started.
#[derive(Debug)]
pub struct Host {
    /// The root directory, unless it is `/`.
    root_directory: Option<OwnedFd>,
    limit: Duration,
    helper: Helper,
    /// The signals that were blocked before a run.
    blocked_before: Cell<Option<SigSet>>,
}

/// A run that must not be interrupted. Dropping it ends the run.
#[derive(Debug)]
pub struct Lock {
    _file: Option<Flock<OwnedFd>>,
    blocked_before: Option<SigSet>,
}

impl Drop for Lock {
    fn drop(&mut self) {
        let Some(blocked) = self.blocked_before else { return };
        // A signal that arrived meanwhile asked this process to end, and it is about to: with the result of the run.
        let ours: SigSet = SIGNALS.into_iter().filter(|signal| !blocked.contains(*signal)).collect();
        if let Ok(arrived) = SignalFd::with_flags(&ours, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC) {
            while let Ok(Some(_)) = arrived.read_signal() {}
        }
        let _ = blocked.thread_set_mask();
    }
}

impl Host {
    /// Opens the machine below `root`; `/` is the running one.
    pub fn open(root: &OsStr) -> io::Result<Self> {
        let root_directory = if root == "/" {
            None
        } else {
            Some(nix::fcntl::open(root, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?)
        };
        Ok(Self { root_directory, limit: STEP_TIMEOUT, helper: Helper::new(root), blocked_before: Cell::new(None) })
    }

    /// Sets the time limit of one write, read or module load.
    pub fn set_limit(&mut self, limit: Duration) {
        self.limit = limit;
    }

    /// Prepares for changes that must not be interrupted, until the result is dropped: takes the lock that serializes
    /// claims, and blocks SIGHUP, SIGINT and SIGTERM for this process and its helper. Claiming a display or a network card
    /// may end the terminal or the session that the program runs in, and a signal would leave a device without a driver or
    /// with its ROM enabled. Every step has a time limit, so the program ends nevertheless.
    ///
    /// The run goes on without the lock if another process holds it for longer than `wait`, or if the lock file cannot be
    /// opened: a boot must not fail because of that. `create`: create the file if it is missing.
    pub fn begin(&self, path: &str, wait: Duration, create: bool) -> Lock {
        let file = self.lock(path, wait, create);
        // An earlier helper would not block the signals.
        self.helper.end();
        let blocked_before = SIGNALS.into_iter().collect::<SigSet>().thread_swap_mask(SigmaskHow::SIG_BLOCK).ok();
        self.blocked_before.set(blocked_before);
        Lock { _file: file, blocked_before }
    }

    /// Whether this is the running machine.
    pub fn is_running(&self) -> bool {
        self.root_directory.is_none()
    }

    /// See [`Host::begin`].
    fn lock(&self, path: &str, wait: Duration, create: bool) -> Option<Flock<OwnedFd>> {
        let (directory, name) = path.rsplit_once('/')?;
        let (directory, flags) = if create {
            (self.make_directory(directory), OFlag::O_CREAT)
        } else {
            (self.walk(directory, Rule::Output), OFlag::empty())
        };
        let directory = directory.ok()?;
        let flags = flags | OFlag::O_RDWR | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mut file = nix::fcntl::openat(&directory, name, flags, Mode::from_bits_truncate(0o600)).ok()?;
        let end = Instant::now().checked_add(wait)?;
        loop {
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(lock) => return Some(lock),
                Err((again, Errno::EWOULDBLOCK)) if Instant::now() < end => file = again,
                Err(_) => return None,
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn open_at(&self, path: &str, flags: OFlag) -> nix::Result<OwnedFd> {
        // openat2(2) refuses O_PATH together with O_NOCTTY, which it does not need.
        let no_tty = if flags.contains(OFlag::O_PATH) { OFlag::empty() } else { OFlag::O_NOCTTY };
        let flags = flags | OFlag::O_CLOEXEC | no_tty;
        match &self.root_directory {
            // Without the C library: musl has a second system call for O_CLOEXEC.
            None => {
                let flags = OFlags::from_bits_retain(u32::try_from(flags.bits()).map_err(|_| Errno::EINVAL)?);
                rustix::fs::open(path, flags, rustix::fs::Mode::empty()).map_err(errno_of)
            }
            Some(root) => {
                let resolve = ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS;
                // Resolving `..` fails with EAGAIN if anything is renamed or mounted on the machine meanwhile.
                let is_final = |result: &nix::Result<OwnedFd>| !matches!(result, Err(Errno::EAGAIN));
                let mut attempts = std::iter::repeat_with(|| {
                    nix::fcntl::openat2(root, path, OpenHow::new().flags(flags).resolve(resolve))
                });
                attempts.by_ref().take(100).find(is_final).unwrap_or(Err(Errno::EAGAIN))
            }
        }
    }

    /// Opens what is at a path, as the rule allows.
    fn walk(&self, path: &str, rule: Rule) -> io::Result<OwnedFd> {
        walk(self.top()?, &self.absolute(path)?, rule)
    }

    /// The root directory.
    fn top(&self) -> io::Result<OwnedFd> {
        match &self.root_directory {
            Some(root) => root.try_clone(),
            None => Ok(nix::fcntl::open("/", OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?),
        }
    }

    /// The path of a file from the root directory on.
    fn absolute(&self, path: &str) -> io::Result<String> {
        if self.root_directory.is_some() || path.starts_with('/') {
            return Ok(path.to_owned());
        }
        let here = std::env::current_dir()?.into_os_string().into_string().map_err(|_| Errno::EILSEQ)?;
        Ok(format!("{here}/{path}"))
    }

    /// Opens a directory of the program; creates it and its parents where they are missing.
    fn make_directory(&self, path: &str) -> io::Result<OwnedFd> {
        let directory = self.walk(path, Rule::Own)?;
        close_to_others(&directory)?;
        Ok(directory)
    }

    /// Writes an attribute in this process.
    pub(super) fn write_now(&self, path: &str, value: &str) -> nix::Result<()> {
        // A write to /sys may block, because the helper does it. Others (/dev/kmsg) must not block this process.
        let nonblock = if path.starts_with(SYS) { OFlag::empty() } else { OFlag::O_NONBLOCK };
        let file = self.open_at(path, OFlag::O_WRONLY | nonblock)?;
        let count = nix::unistd::write(&file, value.as_bytes())?;
        if count == value.len() { Ok(()) } else { Err(Errno::EIO) }
    }

    fn write_within(&self, path: &str, value: &str, limit: Duration) -> Result<()> {
        log::debug!("write {path}: {}", value.trim_end());
        // Only writes to /sys run driver code, which may hang.
        let order = path.starts_with(SYS).then_some(Order::Write(path, value));
        let result = match order.and_then(|order| self.helper.carry_out_one(order, limit)) {
            Some(result) => result.map(drop),
            // Without /proc, no helper can be started: better a write without a time limit than none.
            None => self.write_now(path, value).map_err(io::Error::from),
        };
        result.map_err(|error| Error::new(Operation::Write, path, error))
    }

    /// Writes a file that all may read, whatever the umask is.
    fn save_in(directory: &OwnedFd, name: &str, content: &[u8]) -> io::Result<()> {
        let readable = |file: &File| Ok(nix::sys::stat::fchmod(file, Mode::from_bits_truncate(0o644))?);
        write_atomically(directory, name, content, readable, true)
    }

    /// Has an order without an answer carried out, or does it in this process where no helper can be started.
    fn order(
        &self,
        order: Order<'_>,
        operation: Operation,
        path: &str,
        now: &dyn Fn() -> nix::Result<()>,
    ) -> Result<()> {
        let result = match self.helper.carry_out_one(order, self.limit) {
            Some(result) => result.map(drop),
            None => now().map_err(io::Error::from),
        };
        result.map_err(|error| Error::new(operation, path, error))
    }

    /// Writes the file of an EFI variable in this process.
    pub(super) fn write_variable_now(&self, path: &str, content: &[u8]) -> nix::Result<()> {
        let (directory, name) = path.rsplit_once('/').ok_or(Errno::EINVAL)?;
        let directory = self.open_at(directory, OFlag::O_PATH | OFlag::O_DIRECTORY)?;
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let file = nix::fcntl::openat(&directory, name, flags, Mode::from_bits_truncate(0o644))?;
        let count = nix::unistd::write(&file, content)?;
        if count == content.len() { Ok(()) } else { Err(Errno::EIO) }
    }

    /// Sets or clears a flag of a file in this process (fs/ioctl.c, `ioctl_setflags`; fs/efivarfs/inode.c,
    /// `efivarfs_fileattr_set`).
    pub(super) fn set_immutable_now(&self, path: &str, immutable: bool) -> nix::Result<()> {
        use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};
        let file = self.open_at(path, OFlag::O_RDONLY | OFlag::O_NONBLOCK)?;
        let changed = ioctl_getflags(&file).and_then(|mut flags| {
            flags.set(IFlags::IMMUTABLE, immutable);
            ioctl_setflags(&file, flags)
        });
        changed.map_err(errno_of)
    }

    /// Mounts a file system in this process, with the options that systemd would use (src/shared/mount-setup.c).
    pub(super) fn mount_now(&self, path: &str, file_system: &str) -> nix::Result<()> {
        if self.root_directory.is_some() {
            return Err(Errno::EROFS);
        }
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        nix::mount::mount(Some(file_system), path, Some(file_system), flags, None::<&str>)
    }

    fn save_at(&self, path: &str, content: &[u8]) -> io::Result<()> {
        let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
        Self::save_in(&self.make_directory(directory)?, name, content)
    }

    /// See [`Machine::publish`].
    fn publish_at(&self, path: &str, content: &[u8]) -> io::Result<()> {
        let (directory, name) = place_of(self.top()?, &self.absolute(path)?)?;
        if name.is_empty() {
            return Err(Errno::EISDIR.into());
        }
        Self::save_in(&directory, &name, content)
    }

    /// See [`Machine::create`].
    fn create_at(&self, path: &str, content: &[u8], force: bool, input: Option<&str>) -> io::Result<()> {
        let (directory, name) = path.rsplit_once('/').unwrap_or((".", path));
        let directory = self.walk(if directory.is_empty() { "/" } else { directory }, Rule::Output)?;
        let input = input.and_then(|input| nix::sys::stat::fstat(self.open_at(input, OFlag::O_PATH).ok()?).ok());
        match nix::sys::stat::fstatat(&directory, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) if input.is_some_and(|input| (input.st_dev, input.st_ino) == (stat.st_dev, stat.st_ino)) => {
                return Err(io::Error::new(
                    io::ErrorKind::AlreadyExists,
                    "it is the input file, which is never overwritten",
                ));
            }
            Ok(stat) if SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT != SFlag::S_IFREG => {
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, "not a regular file"));
            }
            Ok(_) if !force => return Err(Errno::EEXIST.into()),
            Ok(_) | Err(Errno::ENOENT) => {}
            Err(errno) => return Err(errno.into()),
        }
        write_atomically(&directory, name, content, |_| Ok(()), force)
    }

    /// Reads at most `max` bytes of a file in this process. Unlike other reads, this one may block.
    pub(super) fn read_device_now(&self, path: &str, max: u64) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        File::from(self.open_at(path, OFlag::O_RDONLY)?).take(max).read_to_end(&mut content)?;
        Ok(content)
    }

    fn read_at_most(&self, path: &str, max: usize) -> io::Result<Vec<u8>> {
        // O_NONBLOCK, so that a FIFO in place of a configuration file does not block the boot.
        let file = File::from(self.open_at(path, OFlag::O_RDONLY | OFlag::O_NONBLOCK)?);
        let kind = file.metadata()?.file_type();
        if kind.is_dir() {
            return Err(Errno::EISDIR.into());
        }
        // A link to /dev/null masks a configuration file, and reads as an empty file.
        if !kind.is_file() && !std::os::unix::fs::FileTypeExt::is_char_device(&kind) {
            return Err(io::Error::other("not a regular file"));
        }
        // Most files are small, and read_to_end begins with 32 bytes where it knows no size.
        let mut content = Vec::new();
        let mut page = [0; 4096];
        loop {
            let rest = max.saturating_sub(content.len());
            let part = page.get_mut(..rest.min(4096)).unwrap_or_default();
            let count = match nix::unistd::read(&file, part) {
                Err(Errno::EINTR) => continue,
                count => count?,
            };
            content.extend_from_slice(part.get(..count).unwrap_or_default());
            if count == 0 {
                return Ok(content);
            }
            if count == page.len() {
                break;
            }
        }
        let rest = max.saturating_sub(content.len());
        file.take(u64::try_from(rest).unwrap_or(u64::MAX)).read_to_end(&mut content)?;
        Ok(content)
    }

    /// Runs the system's modprobe, so that the options and blacklists of modprobe.d apply.
    fn modprobe(&self, module: &str, options: &[&str]) -> io::Result<(child::Outcome, Vec<u8>)> {
        // Nothing of the program's own environment: whoever starts it, by sudo or in an image, must not choose what root runs.
        let environment: Vec<_> = CString::new(format!("PATH={PROGRAMS}")).into_iter().collect();
        // It has nothing to do with the signals that a run blocks.
        let blocked = self.blocked_before.get().or_else(|| SigSet::thread_get_mask().ok()).unwrap_or(SigSet::empty());
        let mut result = Err(io::Error::from(Errno::ENOENT));
        let arguments: Vec<OsString> = std::iter::once(&module).chain(options).map(OsString::from).collect();
        for directory in PROGRAMS.split(':') {
            let program = format!("{directory}/modprobe");
            result = child::run_with_timeout(&program, &arguments, &environment, &blocked, self.limit);
            // Not in this directory: try the next one.
            let is_missing =
                |error: &io::Error| matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory);
            if !result.as_ref().is_err_and(is_missing) {
                break;
            }
        }
        result
    }

    fn read_link(&self, path: &str) -> nix::Result<OsString> {
        match &self.root_directory {
            None => {
                let target = rustix::fs::readlink(path, Vec::new()).map_err(errno_of)?;
                Ok(OsString::from_vec(target.into_bytes()))
            }
            Some(_) => {
                let link = self.open_at(path, OFlag::O_PATH | OFlag::O_NOFOLLOW)?;
                nix::fcntl::readlinkat(&link, "")
            }
        }
    }
}

/// The same error as the other library has it.
fn errno_of(error: rustix::io::Errno) -> Errno {
    Errno::from_raw(error.raw_os_error())
}

/// The names in an open directory, as the kernel lists them.
fn names_in(directory: &OwnedFd) -> nix::Result<Vec<String>> {
    let mut names = Vec::new();
    let mut buffer = [MaybeUninit::uninit(); 8192];
    let mut entries = RawDir::new(directory, &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = entry.map_err(errno_of)?;
        let name = entry.file_name().to_string_lossy();
        if name != "." && name != ".." {
            names.push(name.into_owned());
        }
    }
    Ok(names)
}

/// How the name of a temporary file begins. A process ID, a dot and a number follow.
const TEMPORARY: &str = ".vfio-early.";

/// Numbers the temporary files of this process.
static NEXT: AtomicU32 = AtomicU32::new(0);

/// Removes the temporary files that runs left behind when they were killed.
fn remove_abandoned(directory: &OwnedFd) {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let listing = nix::fcntl::openat(directory, ".", flags, Mode::empty()).and_then(|listing| names_in(&listing));
    for name in listing.unwrap_or_default() {
        let Some((process, number)) = parse_temporary(&name) else { continue };
        let abandoned = if process == Pid::this() {
            number >= NEXT.load(Ordering::Relaxed)
        } else {
            kill(process, None) == Err(Errno::ESRCH)
        };
        if !abandoned {
            continue;
        }
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let file = nix::fcntl::openat(directory, name.as_str(), flags, Mode::empty());
        if file.is_ok_and(|file| Flock::lock(file, FlockArg::LockExclusiveNonblock).is_ok()) {
            let _ = unlinkat(directory, name.as_str(), UnlinkatFlags::NoRemoveDir);
        }
    }
}

/// The process and the number in the name of a temporary file.
fn parse_temporary(name: &str) -> Option<(Pid, u32)> {
    let (process, number) = name.strip_prefix(TEMPORARY)?.split_once('.')?;
    let process = process.parse().ok().filter(|process| *process > 0)?;
    Some((Pid::from_raw(process), number.parse().ok()?))
}

/// Writes a temporary file in the same directory and renames it to `name`. Replaces an existing file only if `overwrite` is
/// set.
fn write_atomically(
    directory: &OwnedFd,
    name: &str,
    content: &[u8],
    prepare: impl Fn(&File) -> io::Result<()>,
    overwrite: bool,
) -> io::Result<()> {
    remove_abandoned(directory);
    let temporary = format!("{TEMPORARY}{}.{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let temporary = temporary.as_str();
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let remove = || unlinkat(directory, temporary, UnlinkatFlags::NoRemoveDir);
    // Of a directory that cannot be listed: an earlier run with the same process ID may have been killed.
    let _ = remove();
    let mut file = File::from(nix::fcntl::openat(directory, temporary, flags, Mode::from_bits_truncate(0o644))?);
    // Tells runs on other machines and in other containers that the file is in use.
    let _lock = file.try_clone().ok().and_then(|file| Flock::lock(file, FlockArg::LockExclusiveNonblock).ok());
    let written = file.write_all(content).and_then(|()| file.sync_all()).and_then(|()| prepare(&file)).and_then(|()| {
        if !overwrite {
            // Unlike rename(2), link(2) never replaces a file. Some file systems do not support hard links.
            match nix::unistd::linkat(directory, temporary, directory, name, AtFlags::empty()) {
                Err(Errno::EPERM | Errno::EOPNOTSUPP) => {}
                result => {
                    let _ = remove();
                    return Ok(result?);
                }
            }
        }
        Ok(nix::fcntl::renameat(directory, temporary, directory, name)?)
    });
    if written.is_err() {
        let _ = remove();
    }
    written
}

impl Machine for Host {
    fn attribute(&self, path: &str) -> Result<Vec<u8>> {
        log::debug!("read {path}");
        // O_NONBLOCK as in `read_at_most`: below --root, an attribute may be any kind of file.
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK;
        let file = self.open_at(path, flags).map_err(|errno| Error::os(Operation::Read, path, errno))?;
        let mut page = [0; 4096];
        let count = nix::unistd::read(&file, &mut page).map_err(|errno| Error::os(Operation::Read, path, errno))?;
        Ok(page.get(..count).unwrap_or_default().to_vec())
    }

    fn read(&self, path: &str, limit: usize) -> Result<Vec<u8>> {
        let content = self.read_prefix(path, limit.saturating_add(1))?;
        if content.len() > limit { Err(Error::os(Operation::Read, path, Errno::EFBIG)) } else { Ok(content) }
    }

    fn read_prefix(&self, path: &str, max: usize) -> Result<Vec<u8>> {
        log::debug!("read {path}");
        self.read_at_most(path, max).map_err(|error| Error::new(Operation::Read, path, error))
    }

    fn read_device(&self, path: &str, limit: usize) -> Result<Vec<u8>> {
        log::debug!("read {path}");
        let max = limit.saturating_add(1);
        let read = match self.helper.carry_out_one(Order::Device(path, max), self.limit) {
            Some(result) => result.map_err(|error| Error::new(Operation::Read, path, error)),
            // Without /proc, no helper can be started: read without a time limit.
            None => self.read_prefix(path, max),
        };
        match read {
            Ok(content) if content.len() > limit => Err(Error::os(Operation::Read, path, Errno::EFBIG)),
            result => result,
        }
    }

    fn list(&self, path: &str) -> Result<Vec<String>> {
        log::debug!("list {path}");
        let fail = |errno| Error::os(Operation::List, path, errno);
        let directory = self.open_at(path, OFlag::O_RDONLY | OFlag::O_DIRECTORY).map_err(fail)?;
        let mut names = names_in(&directory).map_err(fail)?;
        names.sort_unstable();
        Ok(names)
    }

    fn link(&self, path: &str) -> Result<String> {
        log::debug!("follow {path}");
        let target = self.read_link(path).map_err(|errno| Error::os(Operation::Link, path, errno))?;
        Ok(target.to_string_lossy().into_owned())
    }

    fn write(&self, path: &str, value: &str) -> Result<()> {
        self.write_within(path, value, self.limit)
    }

    fn queue_write(&self, path: &str, value: &str) -> Result<()> {
        self.write_within(path, value, self.limit.min(QUEUE_WRITE_TIMEOUT))
    }

    fn locked_attributes(&self, paths: &[String]) -> Vec<Result<Vec<u8>>> {
        if paths.is_empty() {
            return Vec::new();
        }
        let orders: Vec<Order<'_>> = paths.iter().map(|path| Order::Attribute(path)).collect();
        match self.helper.carry_out(&orders, self.limit) {
            Some(answers) => {
                let answers = answers.into_iter().zip(paths);
                answers.map(|(answer, path)| answer.map_err(|error| Error::new(Operation::Read, path, error))).collect()
            }
            // Without /proc, no helper can be started: read without a time limit.
            None => paths.iter().map(|path| self.attribute(path)).collect(),
        }
    }

    fn load(&self, module: &str, options: &[&str]) -> Result<()> {
        log::debug!("load {module}");
        if self.root_directory.is_some() {
            return Err(Error::other(Operation::Load, module, "modules are not loaded with --root"));
        }
        match self.modprobe(module, options) {
            Ok((child::Outcome::Exited(0), _)) => Ok(()),
            Ok((child::Outcome::TimedOut, _)) => {
                Err(Error::new(Operation::Load, module, child::timeout_error(self.limit)))
            }
            Ok((outcome, output)) => {
                let output = String::from_utf8_lossy(&output);
                let message = match (output.lines().next_back().unwrap_or_default().trim(), outcome) {
                    ("", child::Outcome::Exited(status)) => format!("modprobe exited with status {status}"),
                    ("", _) => "modprobe was killed".to_owned(),
                    (last, _) => last.to_owned(),
                };
                Err(Error::other(Operation::Load, module, message))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(Error::other(Operation::Load, module, "modprobe not found (the initramfs image needs kmod)"))
            }
            Err(error) => Err(Error::new(Operation::Load, module, error)),
        }
    }

    fn write_variable(&self, path: &str, content: &[u8]) -> Result<()> {
        log::debug!("write {path}");
        self.order(Order::Variable(path, content), Operation::Write, path, &|| self.write_variable_now(path, content))
    }

    fn set_immutable(&self, path: &str, immutable: bool) -> Result<()> {
        log::debug!("write {path}: immutable {immutable}");
        self.order(Order::Immutable(path, immutable), Operation::Write, path, &|| {
            self.set_immutable_now(path, immutable)
        })
    }

    fn mount(&self, file_system: &str, path: &str) -> Result<()> {
        log::debug!("mount {path}");
        self.order(Order::Mount(path, file_system), Operation::Mount, path, &|| self.mount_now(path, file_system))
    }

    fn save(&self, path: &str, content: &[u8]) -> Result<()> {
        log::debug!("save {path}");
        self.save_at(path, content).map_err(|error| Error::new(Operation::Save, path, error))
    }

    fn publish(&self, path: &str, content: &[u8]) -> Result<()> {
        log::debug!("publish {path}");
        self.publish_at(path, content).map_err(|error| Error::new(Operation::Save, path, error))
    }

    fn untrusted(&self, path: &str) -> Option<String> {
        if !nix::unistd::geteuid().is_root() {
            return None;
        }
        let error = self.walk(path, Rule::Obeyed).err()?;
        // Without an error number: not one of the system.
        error.raw_os_error().is_none().then(|| error.to_string())
    }

    fn create(&self, path: &str, content: &[u8], force: bool, input: Option<&str>) -> Result<()> {
        log::debug!("create {path}");
        self.create_at(path, content, force, input).map_err(|error| Error::new(Operation::Save, path, error))
    }
}
