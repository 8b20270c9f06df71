// SPDX-License-Identifier: MIT OR Apache-2.0
//! `vfio-early detect`: a configuration for this machine, as a file ready to save.

use crate::config::{self, Claim, Guard, Options, Origin, Selector, Sources};
use crate::inventory::Inventory;
use crate::machine::Machine;
use crate::pci::{Address, ExpectedId, Identity};
use crate::plan::{self, Decision, PlannedDevice, State};

use super::output::Output;
use super::{Exit, Failure, layout, status};

const HEAD: &str = "\
# Proposed by `vfio-early detect` for this machine.
# Save it as /etc/vfio-early.d/gpu.conf and hold it against the machine with
# `vfio-early check`; make the initramfs anew (update-initramfs -u, dracut --force
# or mkinitcpio -P) and restart. vfio_early=off on the kernel command line is the
# way back.
";

/// What it means to give away the one display of a machine.
const SINGLE: &[&str] = &[
    "It is the only display that the host has left, so it is not proposed. To give it to a guest means:",
    "- From the claim on, this machine shows nothing: no boot messages, no question for the password of an encrypted \
     disk, no login. Only the network or a serial line reaches it, and the guest has to start by itself.",
    "- The firmware has run the display's option ROM, so what can be read of it is a used copy; a guest may need a file \
     with the ROM as it was made.",
    "- The guest needs a display that can be reset, or it starts but once (vfio-early status tells).",
    "If that is meant:",
];

/// Runs the command.
pub(super) fn run(machine: &dyn Machine, output: &mut Output) -> Result<Exit, Failure> {
    let mut config = config::load(machine, Sources::All)?.config;
    config.off = false;
    let written = config.claims.len();
    let mut inventory = Inventory::survey(machine, plan::needs_chains(&config))?;
    let mut displays: Vec<(Address, Identity)> = Vec::new();
    for device in inventory.devices.iter().filter(|device| device.identity.class.is_display()) {
        displays.push((device.address, device.identity));
        config.claims.push(proposal(device.address, &device.identity));
    }
    inventory.read_details(machine, &plan::devices_of_interest(&config, &inventory));
    config.claims.truncate(written);
    let known = plan::plan(&config, &inventory, &[])?;
    let host = of_host(&inventory, &displays).filter(|_| displays.len() > 1);
    for (address, identity) in &displays {
        let claimed = known.entries.iter().any(|entry| entry.device == Some(*address));
        if !claimed && host != Some(*address) && !is_management(identity) {
            config.claims.push(proposal(*address, identity));
        }
    }
    let plan = plan::plan(&config, &inventory, &[])?;
    let mut text = HEAD.to_owned();
    let enabled = plan.verdict.state == State::Enabled;
    if !enabled {
        let advice = plan.verdict.advice.join("; ");
        note(&mut text, &["\n# Nothing is claimed as long as ", &plan.verdict.reason(), ": ", &advice, "."]);
    }
    if displays.is_empty() {
        note(&mut text, &["\n# There is no display controller here, so nothing is proposed."]);
    }

    let identities: Vec<Identity> = displays.iter().map(|(_, identity)| *identity).collect();
    let names = status::names(machine, &identities);
    for ((address, identity), names) in displays.iter().zip(names) {
        let what = |address: Address| {
            let device = inventory.device(address);
            device.map(|device| [device.name(), device.identity.class.with_article()].join(", ")).unwrap_or_default()
        };
        note(&mut text, &["\n# ", &what(*address)]);
        if !names.device.is_empty() {
            note(&mut text, &["# ", &names.vendor, " ", &names.device]);
        }
        let claim = format!("claim {address} id={}", identity.id());
        match plan.entries.iter().rfind(|entry| entry.device == Some(*address)) {
            None if is_management(identity) => {
                note(&mut text, &["# It is left out: it belongs to the server's management."]);
                continue;
            }
            None => {
                note(&mut text, &["# It is left out: the host shows its picture on it."]);
                continue;
            }
            Some(entry) if entry.claim < written => {
                let origin = config.claims.get(entry.claim).map(|claim| claim.origin.to_string()).unwrap_or_default();
                note(&mut text, &["# It is claimed already (", &origin, ")."]);
                continue;
            }
            Some(entry) => {
                if let Some((code, reason)) = refusal(entry) {
                    if code == Guard::LastDisplay.name() {
                        for line in SINGLE {
                            note(&mut text, &["# ", line]);
                        }
                        note(&mut text, &["#", &claim, " allow=last-display"]);
                        note(&mut text, &["#set framebuffer release"]);
                    } else {
                        note(&mut text, &["# It is left out: ", reason, "."]);
                    }
                    continue;
                }
            }
        }
        for entry in plan.entries.iter().filter(|entry| entry.along == Some(*address)) {
            let refused = refusal(entry).map(|(_, reason)| [", but not: ", reason].concat()).unwrap_or_default();
            note(&mut text, &["# with ", &entry.device.map(what).unwrap_or_default(), &refused]);
        }
        for problem in &plan.problems {
            // What stays true of a claim that is carried out.
            if problem.device == Some(*address) && ["not-viable", "acs-override"].contains(&problem.code) {
                note(&mut text, &["# Mind: ", &problem.message, "."]);
            }
        }
        note(&mut text, &[&claim]);
    }
    output.result(&text);
    Ok(if enabled { Exit::Ok } else { Exit::Unprotected })
}

/// Why a function is refused, for another reason than that there is no IOMMU yet.
fn refusal(entry: &PlannedDevice) -> Option<(&'static str, &str)> {
    match &entry.decision {
        Decision::Refuse { code, reason, .. } if *code != "iommu" => Some((code, reason)),
        _ => None,
    }
}

/// The display that the host keeps: the one that the firmware used, else one of the management's, else the first that can
/// show text.
fn of_host(inventory: &Inventory, displays: &[(Address, Identity)]) -> Option<Address> {
    let rank = |(address, identity): &(Address, Identity)| {
        let detail = inventory.device(*address).and_then(|device| device.detail.as_ref());
        if detail.is_some_and(|detail| detail.boot_vga == Some(true)) {
            3
        } else if is_management(identity) {
            2
        } else {
            u8::from(identity.class.with_subclass() == 0x0300)
        }
    };
    let mut best = (0, None);
    for display in displays {
        if rank(display) > best.0 {
            best = (rank(display), Some(display.0));
        }
    }
    best.1
}

/// The display of a server's management controller: ASPEED, and Matrox' G200 in its many forms.
fn is_management(identity: &Identity) -> bool {
    matches!(identity.vendor, 0x1a03 | 0x102b)
}

fn proposal(address: Address, identity: &Identity) -> Claim {
    let id = ExpectedId { vendor: identity.vendor, device: identity.device, subsystem: None };
    Claim {
        selector: Selector::Address(address),
        origin: Origin::file("vfio-early detect"),
        options: Options { id: Some(id), ..Options::default() },
        adopted: false,
    }
}

/// A line made of these parts; what does not fit becomes another comment.
fn note(text: &mut String, parts: &[&str]) {
    let line = parts.concat();
    let line = line.strip_prefix('\n').map_or(line.as_str(), |line| {
        text.push('\n');
        line
    });
    text.push_str(&layout::wrap(line, "#   "));
}
