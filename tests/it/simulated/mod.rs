// SPDX-License-Identifier: MIT OR Apache-2.0
//! A machine that does what Linux would do: the third implementation of [`Machine`], beside the host and the recorded one.
//!
//! The state is one [`Tree`] that looks like /sys, /proc and the rest, and what the kernel knows beside it: drivers,
//! modules, who holds which lock. A write has the effect that the kernel's store function would have, and the errors are
//! the kernel's. On top of that every single operation can be made to fail, to hang, or to find its device gone.
//!
//! A mock stands only where the real part cannot run, and says so. Here that is the kernel: no test can pull a card, make a
//! driver hang, or fail the third write of a boot on a real one. Everything else is the program itself.
//! What is simulated is simple on purpose: one thing happens at a time, locks are granted in the order in which they were
//! asked for, and time passes only where somebody waits. What it does was read in the sources of three kernels
//! ([`Version`]); each place names the file and the function. The real boots show that Linux behaves as this machine does.

mod attributes;
mod build;
mod device;
mod driver;
mod efivarfs;
mod faults;
mod framebuffer;
mod held;
mod kernel;
mod links;
mod modprobe;
mod modules;
mod recorded;
mod reset;
mod resize;
mod sriov;
mod tests;
mod version;
mod vfio;

use std::cell::{Ref, RefCell};
use std::io;
use std::time::Duration;

use nix::errno::Errno;
use vfio_early::machine::{Error, Machine, Operation, Result, Tree};

pub(crate) use build::{
    ACCELERATOR, Builder, Function, GPU, GPU_AUDIO, GPU_UCSI, GPU_USB, IGB, IGPU, NIC, NVME, QAT, SATA, XE,
};
pub(crate) use driver::{Outcome, Probe};
pub(crate) use efivarfs::{Firmware, Obstacle};
pub(crate) use faults::{Fault, Hang, Killed, Kind, Lasts, Trouble};
pub(crate) use kernel::State;
pub(crate) use modules::Place;
pub(crate) use sriov::Event;
pub(crate) use version::Version;

use crate::support::logger;
use kernel::Stop;

/// One operation that the program asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Which one.
    pub(crate) operation: Operation,
    /// The path, or the module's name.
    pub(crate) object: String,
    /// What was written or saved.
    pub(crate) value: Option<String>,
    /// Whether the caller was told that it succeeded.
    pub(crate) ok: bool,
}

impl Entry {
    /// Whether it could change the machine.
    pub(crate) fn changes(&self) -> bool {
        matches!(self.operation, Operation::Write | Operation::Load | Operation::Save | Operation::Mount)
    }
}

/// The simulated machine.
#[derive(Clone, Debug)]
pub(crate) struct SimulatedMachine {
    state: RefCell<State>,
    log: RefCell<Vec<Entry>>,
    faults: RefCell<Vec<Trouble>>,
    waited: RefCell<Waited>,
}

/// How long the program waited for what did not come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Waited {
    /// How often it waited for as long as a step may take.
    pub(crate) limits: usize,
    /// How often it waited for a moment, behind something that hangs.
    pub(crate) moments: usize,
    /// For how long it paused.
    pub(crate) paused: Duration,
}

/// How long the caller of an operation waits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Patience {
    /// For ever.
    Endless,
    /// As long as a step may take.
    Limit,
    /// A moment.
    Moment,
}

impl SimulatedMachine {
    fn new(state: State) -> Self {
        logger::start();
        Self {
            state: RefCell::new(state),
            log: RefCell::default(),
            faults: RefCell::default(),
            waited: RefCell::default(),
        }
    }

    /// Makes something go wrong from now on; operations count from 1 again.
    pub(crate) fn trouble(&self, fault: Fault) {
        self.calm();
        self.more_trouble(fault);
    }

    /// Makes something else go wrong as well. Where two would, at one operation, the first does.
    pub(crate) fn more_trouble(&self, fault: Fault) {
        self.faults.borrow_mut().push(Trouble::new(fault));
    }

    /// Nothing goes wrong any more; operations count from 1 again. What was broken stays broken.
    pub(crate) fn calm(&self) {
        self.log.borrow_mut().clear();
        self.faults.borrow_mut().clear();
        *self.waited.borrow_mut() = Waited::default();
    }

    /// How long the program waited since the operations were counted from 1.
    pub(crate) fn waited(&self) -> Waited {
        *self.waited.borrow()
    }

    /// Whether something that hangs holds a device's lock.
    pub(crate) fn is_locked(&self, address: &str) -> bool {
        self.state.borrow().is_locked(address)
    }

    /// Whether the fault that was asked for has happened.
    pub(crate) fn troubled(&self) -> bool {
        self.faults.borrow().iter().any(Trouble::happened)
    }

    /// Everything that the program asked for, in order.
    pub(crate) fn log(&self) -> Vec<Entry> {
        self.log.borrow().clone()
    }

    /// What the program asked for and could change something.
    pub(crate) fn changes(&self) -> Vec<Entry> {
        self.log.borrow().iter().filter(|entry| entry.changes()).cloned().collect()
    }

    /// The machine's files as they are now.
    pub(crate) fn tree(&self) -> Ref<'_, Tree> {
        Ref::map(self.state.borrow(), |state| &state.tree)
    }

    /// Changes the machine behind the program's back.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.borrow_mut())
    }

    /// Lets everything that hung come to its end, in the order in which it was asked for.
    pub(crate) fn settle(&self) {
        self.change(State::release_all);
    }

    /// What udev does once the real root is there: loads the modules of every device, those of the real root too.
    pub(crate) fn coldplug(&self) {
        self.change(|state| {
            state.release_all();
            state.coldplug();
        });
    }

    /// The driver that holds a PCI device.
    pub(crate) fn driver(&self, address: &str) -> Option<String> {
        self.state.borrow().driver_of("pci", address)
    }

    /// The driver override of a PCI device.
    pub(crate) fn driver_override(&self, address: &str) -> Option<String> {
        self.state.borrow().override_of("pci", address)
    }

    /// The addresses of the PCI devices.
    pub(crate) fn devices(&self) -> Vec<String> {
        self.state.borrow().devices("pci")
    }

    /// Every probe that happened: driver, device, how it ended.
    pub(crate) fn probes(&self) -> Vec<(String, String, Outcome)> {
        self.state.borrow().probes.clone()
    }

    /// Reads that would have hung the program for ever, because the kernel holds the device's lock.
    pub(crate) fn deadlocks(&self) -> Vec<String> {
        self.state.borrow().deadlocks.clone()
    }

    /// What `modprobe MODULE ARGUMENT...` does for whoever calls it; it is not counted as an operation of the program.
    pub(crate) fn modprobe(&self, module: &str, arguments: &[&str]) -> std::result::Result<(), Stop> {
        let arguments: Vec<String> = arguments.iter().map(|word| (*word).to_owned()).collect();
        self.change(|state| state.modprobe(module, &arguments))
    }

    /// Does one operation: counts it, lets the fault happen, does it, and records it.
    fn operate<T>(
        &self,
        operation: Operation,
        object: &str,
        value: Option<&str>,
        patience: Patience,
        act: impl FnOnce(&mut State) -> std::result::Result<T, Stop>,
    ) -> Result<T> {
        let number = self.log.borrow().len() + 1;
        let bounded = patience != Patience::Endless;
        let mut kinds = self.faults.borrow_mut();
        let kind = kinds.iter_mut().find_map(|trouble| trouble.at(number, operation, object, bounded));
        drop(kinds);
        if kind == Some(Kind::Kill) {
            std::panic::resume_unwind(Box::new(Killed));
        }
        let mut state = self.state.borrow_mut();
        let result = match kind {
            None | Some(Kind::Kill) => act(&mut state),
            Some(Kind::Vanish(device)) => {
                state.vanish(&device);
                act(&mut state)
            }
            Some(Kind::Fail(errno)) => Err(Stop::Errno(errno)),
            Some(Kind::FailAfterwards(errno)) => act(&mut state).and(Err(Stop::Errno(errno))),
            Some(Kind::Hang(Hang::Lost)) => Err(Stop::Hung),
            Some(Kind::Hang(Hang::Done)) => act(&mut state).and(Err(Stop::Hung)),
            // Behind a spinlock nobody waits for long: whatever came late was the process.
            Some(Kind::Hang(Hang::Late)) if operation == Operation::Write && state.never_waits(object) => {
                act(&mut state).and(Err(Stop::Hung))
            }
            Some(Kind::Hang(Hang::Late)) => {
                // A reader that was given up leaves nothing behind.
                if operation != Operation::Read {
                    state.hold(operation, object, value.unwrap_or_default());
                }
                Err(Stop::Hung)
            }
        };
        if matches!(result, Err(Stop::Hung)) {
            let mut waited = self.waited.borrow_mut();
            match patience {
                Patience::Endless => state.deadlocks.push(object.to_owned()),
                Patience::Limit => waited.limits += 1,
                Patience::Moment => waited.moments += 1,
            }
        }
        let result = result.map_err(|stop| match stop {
            Stop::Errno(errno) => Error::os(operation, object, errno),
            Stop::Number(number) => Error::new(operation, object, io::Error::from_raw_os_error(number)),
            Stop::Said(words) => Error::other(operation, object, words),
            Stop::Hung => Error::new(operation, object, io::Error::new(io::ErrorKind::TimedOut, "timed out")),
        });
        log::debug!("{operation:?} {object} {}: {:?}", value.unwrap_or_default(), result.as_ref().err());
        let value = value.map(ToOwned::to_owned);
        self.log.borrow_mut().push(Entry { operation, object: object.to_owned(), value, ok: result.is_ok() });
        result
    }
}

impl Machine for SimulatedMachine {
    fn attribute(&self, path: &str) -> Result<Vec<u8>> {
        self.read_prefix(path, 4096)
    }

    fn read(&self, path: &str, limit: usize) -> Result<Vec<u8>> {
        self.operate(Operation::Read, path, None, Patience::Endless, |state| {
            let content = state.show(path)?;
            if content.len() > limit { Err(Errno::EFBIG.into()) } else { Ok(content) }
        })
    }

    fn read_prefix(&self, path: &str, most: usize) -> Result<Vec<u8>> {
        self.operate(Operation::Read, path, None, Patience::Endless, |state| {
            let mut content = state.show(path)?;
            content.truncate(most);
            Ok(content)
        })
    }

    fn read_device(&self, path: &str, limit: usize) -> Result<Vec<u8>> {
        self.operate(Operation::Read, path, None, Patience::Limit, |state| {
            let content = state.show(path)?;
            if content.len() > limit { Err(Errno::EFBIG.into()) } else { Ok(content) }
        })
    }

    fn list(&self, path: &str) -> Result<Vec<String>> {
        self.operate(Operation::List, path, None, Patience::Endless, |state| Ok(state.tree.list(path)?))
    }

    fn link(&self, path: &str) -> Result<String> {
        self.operate(Operation::Link, path, None, Patience::Endless, |state| Ok(state.tree.link(path)?.to_owned()))
    }

    fn write(&self, path: &str, value: &str) -> Result<()> {
        // Only a write to /sys is done by a child that can be left behind.
        let patience = if path.starts_with("/sys/") { Patience::Limit } else { Patience::Endless };
        self.operate(Operation::Write, path, Some(value), patience, |state| state.store(path, value))
    }

    fn queue_write(&self, path: &str, value: &str) -> Result<()> {
        self.operate(Operation::Write, path, Some(value), Patience::Moment, |state| state.store(path, value))
    }

    fn locked_attributes(&self, paths: &[String]) -> Vec<Result<Vec<u8>>> {
        // One child reads them all; from the one that hangs on, nothing comes.
        let mut late = false;
        let read = |path: &String| {
            if late {
                return Err(Error::os(Operation::Read, path, Errno::ETIMEDOUT));
            }
            let result = self.operate(Operation::Read, path, None, Patience::Limit, |state| state.show(path));
            late = result.as_ref().is_err_and(Error::is_timeout);
            result
        };
        paths.iter().map(read).collect()
    }

    fn pause(&self, time: Duration) {
        self.waited.borrow_mut().paused += time;
        self.change(State::pause);
    }

    fn load(&self, module: &str, options: &[&str]) -> Result<()> {
        self.operate(Operation::Load, module, None, Patience::Limit, |state| {
            let options: Vec<String> = options.iter().map(ToString::to_string).collect();
            state.modprobe(module, &options)
        })
    }

    fn write_variable(&self, path: &str, content: &[u8]) -> Result<()> {
        let value = String::from_utf8_lossy(content).into_owned();
        self.operate(Operation::Write, path, Some(&value), Patience::Limit, |state| state.write_variable(path, content))
    }

    fn set_immutable(&self, path: &str, immutable: bool) -> Result<()> {
        let value = if immutable { "immutable" } else { "mutable" };
        self.operate(Operation::Write, path, Some(value), Patience::Limit, |state| state.set_immutable(path, immutable))
    }

    fn mount(&self, file_system: &str, path: &str) -> Result<()> {
        self.operate(Operation::Mount, path, Some(file_system), Patience::Limit, |state| state.mount(file_system, path))
    }

    fn save(&self, path: &str, content: &[u8]) -> Result<()> {
        let value = String::from_utf8_lossy(content).into_owned();
        self.operate(Operation::Save, path, Some(&value), Patience::Endless, |state| state.save(path, content))
    }
}
