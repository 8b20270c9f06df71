// SPDX-License-Identifier: MIT OR Apache-2.0
//! One step: the operations at the door that it is made of.

use std::time::Duration;

use crate::config::Rebar;
use crate::inventory::{self, PCI};
use crate::machine::{self, Error, Machine, Operation};
use crate::pci::Address;
use crate::plan::{Op, Step, is_vfio_driver, same_name};

/// How long a device may take to leave D3cold: the PCI Express Base Specification allows 1 s after a reset (section 6.6.1).
const WAKING: Duration = Duration::from_secs(1);

/// Does what the step says. `behind`: a step hangs on this device already, so that this one only queues.
pub(super) fn perform(machine: &dyn Machine, step: &Step, behind: bool) -> Result<(), Error> {
    let write =
        |path: &str, value: &str| if behind { machine.queue_write(path, value) } else { machine.write(path, value) };
    let Some(address) = step.device else { return load(machine, step.op.value()) };
    let path = |name: &str| format!("{PCI}/devices/{address}/{name}");
    match &step.op {
        // Done by the caller, who is told more than whether it worked.
        Op::SaveRom(_) => Ok(()),
        Op::PowerUp => wake(machine, address),
        Op::Override(name) => write(&path("driver_override"), &format!("{}\n", registered(machine, name))),
        Op::ResetMethod { methods, .. } => write(&path("reset_method"), methods),
        Op::Rebar(rebar, _) => {
            write(&path(&format!("resource{}_resize", rebar.bar)), &rebar.exponent.to_string())?;
            resized(machine, *rebar, &path("resource"))
        }
        Op::Load(name) => load(machine, name),
        Op::LoadFor(modalias) => machine.load(modalias),
        Op::ReleaseFramebuffer { device, driver } => {
            write(&format!("/sys/bus/platform/drivers/{driver}/unbind"), device)
        }
        Op::Detach(driver) => detach(machine, address, &registered(machine, driver), write),
        Op::Probe => write(&format!("{PCI}/drivers_probe"), &address.to_string()),
        Op::Verify(name) => verify(machine, address, name),
        Op::VerifyReleased(before) => verify_released(machine, address, before),
        Op::PowerControl(value) => write(&path("power/control"), value),
        // An empty line clears it (drivers/base/driver.c, driver_set_override).
        Op::RestoreOverride(name) => write(&path("driver_override"), &format!("{}\n", name.as_deref().unwrap_or(""))),
        Op::Rebind(driver) => write(&format!("{PCI}/drivers/{driver}/bind"), &address.to_string()),
    }
}

/// Reads back that a BAR has its size: where nothing above has a window, the kernel takes it and finds no place for it later
/// (drivers/pci/setup-res.c, `pci_resize_resource`).
fn resized(machine: &dyn Machine, rebar: Rebar, resource: &str) -> Result<(), Error> {
    if inventory::bar_size(&machine::text(machine, resource)?, rebar.bar) == rebar.bytes() {
        return Ok(());
    }
    Err(Error::other(Operation::Read, resource, "the BAR has another size"))
}

/// The name under which a driver is registered: a module may spell it with `-` where the driver has `_`.
fn registered(machine: &dyn Machine, name: &str) -> String {
    let known = machine.list(&format!("{PCI}/drivers")).unwrap_or_default();
    known.into_iter().find(|driver| same_name(driver, name)).unwrap_or_else(|| name.to_owned())
}

/// Loads the module of a driver, and sees that the driver is there afterwards.
fn load(machine: &dyn Machine, name: &str) -> Result<(), Error> {
    let result = machine.load(name);
    let drivers = machine.list(&format!("{PCI}/drivers"));
    match (result, drivers.map(|drivers| drivers.iter().any(|driver| same_name(driver, name)))) {
        // It was built in, or another had it loaded in the meantime; or it hangs in the probe of one device, and is there
        // for the others.
        (Err(_), Ok(true)) => Ok(()),
        (Ok(()), Ok(false)) => {
            Err(Error::other(Operation::Load, name, "the module brought no PCI driver of that name"))
        }
        // Where nobody can tell, modprobe's word counts.
        (result, _) => result,
    }
}

/// Unbinds a device from a driver. That it is not bound to it any more is as good.
fn detach(
    machine: &dyn Machine,
    address: Address,
    driver: &str,
    write: impl Fn(&str, &str) -> Result<(), Error>,
) -> Result<(), Error> {
    let result = write(&format!("{PCI}/drivers/{driver}/unbind"), &address.to_string());
    match result {
        Err(error)
            if !error.is_timeout()
                && inventory::driver(machine, address).is_ok_and(|now| now.as_deref() != Some(driver)) =>
        {
            log::debug!("{error}, but it does not hold {address} any more");
            Ok(())
        }
        result => result,
    }
}

/// Wakes a device.
pub(super) fn wake(machine: &dyn Machine, address: Address) -> Result<(), Error> {
    let nap = Duration::from_millis(20);
    let state = format!("{PCI}/devices/{address}/power_state");
    machine.write(&format!("{PCI}/devices/{address}/power/control"), "on")?;
    let mut waited = Duration::ZERO;
    // Linux before 5.11 does not tell.
    while machine::text(machine, &state).unwrap_or_default() == "D3cold" {
        if waited >= WAKING {
            return Err(Error::other(Operation::Write, &state, "the device stays in D3cold"));
        }
        machine.pause(nap);
        waited = waited.saturating_add(nap);
    }
    Ok(())
}

/// Reads back which driver holds a device.
fn verify(machine: &dyn Machine, address: Address, wanted: &str) -> Result<(), Error> {
    let path = format!("{PCI}/devices/{address}/driver");
    match machine::link_name(machine, &path) {
        Ok(driver) if same_name(&driver, wanted) => Ok(()),
        Ok(driver) => Err(Error::other(Operation::Link, &path, ended_on(Some(&driver)))),
        Err(error) if error.is_missing() => Err(Error::other(Operation::Link, &path, ended_on(None))),
        Err(error) => Err(error),
    }
}

/// Reads back that a device is not where it was, nor on another driver for guests. On no driver is well enough: there may
/// be none for it.
fn verify_released(machine: &dyn Machine, address: Address, before: &str) -> Result<(), Error> {
    match inventory::driver(machine, address)? {
        Some(driver) if is_vfio_driver(&driver) || same_name(&driver, before) => {
            let why = format!("{} (vfio-pci may have been given its ID: ids=, new_id)", ended_on(Some(&driver)));
            Err(Error::other(Operation::Link, &format!("{PCI}/devices/{address}/driver"), why))
        }
        _ => Ok(()),
    }
}

/// Where a device ended instead.
pub(super) fn ended_on(driver: Option<&str>) -> String {
    match driver {
        Some(driver) => format!("it ended on {driver}"),
        None => "it ended without a driver; the kernel log says why the probe failed".to_owned(),
    }
}
