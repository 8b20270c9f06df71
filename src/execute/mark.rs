// SPDX-License-Identifier: MIT OR Apache-2.0
//! Writes the mark of a trial ([`crate::trial`]).
//!
//! A new variable is created by one write of its attributes and its data. From then on its file is immutable, so that no
//! `rm -r` destroys a machine (fs/efivarfs/inode.c, `efivarfs_create`), and an open for writing fails with EPERM. Until Linux
//! 6.13, a write that fails leaves an empty, immutable file behind, which is written in the same way.

use nix::errno::Errno;

use crate::machine::{Error, Machine, Operation};
use crate::trial::{MARK, Mark, VARIABLES};

/// Mounts efivarfs if it is not mounted: nothing but systemd does in an initramfs. It stays mounted, and the real root takes
/// it over with /sys. The error is why it could not be mounted.
pub fn mount(machine: &dyn Machine) -> Result<(), Error> {
    // Without UEFI there is no such directory; where it is mounted, it holds at least the variables of the boot manager.
    match machine.list(VARIABLES) {
        Ok(names) if names.is_empty() => {}
        _ => return Ok(()),
    }
    // It may be built into the kernel: the mount tells.
    let loaded = machine.load("efivarfs", &[]);
    machine.mount("efivarfs", VARIABLES).map_err(|error| match loaded {
        Err(missing) if error.source.raw_os_error() == Some(nix::libc::ENODEV) => missing,
        _ => error,
    })
}

/// Writes the mark, and reads it back.
pub fn write(machine: &dyn Machine, mark: &Mark) -> Result<(), Error> {
    let content = mark.bytes();
    match machine.write_variable(MARK, &content) {
        Err(error) if error.source.raw_os_error() == Some(nix::libc::EPERM) => {
            machine.set_immutable(MARK, false)?;
            let written = machine.write_variable(MARK, &content);
            // As the kernel has it after the next boot anyway.
            let _ = machine.set_immutable(MARK, true);
            written?;
        }
        result => result?,
    }
    match machine.read(MARK, content.len()) {
        Ok(found) if found == content => Ok(()),
        Ok(_) => Err(Error::other(Operation::Write, MARK, "it reads as something else afterwards")),
        Err(error) if error.source.raw_os_error() == Some(nix::libc::EFBIG) => {
            Err(Error::os(Operation::Write, MARK, Errno::EIO))
        }
        Err(error) => Err(error),
    }
}
