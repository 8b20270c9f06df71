// SPDX-License-Identifier: MIT OR Apache-2.0
//! A machine with a configuration, what becomes of it without us, and one run of the program on it.

use std::collections::BTreeMap;
use std::time::Instant;

use vfio_early::config::{self, Config, OnFailure};
use vfio_early::exit::Failure;
use vfio_early::machine::Machine;
use vfio_early::pci::{Address, Slot};
use vfio_early::pipeline::{Run as PipelineRun, claim};
use vfio_early::plan::{self, Decision};

use crate::simulated::{Entry, Fault, Probe, SimulatedMachine};

/// The driver of each device.
pub(super) type Drivers = BTreeMap<String, Option<String>>;

/// A machine, and what is to be known of it to judge a run.
pub(super) struct Case {
    pub(super) name: String,
    /// As it stands before a run.
    pub(super) machine: SimulatedMachine,
    /// Its configuration; nothing where that is not accepted.
    pub(super) config: Config,
    /// What `--device` says.
    pub(super) scope: Vec<Address>,
    /// Slots are given back.
    pub(super) restore: bool,
    /// What udev makes of the machine when the program never ran.
    pub(super) untouched: Drivers,
    /// The same when nobody had set an override, and every device was probed.
    pub(super) cleared: Drivers,
    /// Drivers fail or hang on this machine, whatever else goes wrong.
    pub(super) sick: bool,
    /// Devices that the host's own drivers refuse, or hang on; and whether that passes.
    pub(super) unwanted: Vec<(String, bool)>,
    /// A run to which nothing happens; `None` when the configuration is not accepted.
    pub(super) reference: Option<Run>,
}

/// One run.
pub(super) struct Run {
    /// The machine as the run left it.
    pub(super) machine: SimulatedMachine,
    pub(super) result: Result<PipelineRun, Failure>,
    /// What the program asked of the machine.
    pub(super) log: Vec<Entry>,
}

impl Case {
    pub(super) fn new(name: &str, machine: SimulatedMachine, scope: &[&str]) -> Self {
        let scope: Vec<Address> = scope.iter().map(|name| name.parse().unwrap()).collect();
        let config = load(&machine).unwrap_or_default();
        let control = machine.clone();
        control.coldplug();
        control.settle();
        let cleared = machine.clone();
        for device in cleared.devices() {
            // A driver that has it by an override alone would not get it back.
            if let (Some(_), Some(driver)) = (cleared.driver_override(&device), cleared.driver(&device)) {
                let _ = cleared.write(&format!("/sys/bus/pci/drivers/{driver}/unbind"), &device);
            }
            cleared.change(|state| state.set_override(&device, None));
            // It may hang; nobody waits for it here.
            let _ = cleared.write("/sys/bus/pci/drivers_probe", &device);
        }
        cleared.coldplug();
        cleared.settle();
        let mut case = Self {
            name: name.to_owned(),
            scope,
            restore: config.settings.on_failure == OnFailure::Restore,
            untouched: drivers(&control),
            cleared: drivers(&cleared),
            sick: machine.change(|state| !state.probe.is_empty()),
            unwanted: machine.change(|state| {
                let unwanted = state.probe.iter().filter(|((driver, _), _)| driver != "vfio-pci");
                unwanted.map(|((_, device), how)| (device.clone(), matches!(how, Probe::FailOnce(_)))).collect()
            }),
            reference: None,
            config,
            machine,
        };
        let reference = case.run(None);
        case.reference = reference.result.is_ok().then_some(reference);
        case
    }

    /// Runs the program on a copy of the machine while this goes wrong.
    pub(super) fn run(&self, fault: Option<Fault>) -> Run {
        let machine = self.machine.clone();
        match fault {
            Some(fault) => machine.trouble(fault),
            None => machine.calm(),
        }
        self.run_on(machine, false)
    }

    /// Runs the program on a copy of the machine while all of this goes wrong.
    pub(super) fn run_with(&self, faults: &[&Fault]) -> Run {
        let machine = self.machine.clone();
        machine.calm();
        for fault in faults {
            machine.more_trouble((*fault).clone());
        }
        self.run_on(machine, false)
    }

    /// Runs the program on this machine, which shows what a run did that did not come to its end.
    pub(super) fn run_in_place(&self, machine: &SimulatedMachine) -> Result<PipelineRun, Failure> {
        self.claim(machine, false)
    }

    fn claim(&self, machine: &SimulatedMachine, dry_run: bool) -> Result<PipelineRun, Failure> {
        load(machine)
            .map_err(Failure::Config)
            .and_then(|config| claim(machine, &config, &self.scope, dry_run, Instant::now()))
    }

    /// Runs the program on this machine.
    pub(super) fn run_on(&self, machine: SimulatedMachine, dry_run: bool) -> Run {
        let result = self.claim(&machine, dry_run);
        let log = machine.log();
        Run { machine, result, log }
    }

    /// How many operations a run takes to which nothing happens.
    pub(super) fn operations(&self) -> usize {
        self.reference.as_ref().map_or(0, |run| run.log.len())
    }
}

impl Run {
    /// The claims: device, state, driver, reason.
    pub(super) fn states(&self) -> Vec<(Address, String)> {
        let Ok(claimed) = &self.result else { return Vec::new() };
        let claims = claimed.report.claims.iter();
        claims.filter_map(|claim| Some((claim.device?, claim.state.name().to_owned()))).collect()
    }

    /// The functions that are to be taken, with the drivers that they shall end on.
    pub(super) fn planned(&self) -> Vec<(Address, String)> {
        let Ok(claimed) = &self.result else { return Vec::new() };
        let taken = claimed.plan.devices.iter().filter(|entry| entry.decision == Decision::Take);
        taken.filter_map(|entry| Some((entry.device?, entry.target.clone()))).collect()
    }

    /// Whether a function is to end on its driver, or is there already.
    pub(super) fn holds(&self, device: &str) -> bool {
        let Ok(claimed) = &self.result else { return false };
        let holding = |entry: &plan::PlannedDevice| {
            entry.decision.holds() && entry.device.is_some_and(|a| a.to_string() == device)
        };
        claimed.plan.devices.iter().any(holding)
    }

    /// The slots of the functions that are to be taken.
    pub(super) fn slots(&self) -> Vec<Slot> {
        let mut slots: Vec<Slot> = self.planned().iter().map(|(address, _)| address.slot()).collect();
        slots.dedup();
        slots
    }
}

/// Reads the configuration of a machine.
fn load(machine: &SimulatedMachine) -> Result<Config, Vec<config::ConfigError>> {
    config::load(machine, config::Sources::AtBoot).map(|loaded| loaded.config)
}

/// The driver of each device.
pub(super) fn drivers(machine: &SimulatedMachine) -> Drivers {
    machine.devices().into_iter().map(|device| (device.clone(), machine.driver(&device))).collect()
}
