// SPDX-License-Identifier: MIT OR Apache-2.0
//! The cards of a guest, and why it cannot have them.

use crate::groups::blocks;
use crate::inventory::{Device, Inventory};
use crate::pci::is_vfio_driver;

use super::options::Options;

/// The most functions that a slot has.
const SLOT: usize = 8;

/// The cards of a guest.
#[derive(Clone, Debug, Default)]
pub struct Cards<'a> {
    /// The devices of each card.
    pub cards: Vec<Vec<&'a Device>>,
    /// What their user should know.
    pub notes: Vec<String>,
    /// Some of them are not claimed yet.
    pub unclaimed: bool,
}

/// The cards of the devices that are asked for, or every reason why a guest cannot have them.
pub fn cards<'a>(inventory: &'a Inventory, options: &Options) -> Result<Cards<'a>, Vec<String>> {
    let (mut cards, mut notes): (Vec<Vec<&Device>>, Vec<String>) = (Vec::new(), Vec::new());
    let mut refusals: Vec<String> = Vec::new();
    let mut any_unclaimed = false;
    for address in options.devices.iter().copied() {
        let device = match inventory.device(address) {
            None => {
                refusals.push(format!("{address}: there is no device at this address"));
                continue;
            }
            Some(device) if device.identity.class.is_bridge() => {
                let what = device.identity.class.with_article();
                refusals.push(format!("{}: this is {what}, and no guest can have a bridge of the host", device.name()));
                continue;
            }
            Some(device) => device,
        };
        if cards.iter().flatten().any(|other| other.address == address) {
            continue;
        }
        let mut card = inventory.card(device).functions;
        // The functions of a display depend on each other; the ports of a network card do not.
        if !card.iter().any(|function| function.identity.class.is_display()) {
            card.retain(|function| {
                let stays = options.devices.contains(&function.address) || is_claimed(function);
                if !stays {
                    notes.push(format!("{} is left out: it is not claimed", function.name()));
                }
                stays
            });
        }
        for function in &card {
            let later = unclaimed(function).filter(|_| options.unclaimed);
            refusals.extend(if later.is_some() { Vec::new() } else { refusal(inventory, function) });
            any_unclaimed |= later.is_some();
            notes.extend(later);
        }
        cards.extend(card.chunks(SLOT).map(<[&Device]>::to_vec));
    }
    // Two functions may have the same reason, such as a neighbour.
    let mut told: Vec<String> = Vec::new();
    for refusal in refusals {
        if !told.contains(&refusal) {
            told.push(refusal);
        }
    }
    let near = nodes(&cards);
    if near.len() > 1 && !options.across_nodes {
        let on = |node: u16| {
            let device = cards.iter().flatten().find(|device| node_of(device) == Some(node));
            device.map(|device| format!("{} is on node {node}", device.address)).unwrap_or_default()
        };
        let where_they_are: Vec<String> = near.iter().map(|node| on(*node)).collect();
        told.push(format!(
            "{}: a guest on several NUMA nodes reaches some of its devices slowly. Make a guest for each node, or use `guest --across-nodes`",
            where_they_are.join(", ")
        ));
    }
    if told.is_empty() { Ok(Cards { cards, notes, unclaimed: any_unclaimed }) } else { Err(told) }
}

/// The NUMA nodes of these cards.
pub fn nodes(cards: &[Vec<&Device>]) -> Vec<u16> {
    let mut nodes: Vec<u16> = cards.iter().flatten().filter_map(|device| node_of(device)).collect();
    nodes.sort_unstable();
    nodes.dedup();
    nodes
}

fn node_of(device: &Device) -> Option<u16> {
    device.detail.as_ref()?.numa_node
}

fn is_claimed(device: &Device) -> bool {
    device.driver().is_some_and(is_vfio_driver)
}

/// What to do about a function that is not claimed.
fn unclaimed(device: &Device) -> Option<String> {
    let holder = match device.driver() {
        _ if is_claimed(device) => return None,
        Some(driver) => driver,
        None => "no driver",
    };
    Some(format!("{}: it is bound to {holder} and not claimed: claim it before the guest starts", device.name()))
}

/// Why a guest cannot have this function.
fn refusal(inventory: &Inventory, device: &Device) -> Vec<String> {
    let name = device.name();
    // Of a virtual function whose physical one is claimed, and the other way round, VFIO gives a guest none without a token
    // that both know (drivers/vfio/pci/vfio_pci_core.c, `vfio_pci_validate_vf_token`).
    let physical = device.physical.and_then(|physical| inventory.device(physical));
    if let Some(physical) = physical.filter(|physical| is_claimed(physical)) {
        return vec![format!(
            "{name}: this is a virtual function of {}, which is claimed itself: release that, and claim the virtual function",
            physical.address
        )];
    }
    let virtual_functions = device.detail.as_ref().map_or(0, |detail| detail.virtual_functions);
    if virtual_functions > 0 && is_claimed(device) {
        return vec![format!(
            "{name}: it has virtual functions ({virtual_functions}): write 0 to its sriov_numvfs first"
        )];
    }
    if let Some(reason) = unclaimed(device) {
        return vec![reason];
    }
    let Some(group) = inventory.group_of(device) else {
        return vec![format!("{name}: it is in no IOMMU group")];
    };
    if let Some(range) = group.direct.first() {
        return vec![format!(
            "{name}: the firmware reserves memory for it ({range}), so the kernel gives it to no guest"
        )];
    }
    let kernel = inventory.kernel_version();
    let neighbours = group.members.iter().filter_map(|member| inventory.device(*member));
    let blocking = neighbours.filter_map(|other| {
        let driver = other.driver().filter(|driver| blocks(driver, other.identity.class.is_pci_bridge(), kernel))?;
        Some(format!(
            "{name}: {} is in the same IOMMU group ({}) and bound to {driver}: claim it too, or no guest can have the group",
            other.name(),
            group.id
        ))
    });
    blocking.collect()
}
