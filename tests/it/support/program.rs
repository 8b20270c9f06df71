// SPDX-License-Identifier: MIT OR Apache-2.0
//! Runs the program on machines that are directories, and never waits for it without end.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use vfio_early::machine::{Node, Recorded, Tree};

use super::disk::{Scratch, build};
use super::logger;

/// What no single run may take, whatever its machine is like.
const LIMIT: Duration = Duration::from_secs(60);

/// What a run came to.
#[derive(Debug)]
pub(crate) struct Ran {
    /// The exit status, or the signal as a shell reports it.
    pub(crate) status: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) took: Duration,
}

impl Ran {
    /// Standard output without its line breaks.
    pub(crate) fn words(&self) -> String {
        self.stdout.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

/// Says that something was not tested, past the test harness, which keeps what a test prints to itself.
pub(crate) fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Whether a command is installed; says aloud what is not tested where it is not.
pub(crate) fn have(command: &str, otherwise: &str) -> bool {
    let there = std::env::split_paths(&std::env::var_os("PATH").unwrap()).any(|path| path.join(command).exists());
    if !there {
        say(&format!("NOT RUN: {otherwise}: {command} is not installed"));
    }
    there
}

/// Whether a command can be run as somebody else (user_namespaces(7)); says aloud what is not tested where it cannot.
pub(crate) fn may_unshare(otherwise: &str) -> bool {
    let may = Command::new("unshare").args(["--user", "--map-root-user", "true"]).output();
    let may = may.is_ok_and(|output| output.status.success());
    if !may {
        say(&format!("NOT RUN: {otherwise}: user namespaces are not allowed here"));
    }
    may
}

/// The program's command with an empty environment. It tells what it does where [`logger`] is to pass that on.
pub(crate) fn program(root: &Path, arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vfio-early"));
    command.arg("--root").arg(root).args(arguments.split_whitespace()).env_clear();
    if logger::start() {
        command.arg("--verbose");
    }
    command
}

/// The same, started by a line of shell, in which it is `"$@"`.
pub(crate) fn by_shell(line: &str, command: &Command) -> Command {
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", line, "sh"]).arg(command.get_program()).args(command.get_args());
    shell
}

/// Runs a command to its end. What it prints goes to files, so that nothing it leaves behind keeps a pipe open.
pub(crate) fn run(command: &mut Command) -> Ran {
    let scratch = Scratch::new("streams");
    let (out, err) = (scratch.0.join("out"), scratch.0.join("err"));
    let to = |path: &Path| Stdio::from(fs::File::create(path).unwrap());
    let mut ran = run_with(command.stdout(to(&out)).stderr(to(&err)));
    // What is not UTF-8 would be no JSON and no message: that shows as replacement characters.
    let text = |path: &Path| String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned();
    (ran.stdout, ran.stderr) = (text(&out), text(&err));
    if logger::start() {
        ran.stderr = logger::take(&ran.stderr);
    }
    ran
}

/// The same with the streams that the command has already.
pub(crate) fn run_with(command: &mut Command) -> Ran {
    let start = Instant::now();
    let mut child = command.stdin(Stdio::null()).spawn().unwrap();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if start.elapsed() > LIMIT {
            child.kill().unwrap();
            panic!("{command:?} hangs");
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    let status = status.code().unwrap_or_else(|| 128 + status.signal().unwrap());
    Ran { status, stdout: String::new(), stderr: String::new(), took: start.elapsed() }
}

/// The files of a recorded machine, with a configuration, to be changed further.
pub(crate) fn tree(name: &str, configuration: &str) -> Tree {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/machines/{name}.txt"));
    let mut tree = Recorded::parse(&fs::read(path).unwrap()).unwrap().into_tree();
    tree.put("/etc/vfio-early.conf", Node::File(configuration.as_bytes().to_vec()));
    // A driver that is there needs no module; modprobe is never started for a directory.
    tree.put("/sys/bus/pci/drivers/vfio-pci/unbind", Node::File(Vec::new()));
    tree
}

/// A machine that is a directory.
pub(crate) struct MachineRoot {
    pub(crate) scratch: Scratch,
    pub(crate) root: PathBuf,
}

impl MachineRoot {
    pub(crate) fn new(tree: &Tree) -> Self {
        let scratch = Scratch::new("machine");
        let root = scratch.0.join("root");
        fs::create_dir(&root).unwrap();
        build(tree, &root);
        Self { scratch, root }
    }

    /// Where a path of the machine lies.
    pub(crate) fn at(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// Where an attribute of a PCI device lies.
    pub(crate) fn attribute(&self, address: &str, name: &str) -> PathBuf {
        self.at(&format!("/sys/bus/pci/devices/{address}/{name}"))
    }

    pub(crate) fn run(&self, arguments: &str) -> Ran {
        run(&mut program(&self.root, arguments))
    }

    pub(crate) fn report(&self) -> String {
        fs::read_to_string(self.at("/run/vfio-early/report.json")).unwrap_or_default()
    }
}

/// Puts a FIFO in the place of what stands at a path.
pub(crate) fn fifo(path: &Path) {
    let _ = fs::remove_file(path);
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

/// Everything below a directory by path: files with their content, links with their target, the rest with its kind.
pub(crate) fn inventory(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut todo = vec![directory.to_owned()];
    while let Some(next) = todo.pop() {
        for entry in fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            let kind = fs::symlink_metadata(&path).unwrap().file_type();
            let content = if kind.is_file() {
                fs::read(&path).unwrap()
            } else if kind.is_symlink() {
                fs::read_link(&path).unwrap().into_os_string().into_vec()
            } else {
                if kind.is_dir() {
                    todo.push(path.clone());
                }
                format!("{kind:?}").into_bytes()
            };
            found.insert(path.strip_prefix(directory).unwrap().to_owned(), content);
        }
    }
    found
}

/// The paths that are in one inventory alone, or differ.
pub(crate) fn changes(before: &BTreeMap<PathBuf, Vec<u8>>, after: &BTreeMap<PathBuf, Vec<u8>>) -> Vec<String> {
    let mut paths: Vec<&PathBuf> = before.keys().chain(after.keys()).collect();
    paths.sort();
    paths.dedup();
    paths.retain(|path| before.get(*path) != after.get(*path));
    paths.into_iter().map(|path| path.to_str().unwrap().to_owned()).collect()
}
