// SPDX-License-Identifier: MIT OR Apache-2.0
//! The firmware's framebuffer, and who takes it away.

use super::driver::Driver;
use super::kernel::State;
use super::links::{put_line, put_link};
use super::version::Version;

/// The firmware's framebuffer: a device of the platform bus (drivers/firmware/sysfb.c, `sysfb_init`).
#[derive(Clone, Debug)]
pub(crate) struct Framebuffer {
    /// `simple-framebuffer.0`, `efi-framebuffer.0`, ...
    pub(super) device: String,
    /// The PCI function in whose BAR it lies, where it lies in one.
    pub(super) lies_in: Option<String>,
}

impl State {
    /// Adds the framebuffer and its driver. From 6.12 on it is a child of the PCI function in whose BAR it lies
    /// (`sysfb_parent_dev`), of any display class; before, of nobody.
    pub(super) fn add_framebuffer(&mut self, kind: &str, lies_in: Option<&str>) {
        let device = format!("{kind}.0");
        let above = match lies_in {
            Some(address) if self.version > Version::V6_1 => self.directory("pci", address).unwrap(),
            _ => "/sys/devices/platform".to_owned(),
        };
        let directory = format!("{above}/{device}");
        let tree = &mut self.tree;
        put_line(tree, &format!("{directory}/modalias"), &format!("platform:{kind}"));
        put_line(tree, &format!("{directory}/driver_override"), "(null)");
        put_link(tree, &format!("{directory}/subsystem"), "/sys/bus/platform");
        put_link(tree, &format!("/sys/bus/platform/devices/{device}"), &directory);
        self.framebuffers.push(Framebuffer { device, lies_in: lies_in.map(ToOwned::to_owned) });
        // Its driver has the same name whoever provides it (simpledrm or simplefb, efifb or efidrm), but for VGA.
        let driver = if matches!(kind, "vga-framebuffer" | "ega-framebuffer") { "vga16fb" } else { kind };
        if !self.drivers.iter().any(|known| known.bus == "platform" && known.name == driver) {
            self.register(Driver::platform(driver)).unwrap();
        }
    }

    /// What the driver of a framebuffer makes of it: a console.
    pub(super) fn draw(&mut self, device: &str, directory: &str) {
        if !self.framebuffers.iter().any(|known| known.device == device) {
            return;
        }
        let name = match device {
            "simple-framebuffer.0" => "simpledrmdrmfb",
            "efi-framebuffer.0" => "EFI VGA",
            _ => "VESA VGA",
        };
        put_line(&mut self.tree, &format!("{directory}/graphics/fb0/name"), name);
        put_link(&mut self.tree, "/sys/class/graphics/fb0", &format!("{directory}/graphics/fb0"));
    }

    /// Takes away every framebuffer that is in the way of a PCI device of class 0300
    /// (drivers/video/aperture.c, `aperture_remove_conflicting_pci_devices`). The platform device is unregistered: nobody
    /// can bind it again before the next boot.
    pub(super) fn evict(&mut self, device: &str) {
        let primary = self.attribute_of(device, "boot_vga").as_deref() == Some("1");
        let version = self.version;
        // `sysfb_disable`: 6.1 for the display whose ROM was shadowed; later for the framebuffer's parent, or for any VGA
        // device where it has none. Then whatever a driver has registered inside the device's BARs.
        let sysfb = |framebuffer: &Framebuffer| match version {
            Version::V6_1 => primary,
            Version::V6_12 | Version::V7_2 => framebuffer.lies_in.as_deref().is_none_or(|parent| parent == device),
        };
        let goes = |framebuffer: &Framebuffer| {
            let bound = self.driver_of("platform", &framebuffer.device).is_some();
            sysfb(framebuffer) || (bound && framebuffer.lies_in.as_deref() == Some(device))
        };
        let gone: Vec<String> =
            self.framebuffers.iter().filter(|one| goes(one)).map(|one| one.device.clone()).collect();
        for name in gone {
            self.unregister_framebuffer(&name);
        }
    }

    fn unregister_framebuffer(&mut self, name: &str) {
        let Ok(directory) = self.directory("platform", name) else { return };
        if let Some(driver) = self.driver_of("platform", name) {
            self.tree.remove(&format!("/sys/bus/platform/drivers/{driver}/{name}"));
        }
        self.remove_children(&directory);
        self.tree.remove(&format!("/sys/bus/platform/devices/{name}"));
        self.tree.remove(&directory);
        self.framebuffers.retain(|known| known.device != name);
    }
}
