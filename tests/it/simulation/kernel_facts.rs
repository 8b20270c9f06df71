// SPDX-License-Identifier: MIT OR Apache-2.0
//! The simulated machine does what the kernel's source says, in each version that it knows. Where a test fails, either the
//! model is wrong or the kernel has changed; the program is not asked here.

use nix::errno::Errno;
use vfio_early::machine::{Machine, Result};

use crate::simulated::{
    ACCELERATOR, Builder, Event, GPU, GPU_AUDIO, IGB, NIC, NVME, Outcome, Probe, QAT, SimulatedMachine, State, Version,
    XE,
};

const PORT: &str = "0000:00:01.0";
const CARD: &str = "0000:01:00.0";
const AUDIO: &str = "0000:01:00.1";
const DISK: &str = "0000:02:00.0";
const NET: &str = "0000:03:00.0";

/// A card of two functions, a disk, and a network card with virtual functions.
fn machine(version: Version) -> Builder {
    let mut builder = Builder::of(version);
    builder.port(PORT).port("0000:00:02.0").port("0000:00:03.0");
    builder.function(CARD, Some(PORT), &GPU).function(AUDIO, Some(PORT), &GPU_AUDIO);
    builder.function(DISK, Some("0000:00:02.0"), &NVME);
    builder.function(NET, Some("0000:00:03.0"), &IGB).physical(NET, 0x10ca, 0x80);
    builder
}

fn set(machine: &SimulatedMachine, device: &str, name: &str, value: &str) -> Result<()> {
    machine.write(&format!("/sys/bus/pci/devices/{device}/{name}"), value)
}

fn get(machine: &SimulatedMachine, device: &str, name: &str) -> String {
    let content = machine.attribute(&format!("/sys/bus/pci/devices/{device}/{name}")).unwrap();
    String::from_utf8(content).unwrap()
}

fn number(result: Result<()>) -> i32 {
    result.map_or_else(|error| error.source.raw_os_error().unwrap_or(-1), |()| 0)
}

/// The error number of a result; 0 for none.
fn errno(result: Result<()>) -> Errno {
    Errno::from_raw(number(result))
}

/// No error.
const NONE: Errno = Errno::UnknownErrno;

fn probe(machine: &SimulatedMachine, device: &str) -> Errno {
    errno(machine.write("/sys/bus/pci/drivers_probe", device))
}

fn bind(machine: &SimulatedMachine, driver: &str, device: &str) -> Errno {
    errno(machine.write(&format!("/sys/bus/pci/drivers/{driver}/bind"), device))
}

fn unbind(machine: &SimulatedMachine, driver: &str, device: &str) -> Errno {
    errno(machine.write(&format!("/sys/bus/pci/drivers/{driver}/unbind"), device))
}

/// Overrides a device, and has it probed.
fn give(machine: &SimulatedMachine, device: &str, driver: &str) {
    set(machine, device, "driver_override", driver).unwrap();
    assert_eq!(probe(machine, device), NONE);
}

fn has(machine: &SimulatedMachine, device: &str, driver: &str) -> bool {
    machine.driver(device).as_deref() == Some(driver)
}

/// drivers/vfio/pci/vfio_pci.c:vfio_pci_init, vfio_pci_fill_ids; libkmod/libkmod-module.c:module_options_concat.
#[test]
fn of_all_ids_the_last_count_and_they_take_what_nobody_has() {
    let on_line = "vfio-pci.ids=10de:1e04 quiet\n";
    let lines = "# a comment\noptions vfio-pci ids=144d:a808\noptions vfio_pci \\\n ids=8086:10c9 disable_vga=1\n";
    for version in Version::ALL {
        // modprobe.d, by name over all directories; then the command line; then the arguments.
        let start = |line: &str, files: &[(&str, &str)]| {
            let mut builder = machine(version);
            builder.file("/proc/cmdline", line);
            for (path, text) in files {
                builder.file(path, text);
            }
            builder.start()
        };
        let files = [("/etc/modprobe.d/b.conf", lines), ("/usr/lib/modprobe.d/a.conf", "options vfio-pci ids=1:2\n")];
        let on = |machine: &SimulatedMachine| [CARD, DISK, NET].map(|device| has(machine, device, "vfio-pci"));
        let files_alone = start("quiet\n", &files);
        files_alone.load("vfio-pci", &[]).unwrap();
        assert_eq!(on(&files_alone), [false, false, true]);
        let hidden = start("quiet\n", &[files[0], ("/run/modprobe.d/b.conf", "options vfio-pci ids=144d:a808\n")]);
        hidden.load("vfio-pci", &[]).unwrap();
        assert_eq!(on(&hidden), [false, false, true], "the same name further down is hidden");
        let both = start(on_line, &files);
        both.load("vfio-pci", &[]).unwrap();
        assert_eq!(on(&both), [true, false, false]);
        let own = start(on_line, &files);
        own.modprobe("vfio-pci", &["ids=144d:a808,8086:10c9:ffffffff,,nonsense"]).unwrap();
        assert_eq!(on(&own), [false, true, true]);
        let empty = start(on_line, &files);
        empty.modprobe("vfio_pci", &["ids="]).unwrap();
        assert_eq!(on(&empty), [false; 3], "an empty list takes nothing");
        // Who is late changes nothing.
        empty.modprobe("vfio_pci", &["ids=144d:a808"]).unwrap();
        assert_eq!(on(&empty), [false; 3]);
    }
}

#[test]
fn ids_pass_over_what_is_bound_and_what_has_another_override() {
    for version in Version::ALL {
        let machine = machine(version).loaded("nvme").start();
        set(&machine, CARD, "driver_override", "none").unwrap();
        set(&machine, NET, "driver_override", "vfio-pci").unwrap();
        // Nor does it help that the bus is told to probe nothing by itself.
        machine.write("/sys/bus/pci/drivers_autoprobe", "0").unwrap();
        machine.modprobe("vfio-pci", &["ids=10de:1e04,10de:10f7,144d:a808,8086:10c9"]).unwrap();
        assert!(machine.driver(CARD).is_none() && has(&machine, DISK, "nvme"));
        assert!(has(&machine, AUDIO, "vfio-pci") && has(&machine, NET, "vfio-pci"));
        // What was given stays, for whatever becomes free.
        assert_eq!(unbind(&machine, "nvme", DISK), NONE);
        assert_eq!(probe(&machine, DISK), NONE);
        assert!(has(&machine, DISK, "nvme"), "it was registered first");
        assert_eq!(unbind(&machine, "nvme", DISK), NONE);
        assert_eq!(bind(&machine, "vfio-pci", DISK), NONE);
        let file =
            |name: &str, value: &str| errno(machine.write(&format!("/sys/bus/pci/drivers/vfio-pci/{name}"), value));
        assert_eq!(file("new_id", "144d a808"), Errno::EEXIST);
        assert_eq!(file("remove_id", "144d"), Errno::EINVAL);
        assert_eq!(file("remove_id", "144d a808"), NONE);
        assert_eq!(file("remove_id", "144d a808"), Errno::ENODEV);
        assert!(has(&machine, DISK, "vfio-pci"), "it unbinds nothing");
    }
}

/// kernel/params.c:parse_args, param_set_copystring; drivers/vfio/pci/vfio_pci.c.
#[test]
fn a_list_of_ids_has_1023_characters_at_most() {
    let long = |length: usize| format!("ids={}", "10de:1e04,".chars().cycle().take(length).collect::<String>());
    let machine = machine(Version::V6_12);
    let fits = machine.start();
    fits.modprobe("vfio-pci", &[&long(1023)]).unwrap();
    assert!(has(&fits, CARD, "vfio-pci"));
    for arguments in [vec![long(1024)], vec![long(1024), "ids=".to_owned()], vec!["ids".to_owned()]] {
        let machine = machine.start();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        assert!(machine.modprobe("vfio-pci", &arguments).is_err());
        assert!(machine.list("/sys/bus/pci/drivers/vfio-pci").is_err() && machine.driver(CARD).is_none());
    }
    machine.start().modprobe("vfio-pci", &["no_such=1"]).unwrap();
    assert!(fits.list("/sys/module/vfio_pci/parameters").unwrap().iter().all(|name| name != "ids"));
}

/// libkmod/libkmod-module.c:kmod_module_probe_insert_module.
#[test]
fn arguments_reach_only_the_module_that_was_named() {
    let line = "options vfio-pci ids=10de:1e04\n";
    let with = |rest: &str| machine(Version::V6_12).file("/etc/modprobe.d/x.conf", &format!("{line}{rest}")).start();
    let needed = with("softdep nvme pre: vfio-pci\n");
    needed.modprobe("nvme", &["ids="]).unwrap();
    assert!(has(&needed, CARD, "vfio-pci") && has(&needed, DISK, "nvme"));
    let installed = with("install vfio-pci /bin/true; /sbin/modprobe --ignore-install vfio-pci\n");
    installed.modprobe("vfio-pci", &["ids="]).unwrap();
    assert!(has(&installed, CARD, "vfio-pci"));
    let passed_on = with("install vfio_pci modprobe -i vfio_pci $CMDLINE_OPTS\n");
    passed_on.modprobe("vfio-pci", &["ids="]).unwrap();
    assert!(passed_on.driver(CARD).is_none() && passed_on.list("/sys/bus/pci/drivers/vfio-pci").is_ok());
    assert!(with("install vfio-pci /bin/false\n").modprobe("vfio-pci", &["ids="]).is_err());
    let replaced = with("install vfio-pci /bin/true\n");
    replaced.modprobe("vfio-pci", &[]).unwrap();
    assert!(replaced.list("/sys/bus/pci/drivers/vfio-pci").is_err(), "modprobe is content all the same");
    with("blacklist vfio-pci\n").modprobe("vfio-pci", &["ids="]).unwrap();
    let blacklisted = with("blacklist nvme\n");
    blacklisted.coldplug();
    assert!(blacklisted.driver(DISK).is_none());
}

/// module_init is device_initcall there (include/linux/module.h), and modprobe.d is for modules.
#[test]
fn a_built_in_vfio_pci_has_taken_its_ids_before_anybody_runs() {
    let mut builder = machine(Version::V6_12);
    builder
        .file("/proc/cmdline", "vfio_pci.ids=144d:a808\n")
        .file("/etc/modprobe.d/x.conf", "options vfio-pci ids=10de:1e04\n");
    let machine = builder.built_in("vfio_pci").start();
    assert!(has(&machine, DISK, "vfio-pci") && machine.driver(CARD).is_none());
    machine.modprobe("vfio-pci", &["ids=10de:1e04"]).unwrap();
    assert!(machine.driver(CARD).is_none());
    machine.coldplug();
    assert!(has(&machine, DISK, "vfio-pci"), "nvme is too late");
}

/// drivers/vfio/pci/vfio_pci.c:vfio_pci_dev_in_denylist; vfio_pci_core.c:vfio_pci_core_register_device.
#[test]
fn vfio_pci_refuses_some_devices_and_physical_functions_in_use() {
    for version in Version::ALL {
        let with_qat = || {
            let mut builder = machine(version);
            builder.port("0000:00:04.0").function("0000:04:00.0", Some("0000:00:04.0"), &QAT);
            builder.loaded("igb");
            builder
        };
        let machine = with_qat().loaded("vfio_pci").start();
        set(&machine, "0000:04:00.0", "driver_override", "vfio-pci").unwrap();
        assert_eq!(bind(&machine, "vfio-pci", "0000:04:00.0"), Errno::EINVAL);
        let lifted = with_qat().loaded_with("vfio_pci", &["disable_denylist=1"]).start();
        give(&lifted, "0000:04:00.0", "vfio-pci");
        assert!(has(&lifted, "0000:04:00.0", "vfio-pci"));
        // igb takes its virtual functions along, so the card can be had.
        set(&machine, NET, "sriov_numvfs", "2").unwrap();
        assert_eq!(unbind(&machine, "igb", NET), NONE);
        give(&machine, NET, "vfio-pci");
        assert!(has(&machine, NET, "vfio-pci") && machine.driver_override(NET).is_some());
        // nvme leaves them.
        let mut builder = with_qat();
        let machine = builder.physical(DISK, 0xa808, 1).loaded("nvme").loaded("vfio_pci").start();
        set(&machine, DISK, "sriov_numvfs", "1").unwrap();
        assert!(has(&machine, "0000:02:00.1", "nvme"));
        assert_eq!(unbind(&machine, "nvme", DISK), NONE);
        set(&machine, DISK, "driver_override", "vfio-pci").unwrap();
        assert_eq!(bind(&machine, "vfio-pci", DISK), Errno::EBUSY);
        assert_eq!(probe(&machine, DISK), NONE);
        assert!(machine.driver(DISK).is_none(), "drivers_probe tells of no refusal");
    }
}

/// drivers/pci/probe.c:pci_device_add; drivers/pci/pci.c:pci_parent_bus_reset, reset_method_store.
#[test]
fn a_bus_is_listed_by_its_first_function_and_taken_by_none_of_several() {
    for version in Version::ALL {
        let machine = machine(version).start();
        assert_eq!(get(&machine, CARD, "reset_method"), "flr bus\n");
        assert_eq!(get(&machine, AUDIO, "reset_method"), "flr\n");
        assert_eq!(get(&machine, DISK, "reset_method"), "flr bus\n");
        for value in ["bus", "flr bus", "bus flr", "flr flr pm"] {
            for (device, before) in [(CARD, "flr bus\n"), (AUDIO, "flr\n")] {
                assert_eq!(errno(set(&machine, device, "reset_method", value)), Errno::EINVAL, "{device} {value}");
                assert_eq!(get(&machine, device, "reset_method"), before);
            }
        }
        set(&machine, DISK, "reset_method", "bus flr bus\n").unwrap();
        assert_eq!(get(&machine, DISK, "reset_method"), "bus flr bus\n", "twice is allowed");
        let many = ["flr"; 8].join(" ");
        assert_eq!(errno(set(&machine, CARD, "reset_method", &many)), Errno::EINVAL);
        let seven = set(&machine, DISK, "reset_method", &["flr"; 7].join(" "));
        assert_eq!(seven.is_ok(), version > Version::V6_1, "there is one place less in 6.1");
        // What was there can neither be written again nor be had back by `default`.
        set(&machine, CARD, "reset_method", "default").unwrap();
        assert_eq!(get(&machine, CARD, "reset_method"), "flr\n");
        set(&machine, CARD, "reset_method", "\n").unwrap();
        assert_eq!(get(&machine, CARD, "reset_method"), "");
        assert_eq!(errno(set(&machine, CARD, "reset", "1")), Errno::ENOTTY);
        // With the other function gone it can.
        machine.change(|state| state.vanish(AUDIO));
        set(&machine, CARD, "reset_method", "bus").unwrap();
        set(&machine, CARD, "reset", "1").unwrap();
    }
}

#[test]
fn a_device_without_any_way_to_reset_it_has_no_file_for_them() {
    for version in Version::ALL {
        let mut builder = machine(version);
        builder.resets(AUDIO, "").resets(CARD, "pm");
        let machine = builder.start();
        assert!(set(&machine, AUDIO, "reset_method", "default").unwrap_err().is_missing());
        assert_eq!(get(&machine, CARD, "reset_method"), "pm bus\n");
        // A list of `bus` alone, with somebody else there: no method is left, and the files stay.
        builder.resets(CARD, "");
        let machine = builder.start();
        set(&machine, CARD, "reset_method", "default").unwrap();
        assert_eq!(get(&machine, CARD, "reset_method"), "");
        assert_eq!(errno(set(&machine, CARD, "reset", "1")), Errno::ENOTTY);
        assert_eq!(errno(set(&machine, CARD, "reset", "2")), Errno::EINVAL);
    }
}

/// drivers/pci/pci.c:pci_reset_bus_function, cxl_reset_bus_function.
#[test]
fn below_a_cxl_port_the_versions_differ() {
    for (version, first, second) in [
        (Version::V6_1, "flr bus\n", "flr\n"),
        (Version::V6_12, "flr bus cxl_bus\n", "flr bus cxl_bus\n"),
        (Version::V7_2, "flr cxl_bus\n", "flr cxl_bus\n"),
    ] {
        let mut builder = Builder::of(version);
        builder.port(PORT).with(|state| {
            state.cxl_ports.insert(PORT.to_owned(), true);
        });
        let machine = builder.function(CARD, Some(PORT), &GPU).function(AUDIO, Some(PORT), &GPU_AUDIO).start();
        assert_eq!([CARD, AUDIO].map(|device| get(&machine, device, "reset_method")), [first, second]);
        let result = set(&machine, CARD, "reset_method", "cxl_bus");
        assert_eq!(result.is_ok(), version > Version::V6_1);
        if version > Version::V6_1 {
            assert_eq!(errno(set(&machine, CARD, "reset", "1")), Errno::ENOTTY, "taken, and of no use");
        }
    }
}

/// drivers/pci/pci-sysfs.c:reset_method_store in 7.2.
#[test]
fn a_dead_device_takes_no_reset_method_from_7_2_on() {
    for version in Version::ALL {
        let machine = machine(version).with(|state| state.die(DISK)).start();
        let result = errno(set(&machine, DISK, "reset_method", "flr"));
        assert_eq!(result, if version == Version::V7_2 { Errno::ENXIO } else { NONE });
        set(&machine, DISK, "reset_method", "").unwrap();
    }
}

/// drivers/vfio/pci/vfio_pci_core.c:vfio_pci_dev_set_resettable.
#[test]
fn a_hot_reset_wants_every_function_below_the_bus() {
    let mut builder = machine(Version::V6_12);
    let machine = builder.resets(CARD, "").function("0000:00:1f.0", None, &NIC).built_in("vfio_pci").start();
    let hot = |device: &str| machine.change(|state| state.hot_reset(device));
    give(&machine, CARD, "vfio-pci");
    assert_eq!(hot(CARD), Err(Errno::EINVAL));
    give(&machine, AUDIO, "vfio-pci");
    assert_eq!((hot(CARD), hot(AUDIO)), (Ok(()), Ok(())), "whatever reset_method says");
    give(&machine, "0000:00:1f.0", "vfio-pci");
    assert_eq!(hot("0000:00:1f.0"), Err(Errno::ENODEV), "not on a root bus");
    machine.change(|state| state.no_bus_reset.push(AUDIO.to_owned()));
    assert_eq!(hot(CARD), Err(Errno::ENODEV));
}

/// drivers/pci/pci-driver.c:pci_match_device; drivers/base/module.c:module_add_driver.
#[test]
fn an_override_is_compared_with_the_name_that_the_driver_registers() {
    let mut builder = Builder::of(Version::V7_2);
    let machine = builder.port(PORT).function(CARD, Some(PORT), &XE).variants().start();
    machine.load("xe_vfio_pci", &[]).unwrap();
    assert_eq!(machine.list("/sys/module/xe_vfio_pci/drivers").unwrap(), ["pci:xe-vfio-pci"]);
    give(&machine, CARD, "xe_vfio_pci");
    assert!(machine.driver(CARD).is_none());
    give(&machine, CARD, "xe-vfio-pci");
    assert!(has(&machine, CARD, "xe-vfio-pci"));
    for version in Version::ALL {
        let machine = Builder::of(version).variants().start();
        for module in ["mlx5_vfio_pci", "hisi_acc_vfio_pci", "qat_vfio_pci", "nvgrace_gpu_vfio_pci"] {
            if machine.load(module, &[]).is_ok() {
                assert_eq!(machine.list(&format!("/sys/module/{module}/drivers")).unwrap(), [format!("pci:{module}")]);
            }
        }
        assert_eq!(machine.load("xe_vfio_pci", &[]).is_ok(), version == Version::V7_2);
        assert_eq!(machine.load("qat_vfio_pci", &[]).is_ok(), version > Version::V6_1);
    }
}

/// drivers/pci/iov.c:sriov_numvfs_store, pci_iov_add_virtfn; drivers/pci/pci-driver.c:pci_device_can_probe.
#[test]
fn virtual_functions_are_bound_when_they_are_made_unless_that_is_switched_off() {
    for version in Version::ALL {
        let mut builder = machine(version);
        let first = "0000:03:10.0";
        let made = |machine: &SimulatedMachine| set(machine, NET, "sriov_numvfs", "2").unwrap();
        let machine = builder.loaded("igb").loaded("igbvf").loaded("vfio_pci").start();
        made(&machine);
        assert!(has(&machine, first, "igbvf") && has(&machine, "0000:03:10.2", "igbvf"));
        let event = |action, device: &str| Event { action, device: device.to_owned() };
        let told = machine.change(State::take_events);
        assert_eq!(told, [event("add", first), event("add", "0000:03:10.2"), event("change", NET)]);
        assert!(machine.link(&format!("/sys/bus/pci/devices/{NET}/virtfn1")).unwrap().ends_with("0000:03:10.2"));
        assert_eq!(errno(set(&machine, NET, "sriov_numvfs", "3")), Errno::EBUSY);
        assert_eq!(errno(set(&machine, NET, "sriov_numvfs", "8")), Errno::ERANGE);
        set(&machine, NET, "sriov_numvfs", "2").unwrap();
        set(&machine, NET, "sriov_numvfs", "0").unwrap();
        assert!(!machine.devices().contains(&first.to_owned()));

        let machine = builder.start();
        set(&machine, NET, "sriov_drivers_autoprobe", "0\n").unwrap();
        assert_eq!(errno(set(&machine, NET, "sriov_drivers_autoprobe", "maybe")), Errno::EINVAL);
        made(&machine);
        assert!(machine.driver(first).is_none());
        assert_eq!(bind(&machine, "igbvf", first), Errno::ENODEV);
        assert_eq!(probe(&machine, first), NONE);
        assert!(machine.driver(first).is_none(), "success, and nothing is bound");
        assert!(machine.probes().iter().all(|(_, device, _)| device != first), "no driver was asked");
        // With an override it is as if nothing had been switched off: for whoever it names.
        give(&machine, first, "vfio-pci");
        assert!(has(&machine, first, "vfio-pci"));
        give(&machine, "0000:03:10.2", "igbvf");
        assert!(has(&machine, "0000:03:10.2", "igbvf"));
    }
}

#[test]
fn a_virtual_function_is_told_of_before_it_can_be_bound() {
    for version in Version::ALL {
        let mut builder = machine(version);
        let machine = builder.loaded("igb").loaded("igbvf").loaded("vfio_pci").start();
        let made = machine.change(|state| state.add_virtual(NET));
        assert_eq!(machine.change(State::take_events).len(), 1);
        assert!(machine.link(&format!("/sys/bus/pci/devices/{made}/physfn")).is_err());
        set(&machine, &made, "driver_override", "vfio-pci").unwrap();
        assert_eq!(probe(&machine, &made), NONE);
        assert_eq!(bind(&machine, "vfio-pci", &made), Errno::ENODEV);
        assert!(machine.driver(&made).is_none());
        // The override that was written in time is heeded by the kernel's own attempt.
        machine.change(|state| state.let_bind(&made)).unwrap();
        assert!(has(&machine, &made, "vfio-pci"));
        assert!(machine.link(&format!("/sys/bus/pci/devices/{made}/physfn")).unwrap().ends_with(NET));
    }
}

/// drivers/pci/bus.c:pci_bus_add_device.
#[test]
fn whether_a_new_device_is_probed_when_the_bus_says_no_depends_on_the_version() {
    for version in Version::ALL {
        let machine = machine(version).loaded("igb").loaded("igbvf").start();
        machine.write("/sys/bus/pci/drivers_autoprobe", "0").unwrap();
        set(&machine, NET, "sriov_numvfs", "1").unwrap();
        assert_eq!(has(&machine, "0000:03:10.0", "igbvf"), version < Version::V7_2);
    }
}

#[test]
fn a_virtual_function_that_hangs_keeps_the_others_waiting() {
    let mut builder = machine(Version::V6_12);
    builder.loaded("igb").loaded("igbvf").with(|state| {
        state.probe.insert(("igbvf".to_owned(), "0000:03:10.0".to_owned()), Probe::HangThenBind);
    });
    let machine = builder.start();
    assert!(set(&machine, NET, "sriov_numvfs", "2").unwrap_err().is_timeout());
    assert!(machine.is_locked(NET) && !machine.devices().contains(&"0000:03:10.2".to_owned()));
    let path = format!("/sys/bus/pci/devices/{NET}/sriov_numvfs");
    assert!(machine.attribute(&path).is_err(), "whoever reads it waits too");
    machine.settle();
    assert!(has(&machine, "0000:03:10.2", "igbvf"));
    assert_eq!(machine.attribute(&path).unwrap(), b"2\n");
}

#[test]
fn a_driver_may_make_virtual_functions_in_its_own_probe() {
    let mut builder = machine(Version::V6_12);
    builder.with(|state| state.module("igb").driver.as_mut().unwrap().makes = 2).loaded("igbvf");
    let machine = builder.start();
    machine.coldplug();
    assert!(has(&machine, "0000:03:10.0", "igbvf") && has(&machine, "0000:03:10.2", "igbvf"));
    // A guest's physical function makes them for no host driver.
    let mut builder = self::machine(Version::V6_12);
    let machine = builder.loaded("igbvf").loaded_with("vfio_pci", &["enable_sriov=1"]).start();
    give(&machine, NET, "vfio-pci");
    set(&machine, NET, "sriov_numvfs", "1").unwrap();
    assert!(has(&machine, "0000:03:10.0", "vfio-pci"));
    let machine = self::machine(Version::V6_12).loaded("vfio_pci").start();
    give(&machine, NET, "vfio-pci");
    assert_eq!(errno(set(&machine, NET, "sriov_numvfs", "1")), Errno::ENOENT);
}

/// drivers/firmware/sysfb.c:sysfb_init, sysfb_disable; drivers/video/aperture.c; vfio_pci_core.c:vfio_pci_vga_init.
#[test]
fn a_framebuffer_is_lost_to_vfio_pci_and_lent_to_an_unbind() {
    let fb = "simple-framebuffer.0";
    let there =
        |machine: &SimulatedMachine| machine.list("/sys/bus/platform/devices").unwrap().contains(&fb.to_owned());
    let draws = |machine: &SimulatedMachine| machine.list("/sys/class/graphics").unwrap() == ["fb0"];
    for version in Version::ALL {
        let mut builder = machine(version);
        let machine = builder.boot_display(CARD).built_in("vfio_pci").start();
        let place = machine.link(&format!("/sys/bus/platform/devices/{fb}")).unwrap();
        assert_eq!(place.contains(CARD), version > Version::V6_1, "{place}");
        // Unbound, it can be bound again.
        machine.write("/sys/bus/platform/drivers/simple-framebuffer/unbind", fb).unwrap();
        assert!(there(&machine) && !draws(&machine));
        machine.write("/sys/bus/platform/drivers/simple-framebuffer/bind", fb).unwrap();
        assert!(draws(&machine));
        // The audio function is in nobody's way; the display is.
        give(&machine, AUDIO, "vfio-pci");
        assert!(draws(&machine));
        give(&machine, CARD, "vfio-pci");
        assert!(!there(&machine) && !draws(&machine));
        let again = machine.write("/sys/bus/platform/drivers/simple-framebuffer/bind", fb);
        assert_eq!(errno(again), Errno::ENODEV);
        // Also when it was unbound before.
        let machine = builder.start();
        machine.write("/sys/bus/platform/drivers/simple-framebuffer/unbind", fb).unwrap();
        give(&machine, CARD, "vfio-pci");
        assert!(!there(&machine));
        // What is refused before that step leaves it, what is refused after it does not.
        builder.with(|state| state.incoherent.push(CARD.to_owned()));
        let machine = builder.start();
        set(&machine, CARD, "driver_override", "vfio-pci").unwrap();
        assert_eq!(bind(&machine, "vfio-pci", CARD), Errno::EINVAL);
        assert!(!there(&machine) && machine.driver(CARD).is_none());
    }
}

#[test]
fn a_framebuffer_in_no_bar_goes_with_any_vga_device_and_one_of_a_3d_controller_with_none() {
    for version in Version::ALL {
        let mut builder = machine(version);
        let machine = builder.framebuffer("efi-framebuffer", None).built_in("vfio_pci").start();
        give(&machine, CARD, "vfio-pci");
        let left = machine.list("/sys/bus/platform/devices").unwrap();
        assert_eq!(left.is_empty(), version > Version::V6_1, "{left:?}");
        let mut builder = without_output(version);
        let machine = builder.framebuffer("vesa-framebuffer", Some(CARD)).built_in("vfio_pci").start();
        assert!(machine.attribute(&format!("/sys/bus/pci/devices/{CARD}/boot_vga")).is_err());
        give(&machine, CARD, "vfio-pci");
        assert_eq!(machine.list("/sys/class/graphics").unwrap(), ["fb0"], "it goes on drawing");
    }
}

/// A machine with a GPU that has no output.
fn without_output(version: Version) -> Builder {
    let mut builder = Builder::of(version);
    builder.port(PORT).function(CARD, Some(PORT), &ACCELERATOR);
    builder
}

/// drivers/iommu/iommu.c:iommu_group_claim_dma_owner, iommu_device_use_default_domain.
#[test]
fn a_group_is_for_a_guest_or_for_the_host() {
    for version in Version::ALL {
        let mut builder = Builder::of(version);
        builder.bridge("0000:00:05.0", None, true).bridge("0000:00:06.0", None, false);
        for (card, bridge) in [("0000:05:00.0", "0000:00:05.0"), ("0000:06:00.0", "0000:00:06.0")] {
            let group = if bridge.contains('5') { 50 } else { 60 };
            builder.function(card, Some(bridge), &NIC).group(card, Some(group)).group(bridge, Some(group));
        }
        builder.function("0000:06:01.0", Some("0000:00:06.0"), &NIC).group("0000:06:01.0", Some(60));
        let machine = builder.built_in("vfio_pci").start();
        assert!(has(&machine, "0000:00:05.0", "shpchp") && machine.driver("0000:00:06.0").is_none());
        give(&machine, "0000:05:00.0", "vfio-pci");
        give(&machine, "0000:06:00.0", "vfio-pci");
        let own = |group| machine.change(|state| state.own_group(group));
        assert_eq!(own(50), Err(Errno::EPERM), "shpchp uses the host's DMA; binding to vfio-pci worked all the same");
        assert_eq!(own(60), Ok(()), "a neighbour without a driver is in nobody's way");
        // Now the group is the guest's.
        machine.load("e1000e", &[]).unwrap();
        assert!(machine.driver("0000:06:01.0").is_none(), "nobody is told");
        assert_eq!(bind(&machine, "e1000e", "0000:06:01.0"), Errno::EBUSY);
        assert_eq!(probe(&machine, "0000:06:01.0"), Errno::EINVAL);
        give(&machine, "0000:06:01.0", "vfio-pci");
        assert!(has(&machine, "0000:06:01.0", "vfio-pci"));
        machine.change(|state| state.disown_group(60));
        assert_eq!(own(60), Ok(()));
    }
}

/// drivers/vfio/pci/vfio_pci_core.c:vfio_pci_core_register_device; drivers/pci/pci-sysfs.c:d3cold_allowed_store.
#[test]
fn vfio_pci_lets_a_device_sleep_whatever_was_set_before() {
    for version in Version::ALL {
        let mut builder = machine(version);
        let machine =
            builder.built_in("vfio_pci").with(|state| state.sleep = [(CARD.to_owned(), "D3cold")].into()).start();
        set(&machine, CARD, "power/control", "on").unwrap();
        give(&machine, CARD, "vfio-pci");
        let power = || [get(&machine, CARD, "power/control"), get(&machine, CARD, "power_state")];
        assert_eq!(power(), ["auto\n", "D3cold\n"]);
        set(&machine, CARD, "d3cold_allowed", "0").unwrap();
        assert_eq!(power(), ["auto\n", "D3hot\n"]);
        set(&machine, CARD, "power/control", "on").unwrap();
        assert_eq!(power(), ["on\n", "D0\n"]);
        assert_eq!(errno(set(&machine, CARD, "d3cold_allowed", "no")), Errno::EINVAL);
        assert_eq!(unbind(&machine, "vfio-pci", CARD), NONE);
        assert_eq!(power(), ["on\n", "D0\n"]);
        assert_eq!(bind(&machine, "vfio-pci", CARD), NONE);
        assert_eq!(power(), ["auto\n", "D3hot\n"], "bound once more, it sleeps again");
    }
}

/// drivers/pci/access.c; vfio_pci_core.c ignores what pci_set_power_state says.
#[test]
fn a_dead_device_is_bound_all_the_same() {
    for version in Version::ALL {
        let machine = machine(version).built_in("vfio_pci").with(|state| state.die(CARD)).start();
        assert_eq!(get(&machine, CARD, "vendor"), "0x10de\n", "what is cached looks healthy");
        give(&machine, CARD, "vfio-pci");
        assert!(has(&machine, CARD, "vfio-pci"));
        let config = machine.attribute(&format!("/sys/bus/pci/devices/{CARD}/config")).unwrap();
        assert!(config.len() == 256 && config.iter().all(|byte| *byte == 0xff));
        set(&machine, CARD, "power/control", "on").unwrap();
        assert_eq!(get(&machine, CARD, "power_state"), "D3cold\n");
    }
    // A virtual function's own vendor and device read as ones too, and it is well.
    let machine = machine(Version::V6_12).loaded("igb").start();
    set(&machine, NET, "sriov_numvfs", "1").unwrap();
    let config = machine.attribute("/sys/bus/pci/devices/0000:03:10.0/config").unwrap();
    assert_eq!((&config[..4], config[0x0b]), (&[0xff; 4][..], 2));
}

/// drivers/pci/pci-sysfs.c:__resource_resize_store; drivers/pci/setup-res.c:pci_resize_resource.
#[test]
fn a_bar_is_resized_or_the_reason_is_a_number() {
    for version in Version::ALL {
        let mut builder = machine(version);
        builder.resizable(CARD).resizable(NET).boot_display(CARD);
        let machine = builder.loaded("igb").with(|state| state.preserves_config = true).start();
        assert_eq!(number(set(&machine, CARD, "resource1_resize", "13")), 524);
        assert!(machine.list("/sys/bus/platform/devices").unwrap().is_empty(), "the framebuffer is gone for nothing");
        assert_eq!(errno(set(&machine, NET, "resource1_resize", "13")), Errno::EBUSY);
        // Nobody has it, and it has virtual functions.
        let mut builder = self::machine(version);
        let machine = builder.resizable(DISK).physical(DISK, 0xa808, 1).loaded("nvme").start();
        set(&machine, DISK, "sriov_numvfs", "1").unwrap();
        assert_eq!(unbind(&machine, "nvme", DISK), NONE);
        let busy = if version == Version::V6_1 { NONE } else { Errno::EBUSY };
        assert_eq!(errno(set(&machine, DISK, "resource1_resize", "13")), busy);
        let none =
            self::machine(version).resizable(CARD).attribute(CARD, "resource1_resize", "0000000000000000").start();
        let not_offered = if version == Version::V7_2 { 22 } else { 524 };
        assert_eq!(number(set(&none, CARD, "resource1_resize", "13")), not_offered);
    }
}

/// drivers/pci/pci-sysfs.c and drivers/base/driver.c in 6.1; drivers/base/bus.c from 6.12.117 on.
#[test]
fn an_override_waits_behind_a_hanging_probe_in_6_1_alone() {
    for version in Version::ALL {
        let mut builder = machine(version);
        builder.built_in("vfio_pci").with(|state| {
            state.probe.insert(("vfio-pci".to_owned(), CARD.to_owned()), Probe::HangThenFail(Errno::EIO));
        });
        let machine = builder.start();
        set(&machine, CARD, "driver_override", "vfio-pci").unwrap();
        assert!(machine.write("/sys/bus/pci/drivers_probe", CARD).unwrap_err().is_timeout());
        let free = version > Version::V6_1;
        assert_eq!(set(&machine, CARD, "driver_override", "\n").is_ok(), free);
        assert_eq!(machine.attribute(&format!("/sys/bus/pci/devices/{CARD}/driver_override")).is_ok(), free);
        machine.settle();
        assert_eq!(machine.driver_override(CARD), None);
        assert!(machine.probes().contains(&("vfio-pci".into(), CARD.into(), Outcome::Refused(Errno::EIO))));
    }
}
