// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the user wishes: claims and settings, from files and from the kernel command line.

mod adopt;
mod cmdline;
mod files;
mod keywords;
mod model;
mod modprobe;
mod print;
mod problems;
mod reader;
mod selector;

pub use cmdline::{Words, words};
pub use keywords::{DIRECTIVES, Keyword, OPTIONS, RESET_METHODS, SETTINGS};
pub use model::{
    Claim, Config, ConfigError, Driver, Framebuffer, Guard, Iommu, OnFailure, Options, Origin, Rebar, Settings, With,
};
pub use reader::Reader;
pub use selector::Selector;

use crate::machine::Machine;
use crate::pci::Address;
use problems::Problems;

/// A configuration and how it was come by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// What was understood.
    pub config: Config,
    /// What is worth telling although nothing is wrong with the configuration itself.
    pub warnings: Vec<ConfigError>,
    /// The configuration files that were read, in their order.
    pub files: Vec<String>,
}

/// What else says which module may have a device, and how: the lines of modprobe.d as words, with their places.
pub fn modprobe_directives(machine: &dyn Machine) -> Vec<(Origin, Vec<String>)> {
    let mut found = Vec::new();
    // What cannot be read has been told when the configuration was loaded, if it matters there.
    modprobe::lines(machine, &mut Problems::default(), &mut |origin, words| {
        found.push((origin, words.map(|(name, _)| name).collect()));
    });
    found
}

/// The IDs that vfio-pci itself was given, as claims, whether they count or not.
pub fn vfio_pci_ids(machine: &dyn Machine, command_line: &[u8]) -> Vec<Claim> {
    adopt::given(machine, command_line, &mut Problems::default())
}

/// Claims that are made by hand, at this place (`bind`): each word with a `=` is an option, every other one an address.
pub fn claims_from_arguments(place: &str, words: &[String]) -> Result<Vec<Claim>, Vec<ConfigError>> {
    let (options, addresses): (Vec<&str>, Vec<&str>) =
        words.iter().map(String::as_str).partition(|word| word.contains('='));
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
    // Once, though the options are read for each device.
    reader.finish().map(|config| config.claims).map_err(|mut errors| {
        errors.dedup();
        errors
    })
}

/// What of a configuration is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sources {
    /// What a claim heeds: with `vfio_early=off` nothing else is read, so that nothing can be in the way of the way back.
    AtBoot,
    /// All of it, even behind `vfio_early=off`: to tell what is wrong with it.
    All,
    /// The files: what an image holds, whatever command line it will be booted with.
    Files,
}

/// A short text that changes with the files of the configuration, their names included (FNV-1a, 64 bits): the same files
/// make the same one in an image and on the system that the image was made on.
pub fn digest(machine: &dyn Machine) -> String {
    let mut digest: u64 = 0xcbf2_9ce4_8422_2325;
    for path in files::read(machine, &mut Reader::default()) {
        let content = machine.read(&path, files::MAX_FILE).unwrap_or_default();
        for byte in path.bytes().chain([0]).chain(content).chain([0]) {
            digest = (digest ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        }
    }
    format!("{digest:016x}")
}

/// Reads the configuration of a machine, or returns everything that is wrong with it, in the order of reading.
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
            warnings.add(&Origin::file(COMMAND_LINE), "is missing, so the kernel command line cannot be heeded");
            Vec::new()
        }
        Err(why) => {
            reader.problems.add(&Origin::file(COMMAND_LINE), why);
            Vec::new()
        }
    };
    let off = cmdline::is_off(&line);
    if off && sources == Sources::AtBoot {
        loaded.config.off = true;
        return Ok(loaded);
    }
    loaded.files = files::read(machine, &mut reader);
    reader.command_line(&line);
    loaded.config = reader.finish()?;
    loaded.config.off = off;
    if loaded.config.settings.adopt_ids {
        adopt::adopt(machine, &line, &mut loaded.config, &mut warnings);
    }
    loaded.warnings = warnings.0;
    Ok(loaded)
}
