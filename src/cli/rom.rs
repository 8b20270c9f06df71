// SPDX-License-Identifier: MIT OR Apache-2.0
//! `vfio-early rom`: reads, shows, verifies, extracts from and repairs option ROMs.

use crate::execute::option_rom::{self, MAX_ROM_FILE_SIZE, RomError};
use crate::machine::Machine;
use crate::pci::{Address, ExpectedId};
use crate::rom::{self, ExtractTarget, GuestMachine, JudgedRom, Verdict};

use super::OpenMachine;
use super::arguments::{self, RomCommand};
use super::output::Output;
use crate::exit::{Exit, Failure};
use crate::{layout, pipeline};

/// The file name for standard output. A file of this name is `./-`.
pub(super) const STANDARD_OUTPUT: &str = "-";

/// Runs the command.
pub(super) fn run(machine: &OpenMachine, options: &arguments::Rom, output: &mut Output) -> Result<Exit, Failure> {
    match &options.command {
        RomCommand::Dump(options) => dump(machine, options, output),
        RomCommand::Show(options) => {
            let judged = Input::read(machine, &options.rom, None, options.machine, output)?.judged;
            if options.json {
                print_json(&judged, output);
            } else {
                output.result(&layout::flow(&rom::text::show(&options.rom, &judged)));
            }
            Ok(if judged.verdict == Verdict::Invalid { Exit::NotMet } else { Exit::Ok })
        }
        RomCommand::Verify(options) => {
            let device = match (options.device, options.id) {
                (Some(_), Some(_)) => return Err(usage("give --device or --id, not both")),
                (Some(address), None) => {
                    Some(option_rom::device_id(machine.get(), address).map_err(|error| device_error(address, &error))?)
                }
                (None, id) => id,
            };
            let judged = Input::read(machine, &options.rom, device, options.machine, output)?.judged;
            if options.json {
                print_json(&judged, output);
            } else {
                output.result(&layout::flow(&rom::text::verify(&options.rom, &judged)));
            }
            Ok(if judged.verdict == Verdict::Valid { Exit::Ok } else { Exit::NotMet })
        }
        RomCommand::Extract(options) => {
            let target = match (options.image, options.efi) {
                (Some(number), false) if !options.raw && options.machine.is_none() => ExtractTarget::Image(number),
                (None, true) => {
                    let machine = options.machine.unwrap_or_default();
                    ExtractTarget::EfiDriver { machine, decompress: options.raw }
                }
                _ => return Err(usage("give either --image N or --efi; --raw and --machine require --efi")),
            };
            let bytes = machine.get().read(&options.file, MAX_ROM_FILE_SIZE)?;
            let extracted = rom::extract(&bytes, target).map_err(|why| not_met(&options.file, &why.to_string()))?;
            let said = format!("{}: {}", options.output, extracted.description);
            let file = OutputFile { path: &options.output, force: options.force, input: &options.file };
            file.write(machine.get(), &extracted.bytes, &said, output)?;
            Ok(Exit::Ok)
        }
        RomCommand::Repair(options) => {
            let bytes = machine.get().read(&options.file, MAX_ROM_FILE_SIZE)?;
            let repaired = rom::repair(&bytes, options.id.as_ref(), options.machine.unwrap_or_default())
                .map_err(|why| not_met(&options.file, &why.to_string()))?;
            let said = layout::flow(&rom::text::repaired(&options.file, &repaired));
            let file = OutputFile { path: &options.output, force: options.force, input: &options.file };
            file.write(machine.get(), &repaired.bytes, &said, output)?;
            Ok(Exit::Ok)
        }
    }
}

/// Reads the ROM of a device into a file, or to standard output.
fn dump(machine: &OpenMachine, options: &arguments::Dump, output: &mut Output) -> Result<Exit, Failure> {
    if options.output.is_none() && output.is_terminal() {
        return Err(usage("not writing a ROM to a terminal: use -o FILE or redirect standard output"));
    }
    let name = options.address.to_string();
    let input = Input::read(machine, &name, None, None, output)?;
    match options.output.as_deref() {
        Some(file) if file != STANDARD_OUTPUT => {
            create(machine.get(), file, &input.bytes, options.force, None)?;
            output.result(&layout::flow(&rom::text::verify(file, &input.judged)));
        }
        _ => output.raw(&input.bytes),
    }
    Ok(if input.judged.verdict == Verdict::Invalid { Exit::NotMet } else { Exit::Ok })
}

/// A ROM from a file or from a device.
struct Input {
    bytes: Vec<u8>,
    judged: JudgedRom,
}

impl Input {
    /// Reads a file, or the ROM of the device at an address, and judges it for `expected`, or else for that device, and for
    /// a guest of that kind. A file whose name is an address is `./ADDRESS`.
    fn read(
        machine: &OpenMachine,
        name: &str,
        expected: Option<ExpectedId>,
        guest: Option<GuestMachine>,
        output: &Output,
    ) -> Result<Self, Failure> {
        let guest = guest.unwrap_or_default();
        let Ok(address) = name.parse::<Address>() else {
            let bytes = machine.get().read(name, MAX_ROM_FILE_SIZE)?;
            let judged = rom::judge_for(rom::parse(&bytes), expected.as_ref(), guest);
            return Ok(Self { bytes, judged });
        };
        // Of two processes that read one ROM at a time, the first to finish would disable it for the other.
        let lock = match machine {
            OpenMachine::Host(host) => Some(pipeline::lock_for_reading(host)),
            OpenMachine::Recorded(_) => None,
        };
        let dump =
            option_rom::dump(machine.get(), address, expected, guest).map_err(|error| device_error(address, &error))?;
        drop(lock);
        for warning in &dump.warnings {
            output.warn(&format!("{address}: {}", warning.message));
        }
        Ok(Self { bytes: dump.bytes, judged: dump.judged })
    }
}

/// A file that is made of another one.
struct OutputFile<'a> {
    path: &'a str,
    force: bool,
    input: &'a str,
}

impl OutputFile<'_> {
    /// Writes the file, and says so on standard output, or on standard error if the file goes there.
    fn write(&self, machine: &dyn Machine, content: &[u8], said: &str, output: &mut Output) -> Result<(), Failure> {
        if self.path != STANDARD_OUTPUT {
            create(machine, self.path, content, self.force, Some(self.input))?;
            output.result(said);
            return Ok(());
        }
        output.raw(content);
        if !output.quiet {
            said.lines().for_each(|line| output.warn(line));
        }
        Ok(())
    }
}

fn print_json(judged: &JudgedRom, output: &mut Output) {
    output.result(&crate::json::to_string(&rom::json::document(judged)));
}

/// Creates a file, whole or not at all.
pub(super) fn create(
    machine: &dyn Machine,
    path: &str,
    content: &[u8],
    force: bool,
    input: Option<&str>,
) -> Result<(), Failure> {
    machine.create(path, content, force, input).map_err(|error| match error.source.kind() {
        // A plain file that may be replaced.
        std::io::ErrorKind::AlreadyExists if !force && error.source.raw_os_error().is_some() => {
            usage(&format!("{error}; --force replaces it"))
        }
        std::io::ErrorKind::AlreadyExists => usage(&error.to_string()),
        _ => error.into(),
    })
}

fn usage(message: &str) -> Failure {
    Failure::Message(Exit::Usage, message.to_owned())
}

fn not_met(name: &str, why: &str) -> Failure {
    Failure::Message(Exit::NotMet, format!("{name}: {why}"))
}

/// Why the ROM of a device could not be read.
fn device_error(address: Address, error: &RomError) -> Failure {
    let exit = if error.denied || error.hangs { Exit::System } else { Exit::NotMet };
    Failure::Message(exit, format!("{address}: {}", error.message))
}
