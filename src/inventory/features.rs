// SPDX-License-Identifier: MIT OR Apache-2.0
//! Features of a device that users ask for and claims do not need (Documentation/ABI/testing/sysfs-bus-pci).

use super::{Device, PCI};
use crate::machine::{self, Machine};
use crate::pci::Address;

/// A BAR that can be resized.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResizableBar {
    /// Its number.
    pub bar: u8,
    /// Its size in bytes; 0 if it has no address space assigned.
    pub size: u64,
    /// The supported sizes: bit N stands for 2^N MiB.
    pub sizes: u64,
}

/// The features of a device. What it does not have, or what cannot be read, stays empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// Whether it may enter D3cold while it is not used.
    pub d3cold_allowed: Option<bool>,
    /// Whether the kernel can reset it, by any method; `None` if its directory cannot be listed.
    pub resets: Option<bool>,
    /// Its resizable BARs.
    pub bars: Vec<ResizableBar>,
    /// The current and the maximum number of virtual functions.
    pub virtual_functions: Option<(u16, u16)>,
    /// The address of its physical function, if it is a virtual function.
    pub physical: Option<String>,
    /// The name of its device file below /dev/vfio/devices.
    pub vfio: Option<String>,
}

impl Features {
    /// Reads a device's features. Lists its directory first, to read only the attributes that exist.
    pub fn read(machine: &dyn Machine, device: &Device) -> Self {
        let address = device.address;
        let path = |name: &str| format!("{PCI}/devices/{address}/{name}");
        let word = |name: &str| machine::text(machine, &path(name)).ok();
        let Ok(names) = machine.list(&path("")) else { return Self::default() };
        let has = |name: &str| names.iter().any(|known| known == name);
        // All methods may be disabled. Before Linux 5.15, there is no `reset_method`.
        let methods = device.detail.as_ref().map(|detail| !detail.reset_methods.is_empty());
        let resets = if has("reset_method") { methods } else { Some(has("reset")) };
        let mut features = Self { resets, ..Self::default() };
        features.d3cold_allowed = device.detail.as_ref().and_then(|detail| detail.d3cold_allowed);
        if has("sriov_totalvfs") {
            let number = |name| word(name).and_then(|text| text.parse().ok());
            features.virtual_functions = number("sriov_numvfs").zip(number("sriov_totalvfs"));
        }
        if has("physfn") {
            features.physical = machine::link_name(machine, &path("physfn")).ok();
        }
        if has("vfio-dev") {
            features.vfio = device_file(machine, address);
        }
        let number = |name: &String| name.strip_prefix("resource")?.strip_suffix("_resize")?.parse().ok();
        let resizable: Vec<u8> = names.iter().filter_map(number).collect();
        if !resizable.is_empty() {
            let resource = word("resource").unwrap_or_default();
            for bar in resizable {
                let sizes = word(&format!("resource{bar}_resize")).and_then(|mask| hexadecimal(&mask));
                features.bars.push(ResizableBar { bar, size: bar_size(&resource, bar), sizes: sizes.unwrap_or(0) });
            }
        }
        features
    }
}

/// The name of a device's file below /dev/vfio/devices. The directory `vfio-dev` is there for each device that VFIO has
/// (drivers/vfio/vfio_main.c, `vfio_init_device`); the number of a file is in it only with CONFIG_VFIO_DEVICE_CDEV
/// (drivers/vfio/device_cdev.c, `vfio_init_device_cdev`), which the kernels of Debian 13 do not have.
pub(super) fn device_file(machine: &dyn Machine, address: Address) -> Option<String> {
    let directory = format!("{PCI}/devices/{address}/vfio-dev");
    let name = machine.list(&directory).ok()?.into_iter().next()?;
    machine.list(&format!("{directory}/{name}")).ok()?.iter().any(|file| file == "dev").then_some(name)
}

/// `0x0000000000fc0000`, with or without its `0x`.
pub(crate) fn hexadecimal(text: &str) -> Option<u64> {
    u64::from_str_radix(text.strip_prefix("0x").unwrap_or(text), 16).ok()
}

/// The size of a BAR in bytes, from the attribute `resource`; 0 if it has no address space assigned.
pub(crate) fn bar_size(resource: &str, bar: u8) -> u64 {
    resource.lines().nth(usize::from(bar)).and_then(size).unwrap_or(0)
}

/// The size from a line of `resource`: first address, last address, flags.
fn size(line: &str) -> Option<u64> {
    let mut words = line.split_ascii_whitespace().map(hexadecimal);
    let (first, last) = (words.next()??, words.next()??);
    if last == 0 { None } else { last.checked_sub(first)?.checked_add(1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_resources_has_a_size() {
        assert_eq!(size("0x00000000a0000000 0x00000000a0ffffff 0x0000000000040200"), Some(16 << 20));
        assert_eq!(size("0x0000000000000000 0x0000000000000000 0x0000000000000000"), None);
        assert_eq!(size("0x0 0xffffffffffffffff 0x0"), None);
        assert_eq!(size("0x2 0x1"), None);
        assert_eq!(size("what"), None);
    }
}
