// SPDX-License-Identifier: MIT OR Apache-2.0
//! Drivers, and what their probes do.

use nix::errno::Errno;
use vfio_early::pci::{IdPattern, ModaliasPattern};

/// A registered driver.
#[derive(Clone, Debug)]
pub(crate) struct Driver {
    /// Its name on the bus.
    pub(crate) name: String,
    /// `pci` or `platform`.
    pub(crate) bus: &'static str,
    /// The table it was built with. Those of other buses than its own (`vfio_pci:`) match nothing without an override.
    pub(crate) ids: Vec<ModaliasPattern>,
    /// What `ids=` and `new_id` added.
    pub(crate) dynamic: Vec<IdPattern>,
    /// A VFIO driver: refuses bridges and devices without an IOMMU group, and puts the device to sleep.
    pub(crate) vfio: bool,
}

impl Driver {
    /// A driver of the PCI bus with this table.
    pub(crate) fn pci(name: &str, ids: &[&str]) -> Self {
        let ids = ids.iter().map(|id| id.parse().unwrap()).collect();
        let vfio = name == "vfio-pci" || name.ends_with("_vfio_pci");
        Self { name: name.to_owned(), bus: "pci", ids, dynamic: Vec::new(), vfio }
    }

    /// A driver of the platform bus; it matches the devices that are called `NAME.NUMBER` or `NAME`.
    pub(crate) fn platform(name: &str) -> Self {
        Self { name: name.to_owned(), bus: "platform", ids: Vec::new(), dynamic: Vec::new(), vfio: false }
    }
}

/// How a probe ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The driver holds the device.
    Bound,
    /// It refused with this error.
    Refused(Errno),
    /// It did not come back.
    Hung,
}

/// What a probe of one driver on one device shall do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Probe {
    /// Fail every time.
    Fail(Errno),
    /// Fail the first time.
    FailOnce(Errno),
    /// Hang until the machine settles, then succeed.
    HangThenBind,
    /// Hang until the machine settles, then fail.
    HangThenFail(Errno),
}
