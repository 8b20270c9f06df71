// SPDX-License-Identifier: MIT OR Apache-2.0
//! PCI devices that are added, and their attributes.

use vfio_early::machine::Node;
use vfio_early::pci::Identity;

use super::kernel::State;
use super::links::{put_line, put_link};
use super::version::Version;

/// The directory that a path lies in.
pub(super) fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(above, _)| above)
}

/// The last part of a path.
pub(super) fn name(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

impl State {
    /// Adds a function below this directory (`pci_device_add`), in no IOMMU group yet. No driver has seen it.
    pub(super) fn add_device(&mut self, address: &str, above: &str, identity: &Identity, is_virtual: bool) {
        let directory = format!("{above}/{address}");
        let tree = &mut self.tree;
        tree.put(&directory, Node::Directory);
        for (attribute, value) in [
            ("modalias", identity.modalias("pci")),
            ("vendor", format!("0x{:04x}", identity.vendor)),
            ("device", format!("0x{:04x}", identity.device)),
            ("subsystem_vendor", format!("0x{:04x}", identity.subvendor)),
            ("subsystem_device", format!("0x{:04x}", identity.subdevice)),
            ("class", format!("0x{}", identity.class)),
            ("driver_override", "(null)".to_owned()),
            ("power_state", "D0".to_owned()),
            // `pci_pm_init`: pm_runtime_forbid().
            ("power/control", "on".to_owned()),
            ("d3cold_allowed", "1".to_owned()),
            ("numa_node", "-1".to_owned()),
        ] {
            put_line(tree, &format!("{directory}/{attribute}"), &value);
        }
        // `pci_dev_attrs_are_visible`: `pci_is_vga` is wider since 6.12. A 3D controller has none in any of them.
        let old = self.version == Version::V6_1;
        if identity.class.0 >> 8 == 0x0300 || (!old && identity.class.0 >> 8 == 0x0001) {
            put_line(tree, &format!("{directory}/boot_vga"), "0");
        }
        tree.put(&format!("{directory}/config"), Node::File(config_space(identity, is_virtual)));
        self.init_reset_methods(&directory);
        let tree = &mut self.tree;
        put_link(tree, &format!("{directory}/subsystem"), "/sys/bus/pci");
        put_link(tree, &format!("/sys/bus/pci/devices/{address}"), &directory);
    }

    /// The lowest number that no IOMMU group has.
    pub(super) fn free_group(&self) -> u32 {
        let used = self.tree.list("/sys/kernel/iommu_groups").unwrap_or_default();
        (0..1000).find(|number: &u32| !used.contains(&number.to_string())).unwrap()
    }

    /// Moves a function to another IOMMU group, or to none.
    pub(crate) fn join_group(&mut self, address: &str, group: Option<u32>) {
        let directory = self.directory("pci", address).unwrap();
        let link = format!("{directory}/iommu_group");
        let tree = &mut self.tree;
        if let Ok(old) = tree.resolve(&link, true) {
            tree.remove(&format!("{old}/devices/{address}"));
            if tree.list(&format!("{old}/devices")).unwrap().is_empty() {
                tree.remove(&old);
            }
        }
        tree.remove(&link);
        if let Some(group) = group {
            let home = format!("/sys/kernel/iommu_groups/{group}");
            put_line(tree, &format!("{home}/type"), "DMA");
            put_line(tree, &format!("{home}/reserved_regions"), "0x00000000fee00000 0x00000000feefffff msi");
            put_link(tree, &format!("{home}/devices/{address}"), &directory);
            put_link(tree, &link, &home);
        }
    }

    /// Makes a PCI device fall off the bus: its configuration space reads as ones, it is in D3cold, and nothing wakes it.
    /// What the kernel has cached (vendor, class, modalias) looks healthy.
    pub(crate) fn die(&mut self, device: &str) {
        let directory = self.directory("pci", device).unwrap();
        put_line(&mut self.tree, &format!("{directory}/power_state"), "D3cold");
        self.stuck.push(device.to_owned());
        self.dead.push(device.to_owned());
    }

    /// The text of an attribute of a PCI device, without its newline.
    pub(super) fn attribute_of(&self, device: &str, name: &str) -> Option<String> {
        let path = format!("{}/{name}", self.directory("pci", device).ok()?);
        Some(String::from_utf8_lossy(self.tree.file(&path).ok()?).trim_end_matches('\n').to_owned())
    }
}

/// The first 256 bytes of a configuration space: the header, no capabilities. A virtual function's own vendor and device
/// read as ones (PCI Express Base Specification, section 9.3.4.1).
fn config_space(identity: &Identity, is_virtual: bool) -> Vec<u8> {
    let mut config = vec![0_u8; 256];
    let mut put = |at: usize, bytes: &[u8]| config[at..at + bytes.len()].copy_from_slice(bytes);
    let (vendor, device) = if is_virtual { (0xffff, 0xffff) } else { (identity.vendor, identity.device) };
    put(0, &vendor.to_le_bytes());
    put(2, &device.to_le_bytes());
    put(4, &[0x06, 0x04]);
    put(9, &identity.class.0.to_le_bytes()[..3]);
    if identity.class.is_pci_bridge() {
        put(0x0e, &[1]);
    } else {
        put(0x2c, &identity.subvendor.to_le_bytes());
        put(0x2e, &identity.subdevice.to_le_bytes());
    }
    config
}
