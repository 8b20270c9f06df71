// SPDX-License-Identifier: MIT OR Apache-2.0
//! Notes what comes through another room's door: whatever the program reads ends in the record, and nothing else.

use std::cell::RefCell;
use std::time::Duration;

use nix::errno::Errno;

use super::{Error, Machine, Node, Operation, Result, Tree};

/// A room that reads through another one, notes what it sees, and changes nothing.
pub struct Recorder<'a> {
    machine: &'a dyn Machine,
    seen: RefCell<Vec<(String, Observation)>>,
}

/// What was seen at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observation {
    /// A file: as much of it as was read.
    File(Vec<u8>),
    /// A symbolic link and its target.
    Link(String),
    /// The names in a directory.
    Names(Vec<String>),
    /// Something that could not be read.
    Broken(Errno),
}

impl<'a> Recorder<'a> {
    /// Reads through this door.
    pub fn new(machine: &'a dyn Machine) -> Self {
        Self { machine, seen: RefCell::default() }
    }

    /// What was seen, sorted by path, each thing once.
    pub fn into_observations(self) -> Vec<(String, Observation)> {
        let mut seen = self.seen.into_inner();
        // Of a file that was read in parts, the longest part counts: it comes first.
        seen.sort_by(|(path, what), (other, that)| path.cmp(other).then(rank(that).cmp(&rank(what))));
        seen.dedup_by(|(path, what), (before, kept)| path == before && rank(what).0 == rank(kept).0);
        seen
    }

    fn note(&self, path: &str, seen: Observation) {
        self.seen.borrow_mut().push((path.to_owned(), seen));
    }

    fn file(&self, path: &str, result: Result<Vec<u8>>) -> Result<Vec<u8>> {
        match &result {
            Ok(content) => self.note(path, Observation::File(content.clone())),
            Err(error) => self.broken(path, error),
        }
        result
    }

    /// What is not there needs no note.
    fn broken(&self, path: &str, error: &Error) {
        if !error.is_missing() {
            self.note(path, Observation::Broken(error.source.raw_os_error().map_or(Errno::EIO, Errno::from_raw)));
        }
    }

    fn refuse<T>(operation: Operation, object: &str) -> Result<T> {
        Err(Error::os(operation, object, Errno::EROFS))
    }
}

/// Kinds in the order in which they are put in place, and within one the longest first.
fn rank(seen: &Observation) -> (u8, usize) {
    match seen {
        Observation::Link(_) => (3, 0),
        Observation::File(content) => (2, content.len()),
        Observation::Broken(_) => (1, 0),
        Observation::Names(_) => (0, 0),
    }
}

/// The machine that was seen.
pub fn tree(seen: &[(String, Observation)]) -> Tree {
    let mut tree = Tree::default();
    // Links first: what was read through them lies where they lead. A link's own path is longer than those it lies behind.
    for kind in [3, 2, 1, 0] {
        for (path, what) in seen.iter().filter(|(_, what)| rank(what).0 == kind) {
            let place = tree.place(path);
            match what {
                Observation::Link(target) => tree.put(&place, Node::Link(target.clone())),
                Observation::File(content) => tree.put(&place, Node::File(content.clone())),
                Observation::Broken(errno) if !tree.holds(&place) => tree.put(&place, Node::Broken(*errno)),
                Observation::Names(names) => {
                    // The directory may be known by a link to it.
                    let inside = tree.place(&format!("{path}/x"));
                    let place = inside.strip_suffix("/x").unwrap_or(&inside).to_owned();
                    for name in names {
                        let child = format!("{place}/{name}");
                        if !tree.holds(&child) {
                            tree.put(&child, Node::Directory);
                        }
                    }
                    if !tree.holds(&place) && !place.is_empty() {
                        tree.put(&place, Node::Directory);
                    }
                }
                Observation::Broken(_) => {}
            }
        }
    }
    tree
}

impl Machine for Recorder<'_> {
    fn attribute(&self, path: &str) -> Result<Vec<u8>> {
        self.file(path, self.machine.attribute(path))
    }

    fn read(&self, path: &str, limit: usize) -> Result<Vec<u8>> {
        self.file(path, self.machine.read(path, limit))
    }

    fn read_prefix(&self, path: &str, most: usize) -> Result<Vec<u8>> {
        self.file(path, self.machine.read_prefix(path, most))
    }

    fn list(&self, path: &str) -> Result<Vec<String>> {
        let result = self.machine.list(path);
        match &result {
            Ok(names) => self.note(path, Observation::Names(names.clone())),
            Err(error) => self.broken(path, error),
        }
        result
    }

    fn link(&self, path: &str) -> Result<String> {
        let result = self.machine.link(path);
        match &result {
            Ok(target) => self.note(path, Observation::Link(target.clone())),
            Err(error) if error.source.raw_os_error() == Some(nix::libc::EINVAL) => {}
            Err(error) => self.broken(path, error),
        }
        result
    }

    fn locked_attributes(&self, paths: &[String]) -> Vec<Result<Vec<u8>>> {
        let results = self.machine.locked_attributes(paths);
        paths.iter().zip(results).map(|(path, result)| self.file(path, result)).collect()
    }

    fn write(&self, path: &str, _: &str) -> Result<()> {
        Self::refuse(Operation::Write, path)
    }

    fn pause(&self, _: Duration) {}

    fn load(&self, module: &str) -> Result<()> {
        Self::refuse(Operation::Load, module)
    }

    fn save(&self, path: &str, _: &[u8]) -> Result<()> {
        Self::refuse(Operation::Save, path)
    }
}
