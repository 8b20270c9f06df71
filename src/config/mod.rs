// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the user wishes: claims and settings, from files and from the kernel command line.

mod model;

pub use model::{
    Claim, Config, ConfigError, Driver, Framebuffer, Guard, Iommu, OnFailure, Options, Origin, Selector, Settings, With,
};
