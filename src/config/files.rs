// SPDX-License-Identifier: MIT OR Apache-2.0
//! The configuration files and their order.

use nix::errno::Errno;

use super::{Origin, Reader};
use crate::machine::{Error, Machine};

/// The distribution's configuration files.
const VENDOR: &str = "/usr/lib/vfio-early.d";
/// The administrator's configuration file.
const MAIN: &str = "/etc/vfio-early.conf";
/// The administrator's drop-in files. They replace the distribution's files of the same name.
pub(crate) const LOCAL: &str = "/etc/vfio-early.d";

/// The maximum size of a file in bytes.
pub(super) const MAX_FILE: usize = 1 << 20;

/// Parses all configuration files; returns the paths of those that were read.
pub(super) fn read(machine: &dyn Machine, reader: &mut Reader) -> Vec<String> {
    let mut read = Vec::new();
    let mut vendor = directory(machine, VENDOR, reader);
    let local = directory(machine, LOCAL, reader);
    vendor.retain(|name| !local.contains(name));
    for name in vendor {
        file(machine, format!("{VENDOR}/{name}"), true, reader, &mut read);
    }
    file(machine, MAIN.to_owned(), false, reader, &mut read);
    for name in local {
        file(machine, format!("{LOCAL}/{name}"), true, reader, &mut read);
    }
    read
}

/// Parses one file.
fn file(machine: &dyn Machine, path: String, listed: bool, reader: &mut Reader, read: &mut Vec<String>) {
    if let Some(why) = machine.untrusted(&path) {
        return reader.problems.add(&Origin::file(&path), refused(&why));
    }
    match content(machine, &path, listed) {
        Ok(Some(bytes)) => {
            reader.file(&path, &bytes);
            read.push(path);
        }
        Ok(None) => {}
        Err(message) => reader.problems.add(&Origin::file(&path), message),
    }
}

/// What root does must not depend on what others can write.
fn refused(why: &str) -> String {
    format!("is not read as root: {why}; give it to root and take the right to write it from others")
}

/// The names of the configuration files in a directory; an unreadable directory is a problem.
fn directory(machine: &dyn Machine, path: &str, reader: &mut Reader) -> Vec<String> {
    if let Some(why) = machine.untrusted(path) {
        reader.problems.add(&Origin::file(path), refused(&why));
        return Vec::new();
    }
    names(machine, path).unwrap_or_else(|message| {
        reader.problems.add(&Origin::file(path), message);
        Vec::new()
    })
}

/// The names in a directory that end in `.conf`, sorted; empty if the directory does not exist. Hidden files are ignored:
/// editors create them.
pub(super) fn names(machine: &dyn Machine, directory: &str) -> Result<Vec<String>, String> {
    match machine.list(directory) {
        Ok(mut names) => {
            names.retain(|name| !name.starts_with('.') && name.rsplit_once('.').is_some_and(|(_, end)| end == "conf"));
            Ok(names)
        }
        Err(error) if is_not_found(&error) => Ok(Vec::new()),
        Err(error) => Err(message(&error)),
    }
}

/// The content of a file; `None` if it does not exist or is a link to /dev/null, which masks a file of the same name. A
/// dangling link is an error, and so is a file that does not exist although it was `listed` in its directory.
pub(super) fn content(machine: &dyn Machine, path: &str, listed: bool) -> Result<Option<Vec<u8>>, String> {
    match machine.read(path, MAX_FILE) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if is_not_found(&error) => match machine.link(path) {
            Ok(target) if target == "/dev/null" => Ok(None),
            Err(_) if !listed => Ok(None),
            _ => Err(message(&error)),
        },
        Err(error) => Err(message(&error)),
    }
}

fn is_not_found(error: &Error) -> bool {
    error.source.kind() == std::io::ErrorKind::NotFound
}

/// Describes an error without the path, which is part of the origin.
fn message(error: &Error) -> String {
    match error.source.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EISDIR) => "is a directory, not a file".to_owned(),
        Some(Errno::ENOTDIR) => "is not a directory".to_owned(),
        Some(Errno::EFBIG) => "is too large (maximum 1 MiB)".to_owned(),
        Some(errno) => format!("cannot be read: {}", errno.desc()),
        None => format!("cannot be read: {}", error.source),
    }
}
