// SPDX-License-Identifier: MIT OR Apache-2.0
//! Devices go back to the host: their override is cleared, their guest's driver detached, and the kernel probes them again.

use crate::config::{Config, OnFailure};
use crate::inventory::{Detail, Device, Inventory};
use crate::pci::Address;
use crate::problem::{Code, Problem};

use super::guards::{in_guest, unknown_driver};
use super::{Decision, Op, Plan, PlannedDevice, Step, empty, is_vfio_driver, same_name, select, select::insert};

/// Decides what of the devices that these claims name is given back. `claimed`: the driver for which a device was claimed
/// before, if it was. A display's other functions go with it, as they came; what the host has anyway is left alone.
pub fn release(asked: &Config, inventory: &Inventory, claimed: &dyn Fn(Address) -> Option<String>) -> Plan {
    let mut plan = Plan { on_failure: OnFailure::Keep, ..empty(asked, inventory) };
    let guests = |device: &Device, name: &str| {
        is_vfio_driver(name)
            || name == "pci-stub"
            || claimed(device.address).is_some_and(|target| same_name(&target, name))
    };
    let mut known = Vec::new();
    let (mut overrides, mut modules, mut then) = (Vec::new(), Vec::new(), Vec::new());
    for (index, claim) in asked.claims.iter().enumerate() {
        let Some(address) = claim.selector.address() else { continue };
        let mut add = |device: Option<&Device>, decision: Decision| {
            let why = match &decision {
                Decision::Refuse(refusal) => Some((refusal.code, &refusal.reason)),
                Decision::Missing { reason } => Some((Code::Missing, reason)),
                _ => None,
            };
            let about = device.map(|device| device.address);
            plan.problems
                .extend(why.map(|(code, reason)| Problem::error(code, about, reason.clone()).of(asked, index)));
            plan.devices.push(PlannedDevice {
                claim: index,
                device: about,
                along: about.filter(|along| *along != address).and(Some(address)),
                is_virtual: device.is_some_and(Device::is_virtual),
                physical: None,
                named_by_ids: None,
                power_control: None,
                framebuffers: Vec::new(),
                driver: device.and_then(Device::driver).map(ToOwned::to_owned),
                target: String::new(),
                decision,
            });
        };
        let Some(first) = inventory.device(address) else {
            add(None, Decision::Missing { reason: select::missing(claim, inventory) });
            continue;
        };
        let mut devices = select::along(claim, first, true, inventory);
        devices.insert(0, first);
        devices.retain(|device| insert(&mut known, device.address));
        for device in devices {
            let nothing = Detail::default();
            let detail = device.detail.as_ref().unwrap_or(&nothing);
            let driver = detail.driver.as_deref().filter(|name| guests(device, name));
            let overridden = detail.driver_override.as_deref().is_some_and(|name| guests(device, name));
            // What has no driver may be what an earlier attempt left.
            let theirs = driver.is_some() || overridden || detail.driver.is_none();
            if device.address != address && !theirs {
                continue;
            }
            if let Some(refusal) = in_guest(inventory, device).or_else(|| unknown_driver(device)) {
                add(Some(device), Decision::Refuse(refusal));
                continue;
            }
            add(Some(device), Decision::Release);
            if !theirs {
                continue;
            }
            let step = |op: Op| Step { device: Some(device.address), op };
            if overridden {
                overrides.push(step(Op::RestoreOverride(None)));
            }
            modules.push(step(Op::LoadFor(device.identity.modalias("pci"))));
            then.extend(driver.map(|driver| step(Op::Detach(driver.to_owned()))));
            then.push(step(Op::Probe));
            then.push(step(Op::VerifyReleased(driver.unwrap_or_default().to_owned())));
        }
    }
    // All overrides first: then no probe leads back to the guest's driver, whatever is loaded meanwhile.
    plan.steps = overrides;
    plan.steps.append(&mut modules);
    plan.steps.append(&mut then);
    plan
}
