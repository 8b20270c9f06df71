// SPDX-License-Identifier: MIT OR Apache-2.0
//! The running machine, or a directory with a copy of a machine's files.

use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, Flock, FlockArg, OFlag, OpenHow, ResolveFlag};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::stat::{Mode, SFlag};

use super::{Error, Machine, Operation, Result, child};

/// The default time limit of one step (the setting `step-timeout`).
const STEP_TIMEOUT: Duration = Duration::from_secs(10);

/// The time limit of [`Machine::queue_write`].
const QUEUE_WRITE_TIMEOUT: Duration = Duration::from_millis(500);

/// Writes to files below this run driver code.
const SYS: &str = "/sys/";

/// The directories with modprobe if `PATH` is unset: some initramfs images start the program without an environment.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The running machine, or the one below a root directory. Below a root directory, the kernel resolves links inside it
/// (openat2(2), RESOLVE_IN_ROOT), and no program is started.
#[derive(Debug)]
pub struct Host {
    root: OsString,
    /// The root directory, unless it is `/`.
    root_directory: Option<OwnedFd>,
    limit: Duration,
}

/// A lock; dropping it releases the lock.
#[derive(Debug)]
pub struct Lock {
    _file: Flock<OwnedFd>,
}

impl Host {
    /// Opens the machine below `root`; `/` is the running one.
    pub fn open(root: &OsStr) -> io::Result<Self> {
        let root_directory = if root == "/" {
            None
        } else {
            Some(nix::fcntl::open(root, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?)
        };
        Ok(Self { root: root.to_owned(), root_directory, limit: STEP_TIMEOUT })
    }

    /// Sets the time limit of one write, read or module load.
    pub fn set_limit(&mut self, limit: Duration) {
        self.limit = limit;
    }

    /// Prepares for changes that must not be interrupted: takes the lock that serializes claims, and blocks SIGHUP, SIGINT
    /// and SIGTERM for this process and its children. Claiming a display or a network card may end the terminal or the
    /// session that the program runs in, and a signal would leave a device without a driver or with its ROM enabled. Every
    /// step has a time limit, so the program ends nevertheless.
    pub fn begin(&self, path: &str, wait: Duration) -> Option<Lock> {
        let lock = self.lock(path, wait);
        let signals: SigSet = [Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM].into_iter().collect();
        let _ = signals.thread_block();
        lock
    }

    /// Takes a lock, waiting at most `wait`. `None` if another process holds it all that time or if the lock file cannot be
    /// created: a boot must not fail because of that.
    fn lock(&self, path: &str, wait: Duration) -> Option<Lock> {
        let (directory, name) = path.rsplit_once('/')?;
        let directory = self.make_directory(directory).ok()?;
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mut file = nix::fcntl::openat(&directory, name, flags, Mode::from_bits_truncate(0o600)).ok()?;
        let end = Instant::now().checked_add(wait)?;
        loop {
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(lock) => return Some(Lock { _file: lock }),
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
            None => nix::fcntl::open(path, flags, Mode::empty()),
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

    /// Opens a directory; creates it and its parents where they are missing.
    fn make_directory(&self, path: &str) -> nix::Result<OwnedFd> {
        let open = || self.open_at(if path.is_empty() { "/" } else { path }, OFlag::O_RDONLY | OFlag::O_DIRECTORY);
        match (open(), path.rsplit_once('/')) {
            (Err(Errno::ENOENT), Some((parent, name))) => {
                let parent = self.make_directory(parent)?;
                let mode = Mode::from_bits_truncate(0o755);
                match nix::sys::stat::mkdirat(&parent, name, mode) {
                    // Undo the umask: unprivileged users read the report.
                    Ok(()) => {
                        let directory = open()?;
                        let _ = nix::sys::stat::fchmod(&directory, mode);
                        Ok(directory)
                    }
                    Err(Errno::EEXIST) => open(),
                    Err(errno) => Err(errno),
                }
            }
            (result, _) => result,
        }
    }

    /// Writes an attribute in this process.
    pub(super) fn write_now(&self, path: &str, value: &str) -> nix::Result<()> {
        // A write to /sys may block, because a child process does it. Others (/dev/kmsg) must not block this process.
        let nonblock = if path.starts_with(SYS) { OFlag::empty() } else { OFlag::O_NONBLOCK };
        let file = self.open_at(path, OFlag::O_WRONLY | nonblock)?;
        let count = nix::unistd::write(&file, value.as_bytes())?;
        if count == value.len() { Ok(()) } else { Err(Errno::EIO) }
    }

    fn write_within(&self, path: &str, value: &str, limit: Duration) -> Result<()> {
        log::debug!("write {path}: {}", value.trim_end());
        let now = || self.write_now(path, value).map_err(io::Error::from);
        // Only writes to /sys run driver code, which may hang.
        let result = match path.starts_with(SYS).then(|| child::write(&self.root, path, value, limit)) {
            // Without /proc, no child can be started: write without a time limit.
            Some(Err(error))
                if error.kind() == io::ErrorKind::NotFound && !Path::new(child::OWN_EXECUTABLE).exists() =>
            {
                now()
            }
            Some(result) => result,
            None => now(),
        };
        result.map_err(|error| Error::new(Operation::Write, path, error))
    }

    fn save_at(&self, path: &str, content: &[u8]) -> io::Result<()> {
        let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
        let directory = self.make_directory(directory)?;
        // Undo the umask: unprivileged users may read the file.
        let readable = |file: &File| Ok(nix::sys::stat::fchmod(file, Mode::from_bits_truncate(0o644))?);
        write_atomically(&directory, name, content, readable, true)
    }

    /// See [`Machine::create`].
    fn create_at(&self, path: &str, content: &[u8], force: bool, input: Option<&str>) -> io::Result<()> {
        let (directory, name) = path.rsplit_once('/').unwrap_or((".", path));
        let directory = self.open_at(if directory.is_empty() { "/" } else { directory }, OFlag::O_PATH)?;
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

    /// Copies a file to a stream, page by page.
    pub(super) fn copy(&self, path: &str, stream: &mut dyn Write) -> io::Result<()> {
        let file = self.open_at(path, OFlag::O_RDONLY)?;
        let mut page = [0; 4096];
        loop {
            let count = nix::unistd::read(&file, &mut page)?;
            if count == 0 {
                return stream.flush();
            }
            stream.write_all(page.get(..count).unwrap_or_default())?;
        }
    }

    fn read_at_most(&self, path: &str, max: usize) -> io::Result<Vec<u8>> {
        // O_NONBLOCK, so that a FIFO in place of a configuration file does not block the boot.
        let mut file = File::from(self.open_at(path, OFlag::O_RDONLY | OFlag::O_NONBLOCK)?);
        let kind = file.metadata()?.file_type();
        if kind.is_dir() {
            return Err(Errno::EISDIR.into());
        }
        // A link to /dev/null masks a configuration file, and reads as an empty file.
        if !kind.is_file() && !std::os::unix::fs::FileTypeExt::is_char_device(&kind) {
            return Err(io::Error::other("not a regular file"));
        }
        let mut content = Vec::new();
        Read::by_ref(&mut file).take(u64::try_from(max).unwrap_or(u64::MAX)).read_to_end(&mut content)?;
        Ok(content)
    }

    /// Runs the system's modprobe, so that the options and blacklists of modprobe.d apply.
    fn modprobe(&self, module: &str, options: &[&str]) -> io::Result<(child::Outcome, Vec<u8>)> {
        let mut path = DEFAULT_PATH.to_owned();
        let mut environment = Vec::new();
        for (name, value) in std::env::vars_os() {
            // Dropped: initramfs-tools exports options that silence modprobe and apply blacklists to explicit loads.
            if name == "PATH" && !value.is_empty() {
                path = value.to_string_lossy().into_owned();
            } else if name != "PATH" && name != "MODPROBE_OPTIONS" {
                environment.push([name, value].join("=".as_ref()));
            }
        }
        environment.push(format!("PATH={path}").into());
        let environment: Vec<_> =
            environment.into_iter().filter_map(|variable| CString::new(variable.into_vec()).ok()).collect();
        let mut result = Err(io::Error::from(Errno::ENOENT));
        let arguments: Vec<OsString> = std::iter::once(&module).chain(options).map(OsString::from).collect();
        for directory in path.split(':') {
            let program = format!("{directory}/modprobe");
            result = child::run_with_timeout(&program, &arguments, &environment, self.limit, child::MAX_OUTPUT);
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
            None => nix::fcntl::readlink(path),
            Some(_) => {
                let link = self.open_at(path, OFlag::O_PATH | OFlag::O_NOFOLLOW)?;
                nix::fcntl::readlinkat(&link, "")
            }
        }
    }
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
    let temporary = format!(".{name}.{}", std::process::id());
    let temporary = temporary.as_str();
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let remove = || nix::unistd::unlinkat(directory, temporary, nix::unistd::UnlinkatFlags::NoRemoveDir);
    // An earlier run with the same process ID may have left a temporary file when it was killed.
    let _ = remove();
    let mut file = File::from(nix::fcntl::openat(directory, temporary, flags, Mode::from_bits_truncate(0o644))?);
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
        match child::read_device(&self.root, path, limit.saturating_add(1), self.limit) {
            // Without /proc, no child can be started: read without a time limit.
            Err(_) if !Path::new(child::OWN_EXECUTABLE).exists() => self.read(path, limit),
            Ok(content) if content.len() > limit => Err(Error::os(Operation::Read, path, Errno::EFBIG)),
            result => result.map_err(|error| Error::new(Operation::Read, path, error)),
        }
    }

    fn list(&self, path: &str) -> Result<Vec<String>> {
        log::debug!("list {path}");
        let fail = |errno| Error::os(Operation::List, path, errno);
        let directory = self.open_at(path, OFlag::O_RDONLY | OFlag::O_DIRECTORY).map_err(fail)?;
        let mut names = Vec::new();
        for entry in Dir::from_fd(directory).map_err(fail)?.iter() {
            let entry = entry.map_err(fail)?;
            let name = entry.file_name().to_string_lossy();
            if name != "." && name != ".." {
                names.push(name.into_owned());
            }
        }
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
        match child::read(&self.root, paths, self.limit) {
            Ok(answers) => {
                let timeouts = std::iter::repeat_with(|| Err(child::timeout_error(self.limit)));
                let answers = answers.into_iter().chain(timeouts).zip(paths);
                answers.map(|(answer, path)| answer.map_err(|error| Error::new(Operation::Read, path, error))).collect()
            }
            // Without /proc, no child can be started: read without a time limit.
            Err(_) => paths.iter().map(|path| self.attribute(path)).collect(),
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

    fn save(&self, path: &str, content: &[u8]) -> Result<()> {
        log::debug!("save {path}");
        self.save_at(path, content).map_err(|error| Error::new(Operation::Save, path, error))
    }

    fn create(&self, path: &str, content: &[u8], force: bool, input: Option<&str>) -> Result<()> {
        log::debug!("create {path}");
        self.create_at(path, content, force, input).map_err(|error| Error::new(Operation::Save, path, error))
    }
}
