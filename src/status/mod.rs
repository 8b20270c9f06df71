// SPDX-License-Identifier: MIT OR Apache-2.0
//! How a machine stands: every claim and its present state, the displays and their groups. One typed value, and its
//! printers: JSON (its `fields!`), text, Prometheus, Node Feature Discovery.

mod claims;
mod conflicts;
mod devices;
mod headline;
mod nfd;
mod prometheus;
mod text;

use crate::exit::Exit;
use crate::groups::Group;
use crate::json::fields;
use crate::plan::Iommu;
use crate::problem::Problem;
use crate::report::{ClaimState, ClaimedDevice, Ended, Report, ReportedStep, Stage};
use crate::trial::Trial;

pub use claims::{bound_manually, current};
pub use conflicts::{OtherConfiguration, conflicts, needs_aliases};
pub use devices::{Bar, DeviceStatus, Process, add_boot_display, add_hot_resets, held_memory, without_reset};
pub use headline::{headline, is_blocked};
pub use nfd::nfd;
pub use prometheus::{STATES, prometheus};
pub use text::text;

/// The document of `status`. Fields may be added, never renamed: scripts read them.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// The program's version.
    pub version: String,
    /// The kernel's release.
    pub kernel: String,
    /// The answer in one sentence.
    pub headline: String,
    /// Whether the IOMMU protects the host.
    pub iommu: Iommu,
    /// Every claim and its present state.
    pub claims: Vec<ClaimedDevice>,
    /// The devices of interest.
    pub devices: Vec<DeviceStatus>,
    /// The IOMMU groups of those devices.
    pub groups: Vec<Group>,
    /// The problems found.
    pub problems: Vec<Problem>,
    /// The last claim.
    pub boot: Option<LastClaim>,
    /// How this boot stands with the configuration; none where that is unknown.
    pub trial: Option<Trial>,
}

fields!(Status { version, kernel, headline, iommu, claims, devices, groups, problems, boot, trial });

impl Status {
    /// How many claims are in this state.
    fn count(&self, state: ClaimState) -> usize {
        self.claims.iter().filter(|claim| claim.state == state).count()
    }
}

/// When and where devices were last claimed.
#[derive(Clone, Debug, Default)]
pub struct LastClaim {
    /// Where the program ran.
    pub stage: Stage,
    /// Milliseconds since the kernel started.
    pub time_ms: u64,
    /// Milliseconds.
    pub duration_ms: u64,
    /// The exit status.
    pub status: u8,
    /// The steps that failed.
    pub failed: Vec<ReportedStep>,
}

fields!(LastClaim { stage, time_ms, duration_ms, status, failed });

impl From<&Report> for LastClaim {
    fn from(report: &Report) -> Self {
        let failed = report.steps.iter().filter(|step| matches!(step.result, Ended::Failed(_)));
        Self {
            stage: report.stage,
            time_ms: report.time_ms,
            duration_ms: report.duration_ms,
            status: report.status,
            failed: failed.cloned().collect(),
        }
    }
}

/// How the command ends. `unprotected`: nothing is claimed for want of an IOMMU; `errors`: the plan has an error.
pub fn exit(status: &Status, unprotected: bool, errors: bool) -> Exit {
    // On its driver and kept from every guest is not what anybody asks for.
    let met = |claim: &ClaimedDevice| claim.state == ClaimState::Claimed && !is_blocked(status, claim);
    let refused = status.iommu.refuses_guests() && !status.claims.is_empty();
    match (unprotected, status.claims.iter().all(met) && !errors && !refused) {
        (true, _) => Exit::Unprotected,
        (false, true) => Exit::Ok,
        (false, false) => Exit::NotMet,
    }
}
