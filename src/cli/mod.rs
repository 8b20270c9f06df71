// SPDX-License-Identifier: MIT OR Apache-2.0
//! The command line: arguments in, one exit status out.

mod arguments;
mod check;
mod claim;
mod confirm;
mod detect;
mod groups;
mod guest;
mod modules;
mod output;
mod rom;
mod snapshot;
mod status;

use std::ffi::OsString;

use crate::exit::{Exit, Failure};
use crate::machine::{HELPER, Host, Machine, Recorded, helper};

use arguments::{Command, Parsed};
use output::Output;

/// Runs the program with these arguments, its own name first. Returns the exit status.
pub fn run(arguments: Vec<OsString>) -> u8 {
    // The process that may be left behind.
    if let [_, command, root] = arguments.as_slice() {
        if command == HELPER {
            return helper(root);
        }
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
    let mut machine = match OpenMachine::open(&arguments.root) {
        Ok(machine) => machine,
        Err(message) => {
            return output.fail(Exit::System, &[format!("cannot open the machine at {}: {message}", arguments.root)]);
        }
    };
    match run_command(&mut machine, &arguments.command, output) {
        Ok(exit) => exit,
        Err(failure) => output.fail(failure.exit(), &failure.messages()),
    }
}

fn run_command(machine: &mut OpenMachine, command: &Command, output: &mut Output) -> Result<Exit, Failure> {
    match command {
        Command::Claim(options) => claim::claim(machine, options, output),
        Command::Bind(options) => claim::bind(machine, options, output),
        Command::Release(options) => claim::release(machine, options, output),
        Command::Status(options) => status::run(machine.get(), options, output),
        Command::Check(options) => check::run(machine.get(), options, output),
        Command::Groups(options) => groups::run(machine.get(), options, output),
        Command::Rom(options) => rom::run(machine, options, output),
        Command::Detect(options) => detect::run(machine.get(), options, output),
        Command::Guest(options) => guest::run(machine.get(), options, output),
        Command::Libvirt(options) => guest::libvirt(machine.get(), &options.address, output),
        Command::Snapshot(options) => snapshot::run(machine.get(), options, output),
        Command::Modules(options) => modules::run(machine.get(), options, output),
        Command::Confirm(options) => confirm::run(machine, options, output),
    }
}

/// The machine that is examined.
enum OpenMachine {
    Host(Host),
    Recorded(Recorded),
}

impl OpenMachine {
    fn get(&self) -> &dyn Machine {
        match self {
            Self::Host(host) => host,
            Self::Recorded(recorded) => recorded,
        }
    }

    /// How large a recorded machine may be.
    const MAX_RECORDING: usize = 256 * 1024 * 1024;

    /// The machine at `root`: a directory, or a file that records one.
    fn open(root: &str) -> Result<Self, String> {
        match Host::open(root.as_ref()) {
            Ok(host) => Ok(Self::Host(host)),
            Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => {
                // The file itself lies on the host, whatever it records.
                let here = Host::open("/".as_ref()).map_err(|error| error.to_string())?;
                let content = here.read(root, Self::MAX_RECORDING).map_err(|error| error.to_string())?;
                if !Recorded::recognises(&content) {
                    return Err("it is neither a directory nor a recorded machine".to_owned());
                }
                Recorded::parse(&content).map(Self::Recorded).map_err(|error| error.to_string())
            }
            Err(error) => Err(error.to_string()),
        }
    }
}
