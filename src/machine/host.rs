// SPDX-License-Identifier: MIT OR Apache-2.0
//! The running machine, or a directory that looks like one.

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

/// How long one step may take unless the configuration says otherwise.
const STEP_LIMIT: Duration = Duration::from_secs(10);

/// How long is waited for a write to a device on which another hangs.
const MOMENT: Duration = Duration::from_millis(500);

/// Below this lie the attributes, whose writers run driver code.
const SYS: &str = "/sys/";

/// Where modprobe is looked for when the environment does not say: an initramfs may start us with none.
const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The host, or what lies below a directory: then links are resolved inside it by the kernel itself
/// (openat2(2), RESOLVE_IN_ROOT) and no other program is started.
#[derive(Debug)]
pub struct Host {
    root: OsString,
    /// Open where `root` is not `/`.
    inside: Option<OwnedFd>,
    limit: Duration,
}

/// Holds a lock as long as it lives.
#[derive(Debug)]
pub struct Lock {
    _file: Flock<OwnedFd>,
}

impl Host {
    /// The machine below `root`; `/` is the running one.
    pub fn open(root: &OsStr) -> io::Result<Self> {
        let inside = if root == "/" {
            None
        } else {
            Some(nix::fcntl::open(root, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?)
        };
        Ok(Self { root: root.to_owned(), inside, limit: STEP_LIMIT })
    }

    /// Sets how long one write or one module may take.
    pub fn set_limit(&mut self, limit: Duration) {
        self.limit = limit;
    }

    /// Begins what has to come to its end: takes the lock that keeps two claims apart, and from then on nobody interrupts
    /// this process or what it starts. A terminal goes with the display that it is on, a session with its network card,
    /// and would leave a device between two drivers, or its ROM switched on. Every step has its own end.
    pub fn begin(&self, path: &str, wait: Duration) -> Option<Lock> {
        let lock = self.lock(path, wait);
        let signals: SigSet = [Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM].into_iter().collect();
        let _ = signals.thread_block();
        lock
    }

    /// Takes a lock, waiting for at most `wait`. `None` when another holds it all that time or when there is no place for
    /// it: a boot must not fail for that.
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
        // A path alone opens no terminal, and openat2(2) refuses the two flags together.
        let no_terminal = if flags.contains(OFlag::O_PATH) { OFlag::empty() } else { OFlag::O_NOCTTY };
        let flags = flags | OFlag::O_CLOEXEC | no_terminal;
        match &self.inside {
            None => nix::fcntl::open(path, flags, Mode::empty()),
            Some(root) => {
                let resolve = ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS;
                // A rename or a mount anywhere on the machine spoils a look through `..`, and says so.
                let again = |result: &nix::Result<OwnedFd>| !matches!(result, Err(Errno::EAGAIN));
                let mut looks = std::iter::repeat_with(|| {
                    nix::fcntl::openat2(root, path, OpenHow::new().flags(flags).resolve(resolve))
                });
                looks.by_ref().take(100).find(again).unwrap_or(Err(Errno::EAGAIN))
            }
        }
    }

    /// Opens a directory and makes it, and those above it, where they are missing.
    fn make_directory(&self, path: &str) -> nix::Result<OwnedFd> {
        let open = || self.open_at(if path.is_empty() { "/" } else { path }, OFlag::O_RDONLY | OFlag::O_DIRECTORY);
        match (open(), path.rsplit_once('/')) {
            (Err(Errno::ENOENT), Some((above, name))) => {
                let above = self.make_directory(above)?;
                let mode = Mode::from_bits_truncate(0o755);
                match nix::sys::stat::mkdirat(&above, name, mode) {
                    // The mode is cut by the umask; readers without root have to get to the report.
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
        // An attribute that hangs is its child's affair; what is written in the program itself (/dev/kmsg) must not.
        let wait = if path.starts_with(SYS) { OFlag::empty() } else { OFlag::O_NONBLOCK };
        let file = self.open_at(path, OFlag::O_WRONLY | wait)?;
        let count = nix::unistd::write(&file, value.as_bytes())?;
        if count == value.len() { Ok(()) } else { Err(Errno::EIO) }
    }

    fn write_within(&self, path: &str, value: &str, limit: Duration) -> Result<()> {
        log::debug!("write {path}: {}", value.trim_end());
        let now = || self.write_now(path, value).map_err(io::Error::from);
        // Only a write to /sys runs driver code that may hang.
        let result = match path.starts_with(SYS).then(|| child::write(&self.root, path, value, limit)) {
            // No /proc: better a write without a time limit than none.
            Some(Err(error)) if error.kind() == io::ErrorKind::NotFound && !Path::new(child::ITSELF).exists() => now(),
            Some(result) => result,
            None => now(),
        };
        result.map_err(|error| Error::new(Operation::Write, path, error))
    }

    fn save_at(&self, path: &str, content: &[u8]) -> io::Result<()> {
        let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
        let directory = self.make_directory(directory)?;
        // The creation mode is cut by the umask; readers without root are promised 0644.
        let readable = |file: &File| Ok(nix::sys::stat::fchmod(file, Mode::from_bits_truncate(0o644))?);
        replace(&directory, name, content, readable, true)
    }

    /// Puts a user's file in place: see [`Machine::create`].
    fn create_at(&self, path: &str, content: &[u8], force: bool, input: Option<&str>) -> io::Result<()> {
        let (directory, name) = path.rsplit_once('/').unwrap_or((".", path));
        let directory = self.open_at(if directory.is_empty() { "/" } else { directory }, OFlag::O_PATH)?;
        let known = input.and_then(|input| nix::sys::stat::fstat(self.open_at(input, OFlag::O_PATH).ok()?).ok());
        match nix::sys::stat::fstatat(&directory, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(there) if known.is_some_and(|known| (known.st_dev, known.st_ino) == (there.st_dev, there.st_ino)) => {
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, "it is the input, which is never written"));
            }
            Ok(there) if SFlag::from_bits_truncate(there.st_mode) & SFlag::S_IFMT != SFlag::S_IFREG => {
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, "it is no plain file"));
            }
            Ok(_) if !force => return Err(Errno::EEXIST.into()),
            Ok(_) | Err(Errno::ENOENT) => {}
            Err(errno) => return Err(errno.into()),
        }
        replace(&directory, name, content, |_| Ok(()), force)
    }

    /// Writes what a file holds to a stream, page by page.
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

    fn read_head(&self, path: &str, most: usize) -> io::Result<Vec<u8>> {
        // Without O_NONBLOCK, a FIFO that somebody put in a configuration's place would stop the boot.
        let mut file = File::from(self.open_at(path, OFlag::O_RDONLY | OFlag::O_NONBLOCK)?);
        let kind = file.metadata()?.file_type();
        if kind.is_dir() {
            return Err(Errno::EISDIR.into());
        }
        // /dev/null in a file's place hides the file of that name elsewhere; it is the one device that reads as empty.
        if !kind.is_file() && !std::os::unix::fs::FileTypeExt::is_char_device(&kind) {
            return Err(io::Error::other("not a file"));
        }
        let mut content = Vec::new();
        Read::by_ref(&mut file).take(u64::try_from(most).unwrap_or(u64::MAX)).read_to_end(&mut content)?;
        Ok(content)
    }

    /// Runs the system's modprobe, so that the options and blacklists of modprobe.d apply.
    fn modprobe(&self, module: &str) -> io::Result<(child::Ended, Vec<u8>)> {
        let mut path = SEARCH_PATH.to_owned();
        let mut environment = Vec::new();
        for (name, value) in std::env::vars_os() {
            // initramfs-tools exports options that make modprobe silent and let a blacklist stop it: they are not for us.
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
        for directory in path.split(':') {
            let program = format!("{directory}/modprobe");
            result = child::run(&program, &[module.into()], &environment, self.limit, child::WORDS);
            // What is no program here may be one in the next directory.
            let none =
                |error: &io::Error| matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory);
            if !result.as_ref().is_err_and(none) {
                break;
            }
        }
        result
    }

    fn read_link(&self, path: &str) -> nix::Result<OsString> {
        match &self.inside {
            None => nix::fcntl::readlink(path),
            Some(_) => {
                let link = self.open_at(path, OFlag::O_PATH | OFlag::O_NOFOLLOW)?;
                nix::fcntl::readlinkat(&link, "")
            }
        }
    }
}

/// Writes a file beside its place and moves it there; over another one only when `over` is set.
fn replace(
    directory: &OwnedFd,
    name: &str,
    content: &[u8],
    prepare: impl Fn(&File) -> io::Result<()>,
    over: bool,
) -> io::Result<()> {
    let temporary = format!(".{name}.{}", std::process::id());
    let temporary = temporary.as_str();
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let remove = || nix::unistd::unlinkat(directory, temporary, nix::unistd::UnlinkatFlags::NoRemoveDir);
    // Left by a run that was killed under the same process number: every boot counts from one.
    let _ = remove();
    let mut file = File::from(nix::fcntl::openat(directory, temporary, flags, Mode::from_bits_truncate(0o644))?);
    let written = file.write_all(content).and_then(|()| file.sync_all()).and_then(|()| prepare(&file)).and_then(|()| {
        if !over {
            // A link, unlike a move, never takes the place of another file; some file systems have none.
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
        // As in `read_head`: below --root, anything may stand in an attribute's place.
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

    fn read_prefix(&self, path: &str, most: usize) -> Result<Vec<u8>> {
        log::debug!("read {path}");
        self.read_head(path, most).map_err(|error| Error::new(Operation::Read, path, error))
    }

    fn read_device(&self, path: &str, limit: usize) -> Result<Vec<u8>> {
        log::debug!("take {path}");
        match child::read_device(&self.root, path, limit.saturating_add(1), self.limit) {
            // No /proc: better a look without a time limit than none.
            Err(_) if !Path::new(child::ITSELF).exists() => self.read(path, limit),
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
        self.write_within(path, value, self.limit.min(MOMENT))
    }

    fn locked_attributes(&self, paths: &[String]) -> Vec<Result<Vec<u8>>> {
        if paths.is_empty() {
            return Vec::new();
        }
        match child::read(&self.root, paths, self.limit) {
            Ok(answers) => {
                let late = std::iter::repeat_with(|| Err(child::abandoned(self.limit)));
                let answers = answers.into_iter().chain(late).zip(paths);
                answers.map(|(answer, path)| answer.map_err(|error| Error::new(Operation::Read, path, error))).collect()
            }
            // No /proc: better a look without a time limit than none.
            Err(_) => paths.iter().map(|path| self.attribute(path)).collect(),
        }
    }

    fn load(&self, module: &str) -> Result<()> {
        log::debug!("load {module}");
        if self.inside.is_some() {
            return Err(Error::other(Operation::Load, module, "no program is started for a machine below --root"));
        }
        match self.modprobe(module) {
            Ok((child::Ended::With(0), _)) => Ok(()),
            Ok((child::Ended::NotInTime, _)) => Err(Error::new(Operation::Load, module, child::abandoned(self.limit))),
            Ok((ended, said)) => {
                let said = String::from_utf8_lossy(&said);
                let why = match (said.lines().next_back().unwrap_or_default().trim(), ended) {
                    ("", child::Ended::With(status)) => format!("modprobe ended with status {status}"),
                    ("", _) => "modprobe was killed".to_owned(),
                    (last, _) => last.to_owned(),
                };
                Err(Error::other(Operation::Load, module, why))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(Error::other(Operation::Load, module, "there is no modprobe here (the image needs kmod)"))
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
