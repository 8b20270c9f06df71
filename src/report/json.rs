// SPDX-License-Identifier: MIT OR Apache-2.0
//! The JSON documents. Fields may be added, never renamed: scripts read them.

use crate::json::{fields, readable};

use crate::config::{Config, ConfigError, Guard};
use crate::execute::{Outcome, StepResult};
use crate::inventory::Firmware;
use crate::plan::{Decision, IommuVerdict, Plan, PlannedDevice, Problem, Severity, same_name};

/// The document of `claim`, and of /run/vfio-early/report.json.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The program's version.
    pub version: String,
    /// The kernel's release.
    pub kernel: String,
    /// Nothing was done; this is the plan.
    pub dry_run: bool,
    /// Where the program ran: `initramfs`, `udev`, `command`.
    pub stage: String,
    /// When it began, in milliseconds since the kernel started.
    pub time_ms: u64,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
    /// The exit status.
    pub status: u8,
    /// The verdict on the IOMMU.
    pub iommu: Iommu,
    /// What was done.
    pub steps: Vec<Step>,
    /// What became of each claim.
    pub claims: Vec<Claim>,
    /// What people should know.
    pub problems: Vec<ProblemEntry>,
    /// The digest of the configuration files that the initramfs held, where it was an initramfs that claimed.
    pub image: Option<String>,
}

fields!(Report {
    version,
    kernel,
    dry_run,
    stage,
    time_ms,
    duration_ms,
    status,
    iommu,
    steps,
    claims,
    problems,
    image
});
readable!(Report {
    version,
    kernel,
    dry_run,
    stage,
    time_ms,
    duration_ms,
    status,
    iommu,
    steps,
    claims,
    problems,
    image
});

/// The verdict on the IOMMU.
#[derive(Clone, Debug, Default)]
pub struct Iommu {
    /// `enabled`, `disabled`, `absent`.
    pub state: String,
    /// `intel`, `amd`, `smmu`, `other`.
    pub kind: Option<String>,
    /// The units that the kernel runs.
    pub units: Vec<String>,
    /// `DMAR`, `IVRS`, `IORT`.
    pub firmware_table: Option<String>,
    /// `enabled`, `disabled`, `unknown`.
    pub interrupt_remapping: String,
    /// What to do about what is missing.
    pub advice: Vec<String>,
}

fields!(Iommu { state, kind, units, firmware_table, interrupt_remapping, advice });
readable!(Iommu { state, kind, units, firmware_table, interrupt_remapping, advice });

/// One step.
#[derive(Clone, Debug, Default)]
pub struct Step {
    /// The device's address.
    pub device: Option<String>,
    /// What is done.
    pub op: String,
    /// With what.
    pub value: String,
    /// `planned`, `ok`, `skipped`, or why it failed.
    pub result: String,
}

fields!(Step { device, op, value, result });
readable!(Step { device, op, value, result });

/// One function that a claim is about, or one claim that is about none.
#[derive(Clone, Debug, Default)]
pub struct Claim {
    /// The selector, as the program understood it.
    pub selector: String,
    /// Where the claim is written.
    pub source: String,
    /// The function's address.
    pub device: Option<String>,
    /// `claimed`, `pending`, `refused`, `failed`, `missing`, `drifted`.
    pub state: String,
    /// The driver that holds it now.
    pub driver: Option<String>,
    /// The driver that it shall be on.
    pub target: String,
    /// The guard that refused it.
    pub guard: Option<String>,
    /// Why it is not claimed.
    pub reason: Option<String>,
    /// Where it was claimed: `initramfs`, `udev`, `command`.
    pub stage: Option<String>,
    /// When, in milliseconds since the kernel started.
    pub time_ms: Option<u64>,
    /// The drivers that had held it before.
    pub before: Vec<String>,
    /// What became of its option ROM, where that was to be saved.
    pub rom: Option<SavedRom>,
}

fields!(Claim { selector, source, device, state, driver, target, guard, reason, stage, time_ms, before, rom });
readable!(Claim { selector, source, device, state, driver, target, guard, reason, stage, time_ms, before, rom });

/// A saved option ROM.
#[derive(Clone, Debug, Default)]
pub struct SavedRom {
    /// Where it is; `null` where it could not be saved.
    pub path: Option<String>,
    /// Its size in bytes.
    pub size: u64,
    /// `valid`, `repairable`, `invalid`.
    pub verdict: Option<String>,
    /// Why it was not saved, or the worst that is wrong with it.
    pub problem: Option<String>,
}

fields!(SavedRom { path, size, verdict, problem });
readable!(SavedRom { path, size, verdict, problem });

impl SavedRom {
    /// One line for people.
    pub fn text(&self) -> String {
        let problem = self.problem.as_deref();
        match (&self.path, &self.verdict) {
            (Some(path), Some(verdict)) => format!("option ROM in {path}: {} bytes, {verdict}", self.size),
            _ => format!("option ROM not saved: {}", problem.unwrap_or("not attempted")),
        }
    }
}

/// The document of `check`.
#[derive(Clone, Debug, Default)]
pub struct Check {
    /// Everything that is wrong, or worth a thought.
    pub problems: Vec<ProblemEntry>,
    /// What would become of each claim.
    pub claims: Vec<Claim>,
}

fields!(Check { problems, claims });

/// The document of a command that could not be carried out.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The program's version.
    pub version: String,
    /// The exit status.
    pub status: u8,
    /// Why.
    pub problems: Vec<ProblemEntry>,
    /// None.
    pub claims: Vec<Claim>,
}

fields!(Failure { version, status, problems, claims });

impl Failure {
    /// A document with these reasons.
    pub fn new(status: u8, messages: &[String]) -> Self {
        let problem = |message: &String| ProblemEntry {
            severity: Severity::Error.name().to_owned(),
            code: if status == 2 { "config" } else { "system" }.to_owned(),
            message: message.clone(),
            ..Default::default()
        };
        let problems = messages.iter().map(problem).collect();
        Self { version: env!("CARGO_PKG_VERSION").to_owned(), status, problems, claims: Vec::new() }
    }
}

/// Something that people should know.
#[derive(Clone, Debug, Default)]
pub struct ProblemEntry {
    /// `error` or `warning`.
    pub severity: String,
    /// A short word for programs.
    pub code: String,
    /// Where the configuration says so.
    pub source: Option<String>,
    /// The device that it is about.
    pub device: Option<String>,
    /// What it is, and what to do.
    pub message: String,
}

fields!(ProblemEntry { severity, code, source, device, message });
readable!(ProblemEntry { severity, code, source, device, message });

impl ProblemEntry {
    /// Whether it is the reason why a claim does not hold, which is told with the claim.
    pub fn is_reason(&self) -> bool {
        self.severity == "error" && !matches!(self.code.as_str(), "reset" | "rebar")
    }
}

impl From<&IommuVerdict> for Iommu {
    fn from(verdict: &IommuVerdict) -> Self {
        let remapping = match verdict.remapping {
            Some(true) => "enabled",
            Some(false) => "disabled",
            None => "unknown",
        };
        Self {
            state: verdict.state.name().to_owned(),
            kind: verdict.kind.map(ToOwned::to_owned),
            units: verdict.units.clone(),
            firmware_table: verdict.firmware.map(|table: Firmware| table.name().to_owned()),
            interrupt_remapping: remapping.to_owned(),
            advice: verdict.advice.clone(),
        }
    }
}

impl From<&ConfigError> for ProblemEntry {
    fn from(error: &ConfigError) -> Self {
        Self {
            severity: Severity::Error.name().to_owned(),
            code: "config".to_owned(),
            source: Some(error.origin.to_string()),
            device: None,
            message: error.message.clone(),
        }
    }
}

/// Problems with the places in the configuration that they come from.
pub fn problems(config: &Config, problems: &[Problem]) -> Vec<ProblemEntry> {
    let entries = problems.iter().map(|problem| ProblemEntry {
        severity: problem.severity.name().to_owned(),
        code: problem.code.to_owned(),
        source: problem.claim.and_then(|claim| config.claims.get(claim)).map(|claim| claim.origin.to_string()),
        device: problem.device.map(|address| address.to_string()),
        message: problem.message.clone(),
    });
    entries.collect()
}

/// The steps of a plan, as they ended, or as they are planned where nothing was done.
pub fn steps(plan: &Plan, outcome: Option<&Outcome>) -> Vec<Step> {
    let entry = |step: &crate::plan::Step, result: &str| Step {
        device: step.device.map(|address| address.to_string()),
        op: step.op.name().to_owned(),
        value: step.op.value().to_owned(),
        result: result.to_owned(),
    };
    match outcome {
        None => plan.steps.iter().map(|step| entry(step, "planned")).collect(),
        Some(outcome) => outcome
            .steps
            .iter()
            .map(|done| match &done.result {
                StepResult::Ok => entry(&done.step, "ok"),
                StepResult::Skipped => entry(&done.step, "skipped"),
                StepResult::Failed(why) => entry(&done.step, why),
            })
            .collect(),
    }
}

/// The claims of a plan: decided (`pending` where something is to be done), or as they ended.
pub fn claims(config: &Config, plan: &Plan, outcome: Option<&Outcome>) -> Vec<Claim> {
    let mut claims = Vec::with_capacity(plan.entries.len());
    for (index, entry) in plan.entries.iter().enumerate() {
        let mut claim = undecided(config, entry);
        let ending = outcome.and_then(|outcome| outcome.endings.get(index));
        if let Some(ending) = ending {
            claim.driver = ending.driver.clone();
            claim.reason = ending.failure.clone();
        }
        let held = if claim.reason.is_none() { "claimed" } else { "failed" };
        match &entry.decision {
            Decision::Done => claim.state = held.to_owned(),
            Decision::Release => {
                let planned = plan.steps.iter().any(|step| step.device == entry.device);
                claim.state = match &claim.reason {
                    Some(_) => "failed",
                    None if ending.is_none() && planned => "pending",
                    None => "released",
                }
                .to_owned();
                if let (true, None) = (claim.state == "released", &claim.driver) {
                    claim.reason = Some("no driver of the host took it".to_owned());
                }
            }
            Decision::Missing { reason } => {
                claim.state = "missing".to_owned();
                claim.reason = Some(reason.clone());
            }
            Decision::Refuse { guard, reason, .. } => {
                claim.state = "refused".to_owned();
                claim.guard = guard.map(Guard::name).map(ToOwned::to_owned);
                claim.reason = Some(reason.clone());
            }
            Decision::Take => {
                claim.state = "pending".to_owned();
                if ending.is_some() {
                    // One that it shall be on has not lost it: only the override was missing.
                    let other = entry.driver.iter().filter(|driver| !same_name(driver, &entry.target));
                    claim.before = other.cloned().collect();
                    claim.state = held.to_owned();
                }
            }
        }
        claims.push(claim);
    }
    claims
}

fn undecided(config: &Config, entry: &PlannedDevice) -> Claim {
    let claim = config.claims.get(entry.claim);
    Claim {
        selector: claim.map(|claim| claim.selector.to_string()).unwrap_or_default(),
        source: claim.map(|claim| claim.origin.to_string()).unwrap_or_default(),
        device: entry.device.map(|address| address.to_string()),
        driver: entry.driver.clone(),
        target: entry.target.clone(),
        ..Default::default()
    }
}
