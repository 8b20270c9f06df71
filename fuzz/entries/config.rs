// SPDX-License-Identifier: MIT OR Apache-2.0
//! Any bytes as a configuration file: what is accepted is the same when it is printed and read again.

use vfio_early::config::{Config, Origin, Reader, Sources, load};

use super::files::Files;

/// The configuration without where it comes from, and without what vfio-pci itself is told.
fn bare(mut config: Config) -> Config {
    config.vfio_pci_ids.clear();
    config.denylist_disabled = false;
    for claim in &mut config.claims {
        claim.origin = Origin::command_line();
        claim.adopted = false;
    }
    config
}

/// Holds a configuration against what is printed of it.
pub(crate) fn hold(machine: &Files) {
    match load(machine, Sources::AtBoot) {
        Ok(loaded) if loaded.config.off => assert!(loaded.config.claims.is_empty()),
        Ok(loaded) => {
            let mut again = Reader::default();
            again.file("again", loaded.config.to_string().as_bytes());
            assert_eq!(bare(again.finish().expect("what is printed is right")), bare(loaded.config));
        }
        Err(errors) => assert!(!errors.is_empty() && errors.len() <= 101),
    }
}

/// The entry point.
pub(crate) fn run(data: &[u8]) {
    hold(&Files::with("/etc/vfio-early.conf", data));
}
