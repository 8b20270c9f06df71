// SPDX-License-Identifier: MIT OR Apache-2.0
//! What else on the machine has a say in who gets a device, modprobe.d and the kernel command line, where it disagrees with
//! the configuration.

use crate::config::{self, Config, Origin, words};
use crate::inventory::{Device, Inventory};
use crate::machine::Machine;
use crate::pci::{Address, ModaliasPattern};
use crate::plan::{self, Plan, Severity, is_vfio_driver};
use crate::report::json::ProblemEntry;

/// What a command in the place of a module does.
const REPLACED: &str = "another command runs in its place, and no claim holds unless that loads it";

/// The modules without which no guest gets a device.
fn is_ours(module: &str) -> bool {
    module.starts_with("vfio") || is_vfio_driver(module)
}

/// What was found, in the order of reading.
#[derive(Default)]
struct Found(Vec<ProblemEntry>);

impl Found {
    /// Adds what is written at a place, `WHAT WHOM`, and why that matters.
    fn say(&mut self, origin: &Origin, what: &str, whom: &str, why: &str) {
        self.0.push(ProblemEntry {
            severity: Severity::Warning.name().to_owned(),
            code: "modprobe".to_owned(),
            source: Some(origin.to_string()),
            device: None,
            message: format!("{what}{whom}: {why}"),
        });
    }
}

/// Everything that disagrees.
pub(super) fn disagreements(
    machine: &dyn Machine,
    config: &Config,
    inventory: &Inventory,
    plan: &Plan,
) -> Vec<ProblemEntry> {
    let mut found = Found::default();
    // Modules that are kept from loading by themselves.
    let mut kept: Vec<(Origin, String)> = Vec::new();
    for (origin, words) in config::modprobe_directives(machine) {
        let [what, module, rest @ ..] = words.as_slice() else { continue };
        let others = || rest.iter().filter(|word| !word.ends_with(':'));
        match (what.as_str(), is_ours(module)) {
            ("install", true) => found.say(&origin, "install ", module, REPLACED),
            ("blacklist", true) => found.say(&origin, "blacklist ", module, "a claim loads it all the same"),
            ("install" | "blacklist", false) => kept.push((origin, module.clone())),
            ("softdep", true) => {
                if let Some(other) = others().find(|other| !is_ours(other)) {
                    found.say(
                        &origin,
                        "softdep ",
                        module,
                        &format!("{other} is loaded with it, for what is not claimed"),
                    );
                }
            }
            ("softdep", false) if plan.entries.is_empty() && others().any(|other| is_ours(other)) => {
                found.say(&origin, "softdep ", module, "it waits for vfio-pci, and nothing is claimed");
            }
            _ => {}
        }
    }
    let line = Origin::command_line();
    for (name, value) in words(&inventory.command_line) {
        let value = value.unwrap_or_default();
        match name.as_str() {
            "module_blacklist" | "modprobe.blacklist" | "rd.driver.blacklist" => {
                for module in value.split(',').map(|module| module.replace('-', "_")) {
                    if name == "module_blacklist" && is_ours(&module) {
                        found.say(&line, "module_blacklist=", &module, "the kernel refuses it, and no claim holds");
                    }
                    kept.push((line.clone(), module));
                }
            }
            "pci_stub.ids" => {
                found.say(&line, "pci-stub.ids=", &value, "pci-stub takes these too; no claim needs that");
            }
            _ => {}
        }
    }
    taken_by_id(machine, config, inventory, plan, &mut found);
    without_driver(machine, inventory, plan, &kept, &mut found);
    found.0
}

/// The devices that vfio-pci's own `ids=` takes, and that nothing in the configuration names.
fn taken_by_id(machine: &dyn Machine, config: &Config, inventory: &Inventory, plan: &Plan, found: &mut Found) {
    let written = |claim: usize| config.claims.get(claim).is_some_and(|claim| !claim.adopted);
    // Where nothing else is written, the list is the configuration.
    if config.off || config.settings.adopt_ids && config.claims.iter().all(|claim| claim.adopted) {
        return;
    }
    // What comes along with a claimed function has the entry of the list that names it.
    let named = |device: &Device| {
        let slot = Some(device.address.slot());
        plan.entries.iter().any(|entry| entry.device.map(Address::slot) == slot && written(entry.claim))
    };
    for given in config::vfio_pci_ids(machine, &inventory.command_line) {
        for device in plan::selected(&given, inventory).into_iter().filter(|device| !named(device)) {
            let why = format!("vfio-pci takes {} by it, which no claim names", device.address);
            found.say(&given.origin, "ids=", &given.selector.to_string(), &why);
        }
    }
}

/// The displays that the host keeps and that no driver has, because theirs is kept from loading.
fn without_driver(
    machine: &dyn Machine,
    inventory: &Inventory,
    plan: &Plan,
    kept: &[(Origin, String)],
    found: &mut Found,
) {
    let claimed = |address: Address| plan.entries.iter().any(|entry| entry.device == Some(address));
    let mut aliases = None;
    for device in inventory.devices.iter().filter(|device| device.identity.class.is_display()) {
        let bare = device.detail.as_ref().is_some_and(|detail| detail.driver.is_none() && detail.unknown.is_none());
        if kept.is_empty() || !bare || claimed(device.address) {
            continue;
        }
        let aliases: &Vec<u8> = aliases.get_or_insert_with(|| Inventory::aliases_of(machine, &inventory.kernel));
        let modalias = device.identity.modalias("pci");
        for line in String::from_utf8_lossy(aliases).lines() {
            let mut words = line.split(' ').skip(1);
            let (Some(pattern), Some(module)) = (words.next(), words.next()) else { continue };
            let Some((origin, _)) = kept.iter().find(|(_, name)| name == module) else { continue };
            if pattern.parse::<ModaliasPattern>().is_ok_and(|pattern| pattern.matches(&modalias)) {
                let why = format!("{} has no driver, and no claim is about it", device.name());
                found.say(origin, "without ", module, &why);
            }
        }
    }
}
