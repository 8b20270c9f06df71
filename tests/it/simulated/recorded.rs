// SPDX-License-Identifier: MIT OR Apache-2.0
//! A recorded machine brought to life.

use vfio_early::machine::{Node, Recorded};

use super::SimulatedMachine;
use super::driver::Driver;
use super::kernel::State;
use super::links::put_line;
use super::modules::Module;

impl SimulatedMachine {
    /// A recorded machine that now reacts. Its registered drivers match what they hold; its modules are those of
    /// modules.alias, each with one driver of the same name (`vfio_pci` has `vfio-pci`).
    pub(crate) fn recorded(text: &[u8]) -> Self {
        let tree = Recorded::parse(text).expect("a recorded machine").into_tree();
        let mut state = State { tree, modprobe: true, root: true, ..State::default() };
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
            for (name, value) in [("driver_override", "(null)"), ("power_state", "D0"), ("power/control", "on")] {
                if state.tree.file(&format!("{directory}/{name}")).is_err() {
                    put_line(&mut state.tree, &format!("{directory}/{name}"), value);
                }
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
                    // The variant drivers are called as their modules are.
                    let driver = if plain == "vfio_pci" { "vfio-pci".to_owned() } else { plain.clone() };
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
