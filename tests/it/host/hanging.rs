// SPDX-License-Identifier: MIT OR Apache-2.0
//! Writes that never come back: a FIFO in an attribute's place, which nobody reads, hangs its writer as a driver would.

use std::fs;
use std::os::unix::process::CommandExt;
use std::time::Duration;

use nix::sys::signal::Signal;
use vfio_early::machine::Tree;

use crate::support::program::{MachineRoot, by_shell, fifo, program, run, tree};

/// Two cards of four functions; one second a step.
fn machine() -> MachineRoot {
    MachineRoot::new(&server("claim 04:00.0\nclaim 08:00.0\nset step-timeout 1\n"))
}

fn server(configuration: &str) -> Tree {
    tree("server-eight-gpus-running", configuration)
}

/// What stands in driver_override, without what a shorter value leaves of a longer one in a plain file.
fn overridden(machine: &MachineRoot, address: &str) -> String {
    let text = fs::read_to_string(machine.attribute(address, "driver_override")).unwrap();
    text.lines().next().unwrap().to_owned()
}

#[test]
fn an_override_that_hangs_costs_its_own_card_alone() {
    let machine = machine();
    fifo(&machine.attribute("0000:04:00.0", "driver_override"));
    let ran = machine.run("claim");
    assert_eq!(ran.status, 1, "{ran:?}");
    let path = "/sys/bus/pci/devices/0000:04:00.0/driver_override";
    assert!(ran.words().contains(&format!("cannot write {path}: timed out after 1 s")), "{ran:?}");
    assert!(ran.took >= Duration::from_secs(1) && ran.took < Duration::from_secs(10), "{ran:?}");
    // The other card went through all of its steps.
    for function in 0..4 {
        let address = format!("0000:08:00.{function}");
        let steps: Vec<&str> = ran.stdout.lines().filter(|line| line.trim().starts_with(&address)).collect();
        assert!(steps.iter().any(|step| step.contains("override") && step.ends_with("  ok")), "{ran:?}");
        assert!(steps.iter().any(|step| step.contains("detach") || step.contains("probe")), "{ran:?}");
    }
    // The rest of the hanging card was left alone.
    for function in 1..4 {
        assert_eq!(overridden(&machine, &format!("0000:04:00.{function}")), "(null)");
    }
    assert!(machine.report().contains("timed out after 1 s"));
}

#[test]
fn a_detach_that_hangs_is_abandoned() {
    let machine = machine();
    let driver = fs::read_link(machine.attribute("0000:04:00.0", "driver")).unwrap();
    let driver = driver.file_name().unwrap().to_str().unwrap();
    let path = format!("/sys/bus/pci/drivers/{driver}/unbind");
    fifo(&machine.at(&path));
    let ran = machine.run("claim");
    assert_eq!(ran.status, 1, "{ran:?}");
    assert!(ran.words().contains(&format!("cannot write {path}: timed out after 1 s")), "{ran:?}");
    assert!(ran.took < Duration::from_secs(15), "{ran:?}");
}

/// Where every probe hangs, the limit holds for the run and not only for each of thirty-two steps.
#[test]
fn probes_that_all_hang_are_given_up() {
    let tree = server("claim 10de:* match=all\nset step-timeout 1\n");
    let machine = MachineRoot::new(&tree);
    fifo(&machine.at("/sys/bus/pci/drivers_probe"));
    for gpu in ["04", "05", "08", "09", "85", "86", "89", "8a"] {
        for function in 0..4 {
            let _ = fs::remove_file(machine.attribute(&format!("0000:{gpu}:00.{function}"), "driver"));
        }
    }
    let ran = machine.run("claim");
    assert_eq!(ran.status, 1, "{ran:?}");
    let message = "cannot write /sys/bus/pci/drivers_probe: timed out after 1 s";
    assert!(ran.words().contains(message), "{ran:?}");
    assert!(ran.words().contains("not tried: "), "{ran:?}");
    assert!(ran.took < Duration::from_secs(40), "{ran:?}");
    // Each of the thirty-two is told about.
    assert_eq!(ran.stdout.lines().filter(|line| line.contains("  failed ")).count(), 32, "{ran:?}");
}

/// Whoever is abandoned is not left running where a signal reaches it.
#[test]
fn no_child_stays() {
    let machine = machine();
    fifo(&machine.attribute("0000:04:00.0", "driver_override"));
    machine.run("claim -q");
    let root = machine.root.to_str().unwrap();
    let left = fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let line = fs::read(entry.ok()?.path().join("cmdline")).ok()?;
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        (line.contains("step-helper") && line.contains(root)).then_some(line)
    });
    assert_eq!(left.collect::<Vec<_>>(), [""; 0]);
}

/// Runs a command and, while a step of it hangs, sends what a terminal sends that goes away, or somebody who has no
/// patience: to the program and to what it has started.
fn interrupted(machine: &MachineRoot, arguments: &str) -> Option<i32> {
    let mut command = program(&machine.root, arguments);
    let null = std::process::Stdio::null;
    let mut child = command.process_group(0).stdin(null()).stdout(null()).stderr(null()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(400));
    let group = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
    for signal in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM] {
        nix::sys::signal::killpg(group, signal).unwrap();
    }
    child.wait().unwrap().code()
}

/// A terminal goes with the display that it is on, and a session with its network card: the device must not stay between
/// two drivers.
#[test]
fn nobody_interrupts_a_claim() {
    let machine = machine();
    fifo(&machine.attribute("0000:04:00.0", "driver_override"));
    assert_eq!(interrupted(&machine, "claim"), Some(1));
    let report = machine.report();
    assert!(report.contains("timed out after 1 s"), "{report}");
    assert!(
        report.contains(r#"{"device":"0000:08:00.3","op":"override","value":"vfio-pci","result":"ok"}"#),
        "{report}"
    );
}

#[test]
fn nobody_interrupts_what_puts_a_device_back() {
    let machine = machine();
    let card = |name: &str| machine.attribute("0000:04:00.0", name);
    let _ = fs::remove_file(card("driver"));
    fs::write(card("power/control"), "auto").unwrap();
    let _ = fs::remove_file(card("rom"));
    fifo(&card("rom"));
    assert_eq!(interrupted(&machine, "rom dump 04:00.0"), Some(4));
    assert_eq!(fs::read_to_string(card("power/control")).unwrap(), "auto");
}

/// Whoever starts the program may ignore the deaths of its children, and that is inherited: then nobody tells how a step
/// ended, and what is read back counts.
#[test]
fn steps_end_though_their_deaths_are_ignored() {
    let machine = MachineRoot::new(&server("claim 04:00.0\nset step-timeout 5\n"));
    let ran = run(&mut by_shell("exec /usr/bin/env --ignore-signal=CHLD \"$@\"", &program(&machine.root, "claim")));
    let step = "0000:04:00.0 override vfio-pci ok";
    assert!(ran.words().contains(step), "{ran:?}");
    assert!(ran.took < Duration::from_secs(5), "{ran:?}");
}
