// SPDX-License-Identifier: MIT OR Apache-2.0
//! The machines that are booted.

/// The devices that every machine has beside its bridges, and what they are for.
pub const DEVICES: &[(&str, &str)] = &[
    ("0000:00:02.0", "boot display"),
    // Its driver is built into Debian's kernels.
    ("0000:00:05.0", "serial card"),
    ("0000:01:00.0", "graphics card"),
    ("0000:01:00.1", "  its audio function"),
    ("0000:01:00.2", "  its USB function"),
    ("0000:02:00.0", "network card"),
    ("0000:03:00.0", "network card, same ID"),
];

/// A machine under QEMU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    /// Intel, with an IOMMU that the kernel turns on.
    Intel,
    /// Intel, with an IOMMU that the kernel command line turns off.
    IntelOff,
    /// A machine whose firmware offers no IOMMU.
    Bare,
    /// AMD, with an IOMMU.
    Amd,
}

impl Machine {
    /// A word for file names and for the lines that are printed.
    pub fn name(self) -> &'static str {
        match self {
            Machine::Intel => "intel",
            Machine::IntelOff => "intel-off",
            Machine::Bare => "bare",
            Machine::Amd => "amd",
        }
    }

    /// What the kernel command line says about the IOMMU.
    pub fn cmdline(self) -> &'static str {
        match self {
            Machine::Intel => "intel_iommu=on",
            Machine::IntelOff => "intel_iommu=off",
            Machine::Bare | Machine::Amd => "",
        }
    }

    /// QEMU's arguments, separated by blanks.
    pub fn arguments(self) -> String {
        let iommu = match self {
            Machine::Intel | Machine::IntelOff => "-cpu max -device intel-iommu,intremap=on,caching-mode=on",
            Machine::Bare => "-cpu max",
            Machine::Amd => "-cpu EPYC -device amd-iommu",
        };
        format!(
            "-machine q35,kernel-irqchip=split -smp 1 -m 512 {iommu} \
             -audiodev none,id=silence -netdev user,id=net1,restrict=on -netdev user,id=net2,restrict=on \
             -device VGA,addr=02.0 -device pci-serial,addr=05.0 \
             -device pcie-root-port,id=port1,chassis=1,addr=1c.0,multifunction=on \
             -device pcie-root-port,id=port2,chassis=2,addr=1c.1 \
             -device pcie-root-port,id=port3,chassis=3,addr=1c.2 \
             -device bochs-display,bus=port1,addr=0.0,multifunction=on \
             -device intel-hda,bus=port1,addr=0.1,id=audio -device hda-output,bus=audio.0,audiodev=silence \
             -device qemu-xhci,bus=port1,addr=0.2 \
             -device e1000e,bus=port2,netdev=net1 -device e1000e,bus=port3,netdev=net2"
        )
    }
}
