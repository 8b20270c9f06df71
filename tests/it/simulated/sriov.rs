// SPDX-License-Identifier: MIT OR Apache-2.0
//! Virtual functions (drivers/pci/iov.c).

use nix::errno::Errno;
use vfio_early::pci::{Address, Identity, parse_modalias};

use super::device::{name, parent};
use super::driver::VirtualFunctions;
use super::kernel::{State, Stop};
use super::links::{put_line, put_link};
use super::version::Version;

/// What a physical function can make.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sriov {
    /// How many.
    pub(crate) total: u16,
    /// The device ID that they have.
    pub(crate) device: u16,
    /// The routing ID of the first one, counted from the physical function's.
    pub(crate) offset: u16,
    /// From one to the next.
    pub(crate) stride: u16,
}

/// What udev is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    /// `add`, `remove` or `change`.
    pub(crate) action: &'static str,
    /// The PCI device.
    pub(crate) device: String,
}

impl State {
    /// Makes a function one that has virtual ones (`sriov_pf_attrs_are_visible`).
    pub(crate) fn add_sriov(&mut self, device: &str, sriov: Sriov) {
        let directory = self.directory("pci", device).unwrap();
        for (name, value) in [
            ("sriov_totalvfs", sriov.total.to_string()),
            ("sriov_numvfs", "0".to_owned()),
            ("sriov_drivers_autoprobe", "1".to_owned()),
            ("sriov_offset", sriov.offset.to_string()),
            ("sriov_stride", sriov.stride.to_string()),
            ("sriov_vf_device", format!("{:x}", sriov.device)),
        ] {
            put_line(&mut self.tree, &format!("{directory}/{name}"), &value);
        }
        self.sriov.insert(device.to_owned(), sriov);
    }

    /// `pci_num_vf`: 0 until all of them are there.
    pub(super) fn virtual_functions(&self, device: &str) -> u16 {
        self.attribute_of(device, "sriov_numvfs").and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    /// Whether a function is a virtual one. The kernel knows it before the link `physfn` is there.
    pub(super) fn is_virtual(&self, device: &str) -> bool {
        self.physical.contains_key(device)
    }

    /// `pci_device_can_probe`: not a virtual function while its physical one says no, unless it has an override. Asked
    /// before the driver is, whatever led to the probe.
    pub(super) fn can_probe(&self, device: &str) -> bool {
        let Some(physical) = self.physical.get(device) else { return true };
        let autoprobe = self.attribute_of(physical, "sriov_drivers_autoprobe");
        autoprobe.as_deref() != Some("0") || self.override_of("pci", device).is_some()
    }

    /// `sriov_drivers_autoprobe_store`: `kstrtobool`, no lock.
    pub(super) fn store_autoprobe(&mut self, directory: &str, value: &str) -> Result<(), Stop> {
        let on = match value.to_ascii_lowercase().as_bytes() {
            [b'y' | b't' | b'1', ..] | [b'o', b'n', ..] => "1",
            [b'n' | b'f' | b'0', ..] | [b'o', b'f', ..] => "0",
            _ => return Err(Errno::EINVAL.into()),
        };
        put_line(&mut self.tree, &format!("{directory}/sriov_drivers_autoprobe"), on);
        Ok(())
    }

    /// `sriov_numvfs_store`. The caller has the device's lock.
    pub(super) fn store_numvfs(&mut self, directory: &str, value: &str) -> Result<(), Stop> {
        let device = name(directory).to_owned();
        let wanted: u16 = value.parse().map_err(|_| Errno::EINVAL)?;
        let sriov = *self.sriov.get(&device).ok_or(Errno::ENOENT)?;
        if wanted > sriov.total {
            return Err(Errno::ERANGE.into());
        }
        let now = self.virtual_functions(&device);
        if wanted == now {
            return Ok(());
        }
        let driver = self.driver_of("pci", &device).ok_or(Errno::ENOENT)?;
        let how = self.drivers.iter().find(|known| known.bus == "pci" && known.name == driver);
        let how = how.map_or(VirtualFunctions::None, |driver| driver.virtual_functions);
        // `vfio_pci_sriov_configure`
        let may = driver != "vfio-pci" || self.parameter("vfio_pci", "enable_sriov");
        if how == VirtualFunctions::None || !may {
            return Err(Errno::ENOENT.into());
        }
        if wanted == 0 {
            self.disable_sriov(&device);
            return Ok(());
        }
        if now > 0 {
            return Err(Errno::EBUSY.into());
        }
        self.enable_sriov(&device, 0, wanted)
    }

    /// `sriov_enable`: makes the virtual functions from this one on. While one of them hangs in its probe, the physical
    /// function's lock is held, the rest is not there, and `sriov_numvfs` still says 0.
    pub(super) fn enable_sriov(&mut self, device: &str, first: u16, number: u16) -> Result<(), Stop> {
        for index in first..number {
            let virtual_function = self.add_virtual(device);
            if let Err(Stop::Hung) = self.let_bind(&virtual_function) {
                self.held.making(device, index + 1, number);
                return Err(Stop::Hung);
            }
        }
        let Ok(directory) = self.directory("pci", device) else { return Ok(()) };
        self.events.push(Event { action: "change", device: device.to_owned() });
        put_line(&mut self.tree, &format!("{directory}/sriov_numvfs"), &number.to_string());
        Ok(())
    }

    /// `sriov_disable`
    pub(super) fn disable_sriov(&mut self, device: &str) {
        let own: Vec<String> =
            self.physical.iter().filter(|(_, physical)| *physical == device).map(|(name, _)| name.clone()).collect();
        for name in own {
            self.vanish(&name);
        }
        let Ok(directory) = self.directory("pci", device) else { return };
        for name in self.tree.list(&directory).unwrap_or_default().iter().filter(|name| name.starts_with("virtfn")) {
            self.tree.remove(&format!("{directory}/{name}"));
        }
        put_line(&mut self.tree, &format!("{directory}/sriov_numvfs"), "0");
        self.events.push(Event { action: "change", device: device.to_owned() });
    }

    /// The first half of `pci_iov_add_virtfn`: the next virtual function of this physical one is there, udev is told, no
    /// driver may bind it yet (`match_driver`, in 7.2 PCI_DEV_ALLOW_BINDING), and the links between the two are still to
    /// come. A test may let somebody act now; [`State::let_bind`] is the other half.
    pub(crate) fn add_virtual(&mut self, device: &str) -> String {
        let directory = self.directory("pci", device).unwrap();
        let sriov = self.sriov[device];
        let index = self.physical.values().filter(|physical| *physical == device).count();
        let index = u16::try_from(index).unwrap();
        let address = routed(device, sriov.offset + sriov.stride * index);
        let physical = parse_modalias(self.modalias("pci", device).as_bytes()).unwrap();
        let identity = Identity { device: sriov.device, ..physical };
        self.physical.insert(address.clone(), device.to_owned());
        self.add_device(&address, parent(&directory), &identity, true);
        let group = self.free_group();
        self.join_group(&address, Some(group));
        // `vfio_pci_bus_notifier`: below a physical function that a guest has, its virtual ones are not for the host. Of
        // VFIO's drivers vfio-pci alone makes any; the name is that of its operations, which is the driver's there.
        if self.has_vfio_driver(device) {
            let driver = self.driver_of("pci", device);
            self.set_override(&address, driver.as_deref());
        }
        self.not_yet.push(address.clone());
        self.events.push(Event { action: "add", device: address.clone() });
        address
    }

    /// The second half: the links (`pci_iov_sysfs_link`), and the kernel's own attempt to bind it (`pci_bus_add_device`).
    pub(crate) fn let_bind(&mut self, virtual_function: &str) -> Result<(), Stop> {
        let directory = self.directory("pci", virtual_function)?;
        let physical = self.physical.get(virtual_function).cloned().ok_or(Errno::ENODEV)?;
        let above = self.directory("pci", &physical)?;
        let names = self.tree.list(&above)?;
        let number = names.iter().filter(|name| name.starts_with("virtfn")).count();
        put_link(&mut self.tree, &format!("{above}/virtfn{number}"), &directory);
        put_link(&mut self.tree, &format!("{directory}/physfn"), &above);
        self.not_yet.retain(|known| known != virtual_function);
        // Only 7.2 asks (`device_initial_probe`).
        let auto = self.tree.file("/sys/bus/pci/drivers_autoprobe").is_ok_and(|value| value.starts_with(b"1"));
        if auto || self.version < Version::V7_2 {
            // Nobody is told of a probe that fails.
            if self.attach("pci", virtual_function) == Err(Stop::Hung) {
                return Err(Stop::Hung);
            }
        }
        Ok(())
    }

    /// Forgets what a device that is gone had to do with virtual functions.
    pub(super) fn forget_virtual(&mut self, device: &str) {
        self.physical.remove(device);
        self.sriov.remove(device);
        self.not_yet.retain(|known| known != device);
        self.events.push(Event { action: "remove", device: device.to_owned() });
    }

    /// Takes what udev was told since the last time.
    pub(crate) fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }
}

/// The address this many routing IDs after another (`pci_iov_virtfn_bus`, `pci_iov_virtfn_devfn`).
fn routed(address: &str, distance: u16) -> String {
    let mut address: Address = address.parse().unwrap();
    let [bus, low] =
        (u16::from_be_bytes([address.bus, address.device << 3 | address.function]) + distance).to_be_bytes();
    (address.bus, address.device, address.function) = (bus, low >> 3, low & 7);
    address.to_string()
}
