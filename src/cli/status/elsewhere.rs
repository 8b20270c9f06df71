// SPDX-License-Identifier: MIT OR Apache-2.0
//! What else on the machine has a say in who gets a device, modprobe.d and the kernel command line, where it disagrees with
//! the configuration.

use crate::config::{self, Config, Origin, words};
use crate::door::Door;
use crate::pci::{Address, ModaliasPattern};
use crate::picture::{Device, Picture};
use crate::plan::{self, Plan, is_vfio_driver};
use crate::report::json::ProblemEntry;

/// The modules without which no guest gets a device.
fn is_ours(module: &str) -> bool {
    module.starts_with("vfio") || is_vfio_driver(module)
}

/// Everything that disagrees, in the order of reading.
pub(super) fn disagreements(door: &dyn Door, config: &Config, picture: &Picture, plan: &Plan) -> Vec<ProblemEntry> {
    let mut found = Vec::new();
    let mut say = |origin: &Origin, message: String| {
        found.push(ProblemEntry {
            severity: "warning".to_owned(),
            code: "modprobe".to_owned(),
            source: Some(origin.to_string()),
            device: None,
            message,
        });
    };
    // Modules that are kept from loading by themselves.
    let mut kept: Vec<(Origin, String)> = Vec::new();
    for (origin, words) in config::told_to_modprobe(door) {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match words.as_slice() {
            ["install", module, ..] if is_ours(module) => say(
                &origin,
                format!("install {module}: another command runs in its place, and no claim holds unless that loads it"),
            ),
            ["blacklist", module] if is_ours(module) => {
                say(&origin, format!("blacklist {module}: a claim loads it all the same"));
            }
            ["blacklist" | "install", module, ..] => kept.push((origin, (*module).to_owned())),
            ["softdep", module, others @ ..] => {
                let mut others = others.iter().filter(|word| !matches!(**word, "pre:" | "post:"));
                if !is_ours(module) {
                    if plan.entries.is_empty() && others.any(|other| is_ours(other)) {
                        say(&origin, format!("softdep {module}: it waits for vfio-pci, and nothing is claimed"));
                    }
                } else if let Some(other) = others.find(|other| !is_ours(other)) {
                    say(
                        &origin,
                        format!("softdep {module}: {other} is loaded with it, for every device that is not claimed"),
                    );
                }
            }
            _ => {}
        }
    }
    let line = Origin::command_line();
    for (name, value) in words(&picture.command_line) {
        let value = value.unwrap_or_default();
        match name.as_str() {
            "module_blacklist" => {
                for module in value.split(',').map(|module| module.replace('-', "_")) {
                    if is_ours(&module) {
                        say(&line, format!("module_blacklist={module}: the kernel refuses it, and no claim holds"));
                    }
                    kept.push((line.clone(), module));
                }
            }
            "modprobe.blacklist" | "rd.driver.blacklist" => {
                kept.extend(value.split(',').map(|module| (line.clone(), module.replace('-', "_"))));
            }
            "pci_stub.ids" => {
                say(&line, format!("pci-stub.ids={value}: pci-stub takes these too; a claim does not need that"));
            }
            _ => {}
        }
    }
    for (origin, message) in taken_by_id(door, config, picture, plan) {
        say(&origin, message);
    }
    for (origin, message) in without_driver(door, picture, plan, &kept) {
        say(&origin, message);
    }
    found
}

/// The devices that vfio-pci's own `ids=` takes, and that nothing in the configuration names.
fn taken_by_id(door: &dyn Door, config: &Config, picture: &Picture, plan: &Plan) -> Vec<(Origin, String)> {
    let written = |claim: usize| config.claims.get(claim).is_some_and(|claim| !claim.adopted);
    // Where nothing else is written, the list is the configuration.
    if config.off || config.settings.adopt_ids && config.claims.iter().all(|claim| claim.adopted) {
        return Vec::new();
    }
    // What comes along with a claimed function has the entry of the list that names it.
    let named = |device: &Device| {
        let slot = Some(device.address.slot());
        plan.entries.iter().any(|entry| entry.device.map(Address::slot) == slot && written(entry.claim))
    };
    let mut found = Vec::new();
    for given in config::given_to_vfio_pci(door, &picture.command_line) {
        for device in plan::selected(&given, picture).into_iter().filter(|device| !named(device)) {
            let (selector, address) = (&given.selector, device.address);
            let message = format!("vfio-pci's ids= {selector} takes {address}, which no claim names");
            found.push((given.origin.clone(), message));
        }
    }
    found
}

/// The displays that the host keeps and that no driver has, because theirs is kept from loading.
fn without_driver(door: &dyn Door, picture: &Picture, plan: &Plan, kept: &[(Origin, String)]) -> Vec<(Origin, String)> {
    let claimed = |address: Address| plan.entries.iter().any(|entry| entry.device == Some(address));
    let idle = |device: &&Device| {
        device.identity.class.is_display()
            && device.detail.as_ref().is_some_and(|detail| detail.driver.is_none() && detail.unknown.is_none())
            && !claimed(device.address)
    };
    let mut idle = picture.devices.iter().filter(idle).peekable();
    let mut found = Vec::new();
    if kept.is_empty() || idle.peek().is_none() {
        return found;
    }
    let aliases = Picture::aliases_of(door, &picture.kernel);
    for device in idle {
        let modalias = device.identity.modalias("pci");
        for line in String::from_utf8_lossy(&aliases).lines() {
            let mut words = line.split(' ');
            let (Some("alias"), Some(pattern), Some(module)) = (words.next(), words.next(), words.next()) else {
                continue;
            };
            let Some((origin, _)) = kept.iter().find(|(_, name)| name == module) else { continue };
            if pattern.parse::<ModaliasPattern>().is_ok_and(|pattern| pattern.matches(&modalias)) {
                found.push((
                    origin.clone(),
                    format!("{module} is kept from {}, which no claim is about", device.name()),
                ));
            }
        }
    }
    found
}
