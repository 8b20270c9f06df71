// SPDX-License-Identifier: MIT OR Apache-2.0
//! Removes what no command needs: unrelated processes, and unrelated lines of long lists.

use crate::inventory;
use crate::machine::Observation;
use crate::pci::{Address, Identity, parse_modalias};

/// Removes observations that no command needs.
pub(super) fn filter(observations: &mut Vec<(String, Observation)>) {
    let identities: Vec<Identity> = observations
        .iter()
        .filter_map(|(path, observation)| match observation {
            Observation::File(content) if path.ends_with("/modalias") => parse_modalias(content),
            _ => None,
        })
        .collect();
    let block_devices: Vec<String> = observations
        .iter()
        .filter_map(|(path, _)| path.strip_prefix("/sys/class/block/"))
        .filter(|name| !name.contains('/'))
        .map(ToOwned::to_owned)
        .collect();
    // Only links to device files: everything else that a process has open is its own affair.
    let is_device_file = |(_, observation): &(String, Observation)| {
        matches!(observation, Observation::Link(target)
            if target.strip_prefix("/dev/").is_some_and(|file| inventory::is_device_file(file, &block_devices)))
    };
    let holders: Vec<String> =
        observations.iter().filter(|entry| is_device_file(entry)).filter_map(|(path, _)| process(path)).collect();
    // Of the processes whose files could not be listed, keep one.
    let hidden = observations
        .iter()
        .find(|(_, observation)| matches!(observation, Observation::Broken(_)))
        .and_then(|(path, _)| process(path));
    observations.retain_mut(|entry| {
        let keep = match process(&entry.0) {
            Some(process) if holders.contains(&process) => is_device_file(entry) || entry.0.ends_with("/comm"),
            Some(process) => hidden.as_ref() == Some(&process) && matches!(entry.1, Observation::Broken(_)),
            // The list of processes is implied by their files. Saved option ROMs are copyrighted by their vendors.
            None => {
                entry.0 != "/proc"
                    && !(entry.0.starts_with("/run/vfio-early/rom/") && matches!(entry.1, Observation::File(_)))
            }
        };
        if let (true, Observation::File(content)) = (keep, &mut entry.1) {
            filter_lines(&entry.0, content, &identities);
        }
        keep
    });
}

/// The process ID in a path.
fn process(path: &str) -> Option<String> {
    let (number, _) = path.strip_prefix("/proc/")?.split_once('/')?;
    number.bytes().all(|byte| byte.is_ascii_digit()).then(|| number.to_owned())
}

/// Removes unrelated lines from files that are long lists.
fn filter_lines(path: &str, content: &mut Vec<u8>, identities: &[Identity]) {
    let vendor = |number: &str| {
        u16::from_str_radix(number, 16).is_ok_and(|id| identities.iter().any(|known| known.vendor == id))
    };
    let has = |line: &str, words: &[&str]| words.iter().any(|word| line.contains(word));
    let text = String::from_utf8_lossy(content);
    let mut kept = String::new();
    // In pci.ids: whether the current vendor has devices in this machine; then all of its lines are kept.
    let mut is_known_vendor = false;
    // In /proc/iomem: how far the device is indented that the line is inside of.
    let mut inside: Option<usize> = None;
    for line in text.split_inclusive('\n') {
        let keep = if path.ends_with("/pci.ids") {
            match line.get(..1) {
                Some("\t") => is_known_vendor,
                _ => {
                    is_known_vendor = line.get(..4).is_some_and(vendor) && line.get(4..5) == Some(" ");
                    is_known_vendor
                }
            }
        } else if path.ends_with("/modules.alias") {
            match line.split_once(" pci:v") {
                Some((_, rest)) => rest.starts_with('*') || rest.get(4..8).is_some_and(vendor),
                None => has(line, &["vfio_pci:"]),
            }
        } else if path.ends_with("/modules.dep") || path.ends_with("/modules.builtin") {
            has(line, &["vfio", "iommufd"])
        } else if path == "/proc/iomem" {
            let depth = line.chars().take_while(|letter| *letter == ' ').count();
            let device = line.split_once(" : ").is_some_and(|(_, name)| name.trim_end().parse::<Address>().is_ok());
            if device || inside.is_some_and(|inside| depth <= inside) {
                inside = device.then_some(depth);
            }
            inside.is_some()
        } else if path.starts_with("/run/udev/data/") {
            has(line, &["E:ID_FS_TYPE=", "E:ID_FS_LABEL="])
        } else if path.starts_with("/proc/driver/nvidia/") {
            line.starts_with(inventory::DEVICE_MINOR)
        } else if path.ends_with("/loop/backing_file") {
            // The path of a file may name a person.
            line.starts_with("/dev/")
        } else {
            return;
        };
        if keep {
            kept.push_str(line);
        }
    }
    *content = kept.into_bytes();
}
