// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whether each function keeps what it carries apart: the kernel's `pci_acs_enabled` (drivers/pci/pci.c, the same in Linux
//! 6.1, 6.12), with the reason kept.

use crate::pci::Address;
use crate::pci::capability::Unreadable;

use super::acs::{Acs, Controls};
use super::isolation::{Isolation, Lack, Why};
use super::port_type::PortType;
use super::quirks::{self, AcsKind, AcsQuirk, Traits};
use super::topology::{Node, Topology};

/// Finds out which functions isolate, and whether everything above them does too. `amd_iommu`: the machine has an IVRS
/// table.
pub(super) fn isolate(topology: &mut Topology<'_>, amd_iommu: bool) {
    for at in 0..topology.discovery.len() {
        let index = topology.discovery.get(at).map_or(0, |pair| pair.1);
        let mut node = *topology.at(index);
        node.isolation = judge(topology, &node, amd_iommu).unwrap_or(Isolation::Unknown);
        let above = node.parent.map_or(if node.orphan { None } else { Some(true) }, |parent| topology.at(parent).path);
        node.path = match (node.isolation.holds(), above) {
            (Some(false), _) | (_, Some(false)) => Some(false),
            (Some(true), Some(true)) => Some(true),
            _ => None,
        };
        topology.set(index, node);
    }
}

fn judge(topology: &Topology<'_>, node: &Node<'_>, amd_iommu: bool) -> Result<Isolation, Unreadable> {
    let (port, multifunction) = (node.port, node.multifunction);
    if port == PortType::Unreadable {
        return Err(Unreadable);
    }
    let on_root_bus = node.parent.is_none() && !node.orphan;
    let traits = Traits { port, multifunction, on_root_bus, amd_iommu };
    if let Some(quirk) = quirks::acs_quirk(node.function.vendor, node.function.device, traits) {
        if let Some(verdict) = by_quirk(topology, node, quirk)? {
            return Ok(verdict);
        }
    }
    match port {
        PortType::Conventional => Ok(Lack::absent(Why::Conventional)),
        PortType::PciToPcieBridge | PortType::PcieToPciBridge => Ok(Lack::absent(Why::ConventionalBridge)),
        PortType::RcEventCollector => Ok(Lack::absent(Why::NoCapability)),
        PortType::Downstream | PortType::Root => by_capability(node, false),
        PortType::Endpoint | PortType::Upstream | PortType::RcIntegratedEndpoint if multifunction => {
            by_capability(node, false)
        }
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
fn by_quirk(
    topology: &Topology<'_>,
    node: &Node<'_>,
    quirk: &'static AcsQuirk,
) -> Result<Option<Isolation>, Unreadable> {
    Ok(match quirk.kind {
        AcsKind::Never | AcsKind::NeverPort => Some(Lack::absent(Why::KnownBad)),
        AcsKind::IntelPch if !pch_is_on(topology, node)? => {
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
fn pch_is_on(topology: &Topology<'_>, node: &Node<'_>) -> Result<bool, Unreadable> {
    const MPC: usize = 0xd8;
    const LPC_RCBA: usize = 0xf0;
    let lpc = Address { device: 0x1f, function: 0, ..node.function.address };
    let reachable = match topology.find(lpc) {
        Some(lpc) => topology.at(lpc).config().u32(LPC_RCBA)? & 1 != 0,
        // Hidden by the firmware; the kernel asks it all the same.
        None => true,
    };
    Ok(reachable && node.config().u32(MPC)? & (1 << 26) != 0)
}
