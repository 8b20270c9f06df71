// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which kernel modules an image needs for the claims. The image hooks ask, so that they hold no list.

use crate::config::{self, Driver, Sources};
use crate::exit::Failure;
use crate::inventory::{Inventory, IommuFacts};
use crate::machine::{self, Machine};
use crate::plan::{same_name, variant_modules};

/// How large modules.dep and modules.builtin may be.
const MAX_LIST: usize = 16 * 1024 * 1024;

/// The modules for the claims in the configuration files. `kernel`: the release of the kernel that the image is for; the
/// running one where it is left out.
pub fn modules(machine: &dyn Machine, kernel: Option<&str>) -> Result<Vec<String>, Failure> {
    let config = config::load(machine, Sources::Files)?.config;
    let kernel = match kernel {
        Some(kernel) => kernel.to_owned(),
        None => machine::text(machine, "/proc/sys/kernel/osrelease").unwrap_or_default(),
    };
    // The command line of the boot may claim for it, whatever the files say.
    let mut modules = vec!["vfio-pci".to_owned()];
    for claim in &config.claims {
        match &claim.options.driver {
            Driver::VfioPci => {}
            Driver::Named(name) => modules.push(name.clone()),
            // The image may boot on another machine: every variant that the kernel has.
            Driver::Auto => modules.extend(variant_modules(&Inventory::aliases_of(machine, &kernel))),
        }
    }
    // Debian builds the driver of a virtio-iommu as a module, others that of an SMMU; without it, the claim finds no IOMMU.
    let driver = IommuFacts::read(machine, &[]).driver;
    modules.extend(driver.filter(|driver| is_listed(machine, &kernel, "modules.dep", driver)).map(ToOwned::to_owned));
    if config.settings.trial {
        modules.push("efivarfs".to_owned());
    }
    modules.sort_unstable();
    modules.dedup_by(|one, other| same_name(one, other));
    Ok(modules)
}

/// Whether a driver can be had: it is registered, or it is among the modules, or built in.
pub(super) fn is_available(machine: &dyn Machine, inventory: &Inventory, driver: &str) -> bool {
    inventory.drivers.iter().any(|name| same_name(name, driver))
        || ["modules.dep", "modules.builtin"].iter().any(|list| is_listed(machine, &inventory.kernel, list, driver))
}

/// Whether a kernel's list of modules has this one.
fn is_listed(machine: &dyn Machine, kernel: &str, list: &str, module: &str) -> bool {
    let content = machine.read(&format!("/lib/modules/{kernel}/{list}"), MAX_LIST).unwrap_or_default();
    content.split(|byte| *byte == b'\n').any(|line| {
        // kernel/drivers/vfio/pci/vfio-pci.ko.xz: kernel/...
        let path = line.split(|byte| *byte == b':').next().unwrap_or_default();
        let file = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        let name = file.split(|byte| *byte == b'.').next().unwrap_or_default();
        std::str::from_utf8(name).is_ok_and(|name| same_name(name, module))
    })
}
