// SPDX-License-Identifier: MIT OR Apache-2.0
//! What several modules of tests use.

pub(crate) mod case;
pub(crate) mod disk;
pub(crate) mod drivers;
pub(crate) mod exposition;
pub(crate) mod files;
pub(crate) mod json;
pub(crate) mod logger;
pub(crate) mod mdoc;
pub(crate) mod program;
pub(crate) mod sketch;
pub(crate) mod text;
pub(crate) mod time;
pub(crate) mod usage;
