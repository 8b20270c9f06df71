// SPDX-License-Identifier: MIT OR Apache-2.0
//! From decisions to steps, in order.
//!
//! An option ROM is saved while nothing has touched its device. Overrides come next, for all devices: from then on no
//! other driver binds them, whatever is loaded at the same time. Reset methods are set while the device is awake for sure:
//! vfio-pci lets it sleep, and older kernels then ask it in vain what it has. BARs are resized while no driver has the
//! device. Then each module, once. Only then, when it is sure that
//! there is a driver to go to, wrong drivers are detached and the devices probed: where the module is missing from the
//! image, nothing has been taken away from anybody.

use crate::config::{Claim, Config, Framebuffer, Rebar};
use crate::inventory::{Detail, Inventory};
use crate::json::readable_words;
use crate::pci::Address;

use super::{Decision, PlannedDevice, reset_and_rebar, same_name};

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
    /// Write this driver's name to driver_override.
    Override(String),
    /// Write these names to reset_method.
    ResetMethod {
        /// The methods, in the order in which the kernel shall try them, parted by blanks.
        methods: String,
        /// What to write where the device is given back.
        before: String,
    },
    /// Give a BAR of a device without a driver this size, which the text tells.
    Rebar(Rebar, String),
    /// Load the module of this driver.
    Load(String),
    /// Load the modules that want a device with this modalias.
    LoadFor(String),
    /// Unbind this device of the firmware's framebuffer from its driver.
    ReleaseFramebuffer {
        /// The platform device.
        device: String,
        /// The platform driver.
        driver: String,
    },
    /// Unbind the device from this driver.
    Detach(String),
    /// Have the device probed: its address to drivers_probe.
    Probe,
    /// Read back that this driver holds the device.
    Verify(String),
    /// Read back that neither this driver nor another one for guests holds the device.
    VerifyReleased(String),
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
    /// Unbind the device.
    Detach,
    /// Probe the device.
    Probe,
    /// Read back the driver.
    Verify,
    /// Read back that the device was given back.
    VerifyReleased,
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
    Detach: "detach",
    Probe: "probe",
    Verify: "verify",
    VerifyReleased: "verify-released",
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
            Self::Override(_) => StepKind::Override,
            Self::ResetMethod { .. } => StepKind::ResetMethod,
            Self::Rebar(..) => StepKind::Rebar,
            Self::Load(_) | Self::LoadFor(_) => StepKind::Load,
            Self::ReleaseFramebuffer { .. } => StepKind::ReleaseFramebuffer,
            Self::Detach(_) => StepKind::Detach,
            Self::Probe => StepKind::Probe,
            Self::Verify(_) => StepKind::Verify,
            Self::VerifyReleased(_) => StepKind::VerifyReleased,
            Self::PowerControl(_) => StepKind::PowerControl,
            Self::RestoreOverride(_) => StepKind::RestoreOverride,
            Self::Rebind(_) => StepKind::Rebind,
        }
    }

    /// What it is done with: a driver, a module, a device.
    pub fn value(&self) -> &str {
        match self {
            Self::SaveRom(name)
            | Self::Override(name)
            | Self::Load(name)
            | Self::LoadFor(name)
            | Self::Detach(name)
            | Self::Verify(name)
            | Self::PowerControl(name)
            | Self::Rebind(name)
            | Self::Rebar(_, name) => name,
            Self::ReleaseFramebuffer { device, .. } => device,
            Self::ResetMethod { methods, .. } => methods,
            Self::RestoreOverride(name) => name.as_deref().unwrap_or(""),
            Self::PowerUp | Self::Probe | Self::VerifyReleased(_) => "",
        }
    }
}

/// The steps for the entries that are to be taken.
pub(super) fn steps(config: &Config, inventory: &Inventory, devices: &[PlannedDevice]) -> Vec<Step> {
    let mut first = Vec::new();
    let mut modules: Vec<&str> = Vec::new();
    let mut then = Vec::new();
    for planned in devices.iter().filter(|planned| planned.decision.holds()) {
        let Some(device) = planned.device.and_then(|address| inventory.device(address)) else { continue };
        let step = |op: Op| Step { device: Some(device.address), op };
        let save = planned.saves_rom(config, device).then(|| crate::inventory::rom_path(device.address));
        let save = save.filter(|path| !inventory.saved_roms.iter().any(|name| path.rsplit('/').next() == Some(name)));
        let target = planned.target.as_str();
        let nothing = Detail::default();
        let detail = device.detail.as_ref().unwrap_or(&nothing);
        let Some(Claim { options, .. }) = config.claims.get(planned.claim) else { continue };
        let reset = reset_and_rebar::reset(options, planned, detail);
        let bound = detail.driver.as_deref().is_some_and(|driver| same_name(driver, target));
        let cold = detail.power_state.as_deref() == Some("D3cold");
        let control = detail.power_control.as_ref().filter(|control| cold && *control != "on");
        if planned.decision == Decision::Done {
            first.extend(save.map(|path| step(Op::SaveRom(path))));
            if let Some(reset) = reset {
                if cold {
                    first.push(step(Op::PowerUp));
                }
                first.push(step(reset));
                if let Some(control) = control {
                    first.push(step(Op::PowerControl(control.clone())));
                }
            }
            continue;
        }
        let asleep = !bound && cold;
        if asleep {
            first.push(step(Op::PowerUp));
        }
        first.extend(save.map(|path| step(Op::SaveRom(path))));
        if !detail.driver_override.as_deref().is_some_and(|name| same_name(name, target)) {
            first.push(step(Op::Override(target.to_owned())));
        }
        if let Some(reset) = reset {
            first.push(step(reset));
        }
        if bound {
            // Its driver without an override: the next rescan could give it to another.
            continue;
        }
        if !modules.contains(&target) && !inventory.drivers.iter().any(|driver| same_name(driver, target)) {
            modules.push(target);
        }
        // Before the module is loaded: it takes the device as soon as it is there.
        if config.settings.framebuffer == Framebuffer::Release && detail.boot_vga == Some(true) {
            first.extend(inventory.framebuffers.iter().map(|framebuffer| {
                step(Op::ReleaseFramebuffer { device: framebuffer.device.clone(), driver: framebuffer.driver.clone() })
            }));
        }
        if let Some(driver) = &detail.driver {
            then.push(step(Op::Detach(driver.clone())));
        }
        let free = if detail.driver.is_some() { &mut then } else { &mut first };
        reset_and_rebar::resizes(options, planned, detail, free);
        then.push(step(Op::Probe));
        then.push(step(Op::Verify(target.to_owned())));
        if let Some(control) = control {
            then.push(step(Op::PowerControl(control.clone())));
        }
    }
    let loads = modules.into_iter().map(|module| Step { device: None, op: Op::Load(module.to_owned()) });
    first.into_iter().chain(loads).chain(then).collect()
}
