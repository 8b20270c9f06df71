// SPDX-License-Identifier: MIT OR Apache-2.0
//! The devices that are shown, with what no claim asks for: names, abilities, and who has them open.

use crate::config::Config;
use crate::inventory::{Detail, Device, Evidence, Features, Holder, Inventory, ResizableBar};
use crate::json::{self, Json, fields};
use crate::pci::names::Names;
use crate::pci::{Address, Identity};
use crate::plan::{Plan, has_hot_reset, is_vfio_driver};
use crate::problem::{Code, Problem};

/// A device.
#[derive(Clone, Debug)]
pub struct DeviceStatus {
    /// Its address.
    pub address: Address,
    /// What it is.
    pub identity: Identity,
    /// What it is called: vendor and device by the system's pci.ids; the ID alone where that does not know it.
    pub name: String,
    /// What the card that it sits on is called.
    pub subsystem_name: Option<String>,
    /// What its attributes say.
    pub detail: Detail,
    /// What it can do.
    pub features: Features,
    /// VFIO resets it together with the rest of its slot.
    pub hot_reset: bool,
    /// Whether it is the host's display; `None` where nothing tells, or for what is no display.
    pub boot_display: Option<bool>,
    /// What decided that it is.
    pub boot_display_by: Option<Evidence>,
    /// The processes that have it open; none where that takes root to know.
    pub open_by: Option<Vec<Process>>,
}

/// The names of its fields in documents.
const FIELDS: &str = "address vendor device subsystem_vendor subsystem_device class class_name name subsystem_name driver \
    driver_override iommu_group numa_node boot_vga boot_display \
    boot_display_by reset_methods resets power_state d3cold_allowed resizable_bars \
    sriov_numvfs sriov_totalvfs physfn open_by hot_reset vfio_device ";

impl Json for DeviceStatus {
    fn json(&self, out: &mut String) {
        let Self {
            address,
            identity,
            name,
            subsystem_name,
            detail,
            features,
            hot_reset,
            boot_display,
            boot_display_by,
            open_by,
        } = self;
        let hex = |number: u16| format!("{number:04x}");
        let bars: Vec<Bar> = features.bars.iter().map(Bar::of).collect();
        json::object(
            out,
            FIELDS,
            &[
                address,
                &hex(identity.vendor),
                &hex(identity.device),
                &hex(identity.subvendor),
                &hex(identity.subdevice),
                &identity.class.to_string(),
                &identity.class.name().to_owned(),
                name,
                subsystem_name,
                &detail.driver,
                &detail.driver_override,
                &detail.group,
                &detail.numa_node,
                &detail.boot_vga,
                boot_display,
                boot_display_by,
                &detail.reset_methods,
                &features.resets,
                &detail.power_state,
                &features.d3cold_allowed,
                &bars,
                &features.virtual_functions.map(|(now, _)| now),
                &features.virtual_functions.map(|(_, most)| most),
                &features.physical,
                open_by,
                hot_reset,
                &features.vfio,
            ],
        );
    }
}

/// A BAR that can be resized.
#[derive(Clone, Debug)]
pub struct Bar {
    /// Its number.
    pub bar: u8,
    /// Its size in bytes.
    pub size: u64,
    /// The sizes that it may have, in bytes.
    pub sizes: Vec<u64>,
}

fields!(Bar { bar, size, sizes });

impl Bar {
    /// The BAR with its sizes as numbers.
    pub fn of(bar: &ResizableBar) -> Self {
        let mask = bar.sizes;
        // 2^44 MiB do not fit into a number of bytes.
        let sizes = (0..44_u32).filter(|bit| mask.checked_shr(*bit).is_some_and(|rest| rest & 1 == 1));
        Self { bar: bar.bar, size: bar.size, sizes: sizes.map(|bit| (1 << 20_u64) << bit).collect() }
    }
}

/// A process.
#[derive(Clone, Debug)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// Its name.
    pub name: String,
}

fields!(Process { pid, name });

impl DeviceStatus {
    /// What was read of a device.
    pub fn new(device: &Device, names: &Names, features: Features, open_by: Option<Vec<Holder>>) -> Self {
        let identity = device.identity;
        let process = |holder: Holder| Process { pid: holder.process, name: holder.name };
        Self {
            address: device.address,
            identity,
            name: match (names.vendor.as_str(), names.device.as_str()) {
                ("", _) => identity.id(),
                (vendor, "") => format!("{vendor} {:04x}", identity.device),
                (vendor, device) => format!("{vendor} {device}"),
            },
            subsystem_name: Some(names.subsystem.clone()).filter(|name| !name.is_empty()),
            detail: device.detail.clone().unwrap_or_default(),
            features,
            hot_reset: false,
            boot_display: None,
            boot_display_by: None,
            open_by: open_by.map(|holders| holders.into_iter().map(process).collect()),
        }
    }
}

/// Says which of these is the host's display.
pub fn add_boot_display(inventory: &Inventory, devices: &mut [DeviceStatus]) {
    let Some(host) = inventory.host_display() else { return };
    for status in devices.iter_mut().filter(|status| status.identity.class.is_display()) {
        status.boot_display = Some(status.address == host.address);
        status.boot_display_by = (status.address == host.address).then_some(host.by);
    }
}

/// The claimed devices whose memory something else than VFIO uses: no guest can map it (drivers/vfio/pci/vfio_pci_core.c,
/// `vfio_pci_core_mmap`, requests it).
pub fn held_memory(config: &Config, inventory: &Inventory, plan: &Plan) -> Vec<Problem> {
    let mut problems = Vec::new();
    for planned in plan.devices.iter().filter(|planned| planned.driver.as_deref().is_some_and(is_vfio_driver)) {
        let held = inventory.other_memory_users().find(|(address, _)| Some(*address) == planned.device);
        let Some((address, name)) = held else { continue };
        let message = format!(
            "{address}: {name} uses its memory, and no guest can have it meanwhile (`set framebuffer release` detaches a \
             framebuffer of the firmware when the device is claimed)"
        );
        problems.push(Problem::warning(Code::MemoryInUse, Some(address), message).of(config, planned.claim));
    }
    problems
}

/// Finds out which claimed devices VFIO resets together with everything else on their bus.
pub fn add_hot_resets(inventory: &Inventory, plan: &Plan, devices: &mut [DeviceStatus]) {
    let claimed = |address: Address| {
        plan.devices.iter().any(|planned| planned.device == Some(address) && planned.decision.holds())
    };
    for status in devices.iter_mut().filter(|status| claimed(status.address)) {
        let parents = inventory.functions.iter().find(|function| function.address == status.address);
        let parents = parents.map(|function| function.parents.as_slice()).unwrap_or_default();
        let device = inventory.device(status.address);
        status.hot_reset = device.is_some_and(|device| has_hot_reset(inventory, device, parents, &claimed));
    }
}

/// The claimed displays that do not come back from a guest.
pub fn without_reset(config: &Config, plan: &Plan, devices: &[DeviceStatus]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for planned in plan.devices.iter().filter(|planned| planned.decision.holds()) {
        let of_claim = |device: &&DeviceStatus| Some(device.address) == planned.device;
        let Some(device) = devices.iter().filter(|device| device.identity.class.is_display()).find(of_claim) else {
            continue;
        };
        let name = device.address;
        // A guest with the whole card resets it whole.
        if device.hot_reset {
            continue;
        }
        let message = match (device.features.resets, device.detail.reset_methods.as_slice()) {
            (Some(false), _) => format!(
                "{name} has no reset: it does not come back after its guest stops, until this machine is restarted"
            ),
            (_, [only]) if only == "bus" => format!(
                "{name} has no reset of its own, only that of its bus: many such displays do not come back after their \
                 guest stops, until this machine is restarted"
            ),
            _ => continue,
        };
        problems.push(Problem::warning(Code::Reset, planned.device, message).of(config, planned.claim));
    }
    problems
}
