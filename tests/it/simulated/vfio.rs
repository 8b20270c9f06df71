// SPDX-License-Identifier: MIT OR Apache-2.0
//! What vfio-pci does in its probe, and what it refuses (drivers/vfio/pci/vfio_pci.c, drivers/vfio/pci/vfio_pci_core.c).
//! The variant drivers share the core.

use nix::errno::Errno;
use vfio_early::pci::{Identity, parse_modalias};

use super::driver::Driver;
use super::kernel::State;
use super::links::put_line;

/// `vfio_pci_dev_in_denylist`, the same in the three kernels: QAT and its virtual functions, DSA, IAA. All are Intel's.
const DENIED: &[u16] = &[0x0435, 0x0443, 0x0b25, 0x0cfe, 0x19e2, 0x19e3, 0x37c8, 0x37c9];

impl State {
    /// Whether a device is on a driver of VFIO.
    pub(super) fn has_vfio_driver(&self, device: &str) -> bool {
        let name = self.driver_of("pci", device);
        name.is_some_and(|name| self.drivers.iter().any(|driver| driver.vfio && driver.name == name))
    }

    /// The probe: `vfio_pci_probe`, `vfio_pci_core_init_dev`, `vfio_pci_core_register_device`. What is refused before
    /// [`State::evict`] has had no effect.
    pub(super) fn probe_vfio(&mut self, driver: &Driver, device: &str, directory: &str) -> Result<(), Errno> {
        let Some(identity) = parse_modalias(self.modalias("pci", device).as_bytes()) else {
            return Err(Errno::ENODEV);
        };
        if driver.name == "vfio-pci" && is_denied(&identity) && !self.parameter("vfio_pci", "disable_denylist") {
            return Err(Errno::EINVAL);
        }
        // The header type, as it was when the device was found.
        if identity.class.is_pci_bridge() {
            return Err(Errno::EINVAL);
        }
        // `vfio_pci_vf_init` is for physical functions that make theirs later.
        if self.virtual_functions(device) > 0 {
            return Err(Errno::EBUSY);
        }
        // `vfio_pci_vga_init`: a 3D or another display controller is passed over.
        if identity.class.0 >> 8 == 0x0300 {
            self.evict(device);
        }
        let coherent = !self.incoherent.iter().any(|known| known == device);
        if self.tree.link(&format!("{directory}/iommu_group")).is_err() || !coherent {
            // `vfio_register_group_dev`; the way out ends with pm_runtime_forbid().
            put_line(&mut self.tree, &format!("{directory}/power/control"), "on");
            return Err(Errno::EINVAL);
        }
        Ok(())
    }

    /// What a VFIO driver leaves behind in the power management of a device that it has taken: `auto`, whatever was there
    /// (pm_runtime_allow), and asleep unless that is switched off. Nobody looks whether the device woke up before.
    pub(super) fn rest(&mut self, device: &str, directory: &str) {
        put_line(&mut self.tree, &format!("{directory}/power/control"), "auto");
        if self.parameter("vfio_pci", "disable_idle_d3") || self.stuck.iter().any(|stuck| stuck == device) {
            return;
        }
        let state = self.sleep.get(device).copied().unwrap_or("D3hot");
        let cold = self.attribute_of(device, "d3cold_allowed").as_deref() == Some("1");
        let state = if state == "D3cold" && !cold { "D3hot" } else { state };
        put_line(&mut self.tree, &format!("{directory}/power_state"), state);
    }

    /// A guest takes an IOMMU group (drivers/iommu/iommu.c, `iommu_group_claim_dma_owner`): `EPERM` while any function in
    /// it has a driver that uses the host's DMA, a bridge's included. There is no list of names.
    pub(crate) fn own_group(&mut self, group: u32) -> Result<(), Errno> {
        let members = self.tree.list(&format!("/sys/kernel/iommu_groups/{group}/devices"))?;
        let uses_dma = |device: &String| {
            let name = self.driver_of("pci", device);
            name.is_some_and(|name| self.drivers.iter().any(|driver| driver.name == name && !driver.managed_dma()))
        };
        if self.owned.contains(&group) || members.iter().any(uses_dma) {
            return Err(Errno::EPERM);
        }
        self.owned.push(group);
        Ok(())
    }

    /// The guest is gone.
    pub(crate) fn disown_group(&mut self, group: u32) {
        self.owned.retain(|owned| *owned != group);
    }

    /// `iommu_device_use_default_domain`, before any probe of a driver that uses the host's DMA.
    pub(super) fn use_dma(&self, driver: &Driver, directory: &str) -> Result<(), Errno> {
        let home = self.tree.resolve(&format!("{directory}/iommu_group"), true).unwrap_or_default();
        let owned = self.owned.iter().any(|group| home.ends_with(&format!("/{group}")));
        if owned && !driver.managed_dma() { Err(Errno::EBUSY) } else { Ok(()) }
    }
}

/// Whether vfio-pci will not have a device.
fn is_denied(identity: &Identity) -> bool {
    identity.vendor == 0x8086 && DENIED.contains(&identity.device)
}
