// SPDX-License-Identifier: MIT OR Apache-2.0
//! The command line: arguments in, one exit status out.

mod arguments;
mod claim;
mod output;
mod status;

use std::ffi::OsString;

use crate::config::ConfigError;
use crate::door::{Door, Error, Host, Recorded, STEP_READ, STEP_WRITE, step_read, step_write};

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
enum Failure {
    /// The configuration cannot be understood; nothing was changed.
    Config(Vec<ConfigError>),
    /// The machine failed us.
    Door(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Door(error)
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
        _ => {}
    }
    let mut output = Output::default();
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
        Parsed::Wrong(message) => {
            output.note(&message);
            return Exit::Usage;
        }
    };
    if arguments.verbose {
        let logger = simple_logger::SimpleLogger::new().with_level(log::LevelFilter::Debug);
        // A second logger is the only error, and there is none.
        let _ = logger.init();
    }
    output.quiet = arguments.quiet;
    let command = arguments.command;
    let result = match Room::open(&arguments.root) {
        Ok(Room::Host(mut host)) => match command {
            Command::Claim(options) => claim::run(&mut claim::Machine::Host(&mut host), &options, output),
            Command::Status(options) => status::run(&host, &options, output),
        },
        Ok(Room::Recorded(recorded)) => match command {
            Command::Claim(options) => claim::run(&mut claim::Machine::Recorded(&recorded), &options, output),
            Command::Status(options) => status::run(&recorded, &options, output),
        },
        Err(message) => {
            output.note(&format!("vfio-early: cannot open the machine at {}: {message}", arguments.root));
            return Exit::System;
        }
    };
    match result {
        Ok(exit) => exit,
        Err(Failure::Config(errors)) => {
            for error in errors {
                output.note(&format!("vfio-early: {error}"));
            }
            Exit::Usage
        }
        Err(Failure::Door(error)) => {
            output.note(&format!("vfio-early: {error}"));
            Exit::System
        }
    }
}

/// The machine that is examined.
enum Room {
    Host(Host),
    Recorded(Recorded),
}

impl Room {
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
