// SPDX-License-Identifier: MIT OR Apache-2.0
//! A list of problems with a maximum length.

use super::{ConfigError, Origin};

/// The maximum number of problems: a file that is no configuration must not flood the kernel log.
const MAX_PROBLEMS: usize = 100;

/// Problems in the order in which they were found.
#[derive(Debug, Default)]
pub(super) struct Problems(Vec<ConfigError>);

impl Problems {
    /// Whether there are no problems.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the maximum is reached, so that further problems are dropped.
    pub(super) fn is_full(&self) -> bool {
        self.0.len() > MAX_PROBLEMS
    }

    /// The problems.
    pub(super) fn into_vec(self) -> Vec<ConfigError> {
        self.0
    }

    /// Adds a problem, unless the maximum is reached.
    pub(super) fn add(&mut self, origin: &Origin, message: impl Into<String>) {
        let message = match self.0.len() {
            ..MAX_PROBLEMS => message.into(),
            MAX_PROBLEMS => "too many problems; the rest is not reported".to_owned(),
            _ => return,
        };
        self.0.push(ConfigError { origin: origin.clone(), message });
    }
}
