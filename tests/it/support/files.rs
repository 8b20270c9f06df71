// SPDX-License-Identifier: MIT OR Apache-2.0
//! What lies where in this repository.

use std::fs;
use std::path::{Path, PathBuf};

/// A place below the top of the repository.
pub(crate) fn here(place: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(place)
}

/// Every file below a folder whose name ends so, in order.
pub(crate) fn files(folder: &str, ending: &str) -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![here(folder)]);
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() { &mut folders } else { &mut found }.push(path);
        }
    }
    found.retain(|path| path.extension().is_some_and(|extension| extension == ending));
    found.sort();
    assert!(!found.is_empty(), "there is no .{ending} below {folder}");
    found
}

/// The recorded machines.
pub(crate) fn machines() -> Vec<PathBuf> {
    let found = files("tests/machines", "txt");
    assert!(found.len() > 20, "machines are missing: {found:?}");
    found
}

/// The recorded machines, and those that were recorded for the groups alone.
pub(crate) fn recordings() -> Vec<PathBuf> {
    [machines(), files("tests/groups/machines", "machine")].concat()
}

/// A file's name without its ending.
pub(crate) fn stem(path: &Path) -> &str {
    path.file_stem().unwrap().to_str().unwrap()
}
