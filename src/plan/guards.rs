// SPDX-License-Identifier: MIT OR Apache-2.0
//! What keeps a function from being claimed, and what people should know of one that is.

use crate::config::{Claim, Config, Framebuffer, Guard, Iommu, Selector};
use crate::groups::{self, Isolated};
use crate::inventory::{Detail, Device, Inventory};
use crate::pci::Address;

use super::{Decision, IommuVerdict, Plan, PlannedDevice, Problem, State, reset_and_rebar};

/// How many uses of a device are told one by one.
const MOST_USES: usize = 3;

/// Refuses the entries that a guard stands before. What comes along with a refused function is refused with it.
pub(super) fn apply(config: &Config, inventory: &Inventory, entries: &mut [PlannedDevice]) {
    let enabled = IommuVerdict::of(inventory).state == State::Enabled;
    let mut displays: Vec<Address> = host_displays(inventory, entries);
    let mut refused: Vec<Address> = Vec::new();
    let whole = entries.iter().filter(|entry| entry.decision == Decision::Take);
    let taken: Vec<Address> = whole.filter_map(|entry| entry.device).collect();
    for entry in entries.iter_mut() {
        let Some(address) = entry.device else { continue };
        let (Some(device), Some(claim)) = (inventory.device(address), config.claims.get(entry.claim)) else { continue };
        if entry.decision == Decision::Take {
            // A card with two displays is one that the host loses at once.
            let goes = |display: &Address| display.slot() == address.slot() && taken.contains(display);
            let last = displays.contains(&address) && displays.iter().all(goes);
            let refusal = match entry.along.filter(|first| refused.contains(first)) {
                Some(first) => Some((None, "along", format!("it goes with {first}, which is refused"))),
                None => guard(claim, device, inventory, entry.along.is_some(), last)
                    .map(|(guard, reason)| (Some(guard), guard.name(), reason))
                    .or_else(|| in_guest(inventory, device))
                    .or_else(|| unknown_driver(device))
                    .or_else(|| no_group(config, device, enabled)),
            };
            if let Some((guard, code, reason)) = refusal {
                entry.decision = Decision::refuse(guard, code, reason);
            } else {
                displays.retain(|display| *display != address);
            }
        }
        if matches!(entry.decision, Decision::Refuse { .. }) {
            refused.push(address);
        }
    }
}

/// The displays that the host has: those that no driver for guests holds, nor pci-stub. Virtual functions show nothing.
fn host_displays(inventory: &Inventory, entries: &[PlannedDevice]) -> Vec<Address> {
    let displays = inventory.devices.iter().filter(|device| device.identity.class.is_display());
    let of_host = displays.filter(|device| {
        let done = entries.iter().any(|entry| entry.device == Some(device.address) && entry.decision == Decision::Done);
        !done && !device.is_virtual() && device.driver().is_none_or(|driver| groups::blocks(driver, false))
    });
    of_host.map(|device| device.address).collect()
}

/// The first guard that stands before a function and is not lifted, and why.
fn guard(
    claim: &Claim,
    device: &Device,
    inventory: &Inventory,
    along: bool,
    last_display: bool,
) -> Option<(Guard, String)> {
    let class = device.identity.class;
    let name = device.name();
    let stands = |guard: Guard| !claim.options.allow.contains(&guard);
    if class.is_bridge() {
        return Some((Guard::Bridge, format!("{name} is {} of the host", class.with_article())));
    }
    let exact = claim.options.id.is_some_and(|id| id.matches(&device.identity))
        || matches!(&claim.selector, Selector::Id(pattern) if pattern.names_subsystem());
    if class.is_storage() && (along || !exact) && stands(Guard::Storage) {
        let id = device.identity.id();
        return Some((
            Guard::Storage,
            format!(
                "{name} is {}: name it with id={id}, or by its ID with the subsystem, or say allow=storage",
                class.with_article()
            ),
        ));
    }
    let uses: Vec<&str> = inventory
        .in_use
        .iter()
        .filter(|used| used.device == device.address)
        .map(|used| used.description.as_str())
        .collect();
    if !uses.is_empty() && stands(Guard::InUse) {
        // A few of them tell enough.
        let more = match uses.len().saturating_sub(MOST_USES) {
            0 => String::new(),
            more => format!(", and {more} more"),
        };
        let uses = uses.iter().take(MOST_USES).copied().collect::<Vec<_>>().join(", ");
        return Some((Guard::InUse, format!("{name} is in use: {uses}{more} (allow=in-use if that is meant)")));
    }
    if last_display && stands(Guard::LastDisplay) {
        return Some((
            Guard::LastDisplay,
            format!("{name} is the last display of the host: it would have none (allow=last-display if that is meant)"),
        ));
    }
    let reserved = reserved(inventory, device).filter(|_| stands(Guard::Rmrr))?;
    Some((Guard::Rmrr, format!("{reserved} (allow=rmrr tries all the same)")))
}

/// Why the kernel keeps a function from every guest, whatever driver it is on (drivers/iommu/intel/iommu.c,
/// `device_rmrr_is_relaxable`).
fn reserved(inventory: &Inventory, device: &Device) -> Option<String> {
    let group = inventory.group_of(device)?;
    let direct = group.direct.first()?;
    Some(format!("the firmware reserves {direct} for group {} (RMRR or IVMD): the kernel keeps VFIO from it", group.id))
}

/// Why a function is left alone that a guest has: its driver gives it up only when the guest does, and until then whoever
/// asks for it hangs.
pub(super) fn in_guest(inventory: &Inventory, device: &Device) -> Option<(Option<Guard>, &'static str, String)> {
    let (_, open, holder) = inventory.guests.iter().find(|(address, ..)| *address == device.address)?;
    let open = inventory.device(*open).unwrap_or(device).name();
    Some((None, "in-guest", format!("{holder} has {open} open: stop the guest first")))
}

/// Why a function is left alone of which nobody knows the driver: it could not be given back to it.
pub(super) fn unknown_driver(device: &Device) -> Option<(Option<Guard>, &'static str, String)> {
    let why = device.detail.as_ref()?.unknown.as_ref()?;
    Some((None, "driver-unknown", format!("nobody knows which driver has {}: {why}", device.name())))
}

/// Why a function without an IOMMU group is refused while an IOMMU is required.
fn no_group(config: &Config, device: &Device, enabled: bool) -> Option<(Option<Guard>, &'static str, String)> {
    let grouped = device.detail.as_ref().is_some_and(|detail| detail.group.is_some());
    let required = config.settings.iommu == Iommu::Required;
    (enabled && required && !grouped)
        .then(|| (None, "no-iommu-group", format!("{} is in no IOMMU group: no IOMMU stands before it", device.name())))
}

/// What people should know: every refusal, and every claim that is carried out but has a catch.
pub(super) fn problems(config: &Config, inventory: &Inventory, plan: &Plan) -> Vec<Problem> {
    let mut problems = Vec::new();
    if plan.entries.is_empty() {
        return problems;
    }
    if plan.verdict.state != State::Enabled {
        let message = format!("{}: {}", plan.verdict.reason(), plan.verdict.advice.join("; "));
        let required = config.settings.iommu == Iommu::Required;
        problems.push(if required {
            Problem::error("iommu", None, message)
        } else {
            Problem::warning("iommu", None, message)
        });
    } else if plan.verdict.remapping == Some(false) {
        problems.push(Problem::warning("interrupt-remapping", None, plan.verdict.advice.join("; ")));
    }
    for entry in &plan.entries {
        match &entry.decision {
            Decision::Refuse { code: "iommu", .. } | Decision::Release => {}
            Decision::Refuse { code, reason, .. } => {
                problems.push(Problem::error(code, entry.device, reason.clone()).of(entry.claim));
            }
            Decision::Missing { reason } => {
                problems.push(Problem::error("missing", None, reason.clone()).of(entry.claim));
            }
            Decision::Take | Decision::Done => {
                let catch = entry.device.and_then(|address| boot_display(config, inventory, address));
                problems.extend(catch.map(|problem| problem.of(entry.claim)));
                let reserved = entry.device.and_then(|address| reserved(inventory, inventory.device(address)?));
                problems.extend(reserved.map(|why| Problem::warning("rmrr", entry.device, why).of(entry.claim)));
                let detail = entry.device.and_then(|address| inventory.device(address)?.detail.as_ref());
                if let (Some(detail), Some(claim)) = (detail, config.claims.get(entry.claim)) {
                    reset_and_rebar::problems(&claim.options, entry, detail, &mut problems);
                }
            }
        }
    }
    problems.extend(neighbours(inventory, plan));
    problems.extend(pretended(inventory, plan));
    problems
}

/// The catch of claiming the display that the firmware used.
fn boot_display(config: &Config, inventory: &Inventory, address: Address) -> Option<Problem> {
    let detail: &Detail = inventory.device(address)?.detail.as_ref()?;
    if detail.boot_vga != Some(true) {
        return None;
    }
    let framebuffer = match (inventory.framebuffers.first(), config.settings.framebuffer) {
        (Some(framebuffer), Framebuffer::Keep) => {
            format!("{} still draws on it (`set framebuffer release` detaches it), and ", framebuffer.driver)
        }
        _ => String::new(),
    };
    Some(Problem::warning(
        "boot-display",
        Some(address),
        format!(
            "{address} is the boot display: {framebuffer}its option ROM is the copy that the firmware ran, not the card's own"
        ),
    ))
}

/// The groups of claimed functions that only `pcie_acs_override=` has split from others.
fn pretended(inventory: &Inventory, plan: &Plan) -> Vec<Problem> {
    if inventory.functions.is_empty() || !inventory.acs_override() {
        return Vec::new();
    }
    let examination = inventory.examine();
    let claimed = plan.entries.iter().filter(|entry| entry.decision.holds()).filter_map(|entry| entry.device);
    let pretended = claimed.filter_map(|address| {
        let group = examination.group_of(address).filter(|group| group.isolated == Isolated::Override)?;
        let message = format!(
            "{address} is in group {} of its own only because of pcie_acs_override=: the hardware does not isolate it, and a guest can reach its neighbours' memory (vfio-early groups {address})",
            group.id
        );
        Some(Problem::warning("acs-override", Some(address), message))
    });
    pretended.collect()
}

/// The neighbours in the groups of claimed functions that keep a group from being viable.
fn neighbours(inventory: &Inventory, plan: &Plan) -> Vec<Problem> {
    let holds =
        |address: Address| plan.entries.iter().any(|entry| entry.device == Some(address) && entry.decision.holds());
    let mut problems = Vec::new();
    for group in &inventory.groups {
        let Some(first) = group.members.iter().copied().find(|address| holds(*address)) else { continue };
        for device in group.members.iter().filter_map(|address| inventory.device(*address)) {
            let class = device.identity.class;
            let blocks = match device.driver() {
                // The kernel asks no more than that, whatever else the device is: an ISA bridge may have a driver too.
                Some(driver) => groups::blocks(driver, class.is_pci_bridge()),
                // What is no bridge may get one later.
                None => !class.is_bridge(),
            };
            if !blocks || holds(device.address) {
                continue;
            }
            problems.push(Problem::warning(
                "not-viable",
                Some(first),
                format!(
                    "{first} shares IOMMU group {} with {}, {} that is not claimed: a guest gets the group only while no host driver holds that one",
                    group.id,
                    device.name(),
                    class.with_article()
                ),
            ));
        }
    }
    problems
}
