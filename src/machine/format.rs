// SPDX-License-Identifier: MIT OR Apache-2.0
//! Prints a machine in the text format that `recorded` describes.

use std::fmt::Write;

use super::recorded::{ERRNOS, MAGIC};
use super::{Node, Tree};

/// Prints a machine as text. Files with names that the format cannot represent are omitted.
pub fn print(tree: &Tree) -> String {
    let mut out = format!("{MAGIC}\n");
    let mut at = None;
    let entries: Vec<(&str, &Node)> = tree.iter().filter(|(path, node)| is_printable(path, node)).collect();
    for (path, node) in &entries {
        let Some((directory, name)) = path.rsplit_once('/') else { continue };
        // A directory with entries is implied by them.
        let has_entries = || {
            let below = format!("{path}/");
            let first = entries.partition_point(|(other, _)| *other < below.as_str());
            entries.get(first).is_some_and(|(other, _)| other.starts_with(&below))
        };
        if **node == Node::Directory && has_entries() {
            continue;
        }
        if at != Some(directory) {
            let _ = writeln!(out, "\nat {}", if directory.is_empty() { "/" } else { directory });
            at = Some(directory);
        }
        match node {
            Node::Directory => {
                let _ = writeln!(out, "{name}/ directory");
            }
            Node::Link(target) => {
                let _ = writeln!(out, "{name} -> {target}");
            }
            Node::Broken(errno) => {
                let known = ERRNOS.iter().find(|(_, known)| known == errno).map_or("EIO", |(name, _)| name);
                let _ = writeln!(out, "{name} ! {known}");
            }
            Node::File(content) => print_file(&mut out, name, content),
        }
    }
    out
}

/// Whether the format can represent an entry.
fn is_printable(path: &str, node: &Node) -> bool {
    let odd = |text: &str| text.contains('\n') || [" = ", " -> ", " ! "].iter().any(|sign| text.contains(sign));
    let name = path.rsplit('/').next().unwrap_or_default();
    let odd_name = name.starts_with([' ', '#']) || name.ends_with([' ', '|']);
    let odd_target = matches!(node, Node::Link(target) if odd(target));
    !odd(&format!("{path} ")) && !odd_name && !odd_target
}

fn print_file(out: &mut String, name: &str, content: &[u8]) {
    let binary = content.iter().any(|byte| *byte < b' ' && !matches!(byte, b'\n' | b'\t' | 0)) || content.len() < 2;
    let text = std::str::from_utf8(content).ok().filter(|text| !binary || text.is_ascii());
    let zeros = content.iter().filter(|byte| **byte == 0).count();
    match text {
        Some(text) if zeros < 8 => {
            let lines = text.split_inclusive('\n').count();
            out.push_str(name);
            out.push_str(if lines > 1 { " |\n" } else { " =" });
            if lines == 0 {
                out.push_str(" \\c\n");
            }
            for line in text.split_inclusive('\n') {
                out.push_str(if lines > 1 { "  " } else { " " });
                let (line, end) = line.strip_suffix('\n').map_or((line, "\\c\n"), |line| (line, "\n"));
                for character in line.chars() {
                    match character {
                        ' '..='[' | ']'..='~' | '\u{a0}'.. => out.push(character),
                        _ => {
                            for byte in character.encode_utf8(&mut [0; 4]).bytes() {
                                let _ = write!(out, "\\x{byte:02x}");
                            }
                        }
                    }
                }
                out.push_str(end);
            }
        }
        _ => {
            let _ = writeln!(out, "{name} hex");
            for row in content.chunks(32) {
                out.push(' ');
                for byte in row {
                    let _ = write!(out, " {byte:02x}");
                }
                out.push('\n');
            }
        }
    }
}
