// SPDX-License-Identifier: MIT OR Apache-2.0
//! Conflicts of the configuration with what else on the machine says who gets a device: modprobe.d and the kernel command
//! line.

use crate::config::{Config, Origin, Selector, words};
use crate::inventory::{Device, Inventory};
use crate::pci::{Address, ModaliasPattern};
use crate::plan::{self, Plan, is_vfio_driver, same_name};
use crate::problem::{Code, Problem};

/// What a command in the place of a module does.
const REPLACED: &str = "another command runs in its place, and no claim holds unless that loads it";

/// What pci-stub does with its own IDs.
const PCI_STUB: &str = "pci-stub takes these too; no claim needs that";

/// What xen-pciback does.
const XEN_PCIBACK: &str =
    "it keeps these for Xen's guests, and does nothing where Xen does not run; no claim needs that";

/// The modules without which no guest gets a device.
fn is_ours(module: &str) -> bool {
    module.starts_with("vfio") || is_vfio_driver(module)
}

/// What else on the machine says who gets a device.
#[derive(Clone, Debug, Default)]
pub struct OtherConfiguration {
    /// The lines of modprobe.d, as words, with their places.
    pub modprobe: Vec<(Origin, Vec<String>)>,
    /// modules.alias of the running kernel, where [`needs_aliases`] asks for it.
    pub aliases: Vec<u8>,
}

/// The conflicts that were found, in the order of reading.
#[derive(Default)]
struct Conflicts(Vec<Problem>);

impl Conflicts {
    /// Adds what is written at a place, `WHAT WHOM`, and why that matters.
    fn add(&mut self, origin: &Origin, what: &str, whom: &str, why: &str) {
        let message = format!("{what}{whom}: {why}");
        self.0.push(Problem { source: Some(origin.clone()), ..Problem::warning(Code::Modprobe, None, message) });
    }
}

/// Whether modules.alias has to be read: a display has no driver, and a module is kept from loading.
pub fn needs_aliases(other: &OtherConfiguration, inventory: &Inventory) -> bool {
    let mut modprobe = other.modprobe.iter().filter_map(|(_, words)| words.first());
    let kept = modprobe.any(|what| matches!(what.as_str(), "install" | "blacklist"))
        || words(&inventory.command_line).any(|(name, _)| is_blacklist(&name));
    kept && inventory.devices.iter().any(is_display_without_driver)
}

/// Whether a parameter of the kernel command line keeps modules from loading.
fn is_blacklist(parameter: &str) -> bool {
    matches!(parameter, "module_blacklist" | "modprobe.blacklist" | "rd.driver.blacklist")
}

/// Whether a device is a display that no driver has.
fn is_display_without_driver(device: &Device) -> bool {
    let bare = device.detail.as_ref().is_some_and(|detail| detail.driver.is_none() && detail.unknown.is_none());
    bare && device.identity.class.is_display()
}

/// Every conflict.
pub fn conflicts(other: &OtherConfiguration, config: &Config, inventory: &Inventory, plan: &Plan) -> Vec<Problem> {
    let mut found = Conflicts::default();
    // Modules that are kept from loading by themselves.
    let mut kept: Vec<(Origin, String)> = Vec::new();
    for (origin, words) in &other.modprobe {
        let [what, module, rest @ ..] = words.as_slice() else { continue };
        let others = || rest.iter().filter(|word| !word.ends_with(':'));
        match (what.as_str(), is_ours(module)) {
            ("options", _) if module == "pci_stub" && rest.iter().any(|word| word == "ids") => {
                found.add(origin, "options ", "pci-stub ids=", PCI_STUB);
            }
            ("options", _) if module == "xen_pciback" && rest.iter().any(|word| word == "hide") => {
                found.add(origin, "options ", "xen-pciback hide=", XEN_PCIBACK);
            }
            ("install", true) => found.add(origin, "install ", module, REPLACED),
            ("blacklist", true) => found.add(origin, "blacklist ", module, "a claim loads it nevertheless"),
            ("install" | "blacklist", false) => kept.push((origin.clone(), module.clone())),
            // vendor-reset adds ways to reset some cards, and drives none.
            ("softdep", true) => {
                if let Some(other) = others().find(|other| !is_ours(other) && !same_name(other, "vendor_reset")) {
                    found.add(
                        origin,
                        "softdep ",
                        module,
                        &format!("{other} is loaded with it, for what is not claimed"),
                    );
                }
            }
            ("softdep", false) if plan.devices.is_empty() && others().any(|other| is_ours(other)) => {
                found.add(origin, "softdep ", module, "it waits for vfio-pci, and nothing is claimed");
            }
            _ => {}
        }
    }
    let line = Origin::command_line();
    for (name, value) in words(&inventory.command_line) {
        let value = value.unwrap_or_default();
        match name.as_str() {
            name if is_blacklist(name) => {
                for module in value.split(',').map(|module| module.replace('-', "_")) {
                    if name == "module_blacklist" && is_ours(&module) {
                        found.add(&line, "module_blacklist=", &module, "the kernel refuses it, and no claim holds");
                    }
                    kept.push((line.clone(), module));
                }
            }
            "pci_stub.ids" => found.add(&line, "pci-stub.ids=", &value, PCI_STUB),
            "xen_pciback.hide" => found.add(&line, "xen-pciback.hide=", &value, XEN_PCIBACK),
            _ => {}
        }
    }
    taken_by_id(config, inventory, plan, &mut found);
    without_effect(config, inventory, plan, &mut found);
    without_driver(other, inventory, plan, &kept, &mut found);
    found.0
}

/// The devices that vfio-pci's own `ids=` takes, and that nothing in the configuration names.
fn taken_by_id(config: &Config, inventory: &Inventory, plan: &Plan, found: &mut Conflicts) {
    let written = |claim: usize| config.claims.get(claim).is_some_and(|claim| !claim.adopted);
    // Where nothing else is written, the list is the configuration.
    if config.off || config.settings.adopt_ids && config.claims.iter().all(|claim| claim.adopted) {
        return;
    }
    // A function that is claimed along has the entry of the list that names it.
    let named = |device: &Device| {
        let slot = Some(device.address.slot());
        plan.devices.iter().any(|planned| planned.device.map(Address::slot) == slot && written(planned.claim))
    };
    for given in &config.vfio_pci_ids {
        for device in plan::selected(given, inventory).into_iter().filter(|device| !named(device)) {
            let why = format!(
                "it names {}, which no claim does: vfio-pci takes it where something else than a claim loads vfio-pci",
                device.address
            );
            found.add(&given.origin, "ids=", &given.selector.to_string(), &why);
        }
    }
}

/// The entries of an `ids=` that take nothing: no device has the ID, or a claim loads vfio-pci before.
fn without_effect(config: &Config, inventory: &Inventory, plan: &Plan, found: &mut Conflicts) {
    let adopted = if config.settings.adopt_ids { config.vfio_pci_ids.as_slice() } else { &[] };
    for given in adopted.iter().chain(&config.modules_file_ids) {
        let (named, selector) = (plan::selected(given, inventory), given.selector.to_string());
        if let (true, Selector::Id(pattern)) = (named.is_empty(), &given.selector) {
            let similar = inventory
                .devices
                .iter()
                .find(|device| device.identity.vendor == pattern.vendor && device.identity.class.is_display());
            let similar = similar.map(|device| format!("; {} is there", device.name())).unwrap_or_default();
            found.add(&given.origin, "ids=", &selector, &format!("no device has this ID{similar}"));
        }
        let claimed = |device: &Device| plan.devices.iter().any(|planned| planned.device == Some(device.address));
        let in_file = config.modules_file_ids.contains(given) && !plan.devices.is_empty();
        for device in named.into_iter().filter(|device| in_file && !claimed(device)) {
            let why = format!(
                "it names {}, which no claim does: a claim loads vfio-pci before this line is read, so that it takes nothing",
                device.address
            );
            found.add(&given.origin, "ids=", &selector, &why);
        }
    }
}

/// The displays that the host keeps and that no driver has, because theirs is kept from loading.
fn without_driver(
    other: &OtherConfiguration,
    inventory: &Inventory,
    plan: &Plan,
    kept: &[(Origin, String)],
    found: &mut Conflicts,
) {
    let claimed = |address: Address| plan.devices.iter().any(|planned| planned.device == Some(address));
    for device in inventory.devices.iter().filter(|device| is_display_without_driver(device)) {
        if kept.is_empty() || claimed(device.address) {
            continue;
        }
        let modalias = device.identity.modalias("pci");
        for line in String::from_utf8_lossy(&other.aliases).lines() {
            let mut words = line.split(' ').skip(1);
            let (Some(pattern), Some(module)) = (words.next(), words.next()) else { continue };
            let Some((origin, _)) = kept.iter().find(|(_, name)| name == module) else { continue };
            if pattern.parse::<ModaliasPattern>().is_ok_and(|pattern| pattern.matches(&modalias)) {
                let why = format!("{} has no driver, and no claim is about it", device.name());
                found.add(origin, "without ", module, &why);
            }
        }
    }
}
