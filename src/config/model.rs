// SPDX-License-Identifier: MIT OR Apache-2.0
//! The configuration as plain data.

use std::fmt;
use std::time::Duration;

use super::Selector;
use crate::json::{FromJson, Json, Value, readable_words};
use crate::pci::ExpectedId;

/// A whole configuration that was understood to the last word.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// `vfio_early=off` is on the kernel command line: nothing is to be touched.
    pub off: bool,
    /// The wishes, in the order in which they were read.
    pub claims: Vec<Claim>,
    /// The settings that hold for all of them.
    pub settings: Settings,
    /// The IDs that vfio-pci itself was given, as claims, whether they are adopted or not.
    pub vfio_pci_ids: Vec<Claim>,
    /// vfio-pci is told, as it loads, to bind devices of its deny list too.
    pub denylist_disabled: bool,
}

/// A wish to have devices on a VFIO driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Which devices.
    pub selector: Selector,
    /// Where this is written.
    pub origin: Origin,
    /// How.
    pub options: Options,
    /// It was adopted from what vfio-pci was given: nobody wrote it for us.
    pub adopted: bool,
}

/// Where a directive is written; prints as `/etc/vfio-early.conf:3` or `kernel command line`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    /// The file's path, or `kernel command line`.
    pub place: String,
    /// The line, from 1; none on the kernel command line.
    pub line: Option<usize>,
}

impl Origin {
    /// The name of the kernel command line as a place.
    pub const COMMAND_LINE: &'static str = "kernel command line";

    /// The kernel command line.
    pub fn command_line() -> Self {
        Self::file(Self::COMMAND_LINE)
    }

    /// What is done by hand, with `bind`.
    pub const BIND: &'static str = "bind";

    /// Whether it is [`Origin::BIND`].
    pub fn is_bind(&self) -> bool {
        self.place == Self::BIND
    }

    /// A file or a directory as a whole.
    pub fn file(path: &str) -> Self {
        Self { place: path.to_owned(), line: None }
    }
}

impl Json for Origin {
    fn json(&self, out: &mut String) {
        self.to_string().json(out);
    }
}

impl FromJson for Origin {
    fn from_json(value: &Value) -> Option<Self> {
        let Value::Text(text) = value else { return None };
        let line = text.rsplit_once(':').and_then(|(place, line)| Some((place, line.parse().ok()?)));
        Some(match line {
            Some((place, line)) => Self { place: place.to_owned(), line: Some(line) },
            None => Self::file(text),
        })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.place)?;
        self.line.map_or(Ok(()), |line| write!(f, ":{line}"))
    }
}

/// The options of a claim.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// `id=`: what must be found there.
    pub id: Option<ExpectedId>,
    /// `match=all`: a pattern may select several devices.
    pub all: bool,
    /// `with=`; what stands there when it is left out depends on the device.
    pub with: Option<With>,
    /// `driver=`.
    pub driver: Driver,
    /// `rom=save`: the option ROM is saved first.
    pub save_rom: bool,
    /// `reset=`: the ways to reset it, by the kernel's names and in the order in which it shall try them; empty: as they
    /// are. For what a claim selects, and for what comes along as far as it has all of them.
    pub reset: Vec<&'static str>,
    /// `rebar=`: the sizes that BARs of a selected device shall have.
    pub rebar: Vec<Rebar>,
    /// `power=on`: the device is kept awake while no guest has it.
    pub power_on: bool,
    /// `allow=`: guards that are lifted, sorted.
    pub allow: Vec<Guard>,
}

/// A size that a BAR shall have. Prints as `0:8G`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rebar {
    /// The BAR, 0 to 5.
    pub bar: u8,
    /// The size is this power of two, in MiB: 0 to 43, as the kernel counts (drivers/pci/rebar.c).
    pub exponent: u8,
}

impl Rebar {
    /// The letters of 2^20, 2^30 and so on.
    pub(super) const UNITS: &'static [u8] = b"MGTPE";

    /// A BAR with a size in bytes; `None` where that is no size that a resizable BAR can have.
    pub fn of(bar: u8, bytes: u64) -> Option<Self> {
        let exponent = u8::try_from(bytes.trailing_zeros().checked_sub(20)?).ok()?;
        (bytes.is_power_of_two() && exponent <= 43).then_some(Self { bar, exponent })
    }

    /// The size in bytes.
    pub fn bytes(self) -> u64 {
        (1_u64 << 20_u32).checked_shl(self.exponent.into()).unwrap_or(0)
    }
}

impl fmt::Display for Rebar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = Self::UNITS.get(usize::from(self.exponent / 10)).map_or('?', |unit| char::from(*unit));
        write!(f, "{}:{}{unit}", self.bar, 1_u16.wrapping_shl((self.exponent % 10).into()))
    }
}

/// What is claimed along with a selected device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum With {
    /// The other functions of its slot.
    Functions,
    /// All of its IOMMU group, bridges excepted.
    Group,
    /// Nothing.
    None,
}

/// The driver that a claimed device shall end on.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Driver {
    /// vfio-pci.
    #[default]
    VfioPci,
    /// The closest `vfio_pci:` variant driver in modules.alias, else vfio-pci.
    Auto,
    /// This one.
    Named(String),
}

/// What keeps a device from being claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Guard {
    /// A PCI bridge; cannot be lifted.
    Bridge,
    /// Mass storage that is not named down to its subsystem.
    Storage,
    /// The running system stands on it.
    InUse,
    /// The host's last display controller.
    LastDisplay,
    /// A group with a `direct` reserved region.
    Rmrr,
}

impl Guard {
    /// Every guard, in the order in which they are looked at.
    pub const ALL: &'static [Self] = &[Self::Bridge, Self::Storage, Self::InUse, Self::LastDisplay, Self::Rmrr];

    /// Whether `allow=` may name it.
    pub fn is_liftable(self) -> bool {
        self != Self::Bridge
    }
}

readable_words!(Guard {
    Bridge: "bridge",
    Storage: "storage",
    InUse: "in-use",
    LastDisplay: "last-display",
    Rmrr: "rmrr",
});

/// The settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `iommu`: whether anything is claimed without an IOMMU.
    pub iommu: IommuPolicy,
    /// `on-failure`: what becomes of a slot that could not be claimed.
    pub on_failure: OnFailure,
    /// `framebuffer`: what becomes of the firmware framebuffer on a claimed boot display.
    pub framebuffer: Framebuffer,
    /// `adopt-ids`: whether the IDs given to vfio-pci itself count as claims.
    pub adopt_ids: bool,
    /// `step-timeout`: how long one step may take, in whole seconds.
    pub step_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            iommu: IommuPolicy::Required,
            on_failure: OnFailure::Restore,
            framebuffer: Framebuffer::Keep,
            adopt_ids: true,
            step_timeout: Duration::from_secs(10),
        }
    }
}

/// The setting `iommu`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IommuPolicy {
    /// Nothing is claimed unless an IOMMU is enabled.
    Required,
    /// Devices are claimed all the same.
    Optional,
}

/// The setting `on-failure`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// The slot is given back to the host's drivers.
    Restore,
    /// The slot stays as it is, its overrides set.
    Keep,
}

/// The setting `framebuffer`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framebuffer {
    /// The firmware framebuffer is left alone.
    Keep,
    /// Its driver is detached first.
    Release,
}

/// One thing in the configuration that cannot be understood. Prints as `PLACE:LINE: MESSAGE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// Where it is written.
    pub origin: Origin,
    /// What is wrong, and what was expected.
    pub message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.origin, self.message)
    }
}

impl std::error::Error for ConfigError {}
