// SPDX-License-Identifier: MIT OR Apache-2.0
//! Executes a plan, step by step, and records how each step ended.
//!
//! A step that fails ends the claim of its card, never that of another. A card whose claim failed is given back to the host
//! at the end, so that no device is left without a driver by accident.

mod error;
pub mod mark;
pub mod option_rom;
mod restore;
mod step;

use std::rc::Rc;

use crate::config::OnFailure;
use crate::inventory::{self, IommuFacts};
use crate::machine::Machine;
use crate::pci::Address;
use crate::plan::{Decision, Op, Plan, PlannedDevice, Step, StepKind, is_vfio_driver, same_name};

/// After so many steps that did not come back, nothing new is begun, and what gives devices back waits for a moment only:
/// the boot has waited long enough.
const MAX_HUNG: usize = 3;

pub use error::{Cause, ClaimError, StepError};

/// Loads the driver of an IOMMU that the firmware offers and that no built-in driver runs. False if there is nothing to load, or
/// it could not be loaded. udev would load it after the claim.
pub fn load_iommu_driver(machine: &dyn Machine, facts: &IommuFacts) -> bool {
    let driver = facts.driver.filter(|_| facts.units.is_empty());
    driver.is_some_and(|driver| machine.load(driver, &[]).inspect_err(|error| log::debug!("{error}")).is_ok())
}

/// How a step ended.
#[derive(Clone, Debug)]
pub enum StepResult {
    /// Done.
    Done,
    /// Not done, and why.
    Failed(Rc<StepError>),
    /// Not tried, because the claim of this card had failed before.
    Skipped,
}

/// A step and how it ended.
#[derive(Clone, Debug)]
pub struct ExecutedStep {
    /// The step.
    pub step: Step,
    /// How it ended.
    pub result: StepResult,
}

/// What became of a planned device.
#[derive(Clone, Debug)]
pub struct DeviceResult {
    /// The driver that it is bound to now.
    pub driver: Option<String>,
    /// Why it is not on its driver.
    pub failure: Option<ClaimError>,
}

/// How a plan was executed.
#[derive(Clone, Debug, Default)]
pub struct Execution {
    /// The steps in the order in which they were taken; those that restored a card come last.
    pub steps: Vec<ExecutedStep>,
    /// What became of each planned device, in the plan's order.
    pub devices: Vec<DeviceResult>,
    /// The option ROMs that were saved, and why others were not.
    pub roms: Vec<(Address, Result<option_rom::SavedRom, option_rom::RomError>)>,
    /// The firmware's framebuffers that were lost with a claim that failed, each with its display.
    pub lost_framebuffers: Vec<(Address, String)>,
    /// A step failed because the rights for it are missing.
    pub denied: bool,
}

/// What is known while a plan is carried out.
struct Run<'a> {
    machine: &'a dyn Machine,
    plan: &'a Plan,
    done: Vec<ExecutedStep>,
    /// Why a function failed; the first reason counts. Sorted by address.
    failures: Vec<(Address, Rc<StepError>)>,
    /// Functions on which a step hangs: the kernel holds their lock, so every other step would hang too.
    stuck: Vec<Address>,
    hung: usize,
    /// Functions that are bound although a step failed, and whose probe has ended.
    confirmed: Vec<Address>,
    denied: bool,
    roms: Vec<(Address, Result<option_rom::SavedRom, option_rom::RomError>)>,
    lost_framebuffers: Vec<(Address, String)>,
}

/// Carries out a plan.
pub fn execute(machine: &dyn Machine, plan: &Plan) -> Execution {
    let mut run = Run {
        machine,
        plan,
        done: Vec::new(),
        failures: Vec::new(),
        stuck: Vec::new(),
        hung: 0,
        confirmed: Vec::new(),
        denied: false,
        roms: Vec::new(),
        lost_framebuffers: Vec::new(),
    };
    for step in &plan.steps {
        run.run_step(step);
    }
    match plan.on_failure {
        OnFailure::Restore => restore::restore_failed(&mut run),
        OnFailure::Keep => run.probe_kept(),
    }
    let devices = plan.devices.iter().map(|planned| run.device_result(planned)).collect();
    Execution { steps: run.done, devices, roms: run.roms, lost_framebuffers: run.lost_framebuffers, denied: run.denied }
}

impl Run<'_> {
    /// Takes one step, unless the claim of its card has failed.
    fn run_step(&mut self, step: &Step) {
        let given_up = self.hung >= MAX_HUNG && !matches!(step.op, Op::Verify(_) | Op::VerifyReleased(_));
        let failed = step.device.is_some_and(|address| self.failure(address).is_ok());
        if given_up && !failed {
            let cause = Cause::NotTried { hung: MAX_HUNG };
            self.fail(step, &Rc::new(StepError { step: step.op.kind(), device: step.device, cause }));
        }
        let result = if self.is_cancelled(step) {
            StepResult::Skipped
        } else if let (Op::SaveRom(path), Some(address)) = (&step.op, step.device) {
            self.save_rom(address, path)
        } else {
            let result = match self.attempt(step) {
                Err(error) => match self.intruder(step, &error) {
                    Some(driver) => self.take_again(step, driver),
                    None => Err(error),
                },
                done => done,
            };
            match result {
                Ok(()) => StepResult::Done,
                Err(error) => {
                    // A step that hangs has not ended: whatever the links say now may change when it does.
                    let hangs = step.device.is_some_and(|address| self.stuck.contains(&address));
                    if hangs || is_essential(&step.op) {
                        self.fail(step, &error);
                    }
                    StepResult::Failed(error)
                }
            }
        };
        self.done.push(ExecutedStep { step: step.clone(), result });
    }

    /// The host's driver that a device is bound to after its probe: it was loaded after the inventory was taken, and was there
    /// before the override.
    fn intruder(&self, step: &Step, error: &StepError) -> Option<String> {
        let (Op::Verify(_), Cause::BoundTo(Some(driver))) = (&step.op, &error.cause) else { return None };
        let address = step.device?;
        let detached =
            self.done.iter().any(|done| done.step.device == Some(address) && matches!(done.step.op, Op::Detach(_)));
        (!detached && !is_vfio_driver(driver) && !self.stuck.contains(&address)).then(|| driver.clone())
    }

    /// Takes a device from a driver that got it in the meantime, as the plan would have had it, and verifies that once more.
    fn take_again(&mut self, step: &Step, driver: String) -> Result<(), Rc<StepError>> {
        for op in [Op::Detach(driver), Op::Probe] {
            self.run_step(&Step { device: step.device, op });
        }
        self.attempt(step)
    }

    /// Saves an option ROM. A claim never fails for that, and after a device that hangs no other is asked: it helps, and
    /// the boot waits.
    fn save_rom(&mut self, address: Address, path: &str) -> StepResult {
        if self.roms.iter().any(|(_, saved)| saved.as_ref().is_err_and(|error| error.hangs)) {
            return StepResult::Skipped;
        }
        let saved = option_rom::save(self.machine, address, path);
        let result = match &saved {
            Ok(_) => StepResult::Done,
            Err(error) => StepResult::Failed(Rc::new(StepError {
                step: StepKind::SaveRom,
                device: Some(address),
                cause: Cause::OptionRom(error.message.clone()),
            })),
        };
        self.roms.push((address, saved));
        result
    }

    /// Probes each device that is bound to its driver although a step failed. That changes nothing, and waits for a probe of
    /// the module's own that still hangs: the link to the driver is there before the probe has ended.
    fn probe_kept(&mut self) {
        let bound = |planned: &&PlannedDevice| {
            let driver = planned.device.map(|address| inventory::driver(self.machine, address));
            matches!(driver, Some(Ok(Some(driver))) if same_name(&driver, &planned.target))
        };
        let failed = self.taken().filter(|planned| planned.device.is_some_and(|address| self.failure(address).is_ok()));
        let kept: Vec<Option<Address>> = failed.filter(bound).map(|planned| planned.device).collect();
        for device in kept {
            let step = Step { device, op: Op::Probe };
            let result = self.attempt(&step);
            self.confirmed.extend(device.filter(|_| result.is_ok()));
            let result = result.map_or_else(StepResult::Failed, |()| StepResult::Done);
            self.done.push(ExecutedStep { step, result });
        }
    }

    /// Tries a step, and remembers what hangs and what is denied.
    fn attempt(&mut self, step: &Step) -> Result<(), Rc<StepError>> {
        let stuck = step.device.is_some_and(|address| self.stuck.contains(&address));
        let behind = stuck || self.hung >= MAX_HUNG;
        step::perform(self.machine, step, behind).map_err(|cause| {
            let error = StepError { step: step.op.kind(), device: step.device, cause };
            self.denied |= error.is_denied();
            if error.is_timeout() && !stuck {
                self.hung = self.hung.saturating_add(1);
                // The framebuffer is a device of its own with a lock of its own.
                self.stuck.extend(step.device.filter(|_| !matches!(step.op, Op::ReleaseFramebuffer { .. })));
            }
            Rc::new(error)
        })
    }

    /// Whether the claim that a step belongs to has failed already.
    fn is_cancelled(&self, step: &Step) -> bool {
        let Some(address) = step.device else {
            // No device needs the module any more.
            return self.users(step).all(|user| self.has_failed(user));
        };
        self.has_failed(address)
    }

    /// Whether the claim of a function has failed: its own, or, where slots are given back whole, one of its slot.
    fn has_failed(&self, address: Address) -> bool {
        match self.plan.on_failure {
            OnFailure::Keep => self.failure(address).is_ok(),
            OnFailure::Restore => self.failed_with(address).is_some(),
        }
    }

    /// Records why the claim of a step's device failed, or of every device that needed a module.
    fn fail(&mut self, step: &Step, error: &Rc<StepError>) {
        let users: Vec<Address> = match step.device {
            Some(address) => vec![address],
            None => self.users(step).collect(),
        };
        for address in users {
            if let Err(place) = self.failure(address) {
                self.failures.insert(place, (address, Rc::clone(error)));
            }
        }
    }

    /// The place of a function's failure, or where it would have to stand.
    fn failure(&self, address: Address) -> Result<usize, usize> {
        self.failures.binary_search_by(|(failed, _)| failed.cmp(&address))
    }

    /// The functions that are to be taken and need the driver that a step loads.
    fn users<'a>(&'a self, step: &'a Step) -> impl Iterator<Item = Address> + 'a {
        let driver = if let Op::Load { driver, .. } = &step.op { driver.as_str() } else { "" };
        self.taken().filter(move |planned| same_name(&planned.target, driver)).filter_map(|planned| planned.device)
    }

    /// The devices that are to be taken.
    fn taken(&self) -> impl Iterator<Item = &PlannedDevice> {
        self.plan.devices.iter().filter(|planned| planned.decision == Decision::Take)
    }

    /// The first function whose claim failed and that a function goes with: one of its card, which is what its slot holds
    /// apart from virtual functions.
    fn failed_with(&self, address: Address) -> Option<Address> {
        let alone =
            |one: Address| self.plan.devices.iter().any(|planned| planned.is_virtual && planned.device == Some(one));
        let mut failed = self.failures.iter().map(|(failed, _)| *failed);
        failed
            .find(|failed| *failed == address || failed.slot() == address.slot() && !alone(*failed) && !alone(address))
    }

    /// What became of a planned device. The driver that it is bound to is read from the machine, never concluded.
    fn device_result(&self, planned: &PlannedDevice) -> DeviceResult {
        let Some(address) = planned.device else { return DeviceResult { driver: None, failure: None } };
        // Once more, because what is reported has to be right.
        let driver = inventory::driver(self.machine, address).or_else(|_| inventory::driver(self.machine, address));
        let (driver, unknown) = match driver {
            Ok(driver) => (driver, None),
            Err(error) => (None, Some(ClaimError::DriverUnknown(error.to_string()))),
        };
        let bound = driver.as_deref().is_some_and(|driver| same_name(driver, &planned.target));
        let failure = match self.failures.iter().find(|(failed, _)| *failed == address) {
            _ if !planned.decision.acts() => None,
            Some((_, error)) => Some(ClaimError::Step(Rc::clone(error))),
            None if planned.decision == Decision::Release => unknown,
            None if planned.decision == Decision::Take && self.has_failed(address) => {
                self.failed_with(address).map(ClaimError::GivenBackWith)
            }
            None if bound => None,
            None => Some(unknown.unwrap_or_else(|| ClaimError::BoundTo(driver.clone()))),
        };
        // It may have reached its driver in spite of a step that failed; where cards are kept, that is what counts. Where
        // anything hung, it does not: the link is there while the probe still hangs.
        let kept = self.confirmed.contains(&address) && self.hung == 0;
        let failure = if bound && kept { None } else { failure };
        DeviceResult { driver, failure }
    }
}

/// Whether a claim fails when this step does. What only helps may fail; the read-back decides in the end. A failed probe
/// counts: where a module's own probe of the device hangs, the link is there already, and only our probe shows it.
fn is_essential(op: &Op) -> bool {
    !matches!(
        op,
        Op::PowerUp
            | Op::ReleaseFramebuffer { .. }
            | Op::RestoreFramebuffer { .. }
            | Op::PowerControl(_)
            | Op::LoadFor(_)
            | Op::ResetMethod { .. }
            | Op::Rebar { .. }
            | Op::KeepAwake { .. }
            | Op::StopAutoprobe
            | Op::ProbeVirtual { .. }
    )
}
