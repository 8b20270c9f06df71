// SPDX-License-Identifier: MIT OR Apache-2.0
//! The inventory of a machine: what /sys and /proc say about it, read once, as plain data.
//!
//! [`Inventory::survey`] identifies all devices, with one read each. The caller decides which devices matter, and
//! [`Inventory::read_details`] reads the rest about those.

mod arm;
mod card;
mod config_spaces;
mod cores;
mod device;
mod features;
mod holders;
mod host_display;
mod in_use;
mod iommu;
mod ivrs;
mod resources;
mod sriov;
mod system;

use crate::groups::Function;
use crate::machine::{self, Error, Machine};
use crate::pci::{Address, is_vfio_driver};
use crate::trial;

pub(crate) use arm::has_no_lpis;
pub use arm::{Its, TreeIommu};
pub use card::Card;
pub use cores::{Core, cores_of_nodes, cpus};
pub use device::{Detail, Device, Extent};
pub(crate) use device::{driver, identity};
pub use features::{Features, ResizableBar};
pub(crate) use features::{bar_size, hexadecimal};
pub use holders::{Holder, Holders};
pub use host_display::{Evidence, HostDisplay};
pub(crate) use in_use::{DEVICE_MINOR, default_routes, is_device_file, mounts, swaps};
pub use in_use::{Mount, Use};
use iommu::VIRTIO_IOMMU;
pub(crate) use iommu::is_virtio;
pub use iommu::{FirmwareTable, Group, IommuFacts, Processor, Xen};
pub use resources::Resources;
pub use sriov::PhysicalFunction;
pub use system::FirmwareFramebuffer;

/// The PCI bus in sysfs.
pub const PCI: &str = "/sys/bus/pci";

/// The directory with saved option ROMs, named ADDRESS.rom.
pub const ROM_DIRECTORY: &str = "/run/vfio-early/rom";

/// The path of a device's saved option ROM.
pub fn rom_path(address: Address) -> String {
    format!("{ROM_DIRECTORY}/{address}.rom")
}

/// The maximum size of the kernel command line in bytes. The kernel's own limit is 2048 bytes on x86, more elsewhere.
const MAX_COMMAND_LINE: usize = 64 * 1024;

/// The inventory of a machine.
#[derive(Clone, Debug, Default)]
pub struct Inventory {
    /// The kernel's release, as `uname -r` prints it.
    pub kernel: String,
    /// Milliseconds since the kernel started.
    pub uptime_ms: u64,
    /// Whether the machine is still in the initramfs.
    pub initramfs: bool,
    /// The mounted file systems.
    pub mounts: Vec<Mount>,
    /// The uses of PCI functions by the running system, once details were read; empty in the initramfs. Uses by processes are
    /// added by [`Inventory::find_processes`].
    pub in_use: Vec<Use>,
    /// The content of /proc/cmdline.
    pub command_line: Vec<u8>,
    /// Every PCI function, sorted by address.
    pub devices: Vec<Device>,
    /// The devices that are open for a guest: the device, the open function (the device itself or one of its virtual
    /// functions) and the process. Filled by [`Inventory::find_guests`].
    pub guests: Vec<(Address, Address, Holder)>,
    /// The physical functions whose virtual functions are claimed, if they were read.
    pub physical_functions: Vec<PhysicalFunction>,
    /// Whether vfio-pci binds devices on its denylist as well; `None` if it is not loaded.
    pub denylist_disabled: Option<bool>,
    /// The registered PCI drivers.
    pub drivers: Vec<String>,
    /// The IOMMU.
    pub iommu: IommuFacts,
    /// The IOMMU groups of the devices with details, sorted by number.
    pub groups: Vec<Group>,
    /// The firmware framebuffers.
    pub framebuffers: Vec<FirmwareFramebuffer>,
    /// The names under which the memory of PCI functions is in use, if they were read.
    pub memory_users: Vec<(Address, String)>,
    /// The names of saved option ROMs. Filled by [`Inventory::list_saved_roms`].
    pub saved_roms: Vec<String>,
    /// modules.alias of the running kernel. Filled by [`Inventory::read_aliases`].
    pub aliases: Vec<u8>,
    /// All functions with their configuration spaces. Filled by [`Inventory::read_config_spaces`].
    pub functions: Vec<Function>,
    /// The number and the type of the groups of those functions.
    pub group_types: Vec<(u32, String)>,
    /// What is known of the trial of the configuration, if it was read.
    pub trial: Option<trial::Facts>,
}

/// The mounted file systems.
pub fn mounts_of(machine: &dyn Machine) -> Vec<Mount> {
    mounts(&machine.read_prefix("/proc/self/mountinfo", in_use::MAX_TABLE).unwrap_or_default())
}

impl Inventory {
    /// Identifies all devices. With `chains`, reads the bridges above each device as well, one more system call each; without,
    /// only those above displays and what may be part of their cards. A machine without PCI has no devices; an unreadable
    /// /sys is an error.
    pub fn survey(machine: &dyn Machine, chains: bool) -> Result<Self, Error> {
        let names = match machine.list("/sys/bus/pci/devices") {
            Ok(names) => names,
            Err(error) if error.is_missing() => {
                // Tell a machine without PCI from one without /sys.
                machine.list("/sys/bus").or_else(|_| machine.list("/sys/class"))?;
                Vec::new()
            }
            Err(error) => return Err(error),
        };
        let mut devices = Vec::with_capacity(names.len());
        for name in names {
            let Ok(address) = name.parse::<Address>() else { continue };
            // The device may have been removed since the listing.
            let Some(identity) = identity(machine, address) else { continue };
            let chain = if chains { device::chain(machine, address) } else { Vec::new() };
            devices.push(Device { address, identity, chain, physical: None, detail: None });
        }
        devices.sort_unstable_by_key(|device| device.address);
        let mounts = mounts_of(machine);
        let command_line = machine.read_prefix("/proc/cmdline", MAX_COMMAND_LINE).unwrap_or_default();
        let mut inventory = Self {
            kernel: machine::text(machine, "/proc/sys/kernel/osrelease").unwrap_or_default(),
            uptime_ms: system::uptime_ms(machine),
            initramfs: system::is_initramfs(machine, &mounts),
            mounts,
            in_use: Vec::new(),
            devices,
            guests: Vec::new(),
            physical_functions: Vec::new(),
            denylist_disabled: machine::text(machine, "/sys/module/vfio_pci/parameters/disable_denylist")
                .ok()
                .map(|text| text == "Y"),
            drivers: machine.list("/sys/bus/pci/drivers").unwrap_or_default(),
            iommu: IommuFacts::read(machine, &command_line),
            command_line,
            groups: Vec::new(),
            framebuffers: Vec::new(),
            memory_users: Vec::new(),
            saved_roms: Vec::new(),
            aliases: Vec::new(),
            functions: Vec::new(),
            group_types: Vec::new(),
            trial: None,
        };
        inventory.read_switches(machine);
        Ok(inventory)
    }

    /// Reads the details of these devices, and their IOMMU groups. `others` says how much is read about the other devices in
    /// those groups, unless they are displays: about displays, everything. What was read before is not read again.
    pub fn read_details(&mut self, machine: &dyn Machine, addresses: &[Address], others: Extent) {
        let mut ids: Vec<u32> = self.fill_details(machine, addresses, Extent::Full);
        ids.sort_unstable();
        ids.dedup();
        ids.retain(|id| self.groups.iter().all(|group| group.id != *id));
        let new: Vec<Group> = ids.into_iter().map(|id| Group::read(machine, id)).collect();
        let members: Vec<Address> = new.iter().flat_map(|group| group.members.clone()).collect();
        self.fill_details(machine, &members, others);
        self.groups.extend(new);
        self.groups.sort_unstable_by_key(|group| group.id);
        self.read_framebuffers(machine);
        // An initramfs may also be the root for good: then something is in use there as well.
        if !self.initramfs || in_use::is_likely(machine, &self.mounts) {
            self.in_use = in_use::read(machine, &self.mounts);
        }
    }

    /// Finds out which of these devices are open for a guest, or have virtual functions that are (they disappear when the
    /// device's driver is detached). Only functions that are bound to a VFIO driver can be open for a guest. `holders`: the
    /// processes, if they were read before.
    pub fn find_guests(&mut self, machine: &dyn Machine, addresses: &[Address], holders: &mut Option<Holders>) {
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

    /// Finds out which of these devices have device files of their host's driver that a process has open. In the initramfs, and
    /// without such a driver, there are none, and no search is made. `holders`: the processes, if they were read before.
    pub fn find_processes(&mut self, machine: &dyn Machine, addresses: &[Address], holders: &mut Option<Holders>) {
        let driver = |address: &Address| {
            let driver = self.device(*address)?.driver().filter(|driver| !is_vfio_driver(driver))?;
            Some((*address, driver.to_owned()))
        };
        let devices: Vec<(Address, String)> = addresses.iter().filter_map(driver).collect();
        if !self.initramfs && !devices.is_empty() {
            let holders = holders.get_or_insert_with(|| Holders::read(machine));
            self.in_use.extend(in_use::opened(machine, holders, &devices));
        }
    }

    /// Reads modules.alias, which maps modaliases to modules.
    pub fn read_aliases(&mut self, machine: &dyn Machine) {
        self.aliases = Self::aliases_of(machine, &self.kernel);
    }

    /// Lists the saved option ROMs.
    pub fn list_saved_roms(&mut self, machine: &dyn Machine) {
        self.saved_roms = machine.list(ROM_DIRECTORY).unwrap_or_default();
    }

    /// Reads the resizable BARs of these devices.
    pub fn read_bars(&mut self, machine: &dyn Machine, addresses: &[Address]) {
        for address in addresses {
            let Some(device) = self.device_mut(*address) else { continue };
            let bars = Features::read(machine, device).bars;
            if let Some(detail) = &mut device.detail {
                detail.bars = bars;
            }
        }
    }

    /// modules.alias of a kernel; empty if there is none.
    pub fn aliases_of(machine: &dyn Machine, kernel: &str) -> Vec<u8> {
        const MAX_SIZE: usize = 16 * 1024 * 1024;
        machine.read(&format!("/lib/modules/{kernel}/modules.alias"), MAX_SIZE).unwrap_or_default()
    }

    /// The device at an address.
    pub fn device(&self, address: Address) -> Option<&Device> {
        let index = self.devices.binary_search_by_key(&address, |device| device.address).ok()?;
        self.devices.get(index)
    }

    /// The firmware's framebuffers that lie in the memory of a device and are bound to a driver.
    pub fn framebuffers_of(&self, device: &Device) -> Vec<FirmwareFramebuffer> {
        let bound = self.framebuffers.iter().filter(|framebuffer| framebuffer.driver.is_some());
        bound.filter(|framebuffer| self.draws_on(framebuffer, device)).cloned().collect()
    }

    /// Whether a firmware framebuffer is in the memory of this display: its parent is this device, or, if the kernel does not
    /// tell its parent, this is the host's display or the only display.
    fn draws_on(&self, framebuffer: &FirmwareFramebuffer, device: &Device) -> bool {
        if !device.identity.class.is_display() {
            return false;
        }
        let mut displays = self.devices.iter().filter(|device| device.identity.class.shows_picture());
        match (framebuffer.parent, self.host_display()) {
            (Some(parent), _) => parent == device.address,
            (None, Some(host)) => host.address == device.address,
            (None, None) => displays.all(|other| other.address == device.address),
        }
    }

    /// Reads the firmware framebuffers, and who uses the memory of PCI functions where that matters.
    fn read_framebuffers(&mut self, machine: &dyn Machine) {
        let displays =
            self.devices.iter().filter(|device| device.identity.class.shows_picture() && !device.is_virtual());
        let displays: Vec<Address> = displays.map(|device| device.address).collect();
        self.framebuffers = FirmwareFramebuffer::read(machine, &displays);
        let homeless = |framebuffer: &FirmwareFramebuffer| framebuffer.driver.is_some() && framebuffer.parent.is_none();
        if self.framebuffers.iter().any(homeless)
            || self.devices.iter().any(|device| device.driver().is_some_and(is_vfio_driver))
        {
            self.memory_users =
                system::memory_users(&machine.read_prefix("/proc/iomem", in_use::MAX_TABLE).unwrap_or_default());
        }
        // In the memory of a display that no host driver has, what is no VFIO driver is the framebuffer's.
        let free = |address: &Address| {
            displays.contains(address) && self.device(*address).and_then(Device::driver).is_none_or(is_vfio_driver)
        };
        let mut parents: Vec<Address> = self.other_memory_users().map(|(address, _)| address).filter(free).collect();
        parents.dedup();
        if let [parent] = parents.as_slice() {
            let homeless = self.framebuffers.iter_mut().filter(|framebuffer| homeless(framebuffer));
            homeless.for_each(|framebuffer| framebuffer.parent = Some(*parent));
        }
    }

    /// Who uses the memory of PCI functions, apart from VFIO drivers.
    pub fn other_memory_users(&self) -> impl Iterator<Item = (Address, &str)> {
        // VFIO itself uses it as `vfio-pci` or `vfio`.
        let others = self.memory_users.iter().filter(|(_, name)| !name.starts_with("vfio") && !is_vfio_driver(name));
        others.map(|(address, name)| (*address, name.as_str()))
    }

    /// Whether a device without a group may get one when a driver takes it. Where the firmware's description of an SMMU or a
    /// virtio-iommu says which devices it translates for, Linux reads that when a driver probes the device
    /// (drivers/pci/pci-driver.c, `pci_dma_configure`), and since 6.15 before that (drivers/iommu/iommu.c, `iommu_init_device`).
    /// The group stays. VFIO takes no device without one, unless that is switched on (drivers/vfio/group.c,
    /// `vfio_group_find_or_alloc`).
    pub fn is_grouped_later(&self, device: &Device) -> bool {
        self.iommu.driver.is_some()
            && !self.iommu.allowed.no_iommu
            && self.iommu.device_tree != Some(TreeIommu::Unmapped)
            && device.detail.as_ref().is_some_and(|detail| detail.group.is_none() && detail.driver.is_none())
            && self.kernel_version().is_some_and(|version| version < (6, 15))
    }

    /// The IOMMU group of a device, if its details were read.
    pub fn group_of(&self, device: &Device) -> Option<&Group> {
        let id = device.detail.as_ref()?.group?;
        self.groups.iter().find(|group| group.id == id)
    }

    /// Reads the details of these devices; returns their groups.
    fn fill_details(&mut self, machine: &dyn Machine, addresses: &[Address], extent: Extent) -> Vec<u32> {
        let mut groups = Vec::new();
        let mut new = Vec::new();
        for address in addresses {
            let Some(device) = self.device_mut(*address) else { continue };
            let extent = if device.identity.class.is_display() { Extent::Full } else { extent };
            if device.detail.is_none() && extent == Extent::Full {
                new.push(*address);
            }
            groups.extend(device.detail.get_or_insert_with(|| Detail::read(machine, *address, extent)).group);
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
