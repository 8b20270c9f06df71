// SPDX-License-Identifier: MIT OR Apache-2.0
//! Modules: what modprobe and udev load, and what comes of it.

use nix::errno::Errno;
use vfio_early::machine::{Node, Operation};

use super::driver::{Driver, DynamicId};
use super::kernel::{State, Stop};
use super::links::put_line;

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
    /// The parameters that it was loaded with, in order: the last one of a name counts.
    pub(crate) parameters: Vec<(String, String)>,
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
            parameters: Vec::new(),
            place: Place::Image,
            blacklisted: false,
            broken: None,
            loaded: false,
        }
    }
}

impl Module {
    /// Whether it is part of the kernel.
    pub(super) fn is_built_in(&self) -> bool {
        self.place == Place::Kernel
    }
}

impl State {
    /// The module of this name, to be changed.
    pub(crate) fn module(&mut self, name: &str) -> &mut Module {
        let name = name.replace('-', "_");
        self.modules.iter_mut().find(|module| module.name == name).unwrap_or_else(|| panic!("no module {name}"))
    }

    /// Whether a parameter of a module is switched on.
    pub(super) fn parameter(&self, module: &str, name: &str) -> bool {
        let module = self.modules.iter().find(|known| known.name == module);
        let value = module.and_then(|module| module.parameters.iter().rev().find(|(known, _)| known == name));
        value.is_some_and(|(_, value)| matches!(value.as_str(), "" | "1" | "y" | "Y"))
    }

    /// What `modprobe NAME ARGUMENT...` does in the initramfs.
    pub(super) fn modprobe(&mut self, name: &str, arguments: &[String]) -> Result<(), Stop> {
        if !self.modprobe {
            return Err(Stop::Said("modprobe not found (the initramfs image needs kmod)".to_owned()));
        }
        if !name.starts_with("pci:") {
            return self.insert(&Insertion { name, arguments, real_root: false, ignore_install: false });
        }
        let there = |module: &&Module| module.place != Place::RealRoot;
        let wanted: Vec<String> = self.wanted(name).filter(there).map(|module| module.name.clone()).collect();
        if wanted.is_empty() {
            return Err(self.not_found(name));
        }
        wanted.iter().try_for_each(|module| self.insert(&Insertion::of(module, false)))
    }

    fn not_found(&self, name: &str) -> Stop {
        let release = self.version.release();
        Stop::Said(format!("modprobe: FATAL: Module {name} not found in directory /lib/modules/{release}"))
    }

    /// The modules that want a device with this modalias, but for blacklisted ones.
    fn wanted<'a>(&'a self, modalias: &'a str) -> impl Iterator<Item = &'a Module> {
        self.modules.iter().filter(move |module| {
            module.driver.as_ref().is_some_and(|driver| driver.ids.iter().any(|id| id.matches(modalias)))
                && !module.blacklisted
                && !self.configured(&module.name).blacklisted
        })
    }

    fn insert(&mut self, wanted: &Insertion<'_>) -> Result<(), Stop> {
        let Insertion { name, real_root, .. } = *wanted;
        let plain = name.replace('-', "_");
        let there = |module: &&Module| module.name == plain && (module.place != Place::RealRoot || real_root);
        let found = self.modules.iter().find(there);
        let Some(module) = found.cloned() else { return Err(self.not_found(name)) };
        if module.place == Place::Kernel {
            return Ok(());
        }
        let configured = self.configured(&plain);
        if let (Some(command), false) = (&configured.install, wanted.ignore_install || module.loaded) {
            return self.run(command, wanted);
        }
        if let Some(driver) = &module.driver {
            // Another modprobe is still in the module's init function; this one waits for it.
            if self.held.is_registering(&driver.name) {
                self.queue(Operation::Load, name, &wanted.arguments.join(" "));
                return Err(Stop::Hung);
            }
        }
        // Whoever comes too late is told of success, and his arguments are for nobody.
        if module.loaded {
            return Ok(());
        }
        // The arguments are for the module that was named, and for none that it needs.
        for need in configured.pre.iter().chain(&module.needs) {
            self.insert(&Insertion::of(need, real_root))?;
        }
        let options = self.options(&plain, wanted.arguments);
        self.init(&plain, module.broken, &options)?;
        // Nobody is told of a `post:` that cannot be loaded.
        for module in &configured.post {
            if self.insert(&Insertion::of(module, real_root)) == Err(Stop::Hung) {
                return Err(Stop::Hung);
            }
        }
        Ok(())
    }

    /// Runs the command of a line `install`: the words `modprobe` and `false` in it, of anything else nothing comes.
    fn run(&mut self, command: &str, wanted: &Insertion<'_>) -> Result<(), Stop> {
        for command in command.split([';', '&']).filter(|command| !command.trim().is_empty()) {
            let command = command.replace("$CMDLINE_OPTS", &wanted.arguments.join(" "));
            let mut words = command.split_whitespace().filter(|word| !matches!(*word, "exec" | "{" | "}"));
            match words.next().unwrap_or_default().rsplit('/').next().unwrap() {
                "false" => return Err(Stop::Said("modprobe: ERROR: Error running install command".to_owned())),
                "modprobe" => {
                    let (flags, words): (Vec<&str>, Vec<&str>) = words.partition(|word| word.starts_with('-'));
                    let ignore_install = flags.iter().any(|flag| matches!(*flag, "-i" | "--ignore-install"));
                    let Some((name, arguments)) = words.split_first() else { continue };
                    let arguments: Vec<String> = arguments.iter().map(|word| (*word).to_owned()).collect();
                    let real_root = wanted.real_root;
                    self.insert(&Insertion { name, arguments: &arguments, real_root, ignore_install })?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// What the kernel does with a module (kernel/module/main.c, `load_module`): its parameters first (`parse_args`), and
    /// then its init function.
    fn init(&mut self, name: &str, broken: Option<Errno>, options: &[String]) -> Result<(), Stop> {
        let words = |errno: Errno| Stop::Said(format!("modprobe: ERROR: could not insert '{name}': {}", errno.desc()));
        let parameters = parameters(name, options).map_err(words)?;
        if let Some(errno) = broken {
            return Err(words(errno));
        }
        let module = self.module(name);
        module.loaded = true;
        module.parameters.clone_from(&parameters);
        let Some(driver) = module.driver.clone() else {
            put_line(&mut self.tree, &format!("/sys/module/{name}/initstate"), "live");
            return Ok(());
        };
        let ids = if name == "vfio_pci" { given_ids(&parameters) } else { Vec::new() };
        self.tree.put(&format!("/sys/module/{name}"), Node::Directory);
        self.show_parameters(name);
        self.drive(driver, ids)?;
        put_line(&mut self.tree, &format!("/sys/module/{name}/initstate"), "live");
        Ok(())
    }

    /// Those of vfio-pci's parameters that have a file; `ids` has none (mode 0).
    fn show_parameters(&mut self, name: &str) {
        if name != "vfio_pci" {
            return;
        }
        for parameter in ["disable_denylist", "disable_idle_d3", "enable_sriov"] {
            let value = if self.parameter(name, parameter) { "Y" } else { "N" };
            put_line(&mut self.tree, &format!("/sys/module/{name}/parameters/{parameter}"), value);
        }
    }

    /// Registers the driver of a module, and gives it the IDs that the module was given.
    pub(super) fn drive(&mut self, driver: Driver, ids: Vec<DynamicId>) -> Result<(), Stop> {
        let name = driver.name.clone();
        if let Err((driver, next)) = self.register_from(driver) {
            self.held.registering(driver, next, ids);
            return Err(Stop::Hung);
        }
        self.give_ids(&name, ids)
    }

    /// `vfio_pci_fill_ids`: each ID is added, and every unbound device is tried with it, before the next one.
    pub(super) fn give_ids(&mut self, name: &str, ids: Vec<DynamicId>) -> Result<(), Stop> {
        let mut ids = ids.into_iter();
        while let Some(id) = ids.next() {
            let Some(driver) = self.drivers.iter_mut().find(|known| known.name == name) else { continue };
            driver.dynamic.push(id);
            let driver = driver.clone();
            if let Err((stop, next)) = self.attach_from(&driver, "") {
                self.held.registering(driver, next, ids.collect());
                return Err(stop);
            }
        }
        Ok(())
    }

    /// A driver that is part of the kernel: it takes its parameters from the kernel command line, modprobe.d is not for
    /// it, and it has probed before anything else runs (`module_init` is `device_initcall` there).
    pub(super) fn build_in(&mut self, name: &str) {
        let options = self.on_command_line(name);
        let parameters = parameters(name, &options).unwrap_or_default();
        let module = self.module(name);
        module.place = Place::Kernel;
        module.parameters.clone_from(&parameters);
        let ids = if name == "vfio_pci" { given_ids(&parameters) } else { Vec::new() };
        let driver = module.driver.clone();
        self.show_parameters(name);
        if let Some(driver) = driver {
            self.drive(driver, ids).unwrap();
        }
    }

    /// Loads a module of the real root or the image, whatever comes of it.
    pub(super) fn load_anyhow(&mut self, name: &str, arguments: &[String]) {
        let _ = self.insert(&Insertion { name, arguments, real_root: true, ignore_install: false });
    }

    /// `modprobe -b MODALIAS` for each device, as udev's rules do it; for those too that appear meanwhile.
    pub(super) fn coldplug(&mut self) {
        let mut seen: Vec<String> = Vec::new();
        while let Some(device) = self.devices("pci").into_iter().find(|device| !seen.contains(device)) {
            seen.push(device.clone());
            let modalias = self.modalias("pci", &device);
            let names: Vec<String> = self.wanted(&modalias).map(|module| module.name.clone()).collect();
            for name in names {
                // udev logs a module that cannot be loaded, and goes on.
                let _ = self.insert(&Insertion::of(&name, true));
            }
        }
    }
}

/// A module that is to be loaded.
#[derive(Clone, Copy)]
struct Insertion<'a> {
    name: &'a str,
    arguments: &'a [String],
    /// Those of the real root are there too.
    real_root: bool,
    /// Without heeding a line `install`.
    ignore_install: bool,
}

impl<'a> Insertion<'a> {
    /// With nothing but its name.
    fn of(name: &'a str, real_root: bool) -> Self {
        Self { name, arguments: &[], real_root, ignore_install: false }
    }
}

/// `parse_args` in kernel/params.c. One value that cannot be taken fails the load, whatever comes after it; what the module
/// does not know is only warned of. `ids` is an array of 1024 characters (drivers/vfio/pci/vfio_pci.c).
fn parameters(module: &str, options: &[String]) -> Result<Vec<(String, String)>, Errno> {
    let mut found = Vec::new();
    for option in options {
        let (name, value) = option.split_once('=').map_or((option.as_str(), None), |(name, value)| (name, Some(value)));
        if module == "vfio_pci" && name == "ids" {
            match value {
                None => return Err(Errno::EINVAL),
                Some(value) if value.len() >= 1024 => return Err(Errno::ENOSPC),
                Some(_) => {}
            }
        }
        found.push((name.replace('-', "_"), value.unwrap_or_default().to_owned()));
    }
    Ok(found)
}

/// The IDs that vfio-pci was given: of several lists the last one alone, of which what makes no sense is passed over.
fn given_ids(parameters: &[(String, String)]) -> Vec<DynamicId> {
    let given = parameters.iter().rev().find(|(name, _)| name == "ids");
    let ids = given.map_or("", |(_, ids)| ids.as_str());
    ids.split(',').filter_map(|id| DynamicId::scan(id, ':')).collect()
}
