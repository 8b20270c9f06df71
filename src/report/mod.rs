// SPDX-License-Identifier: MIT OR Apache-2.0
//! What became of the claims: one typed value, and its printers.
//!
//! [`Report`] is what a run came to. It is printed as JSON (its `fields!`), as text and to the kernel log, and is kept in
//! /run/vfio-early/report.json, from where `status` reads it for as long as the machine runs. Fields may be added, never
//! renamed: scripts read them.

mod assemble;
mod file;
mod kernel_log;
mod login;
mod text;

use crate::config::{Guard, Origin};
use crate::exit::Exit;
use crate::json::{FromJson, Json, Value, fields, readable, readable_words};
use crate::pci::Address;
use crate::plan::{Iommu, StepKind};
use crate::problem::{Code, Problem};
use crate::rom::Verdict;
use crate::trial::Trial;

pub use assemble::{assemble, claims};
pub use file::{PATH, load, merge, save};
pub use kernel_log::{Level, lines, write};
pub use login::{announce, clear};
pub use text::text;

/// The document of `claim`, `bind` and `release`, and of /run/vfio-early/report.json.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The program's version.
    pub version: String,
    /// The kernel's release.
    pub kernel: String,
    /// Nothing was done; this is the plan.
    pub dry_run: bool,
    /// Where the program ran.
    pub stage: Stage,
    /// When it began, in milliseconds since the kernel started.
    pub time_ms: u64,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
    /// The exit status.
    pub status: u8,
    /// Whether the IOMMU protects the host.
    pub iommu: Iommu,
    /// What was done.
    pub steps: Vec<ReportedStep>,
    /// What became of each function that a claim is about, and of each claim that is about none.
    pub claims: Vec<ClaimedDevice>,
    /// The problems found.
    pub problems: Vec<Problem>,
    /// The digest of the configuration files in the initramfs, where the claim ran there.
    pub image: Option<String>,
    /// How this boot stands with the configuration; none where that is unknown.
    pub trial: Option<Trial>,
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
    image,
    trial
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
    image,
    trial
});

/// Where the program ran.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stage {
    /// In the initramfs, before the real root is mounted.
    Initramfs,
    /// For a device that appeared later, started by the udev rule.
    Udev,
    /// As a command.
    #[default]
    Command,
}

readable_words!(Stage { Initramfs: "initramfs", Udev: "udev", Command: "command" });

/// A step as it ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReportedStep {
    /// The device; none for a module.
    pub device: Option<Address>,
    /// What was done.
    pub op: StepKind,
    /// With what: a driver, a module, a size.
    pub value: String,
    /// How it ended.
    pub result: Ended,
}

fields!(ReportedStep { device, op, value, result });
readable!(ReportedStep { device, op, value, result });

/// How a step ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Ended {
    /// Nothing was done: it is planned.
    #[default]
    Planned,
    /// It was done.
    Ok,
    /// It was not tried.
    Skipped,
    /// It failed, and why.
    Failed(String),
}

impl Ended {
    /// The word for it, or why it failed.
    pub fn text(&self) -> &str {
        match self {
            Self::Planned => "planned",
            Self::Ok => "ok",
            Self::Skipped => "skipped",
            Self::Failed(why) => why,
        }
    }
}

impl Json for Ended {
    fn json(&self, out: &mut String) {
        self.text().json(out);
    }
}

impl FromJson for Ended {
    fn from_json(value: &Value) -> Option<Self> {
        let Value::Text(text) = value else { return None };
        Some(match text.as_str() {
            "planned" => Self::Planned,
            "ok" => Self::Ok,
            "skipped" => Self::Skipped,
            why => Self::Failed(why.to_owned()),
        })
    }
}

/// One function that a claim is about, or one claim that is about none.
#[derive(Clone, Debug, Default)]
pub struct ClaimedDevice {
    /// The claim's selector, as the program understood it.
    pub selector: String,
    /// Where the claim is written.
    pub source: Origin,
    /// The function.
    pub device: Option<Address>,
    /// What became of it.
    pub state: ClaimState,
    /// The driver that it is bound to.
    pub driver: Option<String>,
    /// The driver that it shall be bound to.
    pub target: String,
    /// The guard that refused it.
    pub guard: Option<Guard>,
    /// Why it is not claimed.
    pub reason: Option<String>,
    /// Where it was claimed.
    pub stage: Option<Stage>,
    /// When, in milliseconds since the kernel started.
    pub time_ms: Option<u64>,
    /// The drivers that it was bound to before.
    pub before: Vec<String>,
    /// What became of its option ROM, where that was to be saved.
    pub rom: Option<SavedRom>,
}

fields!(ClaimedDevice { selector, source, device, state, driver, target, guard, reason, stage, time_ms, before, rom });
readable!(ClaimedDevice {
    selector,
    source,
    device,
    state,
    driver,
    target,
    guard,
    reason,
    stage,
    time_ms,
    before,
    rom
});

/// The state of a claimed function.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClaimState {
    /// It is on its driver.
    Claimed,
    /// It is to be claimed.
    #[default]
    Pending,
    /// It is left alone, for a reason.
    Refused,
    /// Claiming it failed.
    Failed,
    /// It is not there.
    Missing,
    /// It was claimed, and is on another driver now.
    Drifted,
    /// It was refused, and is on a VFIO driver all the same.
    Taken,
    /// It was given back to the host.
    Released,
}

readable_words!(ClaimState {
    Claimed: "claimed",
    Pending: "pending",
    Refused: "refused",
    Failed: "failed",
    Missing: "missing",
    Drifted: "drifted",
    Taken: "taken",
    Released: "released",
});

/// A saved option ROM.
#[derive(Clone, Debug, Default)]
pub struct SavedRom {
    /// The file; none where it could not be saved.
    pub path: Option<String>,
    /// Its size in bytes.
    pub size: u64,
    /// Whether a guest can use it.
    pub verdict: Option<Verdict>,
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
            (Some(path), Some(verdict)) => {
                format!("option ROM in {path}: {} bytes, {}", self.size, verdict.name())
            }
            _ => format!("option ROM not saved: {}", problem.unwrap_or("not attempted")),
        }
    }
}

/// The document of a command that could not do its work.
#[derive(Clone, Debug)]
pub struct FailureReport {
    /// The program's version.
    version: String,
    /// The exit status.
    status: u8,
    /// Why.
    problems: Vec<Problem>,
    /// None.
    claims: Vec<ClaimedDevice>,
}

fields!(FailureReport { version, status, problems, claims });

impl FailureReport {
    /// A document with these reasons.
    pub fn new(exit: Exit, messages: &[String]) -> Self {
        let code = if exit == Exit::Usage { Code::Config } else { Code::System };
        let problems = messages.iter().map(|message| Problem::error(code, None, message.clone())).collect();
        Self { version: env!("CARGO_PKG_VERSION").to_owned(), status: exit.code(), problems, claims: Vec::new() }
    }
}
