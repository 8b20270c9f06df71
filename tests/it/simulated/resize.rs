// SPDX-License-Identifier: MIT OR Apache-2.0
//! BARs that change their size (drivers/pci/pci-sysfs.c, `__resource_resize_store`; drivers/pci/setup-res.c,
//! `pci_resize_resource`; in 7.2 drivers/pci/rebar.c).

use nix::errno::Errno;

use super::device::name;
use super::kernel::{State, Stop};
use super::links::put_line;
use super::version::Version;

/// `ENOTSUPP`, which is no `EOPNOTSUPP` and has no words (include/linux/errno.h).
const ENOTSUPP: i32 = 524;

/// The BAR that writing to this attribute resizes.
pub(super) fn resized(name: &str) -> Option<usize> {
    name.strip_prefix("resource")?.strip_suffix("_resize")?.parse().ok()
}

impl State {
    /// The number of a bit in the mask of sizes, for a device without a driver.
    pub(super) fn resize(&mut self, directory: &str, attribute: &str, value: &str) -> Result<(), Stop> {
        let exponent: u32 = value.parse().map_err(|_| Errno::EINVAL)?;
        let device = name(directory);
        let old = self.version == Version::V6_1;
        if self.driver_of("pci", device).is_some() || (!old && self.virtual_functions(device) > 0) {
            return Err(Errno::EBUSY.into());
        }
        // Before anybody knows whether it will work.
        if self.attribute_of(device, "class").is_some_and(|class| class.starts_with("0x0300")) {
            self.evict(device);
        }
        if self.preserves_config {
            return Err(Stop::Number(ENOTSUPP));
        }
        let mask = String::from_utf8_lossy(self.tree.file(&format!("{directory}/{attribute}"))?).into_owned();
        let mask = u64::from_str_radix(mask.trim_end(), 16).unwrap();
        if mask.checked_shr(exponent).unwrap_or(0) & 1 == 0 {
            let none = mask == 0 && self.version < Version::V7_2;
            return Err(if none { Stop::Number(ENOTSUPP) } else { Errno::EINVAL.into() });
        }
        let most = self.windows.get(device).copied();
        // On a root bus 6.1 leaves it to somebody else to find a place, and nobody is told when there is none.
        let nowhere = most == Some(0);
        if most.is_some_and(|most| most > 0 && exponent > most) || (nowhere && !old) {
            return Err(Errno::ENOSPC.into());
        }
        let path = format!("{directory}/resource");
        let text = String::from_utf8_lossy(self.tree.file(&path)?).into_owned();
        let mut lines: Vec<String> = text.lines().map(ToOwned::to_owned).collect();
        let line = &mut lines[resized(attribute).unwrap()];
        let flags = line.rsplit(' ').next().unwrap().to_owned();
        let first = 1_u64 << 50;
        let last = first + (1 << (20 + exponent)) - 1;
        let (first, last) = if nowhere { (0, 0) } else { (first, last) };
        *line = format!("{first:#018x} {last:#018x} {flags}");
        put_line(&mut self.tree, &path, &lines.join("\n"));
        Ok(())
    }
}
