// SPDX-License-Identifier: MIT OR Apache-2.0
//! Access to a machine's files and modules.
//!
//! All reads from a machine and all changes to it go through the trait [`Machine`]. Its implementations are [`Host`] (the
//! running machine, or a directory with a copy of its files), [`Recorded`] (one text file), [`Recorder`] (records what is
//! read through another one), and a simulated machine in the tests.
//!
//! On the host, what may hang is left to a helper process: writes to /sys, attributes that are read under the device lock,
//! files that a device's driver serves, and what calls the firmware.

mod child;
mod error;
mod format;
mod helper;
mod host;
mod recorded;
mod recorder;
mod tree;
mod walk;

use std::time::Duration;

pub use error::{Error, Operation};
pub use format::print;
pub use helper::{HELPER, helper};
pub use host::{Host, Lock};
pub use recorded::{FormatError, Recorded};
pub use recorder::{Observation, Recorder, tree};
pub use tree::{Node, Tree};

/// The result of an operation on a machine.
pub type Result<T> = std::result::Result<T, Error>;

/// The operations on a machine. Paths are absolute, as on the machine itself (`/sys/bus/pci/devices`).
pub trait Machine {
    /// Reads a small attribute of /sys or /proc with a single read(2) of at most one page (4096 bytes).
    fn attribute(&self, path: &str) -> Result<Vec<u8>>;

    /// Reads a whole file of at most `limit` bytes. Fails for longer files, directories, FIFOs and sockets.
    fn read(&self, path: &str, limit: usize) -> Result<Vec<u8>>;

    /// Reads the first `max` bytes of a file, or all of a shorter one.
    fn read_prefix(&self, path: &str, max: usize) -> Result<Vec<u8>>;

    /// Reads a whole file of at most `limit` bytes that a device's driver serves, such as an option ROM. The driver may
    /// hang, so the read has a time limit.
    fn read_device(&self, path: &str, limit: usize) -> Result<Vec<u8>> {
        self.read(path, limit)
    }

    /// Lists the names in a directory, sorted.
    fn list(&self, path: &str) -> Result<Vec<String>>;

    /// Reads the target of a symbolic link, as readlink(2) does.
    fn link(&self, path: &str) -> Result<String>;

    /// Writes an attribute with a single write(2). Never creates a file. A write that exceeds its time limit is left behind
    /// and fails.
    fn write(&self, path: &str, value: &str) -> Result<()>;

    /// Like [`Machine::write`], but waits only briefly: for a device on which an earlier write hangs. The kernel performs
    /// this write when the earlier one ends.
    fn queue_write(&self, path: &str, value: &str) -> Result<()> {
        self.write(path, value)
    }

    /// Reads several small attributes, with a time limit. For attributes that the kernel reads under the device lock: the
    /// read hangs while the device's driver does.
    fn locked_attributes(&self, paths: &[String]) -> Vec<Result<Vec<u8>>> {
        paths.iter().map(|path| self.attribute(path)).collect()
    }

    /// Sleeps.
    fn pause(&self, time: Duration) {
        std::thread::sleep(time);
    }

    /// Loads a kernel module with its dependencies and options, as the system's modprobe does.
    fn load(&self, module: &str, options: &[&str]) -> Result<()>;

    /// Creates or replaces a file atomically, with mode 0644. Creates missing parent directories.
    fn save(&self, path: &str, content: &[u8]) -> Result<()>;

    /// Creates or replaces a file for other programs atomically, with mode 0644. Creates no directories, and follows no link
    /// that belongs to somebody else.
    fn publish(&self, path: &str, _content: &[u8]) -> Result<()> {
        Err(Error::os(Operation::Save, path, nix::errno::Errno::EROFS))
    }

    /// Why a file must not decide what a privileged run does: somebody else than root can change it or its path. `None` for
    /// trusted files, for missing ones, and without privileges.
    fn untrusted(&self, _path: &str) -> Option<String> {
        None
    }

    /// Creates or replaces an EFI variable with one write(2) of its attributes and its data.
    fn write_variable(&self, path: &str, _content: &[u8]) -> Result<()> {
        Err(Error::os(Operation::Write, path, nix::errno::Errno::EROFS))
    }

    /// Sets or clears the flag that protects the file of an EFI variable from writes.
    fn set_immutable(&self, path: &str, _immutable: bool) -> Result<()> {
        Err(Error::os(Operation::Write, path, nix::errno::Errno::EROFS))
    }

    /// Mounts a file system of the kernel.
    fn mount(&self, _file_system: &str, path: &str) -> Result<()> {
        Err(Error::os(Operation::Mount, path, nix::errno::Errno::EROFS))
    }

    /// Creates a file for the user atomically. Creates no directories. An existing file is replaced only if `force` is set,
    /// and never if it is `input` or not a regular file.
    fn create(&self, path: &str, _content: &[u8], _force: bool, _input: Option<&str>) -> Result<()> {
        Err(Error::os(Operation::Save, path, nix::errno::Errno::EROFS))
    }
}

/// Reads a small attribute as text, without the newline at its end. Invalid UTF-8 is replaced.
pub fn text(machine: &dyn Machine, path: &str) -> Result<String> {
    let bytes = machine.attribute(path)?;
    Ok(String::from_utf8_lossy(&bytes).trim_end_matches(['\n', '\0']).to_owned())
}

/// Reads a symbolic link and returns the last component of its target: the name of a driver, a group or a device.
pub fn link_name(machine: &dyn Machine, path: &str) -> Result<String> {
    let target = machine.link(path)?;
    Ok(target.rsplit('/').next().unwrap_or(&target).to_owned())
}
