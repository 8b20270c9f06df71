// SPDX-License-Identifier: MIT OR Apache-2.0
//! Carries out a plan, step by step, and remembers how each step ended.
//!
//! A step that fails ends the claim of its slot, never that of another. A slot whose claim failed is given back at the end,
//! so that no device is left without a driver by accident.

pub mod option_rom;
mod restore;
mod step;

use crate::config::OnFailure;
use crate::inventory;
use crate::machine::Machine;
use crate::pci::Address;
use crate::plan::{Decision, Op, Plan, PlannedDevice, Step, same_name};

/// After so many steps that did not come back, nothing new is begun, and what gives devices back waits for a moment only:
/// the boot has waited long enough.
const MOST_HUNG: usize = 3;

/// How a step ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepResult {
    /// Done.
    Ok,
    /// Not done, and why.
    Failed(String),
    /// Not tried, because the claim of this slot had failed before.
    Skipped,
}

/// A step and how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// The step.
    pub step: Step,
    /// How it ended.
    pub result: StepResult,
}

/// How an entry of the plan ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// The driver that holds the device now.
    pub driver: Option<String>,
    /// Why it is not on its driver.
    pub failure: Option<String>,
}

/// How a plan was carried out.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// The steps, in the order in which they were taken; what was done to give slots back stands at the end.
    pub steps: Vec<Done>,
    /// How each entry of the plan ended, in the plan's order.
    pub endings: Vec<Ending>,
    /// The option ROMs that were saved, and why others were not.
    pub roms: Vec<(Address, Result<option_rom::SavedRom, option_rom::RomError>)>,
    /// A write failed because the rights for it are missing.
    pub denied: bool,
}

/// What is known while a plan is carried out.
struct Run<'a> {
    machine: &'a dyn Machine,
    plan: &'a Plan,
    done: Vec<Done>,
    /// Why a function failed; the first reason counts. Sorted by address.
    failures: Vec<(Address, String)>,
    /// Functions on which a step hangs: the kernel holds their lock, so every other step would hang too.
    stuck: Vec<Address>,
    hung: usize,
    denied: bool,
    roms: Vec<(Address, Result<option_rom::SavedRom, option_rom::RomError>)>,
}

/// Carries out a plan.
pub fn execute(machine: &dyn Machine, plan: &Plan) -> Outcome {
    let mut run = Run {
        machine,
        plan,
        done: Vec::new(),
        failures: Vec::new(),
        stuck: Vec::new(),
        hung: 0,
        denied: false,
        roms: Vec::new(),
    };
    for step in &plan.steps {
        run.take(step);
    }
    if plan.on_failure == OnFailure::Restore {
        restore::failed_slots(&mut run);
    }
    let endings = plan.entries.iter().map(|entry| run.ending(entry)).collect();
    Outcome { steps: run.done, endings, roms: run.roms, denied: run.denied }
}

impl Run<'_> {
    /// Takes one step, unless the claim of its slot has failed.
    fn take(&mut self, step: &Step) {
        let given_up = self.hung >= MOST_HUNG && !matches!(step.op, Op::Verify(_) | Op::VerifyReleased(_));
        let told = step.device.is_some_and(|address| self.failure(address).is_ok());
        if given_up && !told {
            self.fail(step, &format!("not tried: {MOST_HUNG} steps before it did not come back"));
        }
        let result = if self.is_off(step) {
            StepResult::Skipped
        } else if let (Op::SaveRom(path), Some(address)) = (&step.op, step.device) {
            self.save_rom(address, path)
        } else {
            match self.attempt(step) {
                Ok(()) => StepResult::Ok,
                Err(why) => {
                    // A step that hangs has not ended: whatever the links say now, nothing is sure about that device.
                    let hangs = step.device.is_some_and(|address| self.stuck.contains(&address));
                    if hangs || is_essential(&step.op) {
                        self.fail(step, &why);
                    }
                    StepResult::Failed(why)
                }
            }
        };
        self.done.push(Done { step: step.clone(), result });
    }

    /// Saves an option ROM. A claim never fails for that, and after a device that hangs no other is asked: it helps, and
    /// the boot waits.
    fn save_rom(&mut self, address: Address, path: &str) -> StepResult {
        if self.roms.iter().any(|(_, saved)| saved.as_ref().is_err_and(|error| error.hangs)) {
            return StepResult::Skipped;
        }
        let saved = option_rom::save(self.machine, address, path);
        let result = saved.as_ref().map_or_else(|error| StepResult::Failed(error.message.clone()), |_| StepResult::Ok);
        self.roms.push((address, saved));
        result
    }

    /// Takes a step, and records it as it ends.
    fn attempt(&mut self, step: &Step) -> Result<(), String> {
        let stuck = step.device.is_some_and(|address| self.stuck.contains(&address));
        let behind = stuck || self.hung >= MOST_HUNG;
        step::perform(self.machine, step, behind).map_err(|error| {
            self.denied |= error.is_denied();
            if error.is_timeout() && !stuck {
                self.hung = self.hung.saturating_add(1);
                // The framebuffer is a device of its own: its lock is in nobody's way.
                self.stuck.extend(step.device.filter(|_| !matches!(step.op, Op::ReleaseFramebuffer { .. })));
            }
            error.to_string()
        })
    }

    /// Whether the claim that a step belongs to has failed already.
    fn is_off(&self, step: &Step) -> bool {
        let Some(address) = step.device else {
            // A module that nobody needs any more.
            return self.users(step.op.value()).all(|user| self.has_failed(user));
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

    /// Remembers why the claim of a step's device failed, or of every device that needed a module.
    fn fail(&mut self, step: &Step, why: &str) {
        let users: Vec<Address> = match step.device {
            Some(address) => vec![address],
            None => self.users(step.op.value()).collect(),
        };
        for address in users {
            if let Err(place) = self.failure(address) {
                self.failures.insert(place, (address, why.to_owned()));
            }
        }
    }

    /// The place of a function's failure, or where it would have to stand.
    fn failure(&self, address: Address) -> Result<usize, usize> {
        self.failures.binary_search_by(|(failed, _)| failed.cmp(&address))
    }

    /// The functions that are to be taken and need this driver.
    fn users<'a>(&'a self, driver: &'a str) -> impl Iterator<Item = Address> + 'a {
        self.taken().filter(move |entry| same_name(&entry.target, driver)).filter_map(|entry| entry.device)
    }

    /// The entries that are to be taken.
    fn taken(&self) -> impl Iterator<Item = &PlannedDevice> {
        self.plan.entries.iter().filter(|entry| entry.decision == Decision::Take)
    }

    /// The first function whose claim failed and that a function goes with: one of its card, which is what its slot holds
    /// apart from virtual functions.
    fn failed_with(&self, address: Address) -> Option<Address> {
        let alone = |one: Address| self.plan.entries.iter().any(|entry| entry.is_virtual && entry.device == Some(one));
        let mut failed = self.failures.iter().map(|(failed, _)| *failed);
        failed
            .find(|failed| *failed == address || failed.slot() == address.slot() && !alone(*failed) && !alone(address))
    }

    /// How an entry ended: what holds the device now is read from the machine, never concluded.
    fn ending(&self, entry: &PlannedDevice) -> Ending {
        let Some(address) = entry.device else { return Ending { driver: None, failure: None } };
        // Once more, because what is reported has to be right.
        let driver = inventory::driver(self.machine, address).or_else(|_| inventory::driver(self.machine, address));
        let (driver, unknown) = match driver {
            Ok(driver) => (driver, None),
            Err(error) => (None, Some(format!("nobody knows which driver has it: {error}"))),
        };
        let held = driver.as_deref().is_some_and(|driver| same_name(driver, &entry.target));
        let failure = match self.failures.iter().find(|(failed, _)| *failed == address) {
            _ if !entry.decision.acts() => None,
            Some((_, why)) => Some(why.clone()),
            None if entry.decision == Decision::Release => unknown,
            None if entry.decision == Decision::Take && self.has_failed(address) => {
                let other = self.failed_with(address);
                other.map(|failed| format!("given back with {failed}, whose claim failed"))
            }
            None if held => None,
            None => Some(unknown.unwrap_or_else(|| step::ended_on(driver.as_deref()))),
        };
        // It may have reached its driver in spite of a step that failed; where slots are kept, that is what counts. Where
        // anything hung, it does not: the link is there while the probe still hangs.
        let kept = self.plan.on_failure == OnFailure::Keep && self.hung == 0;
        let failure = if held && kept { None } else { failure };
        Ending { driver, failure }
    }
}

/// Whether a claim fails when this step does. What only helps may fail; the read-back decides in the end. A failed probe
/// counts: where a module's own probe of the device hangs, the link is there already, and only our probe shows it.
fn is_essential(op: &Op) -> bool {
    !matches!(
        op,
        Op::PowerUp
            | Op::ReleaseFramebuffer { .. }
            | Op::PowerControl(_)
            | Op::LoadFor(_)
            | Op::ResetMethod { .. }
            | Op::Rebar(..)
    )
}
