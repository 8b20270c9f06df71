// SPDX-License-Identifier: MIT OR Apache-2.0
//! Machines to order: a PC with an IOMMU, root ports, and what is plugged in.

use std::fmt::Write;

use vfio_early::machine::{Node, Tree};
use vfio_early::pci::{Address, Class, Identity};

use super::SimulatedMachine;
use super::driver::Driver;
use super::kernel::State;
use super::links::{put_line, put_link};
use super::modules::{Module, Place};
use super::sriov::Sriov;
use super::version::Version;

/// A model of function.
#[derive(Debug)]
pub(crate) struct Function {
    /// What it says that it is.
    pub(crate) identity: Identity,
}

const fn function(vendor: u16, device: u16, class: u32) -> Function {
    Function { identity: Identity { vendor, device, subvendor: 0x1462, subdevice: 0x3711, class: Class(class) } }
}

pub(crate) const GPU: Function = function(0x10de, 0x1e04, 0x03_00_00);
pub(crate) const GPU_AUDIO: Function = function(0x10de, 0x10f7, 0x04_03_00);
pub(crate) const GPU_USB: Function = function(0x10de, 0x1ad6, 0x0c_03_30);
pub(crate) const GPU_UCSI: Function = function(0x10de, 0x1ad7, 0x0c_80_00);
pub(crate) const IGPU: Function = function(0x8086, 0x3e92, 0x03_00_00);
pub(crate) const NVME: Function = function(0x144d, 0xa808, 0x01_08_02);
pub(crate) const SATA: Function = function(0x8086, 0xa352, 0x01_06_01);
pub(crate) const NIC: Function = function(0x8086, 0x15bc, 0x02_00_00);
/// A network card with virtual functions, as QEMU has it.
pub(crate) const IGB: Function = function(0x8086, 0x10c9, 0x02_00_00);
/// QuickAssist: vfio-pci will not have it.
pub(crate) const QAT: Function = function(0x8086, 0x37c8, 0x0b_40_00);
/// A GPU without an output.
pub(crate) const ACCELERATOR: Function = function(0x10de, 0x2236, 0x03_02_00);
/// Battlemage: it has a variant driver in 7.2.
pub(crate) const XE: Function = function(0x8086, 0xe20b, 0x03_00_00);
/// A bridge to a conventional bus.
pub(crate) const BRIDGE: Function = function(0x1b36, 0x0001, 0x06_04_00);

/// A host driver: its module, its name, the modaliases that it takes.
const HOST_DRIVERS: &[(&str, &str, &[&str])] = &[
    ("nouveau", "nouveau", &["pci:v000010DEd*sv*sd*bc03sc*i*"]),
    ("snd_hda_intel", "snd_hda_intel", &["pci:v000010DEd*sv*sd*bc04sc03i00*", "pci:v00008086d*sv*sd*bc04sc03i00*"]),
    ("xhci_pci", "xhci_hcd", &["pci:v*d*sv*sd*bc0Csc03i30*"]),
    ("i2c_nvidia_gpu", "nvidia-gpu", &["pci:v000010DEd*sv*sd*bc0Csc80i00*"]),
    ("i915", "i915", &["pci:v00008086d00003E92sv*sd*bc03sc*i*"]),
    ("nvme", "nvme", &["pci:v*d*sv*sd*bc01sc08i02*"]),
    ("ahci", "ahci", &["pci:v*d*sv*sd*bc01sc06i01*"]),
    ("e1000e", "e1000e", &["pci:v00008086d000015BCsv*sd*bc*sc*i*"]),
    ("igb", "igb", &["pci:v00008086d000010C9sv*sd*bc*sc*i*"]),
    ("qat_c62x", "c6xx", &["pci:v00008086d000037C8sv*sd*bc*sc*i*"]),
    ("igbvf", "igbvf", &["pci:v00008086d000010CAsv*sd*bc*sc*i*"]),
];

/// The variant drivers of VFIO: since which kernel, the module, the name that its driver registers, one of its IDs.
const VARIANTS: &[(Version, &str, &str, &str)] = &[
    (Version::V6_1, "mlx5_vfio_pci", "mlx5_vfio_pci", "v000015B3d0000101E"),
    (Version::V6_1, "hisi_acc_vfio_pci", "hisi_acc_vfio_pci", "v000019E5d0000A251"),
    (Version::V6_12, "nvgrace_gpu_vfio_pci", "nvgrace_gpu_vfio_pci", "v000010DEd00002342"),
    (Version::V6_12, "pds_vfio_pci", "pds_vfio_pci", "v00001DD8d00001003"),
    (Version::V6_12, "qat_vfio_pci", "qat_vfio_pci", "v00008086d00004941"),
    (Version::V6_12, "virtio_vfio_pci", "virtio_vfio_pci", "v00001AF4d00001041"),
    (Version::V7_2, "xe_vfio_pci", "xe-vfio-pci", "v00008086d0000E20B"),
    (Version::V7_2, "ism_vfio_pci", "ism_vfio_pci", "v00001014d000004ED"),
];

const ROOT_BUS: &str = "/sys/devices/pci0000:00";

/// A machine that is being put together.
#[derive(Clone, Debug)]
pub(crate) struct Builder {
    state: State,
}

impl Builder {
    /// A PC with an enabled Intel IOMMU, the host's modules and those of VFIO, and nothing plugged in. Everything is a
    /// module, nothing is loaded but the root ports' driver.
    pub(crate) fn new() -> Self {
        Self::of(Version::default())
    }

    /// The same with this kernel.
    pub(crate) fn of(version: Version) -> Self {
        let mut state = State { version, modprobe: true, root: true, ..State::default() };
        let tree = &mut state.tree;
        for bus in ["pci", "platform"] {
            for directory in ["devices", "drivers"] {
                tree.put(&format!("/sys/bus/{bus}/{directory}"), Node::Directory);
            }
            tree.put(&format!("/sys/bus/{bus}/drivers_probe"), Node::File(Vec::new()));
            put_line(tree, &format!("/sys/bus/{bus}/drivers_autoprobe"), "1");
        }
        for directory in ["/run", "/etc", "/sys/class/drm", "/sys/class/graphics", ROOT_BUS, "/sys/kernel/iommu_groups"]
        {
            tree.put(directory, Node::Directory);
        }
        tree.put("/dev/kmsg", Node::File(Vec::new()));
        put_line(tree, "/proc/sys/kernel/osrelease", version.release());
        put_line(tree, "/proc/uptime", "1.25 3.50");
        put_line(tree, "/proc/cmdline", "BOOT_IMAGE=/vmlinuz root=/dev/nvme0n1p2 ro intel_iommu=on");
        tree.put(
            "/proc/interrupts",
            Node::File(b"            CPU0\n 24:          0  IR-PCI-MSI 16384-edge      PCIe PME\n".to_vec()),
        );
        tree.put("/sys/firmware/acpi/tables/DMAR", Node::File(b"DMAR".to_vec()));
        let unit = "/sys/devices/virtual/iommu/dmar0";
        tree.put(&format!("{unit}/devices"), Node::Directory);
        put_line(tree, &format!("{unit}/intel-iommu/version"), "1:0");
        put_link(tree, "/sys/class/iommu/dmar0", unit);
        for (name, needs) in [("vfio", &[][..]), ("vfio_pci_core", &["vfio"])] {
            state.modules.push(Module::new(name, needs, None));
        }
        state.modules.push(Module::new(
            "vfio_pci",
            &["vfio_pci_core"],
            Some(Driver::pci("vfio-pci", &["vfio_pci:v*"])),
        ));
        for (module, driver, ids) in HOST_DRIVERS {
            state.modules.push(Module::new(module, &[], Some(Driver::pci(driver, ids))));
        }
        let mut builder = Self { state };
        let ids = &["pci:v*d*sv*sd*bc06sc04i*"];
        builder.state.register(Driver::pci("pcieport", ids)).unwrap();
        builder.function("0000:00:00.0", None, &function(0x8086, 0x3e30, 0x06_00_00));
        builder
    }

    /// A root port at `00:DEVICE.0`.
    pub(crate) fn port(&mut self, address: &str) -> &mut Self {
        let port = function(0x8086, 0x1901, 0x06_04_00);
        self.function(address, None, &port);
        self.state.attach("pci", address).unwrap();
        self
    }

    /// A function at `address`: on the root bus, or on the bus below `port`. It gets an IOMMU group of its own, or that of
    /// the other functions of its slot; [`Builder::group`] moves it. The order in which functions are added is the kernel's:
    /// only the first one on a bus can list `bus` among its reset methods.
    pub(crate) fn function(&mut self, address: &str, port: Option<&str>, function: &Function) -> &mut Self {
        let name: Address = address.parse().unwrap();
        let above = port.map_or(ROOT_BUS.to_owned(), |port| self.state.directory("pci", port).unwrap());
        self.state.add_device(address, &above, &function.identity, false);
        let group = self.group_of_slot(name).unwrap_or_else(|| self.state.free_group());
        self.group(address, Some(group))
    }

    fn group_of_slot(&self, address: Address) -> Option<u32> {
        let slot = |name: &&String| {
            name.parse::<Address>().is_ok_and(|other| other != address && other.slot() == address.slot())
        };
        let other = self.state.devices("pci").iter().find(slot)?.clone();
        let group = self.state.tree.link(&format!("/sys/bus/pci/devices/{other}/iommu_group")).ok()?;
        group.rsplit('/').next()?.parse().ok()
    }

    /// Moves a function to another IOMMU group, or to none.
    pub(crate) fn group(&mut self, address: &str, group: Option<u32>) -> &mut Self {
        self.state.join_group(address, group);
        self
    }

    /// A bridge to a conventional bus, in the IOMMU group of what is below it: with a hot-plug controller (SHPC), the
    /// driver of which is part of Debian's kernels (CONFIG_HOTPLUG_PCI_SHPC) and registered after pcieport's, or without.
    pub(crate) fn bridge(&mut self, address: &str, port: Option<&str>, hotplug: bool) -> &mut Self {
        self.function(address, port, &BRIDGE);
        self.state.conventional.insert(address.to_owned(), hotplug);
        if !self.state.drivers.iter().any(|driver| driver.name == "shpchp") {
            self.state.register(Driver::pci("shpchp", &["pci:v*d*sv*sd*bc06sc04i00*"])).unwrap();
        }
        self.state.attach("pci", address).unwrap();
        self
    }

    /// A function has these ways to reset it besides those of its bus.
    pub(crate) fn resets(&mut self, address: &str, methods: &str) -> &mut Self {
        self.state.supports_resets(address, methods);
        self
    }

    /// A function can have virtual ones: with this device ID, the first so many routing IDs after it.
    pub(crate) fn physical(&mut self, address: &str, device: u16, offset: u16) -> &mut Self {
        self.state.add_sriov(address, Sriov { total: 7, device, offset, stride: if offset == 1 { 1 } else { 2 } });
        self
    }

    /// The variant drivers that this kernel has, as modules in the image.
    pub(crate) fn variants(&mut self) -> &mut Self {
        for (_, module, driver, id) in VARIANTS.iter().filter(|(since, ..)| *since <= self.state.version) {
            let driver = Driver::pci(driver, &[&format!("vfio_pci:{id}sv*sd*bc*sc*i*")]);
            self.state.modules.push(Module::new(module, &["vfio_pci_core"], Some(driver)));
        }
        self
    }

    /// Changes an attribute of a function before the machine starts.
    pub(crate) fn attribute(&mut self, address: &str, name: &str, value: &str) -> &mut Self {
        let directory = self.state.directory("pci", address).unwrap();
        put_line(&mut self.state.tree, &format!("{directory}/{name}"), value);
        self
    }

    /// Gives a function a BAR 1 of 256 MiB that can have 64 MiB to 32 GiB.
    pub(crate) fn resizable(&mut self, address: &str) -> &mut Self {
        self.attribute(address, "resource1_resize", "000000000000ffc0").attribute(
            address,
            "resource",
            "0x00000000a0000000 0x00000000a0ffffff 0x0000000000040200\n0x00000000c0000000 0x00000000cfffffff 0x000000000014220c",
        )
    }

    /// The display that the firmware used, with the firmware's framebuffer in its BAR 1, and simpledrm on it.
    pub(crate) fn boot_display(&mut self, address: &str) -> &mut Self {
        if self.state.attribute_of(address, "boot_vga").is_some() {
            self.attribute(address, "boot_vga", "1");
        }
        self.attribute(
            address,
            "resource",
            "0x00000000a0000000 0x00000000a0ffffff 0x0000000000040200\n0x00000000c0000000 0x00000000cfffffff 0x000000000014220c",
        );
        self.framebuffer("simple-framebuffer", Some(address))
    }

    /// The firmware's framebuffer, as a device of this kind, in a BAR of this function or in none, and its driver.
    pub(crate) fn framebuffer(&mut self, kind: &str, lies_in: Option<&str>) -> &mut Self {
        self.state.add_framebuffer(kind, lies_in);
        self
    }

    /// The configuration file.
    pub(crate) fn config(&mut self, text: &str) -> &mut Self {
        self.file("/etc/vfio-early.conf", text)
    }

    /// Any file.
    pub(crate) fn file(&mut self, path: &str, text: &str) -> &mut Self {
        self.state.tree.put(path, Node::File(text.as_bytes().to_vec()));
        self
    }

    /// A module is part of the kernel: its driver has probed before anything else runs. It takes its parameters from the
    /// kernel command line as it is now.
    pub(crate) fn built_in(&mut self, name: &str) -> &mut Self {
        self.state.build_in(name);
        self
    }

    /// A module was loaded before the program runs.
    pub(crate) fn loaded(&mut self, name: &str) -> &mut Self {
        self.loaded_with(name, &[])
    }

    /// The same with arguments to modprobe.
    pub(crate) fn loaded_with(&mut self, name: &str, arguments: &[&str]) -> &mut Self {
        let arguments: Vec<String> = arguments.iter().map(|word| (*word).to_owned()).collect();
        self.state.load_anyhow(name, &arguments);
        self
    }

    /// Anything else.
    pub(crate) fn with(&mut self, change: impl FnOnce(&mut State)) -> &mut Self {
        change(&mut self.state);
        self
    }

    /// The machine, as it stands when the initramfs begins.
    pub(crate) fn start(&self) -> SimulatedMachine {
        let mut state = self.state.clone();
        let release = state.version.release();
        write_module_files(&mut state.tree, release, &state.modules);
        state.probes.clear();
        state.events.clear();
        SimulatedMachine::new(state)
    }
}

/// What depmod wrote into the image.
fn write_module_files(tree: &mut Tree, release: &str, modules: &[Module]) {
    let (mut alias, mut dep, mut builtin) =
        (String::from("# Aliases extracted from modules themselves.\n"), String::new(), String::new());
    for module in modules {
        let name = &module.name;
        if module.place == Place::Kernel {
            writeln!(builtin, "kernel/drivers/{name}.ko").unwrap();
        } else if module.place == Place::Image {
            let needs: Vec<String> = module.needs.iter().map(|need| format!(" kernel/drivers/{need}.ko")).collect();
            writeln!(dep, "kernel/drivers/{name}.ko:{}", needs.concat()).unwrap();
            for id in module.driver.iter().flat_map(|driver| &driver.ids) {
                writeln!(alias, "alias {id} {name}").unwrap();
            }
        }
    }
    for (name, text) in [("alias", alias), ("dep", dep), ("builtin", builtin)] {
        tree.put(&format!("/lib/modules/{release}/modules.{name}"), Node::File(text.into_bytes()));
    }
}
