// SPDX-License-Identifier: MIT OR Apache-2.0
//! A configuration for a machine: which displays and accelerators a guest could have, and why the others stay.

mod advice;
mod candidates;
mod text;

use crate::config::{Config, ConfigError, Origin};
use crate::inventory::{Device, HostDisplay, Inventory};
use crate::pci::names::Names;
use crate::pci::{Address, Identity};
use crate::plan::Iommu;

pub use candidates::candidates;
pub use text::text;

/// A proposed configuration.
#[derive(Clone, Debug)]
pub struct Proposal {
    /// Whether the IOMMU protects the host; nothing is claimed unless it does.
    pub iommu: Iommu,
    /// Whether nothing tells which of several displays is the host's, so that nothing is proposed.
    pub undecided: bool,
    /// Every display and accelerator, and every other device that is claimed by other means, by address.
    pub entries: Vec<Entry>,
    /// The NVSwitches beside the GPUs, which need them to work together.
    pub switches: Vec<Function>,
    /// A configuration can be tried: there is a place for the mark.
    pub can_try: bool,
}

/// What is proposed for a device.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The function.
    pub function: Function,
    /// What it is called.
    pub names: Names,
    /// What claims it today, apart from the configuration.
    pub today: Option<String>,
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

impl From<&Device> for Function {
    fn from(device: &Device) -> Self {
        Self { address: device.address, identity: device.identity }
    }
}

/// What is proposed for a device.
#[derive(Clone, Debug)]
pub enum Advice {
    /// It stays: it belongs to the server's management controller.
    Management,
    /// It stays: it is the host's display, or on the same card.
    Host {
        /// Why it is known to be.
        reason: String,
        /// Its claim, where nothing else is proposed: shown, but commented out.
        wanted: Option<Claim>,
    },
    /// It is claimed already, there.
    Claimed(Origin),
    /// It is a disk that something else claims, and nothing tells yet whether the host needs it: commented out.
    Disk(Claim),
    /// It is the last display of the host: claiming it is shown, but commented out.
    LastDisplay(Claim),
    /// It cannot be claimed, for this reason.
    Refused(String),
    /// It can be claimed.
    Claim(Claim),
}

/// A proposed claim.
#[derive(Clone, Debug, Default)]
pub struct Claim {
    /// The line.
    pub line: String,
    /// The functions that go along, each with the reason where it is refused.
    pub along: Vec<(Function, Option<String>)>,
    /// The functions of its slot that the host keeps.
    pub left: Vec<Function>,
    /// What keeps the group from a guest.
    pub unviable: Vec<String>,
    /// What else stays true of a claim that is carried out.
    pub drawbacks: Vec<String>,
}

/// What the host keeps to show something on.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Host {
    /// This display.
    Known(HostDisplay),
    /// The host's display is unknown, but this one stays with the host: the management controller's, or the only one left.
    Kept(Address, &'static str),
    /// One of several.
    Undecided,
    /// Nothing shows anything.
    None,
}

impl Host {
    fn address(&self) -> Option<Address> {
        match self {
            Self::Known(host) => Some(host.address),
            Self::Kept(address, _) => Some(*address),
            Self::Undecided | Self::None => None,
        }
    }

    fn reason(&self) -> String {
        match self {
            Self::Known(host) => host.reason(),
            Self::Kept(_, reason) => (*reason).to_owned(),
            Self::Undecided | Self::None => String::new(),
        }
    }
}

/// Proposes claims beside those of a configuration. `today`: the devices that are claimed by other means, each with what
/// claims it. `names`: those of [`candidates`], in their order.
pub fn propose(
    config: Config,
    inventory: &Inventory,
    today: &[(Address, String)],
    names: Vec<Names>,
) -> Result<Proposal, Vec<ConfigError>> {
    advice::propose(config, inventory, today, names)
}
