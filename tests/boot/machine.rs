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
    /// Intel, with option ROMs that are known: the first network card has [`ROM`], the second has no ROM BAR.
    Roms,
    /// Intel, and a real root on an NVMe disk, which has an identical twin. Two network cards are plugged in,
    /// and virtual functions appear, after the boot.
    Disk,
    /// Intel, and a real root on an NVMe disk, which has an identical twin.
    Root,
    /// Intel, with two devices that have virtual functions, a network card (igb) and an NVMe controller, and a card of two
    /// functions (virtio-net) that the kernel can reset in more than one way. The virtual functions appear in the
    /// initramfs, after udev's coldplug.
    Functions,
    /// Intel, booted by UEFI, whose only display is the graphics card, of class 0380.
    Uefi,
    /// Intel, booted by UEFI, with a VGA controller and the graphics card, of class 0380.
    UefiTwo,
    /// Intel. In the slot of the graphics card are a second display function and, as in the slot of a processor's display,
    /// a function of another maker in an IOMMU group of its own: of igb, the kernel knows that its functions are isolated
    /// (drivers/pci/quirks.c, `pci_quirk_mf_endpoint_acs`).
    Slot,
    /// Intel. The graphics card brings bridges of its own, with a USB controller behind another one of them.
    Bridges,
    /// Intel. The second network card is taken out when the guest asks for that.
    Unplugged,
    /// Intel. Eight slots are filled in the initramfs, after udev's coldplug, with sources of random numbers: 64 functions.
    Plugged,
    /// Intel, and an NVMe namespace that two controllers of one subsystem reach, beside a third controller.
    Layers,
    /// A virtual machine with a virtio-iommu, whose driver is a module.
    VirtioIommu,
    /// arm64, with a device tree, an SMMUv3, and a GICv3 with an ITS.
    Arm,
    /// The same with UEFI, and so with ACPI.
    ArmAcpi,
    /// The same with a device tree and a GICv2: QEMU's root ports want message interrupts, which its GICv3 without an ITS lacks.
    ArmNoIts,
    /// The same without an IOMMU.
    ArmOff,
    /// The same with UEFI, and without an IOMMU.
    ArmAcpiOff,
    /// The same with a virtio-iommu.
    ArmVirtio,
    /// Intel, and a real root that starts guests: a network card with virtual functions, and an NVMe disk with a known content.
    Guests,
}

/// A ROM file of QEMU's own packages, smaller than its BAR.
pub const ROM: &str = "pxe-e1000e.rom";

/// How many slots [`Machine::Plugged`] fills, with eight functions each.
const PLUGGED: usize = 8;

/// The content of the disk that is known: numbers of eight bytes, ascending from 0.
pub fn known_content() -> Vec<u8> {
    (0..4 * 1024 * 1024 / 8_u64).flat_map(u64::to_le_bytes).collect()
}

impl Machine {
    /// A word for file names and for the lines that are printed.
    pub fn name(self) -> &'static str {
        match self {
            Machine::Intel => "intel",
            Machine::IntelOff => "intel-off",
            Machine::Bare => "bare",
            Machine::Amd => "amd",
            Machine::Roms => "roms",
            Machine::Disk => "disk",
            Machine::Root => "root",
            Machine::Functions => "functions",
            Machine::Layers => "layers",
            Machine::Guests => "guests",
            Machine::Uefi => "uefi",
            Machine::UefiTwo => "uefi-two",
            Machine::Slot => "slot",
            Machine::Bridges => "bridges",
            Machine::Unplugged => "unplugged",
            Machine::Plugged => "plugged",
            Machine::VirtioIommu => "virtio-iommu",
            Machine::Arm => "arm",
            Machine::ArmAcpi => "arm-acpi",
            Machine::ArmNoIts => "arm-no-its",
            Machine::ArmOff => "arm-off",
            Machine::ArmAcpiOff => "arm-acpi-off",
            Machine::ArmVirtio => "arm-virtio",
        }
    }

    /// What the kernel command line says about the IOMMU.
    pub fn cmdline(self) -> &'static str {
        match self {
            Machine::Intel
            | Machine::Roms
            | Machine::Layers
            | Machine::Uefi
            | Machine::UefiTwo
            | Machine::Slot
            | Machine::Bridges
            | Machine::Unplugged => "intel_iommu=on",
            Machine::Plugged => "intel_iommu=on lab.virtual lab.plugged=64",
            Machine::Disk => "intel_iommu=on root=LABEL=lab rw lab.later",
            Machine::Root => "intel_iommu=on root=LABEL=lab rw init=/lib/systemd/systemd",
            Machine::Functions => "intel_iommu=on lab.virtual",
            // Without systemd, which takes longer than everything else. Whether udev gets to the chipset before it is stopped is
            // a matter of luck.
            Machine::Guests => "intel_iommu=on root=LABEL=lab rw init=/lab/init modprobe.blacklist=lpc_ich,i2c_i801",
            Machine::IntelOff => "intel_iommu=off",
            Machine::Bare
            | Machine::Amd
            | Machine::VirtioIommu
            | Machine::Arm
            | Machine::ArmAcpi
            | Machine::ArmNoIts
            | Machine::ArmOff
            | Machine::ArmAcpiOff
            | Machine::ArmVirtio => "",
        }
    }

    /// Whether it boots into a real root.
    pub fn has_disk(self) -> bool {
        matches!(self, Machine::Disk | Machine::Root | Machine::Guests)
    }

    /// What QEMU's monitor is told when the guest asks for it.
    pub fn later(self) -> Vec<String> {
        let add = |driver: &str, rest: &str| {
            format!(r#"{{"execute":"device_add","arguments":{{"driver":"{driver}",{rest}}}}}"#)
        };
        match self {
            Machine::Disk => [("late", "port4"), ("host", "port8")]
                .map(|(id, bus)| add("e1000e", &format!(r#""id":"{id}","bus":"{bus}""#)))
                .into(),
            Machine::Unplugged => vec![r#"{"execute":"device_del","arguments":{"id":"second"}}"#.to_owned()],
            // The first function comes last: with it, the guest sees the slot.
            Machine::Plugged => (0..PLUGGED)
                .flat_map(|slot| (0..8).rev().map(move |function| (slot + 4, function)))
                .map(|(port, function)| {
                    add("virtio-rng-pci", &format!(r#""bus":"port{port}","addr":"0.{function}","multifunction":true"#))
                })
                .collect(),
            _ => Vec::new(),
        }
    }

    /// Whether it has a device that QEMU has only from 8.0 on.
    pub fn needs_new_qemu(self) -> bool {
        matches!(self, Machine::Functions | Machine::Guests | Machine::Slot)
    }

    /// Whether its firmware is UEFI.
    pub fn has_uefi(self) -> bool {
        matches!(self, Machine::Uefi | Machine::UefiTwo | Machine::ArmAcpi | Machine::ArmAcpiOff)
    }

    /// Whether its processor is an arm64.
    pub fn is_arm(self) -> bool {
        matches!(
            self,
            Machine::Arm
                | Machine::ArmAcpi
                | Machine::ArmNoIts
                | Machine::ArmOff
                | Machine::ArmAcpiOff
                | Machine::ArmVirtio
        )
    }

    /// QEMU's arguments, separated by blanks.
    pub fn arguments(self) -> String {
        let iommu = match self {
            Machine::Intel
            | Machine::IntelOff
            | Machine::Roms
            | Machine::Disk
            | Machine::Root
            | Machine::Functions
            | Machine::Layers
            | Machine::Guests
            | Machine::Uefi
            | Machine::UefiTwo
            | Machine::Slot
            | Machine::Bridges
            | Machine::Unplugged
            | Machine::Plugged => "-cpu max -device intel-iommu,intremap=on,caching-mode=on",
            Machine::Bare => "-cpu max",
            Machine::Amd => "-cpu EPYC -device amd-iommu",
            Machine::VirtioIommu => "-cpu max -device virtio-iommu-pci",
            // Authenticated pointers by the algorithm of the architecture are slow to emulate.
            Machine::Arm | Machine::ArmAcpi => "-machine virt,gic-version=3,iommu=smmuv3 -cpu max,pauth-impdef=on",
            Machine::ArmNoIts => "-machine virt,gic-version=2,iommu=smmuv3 -cpu max,pauth-impdef=on",
            Machine::ArmOff | Machine::ArmAcpiOff => "-machine virt,gic-version=3 -cpu max,pauth-impdef=on",
            Machine::ArmVirtio => "-machine virt,gic-version=3 -cpu max,pauth-impdef=on -device virtio-iommu-pci",
        };
        let iommu = if self.is_arm() { iommu.to_owned() } else { format!("-machine q35,kernel-irqchip=split {iommu}") };
        // One that runs a guest, and one that emulates what it has.
        let processors = if self == Machine::Guests { 2 } else { 1 };
        let (first, second) =
            if self == Machine::Roms { (format!(",romfile={ROM}"), ",rombar=0") } else { (String::new(), "") };
        let disks = if self == Machine::Disk {
            "-m 1024 -device pcie-root-port,id=port4,chassis=4,addr=1c.3 \
             -device pcie-root-port,id=port5,chassis=5,addr=1c.4 -device pcie-root-port,id=port6,chassis=6,addr=1c.5 \
             -device pcie-root-port,id=port7,chassis=7,addr=1c.6 -device pcie-root-port,id=port8,chassis=8,addr=1c.7 \
             -device nvme,bus=port5,serial=root,drive=root \
             -device nvme,bus=port6,serial=twin,drive=twin -drive if=none,id=twin,driver=null-co,size=16M \
             -device nvme-subsys,id=subsystem \
             -device nvme,bus=port7,serial=many,subsys=subsystem,sriov_max_vfs=2,max_ioqpairs=8,msix_qsize=9,\
sriov_vq_flexible=4,sriov_vi_flexible=2"
        } else if self == Machine::Root {
            "-m 768 -device pcie-root-port,id=port5,chassis=5,addr=1c.3 -device pcie-root-port,id=port6,chassis=6,addr=1c.4 \
             -device nvme,bus=port5,serial=root,drive=root \
             -device nvme,bus=port6,serial=twin,drive=twin -drive if=none,id=twin,driver=null-co,size=16M"
        } else if self == Machine::Functions {
            "-m 512 -device pcie-root-port,id=port4,chassis=4,addr=1c.3 \
             -device pcie-root-port,id=port5,chassis=5,addr=1c.4 -device pcie-root-port,id=port6,chassis=6,addr=1c.5 \
             -device igb,bus=port4 -device nvme-subsys,id=subsystem \
             -device nvme,bus=port5,serial=many,subsys=subsystem,sriov_max_vfs=2,max_ioqpairs=8,msix_qsize=9,\
sriov_vq_flexible=4,sriov_vi_flexible=2 \
             -device virtio-net-pci,bus=port6,addr=0.0,multifunction=on,romfile= \
             -device virtio-net-pci,bus=port6,addr=0.1,romfile="
        } else if self == Machine::Layers {
            "-m 512 -device pcie-root-port,id=port4,chassis=4,addr=1c.3 \
             -device pcie-root-port,id=port5,chassis=5,addr=1c.4 -device pcie-root-port,id=port6,chassis=6,addr=1c.5 \
             -device nvme-subsys,id=shared -device nvme,id=one,bus=port4,serial=lab,subsys=shared \
             -device nvme,bus=port5,serial=lab,subsys=shared -device nvme-ns,bus=one,drive=scratch,nsid=1 \
             -device nvme,bus=port6,serial=free,drive=twin -drive if=none,id=twin,driver=null-co,size=16M"
        } else if self == Machine::Guests {
            "-m 2048 -device pcie-root-port,id=port4,chassis=4,addr=1c.3 \
             -device pcie-root-port,id=port5,chassis=5,addr=1c.4 -device pcie-root-port,id=port6,chassis=6,addr=1c.5 \
             -device igb,bus=port4 -device nvme,bus=port5,serial=root,drive=root -device nvme,bus=port6,serial=known,drive=known"
        } else if self == Machine::Plugged {
            "-m 512 -device pcie-root-port,id=port4,chassis=4,addr=1c.3,io-reserve=0 \
             -device pcie-root-port,id=port5,chassis=5,addr=1c.4,io-reserve=0 \
             -device pcie-root-port,id=port6,chassis=6,addr=1c.5,io-reserve=0 \
             -device pcie-root-port,id=port7,chassis=7,addr=1c.6,io-reserve=0 \
             -device pcie-root-port,id=port8,chassis=8,addr=1c.7,io-reserve=0 \
             -device pcie-root-port,id=port9,chassis=9,addr=1d.0,multifunction=on,io-reserve=0 \
             -device pcie-root-port,id=port10,chassis=10,addr=1d.1,io-reserve=0 \
             -device pcie-root-port,id=port11,chassis=11,addr=1d.2,io-reserve=0"
        } else {
            "-m 512"
        };
        let display = if self == Machine::Uefi { "" } else { "-device VGA,addr=02.0" };
        let card = match self {
            Machine::Slot => {
                "-device bochs-display,bus=port1,addr=0.0,multifunction=on -device secondary-vga,bus=port1,addr=0.1 \
                 -device igb,bus=port1,addr=0.2"
            }
            Machine::Bridges => {
                "-device pcie-pci-bridge,id=card,bus=port1 -device pci-bridge,id=left,bus=card,chassis_nr=41,addr=1,shpc=off \
                 -device pci-bridge,id=right,bus=card,chassis_nr=42,addr=2,shpc=off \
                 -device qxl,bus=left,addr=1 -device qemu-xhci,bus=right,addr=1"
            }
            _ => {
                "-device bochs-display,bus=port1,addr=0.0,multifunction=on \
                 -device intel-hda,bus=port1,addr=0.1,id=audio -device hda-output,bus=audio.0,audiodev=silence \
                 -device qemu-xhci,bus=port1,addr=0.2"
            }
        };
        format!(
            "{iommu} -smp {processors} \
             -audiodev none,id=silence -netdev user,id=net1,restrict=on -netdev user,id=net2,restrict=on \
             {display} -device pci-serial,addr=05.0 \
             -device pcie-root-port,id=port1,chassis=1,addr=1c.0,multifunction=on \
             -device pcie-root-port,id=port2,chassis=2,addr=1c.1 \
             -device pcie-root-port,id=port3,chassis=3,addr=1c.2 \
             {card} \
             -device e1000e,bus=port2,netdev=net1{first} -device e1000e,id=second,bus=port3,netdev=net2{second} {disks}"
        )
    }
}
