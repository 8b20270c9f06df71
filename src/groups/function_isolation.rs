// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whether a function isolates what is below or beside it: the kernel's `pci_acs_enabled` (drivers/pci/pci.c, the same in
//! Linux 6.1, 6.12 and 7.2), with the reason for the answer.

use crate::pci::Address;
use crate::pci::capability::Unreadable;

use super::acs::{Acs, Controls};
use super::acs_quirks::{self, AcsQuirk, QuirkConditions, QuirkKind};
use super::port_type::PortType;
use super::topology::{Node, Topology};

/// Whether a function isolates, and why.
#[derive(Clone, Copy, Debug)]
pub(super) enum Isolation {
    /// It has an ACS capability with all required controls enabled.
    Acs,
    /// A kernel quirk says that it isolates.
    Quirk(&'static AcsQuirk),
    /// It is a single function that forwards no traffic, so there is nothing to isolate.
    NotNeeded,
    /// It does not isolate.
    Missing(MissingAcs),
    /// Its configuration space could not be read.
    Unknown,
}

impl Isolation {
    /// What `pci_acs_enabled` returns; `None` when that cannot be determined.
    pub(super) fn acs_enabled(self) -> Option<bool> {
        match self {
            Self::Acs | Self::Quirk(_) | Self::NotNeeded => Some(true),
            Self::Missing(_) => Some(false),
            Self::Unknown => None,
        }
    }

    /// What a function that does not isolate is missing.
    pub(super) fn missing_acs(self) -> Option<MissingAcs> {
        match self {
            Self::Missing(missing) => Some(missing),
            _ => None,
        }
    }

    const fn missing(cause: MissingCause) -> Self {
        Self::Missing(MissingAcs { cause, disabled: Controls(0), settable: Controls(0) })
    }
}

/// What a function that does not isolate is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MissingAcs {
    /// Why it does not isolate.
    pub(super) cause: MissingCause,
    /// The required controls that it implements but that are disabled.
    pub(super) disabled: Controls,
    /// The controls that `pci=config_acs=` has to enable; none where that parameter has no effect.
    pub(super) settable: Controls,
}

impl MissingAcs {
    /// The required controls that are disabled or not implemented.
    pub(super) fn controls(self) -> Controls {
        if self.disabled.is_empty() { Controls::REQUIRED } else { self.disabled }
    }
}

/// Why a function does not isolate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MissingCause {
    /// It is conventional PCI: its bus is shared, and ACS does not exist there.
    Conventional,
    /// It is a bridge between PCI Express and conventional PCI, which merges requester IDs.
    ConventionalBridge,
    /// It has no ACS capability.
    NoCapability,
    /// Controls that it implements are disabled.
    Disabled,
    /// It is an Intel PCH root port whose chipset-specific controls the firmware keeps out of the kernel's reach.
    PchLocked,
    /// It is an Intel PCH root port whose chipset-specific controls are within reach, and are off.
    PchOff,
    /// A kernel quirk says that it does not isolate.
    Quirk,
}

/// Determines for each function whether it isolates, and whether everything above it does too. `amd_iommu`: the machine has
/// an IVRS table.
pub(super) fn determine_isolation(topology: &mut Topology<'_>, amd_iommu: bool) {
    for at in 0..topology.discovery_order.len() {
        let index = topology.discovery_order.get(at).map_or(0, |entry| entry.1);
        let mut node = *topology.node(index);
        node.isolation = isolation(topology, &node, amd_iommu).unwrap_or(Isolation::Unknown);
        let above = node.parent.map_or(if node.ancestor_missing { None } else { Some(true) }, |parent| {
            topology.node(parent).acs_path_enabled
        });
        node.acs_path_enabled = match (node.isolation.acs_enabled(), above) {
            (Some(false), _) | (_, Some(false)) => Some(false),
            (Some(true), Some(true)) => Some(true),
            _ => None,
        };
        topology.set_node(index, node);
    }
}

fn isolation(topology: &Topology<'_>, node: &Node<'_>, amd_iommu: bool) -> Result<Isolation, Unreadable> {
    let (port, multifunction) = (node.port_type, node.multifunction);
    if port == PortType::Unreadable {
        return Err(Unreadable);
    }
    let on_root_bus = node.parent.is_none() && !node.ancestor_missing;
    let conditions = QuirkConditions { port, multifunction, on_root_bus, amd_iommu };
    if let Some(quirk) = acs_quirks::find(node.function.vendor, node.function.device, conditions) {
        if let Some(isolation) = isolation_by_quirk(topology, node, quirk)? {
            return Ok(isolation);
        }
    }
    match port {
        PortType::Conventional => Ok(Isolation::missing(MissingCause::Conventional)),
        PortType::PcieToPciBridge if node.keeps_requester_ids => Ok(Isolation::missing(MissingCause::NoCapability)),
        PortType::PciToPcieBridge | PortType::PcieToPciBridge => {
            Ok(Isolation::missing(MissingCause::ConventionalBridge))
        }
        PortType::RcEventCollector => Ok(Isolation::missing(MissingCause::NoCapability)),
        PortType::Downstream | PortType::Root => isolation_by_capability(node),
        PortType::Endpoint | PortType::Upstream | PortType::RcIntegratedEndpoint if multifunction => {
            isolation_by_capability(node)
        }
        _ => Ok(Isolation::NotNeeded),
    }
}

fn isolation_by_capability(node: &Node<'_>) -> Result<Isolation, Unreadable> {
    let acs = node.acs()?.map(|acs| {
        let unused = if node.broken_source_validation { Controls::SOURCE_VALIDATION } else { Controls(0) };
        Acs { implemented: acs.implemented.without(unused), ..acs }
    });
    Ok(match acs {
        None => Isolation::missing(MissingCause::NoCapability),
        Some(acs) if acs.disabled().is_empty() => Isolation::Acs,
        Some(acs) => {
            // Controls that the parameter leaves out may revert to the firmware's setting, so it names all of them. On ports
            // with wide registers it turns redirection off (drivers/pci/quirks.c, `pci_quirk_disable_intel_spt_pch_acs_redir`).
            let settable = if node.wide_acs { Controls(0) } else { Controls::REQUIRED.and(acs.implemented) };
            Isolation::Missing(MissingAcs { cause: MissingCause::Disabled, disabled: acs.disabled(), settable })
        }
    })
}

/// What a quirk decides; `None` when it leaves the answer to the ACS capability.
fn isolation_by_quirk(
    topology: &Topology<'_>,
    node: &Node<'_>,
    quirk: &'static AcsQuirk,
) -> Result<Option<Isolation>, Unreadable> {
    Ok(match quirk.kind {
        QuirkKind::NotIsolated | QuirkKind::PortNotIsolated => Some(Isolation::missing(MissingCause::Quirk)),
        QuirkKind::IntelPch => Some(match pch_obstacle(topology, node)? {
            Some(cause) => {
                Isolation::Missing(MissingAcs { cause, disabled: Controls::REQUIRED, settable: Controls(0) })
            }
            None => Isolation::Quirk(quirk),
        }),
        QuirkKind::IntelSpt => match isolation_by_capability(node)? {
            // Without the capability the kernel goes on as for any root port, and finds none there either.
            Isolation::Missing(MissingAcs { cause: MissingCause::NoCapability, .. }) => None,
            isolation => Some(isolation),
        },
        _ => Some(Isolation::Quirk(quirk)),
    })
}

/// What keeps the chipset-specific controls of an Intel PCH root port off. The kernel enables them at boot if the LPC bridge
/// (1f.0) gives access to them, and then the bus number check as well (MPC register, IRBNCE; drivers/pci/quirks.c,
/// `pci_quirk_enable_intel_pch_acs`).
fn pch_obstacle(topology: &Topology<'_>, node: &Node<'_>) -> Result<Option<MissingCause>, Unreadable> {
    const MPC: usize = 0xd8;
    const LPC_RCBA: usize = 0xf0;
    let lpc = Address { device: 0x1f, function: 0, ..node.function.address };
    let accessible = match topology.index_of(lpc) {
        Some(lpc) => topology.node(lpc).config().u32(LPC_RCBA)? & 1 != 0,
        // Hidden by the firmware; the kernel reads it nevertheless.
        None => true,
    };
    let enabled = node.config().u32(MPC)? & (1 << 26) != 0;
    Ok(match (accessible, enabled) {
        (false, _) => Some(MissingCause::PchLocked),
        (true, false) => Some(MissingCause::PchOff),
        (true, true) => None,
    })
}
