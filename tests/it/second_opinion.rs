// SPDX-License-Identifier: MIT OR Apache-2.0
//! A second opinion on /proc: what the crate procfs makes of it, on the running machine and on every recorded one, against
//! what the program makes of it. Of swap space and of IPv6 routes that crate knows nothing.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsStr;

use procfs::net::{RouteEntries, RouteEntry};
use procfs::process::{MountInfo, MountInfos, Process};
use procfs::sys::kernel::Version;
use procfs::{CpuInfo, Current, FromBufRead, FromRead, KernelCmdline, Uptime};
use vfio_early::config::words;
use vfio_early::inventory::{Extent, Inventory, Mount, Processor};
use vfio_early::machine::{Host, Machine, Recorded};
use vfio_early::pci::Address;

use crate::support::files::recordings;
use crate::support::logger;
use crate::support::program::say;

/// Everything that the program learns about what the system stands on.
fn inventory(machine: &dyn Machine) -> Inventory {
    let mut inventory = Inventory::survey(machine, true).unwrap();
    let addresses: Vec<Address> = inventory.devices.iter().map(|device| device.address).collect();
    inventory.read_details(machine, &addresses, Extent::Full);
    inventory
}

/// A table of /proc, where the machine has it.
fn table(machine: &dyn Machine, path: &str) -> Option<Vec<u8>> {
    machine.attribute(path).ok()
}

/// What both make of the table of mounts. In it, blanks stand as `\040`, and procfs leaves them so.
fn hold_mounts(mounts: &[Mount], opinion: &[MountInfo], whose: &str) {
    let plain = |text: &str| text.replace("\\040", " ");
    let opinion = opinion.iter().map(|mount| Mount {
        device_number: mount.majmin.clone(),
        mount_point: plain(mount.mount_point.to_str().unwrap()),
        fs_type: mount.fs_type.clone(),
        source: plain(mount.mount_source.as_deref().unwrap_or_default()),
        read_only: mount.mount_options.contains_key("ro") || mount.super_options.contains_key("ro"),
    });
    assert_eq!(mounts, opinion.collect::<Vec<_>>(), "{whose}");
}

/// The interfaces of IPv4's default routes.
fn default_routes(routes: &[RouteEntry]) -> BTreeSet<&str> {
    const UP: u16 = 0x1;
    let is_default = |route: &&RouteEntry| {
        route.destination.is_unspecified() && route.mask.is_unspecified() && route.flags & UP != 0
    };
    routes.iter().filter(is_default).map(|route| route.iface.as_str()).collect()
}

/// What both make of the routes. The program tells an interface where it stands on a PCI function.
fn hold_routes(machine: &dyn Machine, inventory: &Inventory, opinion: &[RouteEntry], whose: &str) -> usize {
    let opinion = default_routes(opinion);
    let told = inventory.in_use.iter().filter_map(|of| of.description.strip_prefix("default route (through "));
    let told: BTreeSet<&str> = told.map(|way| way.split([',', ')']).next().unwrap()).collect();
    let on_pci = |name: &&str| {
        let link = machine.link(&format!("/sys/class/net/{name}")).unwrap_or_default();
        link.split('/').any(|part| part.parse::<Address>().is_ok())
    };
    for name in opinion.iter().filter(|name| on_pci(name)) {
        assert!(told.contains(name), "{whose}: the default route through {name} is not told, only {told:?}");
    }
    let over_ipv6 = table(machine, "/proc/net/ipv6_route").unwrap_or_default();
    let over_ipv6 = String::from_utf8(over_ipv6).unwrap();
    for name in told.difference(&opinion) {
        assert!(over_ipv6.contains(name), "{whose}: there is no default route through {name}, only {opinion:?}");
    }
    told.len()
}

/// What both make of the kernel command line. procfs splits it at blanks and knows no quotes.
fn hold_command_line(line: &[u8], opinion: &[String], whose: &str) {
    if line.contains(&b'"') {
        return;
    }
    let ours: Vec<_> = words(line).collect();
    let theirs = opinion.iter().map(|word| {
        let (name, value) = word.trim_end().split_once('=').map_or((word.trim_end(), None), |(n, v)| (n, Some(v)));
        (name.replace('-', "_"), value.map(ToOwned::to_owned))
    });
    assert_eq!(ours, theirs.collect::<Vec<_>>(), "{whose}");
}

fn hold_processor(processor: Processor, opinion: &CpuInfo, whose: &str) {
    let vendor = opinion.fields.get("vendor_id").map(String::as_str);
    let vendor = vendor.or_else(|| opinion.cpus.first()?.get("vendor_id").map(String::as_str));
    let is_arm = |fields: &HashMap<String, String>| fields.contains_key("CPU implementer");
    let is_arm = is_arm(&opinion.fields) || opinion.cpus.iter().any(is_arm);
    let expected = match vendor {
        Some("GenuineIntel" | "CentaurHauls" | "  Shanghai  ") => Processor::Intel,
        Some("AuthenticAMD" | "HygonGenuine") => Processor::Amd,
        None if is_arm => Processor::Arm,
        _ => Processor::Other,
    };
    assert_eq!(processor, expected, "{whose}: {vendor:?}");
}

#[test]
fn of_recorded_machines() {
    let (mut mounts, mut routes, mut lines, mut processors, mut times) = (0, 0, 0, 0, 0);
    for path in recordings() {
        let whose = path.display().to_string();
        let machine = Recorded::parse(&std::fs::read(&path).unwrap()).unwrap();
        let inventory = inventory(&machine);
        if let Some(text) = table(&machine, "/proc/self/mountinfo") {
            let opinion = MountInfos::from_buf_read(text.as_slice()).unwrap_or_else(|error| panic!("{whose}: {error}"));
            hold_mounts(&inventory.mounts, &opinion.0, &whose);
            mounts += opinion.0.len();
        }
        if let Some(text) = table(&machine, "/proc/net/route") {
            let opinion =
                RouteEntries::from_buf_read(text.as_slice()).unwrap_or_else(|error| panic!("{whose}: {error}"));
            routes += hold_routes(&machine, &inventory, &opinion.0, &whose);
        }
        if let Some(text) = table(&machine, "/proc/cmdline") {
            assert_eq!(inventory.command_line, text, "{whose}");
            let opinion = KernelCmdline::from_read(text.as_slice()).unwrap();
            hold_command_line(&text, &opinion.0, &whose);
            lines += 1;
        }
        if let Some(text) = table(&machine, "/proc/cpuinfo") {
            let opinion = CpuInfo::from_buf_read(text.as_slice()).unwrap_or_else(|error| panic!("{whose}: {error}"));
            hold_processor(inventory.iommu.processor, &opinion, &whose);
            processors += 1;
        }
        if let Some(text) = table(&machine, "/proc/uptime") {
            let opinion = Uptime::from_read(text.as_slice()).unwrap();
            assert_eq!(u128::from(inventory.uptime_ms), opinion.uptime_duration().as_millis(), "{whose}");
            times += 1;
        }
    }
    let seen = [mounts, routes, lines, processors, times];
    assert!(mounts > 10 && routes > 0 && lines > 10 && processors > 10 && times > 10, "too few were there: {seen:?}");
}

#[test]
fn of_the_running_machine() {
    logger::start();
    let machine = Host::open(OsStr::new("/")).unwrap();
    let myself = Process::myself().unwrap();
    // What changes while it is looked at, is looked at again.
    for _ in 0..20 {
        let opinion = || (myself.mountinfo().unwrap().0, procfs::net::route().unwrap_or_default());
        let (mounts, routes) = opinion();
        let inventory = match Inventory::survey(&machine, true) {
            Ok(_) => inventory(&machine),
            Err(error) => return say(&format!("NOT RUN: a second opinion on the running machine: {error}")),
        };
        let again = opinion();
        let same_routes = routes.len() == again.1.len() && default_routes(&routes) == default_routes(&again.1);
        if format!("{mounts:?}").len() != format!("{:?}", again.0).len() || !same_routes {
            continue;
        }
        hold_mounts(&inventory.mounts, &mounts, "the running machine");
        hold_routes(&machine, &inventory, &routes, "the running machine");
        hold_command_line(&inventory.command_line, &procfs::cmdline().unwrap(), "the running machine");
        hold_processor(inventory.iommu.processor, &CpuInfo::current().unwrap(), "the running machine");
        let now = Uptime::current().unwrap().uptime_duration().as_millis();
        let since = now.checked_sub(u128::from(inventory.uptime_ms));
        assert!(since.is_some_and(|since| since < 60_000), "the running machine: {now}, {}", inventory.uptime_ms);
        assert_eq!(Version::from_str(&inventory.kernel).ok(), Version::current().ok(), "{}", inventory.kernel);
        return;
    }
    panic!("the running machine's mounts and routes never stand still");
}
