// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a person reads at the next login while a configuration is on trial: a file of pam_motd(8), which shows those in
//! /run/motd.d on a console and over ssh.

use crate::machine::{Error, Machine};
use crate::trial::State;

use super::Report;

/// The file. It is gone with the boot.
const PATH: &str = "/run/motd.d/vfio-early";

/// Tells of a trial that runs, or that was not confirmed.
pub fn announce(machine: &dyn Machine, report: &Report) -> Result<(), Error> {
    let text = match report.trial.as_ref().map(|trial| trial.state) {
        Some(State::Running) => {
            "The configuration of vfio-early is on trial. Once this machine works as it should, run\n\n    \
             vfio-early confirm\n\nOtherwise, the next boot claims no devices.\n"
        }
        Some(State::Blocked) => {
            "vfio-early has claimed no devices in this boot. To see why, and what to do, run\n\n    \
             vfio-early status\n\n"
        }
        _ => return Ok(()),
    };
    machine.save(PATH, text.as_bytes())
}

/// Tells nothing any more: pam_motd(8) shows nothing of an empty file.
pub fn clear(machine: &dyn Machine) -> Result<(), Error> {
    match machine.read_prefix(PATH, 1) {
        Ok(content) if !content.is_empty() => machine.save(PATH, &[]),
        _ => Ok(()),
    }
}
