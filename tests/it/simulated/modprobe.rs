// SPDX-License-Identifier: MIT OR Apache-2.0
//! What modprobe makes of its configuration, the kernel command line and its arguments (kmod 30 and 34.2:
//! libkmod/libkmod-config.c, libkmod/libkmod-module.c).

use std::collections::BTreeMap;

use super::kernel::State;

/// Where the configuration lies; a file hides those of the same name further down (`kmod_config_new`).
const DIRECTORIES: &[&str] =
    &["/etc/modprobe.d", "/run/modprobe.d", "/usr/local/lib/modprobe.d", "/usr/lib/modprobe.d", "/lib/modprobe.d"];

/// What is configured for a module.
#[derive(Clone, Debug, Default)]
pub(super) struct Configured {
    /// The lines `options`, in order.
    pub(super) options: Vec<String>,
    /// The line `install`: what is run instead.
    pub(super) install: Option<String>,
    /// Modules to be loaded before, and after.
    pub(super) pre: Vec<String>,
    pub(super) post: Vec<String>,
    /// It is not loaded for a modalias.
    pub(super) blacklisted: bool,
}

impl State {
    /// The lines of every file, sorted by name over all directories; a backslash at the end of a line joins it with the
    /// next.
    fn modprobe_lines(&self) -> Vec<String> {
        let mut files: BTreeMap<String, String> = BTreeMap::new();
        for directory in DIRECTORIES {
            let names = self.tree.list(directory).unwrap_or_default();
            for name in names.into_iter().filter(|name| name.rsplit_once('.').is_some_and(|(_, end)| end == "conf")) {
                let path = format!("{directory}/{name}");
                files.entry(name).or_insert(path);
            }
        }
        let mut lines = Vec::new();
        for path in files.values() {
            let text = String::from_utf8_lossy(self.tree.file(path).unwrap_or_default()).replace("\\\n", "");
            lines.extend(text.lines().map(|line| line.trim().to_owned()).filter(|line| !line.starts_with('#')));
        }
        lines
    }

    /// What is configured for a module, in modprobe.d.
    pub(super) fn configured(&self, module: &str) -> Configured {
        let mut found = Configured::default();
        for line in self.modprobe_lines() {
            let (command, rest) = line.split_once([' ', '\t']).unwrap_or((&line, ""));
            let (name, rest) = rest.trim_start().split_once([' ', '\t']).unwrap_or((rest.trim(), ""));
            // To modules `-` and `_` are the same (`underscores`).
            if name.replace('-', "_") != module {
                continue;
            }
            match command {
                "options" => found.options.push(rest.trim().to_owned()),
                "install" => found.install = found.install.or_else(|| Some(rest.trim().to_owned())),
                "blacklist" => found.blacklisted = true,
                "softdep" => {
                    let mut list = None;
                    for word in rest.split_whitespace() {
                        match word {
                            "pre:" => list = Some(&mut found.pre),
                            "post:" => list = Some(&mut found.post),
                            name => list.iter_mut().for_each(|list| list.push(name.replace('-', "_"))),
                        }
                    }
                }
                _ => {}
            }
        }
        found
    }

    /// What the kernel command line says for a module, or for a part of the kernel (`kmod_config_parse_kcmdline`;
    /// kernel/params.c): `MODULE.PARAMETER[=VALUE]`.
    pub(super) fn on_command_line(&self, module: &str) -> Vec<String> {
        let line = String::from_utf8_lossy(self.tree.file("/proc/cmdline").unwrap_or_default()).into_owned();
        let mut quoted = false;
        let words = line.split(|char: char| {
            quoted ^= char == '"';
            !quoted && char.is_whitespace()
        });
        let of_module = |word: &str| {
            let word = word.replace('"', "");
            let (name, parameter) = word.split_once('.')?;
            (name.replace('-', "_") == module).then(|| parameter.to_owned())
        };
        words.filter_map(of_module).collect()
    }

    /// The parameters that a module is loaded with (`module_options_concat`): what modprobe.d says, then the kernel command
    /// line, then the arguments of the one who called modprobe for this very module.
    pub(super) fn options(&self, module: &str, arguments: &[String]) -> Vec<String> {
        let mut options: Vec<String> = Vec::new();
        for line in self.configured(module).options {
            options.extend(line.split_whitespace().map(|word| word.replace('"', "")));
        }
        options.extend(self.on_command_line(module));
        options.extend(arguments.iter().cloned());
        options
    }
}
