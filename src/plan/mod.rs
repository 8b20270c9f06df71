// SPDX-License-Identifier: MIT OR Apache-2.0
//! From the configuration and the inventory to what is to be done, in order. A pure function; nothing here
//! touches a machine, and a dry run prints exactly this.

mod bind;
mod cards;
mod driver;
mod guards;
mod iommu;
mod iommu_advice;
mod isolation;
mod planned_device;
mod release;
mod reset_and_rebar;
mod select;
mod steps;
mod trial;
mod vfio;

use crate::config::{Config, ConfigError, IommuPolicy, OnFailure};
use crate::inventory::Inventory;
use crate::pci::Address;
use crate::problem::{Code, Problem};
use crate::trial::Trial;

pub use crate::pci::{is_vfio_driver, same_name};
pub use bind::{bind, join};
pub use cards::cards;
pub use driver::{variant_driver, variant_modules};
pub use guards::no_group_advice;
pub use iommu::{InterruptRemapping, Iommu, IommuKind, IommuState};
pub use planned_device::{Decision, PlannedDevice, Refusal};
pub use release::release;
pub use reset_and_rebar::has_hot_reset;
pub use select::{
    claims_groups, devices_of_claims, devices_of_interest, may_be_virtual, needs_aliases, needs_bars, needs_chains,
    physical_functions, selected,
};
pub use steps::{Op, Step, StepKind};

/// What is to be done, and what was decided against.
#[derive(Clone, Debug)]
pub struct Plan {
    /// `vfio_early=off`: nothing is touched.
    pub off: bool,
    /// Whether the IOMMU protects the host.
    pub iommu: Iommu,
    /// Nothing is claimed, because the IOMMU is required and is not enabled.
    pub unprotected: bool,
    /// Each function that a claim is about, and each claim that is about none.
    pub devices: Vec<PlannedDevice>,
    /// What is to be done, in order.
    pub steps: Vec<Step>,
    /// What people should know.
    pub problems: Vec<Problem>,
    /// What becomes of a slot that cannot be claimed.
    pub on_failure: OnFailure,
    /// How this boot stands with the configuration, if that is known.
    pub trial: Option<Trial>,
    /// The mark of the trial is written before the first step.
    pub begins_trial: bool,
}

/// Decides. `scope`: only these devices are considered; all of them when it is empty. The error is a configuration that
/// contradicts itself on this machine.
pub fn plan(config: &Config, inventory: &Inventory, scope: &[Address]) -> Result<Plan, Vec<ConfigError>> {
    if config.off {
        return Ok(empty(config, inventory));
    }
    let devices = select::devices(config, inventory)?;
    let asked =
        |planned: &PlannedDevice| scope.is_empty() || planned.device.is_some_and(|device| scope.contains(&device));
    let mut plan = decide(config, inventory, devices, &asked);
    // The virtual functions that a claim waits for would be refused as they appear.
    let waits = scope.is_empty() && config.claims.iter().any(|claim| claim.selector.physical().is_some());
    plan.unprotected |= waits && config.settings.iommu == IommuPolicy::Required && !plan.iommu.is_enabled();
    plan.try_out(config, inventory, scope.is_empty());
    Ok(plan)
}

/// A plan that does nothing yet.
fn empty(config: &Config, inventory: &Inventory) -> Plan {
    Plan {
        off: config.off,
        unprotected: false,
        iommu: Iommu::of(inventory),
        devices: Vec::new(),
        steps: Vec::new(),
        problems: Vec::new(),
        on_failure: config.settings.on_failure,
        trial: None,
        begins_trial: false,
    }
}

/// Decides on these entries together, and keeps of them what is asked about.
fn decide(
    config: &Config,
    inventory: &Inventory,
    devices: Vec<PlannedDevice>,
    keep: &dyn Fn(&PlannedDevice) -> bool,
) -> Plan {
    let mut plan = Plan { devices, ..empty(config, inventory) };
    guards::apply(config, inventory, &mut plan.devices);
    let required = config.settings.iommu == IommuPolicy::Required;
    if required && !plan.iommu.is_enabled() {
        plan.unprotected = !plan.devices.is_empty();
        for planned in &mut plan.devices {
            if planned.decision.holds() {
                planned.decision = Decision::Refuse(Refusal::new(Code::Iommu, plan.iommu.reason()));
            }
        }
    }
    let holds = plan.devices.iter().filter(|planned| planned.decision.holds());
    let claimed: Vec<Address> = holds.filter_map(|planned| planned.device).collect();
    plan.devices.retain(keep);
    plan.unprotected &= !plan.devices.is_empty();
    plan.problems = guards::problems(config, inventory, &plan, &claimed);
    plan.steps = steps::steps(config, inventory, &plan.devices);
    plan
}
