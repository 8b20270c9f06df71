// SPDX-License-Identifier: MIT OR Apache-2.0
//! What was decided about one function.

use crate::config::Guard;
use crate::pci::Address;

/// One function that a claim is about, or one claim that is about none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The claim, by its place in the configuration.
    pub claim: usize,
    /// The function; `None` where the claim finds none.
    pub device: Option<Address>,
    /// The function that the claim selects and that this one comes along with.
    pub along: Option<Address>,
    /// The driver that holds the function now.
    pub driver: Option<String>,
    /// The driver that it shall end on.
    pub target: String,
    /// What is to become of it.
    pub decision: Decision,
}

/// What is to become of a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is given to its driver.
    Take,
    /// It has its driver already.
    Done,
    /// It is left alone.
    Refuse {
        /// The guard that refuses it.
        guard: Option<Guard>,
        /// A short word for programs.
        code: &'static str,
        /// Why.
        reason: String,
    },
    /// It is not there.
    Missing {
        /// What was looked for, and what is there instead.
        reason: String,
    },
}

impl Decision {
    /// A refusal.
    pub fn refuse(guard: Option<Guard>, code: &'static str, reason: String) -> Self {
        Self::Refuse { guard, code, reason }
    }

    /// Whether the function is on its driver, or shall be.
    pub fn holds(&self) -> bool {
        matches!(self, Self::Take | Self::Done)
    }
}
