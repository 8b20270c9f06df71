// SPDX-License-Identifier: MIT OR Apache-2.0
//! The JSON document of `status`. Fields may be added, never renamed: scripts read it.

use crate::groups::Group;
use crate::inventory::{Device, Features, Holder, ResizableBar};
use crate::json::fields;
use crate::pci::names::Names;

use super::json::{Claim, Iommu, ProblemEntry, Report, Step};

/// The whole document.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// The program's version.
    pub version: String,
    /// The kernel's release.
    pub kernel: String,
    /// The answer in one sentence.
    pub headline: String,
    /// The verdict on the IOMMU.
    pub iommu: Iommu,
    /// Every claim and its present state.
    pub claims: Vec<Claim>,
    /// The devices of interest.
    pub devices: Vec<DeviceEntry>,
    /// The IOMMU groups of those devices.
    pub groups: Vec<Group>,
    /// What people should know.
    pub problems: Vec<ProblemEntry>,
    /// When and where devices were last claimed.
    pub boot: Option<Boot>,
}

fields!(Status { version, kernel, headline, iommu, claims, devices, groups, problems, boot });

/// When and where devices were claimed.
#[derive(Clone, Debug, Default)]
pub struct Boot {
    /// `initramfs`, `udev`, `command`.
    pub stage: String,
    /// Milliseconds since the kernel started.
    pub time_ms: u64,
    /// Milliseconds.
    pub duration_ms: u64,
    /// The exit status.
    pub status: u8,
    /// The steps that failed.
    pub failed: Vec<Step>,
}

fields!(Boot { stage, time_ms, duration_ms, status, failed });

impl From<&Report> for Boot {
    fn from(report: &Report) -> Self {
        let failed = report.steps.iter().filter(|step| !matches!(step.result.as_str(), "ok" | "skipped" | "planned"));
        Self {
            stage: report.stage.clone(),
            time_ms: report.time_ms,
            duration_ms: report.duration_ms,
            status: report.status,
            failed: failed.cloned().collect(),
        }
    }
}

/// A device.
#[derive(Clone, Debug, Default)]
pub struct DeviceEntry {
    /// Its address.
    pub address: String,
    /// Vendor ID.
    pub vendor: String,
    /// Device ID.
    pub device: String,
    /// Subsystem vendor ID.
    pub subsystem_vendor: String,
    /// Subsystem device ID.
    pub subsystem_device: String,
    /// Class code.
    pub class: String,
    /// What its class is called.
    pub class_name: String,
    /// What it is called: vendor and device by the system's pci.ids; the numbers alone where that does not know it.
    pub name: String,
    /// What the card that it sits on is called; `null` where that is not known.
    pub subsystem_name: Option<String>,
    /// The driver that holds it.
    pub driver: Option<String>,
    /// The override that is set.
    pub driver_override: Option<String>,
    /// Its IOMMU group.
    pub iommu_group: Option<u32>,
    /// Its NUMA node.
    pub numa_node: Option<u16>,
    /// Whether it is the boot display; `null` on what is no display.
    pub boot_vga: Option<bool>,
    /// The ways to reset it.
    pub reset_methods: Vec<String>,
    /// Whether the kernel can reset it at all; `null`: not known.
    pub resets: Option<bool>,
    /// Its power state.
    pub power_state: Option<String>,
    /// Whether its power may be cut while nobody uses it.
    pub d3cold_allowed: Option<bool>,
    /// The BARs that can be resized.
    pub resizable_bars: Vec<Bar>,
    /// How many virtual functions it has; `null` where it can have none.
    pub sriov_numvfs: Option<u16>,
    /// How many it can have.
    pub sriov_totalvfs: Option<u16>,
    /// The physical function that it is a virtual one of.
    pub physfn: Option<String>,
    /// The processes that have it open; `null`: not known without root.
    pub open_by: Option<Vec<Process>>,
}

fields!(DeviceEntry {
    address,
    vendor,
    device,
    subsystem_vendor,
    subsystem_device,
    class,
    class_name,
    name,
    subsystem_name,
    driver,
    driver_override,
    iommu_group,
    numa_node,
    boot_vga,
    reset_methods,
    resets,
    power_state,
    d3cold_allowed,
    resizable_bars,
    sriov_numvfs,
    sriov_totalvfs,
    physfn,
    open_by
});

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

/// A process.
#[derive(Clone, Debug)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// What it calls itself.
    pub name: String,
}

fields!(Process { pid, name });

/// A number as IDs are written.
fn hex(number: u16) -> String {
    format!("{number:04x}")
}

impl DeviceEntry {
    /// What there is to tell about a device.
    pub fn new(device: &Device, names: &Names, features: &Features, open_by: Option<Vec<Holder>>) -> Self {
        let detail = device.detail.clone().unwrap_or_default();
        let identity = device.identity;
        let bar = |bar: &ResizableBar| {
            let mask = bar.sizes;
            // 2^44 MiB do not fit into a number of bytes.
            let sizes = (0..44_u32).filter(|bit| mask.checked_shr(*bit).is_some_and(|rest| rest & 1 == 1));
            Bar { bar: bar.bar, size: bar.size, sizes: sizes.map(|bit| (1 << 20_u64) << bit).collect() }
        };
        Self {
            address: device.address.to_string(),
            vendor: hex(identity.vendor),
            device: hex(identity.device),
            subsystem_vendor: hex(identity.subvendor),
            subsystem_device: hex(identity.subdevice),
            class: identity.class.to_string(),
            class_name: identity.class.name().to_owned(),
            name: match (names.vendor.as_str(), names.device.as_str()) {
                ("", _) => identity.id(),
                (vendor, "") => format!("{vendor} {}", hex(identity.device)),
                (vendor, device) => format!("{vendor} {device}"),
            },
            subsystem_name: Some(names.subsystem.clone()).filter(|name| !name.is_empty()),
            driver: detail.driver,
            driver_override: detail.driver_override,
            iommu_group: detail.group,
            numa_node: detail.numa_node,
            boot_vga: detail.boot_vga,
            reset_methods: detail.reset_methods,
            resets: features.resets,
            power_state: detail.power_state,
            d3cold_allowed: features.d3cold_allowed,
            resizable_bars: features.bars.iter().map(bar).collect(),
            sriov_numvfs: features.virtual_functions.map(|(now, _)| now),
            sriov_totalvfs: features.virtual_functions.map(|(_, most)| most),
            physfn: features.physical.clone(),
            open_by: open_by.map(|holders| {
                holders.into_iter().map(|holder| Process { pid: holder.process, name: holder.name }).collect()
            }),
        }
    }
}
