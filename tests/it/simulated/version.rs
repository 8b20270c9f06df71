// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which kernel the machine runs. Where the three differ, the code says in which file and function.

/// A kernel whose source the model was held against: Debian's 6.1.176, 6.12.117 and 7.2.13.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Version {
    /// Debian 12.
    V6_1,
    /// Debian 13.
    #[default]
    V6_12,
    /// The newest.
    V7_2,
}

impl Version {
    pub(crate) const ALL: [Self; 3] = [Self::V6_1, Self::V6_12, Self::V7_2];

    /// The first two numbers, with the dot that comes next.
    pub(super) fn number(self) -> &'static str {
        match self {
            Self::V6_1 => "6.1.",
            Self::V6_12 => "6.12.",
            Self::V7_2 => "7.2.",
        }
    }

    /// What `uname -r` prints.
    pub(crate) fn release(self) -> &'static str {
        match self {
            Self::V6_1 => "6.1.176-sim",
            Self::V6_12 => "6.12.117-sim",
            Self::V7_2 => "7.2.13-sim",
        }
    }
}
