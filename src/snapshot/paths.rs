// SPDX-License-Identifier: MIT OR Apache-2.0
//! Paths: what the kernel names stays, what people name is replaced. Only whole components are replaced, so that paths that
//! are the same stay the same.

use std::collections::BTreeMap;

use crate::machine::Observation;
use crate::pci::Address;

use super::names::{Names, is_block_device, is_harmless, is_interface};

/// The directories whose files are read in the order of their names, those of one program at a time.
const ORDERED: &[&[&str]] = &[
    &["/etc/vfio-early.d", "/usr/lib/vfio-early.d"],
    &["/etc/modprobe.d", "/run/modprobe.d", "/usr/local/lib/modprobe.d", "/usr/lib/modprobe.d", "/lib/modprobe.d"],
];

/// The new names of the files in [`ORDERED`], by path.
pub(super) type Files = BTreeMap<String, String>;

/// Chooses new names for configuration files. If one has to be replaced, all have a number first, so that their order and
/// what masks what stay.
pub(super) fn rename_files(observations: &[(String, Observation)], names: &mut Names) -> Files {
    let mut files = Files::new();
    for directories in ORDERED {
        let mut found: Vec<&str> = Vec::new();
        for (path, observation) in observations {
            match observation {
                Observation::Names(listed) if directories.contains(&path.as_str()) => {
                    found.extend(listed.iter().map(String::as_str));
                }
                _ => found.extend(
                    path.rsplit_once('/').filter(|(above, _)| directories.contains(above)).map(|(_, name)| name),
                ),
            }
        }
        found.retain(|name| is_read(name));
        found.sort_unstable();
        found.dedup();
        let harmless = found.iter().all(|name| is_harmless_file(name));
        for (name, number) in found.iter().zip(1_usize..) {
            let stem = name.strip_suffix(".conf").unwrap_or(name);
            let new = match (harmless, is_harmless_file(name)) {
                (true, _) => (*name).to_owned(),
                (false, true) => format!("{number:02}-{stem}.conf"),
                (false, false) => format!("{number:02}-{}.conf", names.replace(stem)),
            };
            for directory in *directories {
                files.insert(format!("{directory}/{name}"), format!("{directory}/{new}"));
            }
        }
    }
    files
}

/// Whether a file in one of these directories is read.
fn is_read(name: &str) -> bool {
    !name.starts_with('.') && name.strip_suffix(".conf").is_some()
}

fn is_harmless_file(name: &str) -> bool {
    name.strip_suffix(".conf").is_some_and(|stem| is_harmless(stem, 8))
}

/// Whether a name in a directory plays no part there: one that no program reads.
pub(super) fn is_unread(directory: &str, name: &str) -> bool {
    ORDERED.iter().any(|directories| directories.contains(&directory)) && !is_read(name)
}

/// A path with its names replaced.
pub(super) fn path(path: &str, files: &Files, names: &mut Names) -> String {
    match files.get(path) {
        Some(new) => new.clone(),
        None => target(path, path, files, names),
    }
}

/// The target of a link at `place`, or a path if both are the same.
pub(super) fn target(target: &str, place: &str, files: &Files, names: &mut Names) -> String {
    if let Some(new) = files.get(target) {
        return new.clone();
    }
    let top = if target.starts_with('/') { target } else { place };
    let top = top.trim_start_matches('/').split('/').next().unwrap_or_default();
    // A link among configuration files leads to one of them.
    let directory = place.rsplit_once('/').map_or("", |(directory, _)| directory);
    if let Some((_, new)) = files.get(&format!("{directory}/{target}")).and_then(|new| new.rsplit_once('/')) {
        return new.to_owned();
    }
    let mut before: Vec<&str> = Vec::new();
    let mut out: Vec<String> = Vec::new();
    for part in target.split('/') {
        let new = if part.is_empty() || part == "." || part == ".." {
            part.to_owned()
        } else {
            component(part, top, &before, out.last().map(String::as_str), names)
        };
        out.push(new);
        before.push(part);
    }
    out.join("/")
}

/// One component. `before`: the components above it; `above`: what became of the last of them.
fn component(part: &str, top: &str, before: &[&str], above: Option<&str>, names: &mut Names) -> String {
    let last = before.last().copied().unwrap_or_default();
    let block = |names: &mut Names| if is_block_device(part) { part.to_owned() } else { names.replace(part) };
    match top {
        "sys" => {
            if let Some((link, interface)) =
                ["lower_", "upper_", "slave_"].iter().find_map(|link| Some((*link, part.strip_prefix(*link)?)))
            {
                return format!("{link}{}", self::interface(interface, names));
            }
            // A partition has its directory in that of its disk, and the disk's name before its number.
            let partition =
                part.strip_prefix(last).filter(|_| last != part && before.iter().rev().nth(1) == Some(&"block"));
            match (last, partition, above) {
                ("net" | "brif", _, _) => interface(part, names),
                ("block" | "slaves" | "holders", _, _) => block(names),
                (_, Some(number), Some(disk)) if disk != last => format!("{disk}{number}"),
                ("btrfs", _, _) => names.plain(part),
                ("devices", _, _) if before.contains(&"btrfs") => block(names),
                _ if before.iter().rev().nth(1) == Some(&"fs") && last != "cgroup" => block(names),
                _ => part.to_owned(),
            }
        }
        "dev" if is_block_device(part) => part.to_owned(),
        "proc" if last == "zfs" && before.contains(&"spl") => names.plain(part),
        "proc" => part.to_owned(),
        "run"
            if before.contains(&"vfio-early") || before.contains(&"data") || part == "data" || part == "vfio-early" =>
        {
            part.to_owned()
        }
        "etc" if part.parse::<Address>().is_ok() => part.to_owned(),
        _ if last == "modules" && (before.contains(&"lib") || top == "lib") => release(part, names),
        "etc" | "lib" | "usr" | "run" if before.len() < 5 && is_file_of_the_system(part) => part.to_owned(),
        // What packages bring; not a directory that people put option ROMs into.
        "usr" if matches!(before.get(2), Some(&("share" | "bin" | "sbin" | "libexec"))) && !before.contains(&"kvm") => {
            part.to_owned()
        }
        _ => file(part, names),
    }
}

/// A file whose ending says what it is.
fn file(name: &str, names: &mut Names) -> String {
    match name.rsplit_once('.') {
        Some((stem, ending @ ("conf" | "rom" | "bin" | "fd" | "img"))) => format!("{}.{ending}", names.plain(stem)),
        _ => names.plain(name),
    }
}

/// Files and directories of the system that programs know by name.
fn is_file_of_the_system(part: &str) -> bool {
    const KNOWN: &str = "hwdata misc pci.ids modules modules.alias modules.dep modules.builtin modules.builtin.modinfo \
        modules.softdep modules.order vfio-early vfio-early.d vfio-early.conf modprobe.d modules-load.d initrd-release \
        initramfs-tools dracut.conf dracut.conf.d mkinitcpio.conf mkinitcpio.conf.d driverctl.d systemd lib";
    KNOWN.split_ascii_whitespace().any(|known| known == part)
}

/// The name of a network interface.
pub(super) fn interface(name: &str, names: &mut Names) -> String {
    if is_interface(name) { name.to_owned() } else { names.replace(name) }
}

/// A kernel's release: its version is kept, and what follows if it is a distribution's.
pub(super) fn release(text: &str, names: &mut Names) -> String {
    let version = text.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
    let (version, rest) = text.split_at_checked(version).unwrap_or((text, ""));
    let harmless = rest.split(['-', '.', '+', '_', '~']).all(|part| is_harmless(part, 8));
    if harmless && version.len() < 16 { text.to_owned() } else { format!("{}-{}", first(version), names.replace(rest)) }
}

/// The version, of which no more is kept than its first three numbers.
fn first(version: &str) -> String {
    let numbers: Vec<&str> = version.split('.').take(3).map(|number| number.get(..5).unwrap_or(number)).collect();
    numbers.join(".").trim_end_matches('.').to_owned()
}
