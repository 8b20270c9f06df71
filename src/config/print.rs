// SPDX-License-Identifier: MIT OR Apache-2.0
//! Prints a configuration in the format of configuration files.

use std::fmt::{Display, Formatter, Result};

use super::{Claim, Config, Driver, Framebuffer, IommuPolicy, OnFailure, Options, Settings, With};

impl Display for Config {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        self.settings.fmt(f)?;
        self.claims.iter().try_for_each(|claim| writeln!(f, "{claim}"))
    }
}

impl Display for Claim {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "claim {}{}", self.selector, self.options)
    }
}

impl Display for Options {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        if let Some(id) = &self.id {
            write!(f, " id={id}")?;
        }
        if self.all {
            f.write_str(" match=all")?;
        }
        f.write_str(match self.with {
            None => "",
            Some(With::Card) => " with=card",
            Some(With::Group) => " with=group",
            Some(With::None) => " with=none",
        })?;
        match &self.driver {
            Driver::VfioPci => {}
            Driver::Auto => f.write_str(" driver=auto")?,
            Driver::Named(name) => write!(f, " driver={name}")?,
        }
        if self.save_rom {
            f.write_str(" rom=save")?;
        }
        if !self.reset.is_empty() {
            write!(f, " reset={}", self.reset.join("+"))?;
        }
        for rebar in &self.rebar {
            write!(f, " rebar={rebar}")?;
        }
        if self.power_on {
            f.write_str(" power=on")?;
        }
        for (guard, before) in self.allow.iter().zip(std::iter::once(" allow=").chain(std::iter::repeat("+"))) {
            write!(f, "{before}{}", guard.name())?;
        }
        Ok(())
    }
}

impl Display for Settings {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let iommu = match self.iommu {
            IommuPolicy::Required => "required",
            IommuPolicy::Optional => "optional",
        };
        let on_failure = match self.on_failure {
            OnFailure::Restore => "restore",
            OnFailure::Keep => "keep",
        };
        let framebuffer = match self.framebuffer {
            Framebuffer::Keep => "keep",
            Framebuffer::Release => "release",
        };
        let isolation = if self.isolation_required { "required" } else { "optional" };
        writeln!(f, "set trial {}", if self.trial { "yes" } else { "no" })?;
        writeln!(f, "set iommu {iommu}\nset isolation {isolation}\nset on-failure {on_failure}")?;
        writeln!(f, "set framebuffer {framebuffer}")?;
        writeln!(f, "set adopt-ids {}", if self.adopt_ids { "yes" } else { "no" })?;
        writeln!(f, "set step-timeout {}", self.step_timeout.as_secs())
    }
}
