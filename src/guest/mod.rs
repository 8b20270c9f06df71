// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a guest needs for devices: its cards, and the processors and the memory near them.
//!
//! [`describe`] makes one typed description of the inventory, the resources and the saved option ROMs; [`libvirt()`],
//! [`qemu()`] and [`proxmox()`] print it. Nothing here reads a machine.

mod cards;
mod describe;
mod firmware;
mod hyperv;
mod libvirt;
mod options;
mod placement;
mod proxmox;
mod qemu;

use crate::inventory::Processor;
use crate::pci::Address;

pub use cards::{Cards, cards, nodes};
pub use describe::describe;
pub use firmware::{Firmware, Rom};
pub use hyperv::Enlightenment;
pub use libvirt::libvirt;
pub use options::{Count, Format, Name, Options, Os, Size};
pub use placement::{Memory, Placement};
pub use proxmox::proxmox;
pub use qemu::qemu;

/// What a guest needs.
#[derive(Clone, Debug)]
pub struct Guest {
    /// What was asked for.
    pub options: Options,
    /// The cards; each is one slot of the guest.
    pub cards: Vec<Vec<Function>>,
    /// The NUMA nodes near them; none if the machine has none.
    pub nodes: Vec<u16>,
    /// Its vCPUs.
    pub placement: Placement,
    /// Its memory.
    pub memory: Memory,
    /// The vendor of the processor.
    pub processor: Processor,
    /// Whether KVM runs it, and not emulation.
    pub kvm: bool,
    /// What of Hyper-V it sees; nothing unless it is Windows.
    pub enlightenments: Vec<Enlightenment>,
    /// Its firmware.
    pub firmware: Firmware,
    /// UEFI firmware for QEMU and its variables, if this machine has it.
    pub firmware_files: Option<(&'static str, &'static str)>,
    /// What its user should know.
    pub notes: Vec<String>,
    /// Some of its devices are not claimed yet.
    pub unclaimed: bool,
}

/// A function of a card.
#[derive(Clone, Debug)]
pub struct Function {
    /// Its address on the host.
    pub address: Address,
    /// Its number in the slot of the guest.
    pub number: usize,
    /// Its option ROM.
    pub rom: Rom,
}

impl Guest {
    /// The CPU lists of a NUMA policy: `0,1`.
    fn node_list(&self) -> String {
        joined(self.nodes.iter())
    }

    /// Every CPU that a vCPU runs on, ascending; empty if they are not pinned.
    fn pinned(&self) -> String {
        let mut all: Vec<u16> = self.placement.vcpus.concat();
        all.sort_unstable();
        joined(all.iter())
    }

    /// Whether the guest's processor needs the feature to have threads (AMD).
    fn needs_topoext(&self) -> bool {
        self.processor == Processor::Amd && self.placement.threads > 1 && self.kvm
    }

    /// The hypervisor's vendor that a guest sees with `--hide-kvm`: the vendor of the processor.
    fn vendor(&self) -> &'static str {
        if self.processor == Processor::Amd { "AuthenticAMD" } else { "GenuineIntel" }
    }
}

/// Numbers, separated by commas.
fn joined<'a>(numbers: impl Iterator<Item = &'a u16>) -> String {
    numbers.map(ToString::to_string).collect::<Vec<_>>().join(",")
}
