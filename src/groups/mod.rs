// SPDX-License-Identifier: MIT OR Apache-2.0
//! Why an IOMMU group is as big as it is.
//!
//! [`examine`] takes every PCI function of a machine as plain data, recomputes the kernel's grouping, and tells for each
//! group whether its isolation is real and what made it as big as it is. Nothing here reads a machine.

pub mod acs;
mod acs_quirks;
mod describe;
mod dma_alias;
mod explain;
mod function_isolation;
mod multimap;
mod port_type;
mod regroup;
mod report;
mod text;
mod topology;
mod tree;
mod verdict;

use crate::pci::capability::ConfigSpace;
use crate::pci::is_vfio_driver;
use crate::pci::{Address, Class};

pub use report::{Blocker, FunctionAcs, Group, Isolated, Reason};
pub use text::sentence;

use topology::Topology;

/// One PCI function, as /sys/bus/pci/devices has it.
#[derive(Clone, Debug)]
pub struct Function {
    /// Its address.
    pub address: Address,
    /// The functions above it, from the root bus down, without itself: what the path of its directory below /sys/devices
    /// names.
    pub parents: Vec<Address>,
    /// `class`.
    pub class: Class,
    /// `vendor`.
    pub vendor: u16,
    /// `device`.
    pub device: u16,
    /// `config`, as many bytes as could be read: 64 without root, else 256 or 4096.
    pub config: Vec<u8>,
    /// The name of its driver.
    pub driver: Option<String>,
    /// The IOMMU group that the kernel has put it into.
    pub sys_group: Option<u32>,
}

impl Function {
    /// Whether it leads to another PCI bus: by its header, as the kernel decides.
    pub fn is_bridge(&self) -> bool {
        let header = ConfigSpace::new(&self.config).header_type();
        header.map_or(self.class.is_pci_bridge(), |header| header == 1 || header == 2)
    }

    /// The driver that keeps the group of this function from a guest, if there is one.
    pub fn blocking_driver(&self) -> Option<&str> {
        let driver = self.driver.as_deref()?;
        blocks(driver, self.is_bridge()).then_some(driver)
    }

    /// Subsystem vendor and device ID; zero where the header has none.
    fn subsystem(&self) -> (u16, u16) {
        let config = ConfigSpace::new(&self.config);
        (config.u16(0x2c).unwrap_or(0), config.u16(0x2e).unwrap_or(0))
    }
}

/// Whether a function with this driver keeps its group from a guest: any but VFIO's drivers, pci-stub and pcieport
/// (`driver_managed_dma` in the kernel's sources), on a function that is no PCI bridge.
pub fn blocks(driver: &str, is_pci_bridge: bool) -> bool {
    !is_pci_bridge && !matches!(driver, "pci-stub" | "pcieport") && !is_vfio_driver(driver)
}

/// What else of the machine bears on its groups.
#[derive(Clone, Copy, Debug, Default)]
pub struct Host<'a> {
    /// `pcie_acs_override=` is on the kernel command line.
    pub acs_override: bool,
    /// The machine has an IVRS table: its IOMMU is AMD's.
    pub amd_iommu: bool,
    /// The running kernel's version, major and minor.
    pub kernel: Option<(u32, u32)>,
    /// Number and `type` of each group, as /sys/kernel/iommu_groups has them.
    pub types: &'a [(u32, String)],
}

/// Everything that is known about the groups of a machine.
#[derive(Debug)]
pub struct Examination<'a> {
    topology: Topology<'a>,
    kernel: Option<(u32, u32)>,
    /// The groups, by number.
    pub groups: Vec<Group>,
}

/// Examines the groups of a machine: all its functions go in, in any order.
pub fn examine<'a>(functions: &'a [Function], host: &Host<'_>) -> Examination<'a> {
    let mut topology = Topology::new(functions);
    function_isolation::determine_isolation(&mut topology, host.amd_iommu);
    regroup::regroup(&mut topology);
    let groups = describe::groups(&topology, host);
    Examination { topology, kernel: host.kernel, groups }
}

impl Examination<'_> {
    /// The group of the function at `address`.
    pub fn group_of(&self, address: Address) -> Option<&Group> {
        self.groups.iter().find(|group| group.devices.contains(&address))
    }

    /// Whether the recomputed grouping is the kernel's.
    pub fn agrees(&self) -> bool {
        self.groups.iter().all(|group| group.recomputed.is_empty())
    }
}
