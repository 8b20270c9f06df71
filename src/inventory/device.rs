// SPDX-License-Identifier: MIT OR Apache-2.0
//! PCI functions in /sys/bus/pci/devices (Documentation/ABI/testing/sysfs-bus-pci).

use crate::machine::{self, Error, Machine};
use crate::pci::{Address, Class, DevicePath, Identity, parse_modalias};

use super::{Evidence, PCI, ResizableBar};

/// A PCI function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its address.
    pub address: Address,
    /// Its IDs and class.
    pub identity: Identity,
    /// The addresses from the root bus down to and including this function; empty if they were not read.
    pub chain: Vec<Address>,
    /// The physical function, if this is a virtual one and it was read.
    pub physical: Option<Address>,
    /// Details, if they were read.
    pub detail: Option<Detail>,
}

/// How much is read about a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// All of [`Detail`].
    Full,
    /// The driver and the IOMMU group: what a neighbour in a group matters for.
    Driver,
}

/// The details of a device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Detail {
    /// The driver that it is bound to.
    pub driver: Option<String>,
    /// Why the driver could not be read.
    pub unknown: Option<String>,
    /// `driver_override`, if it is set.
    pub driver_override: Option<String>,
    /// Its IOMMU group.
    pub group: Option<u32>,
    /// Whether it is a virtual function (SR-IOV). It counts as a card of its own, whatever slot its address is in.
    pub is_virtual: bool,
    /// Whether it is the firmware's boot display; `None` if the kernel does not tell.
    pub boot_vga: Option<bool>,
    /// What its own attributes tell of its being the host's display: `boot_display`, or else a connected built-in panel.
    pub shown_by: Option<Evidence>,
    /// The power state: `D0` to `D3cold` or `unknown`.
    pub power_state: Option<String>,
    /// Runtime power management: `on` (never suspended) or `auto`.
    pub power_control: Option<String>,
    /// Its NUMA node; `None` if the machine has no nodes.
    pub numa_node: Option<u16>,
    /// The reset methods, in the order in which the kernel tries them.
    pub reset_methods: Vec<String>,
    /// Whether the list of reset methods could be read.
    pub reset_methods_known: bool,
    /// Whether it may enter D3cold while it is not used; `None` if the kernel does not tell.
    pub d3cold_allowed: Option<bool>,
    /// The current number of virtual functions.
    pub virtual_functions: usize,
    /// The TEE security manager that it is bound to, if any.
    pub tsm_bound: Option<String>,
    /// Whether its configuration space reads as ff: it has no power or fell off the bus. Always false for virtual functions,
    /// whose configuration space may begin with ff.
    pub no_answer: bool,
    /// The resizable BARs, if they were read.
    pub bars: Vec<ResizableBar>,
}

impl Device {
    /// The driver that it is bound to, if its details were read.
    pub fn driver(&self) -> Option<&str> {
        self.detail.as_ref()?.driver.as_deref()
    }

    /// Whether it is known to be a virtual function.
    pub fn is_virtual(&self) -> bool {
        self.physical.is_some() || self.detail.as_ref().is_some_and(|detail| detail.is_virtual)
    }

    /// Its path from the root bus, if the bridges above it were read.
    pub fn path(&self) -> Option<DevicePath> {
        let (root, below) = self.chain.split_first()?;
        let below: Vec<(u8, u8)> = below.iter().map(|address| (address.device, address.function)).collect();
        (!below.is_empty()).then_some(DevicePath { root: *root, below })
    }

    /// `0000:01:00.0 (10de:1e04)`.
    pub fn name(&self) -> String {
        format!("{} ({})", self.address, self.identity.id())
    }
}

impl Detail {
    /// Reads a device's details; what cannot be read stays empty. For `driver_override` see [`overrides`].
    pub(super) fn read(machine: &dyn Machine, address: Address, extent: Extent) -> Self {
        let path = |name: &str| format!("{PCI}/devices/{address}/{name}");
        let word = |name: &str| machine::text(machine, &path(name)).ok().filter(|text| !text.is_empty());
        // Retry once: a device with an unknown driver cannot be claimed.
        let (driver, unknown) = match driver(machine, address).or_else(|_| driver(machine, address)) {
            Ok(driver) => (driver, None),
            Err(error) => (None, Some(error.to_string())),
        };
        let group = machine::link_name(machine, &path("iommu_group")).ok().and_then(|name| name.parse().ok());
        if extent == Extent::Driver {
            return Self { driver, unknown, group, ..Self::default() };
        }
        let names = machine.list(&path("")).unwrap_or_default();
        let is_listed = |name: &str| names.iter().any(|known| known == name);
        let is_virtual = is_listed("physfn");
        // Where the directory cannot be listed, everything is tried.
        let has = |name: &str| names.is_empty() || is_listed(name);
        let mut cards = if has("drm") { machine.list(&path("drm")).unwrap_or_default() } else { Vec::new() };
        cards.retain(|name| name.starts_with("card"));
        let is_boot = |name: &str| word(name).is_some_and(|text| text == "1");
        let shown_by = if has("boot_display") && is_boot("boot_display")
            || cards.iter().any(|card| is_boot(&format!("drm/{card}/boot_display")))
        {
            Some(Evidence::BootDisplay)
        } else {
            let panel = cards.iter().any(|card| has_panel(machine, &path(&format!("drm/{card}"))));
            panel.then_some(Evidence::Panel)
        };
        let reset_methods = if has("reset_method") { machine::text(machine, &path("reset_method")).ok() } else { None };
        // The first four bytes only: on hardware it is read in many small accesses.
        let no_answer = |bytes: Vec<u8>| bytes.len() == 4 && bytes.iter().all(|byte| *byte == 0xff);
        Self {
            driver,
            unknown,
            driver_override: None,
            group,
            is_virtual,
            boot_vga: if has("boot_vga") { word("boot_vga").map(|text| text == "1") } else { None },
            shown_by,
            power_state: word("power_state"),
            power_control: word("power/control"),
            // -1: the machine has no nodes, or the firmware does not tell the node.
            numa_node: word("numa_node").and_then(|text| text.parse().ok()),
            reset_methods_known: reset_methods.is_some(),
            reset_methods: reset_methods
                .map(|text| text.split_ascii_whitespace().map(ToOwned::to_owned).collect())
                .unwrap_or_default(),
            d3cold_allowed: if has("d3cold_allowed") { word("d3cold_allowed").map(|text| text != "0") } else { None },
            virtual_functions: names.iter().filter(|name| is_virtual_function_link(name)).count(),
            tsm_bound: if has("tsm") { word("tsm/bound") } else { None },
            no_answer: !is_virtual && machine.read_prefix(&path("config"), 4).is_ok_and(no_answer),
            bars: Vec::new(),
        }
    }
}

/// Whether a DRM device has a connector for a built-in panel, and a panel on it (drivers/gpu/drm/drm_connector.c,
/// `drm_connector_enum_list`).
fn has_panel(machine: &dyn Machine, card: &str) -> bool {
    let connectors = machine.list(card).unwrap_or_default();
    let mut panels = connectors.iter().filter(|name| {
        let kind = name.strip_prefix("card").and_then(|rest| rest.split_once('-')).map_or("", |(_, kind)| kind);
        ["eDP-", "LVDS-", "DSI-"].iter().any(|panel| kind.starts_with(panel))
    });
    panels.any(|name| machine::text(machine, &format!("{card}/{name}/status")).is_ok_and(|text| text == "connected"))
}

/// Whether a name in a device's directory is a link to one of its virtual functions: `virtfn0`.
fn is_virtual_function_link(name: &str) -> bool {
    name.strip_prefix("virtfn").is_some_and(|number| number.parse::<u16>().is_ok())
}

/// The driver that a device is bound to; `None` if there is no driver or no device. After an error, the driver is unknown.
pub(crate) fn driver(machine: &dyn Machine, address: Address) -> Result<Option<String>, Error> {
    match machine::link_name(machine, &format!("{PCI}/devices/{address}/driver")) {
        Ok(name) => Ok(Some(name)),
        Err(error) if error.is_missing() => Ok(None),
        Err(error) => Err(error),
    }
}

/// The `driver_override` of these devices, `None` if it is not set. Many kernels read it under the device lock
/// (drivers/pci/pci-sysfs.c, `driver_override_show`), which a driver that hangs in its probe holds.
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

/// What a device is: from its modalias, one read, or from the files that have a part of it each. `None` if there is no such
/// device.
pub(crate) fn identity(machine: &dyn Machine, address: Address) -> Option<Identity> {
    let path = |name: &str| format!("{PCI}/devices/{address}/{name}");
    if let Ok(bytes) = machine.attribute(&path("modalias")) {
        return parse_modalias(&bytes);
    }
    let number = |name: &str| {
        let text = machine::text(machine, &path(name)).ok()?;
        u32::from_str_radix(text.strip_prefix("0x")?, 16).ok()
    };
    let id = |name: &str| u16::try_from(number(name)?).ok();
    Some(Identity {
        vendor: id("vendor")?,
        device: id("device")?,
        subvendor: id("subsystem_vendor").unwrap_or(0),
        subdevice: id("subsystem_device").unwrap_or(0),
        class: Class(number("class")?),
    })
}

/// The addresses from the root bus down to a device, from the path of its directory:
/// `../../../devices/pci0000:00/0000:00:01.0/0000:01:00.0`.
pub(super) fn chain(machine: &dyn Machine, address: Address) -> Vec<Address> {
    let target = machine.link(&format!("{PCI}/devices/{address}")).unwrap_or_default();
    target.split('/').filter_map(|part| part.parse().ok()).collect()
}
