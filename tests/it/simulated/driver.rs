// SPDX-License-Identifier: MIT OR Apache-2.0
//! Drivers, and what their probes do.

use nix::errno::Errno;
use vfio_early::pci::{Identity, ModaliasPattern};

/// A registered driver.
#[derive(Clone, Debug)]
pub(crate) struct Driver {
    /// Its name on the bus: what driver_override is compared with, byte for byte.
    pub(crate) name: String,
    /// `pci` or `platform`.
    pub(crate) bus: &'static str,
    /// The table it was built with. Those of other buses than its own (`vfio_pci:`) match nothing without an override.
    pub(crate) ids: Vec<ModaliasPattern>,
    /// What `ids=` and `new_id` added.
    pub(crate) dynamic: Vec<DynamicId>,
    /// A VFIO driver: vfio-pci or one of its variants.
    pub(crate) vfio: bool,
    /// Whether it can make virtual functions, and what becomes of them.
    pub(crate) virtual_functions: VirtualFunctions,
    /// How many virtual functions it makes in its probe, as some do when a module parameter says so.
    pub(crate) makes: u16,
}

/// What a driver does about virtual functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum VirtualFunctions {
    /// It has no `sriov_configure`.
    None,
    /// It makes them, and takes them away when it is unbound (`igb_remove`).
    Removes,
    /// It makes them and leaves them (`pci_sriov_configure_simple`; `nvme_remove` has no code for them).
    Leaves,
}

impl Driver {
    /// A driver of the PCI bus with this table.
    pub(crate) fn pci(name: &str, ids: &[&str]) -> Self {
        let ids = ids.iter().map(|id| id.parse().unwrap()).collect();
        let vfio = name.replace('-', "_").ends_with("vfio_pci");
        let virtual_functions = match name {
            "igb" | "ixgbe" | "i915" | "xe" | "vfio-pci" => VirtualFunctions::Removes,
            "nvme" | "pci-pf-stub" => VirtualFunctions::Leaves,
            _ => VirtualFunctions::None,
        };
        Self { name: name.to_owned(), bus: "pci", ids, dynamic: Vec::new(), vfio, virtual_functions, makes: 0 }
    }

    /// A driver of the platform bus; it matches the devices that are called `NAME.NUMBER` or `NAME`.
    pub(crate) fn platform(name: &str) -> Self {
        Self { bus: "platform", vfio: false, virtual_functions: VirtualFunctions::None, ..Self::pci(name, &[]) }
    }

    /// Whether the driver leaves the DMA of its devices to others, so that their group can be given to a guest
    /// (`driver_managed_dma`: in the whole tree VFIO's drivers, pcieport and pci-stub have it).
    pub(crate) fn managed_dma(&self) -> bool {
        self.bus != "pci" || self.vfio || matches!(self.name.as_str(), "pcieport" | "pci-stub")
    }
}

/// An ID that a driver was given while it runs (`struct pci_device_id`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DynamicId {
    vendor: u32,
    device: u32,
    subvendor: u32,
    subdevice: u32,
    class: u32,
    class_mask: u32,
}

/// `PCI_ANY_ID`
const ANY: u32 = u32::MAX;

impl DynamicId {
    /// Up to six hexadecimal numbers, as `sscanf` reads them; `None` for fewer than two
    /// (drivers/vfio/pci/vfio_pci.c:vfio_pci_fill_ids, drivers/pci/pci-driver.c:new_id_store).
    pub(crate) fn scan(text: &str, between: char) -> Option<Self> {
        let mut numbers = Vec::new();
        for field in text.split(between).take(6) {
            let field = field.trim_start();
            let field = field.strip_prefix("0x").unwrap_or(field);
            let end = field.find(|char: char| !char.is_ascii_hexdigit()).unwrap_or(field.len());
            let Ok(number) = u32::from_str_radix(field.split_at(end).0, 16) else { break };
            numbers.push(number);
            if end < field.len() {
                break;
            }
        }
        if numbers.len() < 2 {
            return None;
        }
        let field = |at: usize, default| numbers.get(at).copied().unwrap_or(default);
        Some(Self {
            vendor: field(0, ANY),
            device: field(1, ANY),
            subvendor: field(2, ANY),
            subdevice: field(3, ANY),
            class: field(4, 0),
            class_mask: field(5, 0),
        })
    }

    /// `pci_match_one_device` in drivers/pci/pci.h.
    pub(crate) fn matches(&self, identity: &Identity) -> bool {
        let same = |wanted: u32, is: u16| wanted == ANY || wanted == is.into();
        same(self.vendor, identity.vendor)
            && same(self.device, identity.device)
            && same(self.subvendor, identity.subvendor)
            && same(self.subdevice, identity.subdevice)
            && (self.class ^ identity.class.0) & self.class_mask == 0
    }

    /// Whether `remove_id` with these numbers means this one (drivers/pci/pci-driver.c:remove_id_store).
    pub(crate) fn is(&self, other: &Self) -> bool {
        let same = |own: u32, other: u32| other == ANY || own == other;
        self.vendor == other.vendor
            && self.device == other.device
            && same(self.subvendor, other.subvendor)
            && same(self.subdevice, other.subdevice)
            && (self.class ^ other.class) & other.class_mask == 0
    }
}

/// How a probe ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The driver holds the device.
    Bound,
    /// It refused with this error.
    Refused(Errno),
    /// It did not come back.
    Hung,
}

/// What a probe of one driver on one device shall do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Probe {
    /// Fail every time.
    Fail(Errno),
    /// Fail the first time.
    FailOnce(Errno),
    /// Hang until the machine settles, then succeed.
    HangThenBind,
    /// Hang until the machine settles, then fail.
    HangThenFail(Errno),
}
