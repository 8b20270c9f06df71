// SPDX-License-Identifier: MIT OR Apache-2.0
//! Cases of arm64, on QEMU's board `virt`, and of a virtio-iommu on either architecture.

use crate::cases::{Case, Expect, Expected, GPU, usual};
use crate::lab::Suite;
use crate::machine::Machine;

const CARD: &str = "claim 01:00.0 id=1234:1111\n";

/// What the machine is made of, for a person who reads the evidence, and whether its groups are as recomputed.
const MORE: &[(&str, &str)] = &[(
    "lab/more",
    "ask groups vfio-early groups\nask tables ls /sys/firmware/acpi/tables /sys/class/iommu\nask interrupts cat /proc/interrupts\n\
     ask detect vfio-early detect\n",
)];

fn case(name: &'static str, about: &'static str, machine: Machine, expected: Expected) -> Case {
    Case {
        name,
        about,
        machine,
        suite: if machine.is_arm() { Suite::Arm64 } else { Suite::Trixie },
        configuration: CARD,
        overlay: MORE,
        expect: Expect::Boot(expected),
        ..usual()
    }
}

pub fn cases() -> Vec<Case> {
    const READY: (&str, &str) =
        ("status", "all 3 claimed devices are ready for a guest, the GPU at 0000:01:00.0 among them\n");
    const VIRTIO: &[(&str, &str)] = &[
        ("status", "enabled (virtio-iommu, 1 unit"),
        // The claim is not what lacks a group.
        ("report", "\"state\":\"claimed\""),
    ];
    vec![
        case(
            "arm",
            "arm64 with a device tree, an SMMUv3 and an ITS: a card with three functions, in one group with others",
            Machine::Arm,
            Expected {
                claimed: GPU,
                told: &[
                    // The kernel of Debian 13 enables no ACS on such machines.
                    ("status", "shares IOMMU group 0 with "),
                    ("groups", "pci=config_acs=xx111x1@0000:00:1c.0"),
                    ("status", "enabled (Arm SMMU, 1 unit, interrupts remapped)"),
                    ("status-json", "\"kind\":\"smmu\",\"units\":[\"smmu3."),
                    ("status-json", "\"firmware_table\":null"),
                ],
                ..Expected::default()
            },
        ),
        case(
            "arm-acpi",
            "arm64 with UEFI, an SMMUv3 in the IORT table and an ITS: a card with three functions",
            Machine::ArmAcpi,
            Expected {
                claimed: GPU,
                told: &[
                    READY,
                    ("status", "enabled (Arm SMMU, 1 unit, interrupts remapped)"),
                    ("status-json", "\"firmware_table\":\"IORT\""),
                ],
                ..Expected::default()
            },
        ),
        case(
            "arm-no-its",
            "arm64 with an SMMUv3 and a GICv2, which has no ITS: claimed, with a warning that VFIO refuses guests",
            Machine::ArmNoIts,
            Expected {
                claimed: GPU,
                says: &["only a GICv3 with an ITS can"],
                told: &[("status", "interrupts NOT remapped"), ("status", "interrupts are not remapped")],
                ..Expected::default()
            },
        ),
        case(
            "arm-off",
            "arm64 with a device tree and without an IOMMU: nothing is claimed",
            Machine::ArmOff,
            Expected {
                status: 3,
                says: &["there is no IOMMU"],
                told: &[("status", "absent (there is none in the device tree)"), ("status-exit", "3")],
                ..Expected::default()
            },
        ),
        case(
            "arm-acpi-off",
            "arm64 with UEFI, and an IORT table that names no SMMU: nothing is claimed",
            Machine::ArmAcpiOff,
            Expected {
                status: 3,
                says: &["turn on the SMMU in the firmware setup"],
                told: &[("status", "absent (the firmware's IORT table names no SMMU)"), ("status-exit", "3")],
                ..Expected::default()
            },
        ),
        case(
            "arm-virtio-iommu",
            "arm64 with a virtio-iommu, whose driver the claim loads",
            Machine::ArmVirtio,
            Expected { claimed: GPU, regrouped: true, told: VIRTIO, ..Expected::default() },
        ),
        Case {
            slow: true,
            ..case(
                "virtio-iommu",
                "a virtio-iommu, whose driver the claim loads",
                Machine::VirtioIommu,
                Expected { claimed: GPU, regrouped: true, told: VIRTIO, ..Expected::default() },
            )
        },
    ]
}
