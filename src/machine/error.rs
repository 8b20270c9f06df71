// SPDX-License-Identifier: MIT OR Apache-2.0
//! Errors of operations on a machine.

use std::fmt;
use std::io;

/// An operation on a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Reading an attribute or a file.
    Read,
    /// Listing a directory.
    List,
    /// Reading a symbolic link.
    Link,
    /// Writing an attribute.
    Write,
    /// Loading a module.
    Load,
    /// Saving a file.
    Save,
    /// Mounting a file system.
    Mount,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::List => "list",
            Self::Link => "follow",
            Self::Write => "write",
            Self::Load => "load",
            Self::Save => "save",
            Self::Mount => "mount",
        })
    }
}

/// A failed operation. Prints as `cannot write /sys/...: No such device`.
#[derive(Debug)]
pub struct Error {
    /// The operation.
    pub operation: Operation,
    /// The path, or the module's name.
    pub object: String,
    /// Why it failed.
    pub source: io::Error,
}

impl Error {
    /// An operation on `object` that failed with `source`.
    pub fn new(operation: Operation, object: &str, source: io::Error) -> Self {
        Self { operation, object: object.to_owned(), source }
    }

    /// Like [`Error::new`], with an error number of errno(3).
    pub fn os(operation: Operation, object: &str, errno: nix::errno::Errno) -> Self {
        Self::new(operation, object, errno.into())
    }

    /// Like [`Error::new`], with a message instead of a system error.
    pub fn other(operation: Operation, object: &str, message: impl Into<String>) -> Self {
        Self::new(operation, object, io::Error::other(message.into()))
    }

    /// Whether the object does not exist.
    pub fn is_missing(&self) -> bool {
        matches!(self.source.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
    }

    /// Whether permission is missing, or the machine is read-only.
    pub fn is_denied(&self) -> bool {
        matches!(self.source.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)
    }

    /// Whether the operation exceeded its time limit.
    pub fn is_timeout(&self) -> bool {
        self.source.kind() == io::ErrorKind::TimedOut
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { operation, object, source } = self;
        write!(f, "cannot {operation} {object}: ")?;
        match source.raw_os_error() {
            // std would append "(os error 19)" and use the C library's text, which differs between glibc and musl.
            // A number of the kernel's own (include/linux/errno.h), which no C library has a text for.
            Some(524) => f.write_str("Operation is not supported"),
            Some(number) => f.write_str(nix::errno::Errno::from_raw(number).desc()),
            None => write!(f, "{source}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}
