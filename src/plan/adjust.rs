// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a claim wants of a device besides its driver: the ways to reset it.
//!
//! None of it keeps a device from being claimed: a card that cannot be reset as asked is still better off with its guest's
//! driver than with the host's. It is told as an error all the same, because something that was asked for does not hold.

use crate::config::{Config, Options};
use crate::picture::Detail;

use super::{Entry, Op, Problem};

/// The step that sets the reset methods of a function, where they are not what its claim asks for. A function that comes
/// along has methods of its own; it is left as it is unless it lists all that are asked for.
pub(super) fn reset(options: &Options, entry: &Entry, detail: &Detail) -> Option<Op> {
    if options.reset.is_empty() || detail.reset_methods == options.reset {
        return None;
    }
    if entry.along.is_some() && !lists_all(options, detail) {
        return None;
    }
    // Nothing listed may also mean that the list could not be read: then the kernel's own choice is the way back.
    let before = if detail.reset_methods.is_empty() { "default".to_owned() } else { detail.reset_methods.join(" ") };
    Some(Op::ResetMethod { methods: options.reset.join(" "), before })
}

fn lists_all(options: &Options, detail: &Detail) -> bool {
    options.reset.iter().all(|method| detail.reset_methods.iter().any(|known| known == method))
}

/// What may not come true of it. A method that is not listed may have been switched off, so that only the kernel can tell
/// whether the device has it.
pub(super) fn problem(config: &Config, entry: &Entry, detail: &Detail) -> Option<Problem> {
    let options = &config.claims.get(entry.claim)?.options;
    if entry.along.is_some() || lists_all(options, detail) {
        return None;
    }
    let (address, asked) = (entry.device?, options.reset.join("+"));
    let listed = match detail.reset_methods.as_slice() {
        [] => "nothing".to_owned(),
        methods => methods.join(" "),
    };
    let message = format!(
        "reset={asked}: {address} lists {listed} in its reset_method, and the kernel refuses what the device does not have"
    );
    Some(Problem::warning("reset", Some(address), message).of(entry.claim))
}
