// SPDX-License-Identifier: MIT OR Apache-2.0
//! Modules: what modprobe and udev load, and what comes of it.

use nix::errno::Errno;
use vfio_early::machine::Operation;
use vfio_early::pci::IdPattern;

use super::driver::Driver;
use super::kernel::{State, Stop};
use super::links::{put_line, put_link};

/// Where a module is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Part of the kernel: its driver has probed before anything else runs.
    Kernel,
    /// In the initramfs, and in the real root.
    Image,
    /// Only in the real root.
    RealRoot,
}

/// A kernel module.
#[derive(Clone, Debug)]
pub(crate) struct Module {
    /// Its name, with `_`.
    pub(crate) name: String,
    /// Modules that are loaded before it.
    pub(crate) needs: Vec<String>,
    /// The driver that it registers.
    pub(crate) driver: Option<Driver>,
    /// The `ids=` that modprobe.d gives it.
    pub(crate) ids: Vec<IdPattern>,
    /// Where it is.
    pub(crate) place: Place,
    /// udev leaves it alone (`blacklist`).
    pub(crate) blacklisted: bool,
    /// Its init function fails with this error.
    pub(crate) broken: Option<Errno>,
    /// It is there.
    pub(crate) loaded: bool,
}

impl Module {
    /// A module that registers this driver, in the image and not loaded yet.
    pub(crate) fn new(name: &str, needs: &[&str], driver: Option<Driver>) -> Self {
        Self {
            name: name.replace('-', "_"),
            needs: needs.iter().map(|need| (*need).to_owned()).collect(),
            driver,
            ids: Vec::new(),
            place: Place::Image,
            blacklisted: false,
            broken: None,
            loaded: false,
        }
    }
}

impl State {
    /// The module of this name, to be changed.
    pub(crate) fn module(&mut self, name: &str) -> &mut Module {
        let name = name.replace('-', "_");
        self.modules.iter_mut().find(|module| module.name == name).unwrap_or_else(|| panic!("no module {name}"))
    }

    /// What `modprobe NAME` does in the initramfs.
    pub(super) fn modprobe(&mut self, name: &str) -> Result<(), Stop> {
        if !self.modprobe {
            return Err(Stop::Said("modprobe not found (the initramfs image needs kmod)".to_owned()));
        }
        if !name.starts_with("pci:") {
            return self.insert(name, false);
        }
        let there = |module: &&Module| module.place != Place::RealRoot;
        let wanted: Vec<String> = self.wanted(name).filter(there).map(|module| module.name.clone()).collect();
        if wanted.is_empty() {
            return Err(Stop::Said(format!(
                "modprobe: FATAL: Module {name} not found in directory /lib/modules/6.1.0-sim"
            )));
        }
        wanted.iter().try_for_each(|module| self.insert(module, false))
    }

    /// The modules that want a device with this modalias, but for blacklisted ones.
    fn wanted<'a>(&'a self, modalias: &'a str) -> impl Iterator<Item = &'a Module> {
        self.modules.iter().filter(move |module| {
            !module.blacklisted
                && module.driver.as_ref().is_some_and(|driver| driver.ids.iter().any(|id| id.matches(modalias)))
        })
    }

    fn insert(&mut self, name: &str, real_root: bool) -> Result<(), Stop> {
        let plain = name.replace('-', "_");
        let there = |module: &&Module| module.name == plain && (module.place != Place::RealRoot || real_root);
        let found = self.modules.iter().find(there);
        let Some(module) = found.cloned() else {
            return Err(Stop::Said(format!(
                "modprobe: FATAL: Module {name} not found in directory /lib/modules/6.1.0-sim"
            )));
        };
        if module.place == Place::Kernel {
            return Ok(());
        }
        if let Some(driver) = &module.driver {
            // Another modprobe is still in the module's init function; this one waits for it.
            if self.held.is_registering(&driver.name) {
                self.queue(Operation::Load, name, "");
                return Err(Stop::Hung);
            }
        }
        if module.loaded {
            return Ok(());
        }
        for need in &module.needs {
            self.insert(need, real_root)?;
        }
        if let Some(errno) = module.broken {
            return Err(Stop::Said(format!("modprobe: ERROR: could not insert '{name}': {}", errno.desc())));
        }
        self.module(&plain).loaded = true;
        put_line(&mut self.tree, &format!("/sys/module/{plain}/initstate"), "live");
        let Some(driver) = module.driver else { return Ok(()) };
        let (bus, driver_name) = (driver.bus, driver.name.clone());
        put_link(
            &mut self.tree,
            &format!("/sys/module/{plain}/drivers/{bus}:{driver_name}"),
            &format!("/sys/bus/{bus}/drivers/{driver_name}"),
        );
        self.register(driver)?;
        put_link(
            &mut self.tree,
            &format!("/sys/bus/{bus}/drivers/{driver_name}/module"),
            &format!("/sys/module/{plain}"),
        );
        // `vfio_pci_fill_ids`: each one is added and tried by itself.
        for id in module.ids {
            let Some(driver) = self.drivers.iter_mut().find(|known| known.name == driver_name) else { continue };
            driver.dynamic.push(id);
            let driver = driver.clone();
            self.attach_all(&driver)?;
        }
        Ok(())
    }

    /// Loads a module of the real root or the image, whatever comes of it.
    pub(super) fn load_anyhow(&mut self, name: &str) {
        let _ = self.insert(name, true);
    }

    /// `modprobe -b MODALIAS` for each device, as udev's rules do it.
    pub(super) fn coldplug(&mut self) {
        for device in self.devices("pci") {
            let Ok(directory) = self.directory("pci", &device) else { continue };
            let Ok(modalias) = self.tree.file(&format!("{directory}/modalias")) else { continue };
            let modalias = String::from_utf8_lossy(modalias).trim_end().to_owned();
            let names: Vec<String> = self.wanted(&modalias).map(|module| module.name.clone()).collect();
            for name in names {
                // udev logs a module that cannot be loaded, and goes on.
                let _ = self.insert(&name, true);
            }
        }
    }
}
