// SPDX-License-Identifier: MIT OR Apache-2.0
//! Writes a small archive for the kernel to unpack over the image (format "newc" of the kernel's
//! Documentation/driver-api/early-userspace/buffer-format.rst).

/// An archive of text files, each a path without leading slash and its content, with the directories above them.
pub fn archive(files: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut directories: Vec<&str> = Vec::new();
    for (path, content) in files {
        for (end, _) in path.match_indices('/') {
            let directory = &path[..end];
            if !directories.contains(&directory) {
                directories.push(directory);
                entry(&mut out, directory, 0o040_755, b"");
            }
        }
        entry(&mut out, path, 0o100_644, content.as_bytes());
    }
    entry(&mut out, "TRAILER!!!", 0, b"");
    out
}

fn entry(out: &mut Vec<u8>, path: &str, mode: u32, content: &[u8]) {
    let links = if mode == 0o040_755 { 2 } else { 1 };
    // Inode, mode, owner, group, links, time, size, device and its like (4), length of the name, checksum.
    let fields = [0, mode, 0, 0, links, 0, length(content), 0, 0, 0, 0, length(path.as_bytes()) + 1, 0];
    out.extend_from_slice(b"070701");
    for field in fields {
        out.extend_from_slice(format!("{field:08x}").as_bytes());
    }
    out.extend_from_slice(path.as_bytes());
    out.push(0);
    pad(out);
    out.extend_from_slice(content);
    pad(out);
}

/// Fills up to a multiple of four bytes.
pub fn pad(out: &mut Vec<u8>) {
    while out.len() % 4 != 0 {
        out.push(0);
    }
}

fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap()
}
