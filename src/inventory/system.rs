// SPDX-License-Identifier: MIT OR Apache-2.0
//! Facts about the system apart from PCI: uptime, root file system, firmware framebuffers.

use crate::machine::{self, Machine};
use crate::pci::Address;

use super::PCI;
use super::in_use::Mount;

/// The platform devices.
const DEVICES: &str = "/sys/bus/platform/devices";

/// A framebuffer that the firmware set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirmwareFramebuffer {
    /// The platform device, for example `simple-framebuffer.0`.
    pub device: String,
    /// The platform driver that it is bound to, for example `simple-framebuffer`.
    pub driver: Option<String>,
    /// The PCI function in whose memory it is: the device lies below it from Linux 6.9 on (drivers/firmware/sysfb.c,
    /// `sysfb_parent_dev`), and /proc/iomem shows its driver there before that.
    pub parent: Option<Address>,
}

impl FirmwareFramebuffer {
    /// The framebuffers among the platform devices, and those below displays that no bus lists. Whatever driver they have,
    /// their devices are named alike, `efi-framebuffer.0` or `of-display.0` (drivers/firmware/sysfb.c, sysfb_simplefb.c,
    /// drivers/firmware/google, drivers/of/platform.c); one below a display is known by what it provides, too.
    pub(super) fn read(machine: &dyn Machine, displays: &[Address]) -> Vec<Self> {
        let mut found: Vec<Self> = Vec::new();
        for device in machine.list(DEVICES).unwrap_or_default().into_iter().filter(|name| is_framebuffer(name)) {
            let driver = machine::link_name(machine, &format!("{DEVICES}/{device}/driver")).ok();
            let place = machine.link(&format!("{DEVICES}/{device}")).unwrap_or_default();
            let parent = place.rsplit('/').find_map(|part| part.parse().ok());
            found.push(Self { device, driver, parent });
        }
        for address in displays {
            let directory = format!("{PCI}/devices/{address}");
            let children = machine.list(&directory).unwrap_or_default().into_iter();
            // The kernel numbers platform devices: NAME.NUMBER.
            for device in children.filter(|name| name.contains('.')) {
                if found.iter().any(|known| known.device == device) {
                    continue;
                }
                let provides = |names: Vec<String>| names.iter().any(|name| name == "graphics" || name == "drm");
                let child = format!("{directory}/{device}");
                if is_framebuffer(&device) || machine.list(&child).is_ok_and(provides) {
                    let driver = machine::link_name(machine, &format!("{child}/driver")).ok();
                    found.push(Self { device, driver, parent: Some(*address) });
                }
            }
        }
        found
    }
}

/// Whether a platform device is a framebuffer of the firmware, by its name.
fn is_framebuffer(device: &str) -> bool {
    device.split_once('.').is_some_and(|(name, _)| name.ends_with("framebuffer") || name.ends_with("-display"))
}

/// The names under which the memory of PCI functions is in use, from /proc/iomem: `efifb`, `vfio-pci`. Where the kernel hides
/// the addresses from everyone but root, it still shows the names and what is inside what.
pub(super) fn memory_users(iomem: &[u8]) -> Vec<(Address, String)> {
    let mut found = Vec::new();
    let mut above: Vec<(usize, Option<Address>)> = Vec::new();
    for line in String::from_utf8_lossy(iomem).lines() {
        let Some((_, name)) = line.split_once(" : ") else { continue };
        let depth = line.chars().take_while(|letter| *letter == ' ').count();
        while above.last().is_some_and(|(other, _)| *other >= depth) {
            above.pop();
        }
        let address = name.parse::<Address>().ok();
        // No driver uses what the firmware reserves.
        if let (Some((_, Some(function))), None, false) = (above.last(), address, name.eq_ignore_ascii_case("reserved"))
        {
            found.push((*function, name.to_owned()));
        }
        above.push((depth, address));
    }
    found
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
    fn framebuffers_are_known_by_their_devices() {
        for name in [
            "simple-framebuffer.0",
            "efi-framebuffer.0",
            "vga-framebuffer.0",
            "coreboot-framebuffer.0",
            "platform-framebuffer.0",
            "of-display.0",
            "efi-display.0",
        ] {
            assert!(is_framebuffer(name), "{name}");
        }
        for name in ["hdmi-lpe-audio", "i2c_designware.0", "display-subsystem", "pcspkr", "framebuffer"] {
            assert!(!is_framebuffer(name), "{name}");
        }
    }

    #[test]
    fn memory_is_used_by_what_is_inside_it() {
        let text = "00000000-00000000 : Reserved\n00000000-00000000 : PCI Bus 0000:00\n  \
                    00000000-00000000 : 0000:00:02.0\n    00000000-00000000 : efifb\n      00000000-00000000 : deeper\n  \
                    00000000-00000000 : 0000:00:03.0\n    00000000-00000000 : Reserved\n  00000000-00000000 : PCI Bus \
                    0000:01\n    00000000-00000000 : 0000:01:00.0\n      00000000-00000000 : vfio-pci\n  \
                    00000000-00000000 : pnp 00:05\nwhat\n";
        let (first, second) = ("0000:00:02.0".parse().unwrap(), "0000:01:00.0".parse().unwrap());
        assert_eq!(memory_users(text.as_bytes()), [(first, "efifb".to_owned()), (second, "vfio-pci".to_owned())]);
        assert_eq!(memory_users(b"\xff : \xff\n : \n"), []);
    }

    #[test]
    fn uptime_is_read_without_floating_point() {
        assert_eq!(milliseconds("123.45 400.00\n"), Some(123_450));
        assert_eq!(milliseconds("0.07 0.00\n"), Some(70));
        assert_eq!(milliseconds("\n"), None);
        assert_eq!(milliseconds("99999999999999999999.00"), None);
    }
}
