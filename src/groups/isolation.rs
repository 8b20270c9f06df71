// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whether and why one function keeps what it carries apart.

use super::acs::Controls;
use super::quirks::AcsQuirk;

/// Whether and why a function isolates.
#[derive(Clone, Copy, Debug)]
pub(super) enum Isolation {
    /// Its ACS capability has all required controls on.
    Acs,
    /// The kernel knows it to isolate.
    Quirk(&'static AcsQuirk),
    /// A single function that carries nobody else's traffic: there is nothing to keep apart.
    NotNeeded,
    /// It does not isolate.
    No(Lack),
    /// Its configuration space could not be read.
    Unknown,
}

impl Isolation {
    /// Whether the kernel counts it as isolating; `None` when that cannot be known.
    pub(super) fn holds(self) -> Option<bool> {
        match self {
            Self::Acs | Self::Quirk(_) | Self::NotNeeded => Some(true),
            Self::No(_) => Some(false),
            Self::Unknown => None,
        }
    }
}

/// What is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lack {
    /// Why.
    pub(super) why: Why,
    /// Controls that the hardware has and that are switched off.
    pub(super) off: Controls,
    /// Controls that `pci=config_acs=` has to name to switch all of it on; none where that parameter cannot.
    pub(super) settable: Controls,
}

/// Why a function does not isolate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// A conventional PCI function: its bus is shared, ACS does not exist there.
    Conventional,
    /// A bridge between PCI Express and conventional PCI: everything below it speaks with one requester ID.
    ConventionalBridge,
    /// No ACS capability.
    NoCapability,
    /// Controls are off that the hardware has.
    Off,
    /// The controls of an Intel PCH root port, which the kernel switches on at boot, are off.
    PchOff,
    /// The kernel knows that it does not isolate.
    KnownBad,
}

impl Lack {
    pub(super) const fn absent(why: Why) -> Isolation {
        Isolation::No(Self { why, off: Controls(0), settable: Controls(0) })
    }

    /// All that is missing, switched off or not there at all.
    pub(super) fn missing(self) -> Controls {
        if self.off.is_empty() { Controls::REQUIRED } else { self.off }
    }
}
