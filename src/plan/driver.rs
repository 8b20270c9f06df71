// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which driver a claimed function shall end on.

use crate::config::Driver;
use crate::pci::{Identity, ModaliasPattern, same_name};

/// The driver that the option `driver=` means for a function.
pub(super) fn target(driver: &Driver, identity: &Identity, aliases: &[u8]) -> String {
    match driver {
        Driver::VfioPci => "vfio-pci".to_owned(),
        Driver::Named(name) => name.clone(),
        Driver::Auto => variant_driver(aliases, identity).unwrap_or_else(|| "vfio-pci".to_owned()),
    }
}

/// The lines `alias vfio_pci:PATTERN MODULE` of modules.alias, vfio-pci's own left out (Documentation/driver-api/vfio.rst).
fn variants(aliases: &[u8]) -> impl Iterator<Item = (&str, &str)> {
    aliases.split(|byte| *byte == b'\n').filter_map(|line| {
        let rest = std::str::from_utf8(line.strip_prefix(b"alias ")?).ok()?;
        let (pattern, module) = rest.trim_end().split_once(' ')?;
        (pattern.starts_with("vfio_pci:") && !same_name(module, "vfio-pci")).then_some((pattern, module))
    })
}

/// The variant driver that wants this function most: of the lines of modules.alias that match it, the one with the fewest
/// wildcards. `None` where only vfio-pci itself does.
pub fn variant_driver(aliases: &[u8], identity: &Identity) -> Option<String> {
    let modalias = identity.modalias("vfio_pci");
    let patterns = variants(aliases).filter_map(|(text, module)| Some((text.parse::<ModaliasPattern>().ok()?, module)));
    let matching = patterns.filter(|(pattern, _)| pattern.matches(&modalias));
    matching.min_by_key(|(pattern, _)| pattern.wildcards()).map(|(_, module)| module.to_owned())
}

/// Every variant driver that modules.alias names.
pub fn variant_modules(aliases: &[u8]) -> Vec<String> {
    variants(aliases).map(|(_, module)| module.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pci::Class;

    #[test]
    fn the_closest_variant_wins() {
        let identity =
            Identity { vendor: 0x15b3, device: 0x101e, subvendor: 0, subdevice: 1, class: Class(0x02_00_00) };
        let aliases = b"alias vfio_pci:v*d*sv*sd*bc*sc*i* vfio_pci\n\
            alias vfio_pci:v000015B3d*sv*sd*bc*sc*i* other_vfio_pci\n\
            alias vfio_pci:v000015B3d0000101Esv*sd*bc*sc*i* mlx5_vfio_pci\n\
            alias pci:v000015B3d0000101Esv*sd*bc*sc*i* mlx5_core\n\xff\n";
        assert_eq!(variant_driver(aliases, &identity).as_deref(), Some("mlx5_vfio_pci"));
        assert_eq!(variant_driver(b"", &identity), None);
        assert_eq!(target(&Driver::Auto, &identity, b""), "vfio-pci");
    }
}
