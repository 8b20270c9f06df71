// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which display is the host's: the one that the firmware and the boot showed their picture on.
//!
//! `boot_vga` alone does not tell. It exists for VGA controllers (class 0300) only (drivers/pci/pci-sysfs.c,
//! `pci_dev_attrs_are_visible`), and the kernel's arbiter gives it to one of those whatever the firmware used. The display of
//! many processors has class 0380. On Arm it tells nothing: the arbiter looks for the firmware's framebuffer on x86 only
//! (drivers/pci/vgaarb.c, `vga_is_firmware_default`), and elsewhere takes the first VGA controller that is switched on.

use crate::json::readable_words;
use crate::pci::Address;

use super::{Device, Inventory, Processor};

/// What tells that a display is the host's, the strongest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// The kernel's attribute `boot_display`: of the PCI function in Linux 6.17, of its DRM device since Linux 6.19
    /// (Documentation/ABI/testing/sysfs-class-drm). Only a native driver makes the DRM device.
    BootDisplay,
    /// The framebuffer of the firmware is in its memory.
    Framebuffer,
    /// A built-in panel is connected to it.
    Panel,
    /// The kernel's attribute `boot_vga`.
    BootVga,
    /// No other display of the machine can show anything.
    Only,
}

readable_words!(Evidence {
    BootDisplay: "boot_display",
    Framebuffer: "framebuffer",
    Panel: "panel",
    BootVga: "boot_vga",
    Only: "only-display",
});

impl Evidence {
    /// As part of a sentence: `(NAME is at 0000:01:00.0)`.
    pub fn text(self) -> &'static str {
        match self {
            Self::BootDisplay => "boot_display",
            Self::Framebuffer => "the framebuffer of the firmware",
            Self::Panel => "the built-in panel",
            Self::BootVga => "boot_vga",
            Self::Only => "no other display",
        }
    }
}

/// The host's display.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostDisplay {
    /// Where it is.
    pub address: Address,
    /// What decided.
    pub by: Evidence,
    /// What names another one, which did not decide.
    pub against: Vec<(Evidence, Address)>,
}

impl HostDisplay {
    /// What decided and what disagrees: `by boot_display, although boot_vga is at 0000:64:00.0`.
    pub fn reason(&self) -> String {
        let mut text = ["by ", self.by.text()].concat();
        let mut word = ", although ";
        for (evidence, address) in &self.against {
            text.push_str(&[word, evidence.text(), " is at ", &address.to_string()].concat());
            word = " and ";
        }
        text
    }
}

impl Inventory {
    /// The host's display; `None` where nothing tells.
    pub fn host_display(&self) -> Option<HostDisplay> {
        let displays =
            || self.devices.iter().filter(|device| device.identity.class.is_display() && !device.is_virtual());
        let detail = |device: &Device, says: &dyn Fn(&super::Detail) -> bool| device.detail.as_ref().is_some_and(says);
        let mut kinds = vec![Evidence::BootDisplay, Evidence::Framebuffer, Evidence::Panel];
        if self.iommu.processor != Processor::Arm {
            kinds.push(Evidence::BootVga);
        }
        let mut found: Option<HostDisplay> = None;
        for by in kinds {
            let says = |device: &&Device| match by {
                Evidence::BootDisplay | Evidence::Panel => detail(device, &|detail| detail.shown_by == Some(by)),
                Evidence::Framebuffer => {
                    self.framebuffers.iter().any(|framebuffer| framebuffer.parent == Some(device.address))
                }
                _ => detail(device, &|detail| detail.boot_vga == Some(true)),
            };
            for device in displays().filter(says) {
                match &mut found {
                    None => found = Some(HostDisplay { address: device.address, by, against: Vec::new() }),
                    // Two panels: both are the host's, and the first is as good as the other.
                    Some(host) if host.address == device.address || host.by == by => {}
                    Some(host) => host.against.push((by, device.address)),
                }
            }
        }
        found.or_else(|| {
            let mut shown = displays().filter(|device| device.identity.class.shows_picture());
            let only = shown
                .next()
                .filter(|only| shown.next().is_none() && !detail(only, &|detail| detail.boot_vga == Some(false)))?;
            Some(HostDisplay { address: only.address, by: Evidence::Only, against: Vec::new() })
        })
    }
}
