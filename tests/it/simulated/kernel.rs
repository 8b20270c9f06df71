// SPDX-License-Identifier: MIT OR Apache-2.0
//! The driver core: which driver matches, probes, holds and leaves a device (Linux 6.1: drivers/base/bus.c,
//! drivers/base/dd.c, drivers/pci/pci-driver.c).

use std::collections::BTreeMap;

use nix::errno::Errno;
use vfio_early::machine::{Node, Tree};
use vfio_early::pci::parse_modalias;

use super::driver::{Driver, Outcome, Probe};
use super::held::Held;
use super::links::{put_line, put_link};
use super::modules::Module;

/// Why an operation did not succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// With an error number.
    Errno(Errno),
    /// With the words of another program.
    Said(String),
    /// It did not come back in time.
    Hung,
}

impl From<Errno> for Stop {
    fn from(errno: Errno) -> Self {
        Self::Errno(errno)
    }
}

/// Everything that the kernel knows.
#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    /// The files.
    pub(crate) tree: Tree,
    /// Registered drivers, in the order of their registration.
    pub(crate) drivers: Vec<Driver>,
    /// Modules, in the order of modules.alias.
    pub(crate) modules: Vec<Module>,
    /// There is a modprobe.
    pub(crate) modprobe: bool,
    /// The program runs as root.
    pub(crate) root: bool,
    /// Probes that do not simply succeed, by driver and device.
    pub(crate) probe: BTreeMap<(String, String), Probe>,
    /// Devices that stay in D3cold whatever is done.
    pub(crate) stuck: Vec<String>,
    /// The state in which a device sleeps below a VFIO driver; D3hot where nothing is said.
    pub(crate) sleep: BTreeMap<String, &'static str>,
    /// Every probe that happened.
    pub(crate) probes: Vec<(String, String, Outcome)>,
    /// Devices whose option ROM is switched on for readers.
    pub(crate) roms: Vec<String>,
    /// The reset methods that the kernel found for a device, by its directory, once somebody has changed them.
    pub(crate) resets: BTreeMap<String, String>,
    /// How large a BAR can get where the window of the bridge above is small: this power of two, in MiB. 0: there is no
    /// bridge above, so that any size is taken, and no place is found for it afterwards.
    pub(crate) windows: BTreeMap<String, u32>,
    /// What hangs.
    pub(crate) held: Held,
    /// Reads that would have hung for ever.
    pub(crate) deadlocks: Vec<String>,
}

impl State {
    /// The names of a bus' devices.
    pub(crate) fn devices(&self, bus: &str) -> Vec<String> {
        self.tree.list(&format!("/sys/bus/{bus}/devices")).unwrap_or_default()
    }

    /// The canonical directory of a device; `ENODEV` where there is none.
    pub(crate) fn directory(&self, bus: &str, device: &str) -> Result<String, Errno> {
        if device.is_empty() || device.contains('/') {
            return Err(Errno::ENODEV);
        }
        self.tree.resolve(&format!("/sys/bus/{bus}/devices/{device}"), true).map_err(|_| Errno::ENODEV)
    }

    /// The driver whose link the device shows.
    pub(crate) fn driver_of(&self, bus: &str, device: &str) -> Option<String> {
        let target = self.tree.link(&format!("{}/driver", self.directory(bus, device).ok()?)).ok()?;
        Some(target.rsplit('/').next().unwrap_or(target).to_owned())
    }

    /// The driver override of a device.
    pub(crate) fn override_of(&self, bus: &str, device: &str) -> Option<String> {
        let path = format!("{}/driver_override", self.directory(bus, device).ok()?);
        let text = String::from_utf8_lossy(self.tree.file(&path).ok()?).trim_end().to_owned();
        (text != "(null)").then_some(text)
    }

    /// Changes the driver override of a PCI device.
    pub(crate) fn set_override(&mut self, device: &str, name: Option<&str>) {
        let directory = self.directory("pci", device).unwrap();
        put_line(&mut self.tree, &format!("{directory}/driver_override"), name.unwrap_or("(null)"));
    }

    /// The reset methods that the kernel found for a PCI device, whatever its list says now.
    pub(crate) fn supports_resets(&mut self, device: &str, methods: &str) {
        let directory = self.directory("pci", device).unwrap();
        self.resets.insert(directory, methods.to_owned());
    }

    /// Puts a PCI device on this driver, with its override, as somebody may have done before the program runs.
    pub(crate) fn claim(&mut self, device: &str, driver: &str) {
        self.set_override(device, Some(driver));
        if let Some(holder) = self.driver_of("pci", device) {
            self.unbind("pci", &holder, device).unwrap();
        }
        self.attach("pci", device).unwrap();
    }

    pub(super) fn modalias(&self, bus: &str, device: &str) -> String {
        let path = self.directory(bus, device).map(|directory| format!("{directory}/modalias"));
        let content = path.ok().and_then(|path| self.tree.file(&path).ok()).unwrap_or_default();
        String::from_utf8_lossy(content).trim_end().to_owned()
    }

    /// Whether a driver may have a device (`pci_match_device`, `platform_match`): with an override only the driver of that
    /// name, whatever its table says.
    fn matches(&self, driver: &Driver, device: &str) -> bool {
        if let Some(only) = self.override_of(driver.bus, device) {
            return only == driver.name;
        }
        if driver.bus == "platform" {
            return device.split('.').next() == Some(&driver.name);
        }
        let modalias = self.modalias(driver.bus, device);
        let identity = parse_modalias(modalias.as_bytes());
        driver.ids.iter().any(|id| id.matches(&modalias))
            || identity.is_some_and(|identity| driver.dynamic.iter().any(|id| id.matches(&identity)))
    }

    /// Lets a driver try a device (`__driver_probe_device`, `really_probe`).
    fn probe(&mut self, driver: &Driver, device: &str) -> Result<Outcome, Stop> {
        let directory = self.directory(driver.bus, device)?;
        self.lock(device)?;
        if self.driver_of(driver.bus, device).is_some() {
            return Err(Errno::EBUSY.into());
        }
        // The links are there before the driver is asked: somebody who looks meanwhile takes the device for bound.
        self.add_links(driver, device, &directory);
        let key = (driver.name.clone(), device.to_owned());
        let outcome = match self.probe.get(&key).copied() {
            Some(Probe::Fail(errno)) => Outcome::Refused(errno),
            Some(Probe::FailOnce(errno)) => {
                self.probe.remove(&key);
                Outcome::Refused(errno)
            }
            Some(Probe::HangThenBind | Probe::HangThenFail(_)) => Outcome::Hung,
            None if driver.vfio && !self.fit_for_vfio(device, &directory) => Outcome::Refused(Errno::EINVAL),
            None => Outcome::Bound,
        };
        self.probes.push((driver.name.clone(), device.to_owned(), outcome));
        match outcome {
            Outcome::Bound => self.bound(driver, device, &directory),
            Outcome::Refused(_) => self.remove_links(driver, device, &directory),
            Outcome::Hung => {
                self.held.probing(driver.clone(), device);
                return Err(Stop::Hung);
            }
        }
        Ok(outcome)
    }

    /// Ends a probe that hung.
    pub(super) fn end_probe(&mut self, driver: &Driver, device: &str) {
        let Ok(directory) = self.directory(driver.bus, device) else { return };
        let how = self.probe.remove(&(driver.name.clone(), device.to_owned()));
        let outcome = if let Some(Probe::HangThenFail(errno)) = how {
            self.remove_links(driver, device, &directory);
            Outcome::Refused(errno)
        } else {
            self.bound(driver, device, &directory);
            Outcome::Bound
        };
        self.probes.push((driver.name.clone(), device.to_owned(), outcome));
    }

    /// `vfio_pci_core_register_device` wants a plain header and a group.
    fn fit_for_vfio(&self, device: &str, directory: &str) -> bool {
        let bridge = parse_modalias(self.modalias("pci", device).as_bytes()).is_some_and(|id| id.class.is_pci_bridge());
        !bridge && self.tree.link(&format!("{directory}/iommu_group")).is_ok()
    }

    fn add_links(&mut self, driver: &Driver, device: &str, directory: &str) {
        let home = format!("/sys/bus/{}/drivers/{}", driver.bus, driver.name);
        put_link(&mut self.tree, &format!("{directory}/driver"), &home);
        put_link(&mut self.tree, &format!("{home}/{device}"), directory);
    }

    fn remove_links(&mut self, driver: &Driver, device: &str, directory: &str) {
        self.tree.remove(&format!("{directory}/driver"));
        self.tree.remove(&format!("/sys/bus/{}/drivers/{}/{device}", driver.bus, driver.name));
    }

    fn bound(&mut self, driver: &Driver, device: &str, directory: &str) {
        if driver.bus != "pci" {
            return;
        }
        // A device is awake while it is probed (`local_pci_probe`); vfio-pci then lets it sleep (`pm_runtime_allow`).
        self.wake(device, directory);
        if driver.vfio {
            put_line(&mut self.tree, &format!("{directory}/power/control"), "auto");
            if !self.stuck.iter().any(|stuck| stuck == device) {
                let state = self.sleep.get(device).copied().unwrap_or("D3hot");
                put_line(&mut self.tree, &format!("{directory}/power_state"), state);
            }
        }
    }

    /// Powers a device up, if it can be.
    pub(super) fn wake(&mut self, device: &str, directory: &str) {
        if !self.stuck.iter().any(|stuck| stuck == device) {
            put_line(&mut self.tree, &format!("{directory}/power_state"), "D0");
        }
    }

    /// Offers a device to every driver until one takes it (`device_attach`). Drivers that refuse are passed over.
    pub(super) fn attach(&mut self, bus: &str, device: &str) -> Result<(), Stop> {
        self.lock(device)?;
        if self.driver_of(bus, device).is_some() {
            return Ok(());
        }
        for driver in self.drivers.clone().iter().filter(|driver| driver.bus == bus) {
            if self.matches(driver, device) && self.probe(driver, device)? == Outcome::Bound {
                break;
            }
        }
        Ok(())
    }

    /// Offers every device to a driver (`driver_attach`).
    pub(super) fn attach_all(&mut self, driver: &Driver) -> Result<(), Stop> {
        self.attach_from(driver, "").map_err(|(stop, _)| stop)
    }

    /// Offers the devices from this one on to a driver. Where one of them hangs, says with which to go on afterwards.
    pub(super) fn attach_from(&mut self, driver: &Driver, first: &str) -> Result<(), (Stop, String)> {
        for device in self.devices(driver.bus) {
            if device.as_str() < first || !self.matches(driver, &device) {
                continue;
            }
            self.lock(&device).map_err(|stop| (stop, device.clone()))?;
            if self.driver_of(driver.bus, &device).is_none() {
                self.probe(driver, &device).map_err(|stop| (stop, format!("{device}+")))?;
            }
        }
        Ok(())
    }

    /// Adds a driver to its bus (`bus_add_driver`). The files to write to come last, after the first probes.
    pub(super) fn register(&mut self, driver: Driver) -> Result<(), Stop> {
        let home = format!("/sys/bus/{}/drivers/{}", driver.bus, driver.name);
        self.tree.put(&home, Node::Directory);
        self.drivers.push(driver.clone());
        let auto = format!("/sys/bus/{}/drivers_autoprobe", driver.bus);
        if !self.tree.file(&auto).is_ok_and(|value| value.starts_with(b"0")) {
            if let Err((stop, next)) = self.attach_from(&driver, "") {
                self.held.registering(driver, next);
                return Err(stop);
            }
        }
        self.finish_registration(&driver);
        Ok(())
    }

    /// Gives a driver its files.
    pub(super) fn finish_registration(&mut self, driver: &Driver) {
        let names: &[&str] = if driver.bus == "pci" {
            &["bind", "unbind", "new_id", "remove_id", "uevent"]
        } else {
            &["bind", "unbind", "uevent"]
        };
        for name in names {
            let path = format!("/sys/bus/{}/drivers/{}/{name}", driver.bus, driver.name);
            self.tree.put(&path, Node::File(Vec::new()));
        }
    }

    /// Binds one device to one driver (`bind_store`).
    pub(super) fn bind(&mut self, bus: &str, driver: &str, device: &str) -> Result<(), Stop> {
        self.directory(bus, device)?;
        let found = self.drivers.iter().find(|known| known.bus == bus && known.name == driver).cloned();
        let driver = found.ok_or(Errno::ENODEV)?;
        if !self.matches(&driver, device) {
            return Err(Errno::ENODEV.into());
        }
        match self.probe(&driver, device)? {
            Outcome::Refused(errno) => Err(errno.into()),
            Outcome::Bound | Outcome::Hung => Ok(()),
        }
    }

    /// Takes a device away from a driver (`unbind_store`).
    pub(super) fn unbind(&mut self, bus: &str, driver: &str, device: &str) -> Result<(), Stop> {
        let directory = self.directory(bus, device)?;
        if self.driver_of(bus, device).as_deref() != Some(driver) {
            return Err(Errno::ENODEV.into());
        }
        self.lock(device)?;
        let found = self.drivers.iter().find(|known| known.bus == bus && known.name == driver).cloned();
        let driver = found.ok_or(Errno::ENODEV)?;
        self.remove_links(&driver, device, &directory);
        if bus == "pci" {
            self.wake(device, &directory);
        }
        if driver.vfio {
            // `vfio_pci_core_unregister_device`: pm_runtime_forbid().
            put_line(&mut self.tree, &format!("{directory}/power/control"), "on");
        }
        self.remove_children(&directory);
        Ok(())
    }

    /// What a driver made of its device (frame buffers, network interfaces) goes with it.
    fn remove_children(&mut self, directory: &str) {
        for class in ["drm", "graphics", "net", "sound", "usb", "block", "nvme", "ata"] {
            let below = format!("{directory}/{class}");
            self.tree.remove(&below);
            for name in self.tree.list(&format!("/sys/class/{class}")).unwrap_or_default() {
                let link = format!("/sys/class/{class}/{name}");
                if self.tree.resolve(&link, true).is_err() {
                    self.tree.remove(&link);
                }
            }
        }
    }

    /// A PCI device is pulled out, with everything below it (`pci_stop_and_remove_bus_device`).
    pub(crate) fn vanish(&mut self, device: &str) {
        let Ok(directory) = self.directory("pci", device) else { return };
        let below = format!("{directory}/");
        for name in self.devices("pci") {
            let Ok(path) = self.directory("pci", &name) else { continue };
            if path != directory && !path.starts_with(&below) {
                continue;
            }
            if let Some(driver) = self.driver_of("pci", &name) {
                self.tree.remove(&format!("/sys/bus/pci/drivers/{driver}/{name}"));
            }
            if let Ok(group) = self.tree.resolve(&format!("{path}/iommu_group"), true) {
                self.tree.remove(&format!("{group}/devices/{name}"));
                if self.tree.list(&format!("{group}/devices")).is_ok_and(|members| members.is_empty()) {
                    self.tree.remove(&group);
                }
            }
            self.tree.remove(&format!("/sys/bus/pci/devices/{name}"));
            self.held.forget(&name);
        }
        self.tree.remove(&directory);
    }
}
