// SPDX-License-Identifier: MIT OR Apache-2.0
//! What keeps a function from being claimed, and what people should know of one that is.

use crate::config::{Claim, Config, Framebuffer, Guard, IommuPolicy, Selector, With};
use crate::groups::{self, Isolated};
use crate::inventory::{Device, FirmwareFramebuffer, Inventory, Processor};
use crate::pci::{Address, Identity, Slot};

use super::{
    Decision, InterruptRemapping, Iommu, IommuKind, Plan, PlannedDevice, Refusal, iommu_advice, isolation,
    reset_and_rebar, vfio,
};
use crate::problem::{Code, Problem};

/// How many uses of a device are listed.
const MAX_USES: usize = 3;

/// Refuses the devices that a guard protects. What comes along with a refused function is refused with it.
pub(super) fn apply(config: &Config, inventory: &Inventory, devices: &mut [PlannedDevice]) {
    let enabled = Iommu::of(inventory).is_enabled();
    let mut displays: Vec<Address> = host_displays(inventory, devices);
    let mut refused: Vec<Address> = Vec::new();
    let whole = devices.iter().filter(|planned| planned.decision == Decision::Take);
    let taken: Vec<Address> = whole.filter_map(|planned| planned.device).collect();
    let examination = config.settings.isolation_required.then(|| inventory.examine(None));
    // The boot display is judged last: where all displays are claimed, it is the one that the host keeps.
    let boot: Option<Slot> = inventory.host_display().map(|host| host.address.slot());
    let in_slot = |device: Option<Address>| device.is_some_and(|device| boot == Some(device.slot()));
    let of_boot = |planned: &PlannedDevice| in_slot(planned.device) || in_slot(planned.along);
    let (last, first): (Vec<_>, Vec<_>) = devices.iter_mut().partition(|planned| of_boot(planned));
    for planned in first.into_iter().chain(last) {
        let Some(address) = planned.device else { continue };
        let (Some(device), Some(claim)) = (inventory.device(address), config.claims.get(planned.claim)) else {
            continue;
        };
        if planned.decision == Decision::Take {
            // A card with two displays is one that the host loses at once.
            let goes = |display: &Address| display.slot() == address.slot() && taken.contains(display);
            let last = displays.contains(&address) && displays.iter().all(goes);
            let refusal = match planned.along.filter(|first| refused.contains(first)) {
                Some(first) => Some(Refusal::new(Code::Along, format!("it goes with {first}, which is refused"))),
                None => guard(claim, device, inventory, planned.along.is_some(), last)
                    .or_else(|| in_guest(inventory, device))
                    .or_else(|| unknown_driver(device))
                    .or_else(|| no_group(config, inventory, device, enabled))
                    .or_else(|| vfio::refusal(config, inventory, device, &planned.target))
                    .or_else(|| isolation::refusal(inventory, examination.as_ref()?, device)),
            };
            if let Some(refusal) = refusal {
                planned.decision = Decision::Refuse(refusal);
            } else {
                displays.retain(|display| *display != address);
            }
        }
        if matches!(planned.decision, Decision::Refuse(_)) {
            refused.push(address);
        }
    }
}

/// The displays that the host has: those that no driver for guests holds, nor pci-stub. Virtual functions and 3D controllers
/// show nothing.
fn host_displays(inventory: &Inventory, devices: &[PlannedDevice]) -> Vec<Address> {
    let displays = inventory.devices.iter().filter(|device| device.identity.class.shows_picture());
    let of_host = displays.filter(|device| {
        let done =
            devices.iter().any(|planned| planned.device == Some(device.address) && planned.decision == Decision::Done);
        !done && !device.is_virtual() && device.driver().is_none_or(|driver| groups::blocks(driver, false, None))
    });
    of_host.map(|device| device.address).collect()
}

/// The first guard that refuses a function and is not overridden, and why.
fn guard(claim: &Claim, device: &Device, inventory: &Inventory, along: bool, last_display: bool) -> Option<Refusal> {
    let class = device.identity.class;
    let name = device.name();
    let stands = |guard: Guard| !claim.options.allow.contains(&guard);
    if class.is_bridge() {
        return Some(Refusal::by(Guard::Bridge, format!("{name} is {} of the host", class.with_article())));
    }
    let exact = claim.options.id.is_some_and(|id| id.matches(&device.identity))
        || matches!(&claim.selector, Selector::Id(pattern) if pattern.names_subsystem());
    if class.is_storage() && (along || !exact) && stands(Guard::Storage) {
        let id = device.identity.id();
        return Some(Refusal::by(
            Guard::Storage,
            format!(
                "{name} is {}: name it with id={id}, or by its ID with the subsystem, or say allow=storage",
                class.with_article()
            ),
        ));
    }
    let of_device = || inventory.in_use.iter().filter(|used| used.device == device.address);
    let uses: Vec<&str> = of_device().map(|used| used.description.as_str()).collect();
    if !uses.is_empty() && stands(Guard::InUse) {
        // A few of them tell enough.
        let more = match uses.len().saturating_sub(MAX_USES) {
            0 => String::new(),
            more => format!(", and {more} more"),
        };
        let uses = uses.iter().take(MAX_USES).copied().collect::<Vec<_>>().join(", ");
        // A process ends, and is not there yet when the boot claims; but the next one needs its disk again.
        let advice = if !class.is_storage() && of_device().all(|used| used.process.is_some()) {
            "end it first, or claim at boot; allow=in-use overrides this"
        } else {
            "allow=in-use overrides this"
        };
        return Some(Refusal::by(Guard::InUse, format!("{name} is in use: {uses}{more} ({advice})")));
    }
    if last_display && stands(Guard::LastDisplay) {
        return Some(Refusal::by(
            Guard::LastDisplay,
            format!(
                "{name} is the last display of the host: claiming it would leave the host without a display; allow=last-display overrides this"
            ),
        ));
    }
    let reserved = reserved(inventory, device).filter(|_| stands(Guard::Rmrr))?;
    Some(Refusal::by(Guard::Rmrr, format!("{reserved} (allow=rmrr overrides this)")))
}

/// Why the kernel keeps a function from every guest, whatever driver it is on. Intel's driver always did
/// (drivers/iommu/intel/iommu.c, `device_is_rmrr_locked` in Linux 6.1); since 6.6 all do (drivers/iommu/iommu.c,
/// `require_direct`). Before, the others leave the region out of what a guest may use.
fn reserved(inventory: &Inventory, device: &Device) -> Option<String> {
    let before = inventory.kernel_version().is_some_and(|version| version < (6, 6));
    if before && Iommu::of(inventory).kind != Some(IommuKind::Intel) {
        return None;
    }
    let group = inventory.group_of(device)?;
    let direct = group.direct.first()?;
    Some(format!("the firmware reserves {direct} for group {} (RMRR or IVMD): the kernel keeps VFIO from it", group.id))
}

/// Why a function is left alone that a guest has: its driver gives it up only when the guest does, and until then whoever
/// asks for it hangs.
pub(super) fn in_guest(inventory: &Inventory, device: &Device) -> Option<Refusal> {
    let (_, open, holder) = inventory.guests.iter().find(|(address, ..)| *address == device.address)?;
    let open = inventory.device(*open).unwrap_or(device).name();
    Some(Refusal::new(Code::InGuest, format!("{holder} has {open} open: stop the guest first")))
}

/// Why a function is left alone whose driver cannot be determined: it could not be given back to it.
pub(super) fn unknown_driver(device: &Device) -> Option<Refusal> {
    let why = device.detail.as_ref()?.unknown.as_ref()?;
    Some(Refusal::new(Code::DriverUnknown, format!("cannot determine the bound driver of {}: {why}", device.name())))
}

/// What is wrong with a device whose configuration space reads as ff: it is off, or fell off the bus. It binds to its driver
/// all the same, and no guest can use it.
fn no_answer(device: &Device) -> Option<Problem> {
    let detail = device.detail.as_ref().filter(|detail| detail.no_answer)?;
    let address = device.address;
    let cold = if detail.power_state.as_deref() == Some("D3cold") { ", and it stays in D3cold" } else { "" };
    let message = format!(
        "{address} does not answer: its configuration space reads as ff{cold}. Switch the machine off and on; if it \
         happens again after a guest has stopped, power=on keeps the card awake"
    );
    Some(Problem::error(Code::NoAnswer, Some(address), message))
}

/// What to do about a function without an IOMMU group.
pub fn no_group_advice(inventory: &Inventory, device: &Device) -> &'static str {
    let intel = Iommu::of(inventory).kind == Some(IommuKind::Intel);
    let Identity { vendor, class, .. } = device.identity;
    iommu_advice::no_group(inventory, intel && class.is_display() && vendor == 0x8086 && device.address.bus == 0)
}

/// Why a function without an IOMMU group is refused while an IOMMU is required.
fn no_group(config: &Config, inventory: &Inventory, device: &Device, enabled: bool) -> Option<Refusal> {
    let grouped = device.detail.as_ref().is_some_and(|detail| detail.group.is_some());
    let required = config.settings.iommu == IommuPolicy::Required;
    (enabled && required && !grouped && !inventory.is_grouped_later(device)).then(|| {
        let reason = format!(
            "{} is in no IOMMU group: the IOMMU does not translate its memory accesses ({})",
            device.name(),
            no_group_advice(inventory, device)
        );
        Refusal::new(Code::NoIommuGroup, reason)
    })
}

/// A claim of a group that is not known before a driver takes one of its devices.
fn unknown_group(claim: &Claim, inventory: &Inventory, planned: &PlannedDevice, device: &Device) -> Option<Problem> {
    let is_wanted = claim.options.with == Some(With::Group) && planned.along.is_none();
    (is_wanted && inventory.is_grouped_later(device)).then(|| {
        let address = device.address;
        let message = format!(
            "with=group: {address} has no IOMMU group yet, so only its card is claimed: before Linux 6.15, the kernel assigns the \
             group when a driver binds to the device. Claim the other members by address"
        );
        Problem::warning(Code::NoIommuGroup, Some(address), message)
    })
}

/// What people should know: every refusal, and every claim that is carried out but has a catch. `claimed`: every function that
/// is claimed, whether this plan is about it or not.
pub(super) fn problems(config: &Config, inventory: &Inventory, plan: &Plan, claimed: &[Address]) -> Vec<Problem> {
    let mut problems = Vec::new();
    if plan.devices.is_empty() {
        return problems;
    }
    if !plan.iommu.is_enabled() {
        let message = format!("{}: {}", plan.iommu.reason(), plan.iommu.advice.join("; "));
        let required = config.settings.iommu == IommuPolicy::Required;
        problems.push(if required {
            Problem::error(Code::Iommu, None, message)
        } else {
            Problem::warning(Code::Iommu, None, message)
        });
    } else if plan.iommu.interrupt_remapping == InterruptRemapping::Disabled {
        // What else is advised is no reason that guests are refused.
        let message = plan.iommu.advice.first().cloned().unwrap_or_default();
        problems.push(Problem::warning(Code::InterruptRemapping, None, message));
    }
    for planned in &plan.devices {
        match &planned.decision {
            Decision::Refuse(Refusal { code: Code::Iommu, .. }) | Decision::Release => {}
            Decision::Refuse(Refusal { code, reason, .. }) => {
                problems.push(Problem::error(*code, planned.device, reason.clone()).of(config, planned.claim));
            }
            Decision::Missing { reason } => {
                problems.push(Problem::error(Code::Missing, None, reason.clone()).of(config, planned.claim));
            }
            Decision::Take | Decision::Done => {
                let catch = planned.device.and_then(|address| boot_display(config, inventory, address));
                problems.extend(catch.map(|problem| problem.of(config, planned.claim)));
                let reserved = planned.device.and_then(|address| reserved(inventory, inventory.device(address)?));
                problems.extend(
                    reserved.map(|why| Problem::warning(Code::Rmrr, planned.device, why).of(config, planned.claim)),
                );
                let device = planned.device.and_then(|address| inventory.device(address));
                if let (Some(device), Some(claim)) = (device, config.claims.get(planned.claim)) {
                    reset_and_rebar::problems(inventory, claim, planned, device, &mut problems);
                    problems.extend(
                        unknown_group(claim, inventory, planned, device)
                            .map(|problem| problem.of(config, planned.claim)),
                    );
                    problems.extend(no_answer(device).map(|problem| problem.of(config, planned.claim)));
                }
            }
        }
    }
    problems.extend(neighbours(inventory, plan, claimed));
    problems.extend(pretended(inventory, plan));
    problems
}

/// The catch of claiming the display that the boot showed its picture on, or that the firmware's framebuffer is in.
fn boot_display(config: &Config, inventory: &Inventory, address: Address) -> Option<Problem> {
    let device = inventory.device(address)?;
    let host = inventory.host_display()?;
    let framebuffers = inventory.framebuffers_of(device);
    let warning = |message: String| Some(Problem::warning(Code::BootDisplay, Some(address), message));
    if host.address != address {
        let (evidence, _) = host.against.iter().find(|(_, other)| *other == address)?;
        let but = format!("the boot display is {}, by {}", host.address, host.by.text());
        return warning(if framebuffers.is_empty() {
            format!("{address} has {}, but {but}", evidence.text())
        } else {
            format!("{address}: {}; {but}", framebuffer_fate(config, device, &framebuffers))
        });
    }
    let mut parts = Vec::new();
    if !framebuffers.is_empty() {
        parts.push(framebuffer_fate(config, device, &framebuffers));
    }
    // arch/x86/pci/fixup.c, `pci_fixup_video`: of VGA controllers alone, and on x86 alone.
    let is_shadowed = inventory.iommu.processor != Processor::Arm;
    if is_shadowed && device.detail.as_ref().is_some_and(|detail| detail.boot_vga == Some(true)) {
        parts.push("its option ROM is the copy that the firmware ran, not the card's own".to_owned());
    }
    if parts.is_empty() {
        parts.push("the screen shows nothing of the host any more".to_owned());
    }
    if !host.against.is_empty() {
        parts.push(format!("this is known {}", host.reason()));
    }
    warning(format!("{address} is the boot display: {}", parts.join("; ")))
}

/// What becomes of the firmware's framebuffer when its display is claimed. VFIO detaches that of a VGA controller when it
/// binds, and no other (drivers/vfio/pci/vfio_pci_core.c, `vfio_pci_vga_init`, Linux 6.1, 6.12 and 7.2 alike).
fn framebuffer_fate(config: &Config, device: &Device, framebuffers: &[FirmwareFramebuffer]) -> String {
    let names: Vec<&str> = framebuffers.iter().map(|framebuffer| framebuffer.device.as_str()).collect();
    let names = names.join(" and ");
    if device.identity.class.with_subclass() == 0x0300 {
        format!("VFIO detaches the firmware framebuffer {names} when it binds, and the screen stays dark or as it is")
    } else if config.settings.framebuffer == Framebuffer::Release {
        format!("the firmware framebuffer {names} is detached, and the screen stays dark or as it is")
    } else {
        format!(
            "the firmware framebuffer {names} keeps its memory, so that no guest can use it (`set framebuffer release` \
             detaches it)"
        )
    }
}

/// The groups of claimed functions that only `pcie_acs_override=` has split from others.
fn pretended(inventory: &Inventory, plan: &Plan) -> Vec<Problem> {
    if inventory.functions.is_empty() || !inventory.acs_override() {
        return Vec::new();
    }
    let examination = inventory.examine(None);
    let claimed = plan.devices.iter().filter(|planned| planned.decision.holds()).filter_map(|planned| planned.device);
    let pretended = claimed.filter_map(|address| {
        let group = examination.group_of(address).filter(|group| group.isolated == Isolated::Override)?;
        let message = format!(
            "{address} is in group {} of its own only because of pcie_acs_override=: the hardware does not isolate it, and a guest can reach its neighbours' memory (vfio-early groups {address})",
            group.id
        );
        Some(Problem::warning(Code::AcsOverride, Some(address), message))
    });
    pretended.collect()
}

/// The groups of claimed functions that neighbours keep from being viable, each once. `claimed`: every function that is
/// claimed, in this run or another.
fn neighbours(inventory: &Inventory, plan: &Plan, claimed: &[Address]) -> Vec<Problem> {
    let holds = |address: Address| {
        plan.devices.iter().any(|planned| planned.device == Some(address) && planned.decision.holds())
    };
    let blocks = |device: &&Device| {
        let class = device.identity.class;
        let blocks = match device.driver() {
            // The kernel asks no more than that, whatever else the device is: an ISA bridge may have a driver too.
            Some(driver) => groups::blocks(driver, class.is_pci_bridge(), inventory.kernel_version()),
            // What is no bridge may get one later.
            None => !class.is_bridge(),
        };
        blocks && !claimed.contains(&device.address)
    };
    let mut problems = Vec::new();
    for group in &inventory.groups {
        let Some(first) = group.members.iter().copied().find(|address| holds(*address)) else { continue };
        let members = group.members.iter().filter_map(|address| inventory.device(*address));
        let names: Vec<String> = members
            .filter(blocks)
            .map(|device| format!("{}, {}", device.name(), device.identity.class.with_article()))
            .collect();
        let id = group.id;
        let message = match names.as_slice() {
            [] => continue,
            [one] => format!(
                "{first} shares IOMMU group {id} with {one} that is not claimed: a guest gets the group only while no host \
                 driver holds that one"
            ),
            _ => format!(
                "{first} shares IOMMU group {id} with {} functions that are not claimed: a guest gets the group only while \
                 no host driver holds any of them ({})",
                names.len(),
                names.join("; ")
            ),
        };
        problems.push(Problem::warning(Code::NotViable, Some(first), message));
    }
    problems
}
