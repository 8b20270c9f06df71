// SPDX-License-Identifier: MIT OR Apache-2.0
//! The figures that are promised: how large the program is, how much memory it takes, how many system calls a device costs
//! that no claim is about. They are measured on what is shipped, not on the build that the other tests run:
//! `VFIO_EARLY` names it (the Makefile does), else it is the release build, if that is newer than its source.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test that meets something unexpected shall fail"
)]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use nix::fcntl::OFlag;
use vfio_early::machine::{Node, Tree};

use program::{MachineRoot, by_shell, fifo, have, may_unshare, run, say, tree};

#[path = "../it/rom/build.rs"]
#[allow(dead_code, reason = "the tests of ROMs use the rest")]
mod build;
#[path = "../it/support/disk.rs"]
mod disk;
mod elf;
mod instructions;
#[path = "../it/support/logger.rs"]
mod logger;
#[path = "../it/support/program.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod program;

/// The floor of std and glibc is 1.08 MiB.
const SIZE: u64 = 1800 * 1024;
/// What `make tiny` builds.
const TINY: u64 = 780 * 1024;
/// In KiB: of the program, and of each child that it starts.
const MEMORY: u64 = 3 * 1024;
/// For each device that no claim is about.
const CALLS: usize = 3;
/// Of `status`, for each device: attributes and links read, directories listed.
const READS: usize = 5;
/// Of `status` on 256 devices.
const STATUS: Duration = Duration::from_millis(90);

/// Of `groups`, with configuration space to the last byte.
const GROUPS: Duration = Duration::from_millis(300);

/// When the newest source was written.
fn newest(directory: &Path) -> SystemTime {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let time = |path: PathBuf| {
        if path.is_dir() { newest(&path) } else { fs::metadata(path).unwrap().modified().unwrap() }
    };
    entries.map(time).max().unwrap()
}

/// A program to measure: the one that the environment names, which then has to be there, or the usual one, if it is there
/// and up to date. Says aloud where there is none.
fn binary(variable: &str, usual: &Path, make: &str) -> Option<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    if let Some(name) = std::env::var_os(variable) {
        let path = here.join(name);
        assert!(path.exists(), "{variable} names {}, which is not there", path.display());
        return Some(path);
    }
    let built = fs::metadata(usual).and_then(|metadata| metadata.modified());
    match built {
        Ok(built) if built >= newest(&here.join("src")) => Some(usual.to_owned()),
        Ok(_) => {
            say(&format!("NOT MEASURED: {} is older than its source: {make}", usual.display()));
            None
        }
        Err(_) => {
            say(&format!("NOT MEASURED: there is no {}: {make}", usual.display()));
            None
        }
    }
}

/// Where cargo builds, and the name of what `make build` builds for: static, unlike the plain build.
fn target() -> (PathBuf, String) {
    // .../target/debug/vfio-early, or .../target/TRIPLE/debug/vfio-early.
    let mut target = Path::new(env!("CARGO_BIN_EXE_vfio-early")).parent().unwrap().parent().unwrap().to_owned();
    let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    if target.ends_with(&triple) {
        target.pop();
    }
    (target, triple)
}

fn release() -> Option<PathBuf> {
    let (target, triple) = target();
    binary("VFIO_EARLY", &target.join(triple).join("release/vfio-early"), "make build")
}

fn tiny() -> Option<PathBuf> {
    let usual = format!("tiny/{}-unknown-linux-musl/release/vfio-early", std::env::consts::ARCH);
    binary("VFIO_EARLY_TINY", &target().0.join(usual), "make tiny")
}

fn command(binary: &Path, root: &Path, arguments: &str) -> Command {
    let mut command = Command::new(binary);
    command.arg("--root").arg(root).args(arguments.split_whitespace()).env_clear();
    command
}

/// A server with eight cards of four functions, one of them claimed, and so many devices in all: the rest are network
/// functions, as a machine with SR-IOV has them.
fn server(devices: usize, configuration: &str) -> MachineRoot {
    let mut tree = tree("server-eight-gpus-running", configuration);
    let known = tree.list("/sys/bus/pci/devices").unwrap().len();
    for index in 0..devices - known {
        add_device(&mut tree, index);
    }
    assert_eq!(tree.list("/sys/bus/pci/devices").unwrap().len(), devices);
    MachineRoot::new(&tree)
}

fn add_device(tree: &mut Tree, index: usize) {
    let address = format!("0000:{:02x}:{:02x}.{}", 0xc1 + index / 256, index / 8 % 32, index % 8);
    let device = format!("/sys/devices/pci0000:c0/0000:c0:01.0/{address}");
    let file = |text: &str| Node::File(text.as_bytes().to_vec());
    tree.put(&format!("{device}/modalias"), file("pci:v00008086d00001889sv00000000sd00000000bc02sc00i00\n"));
    tree.put(&format!("{device}/driver_override"), file("(null)\n"));
    tree.put(&format!("{device}/iommu_group"), Node::Link(format!("../../../../kernel/iommu_groups/{}", 200 + index)));
    tree.put(
        &format!("/sys/bus/pci/devices/{address}"),
        Node::Link(format!("../../../devices/pci0000:c0/0000:c0:01.0/{address}")),
    );
    tree.put(
        &format!("/sys/kernel/iommu_groups/{}/devices/{address}", 200 + index),
        Node::Link(format!("../../../../devices/pci0000:c0/0000:c0:01.0/{address}")),
    );
}

#[test]
fn the_program_is_small_and_needs_nothing() {
    let programs = [("release build", release(), SIZE), ("tiny build", tiny(), TINY)];
    for (name, binary, most) in programs.into_iter().filter_map(|(name, binary, most)| Some((name, binary?, most))) {
        let bytes = fs::read(&binary).unwrap();
        let size = u64::try_from(bytes.len()).unwrap();
        say(&format!("figures: {name}: {size} bytes of at most {most}"));
        let elf = elf::Elf::parse(&bytes);
        assert!(!elf.has_interpreter && elf.needed == 0, "{name}: not static: {elf:?}");
        assert!(elf.is_pie, "{name}: not position-independent: {elf:?}");
        assert!(!elf.has_symbols, "{name}: not stripped: {elf:?}");
        assert!(size <= most, "{name}: {size} bytes, {} too many", size - most);
    }
}

/// The system calls of one run, those of its children included.
fn calls(machine: &MachineRoot, command: &Command) -> usize {
    let log = machine.scratch.0.join("calls");
    let line = format!("exec strace -f -qq -o {} \"$@\"", log.display());
    let ran = run(&mut by_shell(&line, command));
    // Nothing moves in a directory, so no claim holds there.
    assert_eq!(ran.status, 1, "{ran:?}");
    assert!(ran.words().contains("0000:04:00.3 failed vfio-pci"), "{ran:?}");
    let log = fs::read_to_string(log).unwrap();
    // Not counted: the second half of a call, signals, and the waiting for children, which the clock decides.
    let other = [" resumed>", "+++", "---", " poll(", " wait4(", " waitid(", " pidfd_"];
    log.lines().filter(|line| !other.iter().any(|word| line.contains(word))).count()
}

#[test]
fn a_device_that_no_claim_is_about_costs_three_system_calls() {
    let Some(binary) = release() else { return };
    if !have("strace", "how many system calls a device costs") {
        return;
    }
    // Each way to select is one way to look for devices.
    for selector in
        ["04:00.0", "10de:1e04 match=all", "pci:v000010DEd00001E04*bc03* match=all", "00:02.0/00.0/08.0/00.0"]
    {
        let configuration = format!("claim {selector}\nclaim 04:00.*\nset on-failure keep\n");
        let configuration = match selector {
            "04:00.0" => "claim 04:00.0\nset on-failure keep\n".to_owned(),
            _ => configuration,
        };
        let machines = [256, 64].map(|devices| server(devices, &configuration));
        // Below a directory, a link takes three system calls to read instead of one, and a path takes a link of each device.
        let chains = selector.contains('/');
        let below = machines.each_ref().map(|machine| calls(machine, &command(&binary, &machine.root, "claim")));
        let places = may_unshare("the system calls of a device where the root is the machine's own");
        let inside = machines.each_ref().map(|machine| {
            if !places {
                return 0;
            }
            // The same machine as the running one: links are followed by the kernel as ever.
            fs::copy(&binary, machine.at("/vfio-early")).unwrap();
            let mut chroot = Command::new("unshare");
            chroot.arg("--map-root-user").arg("chroot").arg(&machine.root).args(["/vfio-early", "claim"]);
            calls(machine, &chroot)
        });
        let below = ("below --root", below, if chains { CALLS + 3 } else { CALLS });
        let inside = places.then_some(("as the root", inside, if chains { CALLS + 1 } else { CALLS }));
        for (place, [large, small], most) in std::iter::once(below).chain(inside) {
            // What is left over is the listing of the directory and the memory for it.
            let each = (large - small + 96) / 192;
            say(&format!(
                "figures: claim {selector} {place}: {large} system calls with 256 devices, {small} with 64: {}.{:02} for each more",
                (large - small) / 192,
                (large - small) % 192 * 100 / 192
            ));
            assert!(each <= most, "claim {selector} {place}: {each} system calls for each device, at most {most}");
        }
    }
}

/// How often a run of `status` reads: from files, links and directories, those that are not there included.
fn reads(machine: &MachineRoot, binary: &Path) -> usize {
    fs::copy(binary, machine.at("/vfio-early")).unwrap();
    let mut chroot = Command::new("unshare");
    chroot.arg("--map-root-user").arg("chroot").arg(&machine.root).args(["/vfio-early", "status"]);
    let log = machine.scratch.0.join("reads");
    let line = format!("exec strace -f -qq -e trace=open,openat,readlink,readlinkat -o {} \"$@\"", log.display());
    let ran = run(&mut by_shell(&line, &chroot));
    assert!(ran.words().contains("0000:04:00.3 pending"), "{ran:?}");
    let log = fs::read_to_string(log).unwrap();
    // What is opened is read once; the program and its loader open what is no device.
    log.lines().filter(|line| line.contains("\"/sys/") && !line.contains(" resumed>")).count()
}

#[test]
fn a_status_of_256_devices_is_quick() {
    const LIST: &str = "/usr/share/misc/pci.ids";
    let builds = [("release build", release()), ("tiny build", tiny())];
    for (name, binary) in builds.into_iter().filter_map(|(name, binary)| Some((name, binary?))) {
        let machine = server(256, "claim 04:00.0\n");
        if let Ok(list) = fs::read(LIST) {
            fs::create_dir_all(machine.at("/usr/share/misc")).unwrap();
            fs::write(machine.at(LIST), list).unwrap();
        } else {
            say(&format!("figures: {name}: status WITHOUT names, there is no {LIST}"));
        }
        let time = || {
            let start = Instant::now();
            let output = command(&binary, &machine.root, "status").output().unwrap();
            assert_eq!(output.status.code(), Some(1), "{output:?}");
            start.elapsed()
        };
        // The best of some: what else runs here is not the program's.
        let mut times: Vec<Duration> = std::iter::repeat_with(time).take(15).collect();
        times.sort();
        say(&format!(
            "figures: {name}: status on 256 devices takes {:?} (usually {:?}), at most {STATUS:?}",
            times[0], times[7]
        ));
        assert!(times[0] < STATUS, "{name}: {times:?}");
        if have("strace", "how often status reads") && may_unshare("how often status reads") {
            let [small, large] = [64, 256].map(|devices| reads(&server(devices, "claim 04:00.0\n"), &binary));
            let (each, all) = ((large - small).div_ceil(192), large.div_ceil(256));
            say(&format!(
                "figures: {name}: status reads {large} times in /sys with 256 devices ({}.{:02} a device), {small} with 64: {}.{:02} for each more",
                large / 256,
                large % 256 * 100 / 256,
                (large - small) / 192,
                (large - small) % 192 * 100 / 192
            ));
            assert!(
                each <= READS && all <= READS,
                "{name}: {all} reads a device, {each} for each more, at most {READS}"
            );
        }
    }
}

/// The configuration space of an endpoint with PCI Express, and with ACS at the end of a chain of extended capabilities.
fn configuration_space() -> Vec<u8> {
    let mut space = vec![0_u8; 4096];
    let mut put = |at: usize, bytes: &[u8]| space[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &[0x86, 0x80, 0x89, 0x18, 0x06, 0x04, 0x10, 0x00, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x80]);
    put(0x34, &[0x40]);
    put(0x40, &[0x01, 0x50]);
    put(0x50, &[0x11, 0x60]);
    put(0x60, &[0x10, 0x00, 0x02, 0x00]);
    // Capability n of eight: its ID in the low half, the next one's place in the upper twelve bits.
    for number in 0..8_u16 {
        let (id, next) = if number == 7 { (0x000d, 0) } else { (0x0001 + number, 0x100 + 0x40 * (number + 1)) };
        let header = u32::from(id) | 1 << 16 | u32::from(next) << 20;
        put(0x100 + 0x40 * usize::from(number), &header.to_le_bytes());
    }
    put(0x100 + 0x40 * 7 + 4, &[0x5f, 0x00, 0x5d, 0x00]);
    space
}

#[test]
fn the_groups_of_2048_functions_are_quick() {
    let builds = [("release build", release()), ("tiny build", tiny())];
    for (name, binary) in builds.into_iter().filter_map(|(name, binary)| Some((name, binary?))) {
        let time = |devices: usize| {
            let mut tree = tree("server-eight-gpus-running", "");
            let known = tree.list("/sys/bus/pci/devices").unwrap().len();
            (0..devices - known).for_each(|index| add_device(&mut tree, index));
            for device in tree.list("/sys/bus/pci/devices").unwrap() {
                let space = tree.resolve(&format!("/sys/bus/pci/devices/{device}/config"), true);
                if space.is_err() {
                    let path = tree.resolve(&format!("/sys/bus/pci/devices/{device}"), true).unwrap();
                    tree.put(&format!("{path}/config"), Node::File(configuration_space()));
                }
            }
            let machine = MachineRoot::new(&tree);
            fs::copy(&binary, machine.at("/vfio-early")).unwrap();
            let run = || {
                let mut groups = Command::new("unshare");
                groups.arg("--map-root-user").arg("chroot").arg(&machine.root).args(["/vfio-early", "groups"]);
                let start = Instant::now();
                let output = groups.output().unwrap();
                assert!(output.status.success() && output.stdout.len() > devices * 10, "{output:?}");
                start.elapsed()
            };
            let mut times: Vec<Duration> = std::iter::repeat_with(run).take(9).collect();
            times.sort();
            times[0]
        };
        if !may_unshare("how long groups takes") {
            return;
        }
        let (few, many) = (time(512), time(2048));
        say(&format!(
            "figures: {name}: groups takes {few:?} with 512 functions, {many:?} with 2048, at most {GROUPS:?}"
        ));
        assert!(many < GROUPS && many < few * 8, "{name}: {few:?}, {many:?}");
    }
}

/// The most memory that a process has had, in KiB.
fn peak(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
}

/// Waits until something is there.
fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            // A moment more, so that what began has come to its rest.
            std::thread::sleep(Duration::from_millis(200));
            return found;
        }
        assert!(start.elapsed() < Duration::from_secs(20), "{what} does not come");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The helper.
fn helper(of: &Child) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", of.id())).ok()?;
    let child = children.split_whitespace().next()?;
    let line = fs::read(format!("/proc/{child}/cmdline")).ok()?;
    String::from_utf8_lossy(&line).contains("step-helper").then(|| child.parse().unwrap())
}

/// A run is measured where it stands still: the helper at an attribute that nobody reads, the program at its last line,
/// which is the whole document, into a pipe that is full.
fn memory(name: &str, binary: &Path) {
    let machine = server(256, "claim 04:00.0\nset on-failure keep\nset step-timeout 5\n");
    let attribute = machine.attribute("0000:04:00.0", "driver_override");
    fifo(&attribute);
    let (_reader, writer) = nix::unistd::pipe2(OFlag::O_CLOEXEC).unwrap();
    fs::File::from(writer.try_clone().unwrap()).write_all(&vec![0; 65536]).unwrap();
    let mut parent = command(binary, &machine.root, "claim --json");
    let mut parent = parent.stdin(Stdio::null()).stdout(writer).spawn().unwrap();

    let child = wait_for("the helper", || helper(&parent));
    let of_child = peak(child);
    // Somebody reads it now.
    drop(fs::File::open(&attribute).unwrap());

    wait_for("the report", || machine.at("/run/vfio-early/report.json").exists().then_some(()));
    assert!(parent.try_wait().unwrap().is_none(), "it did not wait at the full pipe");
    let of_parent = peak(parent.id());
    parent.kill().unwrap();
    parent.wait().unwrap();

    say(&format!("figures: {name}: peak memory {of_parent} KiB, of a child {of_child} KiB, each at most {MEMORY}"));
    assert!(of_parent < MEMORY && of_child < MEMORY, "{name}: {of_parent} and {of_child} KiB");
    // Both at once, as they stand beside each other.
    assert!(of_parent + of_child < 2 * MEMORY);
}

#[test]
fn a_claim_takes_less_than_three_mebibytes() {
    if let Some(binary) = release() {
        memory("release build", &binary);
    }
    if let Some(binary) = tiny() {
        memory("tiny build", &binary);
    }
}
