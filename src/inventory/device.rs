// SPDX-License-Identifier: MIT OR Apache-2.0
//! One PCI function, as /sys/bus/pci/devices shows it (Documentation/ABI/testing/sysfs-bus-pci).

use crate::machine::{self, Error, Machine};
use crate::pci::{Address, Identity};

use super::{PCI, ResizableBar};

/// A PCI function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Where it is.
    pub address: Address,
    /// What it is.
    pub identity: Identity,
    /// The addresses from the root bus down to this function itself; empty where nobody asked.
    pub chain: Vec<Address>,
    /// More, where the device was looked at closer.
    pub detail: Option<Detail>,
}

/// What a closer look shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Detail {
    /// The driver that holds it.
    pub driver: Option<String>,
    /// Why nobody knows which driver holds it.
    pub unknown: Option<String>,
    /// `driver_override`, when it is set.
    pub driver_override: Option<String>,
    /// Its IOMMU group.
    pub group: Option<u32>,
    /// It is a virtual function (SR-IOV): a card of its own, wherever its address lies.
    pub is_virtual: bool,
    /// Whether the firmware showed its screen on this display; `None` on everything else.
    pub boot_vga: Option<bool>,
    /// `D0` to `D3cold`, or what else the kernel calls it.
    pub power_state: Option<String>,
    /// `on` or `auto`: whether it may sleep while it is not used.
    pub power_control: Option<String>,
    /// The NUMA node that it is near to; `None` where there is but one.
    pub numa_node: Option<u16>,
    /// The ways to reset it, in the order in which the kernel tries them.
    pub reset_methods: Vec<String>,
    /// The BARs that can be resized, where somebody asked.
    pub bars: Vec<ResizableBar>,
}

impl Device {
    /// The driver that holds it, as far as it was looked at.
    pub fn driver(&self) -> Option<&str> {
        self.detail.as_ref()?.driver.as_deref()
    }

    /// Whether it is a virtual function, as far as it was looked at.
    pub fn is_virtual(&self) -> bool {
        self.detail.as_ref().is_some_and(|detail| detail.is_virtual)
    }

    /// `0000:01:00.0 (10de:1e04)`.
    pub fn name(&self) -> String {
        format!("{} ({})", self.address, self.identity.id())
    }
}

impl Detail {
    /// Looks at a device; what cannot be read is left out. Its override is not read here: see [`overrides`].
    pub(super) fn read(machine: &dyn Machine, address: Address) -> Self {
        let path = |name: &str| format!("{PCI}/devices/{address}/{name}");
        let word = |name: &str| machine::text(machine, &path(name)).ok().filter(|text| !text.is_empty());
        // Once more, because much hangs on it: unknown is not none.
        let (driver, unknown) = match driver(machine, address).or_else(|_| driver(machine, address)) {
            Ok(driver) => (driver, None),
            Err(error) => (None, Some(error.to_string())),
        };
        Self {
            driver,
            unknown,
            driver_override: None,
            group: machine::link_name(machine, &path("iommu_group")).ok().and_then(|name| name.parse().ok()),
            is_virtual: machine.link(&path("physfn")).is_ok(),
            boot_vga: word("boot_vga").map(|text| text == "1"),
            power_state: word("power_state"),
            power_control: word("power/control"),
            // -1: the machine has no nodes, or the firmware does not say.
            numa_node: word("numa_node").and_then(|text| text.parse().ok()),
            reset_methods: word("reset_method")
                .map(|text| text.split_ascii_whitespace().map(ToOwned::to_owned).collect())
                .unwrap_or_default(),
            bars: Vec::new(),
        }
    }
}

/// The driver that holds a device now; `None` when there is none, or no device. An error says nothing about it.
pub(crate) fn driver(machine: &dyn Machine, address: Address) -> Result<Option<String>, Error> {
    match machine::link_name(machine, &format!("{PCI}/devices/{address}/driver")) {
        Ok(name) => Ok(Some(name)),
        Err(error) if error.is_missing() => Ok(None),
        Err(error) => Err(error),
    }
}

/// The overrides of these devices, `None` where there is none. Its reader takes the device's lock in many kernels
/// (drivers/pci/pci-sysfs.c, `driver_override_show`), and a driver that hangs in its probe holds that.
pub(super) fn overrides(machine: &dyn Machine, addresses: &[Address]) -> Vec<Option<String>> {
    let paths: Vec<String> =
        addresses.iter().map(|address| format!("{PCI}/devices/{address}/driver_override")).collect();
    let answers = machine.locked_attributes(&paths).into_iter().map(|answer| {
        let bytes = answer.ok()?;
        let name = String::from_utf8_lossy(&bytes).trim().to_owned();
        (!name.is_empty() && name != "(null)").then_some(name)
    });
    answers.collect()
}

/// The addresses on the way from the root bus down to a device, told by the place of its directory:
/// `../../../devices/pci0000:00/0000:00:01.0/0000:01:00.0`.
pub(super) fn chain(machine: &dyn Machine, address: Address) -> Vec<Address> {
    let target = machine.link(&format!("{PCI}/devices/{address}")).unwrap_or_default();
    target.split('/').filter_map(|part| part.parse().ok()).collect()
}
