// SPDX-License-Identifier: MIT OR Apache-2.0
//! The configuration of modprobe (modprobe.d(5)), line by line.

use super::problems::Problems;
use super::{Origin, Words, files, words};
use crate::machine::Machine;

/// The directories of modprobe's configuration. A file masks files of the same name in later directories.
const DIRECTORIES: &[&str] =
    &["/etc/modprobe.d", "/run/modprobe.d", "/usr/local/lib/modprobe.d", "/usr/lib/modprobe.d", "/lib/modprobe.d"];

/// The files with their content, in modprobe's order.
pub(super) struct Files(Vec<(String, Vec<u8>)>);

impl Files {
    /// Reads them.
    pub(super) fn read(machine: &dyn Machine, warnings: &mut Problems) -> Self {
        let mut files = Vec::new();
        for path in paths(machine, warnings) {
            match files::content(machine, &path, true) {
                Ok(content) => files.extend(content.map(|content| (path, content))),
                Err(message) => warnings.add(&Origin::file(&path), message),
            }
        }
        Self(files)
    }

    /// Calls `found` with each line and its origin. Comments are included.
    pub(super) fn lines(&self, found: &mut dyn FnMut(Origin, Words<'_>)) {
        self.0.iter().for_each(|(path, content)| lines(path, content, found));
    }
}

/// The paths of all files, sorted by name regardless of the directory.
fn paths(machine: &dyn Machine, warnings: &mut Problems) -> Vec<String> {
    let mut found: Vec<(String, &str)> = Vec::new();
    for directory in DIRECTORIES {
        match files::names(machine, directory) {
            Ok(names) => {
                for name in names {
                    if let Err(place) = found.binary_search_by(|(other, _)| other.cmp(&name)) {
                        found.insert(place, (name, directory));
                    }
                }
            }
            Err(message) => warnings.add(&Origin::file(directory), message),
        }
    }
    found.into_iter().map(|(name, directory)| format!("{directory}/{name}")).collect()
}

/// The lines of one file. A backslash at the end continues a line.
fn lines(path: &str, content: &[u8], found: &mut dyn FnMut(Origin, Words<'_>)) {
    let (mut line, mut first) = (Vec::new(), None);
    for (piece, number) in content.split(|byte| *byte == b'\n').zip(1_usize..) {
        let start = *first.get_or_insert(number);
        if let Some(piece) = piece.strip_suffix(b"\\") {
            line.extend_from_slice(piece);
            continue;
        }
        line.extend_from_slice(piece);
        found(Origin { place: path.to_owned(), line: Some(start) }, words(&line));
        line.clear();
        first = None;
    }
}
