// SPDX-License-Identifier: MIT OR Apache-2.0
//! Driver names.

/// Whether a driver is vfio-pci or one of its variants (`mlx5_vfio_pci`).
pub fn is_vfio_driver(driver: &str) -> bool {
    driver.replace('-', "_").ends_with("vfio_pci")
}

/// Whether two names are the same driver or module: names of modules do not distinguish `-` and `_`.
pub fn same_name(one: &str, other: &str) -> bool {
    one.len() == other.len()
        && one.bytes().zip(other.bytes()).all(|(a, b)| a == b || (matches!(a, b'-' | b'_') && matches!(b, b'-' | b'_')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_equal_as_modules_are() {
        assert!(same_name("vfio-pci", "vfio_pci") && !same_name("vfio-pci", "vfio-pcx"));
        assert!(is_vfio_driver("nvgrace-gpu-vfio-pci") && !is_vfio_driver("nvme"));
    }
}
