// SPDX-License-Identifier: MIT OR Apache-2.0
//! Snapshots: what the program read from a machine, in one text file without anything that names a person, a machine or a
//! network.
//!
//! What is known to be harmless is kept, everything else is replaced: the same name by the same replacement, and never
//! inside what the program itself looks at. So every command answers as on the machine.

mod configuration;
mod files;
mod filter;
mod names;
mod paths;
mod report;
mod serial;
mod vocabulary;

use crate::machine::{self, Observation, Recorded};

use files::Redactor;
use names::Names;

/// Prints a snapshot. `digest`: that of the machine's configuration, which the report of a claim may hold.
pub fn print(mut observations: Vec<(String, Observation)>, digest: &str) -> String {
    filter::filter(&mut observations);
    let mut names = Names::default();
    let mut modules = Vec::new();
    for (path, observation) in &observations {
        names.reserve(path);
        match observation {
            Observation::File(content) => {
                let text = String::from_utf8_lossy(content);
                names.reserve(&text);
                if path.ends_with("/modules.alias") {
                    modules.extend(text.lines().filter_map(|line| Some(line.rsplit_once(' ')?.1.to_owned())));
                }
            }
            Observation::Link(target) => names.reserve(target),
            Observation::Names(listed) => {
                for name in listed {
                    names.reserve(name);
                }
                if path == "/sys/bus/pci/drivers" {
                    modules.extend(listed.iter().cloned());
                }
            }
            Observation::Broken(_) => {}
        }
    }
    let files = paths::rename_files(&observations, &mut names);
    // The report last: it repeats names that the other files have.
    observations.sort_by_key(|(path, _)| path == crate::report::PATH);
    let mut redactor = Redactor { names: &mut names, files: &files, modules: &modules };
    for (path, observation) in &mut observations {
        match observation {
            Observation::Link(target) => *target = paths::target(target, path, &files, redactor.names),
            Observation::Names(listed) => {
                listed.retain(|name| !paths::is_unread(path, name));
                for name in listed {
                    let inside = redactor.path(&format!("{path}/{name}"));
                    *name = inside.rsplit('/').next().unwrap_or_default().to_owned();
                }
            }
            Observation::File(content) => redactor.content(path, content),
            Observation::Broken(_) => {}
        }
        *path = redactor.path(path);
    }
    observations.sort_by(|(one, _), (other, _)| one.cmp(other));
    let text = machine::print(&machine::tree(&observations));
    match Recorded::parse(text.as_bytes()) {
        // The image held this configuration, or another one: that stays so.
        Ok(machine) => text.replace(digest, &crate::config::digest(&machine)),
        Err(_) => text,
    }
}
