// SPDX-License-Identifier: MIT OR Apache-2.0
//! A machine recorded in one text file.
//!
//! ```text
//! vfio-early machine 1
//! # a comment
//! at /sys/devices/pci0000:00/0000:00:01.0/0000:01:00.0
//! vendor = 0x10de
//! driver -> ../../../../bus/pci/drivers/nouveau
//! resource |
//!   0x00000000a0000000 0x00000000a0ffffff 0x0000000000040200
//!   0x0000000000000000 0x0000000000000000 0x0000000000000000
//! config hex
//!   de 10 04 1e 07 04 10 00
//! rom ! EIO
//! power/ directory
//! ```
//!
//! `at DIR` sets the directory of the lines that follow. `NAME = TEXT` is a file with one line, `NAME |` a file with the
//! indented lines that follow (two spaces, then the line), `NAME hex` a file with the bytes that follow, `NAME -> TARGET` a
//! symbolic link, `NAME ! ERRNO` a file that cannot be read, `NAME/ directory` an empty directory. A name may contain `/`.
//! In text, `\xNN` is a byte, and `\c` at the end of a line suppresses the newline.

use std::fmt;

use nix::errno::Errno;

use super::{Error, Machine, Node, Operation, Result, Tree};

/// The first line of a recorded machine.
pub(super) const MAGIC: &str = "vfio-early machine 1";

/// A recorded machine. It is read-only: every attempt to change it fails.
#[derive(Clone, Debug, Default)]
pub struct Recorded {
    tree: Tree,
}

/// A syntax error in a recorded machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormatError {
    /// The line number, starting at 1.
    pub line: usize,
    /// What is wrong with it.
    pub message: String,
}

impl fmt::Display for FormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.message)
    }
}

impl std::error::Error for FormatError {}

impl Recorded {
    /// Whether these bytes begin like a recorded machine.
    pub fn recognises(bytes: &[u8]) -> bool {
        bytes.starts_with(MAGIC.as_bytes())
    }

    /// Parses a recorded machine.
    pub fn parse(bytes: &[u8]) -> std::result::Result<Self, FormatError> {
        let fail = |line: usize, message: &str| FormatError { line, message: message.to_owned() };
        let text = std::str::from_utf8(bytes).map_err(|error| {
            let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
            fail(before.iter().filter(|byte| **byte == b'\n').count().saturating_add(1), "not UTF-8")
        })?;
        let mut lines = text.lines().zip(1_usize..).peekable();
        if lines.next().is_none_or(|(line, _)| line != MAGIC) {
            return Err(fail(1, &format!("expected `{MAGIC}`")));
        }
        let mut tree = Tree::default();
        let mut directory: Option<String> = None;
        while let Some((line, number)) = lines.next() {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            // A file may be named `at`.
            if let Some(path) = line.strip_prefix("at ").filter(|rest| rest.starts_with('/')) {
                let path = join("", path);
                if !path.is_empty() && !tree.holds(&path) {
                    tree.put(&path, Node::Directory);
                }
                directory = Some(path);
                continue;
            }
            let (name, node) = if let Some((name, value)) =
                line.split_once(" = ").or_else(|| line.strip_suffix(" =").map(|name| (name, "")))
            {
                (name, Node::File(unescape(value).ok_or_else(|| fail(number, "bad escape"))?))
            } else if let Some((name, target)) = line.split_once(" -> ") {
                (name, Node::Link(target.to_owned()))
            } else if let Some((name, errno)) = line.split_once(" ! ") {
                (name, Node::Broken(errno_of(errno).ok_or_else(|| fail(number, "unknown error name"))?))
            } else if let Some(name) = line.strip_suffix("/ directory") {
                (name, Node::Directory)
            } else if let Some(name) = line.strip_suffix(" |") {
                let mut content = Vec::new();
                while let Some((more, number)) = lines.next_if(|(line, _)| line.starts_with("  ")) {
                    let value = more.strip_prefix("  ").unwrap_or(more);
                    content.extend(unescape(value).ok_or_else(|| fail(number, "bad escape"))?);
                }
                (name, Node::File(content))
            } else if let Some(name) = line.strip_suffix(" hex") {
                let mut content = Vec::new();
                while let Some((more, number)) = lines.next_if(|(line, _)| line.starts_with("  ")) {
                    for byte in more.split_ascii_whitespace() {
                        let value = crate::pci::hex_field(byte, 2, 2).and_then(|value| u8::try_from(value).ok());
                        content.push(value.ok_or_else(|| fail(number, "expected bytes of two hexadecimal digits"))?);
                    }
                }
                (name, Node::File(content))
            } else {
                return Err(fail(
                    number,
                    "expected `at DIR`, `NAME = TEXT`, `NAME |`, `NAME hex`, `NAME -> TARGET`, `NAME ! ERRNO` or `NAME/ directory`",
                ));
            };
            let names = name.trim_start_matches('/');
            let Some(directory) = directory.as_ref().filter(|_| !names.is_empty() && !names.starts_with(' ')) else {
                return Err(fail(number, "expected a name, after a line `at DIR`"));
            };
            tree.put(&join(directory, names), node);
        }
        Ok(Self { tree })
    }

    /// The machine's files.
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// The machine's files, for changing them.
    pub fn into_tree(self) -> Tree {
        self.tree
    }
}

/// The path of `names` below `directory`, with one slash before each name and none at its end.
fn join(directory: &str, names: &str) -> String {
    let mut path = String::with_capacity(directory.len().saturating_add(names.len()).saturating_add(1));
    path.push_str(directory);
    for name in names.split('/').filter(|name| !name.is_empty()) {
        path.push('/');
        path.push_str(name);
    }
    path
}

/// Decodes one line of text, including its newline.
fn unescape(text: &str) -> Option<Vec<u8>> {
    let (text, newline) = match text.strip_suffix("\\c") {
        Some(text) => (text, false),
        None => (text, true),
    };
    let mut pieces = text.split("\\x");
    let mut bytes: Vec<u8> = pieces.next().unwrap_or("").as_bytes().to_vec();
    for piece in pieces {
        let (digits, rest) = piece.split_at_checked(2)?;
        bytes.push(u8::try_from(crate::pci::hex_field(digits, 2, 2)?).ok()?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    if newline {
        bytes.push(b'\n');
    }
    Some(bytes)
}

/// The errors with which reads of attributes fail, by name.
pub(super) const ERRNOS: &[(&str, Errno)] = &[
    ("EACCES", Errno::EACCES),
    ("EINVAL", Errno::EINVAL),
    ("EIO", Errno::EIO),
    ("ENODEV", Errno::ENODEV),
    ("ENODATA", Errno::ENODATA),
    ("ENXIO", Errno::ENXIO),
    ("EPERM", Errno::EPERM),
];

fn errno_of(name: &str) -> Option<Errno> {
    ERRNOS.iter().find(|(known, _)| *known == name).map(|(_, errno)| *errno)
}

impl Machine for Recorded {
    fn attribute(&self, path: &str) -> Result<Vec<u8>> {
        self.read_prefix(path, 4096)
    }

    fn read_prefix(&self, path: &str, max: usize) -> Result<Vec<u8>> {
        let content = self.tree.file(path).map_err(|errno| Error::os(Operation::Read, path, errno))?;
        Ok(content.get(..max).unwrap_or(content).to_vec())
    }

    fn read(&self, path: &str, limit: usize) -> Result<Vec<u8>> {
        let content = self.tree.file(path).map_err(|errno| Error::os(Operation::Read, path, errno))?;
        if content.len() > limit {
            return Err(Error::os(Operation::Read, path, Errno::EFBIG));
        }
        Ok(content.to_vec())
    }

    fn list(&self, path: &str) -> Result<Vec<String>> {
        self.tree.list(path).map_err(|errno| Error::os(Operation::List, path, errno))
    }

    fn link(&self, path: &str) -> Result<String> {
        self.tree.link(path).map(ToOwned::to_owned).map_err(|errno| Error::os(Operation::Link, path, errno))
    }

    fn write(&self, path: &str, _: &str) -> Result<()> {
        Err(Error::os(Operation::Write, path, Errno::EROFS))
    }

    fn load(&self, module: &str, _options: &[&str]) -> Result<()> {
        Err(Error::os(Operation::Load, module, Errno::EROFS))
    }

    fn save(&self, path: &str, _: &[u8]) -> Result<()> {
        Err(Error::os(Operation::Save, path, Errno::EROFS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_line_is_read() {
        let machine = Recorded::parse(
            b"vfio-early machine 1\n# c\nat /sys/a\nname = x = y\nempty =\nat = b\nraw = ab\\x00\\xff\\c\nlink -> ../b\nbad ! EIO\npower/ directory\nmany |\n  one\n    two\nconfig hex\n  de 10\n  04\n",
        )
        .unwrap();
        assert_eq!(machine.attribute("/sys/a/name").unwrap(), b"x = y\n");
        assert_eq!(machine.attribute("/sys/a/at").unwrap(), b"b\n");
        assert_eq!(machine.attribute("/sys/a/empty").unwrap(), b"\n");
        assert_eq!(machine.attribute("/sys/a/raw").unwrap(), b"ab\0\xff");
        assert_eq!(machine.link("/sys/a/link").unwrap(), "../b");
        assert_eq!(machine.attribute("/sys/a/bad").unwrap_err().to_string(), "cannot read /sys/a/bad: I/O error");
        assert_eq!(machine.attribute("/sys/a/many").unwrap(), b"one\n  two\n");
        assert_eq!(machine.attribute("/sys/a/config").unwrap(), [0xde, 0x10, 0x04]);
        assert!(machine.list("/sys/a/power").unwrap().is_empty());
        assert!(machine.read("/sys/a/many", 3).is_err());
        assert!(machine.write("/sys/a/name", "1").is_err());
    }

    #[test]
    fn a_broken_line_is_named() {
        for (text, line) in [
            ("", 1),
            ("vfio-early machine 2\n", 1),
            ("vfio-early machine 1\nname = x\n", 2),
            ("vfio-early machine 1\nat sys\n", 2),
            ("vfio-early machine 1\nat /a\n\nwhat\n", 4),
            ("vfio-early machine 1\nat /a\nb hex\n  0g\n", 4),
            ("vfio-early machine 1\nat /a\nb ! EWHAT\n", 3),
            ("vfio-early machine 1\nat /a\nb = \\xzz\n", 3),
        ] {
            assert_eq!(Recorded::parse(text.as_bytes()).unwrap_err().line, line, "{text:?}");
        }
    }
}
