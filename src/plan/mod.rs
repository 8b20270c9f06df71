// SPDX-License-Identifier: MIT OR Apache-2.0
//! One decision: from the configuration and the picture to what is to be done, in order. A pure function; nothing here
//! touches a machine, and a dry run prints exactly this.

mod bind;
mod driver;
mod guards;
mod iommu;
mod planned_device;
mod release;
mod reset_and_rebar;
mod select;
mod steps;

use crate::config::{Config, ConfigError, Iommu, OnFailure};
use crate::inventory::Inventory;
use crate::pci::Address;

pub use crate::pci::{is_vfio_driver, same_name};
pub use crate::severity::Severity;
pub use bind::{bind, join};
pub use driver::{variant_driver, variant_modules};
pub use iommu::{IommuVerdict, State};
pub use planned_device::{Decision, PlannedDevice};
pub use release::release;
pub use select::{devices_of_interest, needs_aliases, needs_bars, needs_chains, selected};
pub use steps::{Op, Step};

/// What is to be done, and what was decided against.
#[derive(Clone, Debug)]
pub struct Plan {
    /// `vfio_early=off`: nothing is touched.
    pub off: bool,
    /// What the IOMMU is worth.
    pub verdict: IommuVerdict,
    /// Nothing is claimed, because the IOMMU is required and is not enabled.
    pub unprotected: bool,
    /// One entry for each function that a claim is about, or for a claim that is about none.
    pub entries: Vec<PlannedDevice>,
    /// What is to be done, in order.
    pub steps: Vec<Step>,
    /// What people should know.
    pub problems: Vec<Problem>,
    /// What becomes of a slot that cannot be claimed.
    pub on_failure: OnFailure,
}

/// Something that people should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// A short word for programs.
    pub code: &'static str,
    /// The claim that it is about, by its place in the configuration.
    pub claim: Option<usize>,
    /// The device that it is about.
    pub device: Option<Address>,
    /// What it is, and what to do.
    pub message: String,
}

impl Problem {
    /// A warning.
    pub fn warning(code: &'static str, device: Option<Address>, message: String) -> Self {
        Self { severity: Severity::Warning, code, claim: None, device, message }
    }

    /// An error.
    pub fn error(code: &'static str, device: Option<Address>, message: String) -> Self {
        Self { severity: Severity::Error, code, claim: None, device, message }
    }

    /// The same, about this claim.
    #[must_use]
    pub fn of(self, claim: usize) -> Self {
        Self { claim: Some(claim), ..self }
    }
}

/// Decides. `scope`: only these devices are considered; all of them when it is empty. The error is a configuration that
/// contradicts itself on this machine.
pub fn plan(config: &Config, inventory: &Inventory, scope: &[Address]) -> Result<Plan, Vec<ConfigError>> {
    if config.off {
        return Ok(empty(config, inventory));
    }
    let entries = select::entries(config, inventory)?;
    let asked = |entry: &PlannedDevice| scope.is_empty() || entry.device.is_some_and(|device| scope.contains(&device));
    Ok(decide(config, inventory, entries, &asked))
}

/// A plan that does nothing yet.
fn empty(config: &Config, inventory: &Inventory) -> Plan {
    Plan {
        off: config.off,
        unprotected: false,
        verdict: IommuVerdict::of(inventory),
        entries: Vec::new(),
        steps: Vec::new(),
        problems: Vec::new(),
        on_failure: config.settings.on_failure,
    }
}

/// Decides on these entries together, and keeps of them what is asked about.
fn decide(
    config: &Config,
    inventory: &Inventory,
    entries: Vec<PlannedDevice>,
    keep: &dyn Fn(&PlannedDevice) -> bool,
) -> Plan {
    let mut plan = Plan { entries, ..empty(config, inventory) };
    guards::apply(config, inventory, &mut plan.entries);
    let required = config.settings.iommu == Iommu::Required;
    if required && plan.verdict.state != State::Enabled {
        plan.unprotected = !plan.entries.is_empty();
        for entry in &mut plan.entries {
            if matches!(entry.decision, Decision::Take | Decision::Done) {
                entry.decision = Decision::refuse(None, "iommu", plan.verdict.reason());
            }
        }
    }
    plan.entries.retain(keep);
    plan.unprotected &= !plan.entries.is_empty();
    plan.problems = guards::problems(config, inventory, &plan);
    plan.steps = steps::steps(config, inventory, &plan.entries);
    plan
}
