// SPDX-License-Identifier: MIT OR Apache-2.0
//! A machine's files as real files below a directory.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use vfio_early::machine::{Node, Tree};

/// A directory of this test alone, taken away when it is dropped.
pub(crate) struct Scratch(pub(crate) PathBuf);

impl Scratch {
    pub(crate) fn new(name: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}-{count}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Makes the files below `root`. A file that cannot be read becomes an empty one without the right to read it, which
/// root can read all the same.
pub(crate) fn build(tree: &Tree, root: &Path) {
    for (path, node) in tree.iter() {
        let at = root.join(path.trim_start_matches('/'));
        match node {
            Node::Directory => fs::create_dir_all(&at).unwrap(),
            Node::File(content) => fs::write(&at, content).unwrap(),
            Node::Link(target) => symlink(target, &at).unwrap(),
            Node::Broken(_) => {
                fs::write(&at, "").unwrap();
                fs::set_permissions(&at, fs::Permissions::from_mode(0o200)).unwrap();
            }
        }
    }
}
