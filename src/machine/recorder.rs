// SPDX-License-Identifier: MIT OR Apache-2.0
//! Records what the program reads from a machine: exactly that and nothing more.

use std::cell::RefCell;
use std::time::Duration;

use nix::errno::Errno;

use super::{Error, Machine, Node, Operation, Result, Tree};

/// Reads from another machine, records what it read, and refuses all changes.
pub struct Recorder<'a> {
    machine: &'a dyn Machine,
    observations: RefCell<Vec<(String, Observation)>>,
}

/// What was read at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observation {
    /// A file: the part of it that was read.
    File(Vec<u8>),
    /// A symbolic link: its target.
    Link(String),
    /// A directory: the names in it.
    Names(Vec<String>),
    /// A file or directory that could not be read.
    Broken(Errno),
}

impl<'a> Recorder<'a> {
    /// Records reads from this machine.
    pub fn new(machine: &'a dyn Machine) -> Self {
        Self { machine, observations: RefCell::default() }
    }

    /// What was read, sorted by path, without duplicates.
    pub fn into_observations(self) -> Vec<(String, Observation)> {
        let mut observations = self.observations.into_inner();
        // If a file was read several times, the longest read sorts first and is kept.
        observations.sort_by(|(path, one), (other_path, other)| path.cmp(other_path).then(rank(other).cmp(&rank(one))));
        observations.dedup_by(|(path, one), (kept_path, kept)| path == kept_path && rank(one).0 == rank(kept).0);
        observations
    }

    fn record(&self, path: &str, observation: Observation) {
        self.observations.borrow_mut().push((path.to_owned(), observation));
    }

    fn record_file(&self, path: &str, result: Result<Vec<u8>>) -> Result<Vec<u8>> {
        match &result {
            Ok(content) => self.record(path, Observation::File(content.clone())),
            Err(error) => self.record_error(path, error),
        }
        result
    }

    /// Records a failed read, unless the path does not exist.
    fn record_error(&self, path: &str, error: &Error) {
        if !error.is_missing() {
            self.record(path, Observation::Broken(error.source.raw_os_error().map_or(Errno::EIO, Errno::from_raw)));
        }
    }

    fn refuse<T>(operation: Operation, object: &str) -> Result<T> {
        Err(Error::os(operation, object, Errno::EROFS))
    }
}

/// Sort key: observations of higher kinds are added to the tree first; within a kind, longer files sort first.
fn rank(observation: &Observation) -> (u8, usize) {
    match observation {
        Observation::Link(_) => (3, 0),
        Observation::File(content) => (2, content.len()),
        Observation::Broken(_) => (1, 0),
        Observation::Names(_) => (0, 0),
    }
}

/// Builds a tree from what was read.
pub fn tree(observations: &[(String, Observation)]) -> Tree {
    let mut tree = Tree::default();
    // Links first, because files that were read through a link belong under its target. The observations are sorted, so a
    // link to a directory precedes the links below it.
    for kind in [3, 2, 1, 0] {
        for (path, observation) in observations.iter().filter(|(_, observation)| rank(observation).0 == kind) {
            let place = tree.place(path);
            match observation {
                Observation::Link(target) => tree.put(&place, Node::Link(target.clone())),
                Observation::File(content) => tree.put(&place, Node::File(content.clone())),
                Observation::Broken(errno) if !tree.holds(&place) => tree.put(&place, Node::Broken(*errno)),
                Observation::Names(names) => {
                    // The path may be a link to the directory.
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
        self.record_file(path, self.machine.attribute(path))
    }

    fn read(&self, path: &str, limit: usize) -> Result<Vec<u8>> {
        self.record_file(path, self.machine.read(path, limit))
    }

    fn read_prefix(&self, path: &str, max: usize) -> Result<Vec<u8>> {
        self.record_file(path, self.machine.read_prefix(path, max))
    }

    fn list(&self, path: &str) -> Result<Vec<String>> {
        let result = self.machine.list(path);
        match &result {
            Ok(names) => self.record(path, Observation::Names(names.clone())),
            Err(error) => self.record_error(path, error),
        }
        result
    }

    fn link(&self, path: &str) -> Result<String> {
        let result = self.machine.link(path);
        match &result {
            Ok(target) => self.record(path, Observation::Link(target.clone())),
            Err(error) if error.source.raw_os_error() == Some(nix::libc::EINVAL) => {}
            Err(error) => self.record_error(path, error),
        }
        result
    }

    fn locked_attributes(&self, paths: &[String]) -> Vec<Result<Vec<u8>>> {
        let results = self.machine.locked_attributes(paths);
        paths.iter().zip(results).map(|(path, result)| self.record_file(path, result)).collect()
    }

    fn untrusted(&self, path: &str) -> Option<String> {
        let why = self.machine.untrusted(path);
        // Over the record it cannot be read either.
        if why.is_some() {
            self.record(path, Observation::Broken(Errno::EPERM));
        }
        why
    }

    fn write(&self, path: &str, _: &str) -> Result<()> {
        Self::refuse(Operation::Write, path)
    }

    fn pause(&self, _: Duration) {}

    fn load(&self, module: &str, _options: &[&str]) -> Result<()> {
        Self::refuse(Operation::Load, module)
    }

    fn save(&self, path: &str, _: &[u8]) -> Result<()> {
        Self::refuse(Operation::Save, path)
    }
}
