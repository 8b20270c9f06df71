// SPDX-License-Identifier: MIT OR Apache-2.0
//! Names of vendors and devices, from the list pci.ids that distributions ship (hwdata) and `lspci` reads.

use std::io::BufRead;

use super::{Identity, hex_field};

/// The names of a function. Unknown names are empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// The vendor.
    pub vendor: String,
    /// The device.
    pub device: String,
    /// The subsystem: the card with the device.
    pub subsystem: String,
}

/// Looks up functions in pci.ids in a single pass. After the line of a vendor follow its devices, indented by one tab, and
/// after each device its subsystems, indented by two. Ignores the classes at the end of the list. The first name counts.
pub fn look_up(list: &[u8], wanted: &[Identity]) -> Vec<Names> {
    let mut found = vec![Names::default(); wanted.len()];
    // The current vendor and device, if they are among the wanted ones.
    let (mut vendor, mut device) = (None, None);
    let mut lines = list;
    while !lines.is_empty() {
        // The list has 40,000 lines, and nearly all of them are about other vendors and devices.
        let (depth, text) = match lines {
            [b'\t', b'\t', rest @ ..] if device.is_some() => (2, rest),
            [b'\t', b'\t', ..] => (3, lines),
            [b'\t', rest @ ..] if vendor.is_some() => (1, rest),
            [b'\t' | b'#' | b'\n', ..] => (3, lines),
            [b'C', b' ', ..] => break,
            _ => (0, lines),
        };
        lines = text;
        let length = lines.skip_until(b'\n').unwrap_or(text.len());
        if depth > 2 {
            continue;
        }
        let line = text.get(..length).unwrap_or_default();
        let text = line.strip_suffix(b"\n").unwrap_or(line);
        let Some((first, rest)) = number(text) else {
            // An unindented line that is no vendor ends the current one.
            if depth == 0 {
                (vendor, device) = (None, None);
            }
            continue;
        };
        let (second, name) = match depth {
            0 => {
                (vendor, device) = (None, None);
                (0, rest)
            }
            1 => {
                device = None;
                (0, rest)
            }
            _ => match number(rest) {
                Some(second) => second,
                None => continue,
            },
        };
        for (names, id) in found.iter_mut().zip(wanted) {
            let (is_wanted, field) = match depth {
                0 => (id.vendor == first, &mut names.vendor),
                1 => (vendor == Some(id.vendor) && id.device == first, &mut names.device),
                _ => {
                    let is_device = vendor == Some(id.vendor) && device == Some(id.device);
                    (is_device && (id.subvendor, id.subdevice) == (first, second), &mut names.subsystem)
                }
            };
            if is_wanted {
                match depth {
                    0 => vendor = Some(first),
                    1 => device = Some(first),
                    _ => {}
                }
                if field.is_empty() {
                    *field = String::from_utf8_lossy(name.trim_ascii()).into_owned();
                }
            }
        }
    }
    found
}

/// Parses four hexadecimal digits and a blank at the start of a line; returns the number and the rest.
fn number(text: &[u8]) -> Option<(u16, &[u8])> {
    let (digits, rest) = text.split_at_checked(4)?;
    let number = hex_field(std::str::from_utf8(digits).ok()?, 4, 4)?;
    Some((u16::try_from(number).ok()?, rest.strip_prefix(b" ")?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pci::Class;
    use proptest::prelude::*;
    use std::fmt::Write as _;

    const LIST: &[u8] = b"# a comment\n\
        10de  NVIDIA Corporation\n\
        \t1e04  TU102 [GeForce RTX 2080 Ti]\n\
        \t\t1462 3711  RTX 2080 Ti Gaming X Trio\n\
        \t1e07  other\n\
        \t\t1462 3711  of another device\n\
        \tzzzz  no number\n\
        \n\
        1462  Micro-Star\n\
        \t1e04  of another vendor\n\
        C 10  Nothing that looks like a vendor\n\
        10df  after the classes\n";

    fn id(vendor: u16, device: u16, subvendor: u16, subdevice: u16) -> Identity {
        Identity { vendor, device, subvendor, subdevice, class: Class(0) }
    }

    fn name(identity: Identity) -> [String; 3] {
        let names = look_up(LIST, &[id(1, 2, 3, 4), identity]).pop().unwrap();
        [names.vendor, names.device, names.subsystem]
    }

    #[test]
    fn a_function_has_the_names_of_its_own_lines() {
        let all = ["NVIDIA Corporation", "TU102 [GeForce RTX 2080 Ti]", "RTX 2080 Ti Gaming X Trio"];
        assert_eq!(name(id(0x10de, 0x1e04, 0x1462, 0x3711)), all);
        assert_eq!(name(id(0x10de, 0x1e04, 0x1462, 1)), [all[0], all[1], ""]);
        assert_eq!(name(id(0x10de, 0x1e07, 0x1462, 0x3711)), [all[0], "other", "of another device"]);
        assert_eq!(name(id(0x10de, 1, 0x1462, 0x3711)), [all[0], "", ""]);
        assert_eq!(name(id(0x1462, 0x1e04, 0, 0)), ["Micro-Star", "of another vendor", ""]);
        assert_eq!(name(id(0x10df, 0, 0, 0)), ["", "", ""]);
    }

    #[test]
    fn functions_that_are_asked_for_together_are_told_apart() {
        let both = look_up(LIST, &[id(0x10de, 0x1e07, 0, 0), id(0x10de, 0x1e04, 0, 0), id(0x10de, 0x1e07, 0, 0)]);
        let devices: Vec<&str> = both.iter().map(|names| names.device.as_str()).collect();
        assert_eq!(devices, ["other", "TU102 [GeForce RTX 2080 Ti]", "other"]);
    }

    /// A simple reference implementation.
    fn reference(list: &str, identity: &Identity) -> Names {
        let mut names = Names::default();
        let (mut vendor, mut device) = (String::new(), String::new());
        let (wanted_vendor, wanted_device) = (format!("{:04x}", identity.vendor), format!("{:04x}", identity.device));
        let subsystem = format!("{:04x} {:04x}", identity.subvendor, identity.subdevice);
        for line in list.lines() {
            let Some((number, name)) = line.trim_start_matches('\t').split_once("  ") else { continue };
            let place = match line.bytes().take_while(|byte| *byte == b'\t').count() {
                0 => {
                    (vendor, device) = (number.to_owned(), String::new());
                    (vendor == wanted_vendor).then_some(&mut names.vendor)
                }
                1 => {
                    device = number.to_owned();
                    (vendor == wanted_vendor && device == wanted_device).then_some(&mut names.device)
                }
                _ => (vendor == wanted_vendor && device == wanted_device && number == subsystem)
                    .then_some(&mut names.subsystem),
            };
            if let Some(place) = place.filter(|place| place.is_empty()) {
                *place = name.to_owned();
            }
        }
        names
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn many_functions_have_the_names_that_each_has_alone(
            lines in proptest::collection::vec((0..3_usize, 1..4_u16, 1..3_u16, "[a-z]{1,3}"), 0..30),
            wanted in proptest::collection::vec((1..4_u16, 1..4_u16, 1..4_u16, 1..3_u16), 0..6),
        ) {
            let mut list = String::new();
            for (depth, first, second, name) in lines {
                let tabs = "\t".repeat(depth);
                let second = if depth == 2 { format!(" {second:04x}") } else { String::new() };
                writeln!(list, "{tabs}{first:04x}{second}  {name}").unwrap();
            }
            let wanted: Vec<Identity> = wanted.into_iter().map(|(a, b, c, d)| id(a, b, c, d)).collect();
            let expected: Vec<Names> = wanted.iter().map(|identity| reference(&list, identity)).collect();
            prop_assert_eq!(look_up(list.as_bytes(), &wanted), expected);
        }

        #[test]
        fn no_bytes_make_it_panic(list in proptest::collection::vec(proptest::sample::select(b"10de \t\n#C\xff".to_vec()), 0..200)) {
            let names = look_up(&list, &[id(0x10de, 0x10de, 0x10de, 0x10de)]);
            prop_assert_eq!(names.len(), 1);
        }
    }

    #[test]
    fn the_real_list_is_read() {
        let Ok(list) = std::fs::read("/usr/share/misc/pci.ids") else {
            let _ =
                std::io::Write::write_all(&mut std::io::stderr(), b"NOT RUN: /usr/share/misc/pci.ids is not there\n");
            return;
        };
        let names = look_up(&list, &[id(0x10de, 0x1e04, 0x1462, 0x3711), id(0x8086, 0x1533, 0x8086, 0x0001)]);
        assert_eq!(names[0].vendor, "NVIDIA Corporation");
        assert!(names[0].device.contains("2080 Ti"), "{names:?}");
        assert!(names[1].device.contains("I210"), "{names:?}");
    }
}
