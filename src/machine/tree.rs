// SPDX-License-Identifier: MIT OR Apache-2.0
//! A machine's files in memory: a tree of directories, files and links. Links are resolved as the kernel does it.

use std::collections::BTreeMap;

use nix::errno::Errno;

/// The maximum number of links that are followed for one path, as in Linux (MAXSYMLINKS).
const MAX_LINKS: usize = 40;

/// An entry of the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// A file and its content.
    File(Vec<u8>),
    /// A symbolic link and its target, as written.
    Link(String),
    /// A directory.
    Directory,
    /// A file or directory that fails with this error when it is read.
    Broken(Errno),
}

/// Files by absolute path. Every node's parent directories exist.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree(BTreeMap<String, Node>);

impl Tree {
    /// Adds or replaces a node. Adds missing parent directories.
    pub fn put(&mut self, path: &str, node: Node) {
        let mut above = path;
        while let Some((parent, _)) = above.rsplit_once('/') {
            if parent.is_empty() || self.0.contains_key(parent) {
                break;
            }
            self.0.insert(parent.to_owned(), Node::Directory);
            above = parent;
        }
        self.0.insert(path.to_owned(), node);
    }

    /// Removes a node and everything below it.
    pub fn remove(&mut self, path: &str) {
        let below = format!("{path}/");
        self.0.retain(|key, _| key != path && !key.starts_with(&below));
    }

    /// All paths with their nodes, sorted by path.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.0.iter().map(|(path, node)| (path.as_str(), node))
    }

    /// Resolves `path` to a canonical path. A link in its last component is followed only if `follow` is set.
    pub fn resolve(&self, path: &str, follow: bool) -> Result<String, Errno> {
        let mut links = 0_usize;
        let mut done = String::new();
        let mut todo: Vec<String> = components(path);
        while let Some(component) = todo.pop() {
            match component.as_str() {
                "." => continue,
                ".." => {
                    done.truncate(done.rfind('/').unwrap_or(0));
                    continue;
                }
                _ => {}
            }
            let next = format!("{done}/{component}");
            match self.0.get(&next) {
                None => return Err(Errno::ENOENT),
                Some(Node::Link(target)) if follow || !todo.is_empty() => {
                    links = links.saturating_add(1);
                    if links > MAX_LINKS {
                        return Err(Errno::ELOOP);
                    }
                    if target.starts_with('/') {
                        done.clear();
                    }
                    todo.extend(components(target));
                }
                Some(Node::File(_) | Node::Broken(_)) if !todo.is_empty() => return Err(Errno::ENOTDIR),
                Some(_) => done = next,
            }
        }
        Ok(done)
    }

    /// Whether the tree has a node at exactly this path; links are not followed.
    pub fn holds(&self, path: &str) -> bool {
        self.0.contains_key(path)
    }

    /// Like [`Tree::resolve`] without following a link in the last component, but paths that do not exist are allowed.
    pub fn place(&self, path: &str) -> String {
        let mut links = 0_usize;
        let mut done = String::new();
        let mut todo = components(path);
        while let Some(component) = todo.pop() {
            if component == ".." {
                done.truncate(done.rfind('/').unwrap_or(0));
                continue;
            }
            let next = format!("{done}/{component}");
            match self.0.get(&next) {
                Some(Node::Link(target)) if !todo.is_empty() && links < MAX_LINKS => {
                    links = links.saturating_add(1);
                    if target.starts_with('/') {
                        done.clear();
                    }
                    todo.extend(components(target));
                }
                _ => done = next,
            }
        }
        done
    }

    /// The node at a path, following links.
    pub fn get(&self, path: &str) -> Result<&Node, Errno> {
        let path = self.resolve(path, true)?;
        if path.is_empty() { Ok(&Node::Directory) } else { self.0.get(&path).ok_or(Errno::ENOENT) }
    }

    /// The content of a file.
    pub fn file(&self, path: &str) -> Result<&[u8], Errno> {
        match self.get(path)? {
            Node::File(content) => Ok(content),
            Node::Broken(errno) => Err(*errno),
            Node::Directory => Err(Errno::EISDIR),
            Node::Link(_) => Err(Errno::ELOOP),
        }
    }

    /// The names in a directory, sorted.
    pub fn list(&self, path: &str) -> Result<Vec<String>, Errno> {
        match self.get(path)? {
            Node::Directory => {}
            Node::Broken(errno) => return Err(*errno),
            Node::File(_) | Node::Link(_) => return Err(Errno::ENOTDIR),
        }
        let prefix = format!("{}/", self.resolve(path, true)?);
        let below = self.0.range(prefix.clone()..).map_while(|(key, _)| key.strip_prefix(&prefix));
        Ok(below.filter(|name| !name.is_empty() && !name.contains('/')).map(ToOwned::to_owned).collect())
    }

    /// The target of a link, as written.
    pub fn link(&self, path: &str) -> Result<&str, Errno> {
        let path = self.resolve(path, false)?;
        match self.0.get(&path) {
            Some(Node::Link(target)) => Ok(target),
            Some(_) => Err(Errno::EINVAL),
            None => Err(Errno::ENOENT),
        }
    }
}

/// The components of a path in reverse order.
fn components(path: &str) -> Vec<String> {
    path.split('/').rev().filter(|component| !component.is_empty()).map(ToOwned::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_followed_inside_the_tree_and_loops_end() {
        let mut tree = Tree::default();
        tree.put("/sys/devices/a/name", Node::File(b"x\n".to_vec()));
        tree.put("/sys/bus/one", Node::Link("../devices/a".into()));
        tree.put("/sys/bus/abs", Node::Link("/sys/devices/a".into()));
        tree.put("/sys/bus/out", Node::Link("../../../../../../sys/devices/a".into()));
        tree.put("/sys/loop", Node::Link("loop".into()));
        for path in ["/sys/bus/one/name", "/sys/bus/abs/name", "/sys/bus/out/name", "/sys/bus/one/../a/name"] {
            assert_eq!(tree.file(path).unwrap(), b"x\n", "{path}");
        }
        assert_eq!(tree.file("/sys/loop"), Err(Errno::ELOOP));
        assert_eq!(tree.list("/sys/bus/one").unwrap(), ["name"]);
        assert_eq!(tree.list("/sys").unwrap(), ["bus", "devices", "loop"]);
        assert_eq!(tree.link("/sys/bus/one").unwrap(), "../devices/a");
        assert_eq!(tree.file("/sys/devices/a/name/x"), Err(Errno::ENOTDIR));
        assert_eq!(tree.list("/nowhere"), Err(Errno::ENOENT));
    }
}
