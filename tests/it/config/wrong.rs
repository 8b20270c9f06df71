// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every way in which a file can be wrong, and what is said about it.

use super::*;

/// One wrong line and what is said about it, after the place.
const WRONG_LINES: &[(&str, &str)] = &[
    ("clam 01:00.0", "unknown directive `clam` (did you mean `claim`?); expected claim or set"),
    ("[claim]", "unknown directive `[claim]` (did you mean `claim`?); expected claim or set"),
    ("01:00.0", "unknown directive `01:00.0`; expected claim or set"),
    ("claim", "expected claim SELECTOR [OPTION...]"),
    ("claim 01:00.0 with=none#no", "`with=none#no`: expected card, group or none"),
    ("claim #01:00.0", "expected claim SELECTOR [OPTION...]"),
    ("claim # 01:00.0", "expected claim SELECTOR [OPTION...]"),
    (
        "claim gpu",
        "`gpu`: expected a selector: an address (01:00.0), a slot (01:00.*), a path (00:01.0/00.0), an ID (10de:1e04), virtual functions (vf:01:00.0) or a modalias pattern (pci:v000010DEd*bc03*)",
    ),
    (
        "claim id=10de:1e04",
        "`id=10de:1e04`: expected an ID such as 10de:1e04, 10de:* or 10de:1e04:1462:3711[:CLASS[:MASK]], four hexadecimal digits each",
    ),
    (
        "claim 01:20.0",
        "`01:20.0`: expected an address such as 0000:01:00.0 or 01:00.0 (device 00 to 1f, function 0 to 7)",
    ),
    (
        "claim 01:00.8",
        "`01:00.8`: expected an address such as 0000:01:00.0 or 01:00.0 (device 00 to 1f, function 0 to 7)",
    ),
    ("claim 01:20.*", "`01:20.*`: expected a slot such as 01:00.* (device 00 to 1f)"),
    ("claim 01:00", "`01:00`: expected a function: 01:00.0 for the first one, or 01:00.* for all of them"),
    (
        "claim 00:01.0/",
        "`00:01.0/`: expected a path such as 00:01.0/00.0 (a bridge's address, then DEVICE.FUNCTION below each bridge)",
    ),
    (
        "claim 10de:1e0",
        "`10de:1e0`: expected an ID such as 10de:1e04, 10de:* or 10de:1e04:1462:3711[:CLASS[:MASK]], four hexadecimal digits each",
    ),
    (
        "claim 10de:*:*:*:3000000",
        "`10de:*:*:*:3000000`: expected an ID such as 10de:1e04, 10de:* or 10de:1e04:1462:3711[:CLASS[:MASK]], four hexadecimal digits each",
    ),
    ("claim pci:v[", "`pci:v[`: expected a modalias pattern such as pci:v000010DEd*bc03* (invalid range pattern)"),
    ("claim pci:\u{1b}*", "`pci:?*`: expected a modalias pattern such as pci:v000010DEd*bc03*"),
    ("claim pci:é", "`pci:é`: expected a modalias pattern such as pci:v000010DEd*bc03*"),
    (
        "claim 01:00.0 01:00.1",
        "`01:00.1`: expected an option, NAME=VALUE with one of id, match, with, driver, rom, reset, rebar, power or allow",
    ),
    (
        "claim 01:00.0 wiht=group",
        "unknown option `wiht` (did you mean `with`?); expected id, match, with, driver, rom, reset, rebar, power or allow",
    ),
    (
        "claim 01:00.0 colour=red",
        "unknown option `colour`; expected id, match, with, driver, rom, reset, rebar, power or allow",
    ),
    ("claim 01:00.0 =", "unknown option ``; expected id, match, with, driver, rom, reset, rebar, power or allow"),
    ("claim 01:00.0 with=all", "`with=all`: expected card, group or none"),
    ("claim 01:00.0 with=", "`with=`: expected card, group or none"),
    ("claim 10de:1e04 match=two", "`match=two`: expected one or all"),
    ("claim 01:00.0 id=10de", "`id=10de`: expected VVVV:DDDD or VVVV:DDDD:SSVV:SSDD, four hexadecimal digits each"),
    ("claim 01:00.0 id=10de:*", "`id=10de:*`: expected VVVV:DDDD or VVVV:DDDD:SSVV:SSDD, four hexadecimal digits each"),
    (
        "claim 01:00.0 driver=-rf",
        "`driver=-rf`: expected vfio-pci, auto or a driver's name of at most 63 letters, digits, - and _",
    ),
    (
        "claim 01:00.0 driver=a/b",
        "`driver=a/b`: expected vfio-pci, auto or a driver's name of at most 63 letters, digits, - and _",
    ),
    (
        "claim 01:00.0 driver=",
        "`driver=`: expected vfio-pci, auto or a driver's name of at most 63 letters, digits, - and _",
    ),
    (
        "claim 01:00.0 allow=bridge",
        "`allow=bridge`: the guard `bridge` cannot be overridden; expected storage, in-use, last-display or rmrr",
    ),
    (
        "claim 01:00.0 allow=storage+rmr",
        "`allow=storage+rmr`: unknown guard `rmr` (did you mean `rmrr`?); expected storage, in-use, last-display or rmrr",
    ),
    (
        "claim 01:00.0 reset=flr+buss",
        "`reset=flr+buss`: unknown reset method `buss` (did you mean `bus`?); expected device_specific, acpi, flr, \
         af_flr, pm, bus or cxl_bus",
    ),
    (
        "claim 01:00.0 rebar=0:8G rebar=0:16G",
        "`rebar=0:16G`: expected a BAR from 0 to 5, each once, and a power of two of at least 1M, such as 0:8G",
    ),
    ("claim 01:00.0 reset=bus+flr+bus", "`reset=bus+flr+bus`: duplicate reset method `bus`"),
    ("claim 01:00.0 allow=", "`allow=`: unknown guard ``; expected storage, in-use, last-display or rmrr"),
    ("claim 01:00.0 with=none with=none", "duplicate option `with=`"),
    ("claim 01:00.0 match=one", "match= applies only to IDs and modalias patterns, not to 0000:01:00.0; remove it"),
    ("claim 01:00.* match=all", "match= applies only to IDs and modalias patterns, not to 0000:01:00.*; remove it"),
    ("claim 10de:1e04 id=10de:1e05", "the selector 10de:1e04 cannot match id=10de:1e05; change one of them"),
    (
        "claim 10de:*:1462:* id=10de:1e05:1043:0001",
        "the selector 10de:*:1462:* cannot match id=10de:1e05:1043:0001; change one of them",
    ),
    ("set", "expected set NAME VALUE"),
    ("set iommu", "expected set NAME VALUE"),
    ("set iommu optional now", "expected set NAME VALUE"),
    ("set iommu = optional", "expected set NAME VALUE"),
    (
        "set on_failure keep",
        "unknown setting `on_failure` (did you mean `on-failure`?); expected trial, iommu, isolation, on-failure, framebuffer, adopt-ids or step-timeout",
    ),
    (
        "set colour red",
        "unknown setting `colour`; expected trial, iommu, isolation, on-failure, framebuffer, adopt-ids or step-timeout",
    ),
    ("set iommu on", "iommu `on`: expected required or optional"),
    ("set on-failure Keep", "on-failure `Keep`: expected restore or keep"),
    ("set framebuffer off", "framebuffer `off`: expected keep or release"),
    ("set adopt-ids 1", "adopt-ids `1`: expected yes or no"),
    ("set step-timeout 0", "step-timeout `0`: expected a number of seconds from 1 to 300"),
    ("set step-timeout 301", "step-timeout `301`: expected a number of seconds from 1 to 300"),
    ("set step-timeout +9", "step-timeout `+9`: expected a number of seconds from 1 to 300"),
    (
        "set step-timeout 99999999999999999999",
        "step-timeout `99999999999999999999`: expected a number of seconds from 1 to 300",
    ),
    ("set step-timeout 1.5", "step-timeout `1.5`: expected a number of seconds from 1 to 300"),
    ("claim 01:00.0\0", "the line contains a NUL byte"),
    (
        "claim 01:00.0\r\r",
        "`01:00.0?`: expected an address such as 0000:01:00.0 or 01:00.0 (device 00 to 1f, function 0 to 7)",
    ),
    ("\u{1b}[31mclaim", "unknown directive `?[31mclaim`; expected claim or set"),
];

#[test]
fn every_wrong_line_is_told_with_its_place() {
    for (line, message) in WRONG_LINES {
        let content = format!("# wrong:\nset iommu optional\n{line}\n");
        let machine = Files::new("", &[("/etc/vfio-early.d/gpu.conf", &content)]);
        assert_eq!(machine.errors(), [format!("/etc/vfio-early.d/gpu.conf:3: {message}")], "{line:?}");
    }
}

#[test]
fn text_that_is_none_is_refused_line_by_line() {
    let long = "# ".repeat(2049);
    let just = format!("set iommu optional # {}", "x".repeat(4096 - 21));
    let machine = Files::new("", &[("/etc/vfio-early.d/b.conf", &format!("{just}\r\n{long}\nclaim 01:00.0"))])
        .with("/etc/vfio-early.d/a.conf", Node::File(b"\xef\xbb\xbf# mark\n# caf\xe9\n\xff\xfec\0l\0\n".to_vec()));
    assert_eq!(
        machine.errors(),
        [
            "/etc/vfio-early.d/a.conf:2: the line is not valid UTF-8",
            "/etc/vfio-early.d/a.conf:3: the line contains a NUL byte",
            "/etc/vfio-early.d/b.conf:2: the line is too long (4098 bytes, maximum 4096)",
        ]
    );
}

#[test]
fn what_is_no_file_is_refused() {
    let machine = Files::new("", &[("/etc/vfio-early.d/ok.conf", "")])
        .with("/usr/lib/vfio-early.d", Node::File(Vec::new()))
        .with("/etc/vfio-early.conf", Node::Directory)
        .with("/etc/vfio-early.d/a.conf", Node::Broken(Errno::EACCES))
        .with("/etc/vfio-early.d/b.conf", Node::Link("nowhere".into()))
        .with("/etc/vfio-early.d/c.conf", Node::Link("c.conf".into()))
        .with("/etc/vfio-early.d/c\u{fffd}.conf", Node::Broken(Errno::ENOENT))
        .with("/etc/vfio-early.d/d.conf", Node::File(vec![b'\n'; (1 << 20) + 1]));
    assert_eq!(
        machine.errors(),
        [
            "/usr/lib/vfio-early.d: is not a directory",
            "/etc/vfio-early.conf: is a directory, not a file",
            "/etc/vfio-early.d/a.conf: cannot be read: Permission denied",
            "/etc/vfio-early.d/b.conf: cannot be read: No such file or directory",
            "/etc/vfio-early.d/c.conf: cannot be read: Too many symbolic links encountered",
            "/etc/vfio-early.d/c\u{fffd}.conf: cannot be read: No such file or directory",
            "/etc/vfio-early.d/d.conf: is too large (maximum 1 MiB)",
        ]
    );
    let machine = Files::new("", &[]).with("/etc/vfio-early.conf", Node::Link("nowhere".into()));
    assert_eq!(machine.errors(), ["/etc/vfio-early.conf: cannot be read: No such file or directory"]);
    let machine = Files::new("", &[]).with("/etc/vfio-early.conf", Node::Link("/dev/null".into()));
    assert!(machine.loaded().files.is_empty());
}

#[test]
fn a_line_of_ten_megabytes_costs_nothing() {
    let machine = Files::new("", &[]).with("/etc/vfio-early.conf", Node::File(vec![b'x'; 10 << 20]));
    assert_eq!(machine.errors(), ["/etc/vfio-early.conf: is too large (maximum 1 MiB)"]);
    let machine = Files::new("", &[]).with("/etc/vfio-early.conf", Node::File(vec![b'x'; 1 << 20]));
    assert_eq!(machine.errors(), ["/etc/vfio-early.conf:1: the line is too long (1048576 bytes, maximum 4096)"]);
}

#[test]
fn a_flood_is_cut_short() {
    let start = Instant::now();
    let machine = Files::new("", &[("/etc/vfio-early.conf", &"x\n".repeat(1 << 19))]);
    let errors = machine.errors();
    assert_eq!(errors.len(), 101);
    assert_eq!(errors[100], "/etc/vfio-early.conf:101: too many problems; the rest is not reported");

    let line = "vfio_early.claim=".to_owned() + &"01:00.0,".repeat(1 << 16);
    assert_eq!(Files::new(&line, &[]).errors().len(), 101);

    let mut many = String::new();
    (0..65536).for_each(|id| writeln!(many, "claim 10de:{id:04x}").unwrap());
    let machine = Files::new("", &[("/etc/vfio-early.conf", &many)]);
    let errors = machine.errors();
    assert_eq!(
        errors[0],
        "/etc/vfio-early.conf:4097: too many claims (maximum 4096); combine them by slot, ID or modalias pattern"
    );
    assert_eq!(errors.len(), 101);
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}

#[test]
fn a_selector_written_twice_names_both_places() {
    let machine = Files::new(
        "vfio_early.claim=0000:01:00.0",
        &[
            ("/etc/vfio-early.conf", "claim 01:00.0 with=x\nclaim 10de:1e04:*:*\nclaim 10DE:1E04 match=all"),
            ("/etc/vfio-early.d/a.conf", "claim 01:00.*\nclaim 01:00.1"),
        ],
    );
    assert_eq!(
        machine.errors(),
        [
            "/etc/vfio-early.conf:1: `with=x`: expected card, group or none",
            "/etc/vfio-early.conf:3: 10de:1e04 is already claimed (/etc/vfio-early.conf:2); remove one of the claims",
            "kernel command line: 0000:01:00.0 is already claimed (/etc/vfio-early.conf:1); remove one of the claims",
        ]
    );
}

#[test]
fn every_problem_is_told_at_once_in_the_order_of_reading() {
    let machine = Files::new(
        "vfio_early=maybe vfio_early.claim=01:00.9,with=x,02:00.0",
        &[("/etc/vfio-early.conf", "claim 01:00.9 with=x match=z\nfoo"), ("/usr/lib/vfio-early.d/a.conf", "set a b")],
    );
    let places: Vec<_> = machine.errors().iter().map(|error| error.split(": ").next().unwrap().to_owned()).collect();
    let main = "/etc/vfio-early.conf";
    let line = Origin::COMMAND_LINE;
    assert_eq!(
        places,
        [
            "/usr/lib/vfio-early.d/a.conf:1",
            &format!("{main}:1"),
            &format!("{main}:1"),
            &format!("{main}:1"),
            &format!("{main}:2"),
            line,
            line,
            line
        ]
    );
}
