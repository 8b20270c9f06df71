// SPDX-License-Identifier: MIT OR Apache-2.0
//! The content of files: what the program looks at is kept, other words only if they are known to be harmless.

use std::fmt::Write;

use crate::config::{is_id, words};
use crate::inventory::{default_routes, mounts, swaps};
use crate::trial::{MARK, Mark};

use super::configuration;
use super::names::{Names, is_harmless};
use super::paths::{self, Files};
use super::report;
use super::serial::clear_serial_number;
use super::vocabulary;

/// What the content of files is replaced with.
pub(super) struct Redactor<'a> {
    pub(super) names: &'a mut Names,
    pub(super) files: &'a Files,
    /// The names of drivers and modules on the machine.
    pub(super) modules: &'a [String],
}

impl Redactor<'_> {
    /// A path with its names replaced.
    pub(super) fn path(&mut self, path: &str) -> String {
        paths::path(path, self.files, self.names)
    }

    /// Replaces the content of a file.
    pub(super) fn content(&mut self, path: &str, content: &mut Vec<u8>) {
        let name = path.rsplit('/').next().unwrap_or_default();
        if path.starts_with("/sys/") && name == "config" {
            return clear_serial_number(content);
        }
        // How the firmware describes IOMMUs and interrupt controllers; other tables may hold keys of the machine.
        if let Some(table) = path.strip_prefix("/sys/firmware/acpi/tables/") {
            if !["DMAR", "IVRS", "IORT", "VIOT", "APIC"].contains(&table) {
                content.clear();
            }
            return;
        }
        let text = String::from_utf8_lossy(content).into_owned();
        *content = match path {
            "/proc/cmdline" => self.command_line(content),
            "/proc/self/mountinfo" => self.mounts(content),
            "/proc/swaps" => self.swaps(content),
            "/proc/net/route" | "/proc/net/ipv6_route" => self.routes(path, content),
            "/proc/cpuinfo" => lines(&text, |line| Some(line.to_owned()).filter(|line| is_about_processor(line))),
            "/proc/interrupts" => lines(&text, |line| Some(interrupt(line))),
            "/proc/uptime" => numbers(&text),
            "/proc/modules" => lines(&text, |line| Some(module(line))),
            "/proc/sys/kernel/osrelease" => lines(&text, |line| Some(paths::release(line, self.names))),
            crate::report::PATH => report::redact(&text, self),
            // A digest of hardware IDs and settings, and a part of the random ID of a boot.
            MARK if Mark::parse(content).is_some() => return,
            _ if path.ends_with("/pci.ids") || path.contains("/modules.") => return,
            _ if path.starts_with("/proc/driver/") || path == "/proc/iomem" || path.ends_with("/meminfo") => return,
            _ if path == "/etc/vfio-early.conf"
                || path.starts_with("/etc/vfio-early.d/")
                || path.starts_with("/usr/lib/vfio-early.d/") =>
            {
                configuration::redact(content, self)
            }
            _ if path.starts_with("/proc/") => lines(&text, |line| Some(self.names.plain(line))),
            _ if path.starts_with("/run/udev/data/") => lines(&text, |line| self.property(line)),
            _ if path.starts_with("/sys/") => self.attribute(name, &text),
            _ => lines(&text, |line| Some(configuration::other_line(line, self))),
        };
    }

    /// An attribute of sysfs.
    fn attribute(&mut self, name: &str, text: &str) -> Vec<u8> {
        if vocabulary::is_harmless_attribute(name) {
            return text.as_bytes().to_vec();
        }
        lines(text, |line| {
            Some(match (name, line.split_once('=')) {
                ("backing_file", _) => self.path(line),
                ("name", _) => self.names.plain(line),
                ("uevent", Some(("INTERFACE", interface))) => {
                    format!("INTERFACE={}", paths::interface(interface, self.names))
                }
                (
                    "uevent",
                    Some((
                        key @ ("DEVTYPE" | "DRIVER" | "PCI_CLASS" | "PCI_ID" | "PCI_SUBSYS_ID" | "PCI_SLOT_NAME"
                        | "MODALIAS" | "MAJOR" | "MINOR" | "IFINDEX"),
                        value,
                    )),
                ) => {
                    format!("{key}={value}")
                }
                ("uevent", _) => return None,
                _ => line.split(' ').map(|word| self.value(word)).collect::<Vec<_>>().join(" "),
            })
        })
    }

    /// A word of an attribute: a number is kept.
    fn value(&mut self, word: &str) -> String {
        let digits = word.strip_prefix("0x").unwrap_or(word);
        let is_number = !digits.is_empty() && digits.len() < 9 && digits.bytes().all(|byte| byte.is_ascii_digit());
        let is_hexadecimal = word != digits && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        // An identifier that is not set.
        let is_zero = word.bytes().all(|byte| matches!(byte, b'0' | b'-'));
        if is_number || is_hexadecimal || is_zero { word.to_owned() } else { self.names.plain(word) }
    }

    /// A property of udev's.
    fn property(&mut self, line: &str) -> Option<String> {
        let (key, value) = line.split_once('=')?;
        let is_type = key == "E:ID_FS_TYPE" && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if is_type && value.len() < 20 {
            return Some(line.to_owned());
        }
        Some(format!("{key}={}", self.names.plain(value)))
    }

    /// The kernel command line.
    fn command_line(&mut self, line: &[u8]) -> Vec<u8> {
        let line = line.split(|byte| *byte == 0).next().unwrap_or_default();
        let kept: Vec<String> = raw_words(line).into_iter().map(|word| self.parameter(&word)).collect();
        format!("{}\n", kept.join(" ")).into_bytes()
    }

    /// A word of the kernel command line, as it is written there.
    fn parameter(&mut self, raw: &str) -> String {
        let Some((name, value)) = words(raw.as_bytes()).next() else { return String::new() };
        let value = value.as_deref();
        if name == "vfio_early.claim" {
            let claims = configuration::parameter(value.unwrap_or_default(), self);
            return if value.is_some() { format!("vfio_early.claim={claims}") } else { name };
        }
        let is_ours = name == "vfio_early" || name.starts_with("vfio_early.");
        if is_ours || vocabulary::is_looked_at(&name) {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.,:;+*/=@!-()".contains(&byte);
            // What cannot be understood is told as it is, and so has to stay as wrong as it is.
            let value =
                value.map(|value| if value.bytes().all(plain) { value.to_owned() } else { self.names.replace(value) });
            // As people write it.
            let name = raw.get(..name.len()).filter(|start| start.replace('-', "_") == name).unwrap_or(&name);
            return value.map_or_else(|| name.to_owned(), |value| format!("{name}={value}"));
        }
        // Taken for what was lost from ids=, or for a mistake in its name (src/config/adopt.rs). IDs alone are harmless.
        let ids = value.unwrap_or(&name);
        if is_id(ids) && (value.is_none() || name.starts_with("vfio")) {
            let ids: Vec<&str> = ids.split([',', ';']).filter(|word| is_id(word)).collect();
            return if value.is_some() { format!("{name}={}", ids.join(",")) } else { ids.join(",") };
        }
        let spelt = raw.get(..name.len()).filter(|start| start.replace('-', "_") == name).unwrap_or(&name).to_owned();
        let name = if vocabulary::is_harmless_parameter(&name) || is_harmless(&spelt, 2) {
            spelt
        } else {
            self.names.replace(&spelt)
        };
        value.map_or_else(|| name.clone(), |value| format!("{name}={}", self.parameter_value(value)))
    }

    /// The value of a parameter that the program does not look at.
    fn parameter_value(&mut self, value: &str) -> String {
        if let Some((tag @ ("UUID" | "PARTUUID" | "LABEL" | "PARTLABEL" | "ID"), id)) = value.split_once('=') {
            return format!("{tag}={}", self.names.plain(id));
        }
        if let Some((path, kernel)) = value.rsplit_once("/vmlinuz-") {
            return format!("{}/vmlinuz-{}", self.path(path), paths::release(kernel, self.names));
        }
        let pieces: Vec<String> = value
            .split(',')
            .map(|piece| if piece.starts_with('/') { self.path(piece) } else { self.names.plain(piece) })
            .collect();
        // As few replacements as there are secrets: what is joined by commas may be one.
        if pieces.iter().zip(value.split(',')).filter(|(new, old)| new != old).count() > 1 {
            self.names.replace(value)
        } else {
            pieces.join(",")
        }
    }

    /// The mounted file systems, without their options.
    fn mounts(&mut self, table: &[u8]) -> Vec<u8> {
        let mut out = String::new();
        for (mount, number) in mounts(table).iter().zip(20_u32..) {
            let is_number = mount.device_number.bytes().all(|byte| byte.is_ascii_digit() || byte == b':');
            let device_number = if is_number { mount.device_number.as_str() } else { "0:0" };
            let mount_point = if mount.mount_point == "/" { "/".to_owned() } else { self.path(&mount.mount_point) };
            let fs_type = self.names.plain(&mount.fs_type);
            let source = self.source(&mount.fs_type, &mount.source);
            let _ = writeln!(
                out,
                "{number} 1 {device_number} / {} rw - {fs_type} {} rw",
                escape(&mount_point),
                escape(&source)
            );
        }
        out.into_bytes()
    }

    /// The source of a mount: devices, a dataset of ZFS, or something that the program does not look at.
    fn source(&mut self, fs_type: &str, source: &str) -> String {
        if source.starts_with("/dev/") {
            let devices: Vec<String> = source.split(':').map(|path| self.path(path)).collect();
            return devices.join(":");
        }
        if fs_type == "zfs" {
            let parts: Vec<String> = source.split('/').map(|part| self.names.plain(part)).collect();
            return parts.join("/");
        }
        if source == fs_type { self.names.plain(fs_type) } else { self.names.plain(source) }
    }

    /// Swap space: its paths.
    fn swaps(&mut self, table: &[u8]) -> Vec<u8> {
        let mut out = String::from("Filename\tType\tSize\tUsed\tPriority\n");
        for path in swaps(table) {
            let _ = writeln!(out, "{} partition 0 0 0", escape(&self.path(&path)));
        }
        out.into_bytes()
    }

    /// The default routes, without addresses.
    fn routes(&mut self, path: &str, table: &[u8]) -> Vec<u8> {
        let is_ipv4 = path == "/proc/net/route";
        let found = if is_ipv4 { default_routes(table, &[]) } else { default_routes(&[], table) };
        let mut out =
            String::from(if is_ipv4 { "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\n" } else { "" });
        for interface in found {
            let interface = paths::interface(&interface, self.names);
            let zero = "0".repeat(32);
            let _ = if is_ipv4 {
                writeln!(out, "{interface}\t00000000\t00000000\t0003\t0\t0\t0\t00000000")
            } else {
                writeln!(out, "{zero} 00 {zero} 00 {zero} 00000400 00000001 00000000 00000003 {interface}")
            };
        }
        out.into_bytes()
    }
}

/// Rewrites or removes each line of a text.
pub(super) fn lines(text: &str, mut change: impl FnMut(&str) -> Option<String>) -> Vec<u8> {
    let mut out = String::new();
    for line in text.split_inclusive('\n') {
        let (line, end) = line.strip_suffix('\n').map_or((line, ""), |line| (line, "\n"));
        if let Some(line) = change(line) {
            out.push_str(&line);
            out.push_str(end);
        }
    }
    out.into_bytes()
}

/// The words of a kernel command line as they are written, quotes included (lib/cmdline.c, `next_arg`).
pub(super) fn raw_words(line: &[u8]) -> Vec<String> {
    let mut inside = false;
    let pieces = line.split(|byte| {
        inside ^= *byte == b'"';
        !inside && matches!(byte, b'\t'..=b'\r' | b' ' | 0xa0)
    });
    pieces.filter(|piece| !piece.is_empty()).map(|piece| String::from_utf8_lossy(piece).into_owned()).collect()
}

/// Encodes a path as the tables of /proc do.
fn escape(text: &str) -> String {
    text.replace('\\', "\\134").replace(' ', "\\040").replace('\t', "\\011").replace('\n', "\\012")
}

/// Whether a line of /proc/cpuinfo is about the kind of processor: not about this one, as its serial number is.
fn is_about_processor(line: &str) -> bool {
    let key = line.split(':').next().unwrap_or_default().trim();
    let known = [
        "processor",
        "vendor_id",
        "cpu family",
        "model",
        "model name",
        "stepping",
        "flags",
        "CPU implementer",
        "CPU architecture",
        "CPU part",
    ];
    known.contains(&key)
}

/// A line of /proc/interrupts: its number and the interrupt's chip.
fn interrupt(line: &str) -> String {
    let mut words = line.split_ascii_whitespace();
    let number = words.next().filter(|word| word.ends_with(':')).unwrap_or_default();
    let is_chip = |word: &&str| ["PIC", "MSI", "DMAR", "GIC"].iter().any(|chip| word.contains(chip));
    let plain = |word: &&str| {
        word.bytes().all(|byte| {
            byte.is_ascii_digit()
                || byte.is_ascii_uppercase()
                || byte.is_ascii_lowercase() && byte < b'g'
                || b"-:.xvX".contains(&byte)
        })
    };
    let chips: Vec<&str> = words.filter(is_chip).filter(plain).collect();
    let number = if number.len() < 8 { number } else { "" };
    format!("{number} {}", chips.join(" ")).trim().to_owned()
}

/// A line of /proc/modules: the name of the module.
fn module(line: &str) -> String {
    format!("{} 0 0 - Live 0x0", line.split(' ').next().unwrap_or_default())
}

/// Numbers and nothing else.
fn numbers(text: &str) -> Vec<u8> {
    text.bytes().filter(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b' ' | b'\n')).collect()
}
