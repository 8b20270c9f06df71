// SPDX-License-Identifier: MIT OR Apache-2.0
//! Claims from the IDs in vfio-pci's own option `ids=`.
use std::fmt::Write;

use super::keywords::{quote, unknown};
use super::problems::Problems;
use super::{Claim, Config, Options, Origin, Selector, With, files, modprobe, words};
use crate::machine::Machine;
use crate::pci::{Address, IdPattern};

/// The size of vfio-pci's buffer for the list, including the terminating NUL (drivers/vfio/pci/vfio_pci.c, `ids`).
const MAX_LIST: usize = 1024;

/// Adds the IDs of vfio-pci's `ids=` to the claims.
pub(super) fn add_claims(config: &mut Config) {
    for claim in &config.vfio_pci_ids {
        if !config.claims.iter().any(|known| known.selector == claim.selector) {
            config.claims.push(claim.clone());
        }
    }
}

/// Whether a module's option is switched on, in modprobe.d or on the kernel command line. As for every parameter, the last
/// one counts.
pub fn module_switch(machine: &dyn Machine, command_line: &[u8], module: &str, option: &str) -> bool {
    switch(&modprobe::Files::read(machine, &mut Problems::default()), command_line, module, option)
}

/// See [`module_switch`].
pub(super) fn switch(modprobe: &modprobe::Files, command_line: &[u8], module: &str, option: &str) -> bool {
    let mut all: Vec<Option<String>> = Vec::new();
    modprobe.lines(&mut |_, mut words| {
        let mut is = |name: &str| words.next().is_some_and(|(word, _)| word == name);
        if is("options") && is(module) {
            all.extend(words.filter(|(name, _)| name == option).map(|(_, value)| value));
        }
    });
    let of_module = |name: &str| name.strip_prefix(module).and_then(|rest| rest.strip_prefix('.')) == Some(option);
    all.extend(words(command_line).filter(|(name, _)| of_module(name)).map(|(_, value)| value));
    // As in kernel/params.c, `param_set_bool`: a parameter without a value is true.
    all.pop().is_some_and(|value| value.is_none_or(|value| matches!(value.as_str(), "1" | "y" | "Y" | "on")))
}

/// vfio-pci's parameters (drivers/vfio/pci/vfio_pci.c, the same in Linux 6.1, 6.12 and 7.2).
const PARAMETERS: &[&str] =
    &["ids", "nointxmask", "disable_vga", "disable_idle_d3", "enable_sriov", "disable_denylist"];

/// Files with modules to load, a line each with the module's options. The first is that of initramfs-tools, which loads them
/// when its init-top scripts have run.
const MODULES_FILES: &[&str] = &["/etc/initramfs-tools/modules", "/etc/modules"];

/// The values of `ids=`, each with its origin.
type Lists = Vec<(Origin, String)>;

/// The IDs of vfio-pci's `ids=`, as claims, from modprobe.d or the kernel command line. Mistakes in them are only a warning:
/// they are vfio-pci's configuration.
pub(super) fn vfio_pci_ids(modprobe: &modprobe::Files, command_line: &[u8], warnings: &mut Problems) -> Vec<Claim> {
    let mut all = Lists::new();
    let mut wrong: Vec<(Origin, String)> = Vec::new();
    modprobe.lines(&mut |origin, mut words| {
        let mut is = |name: &str| words.next().is_some_and(|(word, _)| word == name);
        if is("options") && is("vfio_pci") {
            options(&origin, words, &mut all, &mut wrong);
        }
    });
    let origin = Origin::command_line();
    for (name, value) in words(command_line) {
        let option = name.strip_prefix("vfio_pci.");
        // A word of its own is taken for one of another list where it is not an ID.
        if option.is_some() || value.is_none() && is_id(&name) {
            let word = (option.unwrap_or(&name).to_owned(), value);
            options(&origin, std::iter::once(word), &mut all, &mut wrong);
        } else if let Some(value) = value.filter(|value| name.starts_with("vfio") && is_id(value)) {
            if !name.starts_with("vfio_early") {
                wrong.push((origin.clone(), format!("{name}={value} is no parameter: write vfio-pci.ids={value}")));
            }
        }
    }
    for (origin, message) in wrong {
        warnings.add(&origin, message);
    }
    // modprobe passes the options of all files and then those of the command line, and the kernel keeps the last one.
    for pair in all.windows(2) {
        if let [(before, _), (origin, _)] = pair {
            let message = format!("ids= has no effect: vfio-pci uses only the last one ({origin})");
            warnings.add(before, message);
        }
    }
    all.pop().map(|(origin, ids)| entries(&origin, &ids, warnings)).unwrap_or_default()
}

/// The IDs in files with modules to load. No claims come from them: whoever loads vfio-pci first decides.
pub(super) fn modules_file_ids(machine: &dyn Machine, warnings: &mut Problems) -> Vec<Claim> {
    let (mut all, mut wrong) = (Lists::new(), Vec::new());
    for path in MODULES_FILES {
        let content = files::content(machine, path, false).unwrap_or_default().unwrap_or_default();
        for (line, number) in content.split(|byte| *byte == b'\n').zip(1_usize..) {
            let origin = Origin { place: (*path).to_owned(), line: Some(number) };
            let mut words = words(line);
            match words.next().as_ref().map(|(word, _)| word.as_str()) {
                Some("vfio_pci") => options(&origin, words, &mut all, &mut wrong),
                Some(word @ ("options" | "softdep" | "install" | "blacklist"))
                    if words.any(|(name, _)| name.starts_with("vfio")) =>
                {
                    wrong.push((
                        origin,
                        format!("`{word}` is taken for a module here: such a line belongs in /etc/modprobe.d"),
                    ));
                }
                _ => {}
            }
        }
    }
    for (origin, message) in wrong {
        warnings.add(&origin, message);
    }
    all.into_iter().flat_map(|(origin, ids)| entries(&origin, &ids, warnings)).collect()
}

/// Reads vfio-pci's options at one place: the lists of IDs, and what is wrong beside them.
fn options(
    origin: &Origin,
    words: impl Iterator<Item = (String, Option<String>)>,
    all: &mut Lists,
    wrong: &mut Vec<(Origin, String)>,
) {
    for (name, value) in words.take_while(|(name, _)| !name.starts_with('#')) {
        let message = match value {
            value if name == "ids" => {
                all.push((origin.clone(), value.unwrap_or_default()));
                continue;
            }
            None if is_id(&name) => {
                format!("{} is lost: a blank ends ids=, so write a comma alone between two IDs", quote(&name))
            }
            _ if PARAMETERS.contains(&name.as_str()) => continue,
            _ => {
                let module = if origin.line.is_none() { "vfio-pci." } else { "" };
                format!("{module}{name} has no effect: {}", unknown("parameter of vfio-pci", &name, PARAMETERS))
            }
        };
        wrong.push((origin.clone(), message));
    }
}

/// Whether a word looks like an ID, or like several.
pub fn is_id(word: &str) -> bool {
    let first = word.split([',', ';']).find(|word| !word.is_empty()).unwrap_or_default();
    let mut parts = first.split(':');
    let mut is_number = || parts.next().is_some_and(|part| part.len() == 4 && u16::from_str_radix(part, 16).is_ok());
    is_number() && is_number()
}

/// The claims of one list.
fn entries(origin: &Origin, ids: &str, warnings: &mut Problems) -> Vec<Claim> {
    let mut found = Vec::new();
    if ids.len() >= MAX_LIST {
        warnings.add(origin, format!("ids= is too long ({} characters); vfio-pci accepts at most 1023", ids.len()));
        return found;
    }
    for entry in ids.split(',').filter(|entry| !entry.is_empty()) {
        match selector(entry) {
            Ok((selector, rest)) => {
                if entry.parse::<Address>().is_ok() {
                    warnings.add(origin, format!("ids= entry {} is an address: vfio-pci expects an ID", quote(entry)));
                } else if !rest.trim_ascii().is_empty() {
                    let message = format!("ids= entry {}: vfio-pci ignores {}", quote(entry), quote(rest));
                    warnings.add(origin, message);
                }
                let options = Options { all: true, with: Some(With::None), ..Options::default() };
                found.push(Claim { selector, origin: origin.clone(), options, adopted: true });
            }
            Err(reason) => warnings.add(origin, format!("ids= entry {} is not claimed: {reason}", quote(entry))),
        }
    }
    found
}

/// Parses an entry of the list as the kernel does (drivers/vfio/pci/vfio_pci.c, `vfio_pci_fill_ids`): two to six
/// hexadecimal numbers, where all ones stand for "any". Anything after them is ignored, and returned as the rest.
fn selector(entry: &str) -> Result<(Selector, &str), &'static str> {
    let mut numbers = Vec::new();
    let (mut rest, mut ignored) = (Some(entry), entry);
    while let Some((number, after)) = rest.filter(|_| numbers.len() < 6).and_then(hexadecimal) {
        numbers.push(number);
        ignored = after;
        rest = after.strip_prefix(':');
    }
    let field = |at: usize, default| numbers.get(at).copied().unwrap_or(default);
    if numbers.len() < 2 {
        return Err("expected VENDOR:DEVICE; vfio-pci rejects it as well");
    }
    let id = |at| match field(at, u32::MAX) {
        u32::MAX => Ok(None),
        number => u16::try_from(number).map(Some).map_err(|_| "no device has such an ID"),
    };
    let (vendor, device, subvendor, subdevice) = (id(0)?, id(1)?, id(2)?, id(3)?);
    let (class, class_mask) = (field(4, 0), field(5, 0));
    if class & class_mask > 0x00ff_ffff {
        return Err("no device has such a class");
    }
    let class_mask = class_mask & 0x00ff_ffff;
    let class = if class_mask == 0 { 0 } else { class & 0x00ff_ffff };
    let selector = match vendor {
        Some(vendor) => Selector::Id(IdPattern { vendor, device, subvendor, subdevice, class, class_mask }),
        None => any_vendor([device, subvendor, subdevice], class, class_mask)?,
    };
    Ok((selector, ignored))
}

/// The modalias pattern for an entry that matches any vendor: `ffffffff:ffffffff:ffffffff:ffffffff:030000:ff0000` selects
/// all display controllers.
fn any_vendor(ids: [Option<u16>; 3], class: u32, class_mask: u32) -> Result<Selector, &'static str> {
    if ids == [None; 3] && class_mask == 0 {
        return Err("it matches all devices");
    }
    let mut pattern = String::from("pci:v*");
    for (key, id) in ["d", "sv", "sd"].iter().zip(ids) {
        // Writing to a string cannot fail.
        let _ = match id {
            Some(id) => write!(pattern, "{key}{id:08X}"),
            None => write!(pattern, "{key}*"),
        };
    }
    let bytes = class.to_be_bytes().into_iter().zip(class_mask.to_be_bytes()).skip(1);
    for (key, (class, mask)) in ["bc", "sc", "i"].iter().zip(bytes) {
        let _ = match mask {
            0xff => write!(pattern, "{key}{class:02X}"),
            0 => write!(pattern, "{key}*"),
            _ => return Err("its class mask covers only part of a byte"),
        };
    }
    pattern.parse().map(Selector::Modalias).map_err(|_| "it cannot be expressed as a modalias pattern")
}

/// Parses a hexadecimal number at the start of a text as the kernel's `sscanf` does, and returns it with the rest. If there
/// are too many digits, only the last ones count.
fn hexadecimal(text: &str) -> Option<(u32, &str)> {
    let text = text.trim_ascii_start();
    if !text.starts_with(|letter: char| letter.is_ascii_hexdigit()) {
        return None;
    }
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text);
    let end = digits.find(|letter: char| !letter.is_ascii_hexdigit()).unwrap_or(digits.len());
    let (digits, rest) = digits.split_at_checked(end)?;
    let number =
        digits.chars().filter_map(|digit| digit.to_digit(16)).fold(0_u32, |number, digit| (number << 4) | digit);
    Some((number, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pci::{Class, Identity};
    use proptest::prelude::*;
    use proptest::sample::select;

    const ANY: u32 = u32::MAX;

    /// Whether an entry matches a function according to the kernel (drivers/pci/pci.h, `pci_match_one_device`).
    fn kernel_matches(entry: &[u32], function: &Identity) -> bool {
        let field = |at: usize, default| entry.get(at).copied().unwrap_or(default);
        let ids = [function.vendor, function.device, function.subvendor, function.subdevice];
        ids.into_iter().enumerate().all(|(at, id)| [ANY, u32::from(id)].contains(&field(at, ANY)))
            && (field(4, 0) ^ function.class.0) & field(5, 0) == 0
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(3000))]

        #[test]
        fn an_adopted_entry_selects_what_vfio_pci_would_take(
            ids in proptest::collection::vec(select(vec![ANY, ANY, 0x10de, 0x1, 0x110de]), 2..=4),
            class in select(vec![0x03_0000, 0x03_8000, 0x0300_0000]),
            mask in proptest::option::of(select(vec![0, ANY, 0xff_0000, 0xff_ff00, 0xf0_0000, 0xff00_0000, 0x00_ffff])),
            more in any::<bool>(),
            written in select(vec!["{}", "0x{}", " {}"]),
            function in (select(vec![0x10de, 1]), select(vec![0x10de, 1]), select(vec![0x10de, 1]), select(vec![0x10de, 1])),
            other in select(vec![0x03_0000, 0x03_8000, 0x02_0000]),
        ) {
            let mut entry = ids;
            if more {
                entry.resize(4, ANY);
                entry.push(class);
                entry.extend(mask);
            }
            let text: Vec<_> = entry.iter().map(|number| written.replace("{}", &format!("{number:x}"))).collect();
            let (vendor, device, subvendor, subdevice) = function;
            let function = Identity { vendor, device, subvendor, subdevice, class: Class(other) };
            let expected = kernel_matches(&entry, &function);
            match selector(&text.join(":")).map(|(selector, _)| selector) {
                Ok(Selector::Id(pattern)) => prop_assert_eq!(pattern.matches(&function), expected),
                Ok(Selector::Modalias(pattern)) => prop_assert_eq!(pattern.matches(&function.modalias("pci")), expected),
                Ok(other) => prop_assert!(false, "{other}"),
                Err("it matches all devices") => prop_assert!(expected),
                Err("its class mask covers only part of a byte") => prop_assert!(entry[0] == ANY && entry[5] == 0xf0_0000),
                // No device has such numbers, this one neither.
                Err(_) => prop_assert!(!expected),
            }
        }
    }
}
