// SPDX-License-Identifier: MIT OR Apache-2.0
//! The driver core: which driver matches, probes, holds and leaves a device (drivers/base/bus.c, drivers/base/dd.c,
//! drivers/pci/pci-driver.c; the three kernels agree but where it is said).

use std::collections::BTreeMap;

use nix::errno::Errno;
use vfio_early::machine::{Node, Tree};
use vfio_early::pci::parse_modalias;

use super::driver::{Driver, Outcome, Probe, VirtualFunctions};
use super::efivarfs::Firmware;
use super::framebuffer::Framebuffer;
use super::held::Held;
use super::links::{put_line, put_link};
use super::modules::Module;
use super::sriov::{Event, Sriov};
use super::version::Version;

/// Why an operation did not succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// With an error number.
    Errno(Errno),
    /// With an error number that has no name outside the kernel.
    Number(i32),
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
    /// Which kernel it is.
    pub(crate) version: Version,
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
    /// The ways to reset a device besides those of its bus; most have a function level reset.
    pub(crate) resets: BTreeMap<String, String>,
    /// Devices with PCI_DEV_FLAGS_NO_BUS_RESET, which nothing in sysfs shows.
    pub(crate) no_bus_reset: Vec<String>,
    /// Bridges with the capability of a CXL port, and whether they mask the reset of their bus.
    pub(crate) cxl_ports: BTreeMap<String, bool>,
    /// Devices whose configuration space reads as ones.
    pub(crate) dead: Vec<String>,
    /// Devices behind an IOMMU that does not keep caches coherent: VFIO will not have them, and finds out late.
    pub(crate) incoherent: Vec<String>,
    /// The IOMMU groups that guests have.
    pub(crate) owned: Vec<u32>,
    /// Bridges that are no PCI Express ports: pcieport will not have them. Whether they have a hot-plug controller.
    pub(crate) conventional: BTreeMap<String, bool>,
    /// The firmware's framebuffers.
    pub(crate) framebuffers: Vec<Framebuffer>,
    /// Physical functions.
    pub(crate) sriov: BTreeMap<String, Sriov>,
    /// Virtual functions, each with its physical one.
    pub(crate) physical: BTreeMap<String, String>,
    /// Virtual functions that no driver may bind yet.
    pub(crate) not_yet: Vec<String>,
    /// UEFI, where the machine was booted by it.
    pub(crate) firmware: Option<Firmware>,
    /// What udev was told.
    pub(crate) events: Vec<Event>,
    /// The firmware's placement of BARs is kept (`host->preserve_config`).
    pub(crate) preserves_config: bool,
    /// How large a BAR can get where the window of the bridge above is small: this power of two, in MiB. 0: there is no
    /// bridge above, and no place for a larger one.
    pub(crate) windows: BTreeMap<String, u32>,
    /// Devices that are in no IOMMU group yet, and the group that each will get (Linux before 6.15, behind an SMMU or a
    /// virtio-iommu).
    pub(crate) late_groups: BTreeMap<String, u32>,
    /// A device, and the module that something else loads right before the override of that device is written.
    pub(crate) intruder: Option<(String, String)>,
    /// Drivers that are still being registered, and after how many pauses they have been.
    pub(crate) registering: BTreeMap<String, usize>,
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
        let text = String::from_utf8_lossy(self.tree.file(&path).ok()?).trim_end_matches('\n').to_owned();
        (text != "(null)").then_some(text)
    }

    /// Changes the driver override of a PCI device.
    pub(crate) fn set_override(&mut self, device: &str, name: Option<&str>) {
        let directory = self.directory("pci", device).unwrap();
        put_line(&mut self.tree, &format!("{directory}/driver_override"), name.unwrap_or("(null)"));
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

    /// Whether a driver may have a device (`pci_bus_match`, `platform_match`): with an override only the driver of that
    /// name, byte for byte, whatever its table says (`pci_match_device`). What `ids=` and `new_id` added needs no override.
    pub(super) fn matches(&self, driver: &Driver, device: &str) -> bool {
        if driver.bus == "pci" && self.not_yet.iter().any(|known| known == device) {
            return false;
        }
        if let Some(only) = self.override_of(driver.bus, device) {
            return only == driver.name;
        }
        if driver.bus == "platform" {
            let kind = device.split('.').next().unwrap();
            let vga = driver.name == "vga16fb" && matches!(kind, "vga-framebuffer" | "ega-framebuffer");
            return kind == driver.name || vga;
        }
        let modalias = self.modalias(driver.bus, device);
        let identity = parse_modalias(modalias.as_bytes());
        driver.ids.iter().any(|id| id.matches(&modalias))
            || identity.is_some_and(|identity| driver.dynamic.iter().any(|id| id.matches(&identity)))
    }

    /// Lets a driver try a device (`__driver_probe_device`, `really_probe`). An error that is returned as such comes from
    /// the core: the driver was not asked.
    pub(super) fn probe(&mut self, driver: &Driver, device: &str) -> Result<Outcome, Stop> {
        let directory = self.directory(driver.bus, device)?;
        self.lock(device)?;
        if self.driver_of(driver.bus, device).is_some() {
            return Err(Errno::EBUSY.into());
        }
        // `pci_dma_configure`, whatever becomes of the probe.
        if let Some(group) = self.late_groups.remove(device) {
            self.join_group(device, Some(group));
        }
        self.use_dma(driver, &directory)?;
        // `pci_device_probe`; the links are there for a moment, and nothing is logged.
        if driver.bus == "pci" && !self.can_probe(device) {
            return Ok(Outcome::Refused(Errno::ENODEV));
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
            None => self.ask(driver, device, &directory).err().map_or(Outcome::Bound, Outcome::Refused),
        };
        self.probes.push((driver.name.clone(), device.to_owned(), outcome));
        match outcome {
            Outcome::Bound => self.bound(driver, device, &directory)?,
            Outcome::Refused(_) => self.remove_links(driver, device, &directory),
            Outcome::Hung => {
                self.held.probing(driver.clone(), device);
                return Err(Stop::Hung);
            }
        }
        Ok(outcome)
    }

    /// What a driver's own probe says.
    fn ask(&mut self, driver: &Driver, device: &str, directory: &str) -> Result<(), Errno> {
        let conventional = self.conventional.get(device);
        match driver.name.as_str() {
            // `pcie_portdrv_probe` takes root ports and those of switches, never a bridge to a conventional bus.
            "pcieport" if conventional.is_some() => Err(Errno::ENODEV),
            // `shpc_probe`
            "shpchp" if conventional != Some(&true) => Err(Errno::ENODEV),
            _ if driver.vfio => self.probe_vfio(driver, device, directory),
            _ => Ok(()),
        }
    }

    /// Ends a probe that hung.
    pub(super) fn end_probe(&mut self, driver: &Driver, device: &str) {
        let Ok(directory) = self.directory(driver.bus, device) else { return };
        let how = self.probe.remove(&(driver.name.clone(), device.to_owned()));
        let outcome = if let Some(Probe::HangThenFail(errno)) = how {
            self.remove_links(driver, device, &directory);
            Outcome::Refused(errno)
        } else if let Err(errno) = self.ask(driver, device, &directory) {
            self.remove_links(driver, device, &directory);
            Outcome::Refused(errno)
        } else {
            // Where what comes of it hangs, that is queued.
            let _ = self.bound(driver, device, &directory);
            Outcome::Bound
        };
        self.probes.push((driver.name.clone(), device.to_owned(), outcome));
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

    fn bound(&mut self, driver: &Driver, device: &str, directory: &str) -> Result<(), Stop> {
        if driver.bus != "pci" {
            self.draw(device, directory);
            return Ok(());
        }
        // A device is awake while it is probed (`local_pci_probe`); vfio-pci then lets it sleep.
        self.wake(device, directory);
        if driver.vfio {
            self.rest(device, directory);
        }
        if driver.makes > 0 && self.sriov.contains_key(device) && self.virtual_functions(device) == 0 {
            self.enable_sriov(device, 0, driver.makes)?;
        }
        Ok(())
    }

    /// Powers a device up, if it can be.
    pub(super) fn wake(&mut self, device: &str, directory: &str) {
        if !self.stuck.iter().any(|stuck| stuck == device) {
            put_line(&mut self.tree, &format!("{directory}/power_state"), "D0");
        }
    }

    /// Offers a device to every driver until one takes it, in the order in which they were registered
    /// (`__device_attach`). Drivers that refuse are passed over; an error of the core ends it.
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

    /// Offers the unbound devices from this one on to a driver; whatever goes wrong with one is nothing to the next
    /// (`__driver_attach`). Where one of them hangs, says with which to go on afterwards.
    pub(super) fn attach_from(&mut self, driver: &Driver, first: &str) -> Result<(), (Stop, String)> {
        for device in self.devices(driver.bus) {
            if device.as_str() < first || !self.matches(driver, &device) {
                continue;
            }
            self.lock(&device).map_err(|stop| (stop, device.clone()))?;
            if self.driver_of(driver.bus, &device).is_none() && self.probe(driver, &device) == Err(Stop::Hung) {
                return Err((Stop::Hung, format!("{device}+")));
            }
        }
        Ok(())
    }

    /// Adds a driver to its bus, and lets it try every device (`bus_add_driver`).
    pub(super) fn register(&mut self, driver: Driver) -> Result<(), Stop> {
        self.register_from(driver).map_err(|(driver, next)| {
            self.held.registering(driver, next, Vec::new());
            Stop::Hung
        })
    }

    /// The same; where a device hangs, says with which to go on afterwards. The files to write to, and the links to and
    /// from the module, come last, after the first probes.
    pub(super) fn register_from(&mut self, driver: Driver) -> Result<(), (Driver, String)> {
        let home = format!("/sys/bus/{}/drivers/{}", driver.bus, driver.name);
        self.tree.put(&home, Node::Directory);
        self.drivers.push(driver.clone());
        let auto = format!("/sys/bus/{}/drivers_autoprobe", driver.bus);
        if !self.tree.file(&auto).is_ok_and(|value| value.starts_with(b"0")) {
            if let Err((_, next)) = self.attach_from(&driver, "") {
                return Err((driver, next));
            }
        }
        self.finish_registration(&driver);
        Ok(())
    }

    /// Takes a driver back to where it has probed its devices and has no files yet, for so many pauses: they are made last
    /// (drivers/base/bus.c, `bus_add_driver`).
    pub(crate) fn begin_registration(&mut self, driver: &str, pauses: usize) {
        for name in ["bind", "unbind", "new_id", "remove_id", "uevent", "module"] {
            self.tree.remove(&format!("/sys/bus/pci/drivers/{driver}/{name}"));
        }
        self.registering.insert(driver.to_owned(), pauses);
    }

    /// Time passes.
    pub(super) fn pause(&mut self) {
        for left in self.registering.values_mut() {
            *left = left.saturating_sub(1);
        }
        let (done, waiting) = std::mem::take(&mut self.registering).into_iter().partition(|(_, left)| *left == 0);
        self.registering = waiting;
        let done: BTreeMap<String, usize> = done;
        for driver in done.keys() {
            let found = self.drivers.iter().find(|known| known.bus == "pci" && known.name == *driver).cloned();
            self.finish_registration(&found.unwrap());
        }
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
        // `module_add_driver`: the module's name may differ from the driver's, and this link tells which it is.
        let of = |module: &&Module| {
            module.driver.as_ref().is_some_and(|own| own.name == driver.name && own.bus == driver.bus)
        };
        if let Some(module) = self.modules.iter().find(of).filter(|module| module.loaded || module.is_built_in()) {
            let (bus, name, module) = (driver.bus, &driver.name, module.name.clone());
            let home = format!("/sys/bus/{bus}/drivers/{name}");
            put_link(&mut self.tree, &format!("/sys/module/{module}/drivers/{bus}:{name}"), &home);
            put_link(&mut self.tree, &format!("{home}/module"), &format!("/sys/module/{module}"));
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
        // `pci_iov_remove` only warns of those that a driver leaves.
        if bus == "pci" && driver.virtual_functions == VirtualFunctions::Removes && self.virtual_functions(device) > 0 {
            self.disable_sriov(device);
        }
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
    pub(super) fn remove_children(&mut self, directory: &str) {
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
            self.forget_virtual(&name);
        }
        self.tree.remove(&directory);
    }
}
