// SPDX-License-Identifier: MIT OR Apache-2.0
//! The dracut module against what dracut.modules(7) gives it, for another root (--sysroot): images of this machine are
//! booted.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use crate::support::disk;

/// dracut's functions as far as the module uses them. `inst_simple` looks for a file on this machine, as the real one
/// does (dracut-init.sh).
const DRACUT: &str = r#"
inst() { mkdir -p "$initdir${1%/*}" && cp "$dracutsysrootdir$1" "$initdir$1"; }
inst_simple() { [[ -e $1 ]] || return 1; inst "$1"; }
inst_dir() { mkdir -p "$initdir$1"; }
inst_multiple() { :; }
inst_rules() { :; }
inst_hook() { :; }
dracut_module_included() { [[ $1 == "$included" ]]; }
dfatal() { echo "fatal: $*"; }
dwarn() { echo "warning: $*"; }
systemdsystemunitdir=/usr/lib/systemd/system SYSTEMCTL=: moddir=$1
. "$1/module-setup.sh"
vfio-early() { "$program" "$@"; }
install
echo "installed"
"#;

fn install(root: &Path, image: &Path, included: &str) -> (Output, String) {
    let module = Path::new(env!("CARGO_MANIFEST_DIR")).join("dracut/50vfio-early");
    let mut bash = Command::new("bash");
    bash.args(["-c", DRACUT, "dracut"]).arg(module).env("dracutsysrootdir", root).env("initdir", image);
    let output = bash.env("included", included).env("program", env!("CARGO_BIN_EXE_vfio-early")).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    (output, said)
}

#[test]
fn the_configuration_of_another_root_comes_into_the_image() {
    let scratch = disk::Scratch::new("dracut");
    let (root, image) = (scratch.0.join("root"), scratch.0.join("image"));
    let file = "etc/vfio-early.d/of-this-test-alone.conf";
    fs::create_dir_all(root.join("etc/vfio-early.d")).unwrap();
    fs::create_dir_all(&image).unwrap();
    fs::write(root.join(file), "claim 01:00.0\n").unwrap();
    let (output, said) = install(&root, &image, "base");
    assert!(said.ends_with("installed\n"), "{output:?}");
    assert_eq!(fs::read_to_string(image.join(file)).unwrap(), "claim 01:00.0\n");

    // What it cannot have, it does not do without.
    let (output, said) = install(&root, &image, "systemd");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(said.contains("fatal: vfio-early: cannot copy its unit"), "{output:?}");

    fs::write(root.join(file), "clam 01:00.0\n").unwrap();
    let (output, said) = install(&root, &image, "base");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(said.contains("fatal: vfio-early: the configuration is broken"), "{output:?}");
}
