// SPDX-License-Identifier: MIT OR Apache-2.0
//! Why a step failed, and why a claim did.

use std::fmt;

use crate::machine;
use crate::pci::Address;
use crate::plan::StepKind;

/// A step that failed. Prints as the reason alone; what and on which device stand beside it in every report.
#[derive(Debug)]
pub struct StepError {
    /// What was being done.
    pub step: StepKind,
    /// On which device; none for a module.
    pub device: Option<Address>,
    /// Why it failed.
    pub cause: Cause,
}

/// Why a step failed.
#[derive(Debug)]
pub enum Cause {
    /// The system refused an operation.
    System(machine::Error),
    /// The module loaded and registered no PCI driver of this name.
    NoSuchDriver(String),
    /// The device is bound to this driver, or to none, instead of its own.
    BoundTo(Option<String>),
    /// The device is still bound to this driver for guests after it was given back.
    StillBoundTo(String),
    /// The BAR has another size than was written.
    BarSize,
    /// Too many steps before it hung.
    NotTried {
        /// How many.
        hung: usize,
    },
    /// Its option ROM could not be saved, and why.
    OptionRom(String),
}

impl StepError {
    /// The rights for the step are missing.
    pub fn is_denied(&self) -> bool {
        matches!(&self.cause, Cause::System(error) if error.is_denied())
    }

    /// The system's error number.
    pub fn errno(&self) -> Option<i32> {
        if let Cause::System(error) = &self.cause { error.source.raw_os_error() } else { None }
    }

    /// The step did not end in time.
    pub fn is_timeout(&self) -> bool {
        matches!(&self.cause, Cause::System(error) if error.is_timeout())
    }
}

impl From<machine::Error> for Cause {
    fn from(error: machine::Error) -> Self {
        Self::System(error)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System(error) => error.fmt(f),
            Self::NoSuchDriver(driver) => {
                write!(f, "the module of {driver} loaded, but registered no PCI driver of that name")
            }
            Self::BoundTo(Some(driver)) => write!(f, "the device is bound to {driver}"),
            Self::BoundTo(None) => {
                f.write_str("the device is bound to no driver; the kernel log says why the probe failed")
            }
            Self::StillBoundTo(driver) => {
                write!(f, "the device is bound to {driver} (vfio-pci may know its ID from ids= or new_id)")
            }
            Self::BarSize => f.write_str("the BAR has another size"),
            Self::NotTried { hung } => write!(f, "not tried: {hung} steps before it hung"),
            Self::OptionRom(why) => f.write_str(why),
        }
    }
}

impl fmt::Display for StepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cause.fmt(f)
    }
}

impl std::error::Error for StepError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        if let Cause::System(error) = &self.cause { Some(error) } else { None }
    }
}

/// Why a device is not on its driver although its claim was carried out.
#[derive(Clone, Debug)]
pub enum ClaimError {
    /// A step failed: the first one counts.
    Step(std::rc::Rc<StepError>),
    /// The claim of another function of its card failed, and both were given back.
    GivenBackWith(Address),
    /// The driver that it is bound to cannot be determined.
    DriverUnknown(String),
    /// Every step was done, and it is bound to another driver or to none.
    BoundTo(Option<String>),
}

impl ClaimError {
    /// Every step was done, and the device is bound to no driver.
    pub fn is_without_driver(&self) -> bool {
        match self {
            Self::Step(error) => matches!(error.cause, Cause::BoundTo(None)),
            Self::BoundTo(driver) => driver.is_none(),
            Self::GivenBackWith(_) | Self::DriverUnknown(_) => false,
        }
    }
}

impl fmt::Display for ClaimError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Step(error) => error.fmt(f),
            Self::GivenBackWith(failed) => write!(f, "given back with {failed}, whose claim failed"),
            Self::DriverUnknown(why) => write!(f, "cannot determine the bound driver: {why}"),
            Self::BoundTo(driver) => Cause::BoundTo(driver.clone()).fmt(f),
        }
    }
}

impl std::error::Error for ClaimError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        if let Self::Step(error) = self { Some(error.as_ref()) } else { None }
    }
}
