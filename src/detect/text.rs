// SPDX-License-Identifier: MIT OR Apache-2.0
//! The proposal as a configuration file, with what it leaves out and why as comments.

use crate::layout::wrap;

use super::{Advice, Function, Proposal};

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

/// The whole file.
pub fn text(proposal: &Proposal) -> String {
    let mut text = HEAD.to_owned();
    let iommu = &proposal.iommu;
    if !iommu.is_enabled() {
        let advice = iommu.advice.join("; ");
        add_line(&mut text, &["\n# Nothing is claimed while ", &iommu.reason(), ": ", &advice, "."]);
    }
    if proposal.displays.is_empty() {
        add_line(&mut text, &["\n# No display controller found; nothing to propose."]);
    }
    for display in &proposal.displays {
        add_line(&mut text, &["\n# ", &described(&display.function)]);
        if !display.names.device.is_empty() {
            add_line(&mut text, &["# ", &display.names.vendor, " ", &display.names.device]);
        }
        let claim = format!("claim {} id={}", display.function.address, display.function.identity.id());
        match &display.advice {
            Advice::Management => {
                add_line(&mut text, &["# Skipped: it belongs to the server's management controller."]);
            }
            Advice::Host => add_line(&mut text, &["# Skipped: it is the host's boot display."]),
            Advice::Claimed(origin) => {
                add_line(&mut text, &["# Already claimed (", &origin.to_string(), ")."]);
            }
            Advice::Refused(reason) => add_line(&mut text, &["# Skipped: ", reason, "."]),
            Advice::LastDisplay => {
                for line in SINGLE {
                    add_line(&mut text, &["# ", line]);
                }
                add_line(&mut text, &["#", &claim, " allow=last-display"]);
                add_line(&mut text, &["#set framebuffer release"]);
            }
            Advice::Claim { along, drawbacks } => {
                for (function, refused) in along {
                    let refused = refused.as_ref().map(|reason| [", but not: ", reason].concat()).unwrap_or_default();
                    add_line(&mut text, &["# with ", &described(function), &refused]);
                }
                for drawback in drawbacks {
                    add_line(&mut text, &["# Note: ", drawback, "."]);
                }
                add_line(&mut text, &[&claim]);
            }
        }
    }
    text
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
