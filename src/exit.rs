// SPDX-License-Identifier: MIT OR Apache-2.0
//! How the program ends, the same for every command, and why a command ends early.

use crate::config::ConfigError;
use crate::machine;

/// The exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// All is as configured or asked.
    Ok = 0,
    /// A claim or a request was not met.
    NotMet = 1,
    /// Bad usage or bad configuration; nothing was changed.
    Usage = 2,
    /// The IOMMU is absent or disabled; nothing was changed.
    Unprotected = 3,
    /// System error.
    System = 4,
}

impl Exit {
    /// The number that the shell sees.
    pub fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::NotMet => 1,
            Self::Usage => 2,
            Self::Unprotected => 3,
            Self::System => 4,
        }
    }
}

/// Why a command ended before it could do its work.
#[derive(Debug)]
pub enum Failure {
    /// The configuration cannot be understood; nothing was changed.
    Config(Vec<ConfigError>),
    /// The machine could not be read.
    Machine(machine::Error),
    /// Anything else, as an exit status and a message.
    Message(Exit, String),
}

impl Failure {
    /// The exit status.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Config(_) => Exit::Usage,
            Self::Machine(_) => Exit::System,
            Self::Message(exit, _) => *exit,
        }
    }

    /// What went wrong, a line each.
    pub fn messages(&self) -> Vec<String> {
        match self {
            Self::Config(errors) => errors.iter().map(ToString::to_string).collect(),
            Self::Machine(error) => vec![error.to_string()],
            Self::Message(_, message) => vec![message.clone()],
        }
    }
}

impl From<machine::Error> for Failure {
    fn from(error: machine::Error) -> Self {
        Self::Machine(error)
    }
}

impl From<Vec<ConfigError>> for Failure {
    fn from(errors: Vec<ConfigError>) -> Self {
        Self::Config(errors)
    }
}
