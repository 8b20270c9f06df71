// SPDX-License-Identifier: MIT OR Apache-2.0
//! The simulated machine itself, held against what the kernel's source says.

use nix::errno::Errno;
use vfio_early::machine::{Machine, Operation};

use super::{
    Builder, Fault, GPU, GPU_AUDIO, GPU_UCSI, GPU_USB, Hang, IGPU, Kind, Lasts, NIC, NVME, Outcome, Place, Probe, SATA,
    SimulatedMachine, Version,
};

const CARD: &str = "0000:01:00.0";
const PORT: &str = "0000:00:01.0";

/// A desktop: iGPU, SATA, one GPU of four functions, NVMe and a network card.
fn desktop() -> Builder {
    let mut builder = Builder::new();
    builder.port(PORT).port("0000:00:1c.0").port("0000:00:1d.0");
    builder.function("0000:00:02.0", None, &IGPU).function("0000:00:17.0", None, &SATA);
    for (function, model) in [GPU, GPU_AUDIO, GPU_USB, GPU_UCSI].iter().enumerate() {
        builder.function(&format!("0000:01:00.{function}"), Some(PORT), model);
    }
    builder.function("0000:02:00.0", Some("0000:00:1c.0"), &NVME);
    builder.function("0000:03:00.0", Some("0000:00:1d.0"), &NIC);
    builder
}

fn attribute(machine: &SimulatedMachine, device: &str, name: &str) -> String {
    let content = machine.attribute(&format!("/sys/bus/pci/devices/{device}/{name}")).unwrap();
    String::from_utf8(content).unwrap().trim_end().to_owned()
}

fn set(machine: &SimulatedMachine, device: &str, name: &str, value: &str) -> Result<(), String> {
    let path = format!("/sys/bus/pci/devices/{device}/{name}");
    machine.write(&path, value).map_err(|error| error.source.to_string())
}

fn errno(result: vfio_early::machine::Result<()>) -> Errno {
    Errno::from_raw(result.unwrap_err().source.raw_os_error().unwrap_or(0))
}

fn probe(machine: &SimulatedMachine, device: &str) -> vfio_early::machine::Result<()> {
    machine.write("/sys/bus/pci/drivers_probe", device)
}

#[test]
fn a_machine_starts_with_its_ports_bound_and_nothing_else() {
    let machine = desktop().start();
    assert_eq!(machine.driver(PORT).as_deref(), Some("pcieport"));
    assert_eq!(machine.driver(CARD), None);
    assert_eq!(machine.devices().len(), 12);
    assert_eq!(attribute(&machine, CARD, "driver_override"), "(null)");
    assert_eq!(
        machine.link(&format!("/sys/bus/pci/devices/{CARD}/driver")).unwrap_err().source.raw_os_error(),
        Some(2)
    );
    let group = machine.link("/sys/bus/pci/devices/0000:01:00.3/iommu_group").unwrap();
    assert_eq!(machine.link(&format!("/sys/bus/pci/devices/{CARD}/iommu_group")).unwrap(), group);
    let members = machine.list(&format!("/sys/bus/pci/devices/{CARD}/iommu_group/devices")).unwrap();
    assert_eq!(members, ["0000:01:00.0", "0000:01:00.1", "0000:01:00.2", "0000:01:00.3"]);
}

#[test]
fn a_machine_has_the_files_that_it_was_given() {
    let machine = desktop().config("claim 01:00.*\n").start();
    assert_eq!(machine.read("/etc/vfio-early.conf", 64).unwrap(), b"claim 01:00.*\n");
    let alias = machine.read("/lib/modules/6.12.117-sim/modules.alias", 4096).unwrap();
    assert!(String::from_utf8(alias).unwrap().contains("alias pci:v000010DEd*sv*sd*bc03sc*i* nouveau\n"));
}

#[test]
fn coldplug_gives_every_device_to_its_host_driver() {
    let machine = desktop().start();
    machine.coldplug();
    for (device, driver) in [
        ("0000:00:02.0", "i915"),
        ("0000:00:17.0", "ahci"),
        ("0000:01:00.0", "nouveau"),
        ("0000:01:00.1", "snd_hda_intel"),
        ("0000:01:00.2", "xhci_hcd"),
        ("0000:01:00.3", "nvidia-gpu"),
        ("0000:02:00.0", "nvme"),
        ("0000:03:00.0", "e1000e"),
    ] {
        assert_eq!(machine.driver(device).as_deref(), Some(driver), "{device}");
    }
    assert!(machine.log().is_empty(), "udev does not come through the machine");
}

#[test]
fn an_override_lets_only_the_driver_of_that_name_match() {
    let machine = desktop().loaded("nouveau").start();
    assert_eq!(machine.driver(CARD).as_deref(), Some("nouveau"));
    let machine = desktop().start();
    set(&machine, CARD, "driver_override", "vfio-pci").unwrap();
    assert_eq!(attribute(&machine, CARD, "driver_override"), "vfio-pci");
    machine.load("nouveau", &[]).unwrap();
    assert_eq!(machine.driver(CARD), None);
    machine.coldplug();
    assert_eq!(machine.driver(CARD), None, "nobody loads vfio-pci for it");
    machine.load("vfio-pci", &[]).unwrap();
    assert_eq!(machine.driver(CARD).as_deref(), Some("vfio-pci"), "a driver takes what matches when it registers");
    assert_eq!(machine.driver("0000:00:02.0").as_deref(), Some("i915"));
    // Clearing it takes nothing away from the driver that has the device.
    set(&machine, CARD, "driver_override", "\n").unwrap();
    assert_eq!(attribute(&machine, CARD, "driver_override"), "(null)");
    assert_eq!(machine.driver(CARD).as_deref(), Some("vfio-pci"));
    // An empty write never reaches the kernel.
    set(&machine, CARD, "driver_override", "x\ny").unwrap();
    set(&machine, CARD, "driver_override", "").unwrap();
    assert_eq!(attribute(&machine, CARD, "driver_override"), "x");
    assert!(set(&machine, CARD, "driver_override", &"x".repeat(4096)).is_err());
}

#[test]
fn drivers_probe_answers_as_the_kernel_does() {
    let machine = desktop().built_in("vfio_pci").start();
    assert_eq!(errno(probe(&machine, "0000:09:00.0")), Errno::ENODEV);
    assert_eq!(errno(probe(&machine, "\n")), Errno::ENODEV);
    probe(&machine, "").unwrap();
    probe(&machine, CARD).unwrap();
    assert_eq!(machine.driver(CARD), None, "no driver wanted it, and that is no error");
    set(&machine, CARD, "driver_override", "vfio-pci").unwrap();
    probe(&machine, "0000:01:00.0\n").unwrap();
    assert_eq!(machine.driver(CARD).as_deref(), Some("vfio-pci"));
    probe(&machine, CARD).unwrap();
    assert_eq!(errno(machine.write("/sys/bus/pci/drivers/vfio-pci/bind", CARD)), Errno::EBUSY);
    assert_eq!(errno(machine.write("/sys/bus/pci/drivers/vfio-pci/bind", "0000:02:00.0")), Errno::ENODEV);
    assert_eq!(machine.attribute("/sys/bus/pci/drivers_probe").unwrap_err().source.raw_os_error(), Some(13));
}

#[test]
fn unbind_works_for_the_driver_that_has_the_device() {
    let machine = desktop().loaded("nouveau").start();
    assert_eq!(errno(machine.write("/sys/bus/pci/drivers/pcieport/unbind", CARD)), Errno::ENODEV);
    machine.write("/sys/bus/pci/drivers/nouveau/unbind", CARD).unwrap();
    assert_eq!(machine.driver(CARD), None);
    assert_eq!(errno(machine.write("/sys/bus/pci/drivers/nouveau/unbind", CARD)), Errno::ENODEV);
    machine.write("/sys/bus/pci/drivers/nouveau/bind", CARD).unwrap();
    assert_eq!(machine.driver(CARD).as_deref(), Some("nouveau"));
    let names = machine.list("/sys/bus/pci/drivers/nouveau").unwrap();
    assert_eq!(names, [CARD, "bind", "module", "new_id", "remove_id", "uevent", "unbind"]);
}

#[test]
fn modules_load_once_with_what_they_need() {
    let machine = desktop().start();
    machine.load("vfio-pci", &[]).unwrap();
    machine.load("vfio_pci", &[]).unwrap();
    assert_eq!(machine.list("/sys/module").unwrap(), ["vfio", "vfio_pci", "vfio_pci_core"]);
    assert!(machine.load("nvidia", &[]).unwrap_err().to_string().contains("not found"));
    assert!(machine.devices().iter().all(|device| machine.driver(device).as_deref() != Some("vfio-pci")));

    let machine = desktop().with(|state| state.module("vfio_pci_core").place = Place::RealRoot).start();
    assert!(machine.load("vfio-pci", &[]).is_err());
    assert!(machine.list("/sys/bus/pci/drivers/vfio-pci").is_err());
    let machine = desktop().with(|state| state.modprobe = false).start();
    assert!(machine.load("vfio-pci", &[]).unwrap_err().to_string().contains("modprobe not found"));
    let machine = desktop().built_in("vfio_pci").start();
    machine.load("vfio-pci", &[]).unwrap();
    assert!(machine.list("/sys/bus/pci/drivers/vfio-pci").is_ok());
}

#[test]
fn ids_given_to_vfio_pci_take_every_device_that_matches() {
    let ids = ("/etc/modprobe.d/vfio.conf", "options vfio-pci ids=10de:1e04\n");
    let machine = desktop().file(ids.0, ids.1).start();
    set(&machine, "0000:01:00.1", "driver_override", "vfio-pci").unwrap();
    machine.load("vfio-pci", &[]).unwrap();
    assert_eq!(machine.driver(CARD).as_deref(), Some("vfio-pci"));
    assert_eq!(machine.driver("0000:01:00.1").as_deref(), Some("vfio-pci"));
    assert_eq!(machine.driver("0000:01:00.2"), None);
    let machine = desktop().file(ids.0, ids.1).start();
    set(&machine, CARD, "driver_override", "pci-stub").unwrap();
    machine.load("vfio-pci", &[]).unwrap();
    assert_eq!(machine.driver(CARD), None);
    let machine = desktop().start();
    machine.load("vfio-pci", &[]).unwrap();
    machine.write("/sys/bus/pci/drivers/vfio-pci/new_id", "10de 1e04").unwrap();
    assert_eq!(machine.driver(CARD).as_deref(), Some("vfio-pci"));
}

#[test]
fn a_driver_that_refuses_leaves_the_device_to_the_next() {
    let key = ("vfio-pci".to_owned(), CARD.to_owned());
    let builder = |how| {
        let mut builder = desktop();
        builder.built_in("vfio_pci").with(|state| {
            state.probe.insert(key.clone(), how);
        });
        builder.start()
    };
    let machine = builder(Probe::Fail(Errno::EIO));
    set(&machine, CARD, "driver_override", "vfio-pci").unwrap();
    probe(&machine, CARD).unwrap();
    assert_eq!(machine.driver(CARD), None);
    assert_eq!(machine.probes(), [("vfio-pci".to_owned(), CARD.to_owned(), Outcome::Refused(Errno::EIO))]);
    assert_eq!(errno(machine.write("/sys/bus/pci/drivers/vfio-pci/bind", CARD)), Errno::EIO);
    set(&machine, CARD, "driver_override", "\n").unwrap();
    machine.load("nouveau", &[]).unwrap();
    assert_eq!(machine.driver(CARD).as_deref(), Some("nouveau"));

    let machine = builder(Probe::FailOnce(Errno::EIO));
    set(&machine, CARD, "driver_override", "vfio-pci").unwrap();
    probe(&machine, CARD).unwrap();
    assert_eq!(machine.driver(CARD), None);
    probe(&machine, CARD).unwrap();
    assert_eq!(machine.driver(CARD).as_deref(), Some("vfio-pci"));
}

#[test]
fn vfio_refuses_bridges_and_devices_without_a_group() {
    let machine = desktop().built_in("vfio_pci").group(CARD, None).start();
    for device in [CARD, "0000:00:1c.0"] {
        set(&machine, device, "driver_override", "vfio-pci").unwrap();
    }
    machine.write("/sys/bus/pci/drivers/pcieport/unbind", "0000:00:1c.0").unwrap();
    for device in [CARD, "0000:00:1c.0"] {
        probe(&machine, device).unwrap();
        assert_eq!(machine.driver(device), None);
    }
}

#[test]
fn a_device_that_vanishes_takes_what_is_below_it_along() {
    let machine = desktop().loaded("nouveau").start();
    let kind = Kind::Vanish(PORT.to_owned());
    machine.trouble(Fault { at: 2, kind, lasts: Lasts::Once });
    assert_eq!(attribute(&machine, CARD, "vendor"), "0x10de");
    assert!(!machine.troubled());
    assert!(machine.attribute(&format!("/sys/bus/pci/devices/{CARD}/vendor")).unwrap_err().is_missing());
    assert!(machine.troubled());
    assert_eq!(machine.devices().len(), 7);
    assert_eq!(errno(probe(&machine, CARD)), Errno::ENODEV);
    assert_eq!(errno(machine.write("/sys/bus/pci/drivers/nouveau/unbind", CARD)), Errno::ENODEV);
    assert!(!machine.list("/sys/bus/pci/drivers/nouveau").unwrap().contains(&CARD.to_owned()));
}

#[test]
fn a_probe_that_hangs_shows_its_driver_and_holds_the_lock() {
    for (how, end) in [(Probe::HangThenBind, Some("vfio-pci")), (Probe::HangThenFail(Errno::EIO), Some("nouveau"))] {
        let key = ("vfio-pci".to_owned(), CARD.to_owned());
        // Later kernels keep the override behind a lock of its own.
        let machine = desktop()
            .with(|state| {
                state.version = Version::V6_1;
                state.probe.insert(key, how);
            })
            .start();
        set(&machine, CARD, "driver_override", "vfio-pci").unwrap();
        machine.load("nouveau", &[]).unwrap();
        assert!(machine.load("vfio-pci", &[]).unwrap_err().is_timeout());
        assert_eq!(machine.driver(CARD).as_deref(), Some("vfio-pci"), "the link comes before the probe");
        assert!(machine.list("/sys/bus/pci/drivers/vfio-pci").unwrap().iter().all(|name| name != "bind"));
        assert!(machine.load("vfio-pci", &[]).unwrap_err().is_timeout(), "it waits for the first one");
        assert!(set(&machine, CARD, "driver_override", "\n").is_err());
        assert!(probe(&machine, CARD).unwrap_err().is_timeout());
        assert!(machine.deadlocks().is_empty());
        assert!(machine.attribute(&format!("/sys/bus/pci/devices/{CARD}/driver_override")).is_err());
        assert_eq!(machine.deadlocks().len(), 1, "this read would never have come back");
        set(&machine, "0000:02:00.0", "driver_override", "x").unwrap();
        machine.settle();
        assert_eq!(machine.driver(CARD).as_deref(), end, "what was given up happens in its turn");
        assert_eq!(machine.driver_override(CARD), None);
        assert!(machine.list("/sys/bus/pci/drivers/vfio-pci").unwrap().iter().any(|name| name == "bind"));
    }
}

#[test]
fn devices_sleep_below_vfio_and_wake_when_they_are_told_to() {
    let machine = desktop()
        .built_in("vfio_pci")
        .with(|state| {
            state.sleep.insert(CARD.into(), "D3cold");
        })
        .start();
    set(&machine, CARD, "driver_override", "vfio-pci").unwrap();
    probe(&machine, CARD).unwrap();
    assert_eq!(
        (attribute(&machine, CARD, "power_state"), attribute(&machine, CARD, "power/control")),
        ("D3cold".into(), "auto".into())
    );
    set(&machine, CARD, "power/control", "on").unwrap();
    assert_eq!(attribute(&machine, CARD, "power_state"), "D0");
    assert!(set(&machine, CARD, "power/control", "off").is_err());

    let mut builder = desktop();
    builder.attribute(CARD, "power_state", "D3cold").with(|state| state.stuck.push(CARD.into()));
    let machine = builder.start();
    set(&machine, CARD, "power/control", "on").unwrap();
    assert_eq!(attribute(&machine, CARD, "power_state"), "D3cold");
}

#[test]
fn reset_methods_are_set_all_or_none() {
    let machine = desktop().start();
    let nic = "0000:03:00.0";
    let methods = || attribute(&machine, nic, "reset_method");
    assert_eq!(methods(), "flr bus");
    set(&machine, nic, "reset_method", "bus flr\n").unwrap();
    assert_eq!(methods(), "bus flr");
    set(&machine, nic, "reset_method", "bus").unwrap();
    assert!(set(&machine, nic, "reset_method", "bus pm").is_err());
    assert!(set(&machine, nic, "reset_method", "buss").is_err());
    assert_eq!(methods(), "bus");
    set(&machine, nic, "reset_method", "flr").unwrap();
    assert_eq!(methods(), "flr", "what was switched off is there again");
    set(&machine, nic, "reset_method", "default").unwrap();
    assert_eq!(methods(), "flr bus");
    set(&machine, nic, "reset_method", "\n").unwrap();
    assert_eq!(methods(), "");
}

#[test]
fn bars_are_resized_while_no_driver_has_the_device() {
    let mut builder = desktop();
    builder.resizable(CARD).with(|state| {
        state.windows.insert(CARD.to_owned(), 13);
    });
    let machine = builder.loaded("nouveau").start();
    let path = format!("/sys/bus/pci/devices/{CARD}/resource1_resize");
    assert_eq!(errno(machine.write(&path, "9")), Errno::EBUSY);
    machine.write("/sys/bus/pci/drivers/nouveau/unbind", CARD).unwrap();
    assert_eq!(errno(machine.write(&path, "5")), Errno::EINVAL);
    assert_eq!(errno(machine.write(&path, "8G")), Errno::EINVAL);
    assert_eq!(errno(machine.write(&path, "14")), Errno::ENOSPC);
    let before = attribute(&machine, CARD, "resource");
    machine.write(&path, "13").unwrap();
    let after = attribute(&machine, CARD, "resource");
    assert_eq!(after.lines().next(), before.lines().next());
    assert_eq!(after.lines().nth(1), Some("0x0004000000000000 0x00040001ffffffff 0x000000000014220c"));
    machine.write(&path, "8").unwrap();
}

#[test]
fn a_frame_buffer_driver_lets_go_of_its_platform_device() {
    let machine = desktop().boot_display("0000:00:02.0").start();
    let device = "simple-framebuffer.0";
    assert_eq!(machine.list("/sys/class/graphics").unwrap(), ["fb0"]);
    assert!(
        machine.link(&format!("/sys/bus/platform/devices/{device}/driver")).unwrap().ends_with("/simple-framebuffer")
    );
    machine.write("/sys/bus/platform/drivers/simple-framebuffer/unbind", device).unwrap();
    assert!(machine.link(&format!("/sys/bus/platform/devices/{device}/driver")).is_err());
    assert!(machine.list("/sys/class/graphics").unwrap().is_empty());
    machine.write("/sys/bus/platform/drivers_probe", device).unwrap();
    assert!(machine.link(&format!("/sys/bus/platform/devices/{device}/driver")).is_ok());
}

#[test]
fn any_operation_can_be_made_to_fail() {
    // An override that comes late has to be behind a lock.
    let machine = desktop().with(|state| state.version = Version::V6_1).start();
    let path = format!("/sys/bus/pci/devices/{CARD}/driver_override");
    let fault = |at, kind, lasts| Fault { at, kind, lasts };
    machine.trouble(fault(2, Kind::Fail(Errno::EIO), Lasts::Once));
    machine.write(&path, "a").unwrap();
    assert_eq!(errno(machine.write(&path, "b")), Errno::EIO);
    assert_eq!(machine.driver_override(CARD).as_deref(), Some("a"));
    machine.write(&path, "c").unwrap();

    machine.trouble(fault(1, Kind::Fail(Errno::ENOSPC), Lasts::ForThis));
    assert_eq!(errno(machine.save("/run/vfio-early/report.json", b"{}")), Errno::ENOSPC);
    machine.save("/run/other", b"{}").unwrap();
    assert_eq!(errno(machine.save("/run/vfio-early/report.json", b"{}")), Errno::ENOSPC);

    machine.trouble(fault(1, Kind::FailAfterwards(Errno::EINTR), Lasts::Once));
    assert_eq!(errno(machine.write(&path, "d")), Errno::EINTR);
    assert_eq!(machine.driver_override(CARD).as_deref(), Some("d"));

    for (hang, now, then) in [(Hang::Lost, "d", "d"), (Hang::Done, "e", "e"), (Hang::Late, "e", "f")] {
        machine.trouble(fault(1, Kind::Hang(hang), Lasts::Once));
        assert!(machine.write(&path, if hang == Hang::Late { "f" } else { "e" }).unwrap_err().is_timeout());
        assert_eq!(machine.driver_override(CARD).as_deref(), Some(now), "{hang:?}");
        machine.settle();
        assert_eq!(machine.driver_override(CARD).as_deref(), Some(then), "{hang:?}");
    }
    machine.calm();
    machine.save("/run/vfio-early/report.json", b"{}").unwrap();
    let before = machine.tree().clone();
    machine.trouble(fault(1, Kind::Fail(Errno::EIO), Lasts::Once));
    assert!(machine.load("vfio-pci", &[]).is_err());
    assert_eq!(*machine.tree(), before, "what fails has no effect");
    machine.calm();
    machine.save("/run/vfio-early/report.json", b"{}").unwrap();
    let entry = &machine.changes()[0];
    assert_eq!((entry.operation, entry.ok), (Operation::Save, true));
    assert_eq!(errno(machine.save("/sys/x", b"")), Errno::EROFS);
}

#[test]
fn without_root_nothing_is_written() {
    let machine = desktop().with(|state| state.root = false).start();
    assert_eq!(attribute(&machine, CARD, "vendor"), "0x10de");
    assert_eq!(errno(machine.write(&format!("/sys/bus/pci/devices/{CARD}/driver_override"), "x")), Errno::EACCES);
    assert_eq!(errno(machine.save("/run/vfio-early/report.json", b"{}")), Errno::EACCES);
    let machine = desktop().start();
    assert_eq!(errno(machine.write(&format!("/sys/bus/pci/devices/{CARD}/vendor"), "x")), Errno::EACCES);
    assert_eq!(errno(machine.write(&format!("/sys/bus/pci/devices/{CARD}/nothing"), "x")), Errno::ENOENT);
}

#[test]
fn a_recorded_machine_comes_to_life() {
    let text = b"vfio-early machine 1
at /sys/devices/pci0000:00/0000:00:02.0
modalias = pci:v000010DEd00001E04sv00001462sd00003711bc03sc00i00
iommu_group -> ../../../kernel/iommu_groups/1
driver -> ../../../bus/pci/drivers/nouveau
at /sys/kernel/iommu_groups/1/devices
0000:00:02.0 -> ../../../../devices/pci0000:00/0000:00:02.0
at /sys/bus/pci
devices/0000:00:02.0 -> ../../../devices/pci0000:00/0000:00:02.0
drivers/nouveau/0000:00:02.0 -> ../../../../devices/pci0000:00/0000:00:02.0
at /lib/modules/6.1.0
modules.alias |
  alias pci:v000010DEd*sv*sd*bc03sc*i* nouveau
  alias vfio_pci:v*d*sv*sd*bc*sc*i* vfio_pci
";
    let machine = SimulatedMachine::recorded(text);
    let device = "0000:00:02.0";
    machine.write("/sys/bus/pci/drivers/nouveau/unbind", device).unwrap();
    probe(&machine, device).unwrap();
    assert_eq!(machine.driver(device).as_deref(), Some("nouveau"));
    machine.write("/sys/bus/pci/drivers/nouveau/unbind", device).unwrap();
    set(&machine, device, "driver_override", "vfio-pci").unwrap();
    machine.load("vfio-pci", &[]).unwrap();
    assert_eq!(machine.driver(device).as_deref(), Some("vfio-pci"));
}
