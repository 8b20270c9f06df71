// SPDX-License-Identifier: MIT OR Apache-2.0
//! A machine that has nothing but files.

use vfio_early::machine::{Error, Machine, Node, Operation, Result as Passed, Tree};

pub(crate) struct Files(Tree);

impl Files {
    /// A machine with this one file.
    pub(crate) fn with(path: &str, content: &[u8]) -> Self {
        let mut tree = Tree::default();
        tree.put(path, Node::File(content.to_vec()));
        Self(tree)
    }

    /// The same with another one.
    pub(crate) fn and(mut self, path: &str, content: &[u8]) -> Self {
        self.0.put(path, Node::File(content.to_vec()));
        self
    }
}

impl Machine for Files {
    fn attribute(&self, path: &str) -> Passed<Vec<u8>> {
        self.read(path, 4096)
    }
    fn read(&self, path: &str, _: usize) -> Passed<Vec<u8>> {
        self.0.file(path).map(<[u8]>::to_vec).map_err(|errno| Error::os(Operation::Read, path, errno))
    }
    fn read_prefix(&self, path: &str, _: usize) -> Passed<Vec<u8>> {
        self.read(path, 0)
    }
    fn list(&self, path: &str) -> Passed<Vec<String>> {
        self.0.list(path).map_err(|errno| Error::os(Operation::List, path, errno))
    }
    fn link(&self, path: &str) -> Passed<String> {
        self.0.link(path).map(ToOwned::to_owned).map_err(|errno| Error::os(Operation::Link, path, errno))
    }
    fn write(&self, path: &str, _: &str) -> Passed<()> {
        refuse(path)
    }
    fn load(&self, path: &str, _: &[&str]) -> Passed<()> {
        refuse(path)
    }
    fn save(&self, path: &str, _: &[u8]) -> Passed<()> {
        refuse(path)
    }
}

/// A machine is only read here.
fn refuse(path: &str) -> Passed<()> {
    Err(Error::other(Operation::Write, path, "a machine is only read here"))
}
