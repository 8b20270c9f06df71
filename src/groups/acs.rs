// SPDX-License-Identifier: MIT OR Apache-2.0
//! Access Control Services: which controls a function has, and which are on.

use std::fmt;

use crate::pci::capability::{ACCESS_CONTROL, ConfigSpace, Unreadable};

/// A set of ACS controls, as the capability and control registers hold them (PCI Express Base Specification, ACS
/// Extended Capability).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Controls(pub u16);

const NAMES: [&str; 7] = ["SV", "TB", "RR", "CR", "UF", "EC", "DT"];

impl Controls {
    /// Source Validation, Request Redirect, Completion Redirect, Upstream Forwarding: what the kernel asks of a function
    /// before it keeps its groups apart (drivers/iommu/iommu.c, `REQ_ACS_FLAGS`).
    pub const REQUIRED: Self = Self(0x1d);

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

    /// The controls in either set.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether the set is empty.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The short names, in the order of the bits: SV TB RR CR UF EC DT.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let bits = self.0;
        NAMES
            .into_iter()
            .zip(0_u32..)
            .filter(move |(_, bit)| bits.checked_shr(*bit).unwrap_or(0) & 1 != 0)
            .map(|(name, _)| name)
    }

    /// The flags that make `pci=config_acs=` switch these controls on and leave the others alone: one character for each
    /// bit, the highest first (drivers/pci/pci.c, `__pci_config_acs`).
    pub fn switch_on(self) -> String {
        let bit = |bit: u32| if self.0.checked_shr(bit).unwrap_or(0) & 1 == 0 { 'x' } else { '1' };
        let flags: String = (0..7).rev().map(bit).collect();
        flags
    }
}

impl fmt::Display for Controls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut names = self.names();
        f.write_str(names.next().unwrap_or("none"))?;
        names.try_for_each(|name| write!(f, " {name}"))
    }
}

/// The ACS capability of one function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acs {
    /// The controls that the hardware implements.
    pub implemented: Controls,
    /// The controls that are switched on.
    pub enabled: Controls,
}

impl Acs {
    /// The capability in `config`; `None` when the function has none.
    ///
    /// `wide`: the registers are 32 bits wide, as the root ports of some Intel chipsets have them against the
    /// specification (drivers/pci/quirks.c, `INTEL_SPT_ACS_CTRL`).
    pub fn read(config: ConfigSpace<'_>, wide: bool) -> Result<Option<Self>, Unreadable> {
        let Some(offset) = config.extended_capability(ACCESS_CONTROL)? else { return Ok(None) };
        let control = if wide { 8 } else { 6 };
        let register = |at: usize| config.u16(offset.saturating_add(at)).map(Controls);
        Ok(Some(Self { implemented: register(4)?, enabled: register(control)? }))
    }

    /// The required controls that are implemented but off. A control that is not implemented counts as provided: the
    /// specification makes it optional only where the traffic it is about cannot happen.
    pub fn off(self) -> Controls {
        Controls::REQUIRED.and(self.implemented).without(self.enabled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controls_have_the_names_of_the_field() {
        assert_eq!(Controls(0x7f).to_string(), "SV TB RR CR UF EC DT");
        assert_eq!(Controls::REQUIRED.to_string(), "SV RR CR UF");
        assert_eq!(Controls(0).to_string(), "none");
        assert_eq!(Controls::REQUIRED.switch_on(), "xx111x1");
        assert_eq!(Controls(0x0c).switch_on(), "xxx11xx");
    }

    #[test]
    fn only_implemented_controls_can_be_off() {
        let acs = Acs { implemented: Controls(0x0c), enabled: Controls(0x04) };
        assert_eq!(acs.off(), Controls(0x08));
    }
}
