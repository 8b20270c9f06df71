// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whether one function keeps what it carries apart: the kernel's `pci_acs_enabled` (drivers/pci/pci.c, the same in Linux
//! 6.1, 6.12), with the reason kept.

use crate::pci::Address;
use crate::pci::capability::Unreadable;

use super::acs::{Acs, Controls};
use super::machine::{Machine, Node, Port};
use super::quirks::{self, AcsKind, AcsQuirk, Traits};

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
    const fn absent(why: Why) -> Isolation {
        Isolation::No(Self { why, off: Controls(0), settable: Controls(0) })
    }

    /// All that is missing, switched off or not there at all.
    pub(super) fn missing(self) -> Controls {
        if self.off.is_empty() { Controls::REQUIRED } else { self.off }
    }
}

/// Whether a function isolates. `amd_iommu`: the machine has an IVRS table.
pub(super) fn isolation(machine: &Machine<'_>, node: &Node<'_>, amd_iommu: bool) -> Isolation {
    judge(machine, node, amd_iommu).unwrap_or(Isolation::Unknown)
}

fn judge(machine: &Machine<'_>, node: &Node<'_>, amd_iommu: bool) -> Result<Isolation, Unreadable> {
    let (port, multifunction) = (node.port, node.multifunction);
    if port == Port::Unread {
        return Err(Unreadable);
    }
    let on_root_bus = node.parent.is_none() && !node.orphan;
    let traits = Traits { port, multifunction, on_root_bus, amd_iommu };
    if let Some(quirk) = quirks::acs_quirk(node.function.vendor, node.function.device, traits)
        && let Some(verdict) = by_quirk(machine, node, quirk)?
    {
        return Ok(verdict);
    }
    match port {
        Port::Conventional => Ok(Lack::absent(Why::Conventional)),
        Port::FromConventional | Port::ToConventional => Ok(Lack::absent(Why::ConventionalBridge)),
        Port::EventCollector => Ok(Lack::absent(Why::NoCapability)),
        Port::Downstream | Port::Root => by_capability(node, false),
        Port::Endpoint | Port::Upstream | Port::IntegratedEndpoint if multifunction => by_capability(node, false),
        _ => Ok(Isolation::NotNeeded),
    }
}

fn by_capability(node: &Node<'_>, wide: bool) -> Result<Isolation, Unreadable> {
    Ok(match Acs::read(node.config(), wide)? {
        None => Lack::absent(Why::NoCapability),
        Some(acs) if acs.off().is_empty() => Isolation::Acs,
        Some(acs) => {
            // Controls that the parameter leaves out may go back to what the firmware had, so it names all of them.
            let settable = if wide { Controls(0) } else { Controls::REQUIRED.and(acs.implemented) };
            Isolation::No(Lack { why: Why::Off, off: acs.off(), settable })
        }
    })
}

/// What a quirk says; `None` when it leaves the answer to configuration space.
fn by_quirk(machine: &Machine<'_>, node: &Node<'_>, quirk: &'static AcsQuirk) -> Result<Option<Isolation>, Unreadable> {
    Ok(match quirk.kind {
        AcsKind::Never | AcsKind::NeverPort => Some(Lack::absent(Why::KnownBad)),
        AcsKind::IntelPch if !pch_is_on(machine, node)? => {
            Some(Isolation::No(Lack { why: Why::PchOff, off: Controls::REQUIRED, settable: Controls(0) }))
        }
        AcsKind::IntelWide => match by_capability(node, true)? {
            // Without the capability the kernel goes on as for any root port, which then finds none either.
            Isolation::No(Lack { why: Why::NoCapability, .. }) => None,
            verdict => Some(verdict),
        },
        _ => Some(Isolation::Quirk(quirk)),
    })
}

/// Whether the kernel has switched on a PCH root port's own controls: it does when the LPC bridge (1f.0) lets it reach
/// them, and leaves the bus number check (MPC register, IRBNCE) on (drivers/pci/quirks.c,
/// `pci_quirk_enable_intel_pch_acs`).
fn pch_is_on(machine: &Machine<'_>, node: &Node<'_>) -> Result<bool, Unreadable> {
    const MPC: usize = 0xd8;
    const LPC_RCBA: usize = 0xf0;
    let lpc = Address { device: 0x1f, function: 0, ..node.function.address };
    let reachable = match machine.find(lpc) {
        Some(lpc) => machine.at(lpc).config().u32(LPC_RCBA)? & 1 != 0,
        // Hidden by the firmware; the kernel asks it all the same.
        None => true,
    };
    Ok(reachable && node.config().u32(MPC)? & (1 << 26) != 0)
}
