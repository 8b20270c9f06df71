// SPDX-License-Identifier: MIT OR Apache-2.0
//! The configuration: claims and settings from files and from the kernel command line.

mod adopt;
mod cmdline;
mod digest;
mod files;
mod keywords;
mod model;
mod modprobe;
mod print;
mod problems;
mod reader;
mod selector;

pub use adopt::{is_id, module_switch};
pub use cmdline::{Words, words};
pub(crate) use files::LOCAL;
pub use keywords::{DIRECTIVES, Keyword, OPTIONS, RESET_METHODS, SETTINGS};
pub use model::{
    Claim, Config, ConfigError, Driver, Framebuffer, Guard, IommuPolicy, OnFailure, Options, Origin, Rebar, Settings,
    With,
};
pub(crate) use reader::MAX_LINE;
pub use reader::Reader;
pub use selector::Selector;

use crate::machine::Machine;
use crate::pci::Address;
use problems::Problems;

/// A configuration with its warnings and files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Warnings, which do not invalidate the configuration.
    pub warnings: Vec<ConfigError>,
    /// The configuration files that were read, in order.
    pub files: Vec<String>,
}

/// The lines of modprobe.d as words, with their origins.
pub fn modprobe_directives(machine: &dyn Machine) -> Vec<(Origin, Vec<String>)> {
    let mut found = Vec::new();
    // Unreadable files were reported when the configuration was loaded, if they matter for it.
    modprobe::Files::read(machine, &mut Problems::default()).lines(&mut |origin, words| {
        found.push((origin, words.map(|(name, _)| name).collect()));
    });
    found
}

/// Claims from the arguments of the command `place` (`bind`): arguments with a `=` are options, all others addresses.
pub fn claims_from_arguments(place: &str, arguments: &[String]) -> Result<Vec<Claim>, Vec<ConfigError>> {
    let (options, addresses): (Vec<&str>, Vec<&str>) =
        arguments.iter().map(String::as_str).partition(|argument| argument.contains('='));
    let (mut reader, origin) = (Reader::default(), Origin::file(place));
    for address in &addresses {
        match address.parse::<Address>() {
            Ok(_) => reader.claim(&origin, address, &mut options.iter().copied()),
            Err(_) => reader.problems.add(
                &origin,
                format!("{}: expected the address of a device, such as 01:00.0", keywords::quote(address)),
            ),
        }
    }
    if addresses.is_empty() {
        reader.problems.add(&origin, "expected the address of a device");
    }
    // The options are parsed for each address; report their errors once.
    reader.finish().map(|config| config.claims).map_err(|mut errors| {
        errors.dedup();
        errors
    })
}

/// The parts of a configuration to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sources {
    /// What applies at boot. With `vfio_early=off` nothing else is read, so that the parameter works with any configuration.
    AtBoot,
    /// The files and the kernel command line, even with `vfio_early=off`: for checking all of it.
    All,
    /// Only the files: for an initramfs image, whose kernel command line is not known yet.
    Files,
}

/// A hash of the configuration files and their names. It is the same in an initramfs image and on the
/// system where the image was built, as long as the files are.
pub fn digest(machine: &dyn Machine) -> String {
    let mut digest = digest::Digest::default();
    for path in files::read(machine, &mut Reader::default()) {
        let content = machine.read(&path, files::MAX_FILE).unwrap_or_default();
        for part in [path.as_bytes(), &content] {
            digest.add(part);
            digest.add(&[0]);
        }
    }
    digest.text()
}

/// Reads the configuration of a machine, or returns all errors in it, in the order of reading.
pub fn load(machine: &dyn Machine, sources: Sources) -> Result<Loaded, Vec<ConfigError>> {
    const COMMAND_LINE: &str = "/proc/cmdline";
    let mut loaded = Loaded::default();
    let mut reader = Reader::default();
    let mut warnings = Problems::default();
    let content =
        if sources == Sources::Files { Ok(Some(Vec::new())) } else { files::content(machine, COMMAND_LINE, false) };
    let line = match content {
        Ok(Some(line)) => line,
        Ok(None) => {
            warnings.add(&Origin::file(COMMAND_LINE), "is missing; the kernel command line is ignored");
            Vec::new()
        }
        Err(message) => {
            reader.problems.add(&Origin::file(COMMAND_LINE), message);
            Vec::new()
        }
    };
    let off = cmdline::is_disabled(&line);
    if off && sources == Sources::AtBoot {
        loaded.config.off = true;
        return Ok(loaded);
    }
    loaded.files = files::read(machine, &mut reader);
    reader.command_line(&line);
    loaded.config = reader.finish()?;
    loaded.config.off = off;
    let adopts = loaded.config.settings.adopt_ids;
    // Invalid IDs are worth a warning only if valid ones become claims.
    let mut ignored = Problems::default();
    let problems = if adopts { &mut warnings } else { &mut ignored };
    let modprobe = modprobe::Files::read(machine, problems);
    loaded.config.vfio_pci_ids = adopt::vfio_pci_ids(&modprobe, &line, problems);
    loaded.config.denylist_disabled = adopt::switch(&modprobe, &line, "vfio_pci", "disable_denylist");
    loaded.config.modules_file_ids = adopt::modules_file_ids(machine, problems);
    if adopts {
        adopt::add_claims(&mut loaded.config);
    }
    loaded.warnings = warnings.into_vec();
    Ok(loaded)
}
