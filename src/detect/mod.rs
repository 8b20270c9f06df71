// SPDX-License-Identifier: MIT OR Apache-2.0
//! A configuration for a machine: which displays a guest could have, and why the others stay.

mod text;

use crate::config::{Claim, Config, ConfigError, Guard, Options, Origin, Selector};
use crate::inventory::{Device, Inventory};
use crate::pci::names::Names;
use crate::pci::{Address, ExpectedId, Identity};
use crate::plan::{self, Decision, Iommu, Plan, Refusal};
use crate::problem::Code;

pub use text::text;

/// A proposed configuration.
#[derive(Clone, Debug)]
pub struct Proposal {
    /// Whether the IOMMU protects the host; nothing is claimed unless it does.
    pub iommu: Iommu,
    /// Every display, by address.
    pub displays: Vec<Display>,
}

/// A display controller.
#[derive(Clone, Debug)]
pub struct Display {
    /// The function.
    pub function: Function,
    /// What it is called.
    pub names: Names,
    /// What is proposed for it.
    pub advice: Advice,
}

/// A PCI function.
#[derive(Clone, Copy, Debug)]
pub struct Function {
    /// Where it is.
    pub address: Address,
    /// What it is.
    pub identity: Identity,
}

/// What is proposed for a display.
#[derive(Clone, Debug)]
pub enum Advice {
    /// It stays: it belongs to the server's management controller.
    Management,
    /// It stays: it is the host's boot display.
    Host,
    /// It is claimed already, there.
    Claimed(Origin),
    /// It is the last display of the host: claiming it is shown, but commented out.
    LastDisplay,
    /// It cannot be claimed, for this reason.
    Refused(String),
    /// It can be claimed.
    Claim {
        /// The functions that go along, each with the reason where it is refused.
        along: Vec<(Function, Option<String>)>,
        /// What stays true of a claim that is carried out.
        drawbacks: Vec<String>,
    },
}

/// The display controllers of a machine.
pub fn displays(inventory: &Inventory) -> impl Iterator<Item = &Device> {
    inventory.devices.iter().filter(|device| device.identity.class.is_display())
}

/// Proposes claims beside those of a configuration. `names`: those of [`displays`], in their order.
pub fn propose(mut config: Config, inventory: &Inventory, names: Vec<Names>) -> Result<Proposal, Vec<ConfigError>> {
    let written = config.claims.len();
    let known = plan::plan(&config, inventory, &[])?;
    let host = host_display(inventory).filter(|_| displays(inventory).count() > 1);
    for device in displays(inventory) {
        let claimed = known.devices.iter().any(|planned| planned.device == Some(device.address));
        if !claimed && host != Some(device.address) && !is_management(&device.identity) {
            config.claims.push(claim_for(device));
        }
    }
    let plan = plan::plan(&config, inventory, &[])?;
    let display = |(device, names): (&Device, Names)| Display {
        function: Function { address: device.address, identity: device.identity },
        names,
        advice: advice(&config, written, inventory, &plan, device),
    };
    let displays = displays(inventory).zip(names).map(display).collect();
    Ok(Proposal { iommu: plan.iommu.clone(), displays })
}

/// What is proposed for a display. `written`: how many claims the configuration has.
fn advice(config: &Config, written: usize, inventory: &Inventory, plan: &Plan, device: &Device) -> Advice {
    let address = Some(device.address);
    let Some(planned) = plan.devices.iter().rfind(|planned| planned.device == address) else {
        return if is_management(&device.identity) { Advice::Management } else { Advice::Host };
    };
    if planned.claim < written {
        let origin = config.claims.get(planned.claim).map(|claim| claim.origin.clone());
        return Advice::Claimed(origin.unwrap_or_default());
    }
    match refusal(&planned.decision) {
        Some(Refusal { guard: Some(Guard::LastDisplay), .. }) => return Advice::LastDisplay,
        Some(refusal) => return Advice::Refused(refusal.reason.clone()),
        None => {}
    }
    let along = plan.devices.iter().filter(|planned| planned.along == address).filter_map(|planned| {
        let device = inventory.device(planned.device?)?;
        let reason = refusal(&planned.decision).map(|refusal| refusal.reason.clone());
        Some((Function { address: device.address, identity: device.identity }, reason))
    });
    let drawbacks = plan
        .problems
        .iter()
        .filter(|problem| problem.device == address && matches!(problem.code, Code::NotViable | Code::AcsOverride));
    Advice::Claim { along: along.collect(), drawbacks: drawbacks.map(|problem| problem.message.clone()).collect() }
}

/// Why a function is refused, for another reason than that there is no IOMMU yet.
fn refusal(decision: &Decision) -> Option<&Refusal> {
    match decision {
        Decision::Refuse(refusal) if refusal.code != Code::Iommu => Some(refusal),
        _ => None,
    }
}

/// The display that the host keeps: the one that the firmware used, else one of the management controller, else the first
/// VGA controller.
fn host_display(inventory: &Inventory) -> Option<Address> {
    let rank = |device: &Device| {
        if device.detail.as_ref().is_some_and(|detail| detail.boot_vga == Some(true)) {
            3
        } else if is_management(&device.identity) {
            2
        } else {
            u8::from(device.identity.class.with_subclass() == 0x0300)
        }
    };
    let mut best = (0, None);
    for device in displays(inventory) {
        if rank(device) > best.0 {
            best = (rank(device), Some(device.address));
        }
    }
    best.1
}

/// The display of a server's management controller: ASPEED, and Matrox' G200 in its many forms.
fn is_management(identity: &Identity) -> bool {
    matches!(identity.vendor, 0x1a03 | 0x102b)
}

/// The claim for a display, with what must be found there.
fn claim_for(device: &Device) -> Claim {
    let id = ExpectedId { vendor: device.identity.vendor, device: device.identity.device, subsystem: None };
    Claim {
        selector: Selector::Address(device.address),
        origin: Origin::file("vfio-early detect"),
        options: Options { id: Some(id), ..Options::default() },
        adopted: false,
    }
}
