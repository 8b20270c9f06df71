// SPDX-License-Identifier: MIT OR Apache-2.0
//! IOMMU groups: which functions share one, why, and what isolates each group.
//!
//! [`examine`] takes all PCI functions of a machine as plain data and recomputes the kernel's groups. For each group it
//! determines whether the hardware isolates it, and why its functions are together. Nothing here reads a machine.

pub mod acs;
mod acs_quirks;
mod build;
mod dma_alias;
mod function;
mod function_isolation;
mod group;
mod group_isolation;
mod grouping;
mod multimap;
mod port_type;
mod reason_text;
mod reasons;
mod text;
mod topology;
mod tree;

use crate::pci::Address;

pub use function::{Function, blocks};
pub use group::{Blocker, FunctionAcs, Group, Isolated, Reason};

use topology::Topology;

/// The facts about a machine, beside its functions, that its groups depend on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Host<'a> {
    /// `pcie_acs_override=` is on the kernel command line.
    pub acs_override: bool,
    /// The machine has an IVRS table: its IOMMU is AMD's.
    pub amd_iommu: bool,
    /// The version of the running kernel, major and minor.
    pub kernel: Option<(u32, u32)>,
    /// The number and `type` of each group, from /sys/kernel/iommu_groups.
    pub group_types: &'a [(u32, String)],
    /// Only the groups of these functions (sorted) are wanted; all of them with `None`.
    pub wanted: Option<&'a [Address]>,
}

/// The groups of a machine, with the topology that they follow from.
#[derive(Debug)]
pub struct Examination<'a> {
    topology: Topology<'a>,
    kernel: Option<(u32, u32)>,
    /// The groups that are wanted, by number.
    pub groups: Vec<Group>,
}

/// Examines the groups of a machine. `functions` has all its functions, in any order.
pub fn examine<'a>(functions: &'a [Function], host: &Host<'_>) -> Examination<'a> {
    let mut topology = Topology::new(functions, host.kernel);
    function_isolation::determine_isolation(&mut topology, host.amd_iommu);
    grouping::recompute_groups(&mut topology);
    let groups = build::build_groups(&topology, host);
    Examination { topology, kernel: host.kernel, groups }
}

impl Examination<'_> {
    /// The group of the function at `address`.
    pub fn group_of(&self, address: Address) -> Option<&Group> {
        self.groups.iter().find(|group| group.devices.contains(&address))
    }

    /// Whether the recomputed groups are the kernel's.
    pub fn matches_kernel(&self) -> bool {
        self.groups.iter().all(|group| group.recomputed.is_empty())
    }
}
