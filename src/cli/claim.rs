// SPDX-License-Identifier: MIT OR Apache-2.0
//! `vfio-early claim`, `bind` and `release`.

use std::time::Instant;

use crate::config::{self, Config, ConfigError, Sources};
use crate::exit::{Exit, Failure};
use crate::machine::{Lock, Machine};
use crate::pipeline::{self, NewFile, Run};
use crate::{json, report};

use super::output::Output;
use super::{OpenMachine, arguments};

/// Runs the command `claim`.
pub(super) fn claim(
    machine: &mut OpenMachine,
    options: &arguments::Claim,
    output: &mut Output,
) -> Result<Exit, Failure> {
    let began = Instant::now();
    let loaded = config::load(machine.get(), Sources::AtBoot)
        .map_err(|errors| pipeline::reject_configuration(machine.get(), errors, options.dry_run))?;
    let lock = lock(machine, &loaded.config, options.dry_run);
    warn(&loaded.warnings, output);
    let run = pipeline::claim(machine.get(), &loaded.config, &options.device, options.dry_run, began)?;
    drop(lock);
    Ok(print(&run, options.json, output))
}

/// Runs the command `bind`.
pub(super) fn bind(machine: &mut OpenMachine, options: &arguments::Bind, output: &mut Output) -> Result<Exit, Failure> {
    let began = Instant::now();
    let loaded = config::load(machine.get(), Sources::AtBoot)?;
    warn(&loaded.warnings, output);
    // First what can be wrong with them.
    let files = if options.save { pipeline::files_of_claims(machine.get(), &options.words)? } else { Vec::new() };
    let lock = lock(machine, &loaded.config, options.dry_run);
    let run = pipeline::bind(machine.get(), loaded.config, &options.words, options.dry_run, began)?;
    drop(lock);
    let exit = print(&run, options.json, output);
    if options.save { Ok(save(machine.get(), &files, options.dry_run, exit, output)) } else { Ok(exit) }
}

/// Runs the command `release`.
pub(super) fn release(
    machine: &mut OpenMachine,
    options: &arguments::Release,
    output: &mut Output,
) -> Result<Exit, Failure> {
    let began = Instant::now();
    let lock = lock(machine, &Config::default(), options.dry_run);
    let run = pipeline::release(machine.get(), &options.words, options.dry_run, began)?;
    drop(lock);
    Ok(print(&run, options.json, output))
}

/// Writes the claims of `bind --save`, once the devices are on their drivers.
fn save(machine: &dyn Machine, files: &[NewFile], dry_run: bool, exit: Exit, output: &Output) -> Exit {
    for file in files {
        let (path, claim) = (&file.path, file.content.lines().last().unwrap_or_default());
        if dry_run {
            output.warn(&format!("{path} would hold: {claim}"));
        } else if exit != Exit::Ok {
            output.warn(&format!("{path} is not written, because the claim does not hold"));
        } else if let Err(error) = file.write(machine) {
            output.warn(&error.to_string());
            return Exit::System;
        } else {
            output.warn(&format!("{path} holds: {claim}"));
        }
    }
    if exit == Exit::Ok && !dry_run && !files.is_empty() {
        let command = pipeline::image_command(machine);
        output.warn(&format!("run {command}: the next boot claims only what its initramfs image holds"));
    }
    exit
}

/// Keeps other runs away from the running machine.
fn lock(machine: &mut OpenMachine, config: &Config, dry_run: bool) -> Option<Lock> {
    if let OpenMachine::Host(host) = machine { pipeline::lock_for(host, config, dry_run) } else { None }
}

/// Prints what the configuration's reader warns of.
fn warn(warnings: &[ConfigError], output: &Output) {
    for warning in warnings {
        output.warn(&warning.to_string());
    }
}

/// Prints what a run came to.
fn print(run: &Run, as_json: bool, output: &mut Output) -> Exit {
    if let Some(error) = &run.unsaved {
        output.warn(&error.to_string());
    }
    if as_json {
        output.result(&json::to_string(&run.report));
    } else if run.plan.off && !output.quiet {
        output.result("vfio_early=off is on the kernel command line: nothing is touched");
    } else if !output.quiet {
        output.result(&report::text(&run.report));
    }
    run.exit
}
