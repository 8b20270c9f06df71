// SPDX-License-Identifier: MIT OR Apache-2.0
//! Functions with device files that processes have open: displays, sound, compute devices and disks.

use crate::machine::Machine;
use crate::pci::Address;

use super::super::Holders;
use super::tables::device_minor;
use super::{MAX_TABLE, Use, UseFinder};

/// Device files below /dev and the classes of their devices: `dri/card0` is /sys/class/drm/card0.
const CLASSES: &[(&str, &str)] = &[("dri/", "drm"), ("snd/", "sound"), ("accel/", "accel"), ("fb", "graphics")];

/// The device file of the compute interface of AMD displays, one for all of them, and their driver.
const KFD: (&str, &str) = ("kfd", "amdgpu");

/// Whether this file below /dev can belong to a PCI function: to a VFIO driver, a driver of [`CLASSES`], NVIDIA's driver, or a
/// block device.
pub(crate) fn is_device_file(file: &str, block_devices: &[String]) -> bool {
    file.strip_prefix("vfio/").is_some_and(|file| file != "vfio")
        || CLASSES.iter().any(|(prefix, _)| file.starts_with(prefix))
        || file == KFD.0
        || nvidia_minor(file).is_some()
        || block_devices.iter().any(|name| name == file)
}

/// The minor number in the name of a device file of NVIDIA's driver, which registers no devices in sysfs.
fn nvidia_minor(file: &str) -> Option<u32> {
    file.strip_prefix("nvidia")?.parse().ok()
}

/// The uses of these functions by processes. `devices`: the functions and their drivers.
pub(crate) fn opened(machine: &dyn Machine, holders: &Holders, devices: &[(Address, String)]) -> Vec<Use> {
    let finder = UseFinder::new(machine);
    let mut found: Vec<Use> = Vec::new();
    let mut known: Vec<(&str, Vec<Address>)> = Vec::new();
    for holder in holders.seen.iter().filter(|holder| !holder.file.starts_with("vfio/")) {
        let file = holder.file.as_str();
        let functions = match known.iter().find(|(name, _)| *name == file) {
            Some((_, functions)) => functions.clone(),
            None => {
                let functions = functions_of(&finder, file, devices);
                known.push((file, functions.clone()));
                functions
            }
        };
        for device in functions {
            let process = Some(holder.process);
            if !found.iter().any(|known| known.device == device && known.process == process) {
                let description = format!("{} (process {}) has /dev/{file} open", holder.name, holder.process);
                found.push(Use { device, description, process });
            }
        }
    }
    found
}

/// Those of these functions that a device file belongs to.
fn functions_of(finder: &UseFinder<'_>, file: &str, devices: &[(Address, String)]) -> Vec<Address> {
    let of_devices = |belongs: &dyn Fn(&(Address, String)) -> bool| {
        devices.iter().filter(|device| belongs(device)).map(|(address, _)| *address).collect::<Vec<_>>()
    };
    if file == KFD.0 {
        return of_devices(&|(_, driver)| driver == KFD.1);
    }
    if let Some(minor) = nvidia_minor(file) {
        return of_devices(&|(address, _)| {
            let path = format!("/proc/driver/nvidia/gpus/{address}/information");
            finder.machine.read_prefix(&path, MAX_TABLE).is_ok_and(|table| device_minor(&table) == Some(minor))
        });
    }
    let functions = match CLASSES.iter().find(|(prefix, _)| file.starts_with(prefix)) {
        Some((_, class)) => {
            let name = file.rsplit('/').next().unwrap_or(file);
            let target = finder.machine.link(&format!("/sys/class/{class}/{name}")).unwrap_or_default();
            // A device on a USB bus is not the USB controller, and may go at any time.
            let on_usb = target.split('/').any(|part| part.starts_with("usb"));
            if on_usb { Vec::new() } else { finder.functions(&target) }
        }
        None => block_functions(finder, file),
    };
    of_devices(&|(address, _)| functions.contains(address))
}

/// The functions below a block device.
fn block_functions(finder: &UseFinder<'_>, name: &str) -> Vec<Address> {
    let mut below = UseFinder::with(finder.machine, finder.block_devices.clone());
    below.find_below_block_device("", name);
    below.found.into_iter().map(|found| found.device).collect()
}
