// SPDX-License-Identifier: MIT OR Apache-2.0
//! One step: the operations on the machine that it is made of.

use std::time::Duration;

use crate::config::Rebar;
use crate::inventory::{self, PCI};
use crate::machine::{self, Error, Machine, Operation};
use crate::pci::Address;
use crate::plan::{Op, Step, is_vfio_driver, same_name};

use super::Cause;

/// How long a device may take to leave D3cold: the PCI Express Base Specification allows 1 s after a reset (section 6.6.1).
const WAKING: Duration = Duration::from_secs(1);

/// How long to wait between two looks.
const NAP: Duration = Duration::from_millis(20);

/// How long a driver may take to probe all its devices before it has files, and how long from the first of them to the last.
const REGISTERING: Duration = Duration::from_secs(10);
const BETWEEN_FILES: Duration = Duration::from_millis(100);

/// Does what the step says. `behind`: a step hangs on this device already, so that this one only queues.
pub(super) fn perform(machine: &dyn Machine, step: &Step, behind: bool) -> Result<(), Cause> {
    let write =
        |path: &str, value: &str| if behind { machine.queue_write(path, value) } else { machine.write(path, value) };
    let Some(address) = step.device else {
        return if let Op::Load { driver, options } = &step.op { load(machine, driver, options) } else { Ok(()) };
    };
    let path = |name: &str| format!("{PCI}/devices/{address}/{name}");
    let done = match &step.op {
        // The caller does it, and learns more than whether it worked.
        Op::SaveRom(_) => Ok(()),
        Op::PowerUp => wake(machine, address),
        Op::Override { driver: name, .. } => {
            write(&path("driver_override"), &format!("{}\n", registered(machine, name)))
        }
        // A blank line empties the list (drivers/pci/pci-sysfs.c, reset_method_store).
        Op::ResetMethod { methods, .. } => write(&path("reset_method"), &format!("{methods}\n")),
        Op::Rebar { rebar, .. } => {
            write(&path(&format!("resource{}_resize", rebar.bar)), &rebar.exponent.to_string())?;
            return verify_size(machine, *rebar, &path("resource"));
        }
        Op::Load { driver, options } => return load(machine, driver, options),
        Op::LoadFor(modalias) => machine.load(modalias, &[]),
        Op::ReleaseFramebuffer { device, driver } => release_framebuffer(machine, device, driver, write),
        Op::RestoreFramebuffer { device, driver } => write(&format!("/sys/bus/platform/drivers/{driver}/bind"), device),
        Op::Detach(driver) => detach(machine, address, &registered(machine, driver), write),
        Op::StopAutoprobe => write(&path("sriov_drivers_autoprobe"), "0"),
        Op::ProbeVirtual { physical } => {
            // drivers/pci/pci-driver.c, `pci_device_can_probe`.
            let autoprobe = format!("{PCI}/devices/{physical}/sriov_drivers_autoprobe");
            write(&autoprobe, "1")?;
            let probed = write(&format!("{PCI}/drivers_probe"), &address.to_string());
            let stopped = write(&autoprobe, "0");
            probed.and(stopped)
        }
        Op::Probe => write(&format!("{PCI}/drivers_probe"), &address.to_string()),
        Op::Verify(name) => return verify(machine, address, name),
        Op::VerifyReleased(before) => return verify_released(machine, address, before),
        Op::KeepAwake { d3cold_allowed, .. } => {
            let forbid = if d3cold_allowed.is_some() { write(&path("d3cold_allowed"), "0") } else { Ok(()) };
            forbid.and_then(|()| write(&path("power/control"), "on"))
        }
        Op::LetSleep { control, d3cold_allowed } => {
            let allow = if *d3cold_allowed == Some(true) { write(&path("d3cold_allowed"), "1") } else { Ok(()) };
            let control = control.as_ref().map_or(Ok(()), |control| write(&path("power/control"), control));
            allow.and(control)
        }
        Op::PowerControl(value) => write(&path("power/control"), value),
        // An empty line clears it (drivers/base/driver.c, driver_set_override).
        Op::RestoreOverride(name) => write(&path("driver_override"), &format!("{}\n", name.as_deref().unwrap_or(""))),
        Op::Rebind(driver) => write(&format!("{PCI}/drivers/{driver}/bind"), &address.to_string()),
    };
    Ok(done?)
}

/// Detaches a firmware's framebuffer. vfio-pci's probe of a VGA controller has detached it already
/// (drivers/vfio/pci/vfio_pci_core.c, `vfio_pci_vga_init`).
fn release_framebuffer(
    machine: &dyn Machine,
    device: &str,
    driver: &str,
    write: impl Fn(&str, &str) -> Result<(), Error>,
) -> Result<(), Error> {
    let link = format!("/sys/bus/platform/devices/{device}/driver");
    match machine.link(&link) {
        Err(error) if error.is_missing() => Ok(()),
        _ => write(&format!("/sys/bus/platform/drivers/{driver}/unbind"), device),
    }
}

/// Reads back that a BAR has its size: where nothing above has a window, the kernel takes it and finds no place for it later
/// (drivers/pci/setup-res.c, `pci_resize_resource`).
fn verify_size(machine: &dyn Machine, rebar: Rebar, resource: &str) -> Result<(), Cause> {
    if inventory::bar_size(&machine::text(machine, resource)?, rebar.bar) == rebar.bytes() {
        return Ok(());
    }
    Err(Cause::BarSize)
}

/// The name under which a driver is registered: a module may spell it with `-` where the driver has `_`.
fn registered(machine: &dyn Machine, name: &str) -> String {
    let known = machine.list(&format!("{PCI}/drivers")).unwrap_or_default();
    known.into_iter().find(|driver| same_name(driver, name)).unwrap_or_else(|| name.to_owned())
}

/// Loads the module of a driver, and sees that the driver is there afterwards.
fn load(machine: &dyn Machine, name: &str, options: &[&str]) -> Result<(), Cause> {
    let result = machine.load(name, options);
    let drivers = machine.list(&format!("{PCI}/drivers"));
    match (result, drivers.map(|drivers| drivers.iter().any(|driver| same_name(driver, name)))) {
        // It was built in, or another had it loaded in the meantime; or it hangs in the probe of one device, and is there
        // for the others.
        (Err(_), Ok(true)) => Ok(()),
        (Ok(()), Ok(false)) => Err(Cause::NoSuchDriver(name.to_owned())),
        // Where the drivers cannot be listed, modprobe's word counts.
        (result, _) => Ok(result?),
    }
}

/// Unbinds a device from a driver. That it is not bound to it any more is as good.
///
/// A driver that is just being registered has its devices before it has its files: drivers/base/bus.c, `bus_add_driver`, probes
/// all devices, then makes `uevent`, and `unbind` last (Linux 6.1, 6.12 and 7.2).
fn detach(
    machine: &dyn Machine,
    address: Address,
    driver: &str,
    write: impl Fn(&str, &str) -> Result<(), Error>,
) -> Result<(), Error> {
    let home = format!("{PCI}/drivers/{driver}");
    let mut waited = Duration::ZERO;
    loop {
        let Err(error) = write(&format!("{home}/unbind"), &address.to_string()) else { return Ok(()) };
        if error.is_timeout() {
            return Err(error);
        }
        if inventory::driver(machine, address).is_ok_and(|now| now.as_deref() != Some(driver)) {
            log::debug!("{error}, but it does not hold {address} any more");
            return Ok(());
        }
        let registered = machine.list(&home).map_or(true, |files| files.iter().any(|file| file == "uevent"));
        let limit = if registered { BETWEEN_FILES } else { REGISTERING };
        if !error.is_missing() || waited >= limit {
            return Err(error);
        }
        machine.pause(NAP);
        waited = waited.saturating_add(NAP);
    }
}

/// Wakes a device.
pub(super) fn wake(machine: &dyn Machine, address: Address) -> Result<(), Error> {
    let state = format!("{PCI}/devices/{address}/power_state");
    machine.write(&format!("{PCI}/devices/{address}/power/control"), "on")?;
    let mut waited = Duration::ZERO;
    // Linux before 5.11 does not tell.
    while machine::text(machine, &state).unwrap_or_default() == "D3cold" {
        if waited >= WAKING {
            return Err(Error::other(Operation::Write, &state, "the device stays in D3cold"));
        }
        machine.pause(NAP);
        waited = waited.saturating_add(NAP);
    }
    Ok(())
}

/// Reads back that a device is bound to its driver.
fn verify(machine: &dyn Machine, address: Address, target: &str) -> Result<(), Cause> {
    match inventory::driver(machine, address)? {
        Some(driver) if same_name(&driver, target) => Ok(()),
        driver => Err(Cause::BoundTo(driver)),
    }
}

/// Reads back that a device is not bound to the driver that it had, nor to another one for guests. No driver is well enough:
/// the host may have none for it.
fn verify_released(machine: &dyn Machine, address: Address, before: &str) -> Result<(), Cause> {
    match inventory::driver(machine, address)? {
        Some(driver) if is_vfio_driver(&driver) || same_name(&driver, before) => Err(Cause::StillBoundTo(driver)),
        _ => Ok(()),
    }
}
