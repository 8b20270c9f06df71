// SPDX-License-Identifier: MIT OR Apache-2.0
//! Facts about the system apart from PCI: uptime, root file system, firmware framebuffers.

use crate::machine::{self, Machine};
use crate::pci::Address;

use super::in_use::Mount;

/// The platform devices.
const DEVICES: &str = "/sys/bus/platform/devices";

/// A firmware framebuffer that is bound to a driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirmwareFramebuffer {
    /// The platform device, for example `simple-framebuffer.0`.
    pub device: String,
    /// The platform driver, for example `simple-framebuffer`.
    pub driver: String,
    /// The PCI function that it lies below, from Linux 6.9 on (drivers/firmware/sysfb.c, `sysfb_parent_dev`).
    pub parent: Option<Address>,
}

impl FirmwareFramebuffer {
    /// The framebuffers that are bound to a platform driver, identified by the names of their devices:
    /// drivers/firmware/sysfb.c, sysfb_simplefb.c and drivers/firmware/google register `*-framebuffer.N`.
    pub(super) fn read(machine: &dyn Machine) -> Vec<Self> {
        let mut found = Vec::new();
        for device in machine.list(DEVICES).unwrap_or_default() {
            if !device.split_once('.').is_some_and(|(name, _)| name.ends_with("framebuffer")) {
                continue;
            }
            let Ok(driver) = machine::link_name(machine, &format!("{DEVICES}/{device}/driver")) else { continue };
            let place = machine.link(&format!("{DEVICES}/{device}")).unwrap_or_default();
            let parent = place.rsplit('/').find_map(|part| part.parse().ok());
            found.push(Self { device, driver, parent });
        }
        found
    }
}

/// Milliseconds since the kernel started; 0 if unknown.
pub(super) fn uptime_ms(machine: &dyn Machine) -> u64 {
    let content = machine.attribute("/proc/uptime").unwrap_or_default();
    milliseconds(&String::from_utf8_lossy(&content)).unwrap_or(0)
}

/// The first number of `123.45 400.00` in milliseconds. The kernel always prints two decimals.
fn milliseconds(uptime: &str) -> Option<u64> {
    let (seconds, hundredths) = uptime.split_ascii_whitespace().next()?.split_once('.')?;
    seconds.parse::<u64>().ok()?.checked_mul(1000)?.checked_add(hundredths.parse::<u64>().ok()?.checked_mul(10)?)
}

/// Whether the machine is still in the initramfs: the image contains /etc/initrd-release (systemd's initrd interface), or
/// the root file system is `rootfs`, into which the kernel unpacks the image.
pub(super) fn is_initramfs(machine: &dyn Machine, mounts: &[Mount]) -> bool {
    // The last mount on a mount point hides the earlier ones.
    let root = || mounts.iter().rev().find(|mount| mount.mount_point == "/");
    machine.attribute("/etc/initrd-release").is_ok() || root().is_some_and(|mount| mount.fs_type == "rootfs")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uptime_is_read_without_floating_point() {
        assert_eq!(milliseconds("123.45 400.00\n"), Some(123_450));
        assert_eq!(milliseconds("0.07 0.00\n"), Some(70));
        assert_eq!(milliseconds("\n"), None);
        assert_eq!(milliseconds("99999999999999999999.00"), None);
    }
}
