// SPDX-License-Identifier: MIT OR Apache-2.0
//! What happens when a file is read or written.

use nix::errno::Errno;
use vfio_early::machine::{Node, Operation};

use super::device::name as last;
use super::driver::DynamicId;
use super::kernel::{State, Stop};
use super::links::put_line;
use super::resize::resized;
use super::version::Version;

/// Files that only root may read.
const ROOT_ONLY: &[&str] = &["rom", "resource0", "resource1"];

/// Files that nobody may read: opening them for it is refused, root included (`kernfs_fop_open`).
const WRITE_ONLY: &[&str] = &["bind", "unbind", "new_id", "remove_id", "drivers_probe", "remove", "rescan", "reset"];

/// The device that a path lies in: the first part of the rest after its directory is the attribute.
fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

impl State {
    /// Reads a file.
    pub(super) fn show(&mut self, path: &str) -> Result<Vec<u8>, Stop> {
        let real = self.tree.resolve(path, true)?;
        let (directory, name) = split(&real);
        let sysfs = real.starts_with("/sys/");
        if sysfs && (WRITE_ONLY.contains(&name) || (!self.root && ROOT_ONLY.contains(&name))) {
            return Err(Errno::EACCES.into());
        }
        // `driver_override_show` takes the device's lock in 6.1, and a lock of its own later; `sriov_numvfs_show` always.
        let locks = (name == "driver_override" && self.version == Version::V6_1) || name == "sriov_numvfs";
        if sysfs && locks && self.is_locked(last(directory)) {
            return Err(Stop::Hung);
        }
        if sysfs && name == "rom" && !self.roms.iter().any(|device| device == directory) {
            // `pci_read_rom`
            return Err(Errno::EINVAL.into());
        }
        let content = self.tree.file(&real)?.to_vec();
        if name == "config" && sysfs {
            // `pci_read_config`: what nobody answers reads as ones, and that is no error.
            let dead = self.dead.iter().any(|dead| dead == last(directory));
            let most = if self.root { content.len() } else { 64 };
            return Ok(content.into_iter().take(most).map(|byte| if dead { 0xff } else { byte }).collect());
        }
        Ok(content)
    }

    /// Writes a file. A writer that has to wait for a lock is given up, and writes all the same when it gets the lock.
    pub(super) fn store(&mut self, path: &str, value: &str) -> Result<(), Stop> {
        let real = self.tree.resolve(path, true)?;
        match self.tree.get(&real)? {
            Node::Directory => return Err(Errno::EISDIR.into()),
            Node::Broken(errno) => return Err((*errno).into()),
            Node::File(_) | Node::Link(_) => {}
        }
        if !self.root {
            return Err(Errno::EACCES.into());
        }
        if let Some(device) = self.device_of(&real, value) {
            if self.is_locked(&device) {
                self.queue(Operation::Write, path, value);
                return Err(Stop::Hung);
            }
        }
        if value.is_empty() && real.starts_with("/sys/") {
            // `sysfs_kf_write` does not even call the attribute.
            return Ok(());
        }
        self.store_now(&real, value)
    }

    fn store_now(&mut self, real: &str, value: &str) -> Result<(), Stop> {
        // A device's name may end in one newline (`sysfs_streq`).
        let device = value.strip_suffix('\n').unwrap_or(value);
        let (directory, name) = split(real);
        let parts: Vec<&str> = real.split('/').skip(1).collect();
        match parts.as_slice() {
            ["sys", "bus", bus, "drivers_probe"] => {
                self.directory(bus, device)?;
                // `drivers_probe_store`: a driver that refuses is no error; what the core itself refuses is this one.
                self.attach(bus, device).map_err(|stop| match stop {
                    Stop::Errno(_) => Errno::EINVAL.into(),
                    other => other,
                })
            }
            ["sys", "bus", _, "drivers_autoprobe"] => {
                put_line(&mut self.tree, real, if value.starts_with('0') { "0" } else { "1" });
                Ok(())
            }
            ["sys", "bus", bus, "drivers", driver, "bind"] => self.bind(bus, driver, device),
            ["sys", "bus", bus, "drivers", driver, "unbind"] => self.unbind(bus, driver, device),
            ["sys", "bus", "pci", "drivers", driver, "new_id"] => self.new_id(driver, value),
            ["sys", "bus", "pci", "drivers", driver, "remove_id"] => self.remove_id(driver, value),
            ["sys", "devices", .., "driver_override"] => self.store_override(real, value),
            ["sys", "devices", .., "power", "control"] => self.store_control(directory, device),
            ["sys", "devices", .., "enable"] => self.enable(directory, device),
            ["sys", "devices", .., name] if resized(name).is_some() => self.resize(directory, name, device),
            ["sys", "devices", .., "rom"] => {
                // `pci_write_rom`: only this, to the letter, switches it off.
                self.roms.retain(|known| known != directory);
                if value != "0\n" {
                    self.roms.push(directory.to_owned());
                }
                Ok(())
            }
            ["sys", "devices", .., "reset_method"] => self.store_reset_method(directory, device),
            ["sys", "devices", .., "reset"] => self.reset(directory, device),
            ["sys", "devices", .., "d3cold_allowed"] => self.store_d3cold(directory, device),
            ["sys", "devices", .., "sriov_numvfs"] => self.store_numvfs(directory, device),
            ["sys", "devices", .., "sriov_drivers_autoprobe"] => self.store_autoprobe(directory, device),
            ["sys", ..] => Err(Errno::EACCES.into()),
            ["dev", "kmsg"] => {
                let mut content = self.tree.file(real)?.to_vec();
                content.extend_from_slice(value.as_bytes());
                content.push(b'\n');
                self.tree.put(real, Node::File(content));
                Ok(())
            }
            _ if name.is_empty() => Err(Errno::EISDIR.into()),
            _ => {
                self.tree.put(real, Node::File(value.as_bytes().to_vec()));
                Ok(())
            }
        }
    }

    /// Whether a write takes no lock for which it could have to wait (`driver_override_store` from 6.12 on,
    /// `sriov_drivers_autoprobe_store`).
    pub(super) fn never_waits(&self, path: &str) -> bool {
        let free = path.ends_with("/driver_override") && self.version > Version::V6_1;
        free || path.ends_with("/sriov_drivers_autoprobe")
    }

    /// The device whose lock a write takes.
    pub(super) fn device_of(&self, path: &str, value: &str) -> Option<String> {
        let real = self.tree.resolve(path, true).ok()?;
        let (directory, name) = split(&real);
        match name {
            "drivers_probe" | "bind" | "unbind" => Some(value.strip_suffix('\n').unwrap_or(value).to_owned()),
            _ if resized(name).is_some() => Some(split(directory).1.to_owned()),
            // `driver_override_store` takes it in 6.1 alone.
            "driver_override" if self.version > Version::V6_1 => None,
            "driver_override" | "enable" | "sriov_numvfs" | "reset" => Some(split(directory).1.to_owned()),
            "control" => Some(split(split(directory).0).1.to_owned()),
            _ => None,
        }
    }

    /// `driver_set_override`: up to the newline; an empty name clears it.
    fn store_override(&mut self, real: &str, value: &str) -> Result<(), Stop> {
        if value.len() >= 4095 {
            return Err(Errno::EINVAL.into());
        }
        if let Some((_, module)) = self.intruder.take_if(|(device, _)| real.contains(&format!("/{device}/"))) {
            self.modprobe(&module, &[])?;
        }
        let name = value.split(['\n', '\0']).next().unwrap_or("");
        put_line(&mut self.tree, real, if name.is_empty() { "(null)" } else { name });
        Ok(())
    }

    /// `control_store` in drivers/base/power/sysfs.c: `on` wakes the device and keeps it awake.
    fn store_control(&mut self, power: &str, value: &str) -> Result<(), Stop> {
        let (directory, _) = split(power);
        let device = last(directory);
        match value {
            "on" => self.wake(device, directory),
            // vfio-pci has let go of it: it sleeps as soon as it may.
            "auto" if self.has_vfio_driver(device) => self.rest(device, directory),
            "auto" => {}
            _ => return Err(Errno::EINVAL.into()),
        }
        put_line(&mut self.tree, &format!("{power}/control"), value);
        Ok(())
    }

    /// `d3cold_allowed_store`: any number; the device is woken (`pm_runtime_resume`), and no lock is taken.
    fn store_d3cold(&mut self, directory: &str, value: &str) -> Result<(), Stop> {
        let number: u64 = value.parse().map_err(|_| Errno::EINVAL)?;
        put_line(&mut self.tree, &format!("{directory}/d3cold_allowed"), if number == 0 { "0" } else { "1" });
        let device = last(directory);
        self.wake(device, directory);
        let sleeps = self.attribute_of(device, "power/control").as_deref() == Some("auto");
        if sleeps && self.has_vfio_driver(device) {
            self.rest(device, directory);
        }
        Ok(())
    }

    /// `enable_store`: only what has no driver is switched on and off.
    fn enable(&mut self, directory: &str, value: &str) -> Result<(), Stop> {
        let path = format!("{directory}/enable");
        let enabled = self.tree.file(&path)?.starts_with(b"1");
        match value {
            _ if self.driver_of("pci", split(directory).1).is_some() => return Err(Errno::EBUSY.into()),
            "0" if !enabled => return Err(Errno::EIO.into()),
            "0" | "1" => put_line(&mut self.tree, &path, value),
            _ => return Err(Errno::EINVAL.into()),
        }
        Ok(())
    }

    /// `new_id_store`: adds to the table what is not in it, and the driver takes what matches at once.
    fn new_id(&mut self, driver: &str, value: &str) -> Result<(), Stop> {
        let words = value.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
        let id = DynamicId::scan(&words, ' ').ok_or(Errno::EINVAL)?;
        let found = self.drivers.iter_mut().find(|known| known.bus == "pci" && known.name == driver);
        let found = found.ok_or(Errno::ENODEV)?;
        if found.dynamic.contains(&id) {
            return Err(Errno::EEXIST.into());
        }
        found.dynamic.push(id);
        let driver = found.clone();
        self.attach_all(&driver)
    }

    /// `remove_id_store`: forgets the first that is meant. What it has brought in stays.
    fn remove_id(&mut self, driver: &str, value: &str) -> Result<(), Stop> {
        let words = value.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
        let id = DynamicId::scan(&words, ' ').ok_or(Errno::EINVAL)?;
        let found = self.drivers.iter_mut().find(|known| known.bus == "pci" && known.name == driver);
        let dynamic = &mut found.ok_or(Errno::ENODEV)?.dynamic;
        let place = dynamic.iter().position(|known| known.is(&id)).ok_or(Errno::ENODEV)?;
        dynamic.remove(place);
        Ok(())
    }

    /// Saves a file: only where a program may, below /run, /etc, /root and /tmp.
    pub(super) fn save(&mut self, path: &str, content: &[u8]) -> Result<(), Stop> {
        if !self.root {
            return Err(Errno::EACCES.into());
        }
        if !["/run/", "/etc/", "/root/", "/tmp/"].iter().any(|place| path.starts_with(place)) {
            return Err(Errno::EROFS.into());
        }
        if matches!(self.tree.get(path), Ok(Node::Directory)) {
            return Err(Errno::EISDIR.into());
        }
        self.tree.put(path, Node::File(content.to_vec()));
        Ok(())
    }
}
