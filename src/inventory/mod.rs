// SPDX-License-Identifier: MIT OR Apache-2.0
//! One picture of the machine: what /sys and /proc say, read once, as plain data.
//!
//! Two looks: [`Inventory::survey`] learns what every device is, with one read each; [`Inventory::read_details`] learns more of
//! the devices that matter. What matters is decided in between, by others.

mod config_spaces;
mod cores;
mod device;
mod features;
mod holders;
mod in_use;
mod iommu;
mod system;

use crate::groups::Function;
use crate::machine::{self, Error, Machine};
use crate::pci::{Address, is_vfio_driver, parse_modalias};

pub use cores::{cores_of_node, cpus};
pub(crate) use device::driver;
pub use device::{Detail, Device};
pub use features::{Features, ResizableBar};
pub(crate) use features::{bar_size, hexadecimal};
pub use holders::{Holder, Holders};
pub use in_use::{Mount, Use};
pub use iommu::{Firmware, Group, IommuFacts, Processor};
pub use system::FirmwareFramebuffer;

/// Where the PCI bus is.
pub const PCI: &str = "/sys/bus/pci";

/// Where saved option ROMs lie, each as ADDRESS.rom.
pub const ROM_DIRECTORY: &str = "/run/vfio-early/rom";

/// Where the option ROM of a device is saved.
pub fn rom_path(address: Address) -> String {
    format!("{ROM_DIRECTORY}/{address}.rom")
}

/// How much of the kernel command line is read; the kernel's own limit is 2048 bytes on x86, more elsewhere.
const COMMAND_LINE: usize = 64 * 1024;

/// What was read of a machine.
#[derive(Clone, Debug, Default)]
pub struct Inventory {
    /// The kernel's release, as `uname -r` prints it.
    pub kernel: String,
    /// Milliseconds since the kernel started.
    pub uptime_ms: u64,
    /// Whether this is an initramfs: its root is the kernel's own, or it says so.
    pub initramfs: bool,
    /// The mounted file systems.
    pub mounts: Vec<Mount>,
    /// What the running system stands on, when devices were looked at closer; an initramfs stands on nothing.
    pub in_use: Vec<Use>,
    /// The kernel command line, as it stands in /proc/cmdline.
    pub command_line: Vec<u8>,
    /// Every PCI function, sorted by address.
    pub devices: Vec<Device>,
    /// The devices that cannot be detached because of a guest, when they were asked for: each with the function that is
    /// open, itself or a virtual one of its own, and with the process that has it.
    pub guests: Vec<(Address, Address, Holder)>,
    /// The PCI drivers that are registered now.
    pub drivers: Vec<String>,
    /// What is known of the IOMMU.
    pub iommu: IommuFacts,
    /// The IOMMU groups of the devices that were looked at closer, by number.
    pub groups: Vec<Group>,
    /// The firmware's framebuffers that a driver holds.
    pub framebuffers: Vec<FirmwareFramebuffer>,
    /// The files in which option ROMs have been saved, when they were asked for.
    pub saved_roms: Vec<String>,
    /// modules.alias of the running kernel, when it was asked for.
    pub aliases: Vec<u8>,
    /// Every function as the examination of groups wants it, when it was asked for.
    pub functions: Vec<Function>,
    /// The number and the type of the groups of those functions.
    pub group_types: Vec<(u32, String)>,
}

impl Inventory {
    /// What every device is. `chains` asks for the bridges above each device too, one more system call each. A machine
    /// without PCI has no devices; that /sys cannot be read is an error.
    pub fn survey(machine: &dyn Machine, chains: bool) -> Result<Self, Error> {
        let names = match machine.list("/sys/bus/pci/devices") {
            Ok(names) => names,
            Err(error) if error.is_missing() => {
                // No PCI is one thing; no /sys at all is another.
                machine.list("/sys/bus").or_else(|_| machine.list("/sys/class"))?;
                Vec::new()
            }
            Err(error) => return Err(error),
        };
        let mut devices = Vec::with_capacity(names.len());
        for name in names {
            let Ok(address) = name.parse::<Address>() else { continue };
            // A device may go between the listing and the look.
            let Ok(modalias) = machine.attribute(&format!("{PCI}/devices/{name}/modalias")) else { continue };
            let Some(identity) = parse_modalias(&modalias) else { continue };
            let chain = if chains { device::chain(machine, address) } else { Vec::new() };
            devices.push(Device { address, identity, chain, detail: None });
        }
        devices.sort_unstable_by_key(|device| device.address);
        let mounts = in_use::mounts(&machine.read_prefix("/proc/self/mountinfo", in_use::MOST).unwrap_or_default());
        Ok(Self {
            kernel: machine::text(machine, "/proc/sys/kernel/osrelease").unwrap_or_default(),
            uptime_ms: system::uptime_ms(machine),
            initramfs: system::is_initramfs(machine, &mounts),
            mounts,
            in_use: Vec::new(),
            command_line: machine.read_prefix("/proc/cmdline", COMMAND_LINE).unwrap_or_default(),
            devices,
            guests: Vec::new(),
            drivers: machine.list("/sys/bus/pci/drivers").unwrap_or_default(),
            iommu: IommuFacts::read(machine),
            groups: Vec::new(),
            framebuffers: Vec::new(),
            saved_roms: Vec::new(),
            aliases: Vec::new(),
            functions: Vec::new(),
            group_types: Vec::new(),
        })
    }

    /// Looks closer at these devices, at the IOMMU groups that they are in, and at everything else in those groups.
    pub fn read_details(&mut self, machine: &dyn Machine, addresses: &[Address]) {
        let mut ids: Vec<u32> = self.detail(machine, addresses);
        ids.sort_unstable();
        ids.dedup();
        ids.retain(|id| self.groups.iter().all(|group| group.id != *id));
        let new: Vec<Group> = ids.into_iter().map(|id| Group::read(machine, id)).collect();
        let members: Vec<Address> = new.iter().flat_map(|group| group.members.clone()).collect();
        self.detail(machine, &members);
        self.groups.extend(new);
        self.groups.sort_unstable_by_key(|group| group.id);
        self.framebuffers = FirmwareFramebuffer::read(machine);
        if !self.initramfs {
            self.in_use = in_use::read(machine, &self.mounts);
        }
    }

    /// Looks which of these devices are open for a guest, or have virtual functions that are: those go when their driver
    /// is detached. Nobody can have open what no VFIO driver holds.
    pub fn find_guests(&mut self, machine: &dyn Machine, addresses: &[Address]) {
        let mut holders = None;
        for address in addresses {
            let mut functions = vec![*address];
            let directory = format!("{PCI}/devices/{address}");
            for name in machine.list(&directory).unwrap_or_default().iter().filter(|name| name.starts_with("virtfn")) {
                let virtual_function = machine::link_name(machine, &format!("{directory}/{name}")).unwrap_or_default();
                functions.extend(virtual_function.parse::<Address>());
            }
            for function in functions {
                let driver = driver(machine, function).unwrap_or_default().filter(|driver| is_vfio_driver(driver));
                let Some(driver) = driver else { continue };
                let holders = holders.get_or_insert_with(|| Holders::read(machine));
                let found = holders.of_device(machine, function, &driver).unwrap_or_default();
                self.guests.extend(found.into_iter().next().map(|holder| (*address, function, holder)));
            }
        }
    }

    /// Reads modules.alias, which names the modules that want a device.
    pub fn read_aliases(&mut self, machine: &dyn Machine) {
        self.aliases = Self::aliases_of(machine, &self.kernel);
    }

    /// Looks which option ROMs have been saved.
    pub fn list_saved_roms(&mut self, machine: &dyn Machine) {
        self.saved_roms = machine.list(ROM_DIRECTORY).unwrap_or_default();
    }

    /// Looks which BARs of these devices can be resized.
    pub fn read_bars(&mut self, machine: &dyn Machine, addresses: &[Address]) {
        for address in addresses {
            let Some(device) = self.device_mut(*address) else { continue };
            let bars = Features::read(machine, device).bars;
            if let Some(detail) = &mut device.detail {
                detail.bars = bars;
            }
        }
    }

    /// modules.alias of a kernel; empty where there is none.
    pub fn aliases_of(machine: &dyn Machine, kernel: &str) -> Vec<u8> {
        const MOST: usize = 16 * 1024 * 1024;
        machine.read(&format!("/lib/modules/{kernel}/modules.alias"), MOST).unwrap_or_default()
    }

    /// The device at an address.
    pub fn device(&self, address: Address) -> Option<&Device> {
        let index = self.devices.binary_search_by_key(&address, |device| device.address).ok()?;
        self.devices.get(index)
    }

    /// The IOMMU group that a device is in, as far as it was looked at.
    pub fn group_of(&self, device: &Device) -> Option<&Group> {
        let id = device.detail.as_ref()?.group?;
        self.groups.iter().find(|group| group.id == id)
    }

    /// Fills in the details of these devices; returns their groups.
    fn detail(&mut self, machine: &dyn Machine, addresses: &[Address]) -> Vec<u32> {
        let mut groups = Vec::new();
        let mut new = Vec::new();
        for address in addresses {
            let Some(device) = self.device_mut(*address) else { continue };
            if device.detail.is_none() {
                new.push(*address);
            }
            groups.extend(device.detail.get_or_insert_with(|| Detail::read(machine, *address)).group);
        }
        for (address, name) in new.iter().zip(device::overrides(machine, &new)) {
            if let Some(detail) = self.device_mut(*address).and_then(|device| device.detail.as_mut()) {
                detail.driver_override = name;
            }
        }
        groups
    }

    fn device_mut(&mut self, address: Address) -> Option<&mut Device> {
        let index = self.devices.binary_search_by_key(&address, |device| device.address).ok()?;
        self.devices.get_mut(index)
    }
}
