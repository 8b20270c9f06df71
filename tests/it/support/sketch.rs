// SPDX-License-Identifier: MIT OR Apache-2.0
//! Makes recorded machines from sketches, so that a machine of a thousand attributes is written in forty lines.
//!
//! A sketch has one statement a line, `#` starts a comment; the comment lines at its top are kept in the machine:
//!
//! ```text
//! states initramfs running            the machines to make: NAME.txt and NAME-running.txt
//! kernel 6.12.107+deb13-amd64 .ko.xz  version and the ending of its modules; `builtin vfio-pci` and so on may follow
//! cpu intel 2                         intel, amd or arm; how many interrupt columns
//! cmdline root=/dev/sda1 quiet        /proc/cmdline
//! table DMAR                          a firmware table
//! unit dmar0                          an IOMMU unit; where it is a device: `unit ivhd0 0000:00:00.2`
//! remapping                           interrupts are remapped
//! without vfio                        no vfio module is there
//! variant kernel/.../x-vfio-pci v15B3...   a VFIO variant driver and its pattern in modules.alias
//! type 2 identity                     the domain type of an IOMMU group, if it is not the usual one
//! region 2 0x... 0x... direct         a reserved region of a group, beside those that every group has
//! framebuffer efi-framebuffer 0000:00:02.0      the firmware framebuffer, below that device, or below `platform`
//! cores 0 0,8 1,9 2,10 3,11           the cores of NUMA node 0, each with its threads
//! block 0000:01:00.0/nvme/nvme0/nvme0n1/nvme0n1p2 259:2    a block device, below a device or below `virtual`;
//!     `dm=vg0-root` a device-mapper volume's name, `on=sda1+sdb1` what it is made of
//! net virtual/net/bond0 on=eno1+eno2  a network interface, and what it is made of
//! root 0000:00 node=0                 a root bus, then the devices on it, indented by two spaces a bridge:
//!   01.0 8086:1901:1849:1901 060400 bus=01 group=2 driver=pcieport
//!     00.0 10de:1b80 030000 group=2 boot driver=nouveau@running
//! | at /etc                           a line of the machine's own format
//! ```
//!
//! What follows `@` in a word holds for that state only.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use nix::errno::Errno;
use vfio_early::machine::{Node, Recorded, Tree};

use crate::support::drivers::{VFIO, VFIO_WITH_VIRQFD, driver};

/// The states that a sketch has, first one first.
pub(crate) fn states(sketch: &str) -> Vec<String> {
    let line = sketch.lines().find_map(|line| line.strip_prefix("states "));
    line.unwrap_or("initramfs").split_whitespace().map(ToOwned::to_owned).collect()
}

/// The comment lines at the top of a sketch.
pub(crate) fn comment(sketch: &str) -> String {
    sketch.lines().map_while(|line| line.strip_prefix('#')).fold(String::new(), |text, line| text + line.trim() + "\n")
}

/// The machine that a sketch shows, in one of its states.
pub(crate) fn draw(sketch: &str, state: &str) -> Tree {
    let mut drawing = Drawing { state: state.to_owned(), cpu: "intel".into(), ..Drawing::default() };
    drawing.tree.put("/proc/modules", Node::File(Vec::new()));
    let mut raw = String::from("vfio-early machine 1\n");
    for line in sketch.lines() {
        if let Some(line) = line.strip_prefix('|') {
            writeln!(raw, "{}", line.strip_prefix(' ').unwrap_or(line)).unwrap();
            continue;
        }
        let depth = line.len() - line.trim_start().len();
        let words: Vec<&str> = line.split('#').next().unwrap().split_whitespace().collect();
        let words: Vec<&str> = words.into_iter().filter_map(|word| drawing.holds(word)).collect();
        if !words.is_empty() {
            drawing.statement(depth / 2, &words);
        }
    }
    drawing.finish();
    for (path, node) in Recorded::parse(raw.as_bytes()).unwrap().tree().iter() {
        drawing.tree.put(path, node.clone());
    }
    drawing.tree
}

#[derive(Default)]
struct Drawing {
    tree: Tree,
    state: String,
    version: String,
    ending: String,
    cpu: String,
    columns: usize,
    remapping: bool,
    without_vfio: bool,
    variants: Vec<(String, String)>,
    builtin: Vec<String>,
    units: Vec<(String, String)>,
    types: BTreeMap<String, String>,
    regions: BTreeMap<String, Vec<String>>,
    /// The drivers of all devices in any state, and those that are loaded in this one.
    drivers: BTreeSet<String>,
    loaded: BTreeSet<String>,
    /// From the root bus down: the directory and the bus that devices of this depth lie in.
    above: Vec<(String, String, BTreeMap<String, String>)>,
    /// Where the next ports, 32-bit memory and 64-bit memory begin.
    next: BTreeMap<&'static str, u64>,
    /// Directory, address, group and unit of the devices that have a group.
    members: Vec<(String, String, String, Option<String>)>,
    framebuffers: Vec<(String, String)>,
    modaliases: Vec<String>,
    interrupts: Vec<String>,
}

impl Drawing {
    /// The word without `@STATE`, if it holds in this state.
    fn holds<'a>(&mut self, word: &'a str) -> Option<&'a str> {
        let Some((word, state)) = word.split_once('@') else { return Some(word) };
        if let Some(name) = word.strip_prefix("driver=") {
            self.drivers.insert(name.to_owned());
        }
        state.split(',').any(|state| state == self.state).then_some(word)
    }

    fn text(&mut self, path: &str, value: &str) {
        self.tree.put(path, Node::File(format!("{value}\n").into_bytes()));
    }

    fn link(&mut self, path: &str, target: &str) {
        self.tree.put(path, Node::Link(relative(path, target)));
    }

    fn statement(&mut self, depth: usize, words: &[&str]) {
        let rest = words[1..].join(" ");
        match words[0] {
            "states" => {}
            "kernel" => {
                words[1].clone_into(&mut self.version);
                words[2].clone_into(&mut self.ending);
                self.builtin = words.iter().skip(4).map(|word| (*word).to_owned()).collect();
                self.text("/proc/sys/kernel/osrelease", words[1]);
            }
            "cpu" => {
                words[1].clone_into(&mut self.cpu);
                self.columns = words[2].parse().unwrap();
            }
            "cmdline" => self.text("/proc/cmdline", &rest),
            "table" => {
                // The table itself is readable for root alone; what counts is that it is there.
                self.tree.put(&format!("/sys/firmware/acpi/tables/{}", words[1]), Node::Broken(Errno::EACCES));
            }
            "unit" => self.units.push((words[1].to_owned(), words.get(2).copied().unwrap_or("").to_owned())),
            "remapping" => self.remapping = true,
            "variant" => self.variants.push((words[1].to_owned(), words[2].to_owned())),
            "without" => self.without_vfio = true,
            "type" => drop(self.types.insert(words[1].to_owned(), words[2].to_owned())),
            "region" => self.regions.entry(words[1].to_owned()).or_default().push(words[2..].join(" ")),
            "cores" => self.cores(words),
            "block" | "net" => self.layer(words),
            "framebuffer" => self.framebuffers.push((words[1].to_owned(), words[2].to_owned())),
            "root" => {
                self.above.truncate(depth);
                let base = self.above.last().map_or("/sys/devices", |(directory, ..)| directory.as_str()).to_owned();
                let keys = words[2..].iter().map(|word| word.split_once('=').unwrap());
                let keys = keys.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
                self.above.push((format!("{base}/pci{}", words[1]), words[1].to_owned(), keys));
            }
            _ => self.device(depth, words),
        }
    }

    fn device(&mut self, depth: usize, words: &[&str]) {
        self.above.truncate(depth);
        let (directory, bus, inherited) = self.above.last().unwrap().clone();
        let address = if words[0].contains(':') {
            format!("{}:{}", bus.split_once(':').unwrap().0, words[0])
        } else {
            format!("{bus}:{}", words[0])
        };
        let directory = format!("{directory}/{address}");
        let mut keys = inherited.clone();
        // A child bus carries on what was said for the root bus, but never what was said for the bridge alone.
        for word in &words[3..] {
            let (key, value) = word.split_once('=').unwrap_or((word, ""));
            keys.insert(key.to_owned(), value.to_owned());
        }
        let device = Device::new(&directory, &address, words[1], words[2], keys);
        self.attributes(&device);
        self.bindings(&device);
        // Without a bus below it, a device can still be what another root bus hangs on.
        let domain = bus.split_once(':').unwrap().0;
        let secondary = device.get("bus").map(|bus| format!("{domain}:{bus}")).unwrap_or_default();
        self.above.push((directory, secondary, inherited));
    }

    fn attributes(&mut self, device: &Device) {
        let at = |name: &str| format!("{}/{name}", device.directory);
        let [vendor, id, subvendor, subdevice] = device.ids;
        let class = device.class;
        let modalias = format!(
            "v{vendor:08X}d{id:08X}sv{subvendor:08X}sd{subdevice:08X}bc{:02X}sc{:02X}i{:02X}",
            class >> 16,
            (class >> 8) & 0xff,
            class & 0xff
        );
        self.text(&at("vendor"), &format!("{vendor:#06x}"));
        self.text(&at("device"), &format!("{id:#06x}"));
        self.text(&at("subsystem_vendor"), &format!("{subvendor:#06x}"));
        self.text(&at("subsystem_device"), &format!("{subdevice:#06x}"));
        self.text(&at("class"), &format!("{class:#08x}"));
        self.text(&at("revision"), &format!("0x{}", device.get("rev").unwrap_or("00")));
        self.text(&at("modalias"), &format!("pci:{modalias}"));
        self.modaliases.push(modalias);
        self.text(&at("numa_node"), device.get("node").unwrap_or("-1"));
        self.text(&at("enable"), if device.get("driver").is_some() { "1" } else { "0" });
        self.text(&at("driver_override"), device.get("override").unwrap_or("(null)"));
        self.text(&at("power_state"), device.get("power").unwrap_or("D0"));
        self.text(&at("d3cold_allowed"), device.get("d3cold").unwrap_or("1"));
        self.text(&at("power/control"), device.get("control").unwrap_or("on"));
        let suspended = device.get("power").is_some_and(|power| power != "D0");
        self.text(&at("power/runtime_status"), if suspended { "suspended" } else { "active" });
        if class >> 8 == 0x0300 {
            self.text(&at("boot_vga"), if device.get("boot").is_some() { "1" } else { "0" });
        }
        if let Some(methods) = device.get("reset") {
            self.text(&at("reset_method"), &methods.replace('+', " "));
        }
        if device.get("rom").is_some() {
            // What reading it gives before "1" is written to it.
            self.tree.put(&at("rom"), Node::Broken(Errno::EINVAL));
        }
        if let Some(sizes) = device.get("rebar") {
            let (bar, mask) = sizes.split_once(':').unwrap();
            self.text(&at(&format!("resource{bar}_resize")), &format!("{mask:0>16}"));
        }
        let (lines, bars) = self.resources(device);
        self.tree.put(&at("resource"), Node::File(lines.into_bytes()));
        self.tree.put(&at("config"), Node::File(device.config(&bars)));
        if let Some(count) = device.get("vfs") {
            self.text(&at("sriov_totalvfs"), count);
            self.text(&at("sriov_drivers_autoprobe"), "1");
            self.text(&at("sriov_numvfs"), device.get("numvfs").unwrap_or("0"));
        }
        if let Some((physical, index)) = device.get("vf").and_then(|text| text.split_once('/')) {
            let physical = format!("{}/{physical}", device.directory.rsplit_once('/').unwrap().0);
            self.link(&at("physfn"), &physical);
            self.link(&format!("{physical}/virtfn{index}"), &device.directory);
        }
    }

    /// The lines of `resource`, and the BARs as config space has them: six, then the ROM's.
    fn resources(&mut self, device: &Device) -> (String, [u32; 7]) {
        const LINES: usize = 13;
        let mut lines = vec!["0x0000000000000000 0x0000000000000000 0x0000000000000000".to_owned(); LINES];
        let mut bars = [0; 7];
        let mut index = 0;
        let wanted = device.get("bars").unwrap_or("").split('+').filter(|word| !word.is_empty());
        let rom = device.get("rom").filter(|size| !size.is_empty()).map(|size| format!("rom{size}"));
        for word in wanted.map(ToOwned::to_owned).chain(rom) {
            let kind = word.trim_end_matches(|c: char| c.is_ascii_digit() || "KMG".contains(c));
            let size = size(&word[kind.len()..]);
            // i: ports; m: 32-bit memory; p: 64-bit prefetchable memory, which takes two.
            let (flags, low) = match kind {
                "i" => (0x4_0101_u64, 1_u32),
                "m" => (0x4_0200, 0),
                "p" => (0x14_220c, 0xc),
                "rom" => (0x4_6200, 0),
                _ => panic!("bar {word}"),
            };
            let (window, start) = match kind {
                "i" => ("ports", 0x3000),
                "p" => ("64-bit", 0x60_0000_0000),
                _ => ("32-bit", 0xa000_0000),
            };
            let next = self.next.entry(window).or_insert(start);
            let base = next.next_multiple_of(size);
            *next = base + size;
            let at = if kind == "rom" { 6 } else { index };
            lines[at] = format!("{base:#018x} {:#018x} {flags:#018x}", base + size - 1);
            bars[at] = u32::try_from(base & 0xffff_ffff).unwrap() | low;
            if kind == "p" {
                bars[at + 1] = u32::try_from(base >> 32).unwrap();
                index += 1;
            }
            index += 1;
        }
        (lines.join("\n") + "\n", bars)
    }

    fn bindings(&mut self, device: &Device) {
        let at = |name: &str| format!("{}/{name}", device.directory);
        let address = &device.address;
        self.link(&format!("/sys/bus/pci/devices/{address}"), &device.directory);
        self.link(&at("subsystem"), "/sys/bus/pci");
        if let Some(name) = device.get("driver") {
            self.link(&at("driver"), &format!("/sys/bus/pci/drivers/{name}"));
            self.link(&format!("/sys/bus/pci/drivers/{name}/{address}"), &device.directory);
            self.loaded.insert(name.to_owned());
            self.drivers.insert(name.to_owned());
            if name == "pcieport" || device.get("msi").is_some() {
                let chip = match self.cpu.as_str() {
                    "arm" => "ITS-PCI-MSI",
                    _ if self.remapping => "IR-PCI-MSI",
                    _ => "PCI-MSI",
                };
                let what = if name == "pcieport" { "PCIe PME, aerdrv" } else { name };
                self.interrupts.push(format!("{chip}-{address}    0-edge      {what}"));
            }
        }
        if let Some(group) = device.get("group") {
            let unit = device.get("unit").map(ToOwned::to_owned);
            self.members.push((device.directory.clone(), address.clone(), group.to_owned(), unit));
        }
    }

    fn cores(&mut self, words: &[&str]) {
        let mut online: Vec<u16> = Vec::new();
        for core in &words[2..] {
            for thread in core.split(',') {
                self.text(&format!("/sys/devices/system/cpu/cpu{thread}/topology/thread_siblings_list"), core);
                online.push(thread.parse().unwrap());
            }
        }
        let list = |mut numbers: Vec<u16>| {
            numbers.sort_unstable();
            numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
        };
        self.text(&format!("/sys/devices/system/node/node{}/cpulist", words[1]), &list(online.clone()));
        let known = self.tree.file("/sys/devices/system/cpu/online").unwrap_or_default().to_vec();
        let known = String::from_utf8(known).unwrap();
        online.extend(known.trim().split(',').filter_map(|number| number.parse::<u16>().ok()));
        self.text("/sys/devices/system/cpu/online", &list(online));
    }

    /// A block device or a network interface, and the links between it and what it is made of.
    fn layer(&mut self, words: &[&str]) {
        let (parent, rest) = words[1].split_once('/').unwrap();
        let parent = self.tree.resolve(&format!("/sys/bus/pci/devices/{parent}"), true);
        let directory = match parent {
            Ok(parent) => format!("{parent}/{rest}"),
            Err(_) => format!("/sys/devices/{}", words[1]),
        };
        let name = rest.rsplit('/').next().unwrap();
        let class = format!("/sys/class/{}", words[0]);
        self.tree.put(&directory, Node::Directory);
        self.link(&format!("{class}/{name}"), &directory);
        for word in &words[2..] {
            match word.split_once('=') {
                Some(("on", lowers)) => {
                    for lower in lowers.split('+') {
                        let below = self.tree.resolve(&format!("{class}/{lower}"), true).unwrap();
                        let (down, up) = match words[0] {
                            "block" => (format!("slaves/{lower}"), format!("holders/{name}")),
                            _ => (format!("lower_{lower}"), format!("upper_{name}")),
                        };
                        self.link(&format!("{directory}/{down}"), &below);
                        self.link(&format!("{below}/{up}"), &directory);
                    }
                }
                Some(("dm", volume)) => self.text(&format!("{directory}/dm/name"), volume),
                _ => {
                    self.text(&format!("{directory}/dev"), word);
                    self.link(&format!("/sys/dev/block/{word}"), &directory);
                }
            }
        }
    }

    fn framebuffer(&mut self, driver: &str, parent: &str) {
        let directory = match self.tree.resolve(&format!("/sys/bus/pci/devices/{parent}"), true) {
            Ok(directory) => format!("{directory}/{driver}.0"),
            Err(_) => format!("/sys/devices/{parent}/{driver}.0"),
        };
        let drivers = format!("/sys/bus/platform/drivers/{driver}");
        self.link(&format!("/sys/bus/platform/devices/{driver}.0"), &directory);
        self.link(&format!("{directory}/driver"), &drivers);
        self.link(&format!("{directory}/subsystem"), "/sys/bus/platform");
        self.link(&format!("{drivers}/{driver}.0"), &directory);
        self.tree.put(&format!("{drivers}/unbind"), Node::Broken(Errno::EACCES));
        self.text(&format!("{directory}/modalias"), &format!("platform:{driver}"));
    }

    /// What depends on everything that was said.
    fn finish(&mut self) {
        for (driver, parent) in std::mem::take(&mut self.framebuffers) {
            self.framebuffer(&driver, &parent);
        }
        self.iommu();
        self.drivers();
        self.modules();
        self.proc();
    }

    fn iommu(&mut self) {
        self.tree.put("/sys/class/iommu", Node::Directory);
        self.tree.put("/sys/kernel/iommu_groups", Node::Directory);
        for (unit, host) in self.units.clone() {
            let directory = unit_directory(&self.tree, &unit, &host);
            self.link(&format!("/sys/class/iommu/{unit}"), &directory);
            self.link(&format!("{directory}/subsystem"), "/sys/class/iommu");
            if unit.starts_with("dmar") {
                self.text(&format!("{directory}/intel-iommu/version"), "1:0");
                self.text(&format!("{directory}/intel-iommu/cap"), "d2008c40660462");
                self.text(&format!("{directory}/intel-iommu/ecap"), "f050da");
            } else if unit.starts_with("ivhd") {
                self.text(&format!("{directory}/amd-iommu/cap"), "6000f48");
                self.text(&format!("{directory}/amd-iommu/features"), "58f77ef22294a5a");
            }
        }
        let mut groups = BTreeSet::new();
        for (directory, address, group, unit) in std::mem::take(&mut self.members) {
            // Without units there are no groups, whatever the sketch says.
            let of_device = self.units.iter().find(|(name, _)| unit.as_ref() == Some(name));
            let Some((unit, host)) = of_device.or(self.units.first()) else { break };
            let unit = unit_directory(&self.tree, unit, host);
            let at = format!("/sys/kernel/iommu_groups/{group}");
            self.link(&format!("{directory}/iommu_group"), &at);
            self.link(&format!("{directory}/iommu"), &unit);
            self.link(&format!("{unit}/devices/{address}"), &directory);
            self.link(&format!("{at}/devices/{address}"), &directory);
            groups.insert(group);
        }
        let default_type = if self.cpu == "arm" { "DMA" } else { "DMA-FQ" };
        for group in groups {
            let at = format!("/sys/kernel/iommu_groups/{group}");
            self.text(&format!("{at}/type"), &self.types.get(&group).cloned().unwrap_or_else(|| default_type.into()));
            let mut regions = self.regions.get(&group).cloned().unwrap_or_default();
            regions.extend(match self.cpu.as_str() {
                "amd" => vec![
                    "0x00000000fee00000 0x00000000feefffff msi".to_owned(),
                    "0x000000fd00000000 0x000000ffffffffff reserved".to_owned(),
                ],
                "arm" => vec!["0x0000000008000000 0x00000000080fffff msi".to_owned()],
                _ => vec!["0x00000000fee00000 0x00000000feefffff msi".to_owned()],
            });
            regions.sort();
            self.text(&format!("{at}/reserved_regions"), &regions.join("\n"));
        }
    }

    fn drivers(&mut self) {
        if self.modaliases.is_empty() && self.tree.list("/sys/bus/pci").is_err() {
            return;
        }
        self.text("/sys/bus/pci/drivers_autoprobe", "1");
        self.tree.put("/sys/bus/pci/drivers_probe", Node::Broken(Errno::EACCES));
        self.loaded.extend(self.builtin.iter().cloned());
        for name in self.loaded.clone() {
            let at = format!("/sys/bus/pci/drivers/{name}");
            for file in ["bind", "unbind"] {
                self.tree.put(&format!("{at}/{file}"), Node::Broken(Errno::EACCES));
            }
            let module = if name == "vfio-pci" { "vfio_pci" } else { driver(&name).module };
            if !module.is_empty() && !self.builtin.contains(&name) {
                self.link(&format!("{at}/module"), &format!("/sys/module/{module}"));
                self.link(&format!("/sys/module/{module}/drivers/pci:{name}"), &at);
                self.text(&format!("/sys/module/{module}/initstate"), "live");
            }
            if name == "vfio-pci" {
                for (parameter, value) in [("disable_idle_d3", "N"), ("disable_vga", "N"), ("ids", "")] {
                    self.text(&format!("/sys/module/vfio_pci/parameters/{parameter}"), value);
                }
            }
        }
    }

    fn modules(&mut self) {
        if self.version.is_empty() {
            return;
        }
        let at = format!("/lib/modules/{}", self.version);
        let (mut builtin, mut dep, mut alias) = (String::new(), String::new(), String::new());
        let mut add = |path: &str, needs: &[&str], is_builtin: bool, ending: &str| {
            if is_builtin {
                writeln!(builtin, "{path}.ko").unwrap();
            } else {
                let needs: Vec<String> = needs.iter().map(|path| format!(" {path}{ending}")).collect();
                writeln!(dep, "{path}{ending}:{}", needs.concat()).unwrap();
            }
        };
        for name in self.drivers.iter().filter(|name| *name != "vfio-pci") {
            let driver = driver(name);
            let is_builtin = driver.module.is_empty() || self.builtin.contains(name);
            add(driver.path, driver.needs, is_builtin, &self.ending);
            for pattern in driver.aliases {
                let pattern_of = glob::Pattern::new(pattern.strip_prefix("pci:").unwrap()).unwrap();
                if !is_builtin && self.modaliases.iter().any(|modalias| pattern_of.matches(modalias)) {
                    writeln!(alias, "alias {pattern} {}", driver.module).unwrap();
                }
            }
        }
        if !self.without_vfio {
            let old = self.version.starts_with("6.1.") || self.version.starts_with("5.");
            let is_builtin = self.builtin.iter().any(|name| name == "vfio-pci");
            for (path, needs) in if old { VFIO_WITH_VIRQFD } else { VFIO } {
                add(path, needs, is_builtin, &self.ending);
            }
            if !is_builtin {
                alias += "alias vfio_pci:v*d*sv*sd*bc*sc*i* vfio_pci\n";
            }
            for (path, pattern) in &self.variants {
                add(path, &["kernel/drivers/vfio/pci/vfio-pci-core", "kernel/drivers/vfio/vfio"], false, &self.ending);
                let module = path.rsplit('/').next().unwrap().replace('-', "_");
                writeln!(alias, "alias vfio_pci:{pattern} {module}").unwrap();
            }
        }
        for (file, content) in [("modules.builtin", builtin), ("modules.dep", dep), ("modules.alias", alias)] {
            self.tree.put(&format!("{at}/{file}"), Node::File(content.into_bytes()));
        }
    }

    fn proc(&mut self) {
        let running = self.state != "initramfs";
        self.text("/proc/uptime", if running { "5127.44 19822.10" } else { "1.87 3.12" });
        let vendor = match self.cpu.as_str() {
            "amd" => "vendor_id\t: AuthenticAMD\ncpu family\t: 25",
            "arm" => "CPU implementer\t: 0x41\nCPU architecture: 8",
            _ => "vendor_id\t: GenuineIntel\ncpu family\t: 6",
        };
        self.text("/proc/cpuinfo", &format!("processor\t: 0\n{vendor}"));
        let mut interrupts = String::from("     ");
        for column in 0..self.columns {
            write!(interrupts, "      {:<5}", format!("CPU{column}")).unwrap();
        }
        let counts = "          0".repeat(self.columns);
        let timer = if self.remapping { "IR-IO-APIC" } else { "IO-APIC" };
        if self.cpu != "arm" {
            write!(interrupts, "\n  0:{counts}  {timer}    2-edge      timer").unwrap();
        }
        for (line, number) in self.interrupts.iter().zip(24..) {
            write!(interrupts, "\n {number}:{counts}  {line}").unwrap();
        }
        write!(interrupts, "\nNMI:{counts}   Non-maskable interrupts").unwrap();
        self.text("/proc/interrupts", &interrupts);
        let mut modules = String::new();
        for name in &self.loaded {
            let module = if name == "vfio-pci" { "vfio_pci" } else { driver(name).module };
            if !module.is_empty() && !self.builtin.contains(name) {
                writeln!(modules, "{module} 16384 1 - Live 0x0000000000000000").unwrap();
            }
        }
        self.tree.put("/proc/modules", Node::File(modules.into_bytes()));
    }
}

/// One device of a sketch.
struct Device {
    directory: String,
    address: String,
    ids: [u16; 4],
    class: u32,
    keys: BTreeMap<String, String>,
}

impl Device {
    fn new(directory: &str, address: &str, ids: &str, class: &str, keys: BTreeMap<String, String>) -> Self {
        let mut numbers = [0; 4];
        for (number, text) in numbers.iter_mut().zip(ids.split(':')) {
            *number = u16::from_str_radix(text, 16).unwrap();
        }
        let class = u32::from_str_radix(class, 16).unwrap();
        Self { directory: directory.into(), address: address.into(), ids: numbers, class, keys }
    }

    fn get(&self, key: &str) -> Option<&str> {
        self.keys.get(key).map(String::as_str)
    }

    /// The first 64 bytes of config space, which is what the kernel shows to everybody.
    fn config(&self, bars: &[u32; 7]) -> Vec<u8> {
        let mut config = vec![0; 64];
        let mut put = |at: usize, bytes: &[u8]| config[at..at + bytes.len()].copy_from_slice(bytes);
        let [vendor, device, subvendor, subdevice] = self.ids;
        // A virtual function has no IDs of its own in config space (SR-IOV 3.4.1.1).
        let virtual_function = self.get("vf").is_some();
        put(0, &if virtual_function { 0xffff } else { vendor }.to_le_bytes());
        put(2, &if virtual_function { 0xffff } else { device }.to_le_bytes());
        let decodes: u16 = if self.get("driver").is_some() || self.class >> 8 == 0x0604 { 0x0407 } else { 0x0003 };
        put(4, &decodes.to_le_bytes());
        put(6, &0x0010_u16.to_le_bytes());
        put(8, &[u8::from_str_radix(self.get("rev").unwrap_or("00"), 16).unwrap()]);
        put(9, &self.class.to_le_bytes()[..3]);
        let multi = if self.get("multi").is_some() { 0x80 } else { 0 };
        if self.class >> 8 == 0x0604 {
            let bus = |text: &str| u8::from_str_radix(text, 16).unwrap();
            let own = bus(self.address.split(':').nth(1).unwrap());
            let below = bus(self.get("bus").unwrap());
            put(14, &[multi | 1]);
            put(24, &[own, below, self.get("last").map_or(below, bus)]);
        } else {
            put(14, &[multi]);
            for (index, bar) in bars.iter().take(6).enumerate() {
                put(16 + 4 * index, &bar.to_le_bytes());
            }
            put(44, &subvendor.to_le_bytes());
            put(46, &subdevice.to_le_bytes());
            put(48, &bars[6].to_le_bytes());
        }
        put(52, &[0x40]);
        config
    }
}

/// The directory of an IOMMU unit: below the device it is, or a virtual one.
fn unit_directory(tree: &Tree, unit: &str, host: &str) -> String {
    if host.is_empty() {
        return format!("/sys/devices/virtual/iommu/{unit}");
    }
    match tree.resolve(&format!("/sys/bus/pci/devices/{host}"), true) {
        Ok(directory) => format!("{directory}/iommu/{unit}"),
        Err(_) => format!("/sys/devices/{host}/iommu/{unit}"),
    }
}

/// The target of a link at `path` that leads to `target`, as sysfs writes it.
fn relative(path: &str, target: &str) -> String {
    let from: Vec<&str> = path.split('/').collect();
    let to: Vec<&str> = target.split('/').collect();
    let common = from.iter().zip(&to).take_while(|(from, to)| from == to).count();
    let up = "../".repeat(from.len() - common - 1);
    up + &to[common..].join("/")
}

/// `16M` in bytes.
fn size(text: &str) -> u64 {
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let number: u64 = text[..text.len() - unit.len()].parse().unwrap();
    let steps = ["", "K", "M", "G"].iter().position(|known| *known == unit).unwrap();
    number << (10 * steps)
}
