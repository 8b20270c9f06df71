// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whether this boot may carry out a plan ([`crate::trial`]).

use crate::config::Config;
use crate::inventory::Inventory;
use crate::problem::{Code, Problem, Severity};
use crate::trial::{self, State, Trial};

use super::{Decision, Plan, Refusal};

impl Plan {
    /// Holds the plan against the mark of the trial. `whole`: it is about all devices.
    pub(super) fn try_out(&mut self, config: &Config, inventory: &Inventory, whole: bool) {
        let digest = config.digest();
        let decision = match &inventory.trial {
            _ if !config.settings.trial => trial::Decision::Go(Some(State::Off)),
            None => return,
            // udev asks for single devices; whoever asks for all of them on the running system is a person. Without its
            // mounts, no system is known to run.
            Some(facts) => {
                let running = !inventory.initramfs && !inventory.mounts.is_empty();
                trial::decide(facts, &digest, whole && running)
            }
        };
        let state = match decision {
            trial::Decision::Go(state) => state,
            // Nothing is touched, so nothing can go wrong.
            trial::Decision::Begin if self.steps.is_empty() => None,
            trial::Decision::Begin => {
                self.begins_trial = true;
                Some(State::Running)
            }
            trial::Decision::Block(reason) => {
                self.trial = Some(Trial { state: State::Blocked, digest });
                return self.block(reason);
            }
        };
        // udev runs one claim for each device: the first of the boot has said it.
        if state == Some(State::Running) && whole {
            self.problems.push(Problem::warning(Code::Trial, None, trial::RUNNING.to_owned()));
        }
        self.trial = state.map(|state| Trial { state, digest });
    }

    /// Claims nothing, for this reason.
    pub fn block(&mut self, reason: String) {
        self.begins_trial = false;
        self.steps.clear();
        for planned in &mut self.devices {
            if planned.decision == Decision::Take {
                planned.decision = Decision::Refuse(Refusal::new(Code::Trial, SHORT.to_owned()));
            }
        }
        if let Some(trial) = &mut self.trial {
            trial.state = State::Blocked;
        }
        // What is true of a claim is true of none.
        self.problems.retain(|problem| problem.severity == Severity::Error);
        self.problems.push(Problem::error(Code::Trial, None, reason));
    }
}

/// Why a device is refused; the problem says more, once.
const SHORT: &str = "nothing is claimed in this boot (trial)";
