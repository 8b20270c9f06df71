// SPDX-License-Identifier: MIT OR Apache-2.0
//! Devices go back to the host: their override is cleared, their guest's driver detached, and the kernel chooses anew.

use crate::config::{Config, OnFailure};
use crate::pci::Address;
use crate::picture::{Device, Picture};

use super::guards::{in_guest, unknown_driver};
use super::{Decision, Entry, Op, Plan, Problem, Step, empty, is_vfio_driver, same_name, select};

/// Decides what of the devices that these claims name is given back. `claimed`: the driver for which a device was claimed
/// before, if it was. A display's other functions go with it, as they came; what the host has anyway is left alone.
pub fn release(asked: &Config, picture: &Picture, claimed: &dyn Fn(Address) -> Option<String>) -> Plan {
    let mut plan = Plan { on_failure: OnFailure::Keep, ..empty(asked, picture) };
    let guests = |device: &Device, name: &str| {
        is_vfio_driver(name)
            || name == "pci-stub"
            || claimed(device.address).is_some_and(|target| same_name(&target, name))
    };
    for (index, claim) in asked.claims.iter().enumerate() {
        let Some(address) = claim.selector.address() else { continue };
        let Some(first) = picture.device(address) else {
            let reason = select::missing(claim, picture);
            plan.problems.push(Problem::error("missing", Some(address), reason.clone()));
            plan.entries.push(entry(index, None, None, Decision::Missing { reason }));
            continue;
        };
        let along = select::along(claim, first, true, picture);
        for device in std::iter::once(first).chain(along) {
            let detail = device.detail.clone().unwrap_or_default();
            let driver = detail.driver.as_deref().filter(|name| guests(device, name));
            let overridden = detail.driver_override.as_deref().is_some_and(|name| guests(device, name));
            // What has no driver may be what an earlier attempt left.
            let theirs = driver.is_some() || overridden || detail.driver.is_none();
            let known = plan.entries.iter().any(|entry| entry.device == Some(device.address));
            if known || (device.address != address && !theirs) {
                continue;
            }
            let along = (device.address != address).then_some(address);
            let refusal = in_guest(picture, device).or_else(|| unknown_driver(device));
            if let Some((_, code, reason)) = refusal {
                plan.problems.push(Problem::error(code, Some(device.address), reason.clone()));
                plan.entries.push(entry(index, Some(device), along, Decision::refuse(None, code, reason)));
                continue;
            }
            plan.entries.push(entry(index, Some(device), along, Decision::Release));
            if theirs {
                plan.steps.extend(steps(device, overridden, driver));
            }
        }
    }
    // All overrides first: then no probe leads back to the guest's driver, whatever is loaded meanwhile.
    plan.steps.sort_by_key(|step| match step.op {
        Op::RestoreOverride(_) => 0,
        Op::LoadFor(_) => 1,
        _ => 2,
    });
    plan
}

fn entry(claim: usize, device: Option<&Device>, along: Option<Address>, decision: Decision) -> Entry {
    let driver = device.and_then(Device::driver).map(ToOwned::to_owned);
    Entry { claim, device: device.map(|device| device.address), along, driver, target: String::new(), decision }
}

/// What gives a device back.
fn steps(device: &Device, overridden: bool, driver: Option<&str>) -> Vec<Step> {
    let mut ops = Vec::new();
    if overridden {
        ops.push(Op::RestoreOverride(None));
    }
    ops.push(Op::LoadFor(device.identity.modalias("pci")));
    ops.extend(driver.map(|driver| Op::Detach(driver.to_owned())));
    ops.push(Op::Probe);
    ops.push(Op::VerifyReleased(driver.unwrap_or_default().to_owned()));
    ops.into_iter().map(|op| Step { device: Some(device.address), op }).collect()
}
