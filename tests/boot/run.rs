// SPDX-License-Identifier: MIT OR Apache-2.0
//! Runs cases, a few at a time, and judges them.

use std::collections::VecDeque;
use std::fmt::Write;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::thread;
use std::time::Instant;

use crate::boot::{Boot, Outcome};
use crate::cases::{Case, Expect, Expected, usual};
use crate::evidence::{Device, Evidence};
use crate::lab::{self, Contents, Generator, Lab, Suite};
use crate::machine::{Machine, ROM};
use crate::trial;

/// A control boot: what the machine does when nothing is configured.
struct Control {
    kind: Kind,
    result: Result<Outcome, String>,
}

/// What a control boot and its cases have in common.
type Kind = (Suite, Generator, Machine);

/// Runs the cases: first the control boots, then the rest. Prints a line for each boot and each case, and the sum.
/// Answers whether all passed.
pub fn all(cases: &[Case]) -> Result<bool, String> {
    let lab = Lab::new()?;
    let mut kinds: Vec<Kind> = Vec::new();
    for case in
        cases.iter().filter(|case| !matches!(case.expect, Expect::NoImage(_) | Expect::Stuck(_) | Expect::Trial(_)))
    {
        if !kinds.contains(&kind(case)) {
            kinds.push(kind(case));
        }
    }
    let controls = side_by_side(&kinds, |&kind| Control { kind, result: control(&lab, kind) });
    let control_of = |case: &Case| &controls.iter().find(|control| control.kind == kind(case)).unwrap().result;
    let results = side_by_side(cases, |case| {
        let result = match &case.expect {
            Expect::NoImage(text) => no_image(&lab, case, text),
            Expect::Boot(expected) => claim(&lab, case, expected, control_of(case)),
            Expect::Late(addresses) => late(&lab, case, addresses, control_of(case)),
            Expect::Taken(addresses) => taken(&lab, case, addresses, control_of(case)),
            Expect::Stuck(text) => stuck(&lab, case, text),
            Expect::Trial(steps) => trial::run(&lab, case, steps),
        };
        match &result {
            Ok(times) => println!("ok {} {times}", case.name),
            Err(text) => println!("FAILED {}: {text}", case.name),
        }
        result.is_ok()
    });
    let passed = results.iter().filter(|passed| **passed).count();
    println!("{passed} passed, {} failed", results.len() - passed);
    Ok(passed == results.len())
}

/// Boots one case for a person.
pub fn stay(case: &Case) -> Result<(), String> {
    boot_of(case).stay(&Lab::new()?)
}

/// The boot of a case.
pub fn boot_of(case: &Case) -> Boot<'_> {
    let Case { name, suite, machine, contents, overlay, configuration, cmdline, .. } = *case;
    Boot { name, suite, machine, contents, overlay, configuration, cmdline, firmware: None, unified: None }
}

fn kind(case: &Case) -> Kind {
    (case.suite, case.contents.generator, case.machine)
}

fn control(lab: &Lab, (suite, generator, machine): Kind) -> Result<Outcome, String> {
    let name = format!("control-{suite}-{}-{}", generator.name(), machine.name());
    let contents = Contents { generator, ..Contents::default() };
    let case = Case { suite, machine, contents, ..usual() };
    Boot { name: &name, ..boot_of(&case) }.run(lab)
}

/// An image build that must fail.
fn no_image(lab: &Lab, case: &Case, expected: &str) -> Result<String, String> {
    let start = Instant::now();
    match lab.image(case.suite, case.name, case.contents) {
        Ok(path) => Err(format!("an image was made: {}", path.display())),
        Err(text) if text.contains(expected) => Ok(format!("build={:.1}s", start.elapsed().as_secs_f64())),
        Err(text) => Err(format!("the build failed without saying '{expected}':\n{text}")),
    }
}

/// A boot that is compared with its control boot.
fn claim(lab: &Lab, case: &Case, expected: &Expected, control: &Result<Outcome, String>) -> Result<String, String> {
    let control = control.as_ref().map_err(|text| format!("the control boot failed: {text}"))?;
    let outcome = boot_of(case).run(lab)?;
    let faults = expected.faults(&control.evidence, &outcome.evidence);
    if !faults.is_empty() {
        let folder = lab::place().join(case.name);
        return Err(format!("see {}\n     {}", folder.display(), faults.join("\n     ")));
    }
    let mut share = outcome.evidence.share().map_or(String::new(), |seconds| format!(" program={seconds:.3}s"));
    // By its own clock, as the report of the claim in the initramfs has it.
    if let Some((_, rest)) = outcome.evidence.section("report").split_once("\"duration_ms\":") {
        let _ = write!(share, " of which it counts {} ms", rest.split(',').next().unwrap_or_default());
    }
    Ok(format!("control={:.1}s claim={:.1}s{share}", control.seconds, outcome.seconds))
}

/// A boot in which the claim comes after udev and takes the devices from their drivers. All looks well then, but it is
/// not what this program is for, so the judge has to find it out.
fn late(
    lab: &Lab,
    case: &Case,
    addresses: &'static [&'static str],
    control: &Result<Outcome, String>,
) -> Result<String, String> {
    let control = control.as_ref().map_err(|text| format!("the control boot failed: {text}"))?;
    let outcome = boot_of(case).run(lab)?;
    let after = outcome.evidence.devices("devices");
    let faults = Expected { claimed: addresses, ..Expected::default() }.faults(&control.evidence, &outcome.evidence);
    for address in addresses {
        let driver = after.get(*address).and_then(|device| device.driver.as_deref());
        if driver != Some("vfio-pci") {
            return Err(format!("{address} is on {driver:?}, so nothing was late"));
        }
        if !faults.iter().any(|fault| fault.starts_with(&format!("{address}: probed by ["))) {
            return Err(format!("nobody noticed that the claim of {address} was late"));
        }
    }
    Ok(format!("control={:.1}s claim={:.1}s, found to be late", control.seconds, outcome.seconds))
}

/// A boot without the program, in which something else gives these devices to vfio-pci.
fn taken(lab: &Lab, case: &Case, addresses: &[&str], control: &Result<Outcome, String>) -> Result<String, String> {
    let control = control.as_ref().map_err(|text| format!("the control boot failed: {text}"))?;
    let outcome = boot_of(case).run(lab)?;
    let (before, after) = (control.evidence.devices("devices"), outcome.evidence.devices("devices"));
    for (address, host) in &before {
        let wanted = if addresses.contains(&address.as_str()) { Some("vfio-pci") } else { host.driver.as_deref() };
        let driver = after.get(address).and_then(|device| device.driver.as_deref());
        if driver != wanted {
            return Err(format!("{address} is on {driver:?} and not on {wanted:?}"));
        }
    }
    Ok(format!("control={:.1}s taken={:.1}s", control.seconds, outcome.seconds))
}

/// A boot that never comes to its evidence, and says why.
fn stuck(lab: &Lab, case: &Case, expected: &str) -> Result<String, String> {
    let start = Instant::now();
    if boot_of(case).run(lab).is_ok() {
        return Err("the boot came to its end".to_owned());
    }
    let folder = lab::place().join(case.name);
    let log = std::fs::read(folder.join("serial.log")).map_err(|error| error.to_string())?;
    if !String::from_utf8_lossy(&log).contains(expected) {
        return Err(format!("the boot failed without saying '{expected}'; see {}", folder.display()));
    }
    Ok(format!("stuck={:.1}s", start.elapsed().as_secs_f64()))
}

impl Expected {
    /// Everything in which a boot is not as it must be.
    pub fn faults(&self, control: &Evidence, boot: &Evidence) -> Vec<String> {
        let mut faults = Vec::new();
        let mut fault = |text: String| faults.push(text);
        let devices = |evidence: &Evidence, section: &str| {
            let mut devices = evidence.devices(section);
            if self.regrouped {
                devices.values_mut().for_each(|device| device.iommu_group = None);
            }
            devices
        };
        let (before, after) = (devices(control, "devices"), devices(boot, "devices"));
        if before.keys().filter(|address| !self.gone.contains(&address.as_str())).ne(after.keys()) {
            fault("the two boots do not have the same devices".to_owned());
        }
        let named =
            [self.claimed, self.detached, self.later, self.virtual_functions, self.given_back, self.plugged, self.gone];
        for address in named.into_iter().flatten() {
            if !before.contains_key(*address) {
                fault(format!("there is no device {address}"));
            }
        }
        for (address, host) in &before {
            let (name, probes) = (address.as_str(), boot.probes(address));
            if self.gone.contains(&name) {
                continue;
            }
            let device = after.get(address).cloned().unwrap_or_default();
            let plugged = self.plugged.contains(&name);
            let (claimed, later) = (self.claimed.contains(&name), self.later.contains(&name));
            let is_virtual = self.virtual_functions.contains(&name);
            if claimed || later || plugged || is_virtual || self.detached.contains(&name) {
                let tried = control.probes(address);
                match &host.driver {
                    Some(driver) if tried.contains(&driver.as_str()) => {}
                    // A virtual function of QEMU's disk is never ready: its driver tries, and leaves it.
                    None if (later || is_virtual) && !tried.is_empty() => {}
                    _ => fault(format!("{address}: no host driver takes it in the control boot, so nothing is proven")),
                }
                let wanted = Some("vfio-pci".to_owned());
                let same_group = device.iommu_group == host.iommu_group || (plugged && device.iommu_group.is_some());
                if device.driver != wanted || device.driver_override != wanted || !same_group {
                    fault(format!("{address}: {}", describe(&device)));
                }
                if plugged && probes.last() != Some(&"vfio-pci") {
                    fault(format!("{address}: probed by {probes:?}"));
                }
                if claimed && probes != ["vfio-pci"] {
                    fault(format!("{address}: probed by {probes:?}"));
                }
                if is_virtual {
                    let host = tried.first().copied().unwrap_or_default();
                    if !control.speaks(host, address) {
                        fault(format!("{address}: {host} says nothing in the control boot, so nothing is proven"));
                    }
                    if boot.speaks(host, address) || probes.last() != Some(&"vfio-pci") {
                        fault(format!("{address}: probed by {probes:?}, and {host} speaks of it"));
                    }
                }
                // A loaded driver sees a new device before udev does: the claim must take it away from there.
                if later && (probes.is_empty() || probes.last() != Some(&"vfio-pci") || !probes.starts_with(&tried)) {
                    fault(format!("{address}: probed by {probes:?}, not by {tried:?} and then by vfio-pci"));
                }
            } else {
                if device != *host {
                    fault(format!("{address}: {}, but without a claim {}", describe(&device), describe(host)));
                }
                let mut tried = [probes.clone(), control.probes(address)];
                if self.regrouped {
                    // Until then the kernel defers each probe, and repeats it whenever another device has got a driver.
                    tried.iter_mut().for_each(|drivers| {
                        drivers.sort_unstable();
                        drivers.dedup();
                    });
                }
                if !self.given_back.contains(&name) && tried[0] != tried[1] {
                    fault(format!(
                        "{address}: probed by {probes:?}, but without a claim by {:?}",
                        control.probes(address)
                    ));
                }
            }
        }
        if boot.exit("again") != Some(self.status) {
            fault(format!("run again, the claim ends with {:?} and not {}", boot.exit("again"), self.status));
        }
        if devices(boot, "devices-again") != after {
            fault("running the claim again changed something".to_owned());
        }
        for text in self.says {
            if !boot.section("log").lines().any(|line| line.contains("vfio-early: ") && line.contains(text)) {
                fault(format!("the kernel log has no line of vfio-early with '{text}'"));
            }
        }
        for (section, text) in self.told {
            if !boot.section(section).contains(text) {
                fault(format!("{section} says '{}' and not '{text}'", boot.beginning(section)));
            }
        }
        for section in self.sums {
            let wanted = rom_sum();
            if wanted.is_empty() || !boot.section(section).contains(&wanted) {
                fault(format!("{section} says '{}' and not '{wanted}'", boot.beginning(section)));
            }
        }
        faults
    }
}

/// The SHA-256 sum of the ROM file that QEMU is given; empty where the file is not found.
fn rom_sum() -> String {
    let folders = ["/usr/lib/ipxe/qemu", "/usr/share/qemu", "/usr/share/seabios"];
    let file = folders.iter().map(|folder| Path::new(folder).join(ROM)).find(|path| path.exists());
    let output = file.and_then(|file| Command::new("sha256sum").arg(file).output().ok());
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.split(' ').next().unwrap_or_default().to_owned()
}

fn describe(device: &Device) -> String {
    let word = |value: &Option<String>| value.clone().unwrap_or_else(|| "none".to_owned());
    let [driver, wish, group] = [&device.driver, &device.driver_override, &device.iommu_group].map(word);
    format!("driver {driver}, override {wish}, group {group}")
}

/// Does the same with every item, as many at a time as there are processors; answers in the order of the items.
pub fn side_by_side<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let jobs = std::env::var("BOOT_JOBS").ok().and_then(|text| text.parse().ok());
    let jobs = jobs.unwrap_or_else(|| thread::available_parallelism().map_or(1, usize::from));
    let queue: Mutex<VecDeque<usize>> = Mutex::new((0..items.len()).collect());
    let results: Mutex<Vec<Option<R>>> = Mutex::new(items.iter().map(|_| None).collect());
    thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                loop {
                    // In a statement of its own, so that the lock is let go.
                    let next = queue.lock().unwrap().pop_front();
                    let Some(index) = next else { break };
                    let result = work(&items[index]);
                    results.lock().unwrap()[index] = Some(result);
                }
            });
        }
    });
    results.into_inner().unwrap().into_iter().flatten().collect()
}
