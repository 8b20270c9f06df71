// SPDX-License-Identifier: MIT OR Apache-2.0
//! From decisions to steps, in order.
//!
//! An option ROM is saved while nothing has touched its device. Overrides come next, for all devices: from then on no
//! other driver binds them, whatever is loaded at the same time. Reset methods are set while the device is awake for sure:
//! vfio-pci lets it sleep, and older kernels then cannot probe what it has. BARs are resized while no driver has the
//! device. Then each module, once. Only when the driver is known to be there are wrong drivers detached and the devices
//! probed: where the module is missing from the image, nothing has been taken away. The firmware's framebuffer goes last,
//! when its display is on its driver: a claim that fails leaves the screen as it was.

use crate::config::{Config, Framebuffer, IommuPolicy, Options, Rebar};
use crate::inventory::{Detail, Device, Inventory};
use crate::json::readable_words;
use crate::pci::Address;

use super::{Decision, Iommu, PlannedDevice, reset_and_rebar, same_name};

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The device that it is done to; none for a module.
    pub device: Option<Address>,
    /// What is done.
    pub op: Op,
}

/// What is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Wake the device: `on` to power/control, then wait until it is no longer in D3cold.
    PowerUp,
    /// Read the option ROM and save it to this file.
    SaveRom(String),
    /// Write a driver's name to driver_override.
    Override {
        /// The driver.
        driver: String,
        /// What was there before.
        before: Option<String>,
    },
    /// Write these names to reset_method.
    ResetMethod {
        /// The methods, in the order in which the kernel shall try them, parted by blanks.
        methods: String,
        /// What to write where the device is given back.
        before: String,
    },
    /// Give a BAR of a device without a driver this size.
    Rebar {
        /// The size.
        rebar: Rebar,
        /// The same as text.
        text: String,
        /// The size that it has now, where it can be written back.
        before: Option<Rebar>,
    },
    /// Load the module of this driver, without the IDs that modprobe.d or the kernel command line give to it: vfio-pci
    /// would take every unbound device of them, whatever was decided here.
    Load {
        /// The driver.
        driver: String,
        /// Its options, beside those of modprobe.d and the kernel command line.
        options: &'static [&'static str],
    },
    /// Load the modules that want a device with this modalias.
    LoadFor(String),
    /// Unbind this device of the firmware's framebuffer from its driver.
    ReleaseFramebuffer {
        /// The platform device.
        device: String,
        /// The platform driver.
        driver: String,
    },
    /// Bind this device of the firmware's framebuffer to its driver again.
    RestoreFramebuffer {
        /// The platform device.
        device: String,
        /// The platform driver.
        driver: String,
    },
    /// Unbind the device from this driver.
    Detach(String),
    /// Keep drivers from the virtual functions of this physical function as they appear: `0` to sriov_drivers_autoprobe.
    StopAutoprobe,
    /// Have a virtual function probed by the host's drivers although they are kept from it.
    ProbeVirtual {
        /// Its physical function.
        physical: Address,
    },
    /// Have the device probed: its address to drivers_probe.
    Probe,
    /// Read back that this driver holds the device.
    Verify(String),
    /// Read back that neither this driver nor another one for guests holds the device.
    VerifyReleased(String),
    /// Keep the device awake: `0` to d3cold_allowed, `on` to power/control.
    KeepAwake {
        /// What power/control was.
        control: Option<String>,
        /// What d3cold_allowed was.
        d3cold_allowed: Option<bool>,
    },
    /// Let the device sleep as it did before [`Op::KeepAwake`].
    LetSleep {
        /// What power/control was.
        control: Option<String>,
        /// What d3cold_allowed was.
        d3cold_allowed: Option<bool>,
    },
    /// Give power/control its value back.
    PowerControl(String),
    /// Clear driver_override, or give it its value back.
    RestoreOverride(Option<String>),
    /// After a failure: bind the device to the driver that it had.
    Rebind(String),
}

/// The kinds of steps, as reports name them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StepKind {
    /// Wake the device.
    PowerUp,
    /// Save the option ROM.
    SaveRom,
    /// Set driver_override.
    Override,
    /// Set reset_method.
    ResetMethod,
    /// Resize a BAR.
    Rebar,
    /// Load a module.
    Load,
    /// Detach the firmware framebuffer.
    ReleaseFramebuffer,
    /// Bind the firmware framebuffer again.
    RestoreFramebuffer,
    /// Unbind the device.
    Detach,
    /// Keep drivers from virtual functions.
    StopAutoprobe,
    /// Probe the device.
    Probe,
    /// Read back the driver.
    Verify,
    /// Read back that the device was given back.
    VerifyReleased,
    /// Keep the device awake.
    KeepAwake,
    /// Let the device sleep again.
    LetSleep,
    /// Set power/control.
    PowerControl,
    /// Put driver_override back.
    RestoreOverride,
    /// Bind the device to the driver that it had.
    Rebind,
    /// A step that this version does not know.
    #[default]
    Unknown,
}

readable_words!(StepKind {
    PowerUp: "power-up",
    SaveRom: "save-rom",
    Override: "override",
    ResetMethod: "reset-method",
    Rebar: "rebar",
    Load: "load",
    ReleaseFramebuffer: "release-framebuffer",
    RestoreFramebuffer: "restore-framebuffer",
    Detach: "detach",
    StopAutoprobe: "stop-autoprobe",
    Probe: "probe",
    Verify: "verify",
    VerifyReleased: "verify-released",
    KeepAwake: "keep-awake",
    LetSleep: "let-sleep",
    PowerControl: "power-control",
    RestoreOverride: "restore-override",
    Rebind: "rebind",
    Unknown: "unknown",
});

impl Op {
    /// What kind of step it is.
    pub fn kind(&self) -> StepKind {
        match self {
            Self::PowerUp => StepKind::PowerUp,
            Self::SaveRom(_) => StepKind::SaveRom,
            Self::Override { .. } => StepKind::Override,
            Self::ResetMethod { .. } => StepKind::ResetMethod,
            Self::Rebar { .. } => StepKind::Rebar,
            Self::Load { .. } | Self::LoadFor(_) => StepKind::Load,
            Self::ReleaseFramebuffer { .. } => StepKind::ReleaseFramebuffer,
            Self::RestoreFramebuffer { .. } => StepKind::RestoreFramebuffer,
            Self::Detach(_) => StepKind::Detach,
            Self::StopAutoprobe => StepKind::StopAutoprobe,
            Self::Probe | Self::ProbeVirtual { .. } => StepKind::Probe,
            Self::Verify(_) => StepKind::Verify,
            Self::VerifyReleased(_) => StepKind::VerifyReleased,
            Self::KeepAwake { .. } => StepKind::KeepAwake,
            Self::LetSleep { .. } => StepKind::LetSleep,
            Self::PowerControl(_) => StepKind::PowerControl,
            Self::RestoreOverride(_) => StepKind::RestoreOverride,
            Self::Rebind(_) => StepKind::Rebind,
        }
    }

    /// What it is done with: a driver, a module, a device.
    pub fn value(&self) -> &str {
        match self {
            Self::SaveRom(name)
            | Self::LoadFor(name)
            | Self::Detach(name)
            | Self::Verify(name)
            | Self::PowerControl(name)
            | Self::Rebind(name) => name,
            Self::Rebar { text, .. } => text,
            Self::Override { driver, .. } | Self::Load { driver, options: [] } => driver,
            Self::Load { .. } => "vfio-pci ids=",
            Self::ReleaseFramebuffer { device, .. } | Self::RestoreFramebuffer { device, .. } => device,
            Self::ResetMethod { methods, .. } => methods,
            Self::RestoreOverride(name) => name.as_deref().unwrap_or(""),
            Self::StopAutoprobe => "0",
            Self::PowerUp
            | Self::KeepAwake { .. }
            | Self::LetSleep { .. }
            | Self::Probe
            | Self::ProbeVirtual { .. }
            | Self::VerifyReleased(_) => "",
        }
    }
}

/// The steps for the devices that are to be claimed.
pub(super) fn steps(config: &Config, inventory: &Inventory, devices: &[PlannedDevice]) -> Vec<Step> {
    let mut steps = Steps::default();
    // Without an IOMMU nothing is changed, and a physical function that is not the one meant keeps its setting.
    let protected = config.settings.iommu == IommuPolicy::Optional || Iommu::of(inventory).is_enabled();
    let refused = |address: Address| {
        let is_refusal = |planned: &&PlannedDevice| matches!(planned.decision, Decision::Refuse(_));
        devices.iter().filter(is_refusal).any(|planned| planned.device == Some(address))
    };
    for physical in &inventory.physical_functions {
        // Before anything else: its driver may be making them.
        if physical.autoprobe == Some(true) && protected && !refused(physical.address) {
            steps.before_load.push(Step { device: Some(physical.address), op: Op::StopAutoprobe });
        }
    }
    for planned in devices.iter().filter(|planned| matches!(planned.decision, Decision::Refuse(_))) {
        let device = planned.device.and_then(|address| inventory.device(address));
        let Some((device, physical)) = device.and_then(|device| Some((device, device.physical?))) else { continue };
        // No driver of the host has probed it, and none will by itself.
        if device.driver().is_none() && inventory.physical_function(physical).is_some() {
            steps.last.push(Step { device: Some(device.address), op: Op::ProbeVirtual { physical } });
        }
    }
    for planned in devices.iter().filter(|planned| planned.decision.holds()) {
        let Some(device) = planned.device.and_then(|address| inventory.device(address)) else { continue };
        let Some(claim) = config.claims.get(planned.claim) else { continue };
        steps.add(config, inventory, planned, device, &claim.options);
    }
    let loads = steps.drivers.into_iter().map(|driver| Step { device: None, op: load(driver) });
    steps.before_load.into_iter().chain(loads).chain(steps.after_load).chain(steps.last).collect()
}

/// The step that loads the module of a driver.
fn load(driver: String) -> Op {
    // The last `ids=` wins (kernel/params.c, param_set_copystring; libkmod appends the arguments to what modprobe.d and the
    // kernel command line say).
    let options: &[&str] = if same_name(&driver, "vfio-pci") { &["ids="] } else { &[] };
    Op::Load { driver, options }
}

/// The steps by their place in the order.
#[derive(Default)]
struct Steps {
    before_load: Vec<Step>,
    /// The drivers whose modules are loaded, each once.
    drivers: Vec<String>,
    after_load: Vec<Step>,
    last: Vec<Step>,
}

impl Steps {
    /// Adds the steps of one device.
    fn add(
        &mut self,
        config: &Config,
        inventory: &Inventory,
        planned: &PlannedDevice,
        device: &Device,
        options: &Options,
    ) {
        let step = |op: Op| Step { device: Some(device.address), op };
        let target = planned.target.as_str();
        let nothing = Detail::default();
        let detail = device.detail.as_ref().unwrap_or(&nothing);
        let bound = detail.driver.as_deref().is_some_and(|driver| same_name(driver, target));
        let done = planned.decision == Decision::Done;
        let cold = detail.power_state.as_deref() == Some("D3cold");
        let control = detail.power_control.as_ref().filter(|control| cold && *control != "on");
        let reset = reset_and_rebar::reset(inventory, options, planned, device);
        let keep_awake = keep_awake(options, detail).map(step);
        let wakes = cold && (!bound || reset.is_some());
        if wakes {
            self.before_load.push(step(Op::PowerUp));
        }
        self.before_load.extend(saved_rom(config, inventory, planned, device).map(|path| step(Op::SaveRom(path))));
        let overridden = detail.driver_override.as_deref().is_some_and(|name| same_name(name, target));
        if !overridden {
            let before = detail.driver_override.clone();
            self.before_load.push(step(Op::Override { driver: target.to_owned(), before }));
        }
        self.before_load.extend(reset.map(step));
        if done || bound {
            // Nothing is missing but what the claim asks for besides.
            let sleeps = control.filter(|_| wakes && keep_awake.is_none());
            self.before_load.extend(sleeps.map(|control| step(Op::PowerControl(control.clone()))));
            self.last.extend(keep_awake);
            self.release_framebuffers(config, planned);
            return;
        }
        let registered = inventory.drivers.iter().any(|driver| same_name(driver, target));
        if !registered && !self.drivers.iter().any(|driver| driver == target) {
            self.drivers.push(target.to_owned());
        }
        if !registered && !same_name(target, "vfio-pci") {
            // Its driver may be registered under another name than the module's, which only the load shows.
            let before = Some(target.to_owned());
            self.after_load.push(step(Op::Override { driver: target.to_owned(), before }));
        }
        if let Some(driver) = &detail.driver {
            self.after_load.push(step(Op::Detach(driver.clone())));
        }
        let free = if detail.driver.is_some() { &mut self.after_load } else { &mut self.before_load };
        reset_and_rebar::resizes(options, planned, detail, free);
        self.after_load.push(step(Op::Probe));
        self.after_load.push(step(Op::Verify(target.to_owned())));
        let sleeps = control.filter(|_| keep_awake.is_none());
        self.after_load.extend(sleeps.map(|control| step(Op::PowerControl(control.clone()))));
        self.after_load.extend(keep_awake);
        self.release_framebuffers(config, planned);
    }

    /// Detaches the firmware's framebuffer from a claimed display, where the configuration asks for that.
    fn release_framebuffers(&mut self, config: &Config, planned: &PlannedDevice) {
        if config.settings.framebuffer != Framebuffer::Release {
            return;
        }
        self.last.extend(planned.framebuffers.iter().filter_map(|framebuffer| {
            let op = Op::ReleaseFramebuffer { device: framebuffer.device.clone(), driver: framebuffer.driver.clone()? };
            Some(Step { device: planned.device, op })
        }));
    }
}

/// The file for a function's option ROM, where it is to be saved and is not yet.
fn saved_rom(config: &Config, inventory: &Inventory, planned: &PlannedDevice, device: &Device) -> Option<String> {
    let path = planned.saves_rom(config, device).then(|| crate::inventory::rom_path(device.address))?;
    let saved = inventory.saved_roms.iter().any(|name| path.rsplit('/').next() == Some(name));
    (!saved).then_some(path)
}

/// The step that keeps a device awake, where its claim asks for that and it may sleep. vfio-pci sets power/control to `auto`
/// whenever it binds (drivers/vfio/pci/vfio_pci_core.c, vfio_pci_core_register_device), so it comes after the probe.
fn keep_awake(options: &Options, detail: &Detail) -> Option<Op> {
    let bound = detail.driver.is_some();
    let awake = detail.power_control.as_deref() == Some("on") && detail.d3cold_allowed != Some(true) && bound;
    (options.power_on && !awake)
        .then(|| Op::KeepAwake { control: detail.power_control.clone(), d3cold_allowed: detail.d3cold_allowed })
}
