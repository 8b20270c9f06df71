// SPDX-License-Identifier: MIT OR Apache-2.0
//! What was decided about one function.

use crate::config::{Config, Guard, Origin};
use crate::inventory::{Device, FirmwareFramebuffer};
use crate::pci::Address;
use crate::problem::Code;

/// One function that a claim is about, or one claim that is about none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedDevice {
    /// The claim, by its place in the configuration.
    pub claim: usize,
    /// The function; `None` where the claim finds none.
    pub device: Option<Address>,
    /// The function that the claim selects and that this one comes along with.
    pub along: Option<Address>,
    /// It is a virtual function: it shares its slot with others by accident.
    pub is_virtual: bool,
    /// Its physical function, where drivers are kept from the virtual ones.
    pub physical: Option<Address>,
    /// The entry of vfio-pci's own `ids=` that names it.
    pub named_by_ids: Option<Origin>,
    /// Its power/control now.
    pub power_control: Option<String>,
    /// The firmware's framebuffers that lie in its memory.
    pub framebuffers: Vec<FirmwareFramebuffer>,
    /// The driver that holds the function now.
    pub driver: Option<String>,
    /// The driver that it shall end on.
    pub target: String,
    /// What is to become of it.
    pub decision: Decision,
}

impl PlannedDevice {
    /// Whether the function's option ROM is to be saved. What comes along with the selected function of a card has none,
    /// but for another display.
    pub fn saves_rom(&self, config: &Config, device: &Device) -> bool {
        let wanted = config.claims.get(self.claim).is_some_and(|claim| claim.options.save_rom);
        wanted && (self.along.is_none() || device.identity.class.is_display())
    }
}

/// What is to become of a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is given to its driver.
    Take,
    /// It has its driver already.
    Done,
    /// It is given back to the host.
    Release,
    /// It is left alone.
    Refuse(Refusal),
    /// It is not there.
    Missing {
        /// What was looked for, and what is there instead.
        reason: String,
    },
}

/// Why a function is left alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The guard that refuses it.
    pub guard: Option<Guard>,
    /// What kind of problem that is.
    pub code: Code,
    /// The reason, for people.
    pub reason: String,
}

impl Refusal {
    /// A refusal that no guard made.
    pub fn new(code: Code, reason: String) -> Self {
        Self { guard: None, code, reason }
    }

    /// A refusal by a guard.
    pub fn by(guard: Guard, reason: String) -> Self {
        Self { guard: Some(guard), code: guard.into(), reason }
    }
}

impl Decision {
    /// Whether something is done, or need not be done any more.
    pub fn acts(&self) -> bool {
        self.holds() || *self == Self::Release
    }

    /// Whether the function is on its driver, or shall be.
    pub fn holds(&self) -> bool {
        matches!(self, Self::Take | Self::Done)
    }
}
