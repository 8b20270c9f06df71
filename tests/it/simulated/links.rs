// SPDX-License-Identifier: MIT OR Apache-2.0
//! Relative links, as sysfs writes them.

use vfio_early::machine::{Node, Tree};

/// Puts a link at `at` that leads to `to`, both absolute paths without links in them.
pub(super) fn put_link(tree: &mut Tree, at: &str, to: &str) {
    let from: Vec<&str> = at.split('/').filter(|part| !part.is_empty()).collect();
    let to: Vec<&str> = to.split('/').filter(|part| !part.is_empty()).collect();
    let directory = &from[..from.len() - 1];
    let same = directory.iter().zip(&to).take_while(|(a, b)| a == b).count();
    let up = std::iter::repeat_n("..", directory.len() - same);
    let target: Vec<&str> = up.chain(to[same..].iter().copied()).collect();
    tree.put(at, Node::Link(target.join("/")));
}

/// Puts a file of one line.
pub(super) fn put_line(tree: &mut Tree, at: &str, line: &str) {
    tree.put(at, Node::File(format!("{line}\n").into_bytes()));
}
