// SPDX-License-Identifier: MIT OR Apache-2.0
//! A list of problems that stays short.

use super::{ConfigError, Origin};

/// The most problems that are told one by one: a file of another kind must not flood the kernel log.
const MOST: usize = 100;

/// What is wrong, in the order in which it was found.
#[derive(Debug, Default)]
pub(super) struct Problems(pub(super) Vec<ConfigError>);

impl Problems {
    /// Whether nothing more is taken in, so that it is no use to look for more.
    pub(super) fn is_full(&self) -> bool {
        self.0.len() > MOST
    }

    /// Adds a problem, unless there are too many already.
    pub(super) fn add(&mut self, origin: &Origin, message: impl Into<String>) {
        let message = match self.0.len() {
            ..MOST => message.into(),
            MOST => "too many problems; the rest is not looked at".to_owned(),
            _ => return,
        };
        self.0.push(ConfigError { origin: origin.clone(), message });
    }
}
