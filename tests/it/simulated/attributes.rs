// SPDX-License-Identifier: MIT OR Apache-2.0
//! What happens when a file is read or written.

use nix::errno::Errno;
use vfio_early::machine::{Node, Operation};
use vfio_early::pci::IdPattern;

use super::kernel::{State, Stop};
use super::links::put_line;

/// Files that only root may read.
const ROOT_ONLY: &[&str] = &["rom", "resource0", "resource1"];

/// Files that nobody may read: opening them for it is refused, root included (`kernfs_fop_open`).
const WRITE_ONLY: &[&str] = &["bind", "unbind", "new_id", "remove_id", "drivers_probe", "remove", "rescan"];

/// The BAR that writing to this attribute resizes.
fn resized(name: &str) -> Option<usize> {
    name.strip_prefix("resource")?.strip_suffix("_resize")?.parse().ok()
}

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
        // `driver_override_show` takes the device's lock.
        if name == "driver_override" && self.is_locked(split(directory).1) {
            return Err(Stop::Hung);
        }
        if sysfs && name == "rom" && !self.roms.iter().any(|device| device == directory) {
            // `pci_read_rom`
            return Err(Errno::EINVAL.into());
        }
        let content = self.tree.file(&real)?.to_vec();
        if name == "config" && sysfs && !self.root {
            return Ok(content.into_iter().take(64).collect());
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
                self.attach(bus, device)
            }
            ["sys", "bus", _, "drivers_autoprobe"] => {
                put_line(&mut self.tree, real, if value.starts_with('0') { "0" } else { "1" });
                Ok(())
            }
            ["sys", "bus", bus, "drivers", driver, "bind"] => self.bind(bus, driver, device),
            ["sys", "bus", bus, "drivers", driver, "unbind"] => self.unbind(bus, driver, device),
            ["sys", "bus", "pci", "drivers", driver, "new_id"] => self.new_id(driver, value),
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

    /// The device whose lock a write takes.
    pub(super) fn device_of(&self, path: &str, value: &str) -> Option<String> {
        let real = self.tree.resolve(path, true).ok()?;
        let (directory, name) = split(&real);
        match name {
            "drivers_probe" | "bind" | "unbind" => Some(value.strip_suffix('\n').unwrap_or(value).to_owned()),
            _ if resized(name).is_some() => Some(split(directory).1.to_owned()),
            "driver_override" | "enable" => Some(split(directory).1.to_owned()),
            "control" => Some(split(split(directory).0).1.to_owned()),
            _ => None,
        }
    }

    /// `driver_set_override`: up to the newline; an empty name clears it.
    fn store_override(&mut self, real: &str, value: &str) -> Result<(), Stop> {
        if value.len() >= 4095 {
            return Err(Errno::EINVAL.into());
        }
        let name = value.split(['\n', '\0']).next().unwrap_or("");
        put_line(&mut self.tree, real, if name.is_empty() { "(null)" } else { name });
        Ok(())
    }

    /// `reset_method_store`: all of the names or none; what a device supports is what its list said at first.
    fn store_reset_method(&mut self, directory: &str, value: &str) -> Result<(), Stop> {
        let path = format!("{directory}/reset_method");
        let now = String::from_utf8_lossy(self.tree.file(&path)?).trim_end().to_owned();
        let supported = self.resets.entry(directory.to_owned()).or_insert(now).clone();
        let has = |name: &str| supported.split(' ').any(|known| known == name);
        if value == "default" {
            put_line(&mut self.tree, &path, &supported);
        } else if value.split(' ').all(|name| name.is_empty() || has(name)) {
            put_line(&mut self.tree, &path, value.trim());
        } else {
            return Err(Errno::EINVAL.into());
        }
        Ok(())
    }

    /// `__resource_resize_store`: the number of a bit in the mask of sizes, for a device without a driver.
    fn resize(&mut self, directory: &str, name: &str, value: &str) -> Result<(), Stop> {
        let exponent: u32 = value.parse().map_err(|_| Errno::EINVAL)?;
        let device = split(directory).1;
        if self.driver_of("pci", device).is_some() {
            return Err(Errno::EBUSY.into());
        }
        let mask = String::from_utf8_lossy(self.tree.file(&format!("{directory}/{name}"))?).into_owned();
        if u64::from_str_radix(mask.trim_end(), 16).unwrap().checked_shr(exponent).unwrap_or(0) & 1 == 0 {
            return Err(Errno::EINVAL.into());
        }
        let most = self.windows.get(device).copied();
        if most.is_some_and(|most| most > 0 && exponent > most) {
            return Err(Errno::ENOSPC.into());
        }
        let path = format!("{directory}/resource");
        let text = String::from_utf8_lossy(self.tree.file(&path)?).into_owned();
        let mut lines: Vec<String> = text.lines().map(ToOwned::to_owned).collect();
        let line = &mut lines[resized(name).unwrap()];
        let flags = line.rsplit(' ').next().unwrap().to_owned();
        let first = 1_u64 << 50;
        let last = first + (1 << (20 + exponent)) - 1;
        let (first, last) = if most == Some(0) { (0, 0) } else { (first, last) };
        *line = format!("{first:#018x} {last:#018x} {flags}");
        put_line(&mut self.tree, &path, &lines.join("\n"));
        Ok(())
    }

    /// `control_store` in drivers/base/power/sysfs.c: `on` wakes the device and keeps it awake.
    fn store_control(&mut self, power: &str, value: &str) -> Result<(), Stop> {
        let (directory, _) = split(power);
        match value {
            "on" => self.wake(split(directory).1, directory),
            "auto" => {}
            _ => return Err(Errno::EINVAL.into()),
        }
        put_line(&mut self.tree, &format!("{power}/control"), value);
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

    /// `new_id_store`: adds to the table, and the driver takes what matches.
    fn new_id(&mut self, driver: &str, value: &str) -> Result<(), Stop> {
        let words: Vec<&str> = value.split_ascii_whitespace().collect();
        let id: IdPattern = words.join(":").parse().map_err(|_| Errno::EINVAL)?;
        let Some(found) = self.drivers.iter_mut().find(|known| known.bus == "pci" && known.name == driver) else {
            return Err(Errno::ENODEV.into());
        };
        found.dynamic.push(id);
        let driver = found.clone();
        self.attach_all(&driver)
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
