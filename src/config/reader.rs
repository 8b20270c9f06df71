// SPDX-License-Identifier: MIT OR Apache-2.0
//! Parses lines into claims and settings.

use std::fmt::Display;
use std::time::Duration;

use crate::pci::is_vfio_driver;

use super::keywords::{DIRECTIVES, Keyword, OPTIONS, RESET_METHODS, SETTINGS, find, list, names, quote, unknown};
use super::problems::Problems;
use super::{
    Claim, Config, ConfigError, Driver, Framebuffer, Guard, IommuPolicy, OnFailure, Options, Origin, Rebar, Selector,
    Settings, With,
};

/// The maximum length of a line in bytes.
pub(crate) const MAX_LINE: usize = 4096;
/// The maximum number of claims: far more than any machine has devices, and few enough to compare every two of them.
const MAX_CLAIMS: usize = 4096;

/// Parses a configuration piece by piece and collects all problems.
#[derive(Debug, Default)]
pub struct Reader {
    config: Config,
    pub(super) problems: Problems,
}

impl Reader {
    /// The configuration, or all errors in it, in the order in which it was read.
    pub fn finish(self) -> Result<Config, Vec<ConfigError>> {
        if self.problems.is_empty() { Ok(self.config) } else { Err(self.problems.into_vec()) }
    }

    /// Parses a file. Lines end in LF or CR LF; blanks are spaces and tabs; a `#` at the start of a word begins a comment.
    pub fn file(&mut self, path: &str, bytes: &[u8]) {
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        for (line, number) in bytes.split(|byte| *byte == b'\n').zip(1..) {
            let origin = Origin { place: path.to_owned(), line: Some(number) };
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.len() > MAX_LINE {
                self.problems.add(&origin, format!("the line is too long ({} bytes, maximum {MAX_LINE})", line.len()));
            } else if line.contains(&0) {
                self.problems.add(&origin, "the line contains a NUL byte");
            } else if let Ok(line) = std::str::from_utf8(line) {
                self.line(&origin, line);
            } else {
                self.problems.add(&origin, "the line is not valid UTF-8");
            }
        }
    }

    /// Parses one line.
    fn line(&mut self, origin: &Origin, line: &str) {
        let words = line.split([' ', '\t']).filter(|word| !word.is_empty());
        let mut words = words.take_while(|word| !word.starts_with('#'));
        let Some(directive) = words.next() else { return };
        match directive {
            "claim" => match words.next() {
                Some(selector) => self.claim(origin, selector, &mut words),
                None => self.problems.add(origin, "expected claim SELECTOR [OPTION...]"),
            },
            "set" => match (words.next(), words.next(), words.next()) {
                (Some(name), Some(value), None) => self.set(origin, name, value),
                _ => self.problems.add(origin, "expected set NAME VALUE"),
            },
            other => self.problems.add(origin, unknown("directive", other, &names(DIRECTIVES))),
        }
    }

    /// Parses a claim.
    pub(super) fn claim(&mut self, origin: &Origin, selector: &str, words: &mut dyn Iterator<Item = &str>) {
        if self.problems.is_full() {
            return;
        }
        let mut given: Vec<&Keyword> = Vec::new();
        let mut options = Options::default();
        let parsed = selector.parse::<Selector>();
        if let Err(expected) = &parsed {
            self.problems.add(origin, format!("{}: {expected}", quote(selector)));
        }
        for word in words {
            match option(&mut options, word) {
                Ok(keyword) if given.contains(&keyword) && keyword.name != "rebar" => {
                    self.problems.add(origin, format!("duplicate option `{}=`", keyword.name));
                }
                Ok(keyword) => given.push(keyword),
                Err(message) => self.problems.add(origin, message),
            }
        }
        let Ok(selector) = parsed else { return };
        if !selector.is_pattern() && given.iter().any(|keyword| keyword.name == "match") {
            let message = "match= applies only to IDs and modalias patterns";
            self.problems.add(origin, format!("{message}, not to {selector}; remove it"));
        }
        if let (Selector::Id(pattern), Some(id)) = (&selector, &options.id) {
            if !pattern.may_be(id) {
                let message = format!("the selector {selector} cannot match id={id}; change one of them");
                self.problems.add(origin, message);
            }
        }
        if let Some(first) = self.config.claims.iter().find(|claim| claim.selector == selector) {
            let message = format!("{selector} is already claimed ({}); remove one of the claims", first.origin);
            self.problems.add(origin, message);
        } else if self.config.claims.len() >= MAX_CLAIMS {
            let message =
                format!("too many claims (maximum {MAX_CLAIMS}); combine them by slot, ID or modalias pattern");
            self.problems.add(origin, message);
        } else {
            // Even with invalid options, so that a second claim of the same devices is reported as well.
            self.config.claims.push(Claim { selector, origin: origin.clone(), options, adopted: false });
        }
    }

    /// Parses a setting.
    pub(super) fn set(&mut self, origin: &Origin, name: &str, value: &str) {
        let Some(keyword) = find(SETTINGS, name) else {
            return self.problems.add(origin, unknown("setting", name, &names(SETTINGS)));
        };
        if let Err(expected) = setting(&mut self.config.settings, keyword, value) {
            self.problems.add(origin, format!("{name} {}: expected {expected}", quote(value)));
        }
    }
}

/// The values of a keyword: `one or all`.
fn choices(keyword: &Keyword) -> String {
    list(&keyword.values.split('|').collect::<Vec<_>>())
}

/// Parses `NAME=VALUE`.
fn option(options: &mut Options, word: &str) -> Result<&'static Keyword, String> {
    let Some((name, value)) = word.split_once('=') else {
        return Err(format!("{}: expected an option, NAME=VALUE with one of {}", quote(word), list(&names(OPTIONS))));
    };
    let keyword = find(OPTIONS, name).ok_or_else(|| unknown("option", name, &names(OPTIONS)))?;
    let wrong = |expected: &dyn Display| format!("{}: {expected}", quote(word));
    match (name, value) {
        ("id", _) => options.id = Some(value.parse().map_err(|error| wrong(&error))?),
        ("match", "one") => options.all = false,
        ("match", "all") => options.all = true,
        // `functions` is what it was called before a card was more than a slot, and less.
        ("with", "card" | "functions") => options.with = Some(With::Card),
        ("with", "group") => options.with = Some(With::Group),
        ("with", "none") => options.with = Some(With::None),
        ("driver", _) => options.driver = driver(value).map_err(|error| wrong(&error))?,
        ("rom", "save") => options.save_rom = true,
        ("rom", "none") => options.save_rom = false,
        ("power", "on") => options.power_on = true,
        ("reset", _) => options.reset = resets(value).map_err(|error| wrong(&error))?,
        ("rebar", _) => {
            let size = rebar(value).filter(|size| options.rebar.iter().all(|other| other.bar != size.bar));
            let expected = &"expected a BAR from 0 to 5, each once, and a power of two of at least 1M, such as 0:8G";
            options.rebar.push(size.ok_or_else(|| wrong(expected))?);
        }
        ("allow", _) => options.allow = guards(value).map_err(|error| wrong(&error))?,
        _ => return Err(wrong(&format!("expected {}", choices(keyword)))),
    }
    Ok(keyword)
}

/// Parses the name of a driver or its module. A `driver_override` must be the exact name of the driver; otherwise the kernel
/// accepts it and binds no driver. vfio-pci and pci-stub are written with `-`; variant drivers have the name of their module
/// (`KBUILD_MODNAME`), in which every `-` is `_`.
fn driver(name: &str) -> Result<Driver, &'static str> {
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    match name {
        "vfio-pci" | "vfio_pci" => Ok(Driver::VfioPci),
        "auto" => Ok(Driver::Auto),
        "pci_stub" => Ok(Driver::Named("pci-stub".to_owned())),
        _ if plain && is_vfio_driver(name) && name.len() < 64 => Ok(Driver::Named(name.replace('-', "_"))),
        _ if plain && (1..64).contains(&name.len()) && !name.starts_with('-') => Ok(Driver::Named(name.to_owned())),
        _ => Err("expected vfio-pci, auto or a driver's name of at most 63 letters, digits, - and _"),
    }
}

/// Parses guards joined by `+`.
fn guards(value: &str) -> Result<Vec<Guard>, String> {
    let liftable: Vec<Guard> = Guard::ALL.iter().copied().filter(|guard| guard.is_liftable()).collect();
    let known: Vec<&str> = liftable.iter().map(|guard| guard.name()).collect();
    for name in value.split('+') {
        if name == Guard::Bridge.name() {
            return Err(format!("the guard `{name}` cannot be overridden; expected {}", list(&known)));
        }
        if !known.contains(&name) {
            return Err(unknown("guard", name, &known));
        }
    }
    Ok(liftable.into_iter().filter(|guard| value.split('+').any(|name| name == guard.name())).collect())
}

/// Parses reset methods joined by `+`, keeping their order.
fn resets(value: &str) -> Result<Vec<&'static str>, String> {
    let mut methods = Vec::new();
    for name in value.split('+') {
        match RESET_METHODS.iter().find(|method| **method == name) {
            Some(method) if methods.contains(method) => return Err(format!("duplicate reset method `{method}`")),
            Some(method) => methods.push(*method),
            None => return Err(unknown("reset method", name, RESET_METHODS)),
        }
    }
    Ok(methods)
}

/// Parses a BAR and its size.
fn rebar(value: &str) -> Option<Rebar> {
    let (unit, size) = value.as_bytes().split_last()?;
    let [bar @ b'0'..=b'5', b':', b'0'..=b'9', ..] = size else { return None };
    let amount: u32 = value.get(2..value.len().checked_sub(1)?)?.parse().ok()?;
    let step = Rebar::UNITS.iter().zip([0, 10, 20, 30, 40]).find(|(letter, _)| *letter == unit)?.1;
    let exponent = u8::try_from(amount.trailing_zeros()).ok()?.checked_add(step)?;
    (amount.is_power_of_two() && exponent <= 43).then_some(Rebar { bar: bar & 7, exponent })
}

/// Parses the value of a setting. The error is what was expected.
fn setting(settings: &mut Settings, keyword: &Keyword, value: &str) -> Result<(), String> {
    match (keyword.name, value) {
        ("trial", "yes") => settings.trial = true,
        ("trial", "no") => settings.trial = false,
        ("iommu", "required") => settings.iommu = IommuPolicy::Required,
        ("iommu", "optional") => settings.iommu = IommuPolicy::Optional,
        ("isolation", "required") => settings.isolation_required = true,
        ("isolation", "optional") => settings.isolation_required = false,
        ("on-failure", "restore") => settings.on_failure = OnFailure::Restore,
        ("on-failure", "keep") => settings.on_failure = OnFailure::Keep,
        ("framebuffer", "keep") => settings.framebuffer = Framebuffer::Keep,
        ("framebuffer", "release") => settings.framebuffer = Framebuffer::Release,
        ("adopt-ids", "yes") => settings.adopt_ids = true,
        ("adopt-ids", "no") => settings.adopt_ids = false,
        ("step-timeout", _) => {
            let number = Some(value).filter(|value| value.bytes().all(|byte| byte.is_ascii_digit()));
            let seconds = number.and_then(|value| value.parse().ok()).filter(|seconds| (1..=300).contains(seconds));
            settings.step_timeout = Duration::from_secs(seconds.ok_or("a number of seconds from 1 to 300")?);
        }
        _ => return Err(choices(keyword)),
    }
    Ok(())
}
