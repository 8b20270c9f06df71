// SPDX-License-Identifier: MIT OR Apache-2.0
//! `vfio-early rom`: reads, explains, checks, takes apart and repairs option ROMs.

use crate::execute::option_rom::{self, MOST, Trouble};
use crate::machine::Machine;
use crate::pci::{Address, ExpectedId};
use crate::rom::{self, Judgement, Rom, Verdict, What, show};

use super::OpenMachine;
use super::arguments::{self, RomCommand};
use super::output::Output;
use crate::exit::{Exit, Failure};
use crate::{layout, pipeline};

/// Runs the command.
pub(super) fn run(room: &OpenMachine, options: &arguments::Rom, output: &mut Output) -> Result<Exit, Failure> {
    match &options.command {
        RomCommand::Dump(options) => dump(room, options, output),
        RomCommand::Show(options) => {
            let input = Input::open(room, &options.rom, output)?;
            let (parsed, judgement) = input.judge(None);
            let text = if options.json { String::new() } else { show::show(&options.rom, &parsed, &judgement) };
            tell(&text, &parsed, &judgement, output);
            Ok(if judgement.verdict == Verdict::Invalid { Exit::NotMet } else { Exit::Ok })
        }
        RomCommand::Verify(options) => {
            let device = match (options.device, options.id) {
                (Some(_), Some(_)) => return Err(usage("give --device or --id, not both")),
                (Some(address), None) => {
                    Some(option_rom::identify(room.get(), address).map_err(|why| trouble(address, &why))?)
                }
                (None, id) => id,
            };
            let input = Input::open(room, &options.rom, output)?;
            let (parsed, judgement) = input.judge(device);
            let text = if options.json { String::new() } else { show::verify(&options.rom, &parsed, &judgement) };
            tell(&text, &parsed, &judgement, output);
            Ok(if judgement.verdict == Verdict::Valid { Exit::Ok } else { Exit::NotMet })
        }
        RomCommand::Extract(options) => {
            let what = match (options.image, options.efi) {
                (Some(number), false) if !options.raw => What::Image(number),
                (None, true) => What::Efi { raw: options.raw },
                _ => return Err(usage("give either --image N or --efi; --raw goes with --efi")),
            };
            let bytes = room.get().read(&options.file, MOST)?;
            let extracted = rom::extract(&bytes, what).map_err(|why| not_held(&options.file, &why.to_string()))?;
            create(room.get(), &options.output, &extracted.bytes, options.force, Some(&options.file))?;
            output.result(&format!("{}: {}", options.output, extracted.what));
            Ok(Exit::Ok)
        }
        RomCommand::Repair(options) => {
            let bytes = room.get().read(&options.file, MOST)?;
            let repaired =
                rom::repair(&bytes, options.id.as_ref()).map_err(|why| not_held(&options.file, &why.to_string()))?;
            create(room.get(), &options.output, &repaired.bytes, options.force, Some(&options.file))?;
            output.result(&layout::flow(&show::repaired(&options.file, &repaired)));
            Ok(Exit::Ok)
        }
    }
}

/// Reads the ROM of a device into a file, or to standard output.
fn dump(room: &OpenMachine, options: &arguments::Dump, output: &mut Output) -> Result<Exit, Failure> {
    if options.output.is_none() && output.is_terminal() {
        return Err(usage("a ROM is no text: name a file with -o, or send standard output elsewhere"));
    }
    let name = options.address.to_string();
    let input = Input::open(room, &name, output)?;
    let (parsed, judgement) = input.judge(None);
    match &options.output {
        Some(file) => {
            create(room.get(), file, &input.bytes, options.force, None)?;
            output.result(&layout::flow(&show::verify(file, &parsed, &judgement)));
        }
        None => output.raw(&input.bytes),
    }
    Ok(if judgement.verdict == Verdict::Invalid { Exit::NotMet } else { Exit::Ok })
}

/// A ROM that is looked at.
struct Input {
    bytes: Vec<u8>,
    /// The device that it was read from.
    device: Option<ExpectedId>,
}

impl Input {
    /// Reads a file, or the ROM of the device at an address. A file that is called like an address is `./ADDRESS`.
    fn open(room: &OpenMachine, name: &str, output: &Output) -> Result<Self, Failure> {
        let Ok(address) = name.parse::<Address>() else {
            return Ok(Self { bytes: room.get().read(name, MOST)?, device: None });
        };
        // Two that read one ROM at a time would switch it off under each other's hands.
        let lock = match room {
            OpenMachine::Host(host) => pipeline::lock(host),
            OpenMachine::Recorded(_) => None,
        };
        let dump = option_rom::dump(room.get(), address).map_err(|why| trouble(address, &why))?;
        drop(lock);
        for note in dump.notes.iter().filter(|note| note.code != "rom-doubtful") {
            output.warn(&format!("{address}: {}", note.message));
        }
        Ok(Self { bytes: dump.bytes, device: Some(dump.id) })
    }

    fn judge(&self, device: Option<ExpectedId>) -> (Rom, Judgement) {
        let parsed = rom::parse(&self.bytes);
        let judgement = rom::judge(&parsed, device.or(self.device).as_ref());
        (parsed, judgement)
    }
}

/// Prints the text, or the document where there is none.
fn tell(text: &str, rom: &Rom, judgement: &Judgement, output: &mut Output) {
    if text.is_empty() {
        output.result(&crate::json::to_string(&show::json(rom, judgement)));
    } else {
        output.result(&layout::flow(text));
    }
}

/// Puts a file in place.
pub(super) fn create(
    machine: &dyn Machine,
    path: &str,
    content: &[u8],
    force: bool,
    input: Option<&str>,
) -> Result<(), Failure> {
    machine.create(path, content, force, input).map_err(|error| match error.source.kind() {
        // A plain file that is there, and not one that must stay.
        std::io::ErrorKind::AlreadyExists if !force && error.source.raw_os_error().is_some() => {
            usage(&format!("{error}; --force replaces a file"))
        }
        std::io::ErrorKind::AlreadyExists => usage(&error.to_string()),
        _ => error.into(),
    })
}

fn usage(message: &str) -> Failure {
    Failure::Message(Exit::Usage, message.to_owned())
}

fn not_held(name: &str, why: &str) -> Failure {
    Failure::Message(Exit::NotMet, format!("{name}: {why}"))
}

/// Why nothing came of a device.
fn trouble(address: Address, trouble: &Trouble) -> Failure {
    let exit = if trouble.denied || trouble.hangs { Exit::System } else { Exit::NotMet };
    Failure::Message(exit, format!("{address}: {}", trouble.message))
}
