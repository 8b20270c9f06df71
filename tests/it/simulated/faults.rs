// SPDX-License-Identifier: MIT OR Apache-2.0
//! What goes wrong, and when.

use nix::errno::Errno;
use vfio_early::machine::Operation;

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The operation fails and has no effect.
    Fail(Errno),
    /// The operation has its effect and fails all the same.
    FailAfterwards(Errno),
    /// The operation does not come back in time; those without a time limit succeed.
    Hang(Hang),
    /// This PCI device is pulled out just before the operation.
    Vanish(String),
    /// The program is killed just before the operation: it unwinds with [`Killed`].
    Kill,
}

/// What a run that is killed unwinds with.
pub(crate) struct Killed;

/// What becomes of an operation that was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hang {
    /// It never happens: the process was killed while it waited.
    Lost,
    /// It happened, only slowly.
    Done,
    /// It holds the device's lock, and happens when the machine settles.
    Late,
}

/// Something that goes wrong at one operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// The operation, from 1.
    pub(crate) at: usize,
    /// What.
    pub(crate) kind: Kind,
    /// For how long.
    pub(crate) lasts: Lasts,
}

/// How long something goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lasts {
    /// Once.
    Once,
    /// Whenever the same operation is done on the same object.
    ForThis,
    /// At every operation from then on.
    ForAll,
}

/// A fault and what it hit.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trouble {
    fault: Option<Fault>,
    hit: Option<(Operation, String)>,
}

impl Trouble {
    pub(super) fn new(fault: Fault) -> Self {
        Self { fault: Some(fault), hit: None }
    }

    /// Whether it has happened.
    pub(super) fn happened(&self) -> bool {
        self.hit.is_some()
    }

    /// What goes wrong at this operation.
    pub(super) fn at(&mut self, number: usize, operation: Operation, object: &str, bounded: bool) -> Option<Kind> {
        let fault = self.fault.as_ref()?;
        if number < fault.at || (!bounded && matches!(fault.kind, Kind::Hang(_))) {
            return None;
        }
        let again = match fault.lasts {
            Lasts::Once => false,
            Lasts::ForThis => self.hit.as_ref().is_some_and(|(known, path)| *known == operation && path == object),
            Lasts::ForAll => true,
        };
        if number > fault.at && !again {
            return None;
        }
        self.hit.get_or_insert_with(|| (operation, object.to_owned()));
        Some(fault.kind.clone())
    }
}
