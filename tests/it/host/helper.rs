// SPDX-License-Identifier: MIT OR Apache-2.0
//! The helper process: one for a run, replaced when it hangs or dies, and gone with the program.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use vfio_early::machine::{Host, Machine};

use crate::support::disk::Scratch;
use crate::support::program::{MachineRoot, Ran, by_shell, fifo, have, may_unshare, program, run, tree};

const FOUR: &str = "claim 04:00.*\nset on-failure keep\n";
const OVERRIDE: &str = "/sys/bus/pci/devices/0000:04:00.0/driver_override";

fn server(configuration: &str) -> MachineRoot {
    MachineRoot::new(&tree("server-eight-gpus-running", configuration))
}

/// The programs that were started, in order, from a log of strace.
fn started(log: &Path) -> Vec<String> {
    let log = fs::read_to_string(log).unwrap();
    let started = log.lines().filter(|line| line.contains("execve(") && line.ends_with("= 0"));
    started.map(|line| line.split('"').nth(1).unwrap().to_owned()).collect()
}

/// All four functions of the card were written to.
fn assert_written(machine: &MachineRoot, ran: &Ran) {
    assert_eq!(ran.status, 1, "nothing moves in a directory: {ran:?}");
    for function in 0..4 {
        let overridden = fs::read_to_string(machine.attribute(&format!("0000:04:00.{function}"), "driver_override"));
        assert_eq!(overridden.unwrap().trim_end(), "vfio-pci", "{ran:?}");
    }
}

/// Runs a claim as on the running machine, with the directories of a machine mounted over its own, and with a modprobe that
/// notes how it was started. `wrapper`: what the program is started by.
fn claim_here(machine: &MachineRoot, wrapper: &str) -> Ran {
    let bin = machine.scratch.0.join("bin");
    fs::create_dir(&bin).unwrap();
    fs::create_dir_all(machine.at("/run")).unwrap();
    let noted = machine.scratch.0.join("modprobe");
    // A shell would unblock all signals first.
    let script = format!(
        r#"#!{} -f
BEGIN {{
    noted = "{}"
    print ARGV[1] >> noted
    while ((getline line < "/proc/self/status") > 0)
        if (line ~ /^SigBlk/) print line >> noted
    system("mkdir /sys/bus/pci/drivers/vfio-pci")
    exit
}}
"#,
        // The link leads through /etc, which is another one here.
        fs::canonicalize("/usr/bin/awk").unwrap().display(),
        noted.display()
    );
    fs::write(bin.join("modprobe"), script).unwrap();
    fs::set_permissions(bin.join("modprobe"), PermissionsExt::from_mode(0o755)).unwrap();
    let root = machine.root.display();
    let mounts = format!("for d in sys etc run; do mount --rbind {root}/$d /$d || exit 99; done");
    // PATH has no effect: the program takes modprobe from where the system has it.
    let mounts = format!("{mounts}; mount --bind {} /usr/local/sbin || exit 99", bin.display());
    let line = format!("{mounts}; PATH={}:$PATH; export PATH; exec {wrapper} \"$@\"", machine.scratch.0.display());
    let line = format!("exec unshare --user --map-root-user --mount /bin/sh -c '{line}' sh \"$@\"");
    run(&mut by_shell(&line, &program(Path::new("/"), "claim")))
}

/// The server without vfio-pci, whose module has to be loaded.
fn server_without_driver() -> MachineRoot {
    let machine = server(FOUR);
    fs::remove_dir_all(machine.at("/sys/bus/pci/drivers/vfio-pci")).unwrap();
    machine
}

#[test]
fn a_claim_of_four_devices_starts_one_helper_and_one_modprobe() {
    const MODULE: &str = "how many processes a claim with a module starts";
    if !have("strace", "how many processes a claim starts") {
        return;
    }
    let strace = |log: &Path| format!("strace -f -qq -e trace=execve -o {}", log.display());
    let machine = server(FOUR);
    let log = machine.scratch.0.join("log");
    let line = format!("exec {} \"$@\"", strace(&log));
    let ran = run(&mut by_shell(&line, &program(&machine.root, "claim")));
    assert_written(&machine, &ran);
    assert_eq!(started(&log), [env!("CARGO_BIN_EXE_vfio-early"), "/proc/self/exe"]);

    if !have("awk", MODULE) || !may_unshare(MODULE) {
        return;
    }
    let machine = server_without_driver();
    let ran = claim_here(&machine, &strace(&log));
    assert_written(&machine, &ran);
    let mut started = started(&log);
    // The modprobe of this test is a script.
    started.retain(|program| {
        !["/bin/", "/usr/bin/", "/sbin/", "/usr/sbin/"].iter().any(|folder| program.starts_with(folder))
    });
    started.sort();
    let mut expected = [env!("CARGO_BIN_EXE_vfio-early"), "/proc/self/exe", "/usr/local/sbin/modprobe"];
    expected.sort_unstable();
    assert_eq!(started, expected);
}

#[test]
fn modprobe_blocks_no_signals() {
    if !have("awk", "the signals that modprobe blocks") || !may_unshare("the signals that modprobe blocks") {
        return;
    }
    let machine = server_without_driver();
    let ran = claim_here(&machine, "");
    assert_written(&machine, &ran);
    let noted = fs::read_to_string(machine.scratch.0.join("modprobe")).unwrap();
    let lines: Vec<&str> = noted.lines().collect();
    assert!(lines.len() == 2 && lines[0] == "vfio-pci", "{noted}");
    assert_eq!(lines[1].split_whitespace().nth(1).unwrap().trim_start_matches('0'), "", "{noted}");
}

/// Waits until something is there.
fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < Duration::from_secs(30), "{what} does not come");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The children of a process, zombies among them.
fn children(of: &Child) -> Vec<i32> {
    let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", of.id())).unwrap_or_default();
    children.split_whitespace().map(|child| child.parse().unwrap()).collect()
}

/// The state of a process as in ps(1).
fn state(process: i32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    stat.rsplit(") ").next()?.chars().next()
}

/// Starts a claim and waits until its helper hangs at an attribute.
fn start_hanging(machine: &MachineRoot) -> (Child, i32) {
    fifo(&machine.at(OVERRIDE));
    let mut command = program(&machine.root, "claim");
    let program = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let helper = wait_for("the helper", || children(&program).first().copied());
    (program, helper)
}

#[test]
fn a_helper_that_dies_costs_its_order_alone() {
    let machine = server("claim 04:00.0\nclaim 08:00.0\nset on-failure keep\n");
    let attribute = machine.at(OVERRIDE);
    let (mut program, helper) = start_hanging(&machine);
    // It has been started, and is on its way to the attribute or hangs there already.
    std::thread::sleep(Duration::from_millis(500));
    kill(Pid::from_raw(helper), Signal::SIGKILL).unwrap();
    // What a new one reads there first.
    let _ = fs::remove_file(&attribute);
    fs::write(&attribute, "(null)\n").unwrap();
    assert_eq!(program.wait().unwrap().code(), Some(1));
    let report = machine.report();
    assert!(report.contains("the helper process was killed by SIGKILL"), "{report}");
    for function in 0..4 {
        let overridden = fs::read_to_string(machine.attribute(&format!("0000:08:00.{function}"), "driver_override"));
        assert_eq!(overridden.unwrap().trim_end(), "vfio-pci", "{report}");
    }
}

/// One that hangs is killed before another one is started, and is no zombie then.
#[test]
fn there_are_never_two_helpers() {
    let machine = server("claim 04:00.0\nclaim 08:00.0\nset step-timeout 1\nset on-failure keep\n");
    fifo(&machine.attribute("0000:08:00.0", "driver_override"));
    let (mut program, first) = start_hanging(&machine);
    wait_for("the second helper", || children(&program).into_iter().find(|child| *child != first));
    assert_eq!(children(&program).len(), 1, "{first} stays, {:?}", state(first));
    assert_eq!(program.wait().unwrap().code(), Some(1));
}

#[test]
fn the_helper_goes_with_the_program() {
    let machine = server("claim 04:00.0\n");
    let (mut program, helper) = start_hanging(&machine);
    std::thread::sleep(Duration::from_millis(300));
    program.kill().unwrap();
    program.wait().unwrap();
    // While it hangs it stays. Then its answer finds nobody.
    assert!(state(helper).is_some());
    let _reader = fs::OpenOptions::new().read(true).write(true).open(machine.at(OVERRIDE)).unwrap();
    wait_for("the helper's end", || matches!(state(helper), None | Some('Z' | 'X')).then_some(()));
}

/// Gives a helper these bytes. Returns what it said, and its exit status.
fn converse(root: &Path, orders: &[u8]) -> (Vec<u8>, Option<i32>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vfio-early"));
    let command = command.arg("step-helper").arg(root).env_clear().stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut helper = command.stderr(Stdio::piped()).spawn().unwrap();
    // One that has ended takes no more.
    let _ = helper.stdin.take().unwrap().write_all(orders);
    let output = helper.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    (output.stdout, output.status.code())
}

fn order(kind: u8, path: &[u8], argument: &[u8]) -> Vec<u8> {
    let length = |field: &[u8]| u32::try_from(field.len()).unwrap().to_be_bytes();
    [&[kind], length(path).as_slice(), &length(argument), path, argument].concat()
}

fn answer(errno: i32, content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).unwrap().to_be_bytes();
    [&[u8::try_from(errno).unwrap()], length.as_slice(), content].concat()
}

#[test]
fn each_order_has_one_answer() {
    let scratch = Scratch::new("orders");
    fs::write(scratch.0.join("rom"), vec![7; 100_000]).unwrap();
    fs::write(scratch.0.join("attribute"), "old").unwrap();
    let orders = [
        order(b'a', b"/attribute", b""),
        order(b'w', b"/attribute", b"new"),
        order(b'a', b"/attribute", b""),
        order(b'd', b"/rom", &200_000_u32.to_be_bytes()),
        order(b'd', b"/rom", &9_u32.to_be_bytes()),
        order(b'w', b"/missing", b"x"),
        order(b'w', b"/\xff", b"x"),
        order(b'd', b"/rom", b"9"),
        order(b'?', b"/rom", b""),
        order(b'a', b"/nul\0", b""),
    ];
    let answers = [
        answer(0, b"old"),
        answer(0, b""),
        answer(0, b"new"),
        answer(0, &vec![7; 100_000]),
        answer(0, &[7; 9]),
        answer(nix::libc::ENOENT, b""),
        answer(nix::libc::EINVAL, b""),
        answer(nix::libc::EINVAL, b""),
        answer(nix::libc::EINVAL, b""),
        answer(nix::libc::EINVAL, b""),
    ];
    assert_eq!(converse(&scratch.0, &orders.concat()), (answers.concat(), Some(0)));
    assert!(!scratch.0.join("missing").exists());
    // Cut, or too long: nothing is done.
    for cut in [1, 8, 9, 15] {
        let (said, status) = converse(&scratch.0, &orders[1][..cut]);
        assert!(said.is_empty() && status.is_some_and(|status| status < 2), "{cut}: {said:?}, {status:?}");
    }
    assert_eq!(converse(&scratch.0, &[b"w".as_slice(), &[255; 100]].concat()), (Vec::new(), Some(1)));
    assert_eq!(converse(Path::new("/nowhere"), b""), (Vec::new(), Some(1)));
}

/// A helper that goes in the middle of an answer has not read half a ROM.
#[test]
fn a_rom_is_whole_or_an_error() {
    let scratch = Scratch::new("whole");
    let content: Vec<u8> = (0..300_000_u32).map(|at| u8::try_from(at % 251).unwrap()).collect();
    fs::write(scratch.0.join("rom"), &content).unwrap();
    let host = Host::open(scratch.0.as_os_str()).unwrap();
    // In this process, the program that would be started is the test's: it speaks no answers, and that is an error.
    assert!(host.read_device("/rom", 1_000_000).is_err());
    let machine = MachineRoot::new(&tree("two-identical-gpus", ""));
    let rom = crate::rom::described("several-machines");
    let long = [rom.as_slice(), &vec![0xff; 500_000]].concat();
    fs::write(machine.attribute("0000:65:00.0", "rom"), &long).unwrap();
    for _ in 0..30 {
        let file = machine.scratch.0.join("dumped");
        let ran = run(&mut by_shell(
            &format!("\"$@\" >{} && exit 0", file.display()),
            &program(&machine.root, "rom dump 65:00.0"),
        ));
        assert!(fs::read(file).unwrap() == long, "cut: {ran:?}");
    }
}

/// After the run, a full pipe can be left by the usual means.
#[test]
fn blocked_signals_are_given_back() {
    let machine = MachineRoot::new(&tree("two-identical-gpus", ""));
    fs::write(machine.attribute("0000:65:00.0", "rom"), vec![0x55; 200_000]).unwrap();
    let (reader, writer) = nix::unistd::pipe2(OFlag::O_CLOEXEC).unwrap();
    let mut command = program(&machine.root, "rom dump 65:00.0");
    let mut program = command.stdin(Stdio::null()).stdout(writer).stderr(Stdio::null()).spawn().unwrap();
    drop(command);
    // The first bytes are there: the rest fills the pipe.
    let mut reader = fs::File::from(reader);
    reader.read_exact(&mut [0; 1]).unwrap();
    let status = fs::read_to_string(format!("/proc/{}/status", program.id())).unwrap();
    let blocked = status.lines().find_map(|line| line.strip_prefix("SigBlk:")).unwrap();
    assert_eq!(blocked.trim().trim_start_matches('0'), "");
    kill(Pid::from_raw(i32::try_from(program.id()).unwrap()), Signal::SIGTERM).unwrap();
    assert_eq!(program.wait().unwrap().code(), None);
}

/// Where the helper would print, it disturbs nobody.
#[test]
fn a_helper_left_behind_keeps_no_stream_open() {
    let machine = server("claim 04:00.0\nset on-failure keep\n");
    let (mut program, helper) = start_hanging(&machine);
    std::thread::sleep(Duration::from_millis(300));
    let stream = |process: u32, number: u8| -> PathBuf {
        fs::read_link(format!("/proc/{process}/fd/{number}")).unwrap_or_default()
    };
    let helper_id = u32::try_from(helper).unwrap();
    for number in 0..3 {
        let kept: Vec<PathBuf> = (0..3).map(|own| stream(program.id(), own)).collect();
        assert!(!kept.contains(&stream(helper_id, number)), "{number}");
    }
    program.kill().unwrap();
    program.wait().unwrap();
    let _ = kill(Pid::from_raw(helper), Signal::SIGKILL);
}
