// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a claim wants of a device besides its driver: the ways to reset it, and how large its BARs are.
//!
//! None of it keeps a device from being claimed: a card that cannot be reset as asked is still better off with its guest's
//! driver than with the host's. It is told as an error all the same, because something that was asked for does not hold.

use crate::config::{Claim, Options, Rebar};
use crate::inventory::Detail;

use super::{Op, PlannedDevice, Step, same_name};
use crate::problem::{Code, Problem, Severity};

/// The step that sets the reset methods of a function, where they are not what its claim asks for. A function that comes
/// along has methods of its own; it is left as it is unless it lists all that are asked for.
pub(super) fn reset(options: &Options, planned: &PlannedDevice, detail: &Detail) -> Option<Op> {
    if options.reset.is_empty() || detail.reset_methods == options.reset {
        return None;
    }
    if planned.along.is_some() && !lists_all(options, detail) {
        return None;
    }
    // Nothing listed may also mean that the list could not be read: then the kernel's own choice is the way back.
    let before = if detail.reset_methods.is_empty() { "default".to_owned() } else { detail.reset_methods.join(" ") };
    Some(Op::ResetMethod { methods: options.reset.join(" "), before })
}

/// Finds the BARs that have not the size that is asked for, and why they cannot get it.
fn resize(options: &Options, planned: &PlannedDevice, detail: &Detail, found: &mut dyn FnMut(Rebar, Option<&str>)) {
    // What comes along has BARs of its own.
    for rebar in options.rebar.iter().filter(|_| planned.along.is_none()) {
        let bar = detail.bars.iter().find(|bar| bar.bar == rebar.bar);
        let (size, sizes) = bar.map_or((0, 0), |bar| (bar.size, bar.sizes));
        let bound = || detail.driver.as_deref().is_some_and(|driver| same_name(driver, &planned.target));
        if size == rebar.bytes() {
            continue;
        }
        if sizes.wrapping_shr(rebar.exponent.into()) & 1 == 0 {
            let why = "this BAR cannot have that size (vfio-early status shows what it can have, from Linux 6.1 on)";
            found(*rebar, Some(why));
        } else {
            found(*rebar, bound().then_some("the device has its driver already: release it first, then claim it"));
        }
    }
}

/// Adds the steps that resize BARs.
pub(super) fn resizes(options: &Options, planned: &PlannedDevice, detail: &Detail, steps: &mut Vec<Step>) {
    resize(options, planned, detail, &mut |rebar, why| {
        if why.is_none() {
            steps.push(Step { device: planned.device, op: Op::Rebar(rebar, rebar.to_string()) });
        }
    });
}

fn lists_all(options: &Options, detail: &Detail) -> bool {
    options.reset.iter().all(|method| detail.reset_methods.iter().any(|known| known == method))
}

/// Adds what may not come true of it. A method that is not listed may have been switched off, so that only the kernel can
/// tell whether the device has it.
pub(super) fn problems(claim: &Claim, planned: &PlannedDevice, detail: &Detail, problems: &mut Vec<Problem>) {
    let options = &claim.options;
    let Some(address) = planned.device else { return };
    let mut tell = |severity, code, message| {
        problems.push(Problem { severity, code, source: Some(claim.origin.clone()), device: planned.device, message });
    };
    resize(options, planned, detail, &mut |rebar, why| {
        if let Some(why) = why {
            tell(Severity::Error, Code::Rebar, format!("rebar={rebar} of {address}: {why}"));
        }
    });
    if planned.along.is_none() && !lists_all(options, detail) {
        let (asked, listed) = (options.reset.join("+"), detail.reset_methods.join("+"));
        let message = format!(
            "reset={asked}: {address} lists `{listed}` in its reset_method, and the kernel refuses what it does not have"
        );
        tell(Severity::Warning, Code::Reset, message);
    }
}
