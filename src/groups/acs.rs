// SPDX-License-Identifier: MIT OR Apache-2.0
//! Access Control Services (ACS): the controls that a function implements, and those that are enabled.

use std::fmt;

use crate::json::Json;
use crate::pci::capability::{ACCESS_CONTROL, ConfigSpace, Unreadable};

/// A set of ACS controls, as the capability and control registers hold them (PCI Express Base Specification, ACS
/// Extended Capability).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Controls(pub u16);

const NAMES: [&str; 7] = ["SV", "TB", "RR", "CR", "UF", "EC", "DT"];

impl Controls {
    /// Source Validation, Request Redirect, Completion Redirect, Upstream Forwarding: the controls that the kernel requires
    /// of a function that isolates (drivers/iommu/iommu.c, `REQ_ACS_FLAGS`).
    pub const REQUIRED: Self = Self(0x1d);

    /// Source Validation.
    pub const SOURCE_VALIDATION: Self = Self(0x01);

    /// The controls in both sets.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The controls of this set that are not in the other.
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether the set is empty.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether the control with this bit number is in the set.
    fn has(self, bit: u32) -> bool {
        self.0.wrapping_shr(bit) & 1 != 0
    }

    /// The flags with which `pci=config_acs=` enables these controls and leaves the others unchanged: one character for each
    /// bit, the highest first (drivers/pci/pci.c, `__pci_config_acs`).
    pub fn config_acs_flags(self) -> String {
        (0..7).rev().map(|bit| if self.has(bit) { '1' } else { 'x' }).collect()
    }
}

/// The short names, in the order of the bits.
impl fmt::Display for Controls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (name, bit) in NAMES.iter().zip(0..) {
            if self.has(bit) {
                f.write_str(separator)?;
                f.write_str(name)?;
                separator = " ";
            }
        }
        if separator.is_empty() { f.write_str("none") } else { Ok(()) }
    }
}

impl Json for Controls {
    fn json(&self, out: &mut String) {
        let names = self.to_string();
        let list: Vec<&str> = if self.is_empty() { Vec::new() } else { names.split(' ').collect() };
        list.json(out);
    }
}

/// The ACS capability of one function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acs {
    /// The controls that the function implements.
    pub implemented: Controls,
    /// The controls that are enabled.
    pub enabled: Controls,
}

impl Acs {
    /// The capability in `config`; `None` if the function has none.
    ///
    /// `wide`: the registers are 32 bits wide, as in the root ports of some Intel chipsets, contrary to the specification
    /// (drivers/pci/quirks.c, `INTEL_SPT_ACS_CTRL`).
    pub fn read(config: ConfigSpace<'_>, wide: bool) -> Result<Option<Self>, Unreadable> {
        let Some(offset) = config.extended_capability(ACCESS_CONTROL)? else { return Ok(None) };
        let control = if wide { 8 } else { 6 };
        let register = |at: usize| config.u16(offset.saturating_add(at)).map(Controls);
        Ok(Some(Self { implemented: register(4)?, enabled: register(control)? }))
    }

    /// The required controls that are implemented but disabled. A control that is not implemented counts as enabled: the
    /// specification makes it optional only where the traffic that it controls cannot occur.
    pub fn disabled(self) -> Controls {
        Controls::REQUIRED.and(self.implemented).without(self.enabled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controls_have_the_names_of_the_specification() {
        assert_eq!(Controls(0x7f).to_string(), "SV TB RR CR UF EC DT");
        assert_eq!(Controls::REQUIRED.to_string(), "SV RR CR UF");
        assert_eq!(Controls(0).to_string(), "none");
        assert_eq!(Controls::REQUIRED.config_acs_flags(), "xx111x1");
        assert_eq!(Controls(0x0c).config_acs_flags(), "xxx11xx");
    }

    #[test]
    fn only_implemented_controls_can_be_disabled() {
        let acs = Acs { implemented: Controls(0x0c), enabled: Controls(0x04) };
        assert_eq!(acs.disabled(), Controls(0x08));
    }
}
