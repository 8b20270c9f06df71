// SPDX-License-Identifier: MIT OR Apache-2.0
//! Prints a machine in the text format that `recorded` describes.

use std::fmt::Write;

use super::recorded::{ERRNOS, MAGIC};
use super::{Node, Tree};

/// Prints a machine as text. Files with names that the format cannot represent are omitted.
pub fn print(tree: &Tree) -> String {
    let mut out = format!("{MAGIC}\n");
    let mut at = None;
    for (path, node) in tree.iter() {
        let Some((directory, name)) = path.rsplit_once('/') else { continue };
        // A directory with entries is implied by them.
        let below = |next: &str| next.strip_prefix(path).is_some_and(|rest| rest.starts_with('/'));
        if *node == Node::Directory && tree.after(path).is_some_and(below) {
            continue;
        }
        let odd = |text: &str| text.contains('\n') || [" = ", " -> ", " ! "].iter().any(|sign| text.contains(sign));
        if odd(&format!("{path} ")) || name.starts_with(' ') || name.starts_with('#') || name.ends_with([' ', '|']) {
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
            Node::Link(target) if odd(target) => {}
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
