// SPDX-License-Identifier: MIT OR Apache-2.0
//! Comparison with real kernels: boots topologies, written by hand and generated from seeds, under QEMU, and compares the
//! groups of the guest's kernel with those recomputed from the guest's configuration spaces.
//!
//! Run by tests/boot/groups.sh, which provides kernels and an initramfs and names them in `GROUPS_KERNELS` (paths, separated
//! by `:`) and `GROUPS_INITRAMFS`. `GROUPS_KEEP` names a directory in which the recordings are kept.
//!
//! Each recording is also compared with altered hardware, which must change the groups: a comparison that never fails proves
//! nothing. Where controls are disabled, the machine is booted again with the kernel parameter that should enable them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use vfio_early::groups::{Function, Isolated};

use super::machine;

#[derive(Clone)]
struct Topology {
    name: String,
    amd: bool,
    parameters: String,
    devices: Vec<String>,
}

/// Topologies that each show one property. A line is the argument of QEMU's `-device`; `PORT` is a root port with a unique
/// slot, `E` a PCI Express and `C` a conventional endpoint.
const BY_HAND: &[(&str, bool, &str, &[&str])] = &[
    (
        "root ports with and without ACS",
        false,
        "",
        &[
            "PORT,id=a,bus=pcie.0,addr=2.0",
            "E,bus=a",
            "PORT,id=b,bus=pcie.0,addr=3.0,disable-acs=on",
            "E,bus=b",
            "ioh3420,id=c,bus=pcie.0,addr=4.0,chassis=9,slot=1",
            "E,bus=c",
        ],
    ),
    (
        "root ports of one slot, none with ACS",
        false,
        "",
        &[
            "PORT,id=a,bus=pcie.0,addr=2.0,multifunction=on,disable-acs=on",
            "E,bus=a",
            "PORT,id=b,bus=pcie.0,addr=2.1,disable-acs=on",
            "E,bus=b",
            "PORT,id=c,bus=pcie.0,addr=2.2,disable-acs=on",
        ],
    ),
    (
        "root ports of one slot, one without ACS",
        false,
        "",
        &[
            "PORT,id=a,bus=pcie.0,addr=2.0,multifunction=on",
            "E,bus=a",
            "PORT,id=b,bus=pcie.0,addr=2.1,disable-acs=on",
            "E,bus=b",
            "PORT,id=c,bus=pcie.0,addr=2.2",
            "E,bus=c",
        ],
    ),
    (
        "a switch below a port with ACS",
        false,
        "",
        &[
            "PORT,id=a,bus=pcie.0,addr=2.0",
            "x3130-upstream,id=u,bus=a",
            "xio3130-downstream,id=d,bus=u,chassis=9,slot=1,addr=0.0",
            "xio3130-downstream,id=e,bus=u,chassis=9,slot=2,addr=1.0",
            "E,bus=d,multifunction=on,addr=0.0",
            "E,bus=d,addr=0.1",
            "E,bus=e",
        ],
    ),
    (
        "a switch below a port without ACS",
        false,
        "",
        &[
            "PORT,id=a,bus=pcie.0,addr=2.0,disable-acs=on",
            "x3130-upstream,id=u,bus=a",
            "xio3130-downstream,id=d,bus=u,chassis=9,slot=1,addr=0.0,multifunction=on",
            "xio3130-downstream,id=e,bus=u,chassis=9,slot=2,addr=0.1",
            "E,bus=d",
            "E,bus=e",
        ],
    ),
    (
        "conventional devices behind a bridge, and behind a bridge behind it",
        false,
        "",
        &[
            "PORT,id=a,bus=pcie.0,addr=2.0",
            "pcie-pci-bridge,id=p,bus=a",
            "C,bus=p,addr=1.0",
            "C,bus=p,addr=2.0",
            "pci-bridge,id=q,bus=p,addr=3.0,chassis_nr=7,shpc=off",
            "C,bus=q,addr=1.0",
            "PORT,id=b,bus=pcie.0,addr=3.0",
            "E,bus=b",
        ],
    ),
    (
        "a conventional bridge on the root bus",
        false,
        "",
        &[
            "i82801b11-bridge,id=p,bus=pcie.0,addr=2.0",
            "C,bus=p,addr=1.0",
            "pci-bridge,id=q,bus=p,addr=3.0,chassis_nr=7,shpc=off",
            "C,bus=q,addr=1.0",
            "E,bus=pcie.0,addr=4.0",
            "C,bus=pcie.0,addr=5.0,multifunction=on",
            "C,bus=pcie.0,addr=5.1",
        ],
    ),
    (
        "several root complexes",
        false,
        "",
        &[
            "pxb-pcie,id=x,bus=pcie.0,bus_nr=128,addr=2.0",
            "PORT,id=a,bus=x,addr=0.0,multifunction=on",
            "E,bus=a",
            "PORT,id=b,bus=x,addr=0.1,disable-acs=on",
            "E,bus=b",
            "pxb-pcie,id=y,bus=pcie.0,bus_nr=192,addr=3.0",
            "PORT,id=c,bus=y,addr=1.0",
            "pcie-pci-bridge,id=p,bus=c",
            "C,bus=p,addr=1.0",
            "PORT,id=d,bus=pcie.0,addr=4.0",
            "E,bus=d",
        ],
    ),
    (
        "a port with ACS below a port without",
        false,
        "",
        &[
            "PORT,id=a,bus=pcie.0,addr=2.0,disable-acs=on",
            "PORT,id=b,bus=a,addr=0.0",
            "E,bus=b",
            "PORT,id=c,bus=pcie.0,addr=3.0",
            "PORT,id=d,bus=c,addr=0.0,disable-acs=on",
            "E,bus=d",
        ],
    ),
    (
        "redirection switched off by the kernel command line",
        false,
        "pci=disable_acs_redir=0000:00:02.0;0000:00:03.1",
        &[
            "PORT,id=a,bus=pcie.0,addr=2.0",
            "E,bus=a",
            "PORT,id=b,bus=pcie.0,addr=3.0,multifunction=on",
            "E,bus=b",
            "PORT,id=c,bus=pcie.0,addr=3.1",
            "E,bus=c",
        ],
    ),
    (
        "an AMD IOMMU: ports, a switch, conventional devices, one slot with several functions",
        true,
        "",
        &[
            "PORT,id=a,bus=pcie.0,addr=4.0",
            "E,bus=a,multifunction=on,addr=0.0",
            "E,bus=a,addr=0.1",
            "PORT,id=b,bus=pcie.0,addr=5.0,disable-acs=on",
            "x3130-upstream,id=u,bus=b",
            "xio3130-downstream,id=d,bus=u,chassis=9,slot=1",
            "E,bus=d",
            "PORT,id=c,bus=pcie.0,addr=6.0",
            "pcie-pci-bridge,id=p,bus=c",
            "C,bus=p,addr=1.0",
            "C,bus=p,addr=2.0",
        ],
    ),
];

fn by_hand() -> Vec<Topology> {
    let mut all = Vec::new();
    for (name, amd, parameters, lines) in BY_HAND {
        let mut ports = 0;
        let devices = lines.iter().map(|line| {
            ports += 1;
            line.replace("PORT,", &format!("pcie-root-port,chassis=1,slot={ports},"))
                .replace("E,", "e1000e,romfile=,")
                .replace("C,", "pci-testdev,")
        });
        let devices = devices.collect();
        all.push(Topology { name: (*name).to_owned(), amd: *amd, parameters: (*parameters).to_owned(), devices });
    }
    all
}

/// Generates a topology from a seed.
struct Generator {
    state: u64,
    devices: Vec<String>,
    buses: u32,
}

impl Generator {
    /// A number below `end` (splitmix64).
    fn below(&mut self, end: u64) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }

    fn bus(&mut self) -> u32 {
        self.buses += 1;
        self.buses
    }

    fn acs(&mut self) -> &'static str {
        if self.below(3) == 0 { ",disable-acs=on" } else { "" }
    }

    fn express(&mut self) -> &'static str {
        const KINDS: [&str; 5] = ["e1000e,romfile=", "qemu-xhci", "virtio-rng-pci", "ich9-ahci", "nec-usb-xhci"];
        KINDS[usize::try_from(self.below(5)).unwrap()]
    }

    fn conventional(&mut self) -> &'static str {
        const KINDS: [&str; 4] = ["pci-testdev", "e1000,romfile=", "edu", "rtl8139,romfile="];
        KINDS[usize::try_from(self.below(4)).unwrap()]
    }

    /// One to three functions in a slot.
    fn endpoint(&mut self, bus: &str, slot: u64) {
        let functions = if self.below(3) == 0 { 2 + self.below(2) } else { 1 };
        for function in 0..functions {
            let kind = if self.below(6) == 0 { self.conventional() } else { self.express() };
            let multi = if function == 0 && functions > 1 { ",multifunction=on" } else { "" };
            self.devices.push(format!("{kind},bus={bus},addr={slot:x}.{function}{multi}"));
        }
    }

    /// Adds what is below a port: nothing, endpoints, a switch, a bridge or another port.
    fn below_port(&mut self, bus: &str, depth: u32) {
        match self.below(if depth > 2 { 3 } else { 8 }) {
            0 => {}
            1 | 2 => self.endpoint(bus, 0),
            3 | 4 => self.switch(bus, depth),
            5 | 6 => {
                let own = self.bus();
                self.devices.push(format!("pcie-pci-bridge,id=b{own},bus={bus}"));
                self.conventional_bus(&format!("b{own}"), depth);
            }
            _ => self.port(bus, "0.0", depth),
        }
    }

    fn port(&mut self, bus: &str, address: &str, depth: u32) {
        let (own, acs) = (self.bus(), self.acs());
        let kind = if self.below(4) == 0 { "ioh3420" } else { "pcie-root-port" };
        self.devices.push(format!("{kind},id=b{own},bus={bus},addr={address},chassis=1,slot={own}{acs}"));
        self.below_port(&format!("b{own}"), depth + 1);
    }

    fn switch(&mut self, bus: &str, depth: u32) {
        let up = self.bus();
        self.devices.push(format!("x3130-upstream,id=b{up},bus={bus}"));
        let multi = self.below(2) == 0;
        for port in 0..=self.below(3) {
            let own = self.bus();
            let address = match (multi, port) {
                (true, 0) => "0.0,multifunction=on".to_owned(),
                (true, port) => format!("0.{port}"),
                (false, port) => format!("{port}.0"),
            };
            self.devices.push(format!("xio3130-downstream,id=b{own},bus=b{up},addr={address},chassis=1,slot={own}"));
            self.below_port(&format!("b{own}"), depth + 1);
        }
    }

    fn conventional_bus(&mut self, bus: &str, depth: u32) {
        for slot in 1..=1 + self.below(3) {
            let kind = self.conventional();
            self.devices.push(format!("{kind},bus={bus},addr={slot:x}.0"));
        }
        if depth < 3 && self.below(2) == 0 {
            let own = self.bus();
            self.devices.push(format!("pci-bridge,id=b{own},bus={bus},addr=8.0,chassis_nr={own},shpc=off"));
            self.conventional_bus(&format!("b{own}"), depth + 1);
        }
    }

    fn root(&mut self, bus: &str, first: u64) {
        for slot in first..first + 2 + self.below(3) {
            match self.below(6) {
                0 if bus == "pcie.0" => self.endpoint(bus, slot),
                1 if bus == "pcie.0" => {
                    let own = self.bus();
                    self.devices.push(format!("i82801b11-bridge,id=b{own},bus={bus},addr={slot:x}.0"));
                    self.conventional_bus(&format!("b{own}"), 1);
                }
                2 => {
                    let functions = 2 + self.below(2);
                    for function in 0..functions {
                        let multi = if function == 0 { ",multifunction=on" } else { "" };
                        self.port(bus, &format!("{slot:x}.{function}{multi}"), 1);
                    }
                }
                _ => self.port(bus, &format!("{slot:x}.0"), 1),
            }
        }
    }
}

fn generated(seed: u64) -> Topology {
    let mut generator = Generator { state: seed, devices: Vec::new(), buses: 0 };
    generator.root("pcie.0", 4);
    let amd = generator.below(3) == 0;
    if !amd && generator.below(2) == 0 {
        generator.devices.push("pxb-pcie,id=x,bus=pcie.0,bus_nr=160,addr=3.0".to_owned());
        generator.root("x", 0);
    }
    Topology { name: format!("seed {seed}"), amd, parameters: String::new(), devices: generator.devices }
}

/// Whether the machines are arm64, and their IOMMU an SMMU.
fn is_arm64() -> bool {
    std::env::var("GROUPS_ARCH").is_ok_and(|name| name.starts_with("arm64"))
}

/// Whether they have UEFI, and so ACPI: with a device tree, Linux 6.12 enables no ACS.
fn has_acpi() -> bool {
    std::env::var("GROUPS_ARCH").is_ok_and(|name| name == "arm64-acpi")
}

/// Boots `kernel` with the topology and returns what the guest recorded.
fn boot(topology: &Topology, kernel: &str, initramfs: &str, scratch: &Path) -> Result<Vec<u8>, String> {
    let console = scratch.join("console");
    let (program, machine, console_name, iommu) = match (is_arm64(), topology.amd) {
        // The kernel runs the SMMU without a parameter.
        (true, _) => {
            ("qemu-system-aarch64", "-machine virt,gic-version=3,iommu=smmuv3 -cpu max,pauth-impdef=on", "ttyAMA0", "")
        }
        (false, true) => (
            "qemu-system-x86_64",
            "-machine q35,kernel-irqchip=split -cpu EPYC -device amd-iommu",
            "ttyS0",
            "amd_iommu=on",
        ),
        (false, false) => (
            "qemu-system-x86_64",
            "-machine q35,kernel-irqchip=split -cpu max -device intel-iommu,intremap=on,caching-mode=on",
            "ttyS0",
            "intel_iommu=on",
        ),
    };
    let mut qemu = Command::new("timeout");
    qemu.args(["300", program, "-nodefaults", "-display", "none", "-no-reboot", "-accel", "tcg"]);
    qemu.args(machine.split(' ')).args(["-smp", "1", "-m", "512", "-kernel", kernel]);
    qemu.args(["-initrd", initramfs, "-serial", &format!("file:{}", console.display())]);
    // On a loaded machine the emulated timer is late, and the kernel would consider it broken.
    let line = format!("console={console_name} quiet panic=-1 no_timer_check {iommu} {}", topology.parameters);
    qemu.args(["-append", line.trim_end()]);
    if has_acpi() {
        qemu.args(["-bios", "/usr/share/qemu-efi-aarch64/QEMU_EFI.fd"]);
    }
    for device in &topology.devices {
        qemu.args(["-device", device]);
    }
    let output = qemu.stdin(Stdio::null()).output().map_err(|error| format!("qemu: {error}"))?;
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let console = std::fs::read(&console).map_err(|error| format!("no console ({error}): {stderr}"))?;
    let console = String::from_utf8_lossy(&console).replace('\r', "");
    let packed = console.split_once("=== record\n").and_then(|(_, rest)| rest.split_once("=== end"));
    let Some((packed, _)) = packed else {
        return Err(format!("the guest recorded nothing\n{stderr}\n{console}"));
    };
    let packed_file = scratch.join("packed");
    std::fs::write(&packed_file, packed).map_err(|error| error.to_string())?;
    let unpack = format!("base64 -d <'{}' | gzip -d", packed_file.display());
    let machine = Command::new("sh").args(["-c", &unpack]).output().map_err(|error| error.to_string())?;
    if machine.status.success() { Ok(machine.stdout) } else { Err("the recording is damaged".to_owned()) }
}

type Alteration = (&'static str, fn(&mut Function));

/// Alterations of the hardware that the comparison must detect.
const ALTERATIONS: &[Alteration] = &[
    ("no ACS capability anywhere", without_acs),
    ("ACS on all functions that are no bridges", endpoint_with_acs),
    ("PCIe-to-PCI bridges that are switch ports with ACS", bridge_as_switch),
    ("functions that are all conventional", conventional),
];

/// The offset of the ACS capability. The list is well formed, because it comes from the guest's hardware.
fn acs_offset(config: &[u8]) -> Option<usize> {
    let mut at = 0x100;
    loop {
        let head = u32::from_le_bytes(config.get(at..at + 4)?.try_into().unwrap());
        if head & 0xffff == 0x0d {
            return Some(at);
        }
        at = usize::try_from(head >> 20).unwrap();
        if at < 0x100 {
            return None;
        }
    }
}

fn without_acs(function: &mut Function) {
    if let Some(at) = acs_offset(&function.config) {
        function.config[at] = 0x7f;
    }
}

fn set_acs(function: &mut Function) {
    function.config.resize(4096, 0);
    function.config[0x100..0x108].copy_from_slice(&[0x0d, 0, 1, 0, 0x1d, 0, 0x1d, 0]);
}

fn endpoint_with_acs(function: &mut Function) {
    if pcie_offset(&function.config).is_some() && !function.is_bridge() {
        set_acs(function);
    }
}

/// The offset of the PCI Express capability.
fn pcie_offset(config: &[u8]) -> Option<usize> {
    let mut at = usize::from(config[0x34]);
    while at >= 0x40 && config[at] != 0x10 {
        at = usize::from(config[at + 1]);
    }
    (at >= 0x40).then_some(at)
}

fn bridge_as_switch(function: &mut Function) {
    if let Some(at) = pcie_offset(&function.config).filter(|at| function.config[at + 2] >> 4 == 7) {
        function.config[at + 2] = 6 << 4 | 2;
        set_acs(function);
    }
}

fn conventional(function: &mut Function) {
    if let Some(at) = pcie_offset(&function.config) {
        function.config[at] = 0x7f;
    }
}

/// The result of one boot.
#[derive(Default)]
struct Outcome {
    functions: usize,
    groups: usize,
    shared: usize,
    /// Why the comparison failed.
    failure: Option<String>,
    /// The alterations that were detected.
    detected: Vec<&'static str>,
    /// The same machine with the kernel parameter that should isolate it.
    with_parameter: Option<Topology>,
}

/// Compares the groups of a recording with the recomputed ones.
fn compare(topology: &Topology, recorded: &[u8]) -> Outcome {
    let mut inventory = machine::inventory(recorded);
    let mut outcome = Outcome { functions: inventory.functions.len(), ..Outcome::default() };
    {
        let examination = inventory.examine(None);
        outcome.groups = examination.groups.len();
        outcome.shared = examination.groups.iter().filter(|group| group.devices.len() > 1).count();
        if examination.groups.is_empty() {
            outcome.failure = Some("the guest has no groups".to_owned());
        } else if !examination.matches_kernel() {
            outcome.failure = Some(format!("DIFFERENT\n{}{}", examination.text(&[]), examination.tree(&[])));
        }
        let settings: Vec<&str> = examination
            .groups
            .iter()
            .filter_map(|group| group.parameter.as_deref())
            .map(|parameter| parameter.strip_prefix("pci=config_acs=").unwrap())
            .collect();
        let supported = inventory.kernel_version() >= Some((6, 11)) && !topology.parameters.contains("config_acs");
        if !settings.is_empty() && supported {
            let parameters = format!("{} pci=config_acs={}", topology.parameters, settings.join(";"));
            outcome.with_parameter =
                Some(Topology { name: format!("{}, controls enabled", topology.name), parameters, ..topology.clone() });
        }
        if topology.parameters.contains("config_acs") {
            let still = examination.groups.iter().find(|group| group.parameter.is_some());
            if let Some(group) = still {
                outcome.failure =
                    Some(format!("the parameter did not help group {}\n{}", group.id, examination.text(&[])));
            }
            // Ports with ACS and a card in each: only the chipset's functions share a group.
            let shares = |isolated| isolated != Isolated::No;
            // On generated machines of arm64, not every port has ACS.
            let has_ports = !(is_arm64() && topology.name.starts_with("seed "));
            if has_ports && examination.groups.iter().filter(|group| !shares(group.isolated)).count() > 1 {
                outcome.failure = Some(format!("not isolated\n{}", examination.text(&[])));
            }
        }
    }
    let functions = inventory.functions.clone();
    for (name, change) in ALTERATIONS {
        inventory.functions.clone_from(&functions);
        inventory.functions.iter_mut().for_each(change);
        if !inventory.examine(None).matches_kernel() {
            outcome.detected.push(name);
        }
    }
    outcome
}

/// What all boots have in common.
struct Lab {
    kernels: Vec<String>,
    initramfs: String,
    keep: Option<PathBuf>,
    scratch: PathBuf,
    jobs: usize,
}

impl Lab {
    fn run(&self, topology: &Topology, kernel: &str, job: usize) -> Outcome {
        let scratch = self.scratch.join(job.to_string());
        std::fs::create_dir_all(&scratch).unwrap();
        let start = Instant::now();
        // Under emulation a guest sometimes fails to start, which says nothing about groups: try once more.
        let boot = || boot(topology, kernel, &self.initramfs, &scratch);
        let recorded = match boot().or_else(|_| boot()) {
            Ok(recorded) => recorded,
            Err(error) => {
                println!("{}: NO RECORDING from {kernel}", topology.name);
                let failure = Some(format!("{error}\n{:#?}", topology.devices));
                return Outcome { failure, ..Outcome::default() };
            }
        };
        let (major, minor) = machine::inventory(&recorded).kernel_version().unwrap();
        if let Some(keep) = &self.keep {
            let name = topology.name.replace(|letter: char| !letter.is_ascii_alphanumeric(), "-");
            std::fs::create_dir_all(keep).unwrap();
            std::fs::write(keep.join(format!("{name}-{major}.{minor}.machine")), &recorded).unwrap();
        }
        let outcome = compare(topology, &recorded);
        println!(
            "Linux {major}.{minor}, {}: {} functions in {} groups: {} ({} of {} alterations detected, {:.1} s)",
            topology.name,
            outcome.functions,
            outcome.groups,
            if outcome.failure.is_none() { "the same" } else { "DIFFERENT" },
            outcome.detected.len(),
            ALTERATIONS.len(),
            start.elapsed().as_secs_f32()
        );
        outcome
    }

    /// Boots every topology with every kernel, `jobs` at a time.
    fn run_all(&self, topologies: &[Topology]) -> Vec<(String, Outcome)> {
        let boots: Vec<(&String, &Topology)> =
            self.kernels.iter().flat_map(|kernel| topologies.iter().map(move |topology| (kernel, topology))).collect();
        let (next, outcomes) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
        let work = |job| {
            while let Some((kernel, topology)) = boots.get(next.fetch_add(1, Ordering::Relaxed)) {
                let mut outcome = self.run(topology, kernel, job);
                let with_parameter = outcome.with_parameter.take();
                outcomes.lock().unwrap().push((topology.name.clone(), outcome));
                if let Some(topology) = with_parameter {
                    let outcome = self.run(&topology, kernel, job);
                    outcomes.lock().unwrap().push((topology.name, outcome));
                }
            }
        };
        std::thread::scope(|scope| {
            for job in 0..self.jobs {
                scope.spawn(move || work(job));
            }
        });
        outcomes.into_inner().unwrap()
    }
}

#[test]
#[ignore = "boots kernels: run tests/boot/groups.sh"]
fn real_kernels_group_as_recomputed() {
    let variable = |name: &str| std::env::var(name).ok();
    let number = |name: &str, default: u64| variable(name).map_or(default, |text| text.parse().expect(name));
    let scratch = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("groups-{}", std::process::id()));
    let lab = Lab {
        kernels: std::env::split_paths(&variable("GROUPS_KERNELS").expect("GROUPS_KERNELS: run tests/boot/groups.sh"))
            .map(|path| path.into_os_string().into_string().unwrap())
            .collect(),
        initramfs: variable("GROUPS_INITRAMFS").expect("GROUPS_INITRAMFS: run tests/boot/groups.sh"),
        keep: variable("GROUPS_KEEP").map(PathBuf::from),
        scratch,
        jobs: usize::try_from(number("GROUPS_JOBS", 2)).unwrap(),
    };
    let only = variable("GROUPS_ONLY").unwrap_or_default();
    let mut topologies = by_hand();
    topologies.extend((1..=number("GROUPS_SEEDS", 16)).map(generated));
    topologies.retain(|topology| topology.name.contains(&only) && !(is_arm64() && topology.amd));
    let start = Instant::now();
    let outcomes = lab.run_all(&topologies);
    std::fs::remove_dir_all(&lab.scratch).unwrap();
    let sum = |count: fn(&Outcome) -> usize| outcomes.iter().map(|(_, outcome)| count(outcome)).sum::<usize>();
    let failures: Vec<String> = outcomes
        .iter()
        .filter_map(|(name, outcome)| outcome.failure.as_ref().map(|failure| format!("{name}: {failure}")))
        .collect();
    println!(
        "{} boots of {} topologies ({} with an AMD IOMMU), {} functions, {} groups, {} of them shared: {} disagreements, {:.0} s",
        outcomes.len(),
        topologies.len(),
        topologies.iter().filter(|topology| topology.amd).count(),
        sum(|outcome| outcome.functions),
        sum(|outcome| outcome.groups),
        sum(|outcome| outcome.shared),
        failures.len(),
        start.elapsed().as_secs_f32()
    );
    let mut detected: BTreeMap<&str, usize> = ALTERATIONS.iter().map(|(name, _)| (*name, 0)).collect();
    for name in outcomes.iter().flat_map(|(_, outcome)| &outcome.detected) {
        *detected.get_mut(name).unwrap() += 1;
    }
    for (name, times) in &detected {
        println!("with {name}: {times} of {} differ", outcomes.len());
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    // The machines of arm64 are fewer, and not each alteration changes one of them.
    if only.is_empty() && !is_arm64() {
        let undetected: Vec<_> = detected.iter().filter(|(_, times)| **times == 0).collect();
        assert!(undetected.is_empty(), "never detected: {undetected:?}");
    }
}
