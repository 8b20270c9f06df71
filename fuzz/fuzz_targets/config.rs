// SPDX-License-Identifier: MIT OR Apache-2.0
//! Any bytes as a whole configuration: a file, the kernel command line, and a modprobe.d file, parted by `\xff\n`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vfio_early::config::{Config, Sources, Origin, Reader, load};
use vfio_early::machine::{Machine, Error, Node, Operation, Result as Passed, Tree};

/// A machine that has nothing but files.
struct Files(Tree);

impl Machine for Files {
    fn attribute(&self, path: &str) -> Passed<Vec<u8>> {
        self.read(path, 4096)
    }
    fn read(&self, path: &str, _: usize) -> Passed<Vec<u8>> {
        self.0.file(path).map(<[u8]>::to_vec).map_err(|errno| Error::os(Operation::Read, path, errno))
    }
    fn read_prefix(&self, path: &str, most: usize) -> Passed<Vec<u8>> {
        self.read(path, most)
    }
    fn list(&self, path: &str) -> Passed<Vec<String>> {
        self.0.list(path).map_err(|errno| Error::os(Operation::List, path, errno))
    }
    fn link(&self, path: &str) -> Passed<String> {
        self.0.link(path).map(ToOwned::to_owned).map_err(|errno| Error::os(Operation::Link, path, errno))
    }
    fn write(&self, _: &str, _: &str) -> Passed<()> {
        unreachable!("a configuration is only read")
    }
    fn load(&self, _: &str, _: &[&str]) -> Passed<()> {
        unreachable!("a configuration is only read")
    }
    fn save(&self, _: &str, _: &[u8]) -> Passed<()> {
        unreachable!("a configuration is only read")
    }
}

/// The configuration without where it comes from.
fn bare(mut config: Config) -> Config {
    for claim in &mut config.claims {
        claim.origin = Origin::command_line();
        claim.adopted = false;
    }
    config
}

fuzz_target!(|data: &[u8]| {
    let mut machine = Files(Tree::default());
    let mut rest = data;
    for path in ["/etc/vfio-early.conf", "/proc/cmdline", "/etc/modprobe.d/vfio.conf"] {
        let end = rest.windows(2).position(|pair| pair == b"\xff\n");
        let (piece, after) = end.map_or((rest, &[][..]), |end| (&rest[..end], &rest[end + 2..]));
        machine.0.put(path, Node::File(piece.to_vec()));
        rest = after;
    }
    match load(&machine, Sources::AtBoot) {
        Ok(loaded) if loaded.config.off => assert!(loaded.config.claims.is_empty()),
        Ok(loaded) => {
            let mut again = Reader::default();
            again.file("again", loaded.config.to_string().as_bytes());
            assert_eq!(bare(again.finish().expect("what is printed is right")), bare(loaded.config));
        }
        Err(errors) => assert!(!errors.is_empty() && errors.len() <= 101),
    }
});
