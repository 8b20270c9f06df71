// SPDX-License-Identifier: MIT OR Apache-2.0
//! Asks real shells, each of them interactive, what they would put behind a line.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::program::{MachineRoot, Ran, have, run, tree};

/// What a shell offers behind each line: whole words, each with what is shown beside it.
pub(crate) type Offered = BTreeMap<String, Vec<(String, String)>>;

/// A place with a machine, files to complete to, a program that does nothing, and an lspci that knows what we know.
pub(crate) struct Place {
    machine: MachineRoot,
}

impl Place {
    pub(crate) fn new() -> Self {
        let machine = MachineRoot::new(&tree("two-identical-gpus-running", ""));
        let place = Self { machine };
        let write = |name: &str, text: &str| {
            let path = place.at(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        };
        write("bin/vfio-early", "#!/bin/sh\n");
        // A card is called by its bus and slot, so that each can be told from any other.
        write(
            "bin/lspci",
            "#!/bin/sh\n[ \"$1 $2 $3 $4\" = '-D -A linux-sysfs -O' ] || exit 1\n\
             for device in \"${5#sysfs.path=}\"/devices/*; do echo \"${device##*/} Card: ${device#*:}\"; done\n",
        );
        write("files/some rom.bin", "");
        write("files/other.rom", "");
        symlink("../root", place.at("files/the machine")).unwrap();
        place
    }

    /// From now on there is no lspci.
    pub(crate) fn without_lspci(&self) {
        fs::write(self.at("bin/lspci"), "#!/bin/sh\nexit 127\n").unwrap();
    }

    /// Runs the program on the machine.
    pub(crate) fn run(&self, arguments: &str) -> Ran {
        self.machine.run(arguments)
    }

    /// From now on lspci is what is installed here, if it is.
    pub(crate) fn with_real_lspci(&self) {
        fs::remove_file(self.at("bin/lspci")).unwrap();
    }

    /// Every shell that is installed here, by name, with what it offers.
    pub(crate) fn every_shell(&self, lines: &[&str]) -> Vec<(&'static str, Offered)> {
        let lines: Vec<String> = lines.iter().map(|line| self.line(line)).collect();
        let answers = [("bash", self.bash(&lines)), ("zsh", self.zsh(&lines)), ("fish", self.fish(&lines))];
        answers.into_iter().filter_map(|(shell, answer)| Some((shell, answer?))).collect()
    }

    fn at(&self, name: &str) -> PathBuf {
        self.machine.scratch.0.join(name)
    }

    /// The line with MACHINE for the machine's directory, and RECORDED for the file that it is made of.
    pub(crate) fn line(&self, line: &str) -> String {
        let recorded = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/machines/two-identical-gpus-running.txt");
        line.replace("MACHINE", self.machine.root.to_str().unwrap()).replace("RECORDED", recorded)
    }

    fn command(&self, shell: &str) -> Command {
        let mut command = Command::new(shell);
        let path = format!("{}:{}", self.at("bin").display(), std::env::var("PATH").unwrap());
        command
            .env_clear()
            .env("PATH", path)
            .env("HOME", self.at("files"))
            .env("TERM", "dumb")
            .env("LC_ALL", "C.UTF-8");
        command.env("COLUMNS", "200").env("OUT", self.at("out")).env("COMPLETIONS", completions());
        command.current_dir(self.at("files"));
        command
    }

    /// Runs the shell, which writes what it finds into the file that it is given: `== LINE`, then `WORD<TAB>TEXT` lines.
    fn ask(&self, command: &mut Command, lines: &[String]) -> Offered {
        fs::write(self.at("out"), "").unwrap();
        let ran = run(command);
        let text = fs::read_to_string(self.at("out")).unwrap();
        let mut offered = Offered::new();
        for part in text.split("== ").skip(1) {
            let (line, rest) = part.split_once('\n').unwrap();
            let words = rest.lines().map(|row| row.split_once('\t').unwrap_or((row, "")));
            let mut words: Vec<(String, String)> =
                words.map(|(word, text)| (word.to_owned(), text.to_owned())).collect();
            words.sort();
            words.dedup();
            offered.insert(line.to_owned(), words);
        }
        for line in lines {
            assert!(offered.contains_key(line), "{command:?} does not answer {line:?}: {text}\n{}", ran.stderr);
        }
        offered
    }

    /// bash: readline itself parts the line; what the completion tells it is written down on the way.
    pub(crate) fn bash(&self, lines: &[String]) -> Option<Offered> {
        if !have("bash", "completions in bash") {
            return None;
        }
        fs::write(self.at("setup"), include_str!("ask.bash")).unwrap();
        fs::write(self.at("typed"), lines.join("\t\n") + "\t\n").unwrap();
        // In a session of its own, so that it takes no terminal away from anybody.
        let mut command = self.command("setsid");
        command.args(["--wait", "sh", "-c", "exec bash --noprofile --rcfile ../setup -i <../typed"]);
        let mut offered = self.ask(&mut command, lines);
        for (line, words) in &mut offered {
            // bash is told what stands behind the last : or = only.
            let word = line.rsplit(' ').next().unwrap();
            if line.starts_with("RAN") {
                continue;
            }
            let cut = &word[..word.rfind([':', '=']).map_or(0, |at| at + 1)];
            for (word, text) in words.iter_mut() {
                let (short, name) = word.split_once("  (").unwrap_or((word, ""));
                (*word, *text) = (format!("{cut}{short}"), name.trim_end_matches(')').to_owned());
            }
        }
        Some(offered)
    }

    fn zsh(&self, lines: &[String]) -> Option<Offered> {
        if !have("zsh", "completions in zsh") {
            return None;
        }
        fs::write(self.at("setup"), include_str!("ask.zsh")).unwrap();
        let mut command = self.command("zsh");
        command.args(["-f", "-c", include_str!("type.zsh"), "zsh", "../setup"]).args(lines);
        Some(self.ask(&mut command, lines))
    }

    fn fish(&self, lines: &[String]) -> Option<Offered> {
        if !have("fish", "completions in fish") {
            return None;
        }
        let mut command = self.command("fish");
        command.args(["--no-config", "-c", include_str!("ask.fish")]).args(lines);
        Some(self.ask(&mut command, lines))
    }
}

/// Where the files are.
pub(crate) fn completions() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("completions")
}
