// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a claim must not do on a kernel as it is, and what it must do: one test for each fault that was found.

use std::time::Instant;

use nix::errno::Errno;
use vfio_early::config::{self, Sources};
use vfio_early::exit::Exit;
use vfio_early::machine::Operation;
use vfio_early::pci::Address;
use vfio_early::pipeline::{Run, claim};

use super::machines::{desktop, desktop_with, taken};
use crate::simulated::{
    Builder, GPU, GPU_AUDIO, IGB, IGPU, NIC, NVME, Place, Probe, QAT, SimulatedMachine, State, Version, XE,
};

const CARD: &str = "0000:01:00.0";
const AUDIO: &str = "0000:01:00.1";
const DISK: &str = "0000:03:00.0";
const NET: &str = "0000:04:00.0";

/// Runs `claim`, for all devices or for these alone, as udev's rule does it.
fn run(machine: &SimulatedMachine, devices: &[&str]) -> Run {
    let config = match config::load(machine, Sources::AtBoot) {
        Ok(loaded) => loaded.config,
        Err(errors) => panic!("the configuration is refused: {errors:?}"),
    };
    let devices: Vec<_> = devices.iter().map(|name| name.parse().unwrap()).collect();
    claim(machine, &config, &devices, false, Instant::now()).unwrap()
}

/// The same for each device that udev is told of.
fn udev(machine: &SimulatedMachine) {
    for event in machine.change(State::take_events) {
        if event.action == "add" {
            run(machine, &[&event.device]);
        }
    }
}

/// What is said of a device's claim: its state and the reason.
fn state(claimed: &Run, device: &str) -> (String, String) {
    let address: Address = device.parse().unwrap();
    let claim = claimed.report.claims.iter().find(|claim| claim.device == Some(address));
    claim.map(|claim| (claim.state.name().to_owned(), claim.reason.clone().unwrap_or_default())).unwrap_or_default()
}

/// Everything that people are told.
fn told(claimed: &Run) -> String {
    let problems = claimed.report.problems.iter();
    problems.map(|problem| format!("{}: {}", problem.severity.name(), problem.message)).collect::<Vec<_>>().join("\n")
}

fn get(machine: &SimulatedMachine, device: &str, name: &str) -> String {
    let tree = machine.tree();
    let real = tree.resolve(&format!("/sys/bus/pci/devices/{device}/{name}"), true).unwrap();
    String::from_utf8_lossy(tree.file(&real).unwrap()).trim_end().to_owned()
}

/// Whether the program wrote this to an attribute of that name, or tried to.
fn wrote(machine: &SimulatedMachine, name: &str, value: &str) -> bool {
    let fits = |written: &str| written.trim_end() == value || value.is_empty();
    machine.changes().iter().any(|entry| {
        entry.operation == Operation::Write
            && entry.object.ends_with(name)
            && fits(entry.value.as_deref().unwrap_or_default())
    })
}

/// vfio-pci refuses this device, without having done anything.
fn refuses(mut builder: Builder, device: &str) -> Builder {
    let key = ("vfio-pci".to_owned(), device.to_owned());
    builder.with(|state| {
        state.probe.insert(key, Probe::Fail(Errno::EIO));
    });
    builder
}

// Its own load of the module.

#[test]
fn a_load_takes_no_disk_when_ids_are_not_adopted() {
    for version in Version::ALL {
        let mut builder = desktop_with(version, "claim 04:00.0\nset adopt-ids no\n");
        let machine = builder.file("/proc/cmdline", "vfio-pci.ids=144d:a808\n").start();
        assert_eq!(state(&run(&machine, &[]), NET).0, "claimed");
        assert_eq!(machine.driver(DISK), None);
        machine.coldplug();
        assert_eq!(machine.driver(DISK).as_deref(), Some("nvme"), "the root would be lost");
    }
}

#[test]
fn a_load_takes_nothing_that_a_guard_has_refused() {
    let line = "options vfio-pci ids=144d:a808\n";
    let machine = desktop("claim 04:00.0\n").file("/etc/modprobe.d/vfio.conf", line).start();
    assert_eq!(state(&run(&machine, &[]), DISK).0, "refused");
    assert_eq!(machine.driver(DISK), None);
}

#[test]
fn a_load_does_not_take_the_second_of_two_twins() {
    let mut builder = desktop("claim 04:00.0\nset adopt-ids no\n");
    builder.port("0000:00:05.0").function("0000:05:00.0", Some("0000:00:05.0"), &NIC);
    let machine = builder.file("/proc/cmdline", "vfio_pci.ids=8086:15bc\n").start();
    run(&machine, &[]);
    assert_eq!(machine.driver(NET).as_deref(), Some("vfio-pci"));
    assert_eq!(machine.driver("0000:05:00.0"), None);
}

#[test]
fn a_load_does_not_take_the_last_display() {
    let mut builder = Builder::new();
    builder.port("0000:00:01.0").port("0000:00:04.0");
    builder.function(CARD, Some("0000:00:01.0"), &GPU).function(NET, Some("0000:00:04.0"), &NIC);
    builder.config("claim 04:00.0\n").file("/proc/cmdline", "vfio-pci.ids=10de:1e04\n");
    let machine = builder.start();
    assert_eq!(state(&run(&machine, &[]), CARD).0, "refused");
    assert_eq!(machine.driver(CARD), None);
}

#[test]
fn what_a_built_in_vfio_pci_has_taken_is_told() {
    let mut builder = desktop("claim 04:00.0\n");
    builder.file("/proc/cmdline", "vfio-pci.ids=144d:a808\n").built_in("vfio_pci");
    let claimed = run(&builder.start(), &[]);
    assert_eq!(state(&claimed, DISK).0, "taken", "{}", told(&claimed));
}

#[test]
fn what_an_install_line_lets_a_load_take_is_told() {
    let lines = "options vfio-pci ids=144d:a808\ninstall vfio-pci /sbin/modprobe -i vfio-pci\n";
    let machine = desktop("claim 04:00.0\n").file("/etc/modprobe.d/vfio.conf", lines).start();
    let claimed = run(&machine, &[]);
    let taken = machine.driver(DISK).as_deref() == Some("vfio-pci");
    assert_eq!(state(&claimed, DISK).0, if taken { "taken" } else { "refused" });
}

// The framebuffer.

fn with_framebuffer(version: Version) -> Builder {
    let config = "claim 01:00.0\nset framebuffer release\n";
    let mut builder = taken(desktop_with(version, config));
    builder.boot_display(CARD);
    builder
}

fn draws(machine: &SimulatedMachine) -> bool {
    machine.tree().list("/sys/class/graphics").unwrap() == ["fb0"]
}

#[test]
fn the_framebuffer_stays_when_the_module_cannot_be_loaded() {
    for version in Version::ALL {
        let away: fn(&mut State) = |state| state.module("vfio_pci").place = Place::RealRoot;
        let broken: fn(&mut State) = |state| state.module("vfio_pci_core").broken = Some(Errno::EINVAL);
        for change in [away, broken] {
            let machine = with_framebuffer(version).with(change).start();
            assert_eq!(state(&run(&machine, &[]), CARD).0, "failed");
            assert!(draws(&machine), "{version:?}");
        }
    }
}

#[test]
fn the_framebuffer_is_put_back_when_the_probe_fails() {
    for version in Version::ALL {
        let machine = refuses(with_framebuffer(version), CARD).start();
        assert_eq!(state(&run(&machine, &[]), CARD).0, "failed");
        assert!(draws(&machine), "{version:?}");
        // Of the card another function fails, before the display is taken.
        let machine = refuses(with_framebuffer(version), "0000:01:00.3").start();
        let claimed = run(&machine, &[]);
        assert!(draws(&machine) || told(&claimed).contains("framebuffer"), "{version:?}: nobody is told");
    }
}

#[test]
fn a_framebuffer_that_cannot_be_put_back_is_told() {
    let mut builder = with_framebuffer(Version::V6_12);
    let machine = builder.with(|state| state.incoherent.push(CARD.to_owned())).start();
    let claimed = run(&machine, &[]);
    assert_eq!(state(&claimed, CARD).0, "failed");
    assert!(!draws(&machine) && told(&claimed).contains("framebuffer"), "{}", told(&claimed));
}

// What was set before.

#[test]
fn an_override_of_somebody_else_is_back_after_a_failure() {
    for name in ["none", "nouveau"] {
        let mut builder = refuses(taken(desktop("claim 01:00.0\n")), AUDIO);
        let machine = builder.with(|state| state.set_override(CARD, Some(name))).start();
        assert_eq!(state(&run(&machine, &[]), CARD).0, "failed");
        assert_eq!(machine.driver_override(CARD).as_deref(), Some(name));
    }
}

#[test]
fn power_is_back_after_a_failure() {
    // The card was bound and unbound again: vfio-pci leaves `on`.
    let mut builder = refuses(taken(desktop("claim 01:00.0\n")), "0000:01:00.3");
    let machine = builder.attribute(CARD, "power/control", "auto").start();
    assert_eq!(state(&run(&machine, &[]), CARD).0, "failed");
    assert_eq!(get(&machine, CARD, "power/control"), "auto");
}

#[test]
fn a_bar_has_its_size_back_after_a_failure() {
    for version in Version::ALL {
        let config = "claim 01:00.0 rebar=1:8G\n";
        let mut builder = refuses(taken(desktop_with(version, config)), CARD);
        let machine = builder.resizable(CARD).start();
        assert_eq!(state(&run(&machine, &[]), CARD).0, "failed");
        let text = get(&machine, CARD, "resource");
        let line: Vec<u64> = text.lines().nth(1).unwrap().split(' ').map(number).collect();
        assert_eq!(line[1] - line[0] + 1, 256 << 20);
        assert_eq!(machine.driver(CARD).as_deref(), Some("nouveau"));
    }
}

fn number(text: &str) -> u64 {
    u64::from_str_radix(text.trim_start_matches("0x"), 16).unwrap()
}

#[test]
fn of_the_reset_methods_all_that_the_kernel_takes_are_back_after_a_failure() {
    for version in Version::ALL {
        let config = "claim 01:00.0 reset=pm\n";
        let mut builder = refuses(taken(desktop_with(version, config)), CARD);
        let machine = builder.resets(CARD, "flr pm").start();
        assert_eq!(get(&machine, CARD, "reset_method"), "flr pm bus");
        assert_eq!(state(&run(&machine, &[]), CARD).0, "failed");
        assert_eq!(get(&machine, CARD, "reset_method"), "flr pm", "`bus` cannot be had back");
    }
}

// What cannot work is known before.

#[test]
fn a_device_that_vfio_pci_refuses_keeps_its_driver_all_the_time() {
    let mut builder = taken(desktop("claim 05:00.0\n"));
    builder.port("0000:00:05.0").function("0000:05:00.0", Some("0000:00:05.0"), &QAT).loaded("qat_c62x");
    let machine = builder.start();
    assert_eq!(machine.driver("0000:05:00.0").as_deref(), Some("c6xx"));
    let claimed = run(&machine, &[]);
    assert_eq!(state(&claimed, "0000:05:00.0").0, "refused");
    assert!(!wrote(&machine, "/unbind", "") && !wrote(&machine, "/driver_override", ""));
    // The module may have been told otherwise.
    let machine = builder.loaded_with("vfio_pci", &["disable_denylist=1"]).start();
    assert_eq!(state(&run(&machine, &[]), "0000:05:00.0").0, "claimed");
}

#[test]
fn a_physical_function_with_virtual_ones_keeps_its_driver_all_the_time() {
    let mut builder = taken(desktop("claim 03:00.0 id=144d:a808\n"));
    let machine = builder.physical(DISK, 0xa808, 1).start();
    write(&machine, &format!("/sys/bus/pci/devices/{DISK}/sriov_numvfs"), "2");
    let claimed = run(&machine, &[]);
    assert_eq!(state(&claimed, DISK).0, "refused", "{}", told(&claimed));
    assert!(!wrote(&machine, "/unbind", ""));
    assert_eq!(machine.driver(DISK).as_deref(), Some("nvme"));
}

/// Somebody else writes.
fn write(machine: &SimulatedMachine, path: &str, value: &str) {
    vfio_early::machine::Machine::write(machine, path, value).unwrap();
    machine.calm();
}

#[test]
fn a_bridge_with_a_driver_of_its_own_blocks_its_group() {
    let mut builder = desktop("claim 05:00.0\n");
    builder.bridge("0000:00:05.0", None, true).function("0000:05:00.0", Some("0000:00:05.0"), &NIC);
    let machine = builder.group("0000:00:05.0", Some(50)).group("0000:05:00.0", Some(50)).start();
    let claimed = run(&machine, &[]);
    assert_eq!(state(&claimed, "0000:05:00.0").0, "claimed");
    assert!(machine.change(|state| state.own_group(50)).is_err());
    assert!(told(&claimed).contains("0000:00:05.0"), "no guest will get it, and nobody is told: {}", told(&claimed));
}

#[test]
fn a_confidential_device_is_not_unbound() {
    let mut builder = taken(desktop_with(Version::V7_2, "claim 04:00.0\n"));
    let machine = builder.attribute(NET, "tsm/bound", "tsm0").attribute(NET, "tsm/connect", "tsm0").start();
    assert_eq!(state(&run(&machine, &[]), NET).0, "refused");
    assert!(!wrote(&machine, "/unbind", ""));
}

// reset=

#[test]
fn a_reset_method_that_the_kernel_refuses_is_not_tried() {
    for version in Version::ALL {
        for reset in ["bus", "bus+flr", "flr+bus"] {
            let machine = desktop_with(version, &format!("claim 01:00.0 reset={reset}\n")).start();
            let claimed = run(&machine, &[]);
            let failed: Vec<_> = machine.changes().into_iter().filter(|entry| !entry.ok).collect();
            assert_eq!(failed, [], "{version:?} reset={reset}: {}", told(&claimed));
            assert!(told(&claimed).contains("reset"), "nobody is told");
        }
    }
}

#[test]
fn a_reset_method_that_is_set_already_is_not_set_again() {
    let machine = refuses(taken(desktop("claim 02:00.0 reset=flr\n")), "0000:02:00.1").start();
    write(&machine, "/sys/bus/pci/devices/0000:02:00.0/reset_method", "flr");
    run(&machine, &[]);
    assert!(!wrote(&machine, "/reset_method", ""));
}

// Names.

#[test]
fn a_variant_driver_is_called_as_it_registers_itself() {
    for option in ["driver=auto", "driver=xe_vfio_pci", "driver=xe-vfio-pci"] {
        let mut builder = desktop_with(Version::V7_2, &format!("claim 05:00.0 {option}\n"));
        builder.port("0000:00:05.0").function("0000:05:00.0", Some("0000:00:05.0"), &XE).variants();
        let machine = builder.start();
        let claimed = run(&machine, &[]);
        assert_eq!(state(&claimed, "0000:05:00.0"), ("claimed".to_owned(), String::new()), "{option}");
        assert_eq!(machine.driver_override("0000:05:00.0").as_deref(), Some("xe-vfio-pci"));
    }
}

#[test]
fn a_variant_driver_that_fails_leaves_no_override() {
    for name in [None, Some("none")] {
        let mut builder = desktop_with(Version::V7_2, "claim 05:00.0 driver=auto\n");
        builder.port("0000:00:05.0").function("0000:05:00.0", Some("0000:00:05.0"), &XE).variants();
        builder.with(|state| {
            let key = ("xe-vfio-pci".to_owned(), "0000:05:00.0".to_owned());
            state.probe.insert(key, Probe::Fail(Errno::EIO));
            state.set_override("0000:05:00.0", name);
        });
        let machine = builder.start();
        assert_eq!(state(&run(&machine, &[]), "0000:05:00.0").0, "failed");
        assert_eq!(machine.driver_override("0000:05:00.0").as_deref(), name);
    }
}

// Virtual functions.

/// A network card the driver of which makes two virtual functions, and the driver that wants them.
fn with_virtual(version: Version, config: &str) -> Builder {
    let mut builder = desktop_with(version, config);
    builder.port("0000:00:05.0").function("0000:05:00.0", Some("0000:00:05.0"), &IGB);
    builder.physical("0000:05:00.0", 0x10ca, 0x80);
    builder.with(|state| state.module("igb").driver.as_mut().unwrap().makes = 2);
    builder
}

const VIRTUAL: [&str; 2] = ["0000:05:10.0", "0000:05:10.2"];

#[test]
fn no_host_driver_probes_a_claimed_virtual_function() {
    for version in Version::ALL {
        let machine = with_virtual(version, "claim vf:05:00.0\n").loaded("igbvf").start();
        assert_eq!(run(&machine, &[]).exit, Exit::Ok, "none is there yet, and that is no failure");
        machine.coldplug();
        udev(&machine);
        assert_eq!(machine.driver("0000:05:00.0").as_deref(), Some("igb"));
        for device in VIRTUAL {
            assert_eq!(machine.driver(device).as_deref(), Some("vfio-pci"), "{version:?}");
        }
        let host = |(driver, device, _): &(String, String, _)| driver == "igbvf" && VIRTUAL.contains(&device.as_str());
        assert!(!machine.probes().iter().any(host), "{:?}", machine.probes());
    }
}

#[test]
fn drivers_are_kept_from_no_virtual_function_that_will_not_be_claimed() {
    // Another card is there, and: no IOMMU.
    let other = with_virtual(Version::V6_12, "claim vf:05:00.0 id=10de:1e04\n").start();
    let mut builder = with_virtual(Version::V6_12, "claim vf:05:00.0\n");
    builder.with(|state| state.tree.remove("/sys/class/iommu"));
    for (machine, exit) in [(other, Exit::NotMet), (builder.start(), Exit::Unprotected)] {
        assert_eq!(run(&machine, &[]).exit, exit);
        assert!(!wrote(&machine, "/sriov_drivers_autoprobe", ""));
    }
}

#[test]
fn a_virtual_function_that_cannot_be_claimed_goes_to_the_host() {
    for version in Version::ALL {
        let builder = with_virtual(version, "claim vf:05:00.0\n");
        let machine = refuses(builder, VIRTUAL[1]).loaded("igbvf").start();
        run(&machine, &[]);
        machine.coldplug();
        udev(&machine);
        assert_eq!(machine.driver(VIRTUAL[0]).as_deref(), Some("vfio-pci"));
        assert_eq!(machine.driver(VIRTUAL[1]).as_deref(), Some("igbvf"));
        assert_eq!(machine.driver_override(VIRTUAL[1]), None);
    }
}

#[test]
fn a_virtual_function_is_claimed_however_early_udev_asks() {
    let machine = with_virtual(Version::V6_12, "claim vf:05:00.0\n").loaded("igbvf").loaded("vfio_pci").start();
    run(&machine, &[]);
    let made = machine.change(|state| state.add_virtual("0000:05:00.0"));
    run(&machine, &[&made]);
    machine.change(|state| state.let_bind(&made)).unwrap();
    run(&machine, &[&made]);
    assert_eq!(machine.driver(&made).as_deref(), Some("vfio-pci"));
    assert!(machine.probes().iter().all(|(driver, ..)| driver != "igbvf"));
}

#[test]
fn an_id_selects_no_virtual_function() {
    let mut builder = desktop("claim 144d:a808 match=all allow=storage\n");
    builder.physical(DISK, 0xa808, 1).loaded("nvme");
    let machine = builder.start();
    write(&machine, &format!("/sys/bus/pci/devices/{DISK}/sriov_numvfs"), "2");
    let claimed = run(&machine, &["0000:03:00.1"]);
    assert_eq!(claimed.report.claims.len(), 0, "{:?}", claimed.report.claims);
    assert_eq!(machine.driver("0000:03:00.1").as_deref(), Some("nvme"));
}

#[test]
fn the_same_id_of_physical_and_virtual_functions_is_no_ambiguity() {
    let mut builder = desktop("claim 8086:3e92 allow=last-display\n");
    builder.physical("0000:00:12.0", IGPU.identity.device, 1).loaded("i915").with(|state| state.vanish(CARD));
    let machine = builder.start();
    write(&machine, "/sys/bus/pci/devices/0000:00:12.0/sriov_numvfs", "1");
    let claimed = run(&machine, &[]);
    assert_eq!(state(&claimed, "0000:00:12.1").0, "", "{:?}", claimed.report.claims);
}

// Power.

#[test]
fn power_on_keeps_a_claimed_device_awake() {
    for version in Version::ALL {
        let mut builder = taken(desktop_with(version, "claim 01:00.0 power=on\n"));
        let machine = builder.with(|state| state.sleep = [(CARD.to_owned(), "D3cold")].into()).start();
        assert_eq!(state(&run(&machine, &[]), CARD).0, "claimed");
        let power = ["d3cold_allowed", "power/control", "power_state"].map(|name| get(&machine, CARD, name));
        assert_eq!(power, ["0", "on", "D0"]);
        machine.calm();
        run(&machine, &[]);
        assert!(!wrote(&machine, "/control", "") && !wrote(&machine, "/d3cold_allowed", ""));
    }
}

#[test]
fn a_dead_device_is_not_ready_for_a_guest() {
    for version in Version::ALL {
        let machine = desktop_with(version, "claim 04:00.0\n").with(|state| state.die(NET)).start();
        let claimed = run(&machine, &[]);
        assert_eq!(claimed.exit, Exit::NotMet, "{version:?}");
        let words = format!("{}{}", told(&claimed), state(&claimed, NET).1);
        assert!(words.contains("answer"), "{words}");
    }
}

#[test]
fn a_virtual_function_is_not_called_dead() {
    let machine = with_virtual(Version::V6_12, "claim 05:10.0\n").start();
    machine.coldplug();
    let claimed = run(&machine, &[VIRTUAL[0]]);
    assert_eq!((claimed.exit, state(&claimed, VIRTUAL[0]).0.as_str()), (Exit::Ok, "claimed"));
}

// rebar=

#[test]
fn why_a_bar_cannot_be_resized_is_told_as_it_is() {
    for version in Version::ALL {
        let mut builder = taken(desktop_with(version, "claim 01:00.0 rebar=1:8G\n"));
        let machine = builder.resizable(CARD).with(|state| state.preserves_config = true).start();
        let words = told(&run(&machine, &[]));
        assert!(!words.contains("4G") && !words.contains("Unknown"), "{words}");
        assert!(words.contains("firmware"), "{words}");
    }
}

#[test]
fn a_bar_of_a_physical_function_with_virtual_ones_is_told_to_be_in_their_way() {
    let mut builder = desktop_with(Version::V7_2, "claim 03:00.0 id=144d:a808 rebar=1:8G\n");
    let machine = builder.resizable(DISK).physical(DISK, 0xa808, 1).loaded("nvme").start();
    write(&machine, &format!("/sys/bus/pci/devices/{DISK}/sriov_numvfs"), "1");
    let words = told(&run(&machine, &[]));
    assert!(!words.contains("4G") && words.contains("virtual"), "{words}");
}

// The whole.

#[test]
fn nobody_else_s_device_is_on_vfio_pci_whatever_is_left_over() {
    let left_over = ["vfio-pci.ids=10de:10f7,144d:a808", "vfio_pci.ids=ffffffff:ffffffff", "quiet"];
    let lines =
        ["", "options vfio-pci ids=144d:a808\n", "options vfio_pci ids=8086:ffffffff\nsoftdep nvme pre: vfio-pci\n"];
    for version in Version::ALL {
        for (line, text) in left_over.iter().flat_map(|line| lines.map(|text| (line, text))) {
            let mut builder = desktop_with(version, "claim 04:00.0\nset adopt-ids no\n");
            builder.file("/proc/cmdline", &format!("{line}\n")).file("/etc/modprobe.d/x.conf", text);
            let machine = builder.start();
            run(&machine, &[]);
            machine.coldplug();
            for device in machine.devices() {
                let on = machine.driver(&device).as_deref() == Some("vfio-pci");
                assert_eq!(on, device == NET, "{version:?}, {line}, {text}: {device}");
            }
        }
    }
}

#[test]
fn a_card_of_two_functions_and_a_disk_are_claimed_with_one_load() {
    let mut builder = desktop("claim 01:00.0\nclaim 02:00.0\nclaim 03:00.0 id=144d:a808\nclaim 04:00.0\n");
    builder.port("0000:00:05.0").function("0000:05:00.0", Some("0000:00:05.0"), &GPU_AUDIO);
    builder.function("0000:00:13.0", None, &NVME);
    let machine = builder.start();
    assert_eq!(run(&machine, &[]).exit, Exit::Ok);
    assert_eq!(machine.changes().iter().filter(|entry| entry.operation == Operation::Load).count(), 1);
}
