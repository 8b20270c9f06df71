// SPDX-License-Identifier: MIT OR Apache-2.0
//! A problem: what is wrong, with which device, where the configuration says so, and what to do about it.

use crate::config::{Config, ConfigError, Guard, Origin};
use crate::json::{fields, readable, readable_words};
use crate::pci::Address;

pub use crate::severity::Severity;

/// What kind of problem it is: a word for programs that never changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Code {
    /// A group is split by nothing but `pcie_acs_override=`.
    AcsOverride,
    /// A function is refused because the function that it goes along with is.
    Along,
    /// A pattern matches several devices and `match=all` is not set.
    Ambiguous,
    /// A claim takes the boot display.
    BootDisplay,
    /// The guard `bridge`.
    Bridge,
    /// The configuration cannot be understood.
    Config,
    /// vfio-pci's own deny list.
    Denied,
    /// The driver that a device is bound to cannot be determined.
    DriverUnknown,
    /// A step of the claim failed.
    Failed,
    /// The firmware framebuffer was lost.
    Framebuffer,
    /// Another device than `id=` names was found.
    IdMismatch,
    /// The initramfs of this boot held another configuration.
    Image,
    /// A guest has the device open.
    InGuest,
    /// The guard `in-use`.
    InUse,
    /// Interrupts are not remapped.
    InterruptRemapping,
    /// No IOMMU is enabled.
    Iommu,
    /// Isolation is required, and the hardware does not isolate the group.
    Isolation,
    /// The guard `last-display`.
    LastDisplay,
    /// The host keeps functions of a claimed display's slot that are not part of its card.
    LeftOut,
    /// Something else than VFIO uses the memory of a claimed device.
    MemoryInUse,
    /// The claimed device is not there.
    Missing,
    /// modprobe.d or the kernel command line disagrees with the configuration.
    Modprobe,
    /// The device does not answer.
    NoAnswer,
    /// A driver is neither loaded nor among the modules.
    NoDriver,
    /// A claim by address has no `id=`.
    NoId,
    /// The device is in no IOMMU group.
    NoIommuGroup,
    /// The device is not there.
    NoDevice,
    /// The device has no option ROM.
    NoRom,
    /// A neighbour in the IOMMU group is on a host driver.
    NotViable,
    /// `vfio_early=off` is on the kernel command line.
    Off,
    /// A BAR cannot have its size.
    Rebar,
    /// The device cannot be reset, or not as asked.
    Reset,
    /// The guard `rmrr`.
    Rmrr,
    /// The saved option ROM is empty.
    RomBlank,
    /// The saved option ROM cannot be used as it is.
    RomDoubtful,
    /// The option ROM was taken from the firmware's table.
    RomFromFirmware,
    /// The option ROM was not read because a guest has the device open.
    RomInGuest,
    /// Something that was changed to read the option ROM could not be put back.
    RomLeftOpen,
    /// The option ROM was read and could not be saved.
    RomNotSaved,
    /// The option ROM is the firmware's copy in memory.
    RomShadow,
    /// The option ROM could not be read.
    RomUnreadable,
    /// The option ROM is longer than its BAR.
    RomWindow,
    /// One card is split between the host and a guest.
    SplitSlot,
    /// The guard `storage`.
    Storage,
    /// A refused device is on a VFIO driver all the same.
    Taken,
    /// The device is bound to a TEE security manager.
    Tdisp,
    /// A configuration is on trial, or its trial was not confirmed.
    Trial,
    /// A device that the running system uses has the ID of a claimed one.
    Twin,
    /// A physical function has virtual functions.
    VirtualFunctions,
    /// System error; also any code that this version does not know.
    #[default]
    System,
}

readable_words!(Code {
    AcsOverride: "acs-override",
    Along: "along",
    Ambiguous: "ambiguous",
    BootDisplay: "boot-display",
    Bridge: "bridge",
    Config: "config",
    Denied: "denied",
    DriverUnknown: "driver-unknown",
    Failed: "failed",
    Framebuffer: "framebuffer",
    IdMismatch: "id-mismatch",
    Image: "image",
    InGuest: "in-guest",
    InUse: "in-use",
    InterruptRemapping: "interrupt-remapping",
    Iommu: "iommu",
    Isolation: "isolation",
    LastDisplay: "last-display",
    LeftOut: "left-out",
    MemoryInUse: "memory-in-use",
    Missing: "missing",
    Modprobe: "modprobe",
    NoAnswer: "no-answer",
    NoDriver: "no-driver",
    NoId: "no-id",
    NoIommuGroup: "no-iommu-group",
    NoDevice: "no-device",
    NoRom: "no-rom",
    NotViable: "not-viable",
    Off: "off",
    Rebar: "rebar",
    Reset: "reset",
    Rmrr: "rmrr",
    RomBlank: "rom-blank",
    RomDoubtful: "rom-doubtful",
    RomFromFirmware: "rom-from-firmware",
    RomInGuest: "rom-in-guest",
    RomLeftOpen: "rom-left-open",
    RomNotSaved: "rom-not-saved",
    RomShadow: "rom-shadow",
    RomUnreadable: "rom-unreadable",
    RomWindow: "rom-window",
    SplitSlot: "split-slot",
    Storage: "storage",
    System: "system",
    Taken: "taken",
    Tdisp: "tdisp",
    Trial: "trial",
    Twin: "twin",
    VirtualFunctions: "virtual-functions",
});

impl From<Guard> for Code {
    fn from(guard: Guard) -> Self {
        match guard {
            Guard::Bridge => Self::Bridge,
            Guard::Storage => Self::Storage,
            Guard::InUse => Self::InUse,
            Guard::LastDisplay => Self::LastDisplay,
            Guard::Rmrr => Self::Rmrr,
        }
    }
}

/// A problem.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// What kind it is.
    pub code: Code,
    /// Where the configuration says so.
    pub source: Option<Origin>,
    /// The device that it is about.
    pub device: Option<Address>,
    /// What it is, and what to do.
    pub message: String,
}

fields!(Problem { severity, code, source, device, message });
readable!(Problem { severity, code, source, device, message });

impl Problem {
    /// A warning.
    pub fn warning(code: Code, device: Option<Address>, message: String) -> Self {
        Self { severity: Severity::Warning, code, source: None, device, message }
    }

    /// An error.
    pub fn error(code: Code, device: Option<Address>, message: String) -> Self {
        Self { severity: Severity::Error, code, source: None, device, message }
    }

    /// The same, about the claim with this index in the configuration.
    #[must_use]
    pub fn of(self, config: &Config, claim: usize) -> Self {
        Self { source: config.claims.get(claim).map(|claim| claim.origin.clone()), ..self }
    }

    /// Whether it is the reason why one claim is not met; text shows that beside the claim.
    pub fn is_reason(&self) -> bool {
        self.severity == Severity::Error
            && !matches!(self.code, Code::Reset | Code::Rebar | Code::Framebuffer | Code::Trial)
    }
}

impl From<&ConfigError> for Problem {
    fn from(error: &ConfigError) -> Self {
        let source = Some(error.origin.clone());
        Self { source, ..Self::error(Code::Config, None, error.message.clone()) }
    }
}
