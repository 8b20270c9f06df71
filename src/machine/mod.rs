// SPDX-License-Identifier: MIT OR Apache-2.0
//! The one door to the machine.
//!
//! Everything that the program learns from a machine, and everything that it does to one, passes through [`Machine`]. There
//! are rooms behind it: the [`Host`] (the running machine, or a directory that looks like one), a [`Recorded`] machine (one
//! text file), and, in the tests, a simulated one. The code in front of the door is the same for all of them.

mod child;
mod error;
mod format;
mod host;
mod recorded;
mod recorder;
mod tree;

use std::time::Duration;

pub use child::{STEP_READ, STEP_READ_DEVICE, STEP_WRITE, step_read, step_read_device, step_write};
pub use error::{Error, Operation};
pub use format::print;
pub use host::{Host, Lock};
pub use recorded::{FormatError, Recorded};
pub use recorder::{Observation, Recorder, tree};
pub use tree::{Node, Tree};

/// What went wrong at the door, or what came through it.
pub type Result<T> = std::result::Result<T, Error>;

/// The operations that a machine offers. Paths are absolute, as on the machine itself (`/sys/bus/pci/devices`).
pub trait Machine {
    /// The content of a small attribute of /sys or /proc: at most one page (4096 bytes), taken with a single read.
    fn attribute(&self, path: &str) -> Result<Vec<u8>>;

    /// The content of a whole file that is expected to have at most `limit` bytes. A longer file, and anything that is
    /// not a file, is an error.
    fn read(&self, path: &str, limit: usize) -> Result<Vec<u8>>;

    /// The first `most` bytes of a file that may be longer.
    fn read_prefix(&self, path: &str, most: usize) -> Result<Vec<u8>>;

    /// The content of a file of at most `limit` bytes that a device makes while it is read, and so may hang.
    fn read_device(&self, path: &str, limit: usize) -> Result<Vec<u8>> {
        self.read(path, limit)
    }

    /// The names in a directory, sorted.
    fn list(&self, path: &str) -> Result<Vec<String>>;

    /// Where a symbolic link points, as it is written there.
    fn link(&self, path: &str) -> Result<String>;

    /// Writes an attribute with a single write. Never creates a file.
    fn write(&self, path: &str, value: &str) -> Result<()>;

    /// Writes as [`Machine::write`] does, but waits for a moment only: for a device on which a write hangs already. The new
    /// write queues behind that one and takes effect when the kernel gets there.
    fn queue_write(&self, path: &str, value: &str) -> Result<()> {
        self.write(path, value)
    }

    /// Reads several small attributes whose readers take a device's lock, and so hang while its driver does.
    fn locked_attributes(&self, paths: &[String]) -> Vec<Result<Vec<u8>>> {
        paths.iter().map(|path| self.attribute(path)).collect()
    }

    /// Lets time pass.
    fn pause(&self, time: Duration) {
        std::thread::sleep(time);
    }

    /// Loads a kernel module with its dependencies and options, as the system's modprobe does.
    fn load(&self, module: &str) -> Result<()>;

    /// Puts a new file in place, whole or not at all, mode 0644; makes the directories above it.
    fn save(&self, path: &str, content: &[u8]) -> Result<()>;

    /// Puts a user's file in place, whole or not at all; makes no directory. A file that is there is replaced only when
    /// `force` is set, and never when it is `input` or anything but a plain file.
    fn create(&self, path: &str, _content: &[u8], _force: bool, _input: Option<&str>) -> Result<()> {
        Err(Error::os(Operation::Save, path, nix::errno::Errno::EROFS))
    }
}

/// The text of a small attribute without its newline; bytes that are not UTF-8 are replaced.
pub fn text(machine: &dyn Machine, path: &str) -> Result<String> {
    let bytes = machine.attribute(path)?;
    Ok(String::from_utf8_lossy(&bytes).trim_end_matches(['\n', '\0']).to_owned())
}

/// The last part of the path that a symbolic link points to: a driver's, a group's, a device's name.
pub fn link_name(machine: &dyn Machine, path: &str) -> Result<String> {
    let target = machine.link(path)?;
    Ok(target.rsplit('/').next().unwrap_or(&target).to_owned())
}
