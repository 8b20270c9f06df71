// SPDX-License-Identifier: MIT OR Apache-2.0
//! Digests of a configuration.

use std::fmt::{self, Write};

use super::{Config, Settings};

/// A hash (FNV-1a, 64 bits): it tells configurations apart, and withstands no attack.
#[derive(Clone, Copy, Debug)]
pub(super) struct Digest(u64);

impl Default for Digest {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Digest {
    /// Adds bytes.
    pub(super) fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        }
    }

    /// Sixteen digits.
    pub(super) fn text(self) -> String {
        format!("{:016x}", self.0)
    }
}

impl Write for Digest {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.add(text.as_bytes());
        Ok(())
    }
}

impl Config {
    /// A digest of what is claimed and how. It is the same wherever that is written and however it is laid out. Settings that
    /// have their default are left out, so that one that a later version adds changes nothing.
    pub fn digest(&self) -> String {
        let mut digest = Digest::default();
        // `trial` says how a configuration is claimed, not what.
        let settings = Settings { trial: false, ..self.settings.clone() }.to_string();
        let default = Settings::default().to_string();
        for (line, _) in settings.lines().zip(default.lines()).filter(|(line, default)| line != default) {
            let _ = writeln!(digest, "{line}");
        }
        for claim in &self.claims {
            let _ = writeln!(digest, "{claim}");
        }
        digest.text()
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Reader;

    fn digest(files: &str, command_line: &str) -> String {
        let mut reader = Reader::default();
        reader.file("conf", files.as_bytes());
        reader.command_line(command_line.as_bytes());
        reader.finish().unwrap().digest()
    }

    #[test]
    fn what_is_claimed_and_how_makes_the_digest() {
        let one = digest("claim 01:00.0 id=10de:1e04\n", "");
        for (files, line) in [
            ("# Mine.\nset trial yes\n\nclaim  01:00.0\tid=10de:1e04 # and its audio\n", ""),
            ("set trial yes\nset iommu required\nclaim 0000:01:00.0 id=10de:1e04\n", "quiet vfio_early.trial=no"),
            ("", "vfio_early.claim=01:00.0,id=10de:1e04 vfio_early=on"),
        ] {
            assert_eq!(digest(files, line), one, "{files:?} {line:?}");
        }
        let mut all = vec![one];
        for files in ["", "claim 01:00.0\n", "claim 01:00.0 id=10de:1e04 rom=save\n", "claim 01:00.1 id=10de:1e04\n"] {
            all.push(digest(files, ""));
            all.push(digest(files, "vfio_early.framebuffer=release"));
        }
        all.push(digest("claim 01:00.0 id=10de:1e04\nclaim 02:00.0\n", ""));
        let count = all.len();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), count);
        assert_eq!(digest("", ""), "cbf29ce484222325", "an empty configuration");
    }
}
