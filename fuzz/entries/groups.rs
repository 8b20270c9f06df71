// SPDX-License-Identifier: MIT OR Apache-2.0
//! Arbitrary configuration spaces in an arbitrary topology: nothing may panic or hang, and every function that has a group
//! must be a member of exactly one.

use vfio_early::groups::{Function, Host, examine};
use vfio_early::pci::capability::ConfigSpace;
use vfio_early::pci::{Address, Class};

/// Decodes a machine: for each function a header of twelve bytes and its configuration space.
fn decode_machine(mut bytes: &[u8]) -> Vec<Function> {
    let mut all: Vec<Function> = Vec::new();
    while let Some((header, rest)) = bytes.split_first_chunk::<12>() {
        if all.len() == 64 {
            break;
        }
        let [bus, devfn, parent, class, v1, v2, d1, d2, group, sparse, size, flags] = *header;
        let address =
            Address { domain: u32::from(flags & 1) << 16, bus: bus & 7, device: (devfn >> 3) & 3, function: devfn & 7 };
        // A function that came before, at any address.
        let parent = usize::from(parent).checked_sub(1).and_then(|index| all.get(index));
        let parents = parent.map_or_else(Vec::new, |parent| {
            let mut path = parent.parents.clone();
            path.push(parent.address);
            path
        });
        let take = usize::from(size).min(rest.len());
        let (content, rest) = rest.split_at(take);
        bytes = rest;
        let mut config = vec![0; if sparse & 1 == 0 { 4096 } else { 64 << (sparse & 6) }];
        // The second half of the content begins at 0x100, so that a few bytes reach the extended capabilities.
        let (low, high) = content.split_at(take / 2);
        let lengths = (low.len().min(config.len()), high.len().min(config.len().saturating_sub(0x100)));
        config[..lengths.0].copy_from_slice(&low[..lengths.0]);
        if lengths.1 > 0 {
            config[0x100..0x100 + lengths.1].copy_from_slice(&high[..lengths.1]);
        }
        all.push(Function {
            address,
            parents,
            class: Class(u32::from(class) << 16 | 0x0400),
            vendor: u16::from_be_bytes([v1, v2]),
            device: u16::from_be_bytes([d1, d2]),
            config,
            driver: (flags & 2 != 0).then(|| "driver".to_owned()),
            sys_group: (group & 0x80 == 0).then_some(u32::from(group & 7)),
            ivrs_alias: (group & 0x40 != 0).then_some((group & 7, 0)),
        });
    }
    all
}

/// The entry point.
pub(crate) fn run(bytes: &[u8]) {
    let config = ConfigSpace::new(bytes);
    assert!(config.capabilities().count() <= 48);
    assert!(config.extended_capabilities().count() <= 480);
    let all = decode_machine(bytes);
    let amd_iommu = bytes.first().is_some_and(|byte| byte & 0x80 != 0);
    let examination = examine(&all, &Host { amd_iommu, acs_override: !amd_iommu, ..Host::default() });
    let mut members: Vec<Address> = examination.groups.iter().flat_map(|group| group.devices.clone()).collect();
    let count = members.len();
    members.sort_unstable();
    members.dedup();
    assert_eq!(members.len(), count);
    assert!(examination.tree(&[]).lines().all(|line| line.chars().count() <= 80));
    let _ = examination.text(&[]);
}
