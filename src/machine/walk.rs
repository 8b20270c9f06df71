// SPDX-License-Identifier: MIT OR Apache-2.0
//! Walks a path component by component, so that nobody can lead a privileged run to another file.
//!
//! A link that somebody else planted is not followed, neither in a shared directory nor in one of theirs. Each component is
//! opened relative to the directory that was just examined, so what is examined is what is used.

use std::io;
use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{FileStat, Mode, SFlag, fchmod, fstat, mkdirat};
use nix::unistd::geteuid;

/// The maximum number of links that are followed for one path, as in Linux (MAXSYMLINKS).
const MAX_LINKS: usize = 40;

/// Opens a file or directory without following a link, for its attributes and as a place to start from.
const PLACE: OFlag = OFlag::O_PATH.union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// Opens a directory to change it.
const CHANGE: OFlag = OFlag::O_DIRECTORY.union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// What may be on a path.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    /// A directory for the user's files: links are trusted ones.
    Output,
    /// A directory of the program: links and directories are trusted ones, and missing directories are created.
    Own,
    /// A file that a privileged run obeys: nobody else can write it, or replace any part of its path.
    Obeyed,
}

/// Those whose files are trusted: root, who runs the program, and the owner of the root directory, who could change all.
struct Trusted {
    users: [u32; 3],
    groups: [u32; 2],
}

impl Trusted {
    fn of(root: &FileStat) -> Self {
        Self { users: [0, geteuid().as_raw(), root.st_uid], groups: [0, root.st_gid] }
    }

    /// Why a file is not trusted.
    fn objection(&self, path: &str, stat: &FileStat, rule: Rule) -> Option<String> {
        let kind = SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT;
        let is_link = kind == SFlag::S_IFLNK;
        if !self.users.contains(&stat.st_uid) && (is_link || rule != Rule::Output) {
            let what = if is_link { "is a symbolic link that" } else { "" };
            return Some(format!("{path} {what} belongs to user {}, not to root", stat.st_uid).replace("  ", " "));
        }
        let mode = Mode::from_bits_truncate(stat.st_mode);
        let shared =
            mode.contains(Mode::S_IWOTH) || mode.contains(Mode::S_IWGRP) && !self.groups.contains(&stat.st_gid);
        // In a sticky directory, nobody can replace the files of others. Devices, such as /dev/null, hold nothing.
        let matters = kind == SFlag::S_IFREG || kind == SFlag::S_IFDIR && !mode.contains(Mode::S_ISVTX);
        (rule == Rule::Obeyed && shared && matters).then(|| format!("{path} can be written by others than root"))
    }
}

/// Opens what is at `path` below the directory `root`, which `..` and absolute links do not leave.
pub(super) fn walk(root: OwnedFd, path: &str, rule: Rule) -> io::Result<OwnedFd> {
    go(root, path, rule, false).map(|(place, _)| place)
}

/// The directory and the name of a file that is to be replaced. A trusted link in its place leads on, and any other one is
/// what is replaced.
pub(super) fn place_of(root: OwnedFd, path: &str) -> io::Result<(OwnedFd, String)> {
    go(root, path, Rule::Output, true)
}

/// Walks to the end of a path, or `to_file` to the directory of a file, whose name is returned with it.
fn go(root: OwnedFd, path: &str, rule: Rule, to_file: bool) -> io::Result<(OwnedFd, String)> {
    let trusted = Trusted::of(&fstat(&root)?);
    let mut opened = vec![(root, String::new())];
    let mut todo = components(path);
    let mut links = 0_usize;
    while let Some(name) = todo.pop() {
        if name == ".." {
            opened.truncate(opened.len().saturating_sub(1).max(1));
            continue;
        }
        let Some((here, above)) = opened.last() else { break };
        let path = format!("{above}/{name}");
        let is_file = to_file && todo.is_empty();
        let next = match nix::fcntl::openat(here, name.as_str(), PLACE, Mode::empty()) {
            Err(Errno::ENOENT) if rule == Rule::Own => make_directory(here, &name)?,
            Err(Errno::ENOENT) if is_file => return last(opened, name),
            result => result?,
        };
        let stat = fstat(&next)?;
        let kind = SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT;
        match trusted.objection(&path, &stat, rule) {
            Some(_) if is_file => return last(opened, name),
            Some(why) => return Err(io::Error::new(io::ErrorKind::PermissionDenied, why)),
            None => {}
        }
        if kind == SFlag::S_IFLNK {
            links = links.saturating_add(1);
            if links > MAX_LINKS {
                return Err(Errno::ELOOP.into());
            }
            let target = nix::fcntl::readlinkat(&next, "")?.into_string().map_err(|_| Errno::EILSEQ)?;
            if target.starts_with('/') {
                opened.truncate(1);
            }
            todo.extend(components(&target));
        } else if is_file && kind == SFlag::S_IFREG {
            return last(opened, name);
        } else if is_file {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "not a regular file"));
        } else {
            opened.push((next, path));
        }
    }
    last(opened, String::new())
}

/// The directory that was opened last.
fn last(mut opened: Vec<(OwnedFd, String)>, name: String) -> io::Result<(OwnedFd, String)> {
    opened.pop().map(|(place, _)| (place, name)).ok_or_else(|| Errno::ENOENT.into())
}

/// Makes a directory that all may read, whatever the umask is.
fn make_directory(parent: &OwnedFd, name: &str) -> nix::Result<OwnedFd> {
    let mode = Mode::from_bits_truncate(0o755);
    match mkdirat(parent, name, mode) {
        Ok(()) => fchmod(nix::fcntl::openat(parent, name, CHANGE, Mode::empty())?, mode)?,
        // Another run was faster.
        Err(Errno::EEXIST) => {}
        Err(errno) => return Err(errno),
    }
    nix::fcntl::openat(parent, name, PLACE, Mode::empty())
}

/// Takes the right to write into a directory of the program from everybody else.
pub(super) fn close_to_others(directory: &OwnedFd) -> nix::Result<()> {
    let mode = Mode::from_bits_truncate(fstat(directory)?.st_mode);
    if mode.intersects(Mode::S_IWGRP | Mode::S_IWOTH) {
        let directory = nix::fcntl::openat(directory, ".", CHANGE, Mode::empty())?;
        fchmod(directory, Mode::from_bits_truncate(0o755))?;
    }
    Ok(())
}

/// The components of a path in reverse order.
fn components(path: &str) -> Vec<String> {
    let named = |name: &&str| !name.is_empty() && *name != ".";
    path.split('/').rev().filter(named).map(ToOwned::to_owned).collect()
}
