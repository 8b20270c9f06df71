// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel command line.

use super::keywords::{SETTINGS, names, quote, unknown};
use super::{Origin, Reader};

/// Splits a kernel command line, or the options of a module, into parameters as the kernel does (lib/cmdline.c, `next_arg`):
/// names, in which `-` is replaced with `_` because the kernel does not distinguish them, and the value after the first
/// `=`, if any. Blanks inside quotes do not separate parameters. Quotes around a parameter or a value are removed, others
/// are kept. Invalid UTF-8 is replaced.
///
/// `--`, which separates the arguments of init, is not special: users append parameters at the end of the line.
pub fn words(line: &[u8]) -> Words<'_> {
    Words(line.split(|byte| *byte == 0).next().unwrap_or_default())
}

/// An iterator over parameters; see [`words`].
#[derive(Clone, Debug)]
pub struct Words<'a>(&'a [u8]);

/// Whether the kernel treats a byte as a blank (lib/ctype.c). It assumes Latin-1, so the no-break space is one as well.
fn is_blank(byte: u8) -> bool {
    matches!(byte, b'\t'..=b'\r' | b' ' | 0xa0)
}

impl Iterator for Words<'_> {
    type Item = (String, Option<String>);

    fn next(&mut self) -> Option<Self::Item> {
        let start = self.0.iter().position(|byte| !is_blank(*byte))?;
        let rest = self.0.get(start..)?;
        let (rest, quoted) = rest.strip_prefix(b"\"").map_or((rest, false), |rest| (rest, true));
        let (mut inside, mut equals) = (quoted, None);
        let end = rest.iter().zip(0_usize..).find_map(|(byte, at)| {
            match byte {
                b'"' => inside = !inside,
                b'=' if at > 0 && equals.is_none() => equals = Some(at),
                _ => {}
            }
            (is_blank(*byte) && !inside).then_some(at)
        });
        let (word, rest) = rest.split_at_checked(end.unwrap_or(rest.len()))?;
        self.0 = rest;

        let unquoted = |text: &'_ [u8]| text.strip_suffix(b"\"").unwrap_or(text).to_vec();
        let (name, value) = match equals.and_then(|at| word.split_at_checked(at)) {
            Some((name, value)) => {
                let value = value.strip_prefix(b"=").unwrap_or(value);
                let value = match value.strip_prefix(b"\"") {
                    Some(value) => unquoted(value),
                    None if quoted => unquoted(value),
                    None => value.to_vec(),
                };
                (name.to_vec(), Some(value))
            }
            None if quoted => (unquoted(word), None),
            None => (word.to_vec(), None),
        };
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Some((text(name).replace('-', "_"), value.map(text)))
    }
}

/// Whether the last `vfio_early=` has the value `off`.
pub(super) fn is_disabled(line: &[u8]) -> bool {
    let last = words(line).filter(|(name, _)| name == "vfio_early").last();
    last.is_some_and(|(_, value)| value.as_deref() == Some("off"))
}

impl Reader {
    /// Parses a kernel command line.
    pub fn command_line(&mut self, line: &[u8]) {
        let origin = Origin::command_line();
        for (name, value) in words(line) {
            if let Some(name) = name.strip_prefix("vfio_early.") {
                self.parameter(&origin, name, value.as_deref());
            } else if name == "vfio_early" && !matches!(value.as_deref(), Some("on" | "off")) {
                let value = value.unwrap_or_default();
                self.problems.add(&origin, format!("vfio_early={}: expected on or off", quote(&value)));
            }
        }
    }

    /// Parses `vfio_early.NAME=VALUE`.
    fn parameter(&mut self, origin: &Origin, name: &str, value: Option<&str>) {
        let setting = name.replace('_', "-");
        let mut known = vec!["claim"];
        known.extend(names(SETTINGS));
        match value {
            _ if !known.contains(&setting.as_str()) => {
                self.problems.add(origin, unknown("vfio_early parameter", &setting, &known));
            }
            None => self.problems.add(origin, format!("vfio_early.{name}: expected vfio_early.{name}=VALUE")),
            Some(value) if setting == "claim" => {
                let mut words = value.split(',').peekable();
                while let Some(selector) = words.next() {
                    let mut options = std::iter::from_fn(|| words.next_if(|word| word.contains('=')));
                    self.claim(origin, selector, &mut options);
                }
            }
            Some(value) => self.set(origin, &setting, value),
        }
    }
}
