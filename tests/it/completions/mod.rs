// SPDX-License-Identifier: MIT OR Apache-2.0
//! Completions for bash, zsh and fish. The files in completions/ are made here, of what the parser itself tells with --help,
//! of the configuration's tables, and of the shells' own functions (*.in): `VFIO_EARLY_BLESS=1 cargo test --test it
//! completions::` writes them. Then each real shell is asked what it makes of them (shells.rs).

mod kind;
mod shells;
mod write;

use std::fs;
use std::path::Path;

use shells::{Offered, Place};
use vfio_early::config::OPTIONS;

use crate::support::{program, usage};

#[test]
fn the_files_are_those_of_this_parser() {
    let all = usage::all();
    let mut stale = Vec::new();
    for (name, text) in
        [("vfio-early", write::bash(&all)), ("_vfio-early", write::zsh(&all)), ("vfio-early.fish", write::fish(&all))]
    {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("completions").join(name);
        if fs::read_to_string(&path).is_ok_and(|old| old == text) {
            continue;
        }
        if std::env::var_os("VFIO_EARLY_BLESS").is_some() {
            fs::write(&path, text).unwrap();
        } else {
            stale.push(path);
        }
    }
    assert!(
        stale.is_empty(),
        "{stale:?}: the commands, their options or the configuration's words are others now. Write the files anew with \
         VFIO_EARLY_BLESS=1 cargo test --test it completions::, and read the difference."
    );
}

/// The words that are offered, sorted. That an option of a claim goes on with = is left out: zsh adds it by itself.
fn words(offered: &Offered, line: &str) -> Vec<String> {
    let mut words: Vec<String> = offered[line].iter().map(|(word, _)| word.trim_end_matches('=').to_owned()).collect();
    words.sort();
    words
}

fn sorted(words: &[&str]) -> Vec<String> {
    let mut words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    words.sort();
    words
}

/// What holds for each line, in every shell.
fn hold(place: &Place, cases: &[(&str, &[&str])]) {
    let lines: Vec<&str> = cases.iter().map(|(line, _)| *line).collect();
    let mut wrong = Vec::new();
    for (shell, offered) in place.every_shell(&lines) {
        for (line, expected) in cases {
            let (mut found, expected) = (words(&offered, &place.line(line)), sorted(expected));
            if shell == "fish" {
                // Where nothing begins with what is typed, some versions offer what holds its letters.
                let typed = line.rsplit(' ').next().unwrap();
                found.retain(|word| word.starts_with(typed.trim_end_matches('=')));
            }
            if found != expected {
                wrong.push(format!("{shell}: {line:?} offers {found:?}, not {expected:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

const DEVICES: &[&str] = &[
    "0000:00:00.0",
    "0000:00:05.0",
    "0000:00:14.0",
    "0000:00:14.2",
    "0000:00:17.0",
    "0000:00:1d.0",
    "0000:00:1f.0",
    "0000:00:1f.3",
    "0000:00:1f.4",
    "0000:00:1f.6",
    "0000:02:00.0",
    "0000:16:00.0",
    "0000:17:00.0",
    "0000:17:00.1",
    "0000:64:00.0",
    "0000:65:00.0",
    "0000:65:00.1",
];

const IDS: &[&str] = &[
    "10de:1aef",
    "10de:2204",
    "144d:a808",
    "8086:15b8",
    "8086:2020",
    "8086:2024",
    "8086:2030",
    "8086:a282",
    "8086:a298",
    "8086:a2a3",
    "8086:a2af",
    "8086:a2b1",
    "8086:a2d2",
    "8086:a2f0",
];

#[test]
fn every_command_and_every_option_is_offered() {
    let all = usage::all();
    let global = &all.iter().find(|usage| usage.path.is_empty()).unwrap().options;
    let mut lines = Vec::new();
    for usage in &all {
        let line = format!("vfio-early {}", usage.path);
        if !usage.commands.is_empty() {
            lines.push((format!("{} ", line.trim()), usage.commands.iter().map(|(name, _)| name.as_str()).collect()));
        }
        let options = global.iter().chain(usage.options.iter().filter(|_| !usage.path.is_empty()));
        let names = options.flat_map(|option| &option.names).map(String::as_str);
        let mut names: Vec<&str> = names.filter(|name| name.starts_with("--")).collect();
        names.push("--help");
        names.extend(usage.path.is_empty().then_some("--version"));
        lines.push((format!("{} --", line.trim()), names));
    }
    let cases: Vec<(&str, &[&str])> = lines.iter().map(|(line, names)| (line.as_str(), names.as_slice())).collect();
    hold(&Place::new(), &cases);
}

#[test]
fn values_and_words_are_completed() {
    let devices_with = |options: &[&'static str]| [DEVICES, options].concat();
    let files = ["other.rom", "some rom.bin", "the machine"];
    // Which of them the program takes is asked below.
    let options: Vec<&str> = OPTIONS.iter().map(|option| option.name).filter(|name| *name != "match").collect();
    let claims = devices_with(&options);
    let releases = devices_with(&["with"]);
    let given =
        |before: &str, words: &[&str]| -> Vec<String> { words.iter().map(|word| format!("{before}{word}")).collect() };
    let by_device = given("--device=", DEVICES);
    let by_device: Vec<&str> = by_device.iter().map(String::as_str).collect();
    let by_id = given("id=", IDS);
    let by_id: Vec<&str> = by_id.iter().map(String::as_str).collect();
    let cases: &[(&str, &[&str])] = &[
        // Devices, wherever the machine is named.
        ("vfio-early --root MACHINE groups ", DEVICES),
        ("vfio-early --root=MACHINE/ -v groups ", DEVICES),
        ("vfio-early groups --json --root MACHINE ", DEVICES),
        ("vfio-early --root MACHINE groups 0000:65:00.0 ", DEVICES),
        ("vfio-early --root MACHINE groups -- ", DEVICES),
        ("vfio-early --root MACHINE libvirt 0000:65", &["0000:65:00.0", "0000:65:00.1"]),
        ("vfio-early --root MACHINE libvirt 0000:65:00.", &["0000:65:00.0", "0000:65:00.1"]),
        ("vfio-early --root MACHINE claim --device ", DEVICES),
        (
            "vfio-early --root MACHINE claim --device 0000:65:00.0 --device 0000:65:00.",
            &["0000:65:00.0", "0000:65:00.1"],
        ),
        ("vfio-early --root MACHINE claim --device=", &by_device),
        ("vfio-early --root MACHINE rom dump ", DEVICES),
        ("vfio-early --root MACHINE rom dump -o x --force ", DEVICES),
        ("vfio-early rom verify --root MACHINE --device 0000:17:00.", &["0000:17:00.0", "0000:17:00.1"]),
        ("vfio-early rom verify --root=MACHINE --id 10de", &["10de:1aef", "10de:2204"]),
        // A recorded machine, and one whose name has to be quoted.
        ("vfio-early --root RECORDED groups ", DEVICES),
        ("vfio-early --root RECORDED rom verify --id ", IDS),
        ("vfio-early --root the\\ machine groups 0000:17", &["0000:17:00.0", "0000:17:00.1"]),
        // No machine, no device.
        ("vfio-early --root MACHINE/etc groups ", &[]),
        // IDs.
        ("vfio-early --root MACHINE rom verify --id ", IDS),
        ("vfio-early rom repair --root MACHINE some.rom --id 10de", &["10de:1aef", "10de:2204"]),
        ("vfio-early --root MACHINE bind id=", &by_id),
        ("vfio-early --root MACHINE bind id=10de:1", &["id=10de:1aef"]),
        // Options of a claim.
        ("vfio-early --root MACHINE bind ", &claims),
        ("vfio-early --root MACHINE bind 0000:65:00.0 ", &claims),
        ("vfio-early --root MACHINE release ", &releases),
        ("vfio-early bind w", &["with"]),
        ("vfio-early bind with=", &["with=card", "with=group", "with=none"]),
        ("vfio-early release with=g", &["with=group"]),
        ("vfio-early release allow=", &[]),
        ("vfio-early bind match=", &[]),
        ("vfio-early bind driver=", &["driver=vfio-pci", "driver=auto"]),
        ("vfio-early bind rom=s", &["rom=save"]),
        ("vfio-early bind allow=", &["allow=storage", "allow=in-use", "allow=last-display", "allow=rmrr"]),
        ("vfio-early bind reset=flr+b", &["reset=flr+bus"]),
        ("vfio-early bind allow=storage+i", &["allow=storage+in-use"]),
        // Words, files, kernels.
        ("vfio-early status --format ", FORMATS),
        ("vfio-early status --format=p", &["--format=prometheus"]),
        ("vfio-early --root MACHINE modules --kernel ", &["6.1.0-50-amd64"]),
        ("vfio-early rom s", &["show"]),
        // Nothing more is wanted there, or nobody knows.
        ("vfio-early rom extract --image ", &[]),
        ("vfio-early no-such-command ", &[]),
        ("vfio-early rom no-such-command ", &[]),
        // What was given is not offered again: the parser would refuse it.
        ("vfio-early rom dump --output x --fo", &["--force"]),
        ("vfio-early rom dump --output x --o", &[]),
        ("vfio-early rom dump -o x --o", &[]),
        ("vfio-early status --json --js", &[]),
        ("vfio-early claim --device 0000:65:00.0 --de", &["--device"]),
    ];
    let place = Place::new();
    hold(&place, cases);
    // Where a shell shows files, and how an address that leaves domain 0000 out goes on, is its own affair.
    let (rom, file, short) =
        ("vfio-early --root MACHINE rom show ", "vfio-early rom extract -o ", "vfio-early --root MACHINE groups 65:");
    for (shell, offered) in place.every_shell(&[rom, file, short]) {
        let found = words(&offered, &place.line(rom));
        let all = DEVICES.iter().chain(&["other.rom"]);
        assert!(all.into_iter().all(|one| found.iter().any(|word| word == one)), "{shell}: {found:?}");
        let found: Vec<String> =
            words(&offered, file).iter().map(|word| word.replace('\\', "").trim_end_matches('/').to_owned()).collect();
        // bash leaves files to readline: see below.
        assert!(shell == "bash" || found == files, "{shell}: {found:?}");
        let found = words(&offered, &place.line(short));
        let found: Vec<&str> = found.iter().map(|word| word.trim_start_matches("0000:")).collect();
        assert_eq!(found, ["65:00.0", "65:00.1"], "{shell}");
    }
}

#[test]
fn devices_are_shown_with_their_names() {
    let place = Place::new();
    let check = |root: &str, name: &dyn Fn(&str) -> String, what: &str| {
        let line = format!("vfio-early --root {root} groups 0000:65");
        for (shell, offered) in place.every_shell(&[&line]) {
            for (address, shown) in &offered[&place.line(&line)] {
                assert!(shown.contains(&name(address)), "{shell}, {what}: {address} is shown as {shown:?}");
            }
        }
    };
    let id = |address: &str| if address.ends_with(".0") { "10de:2204".to_owned() } else { "10de:1aef".to_owned() };
    check("MACHINE", &|address| format!("Card: {}", &address[5..]), "with lspci");
    place.without_lspci();
    check("MACHINE", &id, "without lspci");
    place.with_real_lspci();
    if program::have("lspci", "names that lspci gives the devices of another machine") {
        let name = |address: &str| if address.ends_with(".0") { "VGA".to_owned() } else { "Audio".to_owned() };
        check("MACHINE", &name, "with the installed lspci");
        // It cannot read that, and shall not name this machine's own devices instead.
        let line = "vfio-early --root RECORDED groups ";
        for (shell, offered) in place.every_shell(&[line]) {
            for (address, shown) in &offered[&place.line(line)] {
                assert!(IDS.iter().any(|id| shown.ends_with(id)), "{shell}, recorded: {address} is shown as {shown:?}");
            }
        }
    }
}

#[test]
fn bash_completes_the_line() {
    let place = Place::new();
    for (typed, becomes) in [
        ("vfio-early cl", "<claim>"),
        ("vfio-early --root MACHINE groups 0000:02", "<--root> <MACHINE> <groups> <0000:02:00.0>"),
        ("vfio-early --root MACHINE groups 02", "<--root> <MACHINE> <groups> <02:00.0>"),
        ("vfio-early --root=MACHINE groups 0000:6", "<--root=MACHINE> <groups> <0000:6>"),
        ("vfio-early --root=MACHINE groups 0000:65", "<--root=MACHINE> <groups> <0000:65:00.>"),
        ("vfio-early --root=MACHINE claim --device=0000:02", "<--root=MACHINE> <claim> <--device=0000:02:00.0>"),
        ("vfio-early bind allow=storage+in", "<bind> <allow=storage+in-use>"),
        // An option goes on behind its =, without a blank.
        ("vfio-early bind allo", "<bind> <allow=>"),
        // Readline knows how to write a file's name.
        ("vfio-early rom extract -o so", "<rom> <extract> <-o> <some rom.bin>"),
        ("vfio-early rom extract --output=so", "<rom> <extract> <--output=some rom.bin>"),
        ("vfio-early rom show ot", "<rom> <show> <other.rom>"),
        ("vfio-early --root ../ro", "<--root> <../root/>"),
    ] {
        let Some(offered) = place.bash(&[place.line(typed)]) else { return };
        let ran = format!("RAN {}", place.line(becomes));
        assert!(offered.contains_key(&ran), "{typed:?} becomes {offered:#?}, not {becomes}");
    }
}

const FORMATS: &[&str] = &["text", "prometheus", "nfd"];

/// What is offered is what the program takes.
#[test]
fn the_program_takes_what_is_offered() {
    let place = Place::new();
    for format in FORMATS {
        let ran = place.run(&format!("status --format {format}"));
        assert_ne!(ran.status, 2, "{format}: {}", ran.stderr);
    }
    let ran = place.run("status --format no-such");
    assert!(ran.stderr.contains("expected text, prometheus or nfd,"), "other formats: {}", ran.stderr);
    let options = kind::kind(&usage::all().into_iter().find(|usage| usage.path == "bind").unwrap(), "address");
    for option in OPTIONS {
        let is_offered = options.split([':', ',']).any(|name| name == option.name);
        let of = kind::of_option(option.values);
        let values: Vec<&str> = match of.as_str() {
            "id" => vec!["10de:2204"],
            "any" => continue,
            words => words.split(['|', '+']).collect(),
        };
        for value in values {
            let ran = place.run(&format!("bind --dry-run 0000:65:00.0 {}={value}", option.name));
            assert_eq!(ran.status != 2, is_offered, "{}={value}: {}", option.name, ran.stderr);
        }
    }
}
