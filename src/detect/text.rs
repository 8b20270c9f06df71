// SPDX-License-Identifier: MIT OR Apache-2.0
//! The proposal as a configuration file, with what it leaves out and why as comments.

use crate::layout::wrap;

use super::{Advice, Claim, Entry, Function, Proposal};

const HEAD: &str = "\
# Proposed by `vfio-early detect` for this machine.
# Save it as /etc/vfio-early.d/gpu.conf and check it with `vfio-early check`.
# Then regenerate the initramfs (update-initramfs -u, dracut --force or
# mkinitcpio -P) and restart. vfio_early=off on the kernel command line is the
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
    "To claim it all the same:",
];

/// The two ways to the display that the host has now, where it keeps another one.
const WANTED: &[&str] = &[
    "If a guest is to have this one, there are two ways:",
    "- Have the firmware show its picture on another display (the primary display in the firmware setup), restart, and \
     run vfio-early detect again.",
    "- Claim it as it is. From the claim on, it shows nothing of the host, and what can be read of its option ROM may be \
     a used copy:",
];

/// What it means that several displays may be the host's.
const UNDECIDED: &str = "\n# Nothing tells which display is the host's, so nothing is proposed. Take the # off the claims for \
    those that are not.";

/// What NVSwitches are for.
const SWITCHES: &str = "# The GPUs work together only through it. It goes to the same guest, unless the host runs NVIDIA's \
    fabric manager:";

/// The way back from that.
const TRIAL: &str = "#set trial yes # without vfio-early confirm, the next boot claims nothing";

/// The whole file.
pub fn text(proposal: &Proposal) -> String {
    let mut text = HEAD.to_owned();
    let iommu = &proposal.iommu;
    if !iommu.is_enabled() {
        let advice = iommu.advice.join("; ");
        add_line(&mut text, &["\n# Nothing is claimed while ", &iommu.reason(), ": ", &advice, "."]);
    }
    if proposal.entries.is_empty() {
        add_line(&mut text, &["\n# No display controller and no accelerator found; nothing to propose."]);
    }
    if proposal.undecided {
        add_line(&mut text, &[UNDECIDED]);
    }
    for entry in &proposal.entries {
        add_line(&mut text, &["\n# ", &described(&entry.function)]);
        if !entry.names.device.is_empty() {
            add_line(&mut text, &["# ", &entry.names.vendor, " ", &entry.names.device]);
        }
        if let Some(today) = &entry.today {
            let instead = if matches!(entry.advice, Advice::Claim(_)) && !proposal.undecided {
                ". This claim takes its place; remove the old one."
            } else {
                "."
            };
            add_line(&mut text, &["# Claimed today by other means: ", today, instead]);
        }
        add_advice(&mut text, proposal, entry);
    }
    if let Some(first) = proposal.switches.first() {
        for switch in &proposal.switches {
            let line = if switch.address == first.address { "\n# " } else { "# " };
            add_line(&mut text, &[line, &described(switch), ": an NVSwitch"]);
        }
        add_line(&mut text, &[SWITCHES]);
        for switch in &proposal.switches {
            add_line(&mut text, &["#claim ", &switch.address.to_string(), " id=", &switch.identity.id()]);
        }
    }
    text
}

/// What is proposed for one device.
fn add_advice(text: &mut String, proposal: &Proposal, entry: &Entry) {
    match &entry.advice {
        Advice::Management => {
            add_line(text, &["# Skipped: it belongs to the server's management controller."]);
        }
        Advice::Host { reason, wanted } => {
            add_line(text, &["# Skipped: it is the host's boot display (", reason, ")."]);
            if let Some(claim) = wanted {
                for line in WANTED {
                    add_line(text, &["# ", line]);
                }
                add_notes(text, claim);
                add_line(text, &["#", &claim.line]);
                add_line(text, &["#set framebuffer release"]);
            }
        }
        Advice::Claimed(origin) => {
            add_line(text, &["# Already claimed (", &origin.to_string(), ")."]);
        }
        Advice::Disk(claim) => {
            add_line(text, &["# Nothing tells here whether the host needs this disk. If it does not:"]);
            add_line(text, &["#", &claim.line]);
        }
        Advice::Refused(reason) => add_line(text, &["# Skipped: ", reason, "."]),
        Advice::LastDisplay(claim) => {
            for line in SINGLE {
                add_line(text, &["# ", line]);
            }
            add_notes(text, claim);
            let allow = if claim.line.contains("allow=") { "" } else { " allow=last-display" };
            add_line(text, &["#", &claim.line, allow]);
            add_line(text, &["#set framebuffer release"]);
            if proposal.can_try {
                add_line(text, &[TRIAL]);
            }
        }
        Advice::Claim(claim) => {
            add_notes(text, claim);
            if !claim.unviable.is_empty() && entry.today.is_none() {
                add_line(text, &["# No guest can have it alone, so it is not proposed. To claim it all the same:"]);
                add_line(text, &["#", &claim.line]);
            } else {
                add_line(text, &[if proposal.undecided { "# " } else { "" }, &claim.line]);
            }
        }
    }
}

/// What goes along with a claim, what stays, and what is true of it nevertheless.
fn add_notes(text: &mut String, claim: &Claim) {
    for (function, refused) in &claim.along {
        let refused = refused.as_ref().map(|reason| [", but not: ", reason].concat()).unwrap_or_default();
        add_line(text, &["# with ", &described(function), &refused]);
    }
    if !claim.left.is_empty() {
        let left: Vec<String> =
            claim.left.iter().map(|one| format!("{} ({})", one.address, one.identity.id())).collect();
        add_line(text, &["# The host keeps ", &left.join(", "), " of the same slot: not part of this card."]);
    }
    for note in claim.unviable.iter().chain(&claim.drawbacks) {
        add_line(text, &["# Note: ", note, "."]);
    }
}

/// `0000:01:00.0 (10de:1e04), a VGA controller`.
fn described(function: &Function) -> String {
    let identity = &function.identity;
    format!("{} ({}), {}", function.address, identity.id(), identity.class.with_article())
}

/// Adds a line made of these parts; what does not fit becomes another comment.
fn add_line(text: &mut String, parts: &[&str]) {
    let line = parts.concat();
    let line = line.strip_prefix('\n').map_or(line.as_str(), |line| {
        text.push('\n');
        line
    });
    text.push_str(&wrap(line, "#   "));
}
