// SPDX-License-Identifier: MIT OR Apache-2.0
//! The configuration as plain data.

use std::fmt;
use std::time::Duration;

use super::Selector;
use crate::json::{FromJson, Json, Value, readable_words};
use crate::pci::ExpectedId;

/// A valid configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// `vfio_early=off` is on the kernel command line: no device is touched.
    pub off: bool,
    /// The claims, in the order in which they were read.
    pub claims: Vec<Claim>,
    /// The settings, which apply to all claims.
    pub settings: Settings,
    /// The IDs of vfio-pci's `ids=`, as claims, whether they are adopted or not.
    pub vfio_pci_ids: Vec<Claim>,
    /// The IDs of `vfio_pci ids=` in files with modules to load, as claims; never adopted.
    pub modules_file_ids: Vec<Claim>,
    /// vfio-pci is configured to bind devices on its denylist as well (`disable_denylist`).
    pub denylist_disabled: bool,
}

/// A claim: devices that are to be bound to a VFIO driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Selects the devices.
    pub selector: Selector,
    /// Where the claim is configured.
    pub origin: Origin,
    /// The claim's options.
    pub options: Options,
    /// Whether it comes from vfio-pci's `ids=`.
    pub adopted: bool,
}

/// Where a directive comes from. Prints as `/etc/vfio-early.conf:3` or `kernel command line`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    /// The file's path, or `kernel command line`.
    pub place: String,
    /// The line number, starting at 1; none on the kernel command line.
    pub line: Option<usize>,
}

impl Origin {
    /// The place of directives on the kernel command line.
    pub const COMMAND_LINE: &'static str = "kernel command line";

    /// The kernel command line.
    pub fn command_line() -> Self {
        Self::file(Self::COMMAND_LINE)
    }

    /// The place of claims made with `bind`.
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
    /// `id=`: the expected ID.
    pub id: Option<ExpectedId>,
    /// `match=all`: a pattern may select several devices.
    pub all: bool,
    /// `with=`; the default depends on the device.
    pub with: Option<With>,
    /// `driver=`.
    pub driver: Driver,
    /// `rom=save`: save the option ROM before the device is touched.
    pub save_rom: bool,
    /// `reset=`: the reset methods, by the kernel's names, in the order in which it tries them; empty: unchanged. Applies to
    /// selected devices, and to devices that are claimed along if they have all of these methods.
    pub reset: Vec<&'static str>,
    /// `rebar=`: the BAR sizes of a selected device.
    pub rebar: Vec<Rebar>,
    /// `power=on`: keep the device awake while no guest uses it.
    pub power_on: bool,
    /// `allow=`: the overridden guards, sorted.
    pub allow: Vec<Guard>,
}

/// A BAR and its requested size. Prints as `0:8G`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rebar {
    /// The BAR, 0 to 5.
    pub bar: u8,
    /// The size is 2^exponent MiB, as in the kernel (drivers/pci/rebar.c): 0 to 43.
    pub exponent: u8,
}

impl Rebar {
    /// The units 2^20, 2^30 and so on.
    pub(super) const UNITS: &'static [u8] = b"MGTPE";

    /// A BAR and its size in bytes; `None` if a resizable BAR cannot have that size.
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

/// The devices that are claimed along with a selected one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum With {
    /// The rest of its card (`Inventory::card`).
    Card,
    /// The other devices in its IOMMU group, except bridges.
    Group,
    /// Nothing.
    None,
}

/// The driver for a claimed device.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Driver {
    /// vfio-pci.
    #[default]
    VfioPci,
    /// The best matching `vfio_pci:` variant driver in modules.alias, or vfio-pci if there is none.
    Auto,
    /// The driver with this name.
    Named(String),
}

/// A condition under which a device is not claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Guard {
    /// It is a PCI bridge. This guard cannot be overridden.
    Bridge,
    /// It is mass storage, and the claim does not name its subsystem ID.
    Storage,
    /// The running system uses it.
    InUse,
    /// It is the host's last display controller.
    LastDisplay,
    /// Its IOMMU group has a `direct` reserved region.
    Rmrr,
}

impl Guard {
    /// All guards, in the order in which they are checked.
    pub const ALL: &'static [Self] = &[Self::Bridge, Self::Storage, Self::InUse, Self::LastDisplay, Self::Rmrr];

    /// Whether `allow=` may override it.
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
    /// `trial`: whether a configuration is on trial until it is confirmed.
    pub trial: bool,
    /// `iommu`: whether claims require an IOMMU.
    pub iommu: IommuPolicy,
    /// `isolation required`: a device is claimed only if the hardware isolates its group.
    pub isolation_required: bool,
    /// `on-failure`: what happens to a slot that could not be claimed.
    pub on_failure: OnFailure,
    /// `framebuffer`: what happens to the firmware framebuffer on a claimed boot display.
    pub framebuffer: Framebuffer,
    /// `adopt-ids`: whether the IDs of vfio-pci's `ids=` count as claims.
    pub adopt_ids: bool,
    /// `step-timeout`: the time limit of one step, in whole seconds.
    pub step_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            trial: false,
            iommu: IommuPolicy::Required,
            isolation_required: false,
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
    /// Devices are claimed even without an IOMMU.
    Optional,
}

/// The setting `on-failure`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// Its devices are returned to the host's drivers.
    Restore,
    /// Its devices stay as they are, with `driver_override` set.
    Keep,
}

/// The setting `framebuffer`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framebuffer {
    /// The firmware framebuffer keeps its driver.
    Keep,
    /// The driver of the firmware framebuffer is detached first.
    Release,
}

/// An error in the configuration. Prints as `PLACE:LINE: MESSAGE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// Where the error is.
    pub origin: Origin,
    /// What is wrong and what is expected.
    pub message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.origin, self.message)
    }
}

impl std::error::Error for ConfigError {}
