// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which driver a claimed function shall end on.

use crate::config::Driver;
use crate::pci::{Identity, ModaliasPattern};

/// Whether a driver is one that gives devices to guests: vfio-pci and its variants (`mlx5_vfio_pci`, `nvgrace-gpu-vfio-pci`).
pub fn is_vfio_driver(driver: &str) -> bool {
    driver.replace('-', "_").ends_with("vfio_pci")
}

/// Whether two names mean the same driver or module: to the kernel's modules `-` and `_` are equal.
pub fn same_name(one: &str, other: &str) -> bool {
    one.len() == other.len()
        && one.bytes().zip(other.bytes()).all(|(a, b)| a == b || (matches!(a, b'-' | b'_') && matches!(b, b'-' | b'_')))
}

/// The driver that the option `driver=` means for a function.
pub(super) fn target(driver: &Driver, identity: &Identity, aliases: &[u8]) -> String {
    match driver {
        Driver::VfioPci => "vfio-pci".to_owned(),
        Driver::Named(name) => name.clone(),
        Driver::Auto => variant_driver(aliases, identity).unwrap_or_else(|| "vfio-pci".to_owned()),
    }
}

/// The variant driver that wants this function most: of the lines `alias vfio_pci:v000015B3d... MODULE` in modules.alias,
/// the one with the fewest wildcards (Documentation/driver-api/vfio.rst). `None` where only vfio-pci itself does.
pub fn variant_driver(aliases: &[u8], identity: &Identity) -> Option<String> {
    let modalias = identity.modalias("vfio_pci");
    let mut best: Option<(usize, &str)> = None;
    for line in aliases.split(|byte| *byte == b'\n') {
        let Some(rest) = line.strip_prefix(b"alias vfio_pci:") else { continue };
        let Ok(rest) = std::str::from_utf8(rest) else { continue };
        let mut words = rest.split_ascii_whitespace();
        let (Some(pattern), Some(module)) = (words.next(), words.next()) else { continue };
        let Ok(pattern) = format!("vfio_pci:{pattern}").parse::<ModaliasPattern>() else { continue };
        let wildcards = pattern.wildcards();
        if !same_name(module, "vfio-pci")
            && pattern.matches(&modalias)
            && best.is_none_or(|(fewest, _)| wildcards < fewest)
        {
            best = Some((wildcards, module));
        }
    }
    best.map(|(_, module)| module.to_owned())
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

    #[test]
    fn names_are_equal_as_modules_are() {
        assert!(same_name("vfio-pci", "vfio_pci") && !same_name("vfio-pci", "vfio-pcx"));
        assert!(is_vfio_driver("nvgrace-gpu-vfio-pci") && !is_vfio_driver("nvme"));
    }
}
