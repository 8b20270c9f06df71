// SPDX-License-Identifier: MIT OR Apache-2.0
//! Ways to reset a function (drivers/pci/pci.c; in 7.2 `show` and `store` are in drivers/pci/pci-sysfs.c).

use nix::errno::Errno;
use vfio_early::machine::Node;
use vfio_early::pci::parse_modalias;

use super::device::{name, parent};
use super::kernel::{State, Stop};
use super::links::put_line;
use super::version::Version;

/// `pci_reset_fn_methods`, in the order in which the kernel tries them.
const METHODS: &[&str] = &["device_specific", "acpi", "flr", "af_flr", "pm", "bus", "cxl_bus"];

/// What a function has without one being told: most have it.
const USUAL: &str = "flr";

impl State {
    /// The names that the kernel knows.
    fn known(&self) -> &'static [&'static str] {
        match self.version {
            Version::V6_1 => &METHODS[..METHODS.len() - 1],
            Version::V6_12 | Version::V7_2 => METHODS,
        }
    }

    /// The PCI functions on the bus that a directory's function is on, itself left out. A function that is being added is
    /// not on the list yet, and nor are those that come after it.
    fn siblings(&self, directory: &str) -> usize {
        let above = parent(directory);
        let names = self.tree.list(above).unwrap_or_default();
        let bus = name(directory).rsplit_once(':').unwrap().0;
        let on_bus = |name: &&String| {
            let path = format!("{above}/{name}");
            // Virtual functions may be on a bus of their own below the same bridge.
            path != directory && name.starts_with(bus) && self.directory("pci", name).is_ok_and(|known| known == path)
        };
        names.iter().filter(on_bus).count()
    }

    /// The bridge above a function; `None` on a root bus, and on the bus of its own that virtual functions may have.
    fn bridge_above<'a>(&self, directory: &'a str) -> Option<&'a str> {
        let above = name(parent(directory));
        let bus = |device: &str| device.rsplit_once(':').map(|(bus, _)| bus.to_owned());
        let of_own = self.physical.get(name(directory)).is_some_and(|physical| bus(physical) != bus(name(directory)));
        (!of_own && self.directory("pci", above).is_ok()).then_some(above)
    }

    /// Whether a method can be used now (`PCI_RESET_PROBE`).
    fn can_reset(&self, directory: &str, method: &str) -> bool {
        let device = name(directory);
        let cxl = |bridge: &&str| self.cxl_ports.contains_key(*bridge);
        let bridge = self.bridge_above(directory);
        match method {
            "bus" => {
                // `pci_reset_bus_function`: below a CXL port that masks the reset, 6.12 lists what will not work.
                let masked = bridge.filter(cxl).is_some_and(|bridge| self.cxl_ports[bridge]);
                match self.version {
                    Version::V6_12 if masked => return true,
                    Version::V7_2 if masked => return false,
                    _ => {}
                }
                // `pci_parent_bus_reset`: not on a root bus, and never with anybody else on the bus.
                let flagged = self.no_bus_reset.iter().any(|flagged| flagged == device);
                bridge.is_some() && !flagged && !self.is_bridge_in_use(directory) && self.siblings(directory) == 0
            }
            // `cxl_reset_bus_function`: any function below a port with the capability, whoever else is there.
            "cxl_bus" => bridge.as_ref().is_some_and(cxl),
            _ => self.resets.get(device).map_or(USUAL, String::as_str).split(' ').any(|own| own == method),
        }
    }

    /// Whether a bus hangs below a bridge. When a bridge is added, its own is not there yet.
    fn is_bridge_in_use(&self, directory: &str) -> bool {
        let bridge = |modalias: String| parse_modalias(modalias.as_bytes()).is_some_and(|id| id.class.is_pci_bridge());
        self.tree.file(&format!("{directory}/reset_method")).is_ok() && bridge(self.modalias("pci", name(directory)))
    }

    /// `pci_init_reset_methods`: while a device is added before it is on its bus' list (drivers/pci/probe.c,
    /// `pci_device_add`), and once more when somebody writes `default`. A device without any has no file for them
    /// (`pci_reset_supported`), decided once.
    pub(super) fn init_reset_methods(&mut self, directory: &str) {
        let methods: Vec<&str> =
            self.known().iter().copied().filter(|method| self.can_reset(directory, method)).collect();
        let path = format!("{directory}/reset_method");
        if methods.is_empty() && self.tree.file(&path).is_err() {
            return;
        }
        self.list_resets(&path, &methods);
        self.tree.put(&format!("{directory}/reset"), Node::File(Vec::new()));
    }

    /// `reset_method_show`: one blank between two, a newline; nothing at all for an empty list.
    fn list_resets(&mut self, path: &str, methods: &[&str]) {
        if methods.is_empty() {
            self.tree.put(path, Node::File(Vec::new()));
        } else {
            put_line(&mut self.tree, path, &methods.join(" "));
        }
    }

    /// Gives a PCI device these ways to reset it besides those of its bus, as if it had been added with them.
    pub(crate) fn supports_resets(&mut self, device: &str, methods: &str) {
        let directory = self.directory("pci", device).unwrap();
        let path = format!("{directory}/reset_method");
        let listed = String::from_utf8_lossy(self.tree.file(&path).unwrap_or_default()).into_owned();
        let of_bus = |method: &str| method.ends_with("bus") && listed.split_whitespace().any(|known| known == method);
        let own = |method: &str| !method.ends_with("bus") && methods.split(' ').any(|own| own == method);
        let list: Vec<&str> = METHODS.iter().copied().filter(|method| of_bus(method) || own(method)).collect();
        self.resets.insert(device.to_owned(), methods.to_owned());
        self.tree.remove(&path);
        self.tree.remove(&format!("{directory}/reset"));
        if !list.is_empty() {
            self.list_resets(&path, &list);
            self.tree.put(&format!("{directory}/reset"), Node::File(Vec::new()));
        }
    }

    /// `reset_method_store`: all of the names or none. No lock is taken.
    pub(super) fn store_reset_method(&mut self, directory: &str, value: &str) -> Result<(), Stop> {
        let path = format!("{directory}/reset_method");
        if value.is_empty() {
            self.list_resets(&path, &[]);
            return Ok(());
        }
        // 7.2 wakes the device to ask it (PM_RUNTIME_ACQUIRE).
        if self.version == Version::V7_2 && self.stuck.iter().any(|stuck| stuck == name(directory)) {
            return Err(Errno::ENXIO.into());
        }
        if value == "default" {
            self.init_reset_methods(directory);
            return Ok(());
        }
        let mut methods: Vec<&str> = Vec::new();
        for method in value.split(' ').map(str::trim).filter(|method| !method.is_empty()) {
            let known = self.known().contains(&method);
            // One place of PCI_NUM_RESET_METHODS is for the end of the list.
            if !known || !self.can_reset(directory, method) || methods.len() == self.known().len() {
                return Err(Errno::EINVAL.into());
            }
            methods.push(method);
        }
        self.list_resets(&path, &methods);
        Ok(())
    }

    /// `reset_store` and `__pci_reset_function_locked`: the first method that the device has now; ENOTTY where none works.
    pub(super) fn reset(&mut self, directory: &str, value: &str) -> Result<(), Stop> {
        if value.parse() != Ok(1_u64) {
            return Err(Errno::EINVAL.into());
        }
        let listed = String::from_utf8_lossy(self.tree.file(&format!("{directory}/reset_method"))?).into_owned();
        let masked = self.bridge_above(directory).is_some_and(|bridge| self.cxl_ports.get(bridge) == Some(&true));
        let works = |method: &str| match method {
            "bus" => !masked && self.can_reset(directory, "bus"),
            "cxl_bus" => self.siblings(directory) == 0,
            _ => self.can_reset(directory, method),
        };
        if listed.split_whitespace().any(works) { Ok(()) } else { Err(Errno::ENOTTY.into()) }
    }

    /// VFIO's hot reset of everything on a device's bus, for somebody who owns all of it
    /// (drivers/vfio/pci/vfio_pci_core.c, `vfio_pci_dev_set_resettable`): `ENODEV` where the bus cannot be reset, `EINVAL`
    /// where a function on it or below is on no VFIO driver.
    pub(crate) fn hot_reset(&self, device: &str) -> Result<(), Errno> {
        let directory = self.directory("pci", device)?;
        let above = parent(&directory);
        self.bridge_above(&directory).ok_or(Errno::ENODEV)?;
        let below = format!("{above}/");
        let mut concerned = self.devices("pci");
        concerned.retain(|name| self.directory("pci", name).is_ok_and(|path| path.starts_with(&below)));
        let flagged = |device: &str| self.no_bus_reset.iter().any(|flagged| flagged == device);
        if flagged(name(above)) || concerned.iter().any(|device| flagged(device)) {
            return Err(Errno::ENODEV);
        }
        // A virtual function is alone in its set, and so are those of it that share its bus in theirs.
        let alone = |device: &str| self.is_virtual(device);
        let owned = |device: &String| self.has_vfio_driver(device) && !alone(device);
        if alone(device) || !concerned.iter().all(owned) { Err(Errno::EINVAL) } else { Ok(()) }
    }
}
