// SPDX-License-Identifier: MIT OR Apache-2.0
//! Boots real kernels under QEMU, from images that the distribution's own generator made, and asks the kernel what
//! happened. `cargo test --test boot -- --list` names the cases; a plain `cargo test` leaves them out.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::exit,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::string_slice,
    clippy::too_many_lines,
    clippy::unwrap_used,
    reason = "a test harness: it speaks to a terminal, a panic is a failed test, and the cases are long lists"
)]
#![allow(unreachable_pub, reason = "modules of one program")]

mod arm;
mod boot;
mod cases;
mod cpio;
mod demo;
mod emulation;
mod evidence;
mod generators;
mod guests;
mod ids;
mod lab;
mod machine;
mod run;
mod secure;
mod surroundings;
mod trial;

use std::process::exit;

const USAGE: &str = "\
usage: cargo test --test boot -- [--list | --demo | --slow | --guests | --arm64 | --stay NAME | NAME...]

Runs all cases but those that start guests or are slow, or those named. Each keeps its serial log, its evidence and its command below target/tmp/boot/NAME.

  --list   name the cases
  --slow   run the cases that are left out otherwise
  --guests run the cases that start guests
  --arm64  run the cases of arm64, with a program for that
  --demo   boot a machine without and with vfio-early and show both, side by side
  --stay   boot one case and leave a shell on the guest's serial console

Environment: VFIO_EARLY names the program under test, BOOT_JOBS how many boots run at a time, BOOT_ACCEL QEMU's
accelerator (tcg), MIRROR a Debian mirror (that of this machine's apt).";

fn main() {
    let (mut list, mut stay, mut demo, mut slow, mut guests, mut arm64, mut names) =
        (false, false, false, false, false, false, Vec::new());
    for word in std::env::args().skip(1) {
        match word.as_str() {
            "--list" => list = true,
            "--stay" => stay = true,
            "--demo" => demo = true,
            "--guests" => guests = true,
            "--slow" => slow = true,
            "--arm64" => arm64 = true,
            // cargo passes its own options on to every test program.
            "-q" | "--quiet" => {}
            "-h" | "--help" => return println!("{USAGE}"),
            option if option.starts_with('-') => fail(&format!("unknown option {option}\n{USAGE}")),
            _ => names.push(word),
        }
    }
    let all = cases::all();
    if list {
        for case in &all {
            println!("{:18} {}", case.name, case.about);
        }
        return;
    }
    if let Some(name) = names.iter().find(|name| !all.iter().any(|case| case.name == **name)) {
        fail(&format!("no case is called {name}; --list names them"));
    }
    let is_chosen = |case: &cases::Case| match names.as_slice() {
        [] => {
            guests == (case.machine == machine::Machine::Guests) && slow == case.slow && arm64 == case.machine.is_arm()
        }
        names => names.iter().any(|name| name == case.name),
    };
    if names.is_empty() && !guests && !slow && !arm64 && !demo {
        for case in all.iter().filter(|case| !is_chosen(case)) {
            let why = if case.machine.is_arm() {
                "make boot-arm64 runs it"
            } else if case.slow {
                "make boot-slow runs it"
            } else {
                "a guest in a guest takes long; make guests runs it"
            };
            println!("NOT RUN {}: {why}", case.name);
        }
    }
    let mut chosen: Vec<_> = all.into_iter().filter(is_chosen).collect();
    chosen.retain(can_run);
    let outcome = if demo {
        demo::show(&chosen[0])
    } else if stay {
        match chosen.as_slice() {
            [case] => run::stay(case).map(|()| true),
            _ => Err("--stay takes exactly one name".to_owned()),
        }
    } else {
        run::all(&chosen)
    };
    match outcome {
        Ok(true) => {}
        Ok(false) => exit(1),
        Err(text) => fail(&text),
    }
}

fn fail(text: &str) -> ! {
    eprintln!("boot: {text}");
    exit(2);
}

/// Whether a case can be run; says aloud where it cannot.
fn can_run(case: &cases::Case) -> bool {
    let here = case.contents.generator.is_here();
    if !here {
        println!("NOT RUN {}: no registry has mkinitcpio; MKINITCPIO= names a checkout of it", case.name);
    }
    here
}
