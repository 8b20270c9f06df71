// SPDX-License-Identifier: MIT OR Apache-2.0
//! Roots and images: what `lab.sh` prepares.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::boot::Unified;
use crate::machine::Machine;

/// A Debian release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suite {
    /// Debian 12: kernel 6.1, initramfs-tools 0.142.
    Bookworm,
    /// Debian 13: kernel 6.12, initramfs-tools 0.148.
    Trixie,
    /// Debian 13 with the newest kernel of its backports.
    Backports,
    /// Debian 13 with QEMU, libvirt and DPDK.
    Guests,
    /// Debian 13 for arm64.
    Arm64,
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Suite::Bookworm => "bookworm",
            Suite::Trixie => "trixie",
            Suite::Backports => "trixie-backports",
            Suite::Guests => "trixie-guests",
            Suite::Arm64 => "trixie-arm64",
        })
    }
}

/// What makes an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Generator {
    #[default]
    InitramfsTools,
    /// dracut, without systemd in the image.
    Dracut,
    /// dracut, with systemd.
    DracutSystemd,
    /// mkinitcpio, with busybox's init.
    Mkinitcpio,
    /// mkinitcpio, with systemd.
    MkinitcpioSystemd,
}

impl Generator {
    /// The word for `lab.sh` and for file names.
    pub fn name(self) -> &'static str {
        match self {
            Generator::InitramfsTools => "initramfs-tools",
            Generator::Dracut => "dracut",
            Generator::DracutSystemd => "dracut-systemd",
            Generator::Mkinitcpio => "mkinitcpio",
            Generator::MkinitcpioSystemd => "mkinitcpio-systemd",
        }
    }

    /// Whether it can be had here: no registry has mkinitcpio, so a checkout of it must be named.
    pub fn is_here(self) -> bool {
        !matches!(self, Generator::Mkinitcpio | Generator::MkinitcpioSystemd)
            || std::env::var_os("MKINITCPIO").is_some()
    }
}

/// What goes into an image beside the project's files and the lab's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    pub generator: Generator,
    /// Files for the generator to find: path below the root, content. Scripts (`#!`) become executable.
    pub files: &'static [(&'static str, &'static str)],
    /// Files that lose their executable bit.
    pub disabled: &'static [&'static str],
    /// Kernel modules that are missing.
    pub without: &'static [&'static str],
}

/// Where everything about the boots is kept: below target/tmp.
pub fn place() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("boot")
}

/// The folder of one boot, empty.
pub fn fresh(name: &str) -> Result<PathBuf, String> {
    let path = place().join(name);
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).map_err(|error| format!("cannot make {}: {error}", path.display()))?;
    Ok(path)
}

/// The lab, with the project's files installed beside it.
pub struct Lab {
    tree: PathBuf,
}

impl Lab {
    /// Checks that the tools are there and installs the project into a folder of its own.
    pub fn new() -> Result<Lab, String> {
        script(&["tools"], &[])?;
        let tree = fresh("tree")?;
        let mut make = Command::new("make");
        make.stdout(Stdio::null()).args(["-s", "install", "PREFIX=/usr"]).arg(format!("DESTDIR={}", tree.display()));
        make.current_dir(env!("CARGO_MANIFEST_DIR"));
        let done = make.status().map_err(|error| format!("cannot run make: {error}"))?;
        if !done.success() {
            return Err("make install failed; has the program been built (make build)?".to_owned());
        }
        // What is booted is what was meant.
        if let Ok(meant) = std::env::var("VFIO_EARLY") {
            let bytes = |path: &Path| fs::read(path).map_err(|error| format!("{}: {error}", path.display()));
            let meant = Path::new(env!("CARGO_MANIFEST_DIR")).join(meant);
            if bytes(&meant)? != bytes(&tree.join("usr/bin/vfio-early"))? {
                return Err(format!("make install installs another program than {}", meant.display()));
            }
        }
        Ok(Lab { tree })
    }

    /// The root of a release, made if it is not there yet.
    pub fn root(suite: Suite) -> Result<PathBuf, String> {
        script(&["root", &suite.to_string()], &[]).map(PathBuf::from)
    }

    /// A QEMU that has the devices of a machine: this machine's own, or one that is fetched.
    pub fn qemu(machine: Machine) -> Result<PathBuf, String> {
        if machine.needs_new_qemu() {
            script(&["qemu"], &[]).map(PathBuf::from)
        } else if machine.is_arm() {
            Ok("qemu-system-aarch64".into())
        } else {
            Ok("qemu-system-x86_64".into())
        }
    }

    /// The image of these contents, made if it is not there yet. `name` is for the folder that holds the contents.
    pub fn image(&self, suite: Suite, name: &str, contents: Contents) -> Result<PathBuf, String> {
        let trees = self.trees(suite, name, contents)?;
        let mut words = vec!["image", contents.generator.name()];
        words.extend(trees.iter().map(String::as_str));
        script(&words, &[("WITHOUT", &contents.without.join(" "))]).map(PathBuf::from)
    }

    /// A disk with the same contents, to boot into.
    pub fn disk(&self, suite: Suite, name: &str, contents: Contents) -> Result<PathBuf, String> {
        let trees = self.trees(suite, name, contents)?;
        let mut words = vec!["disk"];
        words.extend(trees.iter().map(String::as_str));
        script(&words, &[]).map(PathBuf::from)
    }

    /// The root, and what is laid over it.
    fn trees(&self, suite: Suite, name: &str, contents: Contents) -> Result<[String; 4], String> {
        let root = Lab::root(suite)?;
        let guest = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/boot/guest");
        let extra = fresh(&format!("{name}/tree"))?;
        let mut files: Vec<(&str, String)> =
            contents.files.iter().map(|(path, text)| (*path, (*text).to_owned())).collect();
        for path in contents.disabled {
            // A copy without the bit takes the place of the project's file.
            let text = fs::read_to_string(self.tree.join(path)).map_err(|error| format!("{path}: {error}"))?;
            files.push((path, text));
        }
        for (path, text) in files {
            let file = extra.join(path);
            fs::create_dir_all(file.parent().unwrap()).map_err(|error| error.to_string())?;
            fs::write(&file, &text).map_err(|error| error.to_string())?;
            let executable = text.starts_with("#!") && !contents.disabled.contains(&path);
            let mode = std::os::unix::fs::PermissionsExt::from_mode(if executable { 0o755 } else { 0o644 });
            fs::set_permissions(&file, mode).map_err(|error| error.to_string())?;
        }
        Ok([&root, &self.tree, &guest, &extra].map(|path| path.to_string_lossy().into_owned()))
    }
}

/// An EFI system partition with a unified kernel image, and an addon where that has a command line.
pub fn unified(
    folder: &Path,
    kernel: &Path,
    initrd: &Path,
    cmdline: &str,
    unified: &Unified,
) -> Result<PathBuf, String> {
    let [folder, kernel, initrd] = [folder, kernel, initrd].map(|path| path.to_string_lossy().into_owned());
    let mut words = vec!["uki", &folder, &kernel, &initrd, cmdline];
    words.extend(Some(unified.addon).filter(|addon| !addon.is_empty()));
    script(&words, &[("UNSIGNED", unified.unsigned), ("PROFILE", unified.profile)]).map(PathBuf::from)
}

/// Runs `lab.sh` and returns what it answers. What it says on the way is shown when it works for long (`lab: ...`),
/// and is the error when it fails.
fn script(words: &[&str], environment: &[(&str, &str)]) -> Result<String, String> {
    let mut command = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/boot/lab.sh"));
    command.args(words).envs(environment.iter().copied()).stdin(Stdio::null()).stdout(Stdio::piped());
    // The long steps speak while they run; an image takes two seconds, and its warnings matter only when it fails.
    command.stderr(if matches!(words[0], "image" | "disk" | "uki") { Stdio::piped() } else { Stdio::inherit() });
    let output = command.output().map_err(|error| format!("cannot run tests/boot/lab.sh: {error}"))?;
    if !output.status.success() {
        return Err(format!("lab.sh {} failed\n{}", words[0], String::from_utf8_lossy(&output.stderr).trim_end()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
