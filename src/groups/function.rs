// SPDX-License-Identifier: MIT OR Apache-2.0
//! A PCI function as plain data.

use crate::pci::capability::ConfigSpace;
use crate::pci::is_vfio_driver;
use crate::pci::{Address, Class};

/// One PCI function, as /sys/bus/pci/devices has it.
#[derive(Clone, Debug)]
pub struct Function {
    /// Its address.
    pub address: Address,
    /// The functions above it, from the root bus down, without itself: the components of its path below /sys/devices.
    pub parents: Vec<Address>,
    /// `class`.
    pub class: Class,
    /// `vendor`.
    pub vendor: u16,
    /// `device`.
    pub device: u16,
    /// As many bytes of `config` as could be read: 64 without root, else 256 or 4096.
    pub config: Vec<u8>,
    /// The name of its driver.
    pub driver: Option<String>,
    /// The IOMMU group that the kernel put it into.
    pub sys_group: Option<u32>,
    /// The device and function number of its bus whose requester ID it uses as well, by the IVRS table of an AMD IOMMU.
    pub ivrs_alias: Option<(u8, u8)>,
}

impl Function {
    /// Whether it is a PCI bridge: by its header type, as the kernel decides, or by its class if that could not be read.
    pub fn is_bridge(&self) -> bool {
        let header = ConfigSpace::new(&self.config).header_type();
        header.map_or(self.class.is_pci_bridge(), |header| header == 1 || header == 2)
    }

    /// Its driver, if that makes the group not viable on this kernel.
    pub fn blocking_driver(&self, kernel: Option<(u32, u32)>) -> Option<&str> {
        let driver = self.driver.as_deref()?;
        blocks(driver, self.is_bridge(), kernel).then_some(driver)
    }

    /// The subsystem vendor and device ID; zero if the header has none.
    pub(super) fn subsystem(&self) -> (u16, u16) {
        let config = ConfigSpace::new(&self.config);
        (config.u16(0x2c).unwrap_or(0), config.u16(0x2e).unwrap_or(0))
    }
}

/// Whether a function with this driver makes its group not viable: any driver does, except VFIO's, pci-stub and pcieport
/// (those with `driver_managed_dma` in the kernel's sources). Before Linux 5.19, a driver of a PCI bridge never did
/// (drivers/vfio/vfio.c, `vfio_dev_driver_allowed`); since then shpchp and others do.
pub fn blocks(driver: &str, is_pci_bridge: bool, kernel: Option<(u32, u32)>) -> bool {
    let exempt = is_pci_bridge && kernel.is_some_and(|version| version < (5, 19));
    !exempt && !matches!(driver, "pci-stub" | "pcieport") && !is_vfio_driver(driver)
}
