// SPDX-License-Identifier: MIT OR Apache-2.0
//! The guides tell what the program does. A block of configuration is held against the recorded machine that its first
//! line names (` ```conf MACHINE STATUS `), and every command that a page names is one, with the options that it is
//! given.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::disk;

/// The program's status, and all that it said.
fn run(arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_vfio-early")).args(arguments).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}

/// Every page with its text.
fn pages() -> Vec<(PathBuf, String)> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut pages: Vec<PathBuf> =
        ["README.md", "CONTRIBUTING.md", "ARCHITECTURE.md"].iter().map(|name| top.join(name)).collect();
    pages.extend(fs::read_dir(top.join("docs")).unwrap().map(|entry| entry.unwrap().path()));
    pages.retain(|page| page.extension().is_some_and(|end| end == "md"));
    pages.sort();
    pages.into_iter().map(|page| (page.clone(), fs::read_to_string(page).unwrap())).collect()
}

#[test]
fn configurations_fit_the_machines_that_they_name() {
    let scratch = disk::Scratch::new("guides");
    let mut seen = 0;
    let mut wrong = Vec::new();
    for (page, text) in pages() {
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            let Some(head) = line.trim_start().strip_prefix("```conf") else { continue };
            let (machine, status) =
                head.trim().split_once(' ').unwrap_or_else(|| panic!("{}: {line}: which machine?", page.display()));
            let block: Vec<&str> = lines.by_ref().take_while(|line| !line.trim_start().starts_with("```")).collect();
            let recorded = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/machines/{machine}.txt"));
            let mut described = fs::read_to_string(&recorded).unwrap();
            described += "\nat /etc/vfio-early.d\nguide.conf |\n";
            for line in &block {
                described.extend(["  ", line, "\n"]);
            }
            let file = scratch.0.join("machine");
            fs::write(&file, described).unwrap();
            let (came, said) = run(&["--root", file.to_str().unwrap(), "check"]);
            seen += 1;
            if came != status.trim().parse().ok() {
                wrong.push(format!(
                    "{}: on {machine}: status {came:?}, not {status}:\n{block:#?}\n{said}",
                    page.display()
                ));
            }
        }
    }
    assert!(seen >= 8, "only {seen} configurations were found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn commands_exist_with_their_options() {
    let mut seen = 0;
    let mut wrong = Vec::new();
    for (page, text) in pages() {
        for (start, name) in text.match_indices("vfio-early ") {
            let part = text.get(start..).and_then(|part| part.strip_prefix(name)).unwrap();
            // The words of the command, as far as it goes in a line or between backquotes.
            let end = part.find(['`', '\n', '|', ';', '(', '#', '<', '>']).unwrap_or(part.len());
            let words: Vec<&str> = part[..end].split_whitespace().collect();
            let words = match words.as_slice() {
                ["--root", _, rest @ ..] => rest,
                all => all,
            };
            let Some(command) = words.first().filter(|word| word.chars().all(|letter| letter.is_ascii_lowercase()))
            else {
                continue;
            };
            // In running text the name of the program is followed by any word: only what stands as code counts.
            let line = text.get(..start).unwrap().rsplit('\n').next().unwrap();
            if !(line.matches('`').count() % 2 == 1 || line.starts_with("    ")) {
                continue;
            }
            let mut arguments = vec![*command];
            arguments.extend((*command == "rom").then(|| words.get(1).copied().unwrap_or("show")));
            arguments.push("--help");
            let (status, help) = run(&arguments);
            seen += 1;
            if status != Some(0) {
                wrong.push(format!("{}: there is no `vfio-early {}`", page.display(), words.join(" ")));
            }
            for option in words.iter().filter(|word| word.starts_with("--") && **word != "--help") {
                if !help.contains(option.split('=').next().unwrap()) {
                    wrong.push(format!("{}: `vfio-early {command}` knows no {option}", page.display()));
                }
            }
        }
    }
    assert!(seen >= 20, "only {seen} commands were found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What stands for the commands of a host in the guides that lead to a guest. The boots (`make guests`) run virsh and QEMU
/// themselves, with what `guest` prints; nothing here can reboot, and no registry has Proxmox VE.
const STUBS: &[(&str, &str)] = &[
    // The machine is what its file says, with the configuration that was written.
    (
        "vfio-early",
        "{ cat \"$WORK/machine\"; echo; echo 'at /etc/vfio-early.d'; echo 'gpu.conf |'; sed 's/^/  /' \"$WORK/gpu.conf\"; } >\"$WORK/now\"
         exec \"$PROGRAM\" --root \"$WORK/now\" \"$@\"",
    ),
    ("update-initramfs", "[ \"$*\" = -u ]"),
    ("reboot", "cp \"$WORK/claimed\" \"$WORK/machine\""),
    ("virsh", "case $1 in define) ! command -v virt-xml-validate >/dev/null || virt-xml-validate \"$2\" domain ;; start) ;; *) exit 2 ;; esac"),
    ("taskset", "shift 2; exec \"$@\""),
    ("qemu-system-x86_64", "case \"$*\" in *vfio-pci,host=0000:65:00.1*file=/var/lib/guest.img) ;; *) exit 2 ;; esac"),
    ("qm", "[ \"$*\" = 'start 100' ] && grep -q '^hostpci0: 0000:65:00.0;0000:65:00.1,' guest.conf"),
];

/// Every line of the guides that lead to a guest runs, in its order, and succeeds.
#[test]
fn guides_to_a_guest_run_line_by_line() {
    use std::os::unix::fs::PermissionsExt;
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    for name in ["guest-libvirt", "guest-qemu", "guest-proxmox"] {
        let scratch = disk::Scratch::new(name);
        let work = &scratch.0;
        fs::create_dir(work.join("bin")).unwrap();
        for (command, script) in STUBS {
            let file = work.join("bin").join(command);
            fs::write(&file, format!("#!/bin/sh -e\n{script}\n")).unwrap();
            fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).unwrap();
        }
        let machine = |state: &str| top.join(format!("tests/machines/two-identical-gpus-{state}.txt"));
        fs::copy(machine("running"), work.join("machine")).unwrap();
        fs::copy(machine("claimed"), work.join("claimed")).unwrap();
        fs::write(work.join("gpu.conf"), "").unwrap();
        let page = fs::read_to_string(top.join(format!("docs/{name}.md"))).unwrap();
        let lines: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("    ")).collect();
        assert!(lines.len() > 7, "{name}: only {} lines", lines.len());
        // A file that is read while it is written would be empty.
        let script = lines.iter().map(|line| line.replace("> /etc/vfio-early.d/gpu.conf", "> new && mv new gpu.conf"));
        let script = script.map(|line| line.replace("/etc/vfio-early.d/gpu.conf", "gpu.conf"));
        let script: Vec<String> = script.map(|line| format!("echo '+ {}'\n{line}", line.replace('\'', ""))).collect();
        let output = Command::new("sh")
            .args(["-eu", "-c", &script.join("\n")])
            .current_dir(work)
            .env("WORK", work)
            .env("PROGRAM", env!("CARGO_BIN_EXE_vfio-early"))
            .env("PATH", format!("{}:{}", work.join("bin").display(), std::env::var("PATH").unwrap()))
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "docs/{name}.md:\n{}", String::from_utf8_lossy(&said));
    }
}

/// A guide ends with the command that shows that it worked.
#[test]
fn guides_end_with_a_command() {
    let (mut seen, mut wrong) = (0, Vec::new());
    for (page, text) in pages() {
        // The list of the guides is none.
        if page.parent().unwrap().ends_with("docs") && !page.ends_with("README.md") && !page.ends_with("SUMMARY.md") {
            seen += 1;
            if !text.lines().last().unwrap().starts_with("    vfio-early ") {
                wrong.push(page);
            }
        }
    }
    assert!(seen > 10, "only {seen} guides were found");
    assert!(wrong.is_empty(), "{wrong:?}");
}

/// What the README shows below a command, without what it leaves out.
fn shown<'a>(readme: &'a str, command: &str) -> Vec<&'a str> {
    let lines = readme.lines().skip_while(|line| *line != format!("    $ vfio-early {command}")).skip(1);
    let lines = lines.take_while(|line| (line.is_empty() || line.starts_with("    ")) && !line.starts_with("    $ "));
    lines.map(str::trim_end).filter(|line| !line.is_empty() && line.trim() != "...").collect()
}

/// The commands of the README with what the program prints, on the machine with two identical cards: a proposal, its check,
/// and the state after the next boot.
fn session() -> [(&'static str, String); 3] {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let scratch = disk::Scratch::new("readme");
    let told = |machine: &str, more: &str, command: &str| {
        let file = scratch.0.join("machine");
        let recorded = fs::read_to_string(top.join(format!("tests/machines/{machine}.txt"))).unwrap();
        fs::write(&file, recorded + more).unwrap();
        run(&["--root", file.to_str().unwrap(), command]).1
    };
    let detected = told("two-identical-gpus-running", "", "detect");
    let mut file = String::from("\nat /etc/vfio-early.d\ngpu.conf |\n");
    for line in detected.lines() {
        file.extend(["  ", line, "\n"]);
    }
    let claims = ["65:00.0", "65:00.1"].map(|address| {
        format!(
            "{{\"selector\":\"0000:65:00.0\",\"source\":\"gpu.conf\",\"device\":\"0000:{address}\",\"state\":\"claimed\",\
             \"driver\":\"vfio-pci\",\"target\":\"vfio-pci\",\"guard\":null,\"reason\":null,\"stage\":\"initramfs\",\
             \"time_ms\":1420,\"before\":[]}}"
        )
    });
    let report = format!(
        "\nat /run/vfio-early\nreport.json = {{\"version\":\"0.1.0\",\"kernel\":\"6.1.0-50-amd64\",\"dry_run\":false,\
         \"stage\":\"initramfs\",\"time_ms\":1420,\"duration_ms\":31,\"status\":0,\"iommu\":{{\"state\":\"enabled\",\
         \"kind\":\"intel\",\"units\":[\"dmar0\"],\"firmware_table\":\"DMAR\",\"interrupt_remapping\":\"enabled\",\
         \"advice\":[]}},\"steps\":[],\"claims\":[{}],\"problems\":[]}}\n",
        claims.join(",")
    );
    let status = told("two-identical-gpus-claimed", &format!("{file}{report}"), "status");
    let check = told("two-identical-gpus-running", &file, "check");
    [("detect", detected), ("check", check), ("status", status)]
}

#[test]
fn the_readme_shows_what_the_program_prints() {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    assert!(readme.lines().count() < 120, "the README is for first sight: the rest belongs into docs/");
    for (command, text) in session() {
        let shown = shown(&readme, command);
        assert!(!shown.is_empty(), "the README shows nothing of {command}");
        for line in shown {
            let line = line.strip_prefix("    ").unwrap();
            assert!(text.lines().any(|said| said == line), "{command} does not say '{line}':\n{text}");
        }
    }
}

/// The book has every guide, once.
#[test]
fn the_summary_names_every_guide() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let summary = fs::read_to_string(folder.join("SUMMARY.md")).unwrap();
    for entry in fs::read_dir(&folder).unwrap() {
        let page = entry.unwrap().path();
        let name = page.file_name().unwrap().to_str().unwrap();
        let links = summary.matches(&format!("]({name})")).count();
        let is_guide = page.extension().is_some_and(|extension| extension == "md") && name != "SUMMARY.md";
        assert_eq!(links, usize::from(is_guide), "docs/SUMMARY.md and docs/{name}");
    }
}
