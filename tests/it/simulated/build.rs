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
];

const RELEASE: &str = "6.1.0-sim";
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
        let mut state = State { modprobe: true, root: true, ..State::default() };
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
        put_line(tree, "/proc/sys/kernel/osrelease", RELEASE);
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
    /// the other functions of its slot; [`Builder::group`] moves it.
    pub(crate) fn function(&mut self, address: &str, port: Option<&str>, function: &Function) -> &mut Self {
        let name: Address = address.parse().unwrap();
        let above = port.map_or(ROOT_BUS.to_owned(), |port| self.state.directory("pci", port).unwrap());
        let directory = format!("{above}/{address}");
        let identity = &function.identity;
        let tree = &mut self.state.tree;
        tree.put(&directory, Node::Directory);
        for (attribute, value) in [
            ("modalias", identity.modalias("pci")),
            ("vendor", format!("0x{:04x}", identity.vendor)),
            ("device", format!("0x{:04x}", identity.device)),
            ("subsystem_vendor", format!("0x{:04x}", identity.subvendor)),
            ("subsystem_device", format!("0x{:04x}", identity.subdevice)),
            ("class", format!("0x{}", identity.class)),
            ("driver_override", "(null)".to_owned()),
            ("power_state", "D0".to_owned()),
            ("power/control", "on".to_owned()),
            ("numa_node", "-1".to_owned()),
            ("reset_method", "flr bus".to_owned()),
        ] {
            put_line(tree, &format!("{directory}/{attribute}"), &value);
        }
        if identity.class.is_display() {
            put_line(tree, &format!("{directory}/boot_vga"), "0");
        }
        put_link(tree, &format!("{directory}/subsystem"), "/sys/bus/pci");
        put_link(tree, &format!("/sys/bus/pci/devices/{address}"), &directory);
        let group = self.group_of_slot(name).unwrap_or_else(|| self.free_group());
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

    fn free_group(&self) -> u32 {
        let used = self.state.tree.list("/sys/kernel/iommu_groups").unwrap_or_default();
        (0..1000).find(|number: &u32| !used.contains(&number.to_string())).unwrap()
    }

    /// Moves a function to another IOMMU group, or to none.
    pub(crate) fn group(&mut self, address: &str, group: Option<u32>) -> &mut Self {
        let directory = self.state.directory("pci", address).unwrap();
        let link = format!("{directory}/iommu_group");
        let tree = &mut self.state.tree;
        if let Ok(old) = tree.resolve(&link, true) {
            tree.remove(&format!("{old}/devices/{address}"));
            if tree.list(&format!("{old}/devices")).unwrap().is_empty() {
                tree.remove(&old);
            }
        }
        tree.remove(&link);
        if let Some(group) = group {
            let home = format!("/sys/kernel/iommu_groups/{group}");
            put_line(tree, &format!("{home}/type"), "DMA");
            put_line(tree, &format!("{home}/reserved_regions"), "0x00000000fee00000 0x00000000feefffff msi");
            put_link(tree, &format!("{home}/devices/{address}"), &directory);
            put_link(tree, &link, &home);
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

    /// The display that the firmware used, with the firmware's frame buffer on it and simpledrm's driver.
    pub(crate) fn boot_display(&mut self, address: &str) -> &mut Self {
        self.attribute(address, "boot_vga", "1");
        self.attribute(
            address,
            "resource",
            "0x00000000a0000000 0x00000000a0ffffff 0x0000000000040200\n0x00000000c0000000 0x00000000cfffffff 0x000000000014220c",
        );
        let tree = &mut self.state.tree;
        let device = "/sys/devices/platform/simple-framebuffer.0";
        put_line(tree, &format!("{device}/modalias"), "platform:simple-framebuffer");
        put_line(tree, &format!("{device}/driver_override"), "(null)");
        put_link(tree, &format!("{device}/subsystem"), "/sys/bus/platform");
        put_link(tree, "/sys/bus/platform/devices/simple-framebuffer.0", device);
        put_line(tree, &format!("{device}/graphics/fb0/name"), "simpledrmdrmfb");
        put_link(tree, "/sys/class/graphics/fb0", &format!("{device}/graphics/fb0"));
        self.state.register(Driver::platform("simple-framebuffer")).unwrap();
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

    /// A module is part of the kernel: its driver has probed before anything else runs.
    pub(crate) fn built_in(&mut self, name: &str) -> &mut Self {
        let module = self.state.module(name);
        module.place = Place::Kernel;
        if let Some(driver) = module.driver.clone() {
            self.state.register(driver).unwrap();
        }
        self
    }

    /// A module was loaded before the program runs.
    pub(crate) fn loaded(&mut self, name: &str) -> &mut Self {
        self.state.load_anyhow(name);
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
        write_module_files(&mut state.tree, &state.modules);
        state.probes.clear();
        SimulatedMachine::new(state)
    }
}

/// What depmod wrote into the image.
fn write_module_files(tree: &mut Tree, modules: &[Module]) {
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
        tree.put(&format!("/lib/modules/{RELEASE}/modules.{name}"), Node::File(text.into_bytes()));
    }
}
