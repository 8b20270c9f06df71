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
    /// The physical function that it is a virtual one of, where that was asked for.
    pub physical: Option<Address>,
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
    /// The list of reset methods could be read, empty or not.
    pub reset_methods_known: bool,
    /// Whether its power may be cut while it is not used; `None` where the kernel does not say.
    pub d3cold_allowed: Option<bool>,
    /// How many virtual functions it has now.
    pub virtual_functions: usize,
    /// The TEE security manager that it is bound to.
    pub tsm_bound: Option<String>,
    /// Its configuration space reads as ff: it is off or fell off the bus. A virtual function's may begin so.
    pub no_answer: bool,
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
        self.physical.is_some() || self.detail.as_ref().is_some_and(|detail| detail.is_virtual)
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
        let names = machine.list(&path("")).unwrap_or_default();
        let has = |name: &str| names.iter().any(|known| known == name);
        let is_virtual = has("physfn");
        let reset_methods = if has("reset_method") { machine::text(machine, &path("reset_method")).ok() } else { None };
        // The first four bytes only: on hardware it is read in many small accesses.
        let no_answer = |bytes: Vec<u8>| bytes.len() == 4 && bytes.iter().all(|byte| *byte == 0xff);
        Self {
            driver,
            unknown,
            driver_override: None,
            group: machine::link_name(machine, &path("iommu_group")).ok().and_then(|name| name.parse().ok()),
            is_virtual,
            boot_vga: word("boot_vga").map(|text| text == "1"),
            power_state: word("power_state"),
            power_control: word("power/control"),
            // -1: the machine has no nodes, or the firmware does not say.
            numa_node: word("numa_node").and_then(|text| text.parse().ok()),
            reset_methods_known: reset_methods.is_some(),
            reset_methods: reset_methods
                .map(|text| text.split_ascii_whitespace().map(ToOwned::to_owned).collect())
                .unwrap_or_default(),
            d3cold_allowed: if has("d3cold_allowed") { word("d3cold_allowed").map(|text| text != "0") } else { None },
            virtual_functions: names.iter().filter(|name| is_virtual_function_link(name)).count(),
            tsm_bound: if has("tsm") { word("tsm/bound") } else { None },
            no_answer: !is_virtual && machine.head(&path("config"), 4).is_ok_and(no_answer),
            bars: Vec::new(),
        }
    }
}

/// Whether a name in a device's directory is the link to one of its virtual functions: `virtfn0`.
fn is_virtual_function_link(name: &str) -> bool {
    name.strip_prefix("virtfn").is_some_and(|number| number.parse::<u16>().is_ok())
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
