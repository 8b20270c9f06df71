// SPDX-License-Identifier: MIT OR Apache-2.0
//! What holds for every configuration and for every string of bytes that is taken for one.

use std::fmt::Write;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::sample::select;
use vfio_early::config::{
    Claim, Config, ConfigError, Driver, Framebuffer, Guard, IommuPolicy, OnFailure, Options, Origin, RESET_METHODS,
    Reader, Rebar, Selector, Settings, With, words,
};

/// Pieces that a line may be made of: what the parser knows, and what it nearly knows.
const PIECES: &[&str] = &[
    "claim",
    "set",
    "vfio_early",
    "vfio-early",
    "vfio_early.claim",
    "iommu",
    "on-failure",
    "step-timeout",
    "required",
    "keep",
    "id",
    "match",
    "with",
    "driver",
    "reset",
    "rebar",
    "0:8G",
    "flr",
    "bus",
    "allow",
    "one",
    "all",
    "group",
    "none",
    "auto",
    "storage",
    "rmrr",
    "bridge",
    "01:00.0",
    "0000:01:00.*",
    "00:01.0/00.0",
    "10de:1e04",
    "10de:*",
    "pci:v*d*",
    "300",
    "off",
    "on",
    " ",
    " ",
    "\t",
    "\n",
    "\n",
    "\r\n",
    "=",
    "=",
    "=",
    ",",
    "+",
    "#",
    "\"",
    "-",
    ".",
    ":",
    "*",
    "[",
    "\0",
    "\u{feff}",
    "é",
    "\u{a0}",
];

/// Bytes that look more or less like a configuration.
fn soup() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        9 => select(PIECES).prop_map(|piece| piece.as_bytes().to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 1..4),
    ];
    proptest::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

fn hex(width: usize) -> impl Strategy<Value = String> {
    proptest::string::string_regex(&format!("[0-9a-fA-F]{{{width}}}")).unwrap()
}

/// Any selector, as text.
fn selector() -> impl Strategy<Value = String> {
    let domain = prop_oneof![Just(String::new()), hex(4).prop_map(|hex| hex + ":"), hex(8).prop_map(|hex| hex + ":")];
    let slot =
        (domain, any::<u8>(), 0_u8..32).prop_map(|(domain, bus, device)| format!("{domain}{bus:x}:{device:02x}"));
    let step = (0_u8..32, 0_u8..8).prop_map(|(device, function)| format!("/{device:02x}.{function}"));
    let number = || prop_oneof![Just("*".to_owned()), hex(4)];
    let class = prop_oneof![
        Just(String::new()),
        hex(6).prop_map(|class| format!(":{class}")),
        (hex(6), hex(8)).prop_map(|(class, mask)| format!(":{class}:{mask}")),
        hex(6).prop_map(|class| format!(":{class}:0")),
    ];
    prop_oneof![
        (slot, prop_oneof![Just("*".to_owned()), (0_u8..8).prop_map(|function| function.to_string())])
            .prop_map(|(slot, function)| format!("{slot}.{function}")),
        proptest::collection::vec(step, 1..4).prop_map(|steps| format!("00:1c.4{}", steps.concat())),
        (hex(4), number()).prop_map(|(vendor, device)| format!("{vendor}:{device}")),
        (hex(4), number(), number(), number(), class).prop_map(
            |(vendor, device, subvendor, subdevice, class)| format!("{vendor}:{device}:{subvendor}:{subdevice}{class}")
        ),
        "pci:v[0-9A-F*?]{1,8}d[0-9A-F*]{1,8}(\\[0-9\\])?bc03\\*".prop_map(|pattern| pattern),
    ]
}

fn options() -> impl Strategy<Value = Options> {
    let driver = prop_oneof![
        Just(Driver::VfioPci),
        Just(Driver::Auto),
        "[A-Za-z0-9_][A-Za-z0-9_-]{0,62}"
            .prop_filter("names with a meaning of their own", |name| {
                !["vfio-pci", "vfio_pci", "auto"].contains(&name.as_str())
            })
            .prop_map(Driver::Named),
    ];
    let guards: Vec<Guard> = Guard::ALL.iter().copied().filter(|guard| guard.is_liftable()).collect();
    let count = guards.len();
    let rebar = proptest::collection::btree_map(0_u8..6, 0_u8..44, 0..4)
        .prop_map(|sizes| sizes.into_iter().map(|(bar, exponent)| Rebar { bar, exponent }).collect());
    let id = proptest::option::of((hex(4), hex(4), any::<bool>()));
    (
        id,
        any::<bool>(),
        proptest::option::of(select(vec![With::Card, With::Group, With::None])),
        driver,
        (
            any::<bool>(),
            any::<bool>(),
            proptest::sample::subsequence(RESET_METHODS, 0..=RESET_METHODS.len()).prop_shuffle(),
            rebar,
        ),
        proptest::sample::subsequence(guards, 0..=count),
    )
        .prop_map(|(id, all, with, driver, (save_rom, power_on, reset, rebar), allow)| Options {
            id: id.map(|(one, other, subsystem)| {
                let id = format!("{one}:{other}");
                if subsystem { format!("{id}:{other}:{one}") } else { id }.parse().unwrap()
            }),
            all,
            with,
            driver,
            save_rom,
            power_on,
            reset,
            rebar,
            allow,
        })
}

/// Any configuration that is right.
fn config() -> impl Strategy<Value = Config> {
    let settings = (any::<bool>(), any::<bool>(), any::<bool>(), any::<[bool; 3]>(), 1_u64..=300).prop_map(
        |(a, b, c, [isolation_required, adopt_ids, trial], time)| Settings {
            trial,
            iommu: if a { IommuPolicy::Required } else { IommuPolicy::Optional },
            isolation_required,
            on_failure: if b { OnFailure::Restore } else { OnFailure::Keep },
            framebuffer: if c { Framebuffer::Keep } else { Framebuffer::Release },
            adopt_ids,
            step_timeout: Duration::from_secs(time),
        },
    );
    let claim = (selector(), options()).prop_map(|(selector, mut options)| {
        let selector: Selector = selector.parse().unwrap();
        options.all &= selector.is_pattern();
        if let (Selector::Id(pattern), Some(id)) = (&selector, &options.id) {
            options.id = Some(*id).filter(|id| pattern.may_be(id));
        }
        Claim { selector, origin: Origin::command_line(), options, adopted: false }
    });
    (settings, proptest::collection::vec(claim, 0..6)).prop_map(|(settings, all)| {
        let mut claims: Vec<Claim> = Vec::new();
        for claim in all {
            if !claims.iter().any(|other| other.selector == claim.selector) {
                claims.push(claim);
            }
        }
        Config {
            off: false,
            claims,
            settings,
            vfio_pci_ids: Vec::new(),
            modules_file_ids: Vec::new(),
            denylist_disabled: false,
        }
    })
}

fn read(file: &[u8], line: &[u8]) -> Result<Config, Vec<ConfigError>> {
    let mut reader = Reader::default();
    reader.file("/etc/vfio-early.conf", file);
    reader.command_line(line);
    let mut config = reader.finish()?;
    // Two configurations are the same wherever they are written.
    config.claims.iter_mut().for_each(|claim| claim.origin = Origin::command_line());
    Ok(config)
}

/// The same words, found the slow way: first the words with their quotes, then what the quotes mean.
fn model(line: &[u8]) -> Vec<(String, Option<String>)> {
    let mut found: Vec<Vec<u8>> = vec![Vec::new()];
    let mut quotes = 0;
    for byte in line.iter().copied().take_while(|byte| *byte != 0) {
        quotes += usize::from(byte == b'"');
        if quotes % 2 == 0 && [9, 10, 11, 12, 13, 32, 160].contains(&byte) {
            found.push(Vec::new());
        } else {
            found.last_mut().unwrap().push(byte);
        }
    }
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut result = Vec::new();
    for word in found.iter().filter(|word| !word.is_empty()) {
        let mut word = word.as_slice();
        let mut strip = false;
        if word[0] == b'"' {
            word = &word[1..];
            strip = true;
        }
        let equals = (1..word.len()).find(|at| word[*at] == b'=');
        let (name, mut value) = equals.map_or((word, None), |at| (&word[..at], Some(&word[at + 1..])));
        if let Some(inner) = value.filter(|value| value.first() == Some(&b'"')) {
            value = Some(&inner[1..]);
            strip = true;
        }
        let mut last = if let Some(value) = value { value } else { name };
        if strip && last.last() == Some(&b'"') {
            last = &last[..last.len() - 1];
        }
        let name = if value.is_some() { name } else { last };
        result.push((text(name).replace('-', "_"), value.map(|_| text(last))));
    }
    result
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn any_bytes_are_taken_in_quickly(file in soup(), line in soup(), noise in proptest::collection::vec(any::<u8>(), 0..300)) {
        let start = Instant::now();
        for (file, line) in [(&file, &line), (&noise, &line), (&file, &noise)] {
            match read(file, line) {
                // What is understood is understood the same way when it is printed.
                Ok(config) => prop_assert_eq!(read(config.to_string().as_bytes(), b"").unwrap(), config),
                Err(errors) => for error in errors {
                    let text = error.to_string();
                    prop_assert!(!text.contains(char::is_control), "{:?}", text);
                    prop_assert!(text.len() < 700, "{}", text);
                },
            }
        }
        prop_assert!(start.elapsed() < Duration::from_secs(2));
    }

    #[test]
    fn a_printed_configuration_reads_back_the_same(config in config()) {
        let printed = config.to_string();
        let again = read(printed.as_bytes(), b"");
        prop_assert_eq!(again.as_ref().unwrap(), &config, "{}", printed);
        prop_assert_eq!(again.unwrap().to_string(), printed);
    }

    #[test]
    fn the_kernel_command_line_says_the_same_in_its_own_way(config in config(), one_word in any::<bool>()) {
        let separator = if one_word { "," } else { " vfio-early.claim=" };
        let claims: Vec<_> = config.claims.iter().map(|claim| claim.to_string().replace("claim ", "").replace(' ', ",")).collect();
        let mut line = String::new();
        for setting in config.settings.to_string().lines() {
            let (name, value) = setting.trim_start_matches("set ").split_once(' ').unwrap();
            write!(line, "vfio_early.{}={value} ", name.replace('-', "_")).unwrap();
        }
        if !claims.is_empty() {
            write!(line, "vfio_early.claim={}", claims.join(separator)).unwrap();
        }
        prop_assert_eq!(read(b"", line.as_bytes()).unwrap(), config, "{}", line);
    }

    #[test]
    fn words_are_those_of_the_model(line in prop_oneof![soup(), "[a=\" \n-]{0,24}".prop_map(String::into_bytes)]) {
        prop_assert_eq!(words(&line).collect::<Vec<_>>(), model(&line));
    }
}
