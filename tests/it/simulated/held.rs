// SPDX-License-Identifier: MIT OR Apache-2.0
//! What hangs: a step that does not come back keeps the device's lock, and everything else that wants the lock waits
//! behind it. A writer that was given up still stands in the queue; its write happens when its turn comes.

use vfio_early::machine::Operation;
use vfio_early::trial::VARIABLES;

use super::driver::{Driver, DynamicId};
use super::kernel::{State, Stop};

/// One thing that hangs.
#[derive(Clone, Debug)]
enum Hanging {
    /// A write or a module load that has not begun.
    Step(Operation, String, String),
    /// A probe that does not come back.
    Probe(Driver, String),
    /// A driver that is being registered while one of its probes hangs, the device that comes next, and the IDs that the
    /// module was given and that come then.
    Registration(Driver, String, Vec<DynamicId>),
    /// Virtual functions that are being made while one of them hangs in its probe: the physical function, the next one,
    /// and how many there shall be.
    Making(String, u16, u16),
}

/// Everything that hangs, in the order in which it was asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Held {
    hanging: Vec<Hanging>,
    /// Devices whose lock is held.
    locked: Vec<String>,
}

impl Held {
    pub(super) fn probing(&mut self, driver: Driver, device: &str) {
        self.locked.push(device.to_owned());
        self.hanging.push(Hanging::Probe(driver, device.to_owned()));
    }

    pub(super) fn registering(&mut self, driver: Driver, next: String, ids: Vec<DynamicId>) {
        self.hanging.push(Hanging::Registration(driver, next, ids));
    }

    /// `sriov_numvfs_store` holds the physical function's lock to its end.
    pub(super) fn making(&mut self, device: &str, next: u16, number: u16) {
        self.locked.push(device.to_owned());
        self.hanging.push(Hanging::Making(device.to_owned(), next, number));
    }

    /// The device is gone, and whoever waited for it with it.
    pub(super) fn forget(&mut self, device: &str) {
        self.locked.retain(|locked| locked != device);
        self.hanging.retain(|hanging| !{
            matches!(hanging, Hanging::Probe(_, name) | Hanging::Making(name, ..) if name == device)
        });
    }

    /// Whether a module's driver is still being registered.
    pub(super) fn is_registering(&self, driver: &str) -> bool {
        self.hanging.iter().any(|hanging| matches!(hanging, Hanging::Registration(known, ..) if known.name == driver))
    }
}

impl State {
    /// The device's lock, if it is free.
    pub(super) fn lock(&self, device: &str) -> Result<(), Stop> {
        if self.is_locked(device) { Err(Stop::Hung) } else { Ok(()) }
    }

    /// Whether something that hangs holds the device's lock.
    pub(super) fn is_locked(&self, device: &str) -> bool {
        self.held.locked.iter().any(|locked| locked == device)
    }

    /// A step that hangs before it has an effect. The device that it is about stays locked.
    pub(super) fn hold(&mut self, operation: Operation, object: &str, value: &str) {
        if operation == Operation::Write {
            if let Some(device) = self.device_of(object, value) {
                self.held.locked.push(device);
            }
        }
        self.queue(operation, object, value);
    }

    /// A step that waits for a lock.
    pub(super) fn queue(&mut self, operation: Operation, object: &str, value: &str) {
        self.held.hanging.push(Hanging::Step(operation, object.to_owned(), value.to_owned()));
    }

    /// Everything comes to its end.
    pub(super) fn release_all(&mut self) {
        while !self.held.hanging.is_empty() {
            let held = std::mem::take(&mut self.held);
            for hanging in held.hanging {
                match hanging {
                    // Nobody waits for the result any more.
                    Hanging::Step(Operation::Write, path, value) if path.starts_with(VARIABLES) => {
                        let _ = match value.as_str() {
                            "immutable" | "mutable" => self.set_immutable(&path, value == "immutable"),
                            content => self.write_variable(&path, content.as_bytes()),
                        };
                    }
                    Hanging::Step(Operation::Mount, path, file_system) => {
                        let _ = self.mount(&file_system, &path);
                    }
                    Hanging::Step(Operation::Write, path, value) => {
                        let _ = self.store(&path, &value);
                    }
                    Hanging::Step(_, module, arguments) => {
                        let arguments: Vec<String> = arguments.split_whitespace().map(ToOwned::to_owned).collect();
                        let _ = self.modprobe(&module, &arguments);
                    }
                    Hanging::Probe(driver, device) => self.end_probe(&driver, &device),
                    Hanging::Registration(driver, next, ids) => match self.attach_from(&driver, &next) {
                        Ok(()) => {
                            self.finish_registration(&driver);
                            let _ = self.give_ids(&driver.name, ids);
                        }
                        Err((_, next)) => self.held.registering(driver, next, ids),
                    },
                    Hanging::Making(device, next, number) => {
                        let _ = self.enable_sriov(&device, next, number);
                    }
                }
            }
        }
    }
}
