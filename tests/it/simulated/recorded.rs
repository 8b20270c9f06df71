// SPDX-License-Identifier: MIT OR Apache-2.0
//! A recorded machine brought to life.

use vfio_early::machine::{Node, Recorded};

use super::SimulatedMachine;
use super::device::name;
use super::driver::Driver;
use super::kernel::State;
use super::links::put_line;
use super::modules::Module;
use super::sriov::Sriov;
use super::version::Version;

impl SimulatedMachine {
    /// A recorded machine that now reacts. Its registered drivers match what they hold; its modules are those of
    /// modules.alias, each with one driver of the same name (`vfio_pci` has `vfio-pci`, `xe_vfio_pci` has `xe-vfio-pci`).
    /// Which ways to reset a device it has is what the record lists.
    pub(crate) fn recorded(text: &[u8]) -> Self {
        let tree = Recorded::parse(text).expect("a recorded machine").into_tree();
        let mut state = State { tree, modprobe: true, root: true, ..State::default() };
        let release = String::from_utf8_lossy(state.tree.file("/proc/sys/kernel/osrelease").unwrap_or_default());
        let known = |version: &&Version| release.starts_with(version.number());
        state.version = Version::ALL.iter().find(known).copied().unwrap_or_default();
        for bus in ["pci", "platform"] {
            state.tree.put(&format!("/sys/bus/{bus}/drivers_probe"), Node::File(Vec::new()));
            put_line(&mut state.tree, &format!("/sys/bus/{bus}/drivers_autoprobe"), "1");
            for name in state.tree.list(&format!("/sys/bus/{bus}/drivers")).unwrap_or_default() {
                let held = state
                    .devices(bus)
                    .into_iter()
                    .filter(|device| state.driver_of(bus, device).as_ref() == Some(&name));
                let ids: Vec<String> = held.map(|device| state.modalias(bus, &device)).collect();
                let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
                let driver = if bus == "pci" { Driver::pci(&name, &ids) } else { Driver::platform(&name) };
                state.finish_registration(&driver);
                state.drivers.push(driver);
            }
        }
        for device in state.devices("pci") {
            let Ok(directory) = state.directory("pci", &device) else { continue };
            for (file, value) in [("driver_override", "(null)"), ("power_state", "D0"), ("power/control", "on")] {
                if state.tree.file(&format!("{directory}/{file}")).is_err() {
                    put_line(&mut state.tree, &format!("{directory}/{file}"), value);
                }
            }
            let methods = state.attribute_of(&device, "reset_method").unwrap_or_default();
            state.resets.insert(device.clone(), methods);
            if let Ok(physical) = state.tree.link(&format!("{directory}/physfn")) {
                state.physical.insert(device.clone(), name(physical).to_owned());
            }
            let number = |name: &str, radix| {
                u16::from_str_radix(&state.attribute_of(&device, name).unwrap_or_default(), radix).unwrap_or(0)
            };
            if state.attribute_of(&device, "sriov_totalvfs").is_some() {
                let (offset, stride) = (number("sriov_offset", 10), number("sriov_stride", 10));
                let (total, model) = (number("sriov_totalvfs", 10), number("sriov_vf_device", 16));
                state.sriov.insert(device, Sriov { total, device: model, offset, stride });
            }
        }
        state.tree.put("/dev/kmsg", Node::File(Vec::new()));
        for release in state.tree.list("/lib/modules").unwrap_or_default() {
            let path = format!("/lib/modules/{release}/modules.alias");
            let text = String::from_utf8_lossy(state.tree.file(&path).unwrap_or_default()).into_owned();
            for line in text.lines() {
                let mut words = line.split_ascii_whitespace();
                let (Some("alias"), Some(pattern), Some(name)) = (words.next(), words.next(), words.next()) else {
                    continue;
                };
                let Ok(pattern) = pattern.parse() else { continue };
                let plain = name.replace('-', "_");
                if !state.modules.iter().any(|module| module.name == plain) {
                    // Of the variant drivers xe's alone is not called as its module is.
                    let dashed = matches!(plain.as_str(), "vfio_pci" | "xe_vfio_pci");
                    let driver = if dashed { plain.replace('_', "-") } else { plain.clone() };
                    let loaded = state.drivers.iter().any(|known| known.name == driver);
                    let mut module = Module::new(&plain, &[], Some(Driver::pci(&driver, &[])));
                    module.loaded = loaded;
                    state.modules.push(module);
                }
                let module = state.module(&plain);
                if let Some(driver) = &mut module.driver {
                    driver.ids.push(pattern);
                }
                let driver = module.driver.clone();
                // A driver that is registered already has the same table.
                let known = driver.and_then(|driver| {
                    state.drivers.iter_mut().find(|known| known.name == driver.name).map(|known| (known, driver))
                });
                if let Some((known, driver)) = known {
                    known.ids.clone_from(&driver.ids);
                }
            }
        }
        Self::new(state)
    }
}
