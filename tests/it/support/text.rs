// SPDX-License-Identifier: MIT OR Apache-2.0
//! Writes a machine's files as a recorded machine.

use std::collections::BTreeMap;
use std::fmt::Write;

use vfio_early::machine::{Node, Tree};

/// The text that `Recorded::parse` reads as `tree`; directories and names in order, so that equal machines have equal texts.
pub(crate) fn write(tree: &Tree, comment: &str) -> String {
    let mut directories: BTreeMap<&str, Vec<(&str, &Node)>> = BTreeMap::new();
    for (path, node) in tree.iter() {
        let (directory, name) = path.rsplit_once('/').unwrap();
        if directory.is_empty() {
            // The format has no names in the root itself; a directory there is named by the lines below it.
            assert_eq!(*node, Node::Directory, "{path}");
            directories.entry(path).or_default();
            continue;
        }
        // A directory is named by what lies in it, unless it is empty.
        if *node != Node::Directory || tree.list(path).unwrap().is_empty() {
            directories.entry(directory).or_default().push((name, node));
        }
    }
    let mut text = String::from("vfio-early machine 1\n");
    for line in comment.lines() {
        writeln!(text, "# {line}").unwrap();
    }
    for (directory, nodes) in directories {
        if nodes.is_empty() && !tree.list(directory).unwrap().is_empty() {
            continue;
        }
        writeln!(text, "\nat {directory}").unwrap();
        for (name, node) in nodes {
            match node {
                Node::File(content) => file(&mut text, name, content),
                Node::Link(target) => writeln!(text, "{name} -> {target}").unwrap(),
                Node::Directory => writeln!(text, "{name}/ directory").unwrap(),
                Node::Broken(errno) => writeln!(text, "{name} ! {errno:?}").unwrap(),
            }
        }
    }
    text
}

fn file(text: &mut String, name: &str, content: &[u8]) {
    if name == "config" || content.contains(&0) {
        writeln!(text, "{name} hex").unwrap();
        for row in content.chunks(16) {
            let bytes: Vec<String> = row.iter().map(|byte| format!("{byte:02x}")).collect();
            writeln!(text, "  {}", bytes.join(" ")).unwrap();
        }
        return;
    }
    let lines: Vec<&[u8]> = content.split_inclusive(|byte| *byte == b'\n').collect();
    if let [line] = lines.as_slice() {
        let line = escape(line);
        writeln!(text, "{name} ={}{line}", if line.is_empty() { "" } else { " " }).unwrap();
        return;
    }
    writeln!(text, "{name} |").unwrap();
    for line in lines {
        writeln!(text, "  {}", escape(line)).unwrap();
    }
}

/// One line as the format has it: without its newline, or marked as having none.
fn escape(line: &[u8]) -> String {
    let (line, end) = line.strip_suffix(b"\n").map_or((line, "\\c"), |line| (line, ""));
    let mut text = String::new();
    for piece in line.utf8_chunks() {
        for character in piece.valid().chars() {
            match character {
                '\\' => text.push_str("\\x5c"),
                ' '..='~' => text.push(character),
                _ => character.to_string().bytes().for_each(|byte| write!(text, "\\x{byte:02x}").unwrap()),
            }
        }
        piece.invalid().iter().for_each(|byte| write!(text, "\\x{byte:02x}").unwrap());
    }
    text + end
}
