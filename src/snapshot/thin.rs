// SPDX-License-Identifier: MIT OR Apache-2.0
//! Leaves out what was read on the way to something else: other people's processes, lists of all the devices in the world.

use crate::machine::Observation;
use crate::pci::{Identity, parse_modalias};

/// Leaves out what no command tells.
pub(super) fn out(seen: &mut Vec<(String, Observation)>) {
    let identities: Vec<Identity> = seen
        .iter()
        .filter_map(|(path, what)| match what {
            Observation::File(content) if path.ends_with("/modalias") => parse_modalias(content),
            _ => None,
        })
        .collect();
    let guests: Vec<String> =
        seen.iter().filter(|entry| is_guest_file(entry)).filter_map(|(path, _)| process(path)).collect();
    // One process that nobody may look into stands for all of them.
    let hidden =
        seen.iter().find(|(_, what)| matches!(what, Observation::Broken(_))).and_then(|(path, _)| process(path));
    seen.retain_mut(|entry| {
        let keep = match process(&entry.0) {
            Some(process) if guests.contains(&process) => is_guest_file(entry) || entry.0.ends_with("/comm"),
            Some(process) => hidden.as_ref() == Some(&process) && matches!(entry.1, Observation::Broken(_)),
            // Those that are kept are known from their files.
            // An option ROM is its vendor's.
            None => {
                entry.0 != "/proc"
                    && !(entry.0.starts_with("/run/vfio-early/rom/") && matches!(entry.1, Observation::File(_)))
            }
        };
        if let (true, Observation::File(content)) = (keep, &mut entry.1) {
            lines(&entry.0, content, &identities);
        }
        keep
    });
}

/// The process that a path is about.
fn process(path: &str) -> Option<String> {
    let (number, _) = path.strip_prefix("/proc/")?.split_once('/')?;
    number.bytes().all(|byte| byte.is_ascii_digit()).then(|| number.to_owned())
}

fn is_guest_file((_, what): &(String, Observation)) -> bool {
    matches!(what, Observation::Link(target) if target.starts_with("/dev/vfio/"))
}

/// Keeps the lines that matter of files that are long lists.
fn lines(path: &str, content: &mut Vec<u8>, identities: &[Identity]) {
    let vendor = |number: &str| {
        u16::from_str_radix(number, 16).is_ok_and(|id| identities.iter().any(|known| known.vendor == id))
    };
    let has = |line: &str, words: &[&str]| words.iter().any(|word| line.contains(word));
    let text = String::from_utf8_lossy(content);
    let mut kept = String::new();
    // Of a list of names, the vendors of this machine, and below those everything.
    let mut below = false;
    for line in text.split_inclusive('\n') {
        let keep = if path.ends_with("/pci.ids") {
            match line.get(..1) {
                Some("\t") => below,
                _ => {
                    below = line.get(..4).is_some_and(vendor) && line.get(4..5) == Some(" ");
                    below
                }
            }
        } else if path.ends_with("/modules.alias") {
            match line.split_once(" pci:v") {
                Some((_, rest)) => rest.starts_with('*') || rest.get(4..8).is_some_and(vendor),
                None => has(line, &["vfio_pci:"]),
            }
        } else if path.ends_with("/modules.dep") || path.ends_with("/modules.builtin") {
            has(line, &["vfio", "iommufd"])
        } else if path.starts_with("/run/udev/data/") {
            has(line, &["E:ID_FS_TYPE=", "E:ID_FS_LABEL="])
        } else {
            return;
        };
        if keep {
            kept.push_str(line);
        }
    }
    *content = kept.into_bytes();
}
