// SPDX-License-Identifier: MIT OR Apache-2.0
//! Claims made by hand, as configuration files for the next boot; and the command that makes the image.

use crate::config::{self, Origin, Sources};
use crate::exit::{Exit, Failure};
use crate::inventory::Inventory;
use crate::machine::{Error, Machine};
use crate::pci::ExpectedId;
use crate::plan;

use super::inventory::survey;

/// A configuration file that is to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewFile {
    /// Its path.
    pub path: String,
    /// Its content.
    pub content: String,
}

impl NewFile {
    /// Writes it, whole or not at all, and never over another file.
    pub fn write(&self, machine: &dyn Machine) -> Result<(), Error> {
        match machine.create(&self.path, self.content.as_bytes(), false, None) {
            // The directory is not there, so no file is either.
            Err(error) if error.is_missing() => machine.save(&self.path, self.content.as_bytes()),
            result => result,
        }
    }
}

/// The files that hold the claims of `bind --save`, one for each address. An error where one of them cannot be written, or
/// where the configuration claims the device already: nothing is bound then. `words`: as for `bind`.
pub fn files_of_claims(machine: &dyn Machine, words: &[String]) -> Result<Vec<NewFile>, Failure> {
    let config = config::load(machine, Sources::All)?.config;
    let inventory: Inventory = survey(machine, &config)?;
    let mut files = Vec::new();
    let usage = |message: String| Err(Failure::Message(Exit::Usage, message));
    for mut claim in config::claims_from_arguments(Origin::BIND, words)? {
        let device = claim.selector.address().and_then(|address| inventory.device(address));
        // That nothing is there is what `bind` says.
        let Some(device) = device else { continue };
        let selects = |known: &&config::Claim| {
            !known.adopted && plan::selected(known, &inventory).iter().any(|one| one.address == device.address)
        };
        if let Some(known) = config.claims.iter().find(selects) {
            return usage(format!("{} is claimed already ({}); nothing was changed", device.address, known.origin));
        }
        let path = [config::LOCAL, "/", &device.address.to_string(), ".conf"].concat();
        if machine.read_prefix(&path, 1).is_ok() || machine.link(&path).is_ok() {
            return usage(format!("{path} exists already; nothing was changed"));
        }
        let id = ExpectedId { vendor: device.identity.vendor, device: device.identity.device, subsystem: None };
        claim.options.id.get_or_insert(id);
        files.push(NewFile { path, content: format!("# Written by `vfio-early bind --save`.\n{claim}\n") });
    }
    Ok(files)
}

/// The command that makes the initramfs image of this system.
pub fn image_command(machine: &dyn Machine) -> &'static str {
    const COMMANDS: &[(&str, &str)] = &[
        ("/usr/sbin/update-initramfs", "update-initramfs -u"),
        ("/usr/bin/mkinitcpio", "mkinitcpio -P"),
        ("/usr/bin/dracut", "dracut --force"),
    ];
    let there = |path: &str| machine.read_prefix(path, 1).is_ok();
    let known = COMMANDS.iter().find(|(path, _)| there(path)).map(|(_, command)| *command);
    known.unwrap_or("update-initramfs -u, dracut --force or mkinitcpio -P")
}
