// SPDX-License-Identifier: MIT OR Apache-2.0
//! Class codes.

use std::fmt;

/// The 24-bit class code: base class, subclass, programming interface (PCI Code and ID Assignment Specification).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Class(pub u32);

impl Class {
    /// The base class, for example 03 for a display controller.
    pub fn base(self) -> u8 {
        self.0.to_be_bytes().get(1).copied().unwrap_or(0)
    }

    /// Base class and subclass together, for example 0300 for a VGA controller.
    pub fn with_subclass(self) -> u16 {
        u16::try_from((self.0 >> 8) & 0xffff).unwrap_or(0)
    }

    /// A display controller of any kind (03xx).
    pub fn is_display(self) -> bool {
        self.base() == 0x03
    }

    /// A display controller that can have a monitor: any but a 3D controller (0302).
    pub fn shows_picture(self) -> bool {
        self.is_display() && self.with_subclass() != 0x0302
    }

    /// A device that computes and shows nothing: a 3D controller (0302), a processing accelerator (12xx), a co-processor (0b40).
    pub fn is_accelerator(self) -> bool {
        matches!(self.with_subclass(), 0x0302 | 0x0b40) || self.base() == 0x12
    }

    /// A mass storage controller of any kind (01xx).
    pub fn is_storage(self) -> bool {
        self.base() == 0x01
    }

    /// A bridge to another PCI bus: PCI-to-PCI (0604), CardBus (0607), semi-transparent (0609).
    pub fn is_pci_bridge(self) -> bool {
        matches!(self.with_subclass(), 0x0604 | 0x0607 | 0x0609)
    }

    /// A bridge that the host needs and that cannot be passed to a guest: every bridge (06xx) except "other" (0680), the
    /// class of NVSwitch and similar devices.
    pub fn is_bridge(self) -> bool {
        self.base() == 0x06 && self.with_subclass() != 0x0680
    }

    /// A short name, similar to that of `lspci`; `device` for unknown classes.
    pub fn name(self) -> &'static str {
        const NAMES: &[(u16, &str)] = &[
            (0x0100, "SCSI controller"),
            (0x0101, "IDE controller"),
            (0x0104, "RAID controller"),
            (0x0106, "SATA controller"),
            (0x0107, "SAS controller"),
            (0x0108, "NVMe controller"),
            (0x0105, "ATA controller"),
            (0x0200, "Ethernet controller"),
            (0x0207, "InfiniBand controller"),
            (0x0280, "network controller"),
            (0x0300, "VGA controller"),
            (0x0302, "3D controller"),
            (0x0380, "display controller"),
            (0x0401, "audio device"),
            (0x0403, "audio device"),
            (0x0600, "host bridge"),
            (0x0601, "ISA bridge"),
            (0x0604, "PCI bridge"),
            (0x0607, "CardBus bridge"),
            (0x0609, "PCI bridge"),
            (0x0700, "serial port"),
            (0x0805, "SD host controller"),
            (0x0806, "IOMMU"),
            (0x0b40, "co-processor"),
            (0x0c00, "FireWire controller"),
            (0x0c04, "Fibre Channel controller"),
            (0x0c03, "USB controller"),
            (0x0c05, "SMBus"),
            (0x0c06, "InfiniBand controller"),
            (0x0c07, "IPMI interface"),
            (0x0d11, "Bluetooth controller"),
            (0x0c80, "serial bus controller"),
        ];
        const BASES: &[&str] = &[
            "device",
            "storage controller",
            "network controller",
            "display controller",
            "multimedia device",
            "memory controller",
            "bridge",
            "communication controller",
            "system peripheral",
            "input device",
            "docking station",
            "processor",
            "serial bus controller",
            "wireless controller",
            "intelligent controller",
            "satellite controller",
            "encryption controller",
            "signal processing controller",
            "accelerator",
            "instrumentation device",
        ];
        let exact = NAMES.iter().find(|(class, _)| *class == self.with_subclass()).map(|(_, name)| *name);
        exact.or_else(|| BASES.get(usize::from(self.base())).copied()).unwrap_or("device")
    }
}

impl Class {
    /// The name with an indefinite article: `a SATA controller`, `an Ethernet controller`.
    pub fn with_article(self) -> String {
        let name = self.name();
        // The first letter of NVMe, SMBus and SAS is pronounced as a letter; SATA, SCSI and RAID are pronounced as words.
        let vowel = name.starts_with(['a', 'e', 'i', 'o', 'E', 'I'])
            || ["NVMe", "SMBus", "SAS"].iter().any(|word| name.starts_with(word));
        format!("{} {name}", if vowel { "an" } else { "a" })
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:06x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_told_apart() {
        assert!(Class(0x03_00_00).is_display());
        assert!(Class(0x01_08_02).is_storage());
        assert!(Class(0x06_04_00).is_pci_bridge() && Class(0x06_04_00).is_bridge());
        assert!(Class(0x06_01_00).is_bridge() && !Class(0x06_01_00).is_pci_bridge());
        assert!(!Class(0x06_80_00).is_bridge(), "NVSwitch can be given to a guest");
        assert_eq!(Class(0x0c_03_30).name(), "USB controller");
        assert_eq!(Class(0x0d_00_00).name(), "wireless controller");
        assert_eq!(Class(0x13_00_00).name(), "instrumentation device");
        assert_eq!(Class(0xff_00_00).name(), "device");
        assert_eq!(Class(0x08_06_00).with_article(), "an IOMMU");
    }
}
