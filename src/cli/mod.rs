// SPDX-License-Identifier: MIT OR Apache-2.0
//! The command line: arguments in, one exit status out.

mod arguments;
mod carry;
mod check;
mod claim;
mod detect;
mod groups;
mod hand;
mod layout;
mod libvirt;
mod modules;
mod output;
mod rom;
mod saved_roms;
mod snapshot;
mod status;
mod told;

use std::ffi::OsString;

use crate::config::ConfigError;
use crate::machine::{
    Error, Host, Machine, Recorded, STEP_READ, STEP_READ_DEVICE, STEP_WRITE, step_read, step_read_device, step_write,
};

pub use carry::Claimed;
pub use claim::claim;
pub use hand::{bind, release};

use arguments::{Command, Parsed};
use output::Output;

/// How the program ends, the same for every command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// All is as configured or asked.
    Ok = 0,
    /// Something asked for did not hold.
    NotHeld = 1,
    /// Bad usage or bad configuration; nothing was changed.
    Usage = 2,
    /// The IOMMU is absent or disabled; nothing was changed.
    Unprotected = 3,
    /// The system failed the program.
    System = 4,
}

impl Exit {
    /// The number that the shell sees.
    pub fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::NotHeld => 1,
            Self::Usage => 2,
            Self::Unprotected => 3,
            Self::System => 4,
        }
    }
}

/// Why a command ended early.
#[derive(Debug)]
pub enum Failure {
    /// The configuration cannot be understood; nothing was changed.
    Config(Vec<ConfigError>),
    /// The machine failed us.
    Machine(Error),
    /// Something else, in so many words.
    Said(Exit, String),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Machine(error)
    }
}

impl From<Vec<ConfigError>> for Failure {
    fn from(errors: Vec<ConfigError>) -> Self {
        Self::Config(errors)
    }
}

/// Runs the program with these arguments, its own name first. Returns the exit status.
pub fn run(arguments: Vec<OsString>) -> u8 {
    // The children that may be left behind.
    match arguments.as_slice() {
        [_, command, root, path, value] if command == STEP_WRITE => {
            return step_write(root, &path.to_string_lossy(), &value.to_string_lossy());
        }
        [_, command, root, paths @ ..] if command == STEP_READ => return step_read(root, paths),
        [_, command, root, path] if command == STEP_READ_DEVICE => {
            return step_read_device(root, &path.to_string_lossy());
        }
        _ => {}
    }
    let mut output = Output::new(arguments.iter().any(|argument| argument == "--json"));
    let exit = dispatch(arguments, &mut output);
    output.finish(exit).code()
}

fn dispatch(arguments: Vec<OsString>, output: &mut Output) -> Exit {
    let arguments = match arguments::parse(arguments) {
        Parsed::Run(arguments) => arguments,
        Parsed::Help(text) => {
            output.result(&text);
            return Exit::Ok;
        }
        Parsed::Wrong(message) => return output.fail(Exit::Usage, &[message]),
    };
    if arguments.verbose {
        output::log_to_standard_error();
    }
    output.quiet = arguments.quiet;
    let result = match Room::open(&arguments.root) {
        Ok(mut room) => perform(&mut room, &arguments.command, output),
        Err(message) => {
            return output.fail(Exit::System, &[format!("cannot open the machine at {}: {message}", arguments.root)]);
        }
    };
    match result {
        Ok(exit) => exit,
        Err(Failure::Config(errors)) => {
            output.fail(Exit::Usage, &errors.iter().map(ToString::to_string).collect::<Vec<_>>())
        }
        Err(Failure::Machine(error)) => output.fail(Exit::System, &[error.to_string()]),
        Err(Failure::Said(exit, message)) => output.fail(exit, &[message]),
    }
}

fn perform(room: &mut Room, command: &Command, output: &mut Output) -> Result<Exit, Failure> {
    match command {
        Command::Claim(options) => claim::run(room, options, output),
        Command::Bind(options) => hand::run_bind(room, options, output),
        Command::Release(options) => hand::run_release(room, options, output),
        Command::Status(options) => status::run(room.machine(), options, output),
        Command::Check(options) => check::run(room.machine(), options, output),
        Command::Groups(options) => groups::run(room.machine(), options, output),
        Command::Rom(options) => rom::run(room, options, output),
        Command::Detect(_) => detect::run(room.machine(), output),
        Command::Libvirt(options) => libvirt::run(room.machine(), &options.address, output),
        Command::Snapshot(options) => snapshot::run(room.machine(), options, output),
        Command::Modules(options) => modules::run(room.machine(), options, output),
    }
}

/// The machine that is examined.
enum Room {
    Host(Host),
    Recorded(Recorded),
}

impl Room {
    fn machine(&self) -> &dyn Machine {
        match self {
            Self::Host(host) => host,
            Self::Recorded(recorded) => recorded,
        }
    }

    /// How large a recorded machine may be.
    const MOST: usize = 256 * 1024 * 1024;

    /// The machine at `root`: a directory, or a file that records one.
    fn open(root: &str) -> Result<Self, String> {
        match Host::open(root.as_ref()) {
            Ok(host) => Ok(Self::Host(host)),
            Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => {
                // The file itself lies on the host, whatever it records.
                let here = Host::open("/".as_ref()).map_err(|error| error.to_string())?;
                let content = here.read(root, Self::MOST).map_err(|error| error.to_string())?;
                if !Recorded::recognises(&content) {
                    return Err("it is neither a directory nor a recorded machine".to_owned());
                }
                Recorded::parse(&content).map(Self::Recorded).map_err(|error| error.to_string())
            }
            Err(error) => Err(error.to_string()),
        }
    }
}
