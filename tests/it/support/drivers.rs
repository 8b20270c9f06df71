// SPDX-License-Identifier: MIT OR Apache-2.0
//! The host drivers of the recorded machines, as kernel packages ship them.

/// A PCI driver: its name under /sys/bus/pci/drivers, its module, where that lies below /lib/modules/VERSION (without
/// `.ko`), the modules it needs that way, and its lines in modules.alias.
pub(crate) struct Driver {
    pub(crate) name: &'static str,
    pub(crate) module: &'static str,
    pub(crate) path: &'static str,
    pub(crate) needs: &'static [&'static str],
    pub(crate) aliases: &'static [&'static str],
}

/// The driver of this name.
pub(crate) fn driver(name: &str) -> &'static Driver {
    DRIVERS.iter().find(|driver| driver.name == name).unwrap_or_else(|| panic!("no driver {name} in the table"))
}

const fn new(
    name: &'static str,
    module: &'static str,
    path: &'static str,
    needs: &'static [&'static str],
    aliases: &'static [&'static str],
) -> Driver {
    Driver { name, module, path, needs, aliases }
}

const DRM: &[&str] = &["kernel/drivers/gpu/drm/drm_kms_helper", "kernel/drivers/gpu/drm/drm"];

const DRIVERS: &[Driver] = &[
    new("pcieport", "", "kernel/drivers/pci/pcie/portdrv", &[], &[]),
    new("serial", "", "kernel/drivers/tty/serial/8250/8250_pci", &[], &[]),
    new(
        "ahci",
        "ahci",
        "kernel/drivers/ata/ahci",
        &["kernel/drivers/ata/libahci", "kernel/drivers/ata/libata"],
        &["pci:v*d*sv*sd*bc01sc06i01*"],
    ),
    new(
        "nvme",
        "nvme",
        "kernel/drivers/nvme/host/nvme",
        &["kernel/drivers/nvme/host/nvme-core"],
        &["pci:v*d*sv*sd*bc01sc08i02*"],
    ),
    new("vmd", "vmd", "kernel/drivers/pci/controller/vmd", &[], &["pci:v00008086d0000467Fsv*sd*bc*sc*i*"]),
    new(
        "e1000e",
        "e1000e",
        "kernel/drivers/net/ethernet/intel/e1000e/e1000e",
        &[],
        &["pci:v00008086d000015BCsv*sd*bc*sc*i*", "pci:v00008086d000015B8sv*sd*bc*sc*i*"],
    ),
    new(
        "igb",
        "igb",
        "kernel/drivers/net/ethernet/intel/igb/igb",
        &["kernel/drivers/dca/dca", "kernel/drivers/i2c/algos/i2c-algo-bit"],
        &["pci:v00008086d00001521sv*sd*bc*sc*i*"],
    ),
    new(
        "ixgbe",
        "ixgbe",
        "kernel/drivers/net/ethernet/intel/ixgbe/ixgbe",
        &["kernel/drivers/dca/dca", "kernel/drivers/net/mdio"],
        &["pci:v00008086d000010FBsv*sd*bc*sc*i*"],
    ),
    new(
        "r8169",
        "r8169",
        "kernel/drivers/net/ethernet/realtek/r8169",
        &["kernel/drivers/net/phy/libphy"],
        &["pci:v000010ECd00008168sv*sd*bc*sc*i*"],
    ),
    new(
        "mlx5_core",
        "mlx5_core",
        "kernel/drivers/net/ethernet/mellanox/mlx5/core/mlx5_core",
        &["kernel/drivers/net/ethernet/mellanox/mlxfw/mlxfw"],
        &["pci:v000015B3d0000101Dsv*sd*bc*sc*i*", "pci:v000015B3d0000101Esv*sd*bc*sc*i*"],
    ),
    new(
        "iwlwifi",
        "iwlwifi",
        "kernel/drivers/net/wireless/intel/iwlwifi/iwlwifi",
        &["kernel/net/wireless/cfg80211", "kernel/net/rfkill/rfkill"],
        &["pci:v00008086d000051F0sv*sd*bc*sc*i*"],
    ),
    new(
        "i915",
        "i915",
        "kernel/drivers/gpu/drm/i915/i915",
        DRM,
        &["pci:v00008086d000046A6sv*sd*bc03sc*i*", "pci:v00008086d00003E92sv*sd*bc03sc*i*"],
    ),
    new(
        "amdgpu",
        "amdgpu",
        "kernel/drivers/gpu/drm/amd/amdgpu/amdgpu",
        DRM,
        &[
            "pci:v00001002d*sv*sd*bc03sc80i00*",
            "pci:v00001002d*sv*sd*bc03sc00i00*",
            "pci:v00001002d000073BFsv*sd*bc*sc*i*",
            "pci:v00001002d000067DFsv*sd*bc*sc*i*",
        ],
    ),
    new("nouveau", "nouveau", "kernel/drivers/gpu/drm/nouveau/nouveau", DRM, &["pci:v000010DEd*sv*sd*bc03sc*i*"]),
    new(
        "nvidia",
        "nvidia",
        "updates/dkms/nvidia",
        &[],
        &["pci:v000010DEd*sv*sd*bc03sc00i00*", "pci:v000010DEd*sv*sd*bc03sc02i00*"],
    ),
    new("ast", "ast", "kernel/drivers/gpu/drm/ast/ast", DRM, &["pci:v00001A03d00002000sv*sd*bc03sc*i*"]),
    new("mgag200", "mgag200", "kernel/drivers/gpu/drm/mgag200/mgag200", DRM, &["pci:v0000102Bd00000538sv*sd*bc*sc*i*"]),
    new(
        "snd_hda_intel",
        "snd_hda_intel",
        "kernel/sound/pci/hda/snd-hda-intel",
        &["kernel/sound/pci/hda/snd-hda-codec", "kernel/sound/core/snd-pcm", "kernel/sound/core/snd"],
        &[
            "pci:v000010DEd*sv*sd*bc04sc03i00*",
            "pci:v00001002d*sv*sd*bc04sc03i00*",
            "pci:v00001022d*sv*sd*bc04sc03i00*",
            "pci:v00008086d0000A348sv*sd*bc*sc*i*",
            "pci:v00008086d0000A2F0sv*sd*bc*sc*i*",
            "pci:v00008086d000051C8sv*sd*bc*sc*i*",
        ],
    ),
    new(
        "xhci_hcd",
        "xhci_pci",
        "kernel/drivers/usb/host/xhci-pci",
        &["kernel/drivers/usb/host/xhci-hcd", "kernel/drivers/usb/core/usbcore"],
        &["pci:v*d*sv*sd*bc0Csc03i30*"],
    ),
    new(
        "ehci-pci",
        "ehci_pci",
        "kernel/drivers/usb/host/ehci-pci",
        &["kernel/drivers/usb/host/ehci-hcd", "kernel/drivers/usb/core/usbcore"],
        &["pci:v*d*sv*sd*bc0Csc03i20*"],
    ),
    new(
        "nvidia-gpu",
        "i2c_nvidia_gpu",
        "kernel/drivers/i2c/busses/i2c-nvidia-gpu",
        &["kernel/drivers/i2c/busses/i2c-ccgx-ucsi"],
        &["pci:v000010DEd*sv*sd*bc0Csc80i00*"],
    ),
    new(
        "i801_smbus",
        "i2c_i801",
        "kernel/drivers/i2c/busses/i2c-i801",
        &["kernel/drivers/i2c/i2c-smbus"],
        &[
            "pci:v00008086d0000A323sv*sd*bc*sc*i*",
            "pci:v00008086d0000A2A3sv*sd*bc*sc*i*",
            "pci:v00008086d00008D22sv*sd*bc*sc*i*",
        ],
    ),
    new(
        "mei_me",
        "mei_me",
        "kernel/drivers/misc/mei/mei-me",
        &["kernel/drivers/misc/mei/mei"],
        &["pci:v00008086d0000A360sv*sd*bc*sc*i*", "pci:v00008086d000051E0sv*sd*bc*sc*i*"],
    ),
];

/// The modules around vfio-pci, as in Linux 6.2 and later: path and needed modules.
pub(crate) const VFIO: &[(&str, &[&str])] = &[
    ("kernel/drivers/vfio/vfio", &[]),
    ("kernel/drivers/vfio/vfio_iommu_type1", &["kernel/drivers/vfio/vfio"]),
    ("kernel/drivers/vfio/pci/vfio-pci-core", &["kernel/drivers/vfio/vfio", "kernel/virt/lib/irqbypass"]),
    (
        "kernel/drivers/vfio/pci/vfio-pci",
        &["kernel/drivers/vfio/pci/vfio-pci-core", "kernel/drivers/vfio/vfio", "kernel/virt/lib/irqbypass"],
    ),
];

/// The same before Linux 6.2, when eventfd handling was a module of its own.
pub(crate) const VFIO_WITH_VIRQFD: &[(&str, &[&str])] = &[
    ("kernel/drivers/vfio/vfio", &[]),
    ("kernel/drivers/vfio/vfio_virqfd", &[]),
    ("kernel/drivers/vfio/vfio_iommu_type1", &["kernel/drivers/vfio/vfio"]),
    (
        "kernel/drivers/vfio/pci/vfio-pci-core",
        &["kernel/drivers/vfio/vfio_virqfd", "kernel/drivers/vfio/vfio", "kernel/virt/lib/irqbypass"],
    ),
    (
        "kernel/drivers/vfio/pci/vfio-pci",
        &[
            "kernel/drivers/vfio/pci/vfio-pci-core",
            "kernel/drivers/vfio/vfio_virqfd",
            "kernel/drivers/vfio/vfio",
            "kernel/virt/lib/irqbypass",
        ],
    ),
];
