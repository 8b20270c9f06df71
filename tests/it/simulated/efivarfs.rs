// SPDX-License-Identifier: MIT OR Apache-2.0
//! UEFI firmware's variables, and the file system that shows them (fs/efivarfs of the three kernels).

use std::collections::BTreeMap;

use nix::errno::Errno;
use vfio_early::machine::Node;
use vfio_early::trial::VARIABLES;

use super::build::Builder;
use super::kernel::{State, Stop};
use super::links::put_line;
use super::modules::Module;
use super::version::Version;

const MOUNTS: &str = "/proc/self/mountinfo";

/// UEFI firmware and what the kernel makes of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Firmware {
    /// What survives a reset: the variables with their attributes, by their files' names.
    pub(crate) variables: BTreeMap<String, Vec<u8>>,
    /// What keeps variables from being written.
    pub(crate) obstacle: Option<Obstacle>,
    /// The file system is mounted.
    pub(crate) mounted: bool,
    /// The files whose flag was cleared.
    pub(crate) mutable: Vec<String>,
}

/// What keeps variables from being written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Obstacle {
    /// The store has no room: the kernel keeps a reserve (arch/x86/platform/efi/quirks.c, `efi_query_variable_store`).
    Full,
    /// The file system is read-only, as where the firmware cannot set variables at run time (`efivarfs_fill_super`).
    ReadOnly,
    /// The kernel makes no calls to the firmware (`efi=noruntime`): `efivar_is_available` says no.
    NoRuntime,
}

impl Builder {
    /// The machine was booted by UEFI, and is in the initramfs of a boot with this ID.
    pub(crate) fn uefi(&mut self, boot: &str) -> &mut Self {
        self.with(|state| {
            let boot_manager = ("Boot0000-8be4df61-93ca-11d2-aa0d-00e098032b8c".to_owned(), vec![7, 0, 0, 0, 1]);
            state.firmware = Some(Firmware { variables: [boot_manager].into(), ..Firmware::default() });
            state.tree.put(VARIABLES, Node::Directory);
            state.modules.push(Module::new("efivarfs", &[], None));
            put_line(&mut state.tree, MOUNTS, "1 1 0:2 / / rw - rootfs rootfs rw");
            put_line(
                &mut state.tree,
                "/proc/sys/kernel/random/boot_id",
                &format!("{boot}-0d5a-4b4e-9b0a-0f6f1c1a2b3c"),
            );
        })
    }
}

impl State {
    /// The firmware, and the name of a file of its variables.
    fn variable(&mut self, path: &str) -> Result<(&mut Firmware, String), Errno> {
        let name = path.strip_prefix(VARIABLES).and_then(|rest| rest.strip_prefix('/')).ok_or(Errno::EINVAL)?;
        let firmware = self.firmware.as_mut().ok_or(Errno::ENOENT)?;
        // The directory of sysfs, in which nobody creates a file.
        if firmware.mounted { Ok((firmware, name.to_owned())) } else { Err(Errno::EACCES) }
    }

    /// An open with O_CREAT, and one write. The file of an attempt that failed stays, empty and immutable
    /// (`efivarfs_create`), until Linux 6.13; later ones remove it (`efivarfs_file_release`).
    pub(super) fn write_variable(&mut self, path: &str, content: &[u8]) -> Result<(), Stop> {
        let (root, version) = (self.root, self.version);
        let exists = self.tree.get(path).is_ok();
        let (firmware, name) = self.variable(path)?;
        // `sb_permission` comes before the flag, and that before the mode (`inode_permission`).
        if firmware.obstacle == Some(Obstacle::ReadOnly) {
            return Err(Errno::EROFS.into());
        }
        if exists && !firmware.mutable.contains(&name) {
            return Err(Errno::EPERM.into());
        }
        if !root {
            return Err(Errno::EACCES.into());
        }
        let full = firmware.obstacle == Some(Obstacle::Full);
        if content.len() > 4 && !full {
            firmware.variables.insert(name, content.to_vec());
            self.tree.put(path, Node::File(content.to_vec()));
            return Ok(());
        }
        if !exists && version < Version::V7_2 {
            self.tree.put(path, Node::File(Vec::new()));
        }
        Err(if full { Errno::ENOSPC } else { Errno::EINVAL }.into())
    }

    /// FS_IOC_SETFLAGS (`ioctl_setflags`, `efivarfs_fileattr_set`).
    pub(super) fn set_immutable(&mut self, path: &str, immutable: bool) -> Result<(), Stop> {
        self.tree.file(path)?;
        let root = self.root;
        let (firmware, name) = self.variable(path)?;
        if firmware.obstacle == Some(Obstacle::ReadOnly) {
            return Err(Errno::EROFS.into());
        }
        if !root {
            return Err(Errno::EACCES.into());
        }
        firmware.mutable.retain(|known| *known != name);
        if !immutable {
            firmware.mutable.push(name);
        }
        Ok(())
    }

    /// mount(2).
    pub(super) fn mount(&mut self, file_system: &str, path: &str) -> Result<(), Stop> {
        let there =
            self.modules.iter().any(|module| module.name == "efivarfs" && (module.loaded || module.is_built_in()));
        if !self.root {
            return Err(Errno::EPERM.into());
        }
        if file_system != "efivarfs" || !there {
            return Err(Errno::ENODEV.into());
        }
        let firmware = self.firmware.as_mut().filter(|_| path == VARIABLES).ok_or(Errno::ENOENT)?;
        if firmware.obstacle == Some(Obstacle::NoRuntime) {
            return Err(Errno::EOPNOTSUPP.into());
        }
        if std::mem::replace(&mut firmware.mounted, true) {
            return Err(Errno::EBUSY.into());
        }
        for (name, content) in &firmware.variables {
            self.tree.put(&format!("{path}/{name}"), Node::File(content.clone()));
        }
        let mode = if firmware.obstacle == Some(Obstacle::ReadOnly) { "ro" } else { "rw" };
        let mut mounts = String::from_utf8_lossy(self.tree.file(MOUNTS).unwrap_or_default()).into_owned();
        mounts.push_str(&format!("2 1 0:30 / {path} rw,nosuid,nodev,noexec - efivarfs efivarfs {mode}"));
        put_line(&mut self.tree, MOUNTS, &mounts);
        Ok(())
    }
}
