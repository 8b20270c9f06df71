// SPDX-License-Identifier: MIT OR Apache-2.0
//! The recorded machines are what their sketches say, and what a kernel could show.
//!
//! `VFIO_EARLY_BLESS=1 cargo test --test it machines::` draws them anew.

use std::fs;
use std::time::Instant;

use nix::errno::Errno;
use vfio_early::config::{self, Sources};
use vfio_early::inventory::{Detail, Extent, Inventory};
use vfio_early::machine::{Error, Machine, Node, Operation, Recorded, Recorder, Result, link_name, text as text_of};
use vfio_early::pci::parse_modalias;
use vfio_early::pipeline;
use vfio_early::problem::Code;

use crate::support::files::{files, here, machines, stem};
use crate::support::{sketch, text};

#[test]
fn machines_are_what_their_sketches_say() {
    let bless = std::env::var_os("VFIO_EARLY_BLESS").is_some();
    let mut stale = Vec::new();
    for path in files("tests/machines/sketches", "sketch") {
        let sketch = fs::read_to_string(&path).unwrap();
        for (index, state) in sketch::states(&sketch).iter().enumerate() {
            let tree = sketch::draw(&sketch, state);
            let drawn = text::write(&tree, &sketch::comment(&sketch));
            let again = Recorded::parse(drawn.as_bytes()).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            assert_eq!(*again.tree(), tree, "{}: does not survive being written and read", path.display());
            let name = if index == 0 { stem(&path).to_owned() } else { format!("{}-{state}", stem(&path)) };
            let machine = here(&format!("tests/machines/{name}.txt"));
            if fs::read_to_string(&machine).is_ok_and(|text| text == drawn) {
                continue;
            }
            if bless {
                fs::write(&machine, drawn).unwrap();
            } else {
                stale.push(name);
            }
        }
    }
    assert!(stale.is_empty(), "not as sketched (VFIO_EARLY_BLESS=1 draws them anew): {stale:?}");
}

/// Every link leads somewhere, and what is said twice is said alike: the kernel cannot show anything else.
#[test]
fn machines_agree_with_themselves() {
    for path in machines() {
        let name = stem(&path);
        let machine = Recorded::parse(&fs::read(&path).unwrap()).unwrap_or_else(|error| panic!("{name}: {error}"));
        for (path, node) in machine.tree().iter() {
            if let Node::Link(target) = node {
                assert!(machine.tree().get(path).is_ok(), "{name}: {path} -> {target} leads nowhere");
            }
        }
        let devices = machine.list("/sys/bus/pci/devices").unwrap_or_default();
        for address in &devices {
            device(name, &machine, address);
        }
        for group in machine.list("/sys/kernel/iommu_groups").unwrap_or_default() {
            for address in machine.list(&format!("/sys/kernel/iommu_groups/{group}/devices")).unwrap() {
                let link = format!("/sys/bus/pci/devices/{address}/iommu_group");
                assert_eq!(link_name(&machine, &link).unwrap(), group, "{name}: group of {address}");
            }
        }
        for driver in machine.list("/sys/bus/pci/drivers").unwrap_or_default() {
            for address in machine.list(&format!("/sys/bus/pci/drivers/{driver}")).unwrap() {
                if devices.contains(&address) {
                    let link = format!("/sys/bus/pci/devices/{address}/driver");
                    assert_eq!(link_name(&machine, &link).unwrap(), driver, "{name}: driver of {address}");
                }
            }
        }
    }
}

fn device(name: &str, machine: &Recorded, address: &str) {
    let at = |file: &str| format!("/sys/bus/pci/devices/{address}/{file}");
    let word = |file: &str| text_of(machine, &at(file)).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert!(address.parse::<vfio_early::pci::Address>().is_ok(), "{name}: {address}");
    let modalias = machine.attribute(&at("modalias")).unwrap();
    let identity = parse_modalias(&modalias).unwrap_or_else(|| panic!("{name}: modalias of {address}"));
    assert_eq!(word("vendor"), format!("{:#06x}", identity.vendor), "{name}: {address}");
    assert_eq!(word("device"), format!("{:#06x}", identity.device), "{name}: {address}");
    assert_eq!(word("subsystem_vendor"), format!("{:#06x}", identity.subvendor), "{name}: {address}");
    assert_eq!(word("subsystem_device"), format!("{:#06x}", identity.subdevice), "{name}: {address}");
    assert_eq!(word("class"), format!("{:#08x}", identity.class.0), "{name}: {address}");
    assert_eq!(machine.attribute(&at("boot_vga")).is_ok(), identity.class.0 >> 8 == 0x0300, "{name}: {address}");
    let config = machine.attribute(&at("config")).unwrap();
    assert!([64, 256, 4096].contains(&config.len()), "{name}: config of {address}");
    let identity_bytes = [identity.vendor.to_le_bytes(), identity.device.to_le_bytes()].concat();
    if machine.link(&at("physfn")).is_err() {
        assert_eq!(config[..4], identity_bytes, "{name}: config of {address}");
    }
    assert_eq!(config[9..12], identity.class.0.to_le_bytes()[..3], "{name}: config of {address}");
    let functions = machine.list("/sys/bus/pci/devices").unwrap();
    let siblings = functions.iter().filter(|other| other.split('.').next() == address.split('.').next()).count();
    if siblings > 1
        && address.ends_with(".0")
        && machine.link(&at("physfn")).is_err()
        && machine.link(&at("virtfn0")).is_err()
    {
        assert_eq!(config[14] & 0x80, 0x80, "{name}: {address} has siblings, but is not multifunction in config space");
    }
    for kind in ["driver", "iommu_group"] {
        if let Ok(link) = machine.link(&at(kind)) {
            let directory = machine.tree().resolve(&at(kind), true).unwrap();
            let back = if kind == "driver" {
                format!("{directory}/{address}")
            } else {
                format!("{directory}/devices/{address}")
            };
            assert!(machine.link(&back).is_ok(), "{name}: {address} has {kind} {link}, which does not know it");
        }
    }
    for (line, index) in word("resource").lines().zip(0..) {
        let [start, end, flags] = line.split(' ').collect::<Vec<_>>().try_into().unwrap();
        assert_eq!([start.len(), end.len(), flags.len()], [18; 3], "{name}: resource {index} of {address}");
    }
}

#[test]
fn a_name_does_not_begin_with_a_blank() {
    let read = |line: &str| Recorded::parse(format!("vfio-early machine 1\nat /\n{line} = y\n").as_bytes());
    assert!(read("x").is_ok() && read("/x").is_ok());
    for line in [" x", "/ x", "", "/"] {
        assert!(read(line).is_err(), "{line:?}");
    }
}

/// A recorded machine whose directories of devices cannot be listed.
struct Unlisted(Recorded);

impl Machine for Unlisted {
    fn attribute(&self, path: &str) -> Result<Vec<u8>> {
        self.0.attribute(path)
    }
    fn read(&self, path: &str, limit: usize) -> Result<Vec<u8>> {
        self.0.read(path, limit)
    }
    fn read_prefix(&self, path: &str, most: usize) -> Result<Vec<u8>> {
        self.0.read_prefix(path, most)
    }
    fn list(&self, path: &str) -> Result<Vec<String>> {
        if path.starts_with("/sys/bus/pci/devices/") {
            return Err(Error::os(Operation::List, path, Errno::EIO));
        }
        self.0.list(path)
    }
    fn link(&self, path: &str) -> Result<String> {
        self.0.link(path)
    }
    fn write(&self, path: &str, _: &str) -> Result<()> {
        panic!("taking inventory writes {path}")
    }
    fn load(&self, module: &str, _: &[&str]) -> Result<()> {
        panic!("taking inventory loads {module}")
    }
    fn save(&self, path: &str, _: &[u8]) -> Result<()> {
        panic!("taking inventory saves {path}")
    }
}

#[test]
fn what_cannot_be_listed_is_read_all_the_same() {
    let read = |machine: &dyn Machine| -> Vec<Detail> {
        let mut inventory = Inventory::survey(machine, true).unwrap();
        let addresses: Vec<_> = inventory.devices.iter().map(|device| device.address).collect();
        inventory.read_details(machine, &addresses, Extent::Full);
        inventory.devices.into_iter().filter_map(|device| device.detail).collect()
    };
    let machine = || Recorded::parse(&fs::read(here("tests/machines/desktop.txt")).unwrap()).unwrap();
    let (listed, unlisted) = (read(&machine()), read(&Unlisted(machine())));
    assert_eq!(listed.iter().filter(|detail| detail.boot_vga == Some(true)).count(), 1);
    let known = |details: &[Detail]| -> Vec<_> {
        details.iter().map(|detail| (detail.boot_vga, detail.reset_methods.clone(), detail.d3cold_allowed)).collect()
    };
    assert_eq!(known(&unlisted), known(&listed));
}

#[test]
fn a_claim_reads_of_neighbours_their_drivers_only() {
    let content = fs::read_to_string(here("tests/machines/group-with-sata.txt")).unwrap();
    // A network card in the group of the card 22:00.
    let driver = "at /sys/devices/pci0000:00/0000:00:01.3/0000:03:00.2/0000:1d:00.0/0000:1e:00.0\n\
                  driver -> ../../../../../../bus/pci/drivers/vfio-pci";
    let run = |claim: &str| -> (Vec<String>, Vec<String>) {
        let all = format!("{content}\n{driver}\n\nat /etc\nvfio-early.conf = {claim}\n");
        let machine = Recorded::parse(all.as_bytes()).unwrap();
        let recorder = Recorder::new(&machine);
        let config = config::load(&recorder, Sources::All).unwrap().config;
        let run = pipeline::claim(&recorder, &config, &[], true, Instant::now()).unwrap();
        let warnings = run.plan.problems.into_iter().filter(|problem| problem.code == Code::NotViable);
        let warnings = warnings.map(|problem| problem.message).collect();
        (recorder.into_observations().into_iter().map(|(path, _)| path).collect(), warnings)
    };
    let of = |address: &str, name: &str| format!("/sys/bus/pci/devices/{address}/{name}");
    let (alone, warnings) = run("claim 22:00.0");
    let is_read = |address: &str, name: &str| alone.contains(&of(address, name));
    assert!(is_read("0000:22:00.0", "power_state") && is_read("0000:22:00.1", "power_state"));
    assert!(is_read("0000:1e:00.0", "driver"));
    assert!(!is_read("0000:1e:00.0", "power_state") && !is_read("0000:1e:00.0", "driver_override"));
    // What a VFIO driver has keeps no guest from the group.
    let [warning] = warnings.as_slice() else { panic!("{warnings:?}") };
    assert!(warning.contains("2 functions") && !warning.contains("0000:1e:00.0"), "{warning}");
    let (group, _) = run("claim 22:00.0 with=group allow=storage");
    for name in ["driver_override", "power_state"] {
        assert!(group.contains(&of("0000:1e:00.0", name)), "{name}");
    }
    // Of a card without a display, only what is claimed.
    let (usb, _) = run("claim 03:00.0");
    assert!(usb.contains(&of("0000:03:00.0", "power_state")) && !usb.contains(&of("0000:03:00.1", "power_state")));
}
