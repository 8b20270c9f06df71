// SPDX-License-Identifier: MIT OR Apache-2.0
//! The configuration, from files and kernel command line to claims and settings, and every way in which it can be wrong.

#![allow(clippy::panic, reason = "the lint leaves out test functions, but not what they call")]

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use vfio_early::config::{
    Claim, Config, Driver, Extent, Framebuffer, Guard, Iommu, Loaded, OPTIONS, OnFailure, Options, Origin, Reader,
    Rebar, SETTINGS, Settings, With, load,
};
use vfio_early::door::{Door, Error, Node, Operation, Result as Passed, Tree};

/// A machine that has nothing but files.
struct Files(Tree);

impl Files {
    /// A machine whose kernel command line is `line`, with these files.
    fn new(line: &str, files: &[(&str, &str)]) -> Self {
        let mut tree = Tree::default();
        tree.put("/proc/cmdline", Node::File(format!("{line}\n").into_bytes()));
        for (path, content) in files {
            tree.put(path, Node::File(content.as_bytes().to_vec()));
        }
        Self(tree)
    }

    fn with(mut self, path: &str, node: Node) -> Self {
        self.0.put(path, node);
        self
    }

    fn loaded(&self) -> Loaded {
        load(self, Extent::Heeded).unwrap_or_else(|errors| panic!("{errors:#?}"))
    }

    fn errors(&self) -> Vec<String> {
        match load(self, Extent::Heeded) {
            Ok(loaded) => panic!("{loaded:#?}"),
            Err(errors) => errors.iter().map(ToString::to_string).collect(),
        }
    }
}

impl Door for Files {
    fn attribute(&self, path: &str) -> Passed<Vec<u8>> {
        self.read(path, 4096)
    }
    fn read(&self, path: &str, limit: usize) -> Passed<Vec<u8>> {
        let fail = |errno| Error::os(Operation::Read, path, errno);
        let content = self.0.file(path).map_err(fail)?;
        if content.len() > limit { Err(fail(Errno::EFBIG)) } else { Ok(content.to_vec()) }
    }
    fn head(&self, path: &str, most: usize) -> Passed<Vec<u8>> {
        let content = self.0.file(path).map_err(|errno| Error::os(Operation::Read, path, errno))?;
        Ok(content.get(..most).unwrap_or(content).to_vec())
    }
    fn list(&self, path: &str) -> Passed<Vec<String>> {
        self.0.list(path).map_err(|errno| Error::os(Operation::List, path, errno))
    }
    fn link(&self, path: &str) -> Passed<String> {
        self.0.link(path).map(ToOwned::to_owned).map_err(|errno| Error::os(Operation::Link, path, errno))
    }
    fn write(&self, path: &str, _: &str) -> Passed<()> {
        panic!("reading a configuration writes {path}")
    }
    fn load(&self, module: &str) -> Passed<()> {
        panic!("reading a configuration loads {module}")
    }
    fn save(&self, path: &str, _: &[u8]) -> Passed<()> {
        panic!("reading a configuration saves {path}")
    }
}

/// The claims as text, each with its place.
fn claims(config: &Config) -> Vec<String> {
    config.claims.iter().map(|claim| format!("{}: {claim}", claim.origin)).collect()
}

#[test]
fn nothing_configured_is_no_error() {
    let loaded = Files::new("quiet splash", &[]).loaded();
    assert_eq!(loaded, Loaded::default());
    assert_eq!(loaded.config.settings.step_timeout, Duration::from_secs(10));
}

#[test]
fn a_whole_configuration_is_understood() {
    let machine = Files::new(
        "root=/dev/sda1 vfio_early.claim=07:00.0,id=8086:1533,10de:2204,match=all vfio-early.on_failure=keep",
        &[(
            "/etc/vfio-early.conf",
            "# the card\r\n\
             \tclaim 01:00.0 id=10de:1e04 with=group\tdriver=auto # and all its functions\r\n\
             \n\
             claim 02:00.* allow=rmrr+storage driver=xe-vfio-pci\n\
             claim 00:1c.0/00.0/01.1 with=none\n\
             claim 10DE:1E04:1462:3711\n\
             claim pci:v000010DEd*bc03* match=all with=functions\n\
             set iommu optional\n\
             set on-failure restore\n\
             set framebuffer release\n\
             set step-timeout 300\n\
             set iommu required\n\
             set iommu optional",
        )],
    );
    let config = machine.loaded().config;
    assert_eq!(
        claims(&config),
        [
            "/etc/vfio-early.conf:2: claim 0000:01:00.0 id=10de:1e04 with=group driver=auto",
            "/etc/vfio-early.conf:4: claim 0000:02:00.* driver=xe_vfio_pci allow=storage+rmrr",
            "/etc/vfio-early.conf:5: claim 0000:00:1c.0/00.0/01.1 with=none",
            "/etc/vfio-early.conf:6: claim 10de:1e04:1462:3711",
            "/etc/vfio-early.conf:7: claim pci:v000010DEd*bc03* match=all with=functions",
            "kernel command line: claim 0000:07:00.0 id=8086:1533",
            "kernel command line: claim 10de:2204 match=all",
        ]
    );
    assert_eq!(config.claims[1].options.allow, [Guard::Storage, Guard::Rmrr]);
    assert_eq!(config.claims[1].options.driver, Driver::Named("xe_vfio_pci".into()));
    let settings = Settings {
        iommu: Iommu::Optional,
        on_failure: OnFailure::Keep,
        framebuffer: Framebuffer::Release,
        adopt_ids: true,
        step_timeout: Duration::from_secs(300),
    };
    assert_eq!(config.settings, settings);
}

#[test]
fn files_are_read_in_their_order_and_replace_each_other() {
    let machine = Files::new(
        "",
        &[
            ("/usr/lib/vfio-early.d/10-a.conf", "claim 01:00.0\nset iommu optional"),
            ("/usr/lib/vfio-early.d/20-b.conf", "claim 02:00.0"),
            ("/usr/lib/vfio-early.d/30-c.conf", "claim 03:00.0"),
            ("/usr/lib/vfio-early.d/40-d.conf", "claim 04:00.0"),
            ("/usr/lib/vfio-early.d/README", "broken"),
            ("/usr/lib/vfio-early.d/.10-a.conf", "broken"),
            ("/usr/lib/vfio-early.d/x.conf.dpkg-new", "broken"),
            ("/etc/vfio-early.conf", "claim 05:00.0\nset iommu required"),
            ("/etc/vfio-early.d/20-b.conf", "claim 06:00.0"),
            ("/etc/vfio-early.d/00-first.conf", "claim 07:00.0"),
        ],
    )
    .with("/etc/vfio-early.d/40-d.conf", Node::Link("/dev/null".into()))
    .with("/etc/vfio-early.d/50-e.conf", Node::Link("../../usr/lib/vfio-early.d/40-d.conf".into()));
    let loaded = machine.loaded();
    assert_eq!(
        loaded.files,
        [
            "/usr/lib/vfio-early.d/10-a.conf",
            "/usr/lib/vfio-early.d/30-c.conf",
            "/etc/vfio-early.conf",
            "/etc/vfio-early.d/00-first.conf",
            "/etc/vfio-early.d/20-b.conf",
            "/etc/vfio-early.d/50-e.conf",
        ]
    );
    let selectors: Vec<_> = loaded.config.claims.iter().map(|claim| claim.selector.to_string()).collect();
    let buses = ["01", "03", "05", "07", "06", "04"];
    assert_eq!(selectors, buses.map(|bus| format!("0000:{bus}:00.0")));
    assert_eq!(loaded.config.settings.iommu, Iommu::Required);
}

/// One wrong line and what is said about it, after the place.
const WRONG_LINES: &[(&str, &str)] = &[
    ("clam 01:00.0", "unknown directive `clam` (did you mean `claim`?); expected claim or set"),
    ("[claim]", "unknown directive `[claim]` (did you mean `claim`?); expected claim or set"),
    ("01:00.0", "unknown directive `01:00.0`; expected claim or set"),
    ("claim", "expected claim SELECTOR [OPTION...]"),
    ("claim 01:00.0 with=none#no", "`with=none#no`: expected functions, group or none"),
    ("claim #01:00.0", "expected claim SELECTOR [OPTION...]"),
    ("claim # 01:00.0", "expected claim SELECTOR [OPTION...]"),
    (
        "claim gpu",
        "`gpu`: expected a selector: an address (01:00.0), a slot (01:00.*), a path (00:01.0/00.0), an ID (10de:1e04) or a modalias pattern (pci:v000010DEd*bc03*)",
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
        "`01:00.1`: expected an option, NAME=VALUE with one of id, match, with, driver, rom, reset, rebar or allow",
    ),
    (
        "claim 01:00.0 wiht=group",
        "unknown option `wiht` (did you mean `with`?); expected id, match, with, driver, rom, reset, rebar or allow",
    ),
    (
        "claim 01:00.0 colour=red",
        "unknown option `colour`; expected id, match, with, driver, rom, reset, rebar or allow",
    ),
    ("claim 01:00.0 =", "unknown option ``; expected id, match, with, driver, rom, reset, rebar or allow"),
    ("claim 01:00.0 with=all", "`with=all`: expected functions, group or none"),
    ("claim 01:00.0 with=", "`with=`: expected functions, group or none"),
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
        "`allow=bridge`: the guard `bridge` is never lifted; expected storage, in-use, last-display or rmrr",
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
        "`rebar=0:16G`: expected a BAR from 0 to 5, each once, and a power of two from 1M on, such as 0:8G",
    ),
    ("claim 01:00.0 reset=bus+flr+bus", "`reset=bus+flr+bus`: `bus` is named twice"),
    ("claim 01:00.0 allow=", "`allow=`: unknown guard ``; expected storage, in-use, last-display or rmrr"),
    ("claim 01:00.0 with=none with=none", "`with=` is given twice, expected it once"),
    (
        "claim 01:00.0 match=one",
        "match= is for an ID or a modalias pattern, and 0000:01:00.0 names one place: leave it out",
    ),
    (
        "claim 01:00.* match=all",
        "match= is for an ID or a modalias pattern, and 0000:01:00.* names one place: leave it out",
    ),
    (
        "claim 10de:1e04 id=10de:1e05",
        "id=10de:1e05 contradicts the selector 10de:1e04: expected an ID that the selector selects",
    ),
    (
        "claim 10de:*:1462:* id=10de:1e05:1043:0001",
        "id=10de:1e05:1043:0001 contradicts the selector 10de:*:1462:*: expected an ID that the selector selects",
    ),
    ("set", "expected set NAME VALUE"),
    ("set iommu", "expected set NAME VALUE"),
    ("set iommu optional now", "expected set NAME VALUE"),
    ("set iommu = optional", "expected set NAME VALUE"),
    (
        "set on_failure keep",
        "unknown setting `on_failure` (did you mean `on-failure`?); expected iommu, on-failure, framebuffer, adopt-ids or step-timeout",
    ),
    ("set colour red", "unknown setting `colour`; expected iommu, on-failure, framebuffer, adopt-ids or step-timeout"),
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
    ("claim 01:00.0\0", "the line holds a NUL byte, expected text"),
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
            "/etc/vfio-early.d/a.conf:2: the line is not UTF-8, expected text",
            "/etc/vfio-early.d/a.conf:3: the line holds a NUL byte, expected text",
            "/etc/vfio-early.d/b.conf:2: the line has 4098 bytes, expected at most 4096",
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
            "/usr/lib/vfio-early.d: is not a directory, expected one",
            "/etc/vfio-early.conf: is a directory, expected a file",
            "/etc/vfio-early.d/a.conf: cannot be read: Permission denied",
            "/etc/vfio-early.d/b.conf: cannot be read: No such file or directory",
            "/etc/vfio-early.d/c.conf: cannot be read: Too many symbolic links encountered",
            "/etc/vfio-early.d/c\u{fffd}.conf: cannot be read: No such file or directory",
            "/etc/vfio-early.d/d.conf: has more than 1 MiB, expected a few lines of text",
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
    assert_eq!(machine.errors(), ["/etc/vfio-early.conf: has more than 1 MiB, expected a few lines of text"]);
    let machine = Files::new("", &[]).with("/etc/vfio-early.conf", Node::File(vec![b'x'; 1 << 20]));
    assert_eq!(machine.errors(), ["/etc/vfio-early.conf:1: the line has 1048576 bytes, expected at most 4096"]);
}

#[test]
fn a_flood_is_cut_short() {
    let start = Instant::now();
    let machine = Files::new("", &[("/etc/vfio-early.conf", &"x\n".repeat(1 << 19))]);
    let errors = machine.errors();
    assert_eq!(errors.len(), 101);
    assert_eq!(errors[100], "/etc/vfio-early.conf:101: too many problems; the rest is not looked at");

    let line = "vfio_early.claim=".to_owned() + &"01:00.0,".repeat(1 << 16);
    assert_eq!(Files::new(&line, &[]).errors().len(), 101);

    let mut many = String::new();
    (0..65536).for_each(|id| writeln!(many, "claim 10de:{id:04x}").unwrap());
    let machine = Files::new("", &[("/etc/vfio-early.conf", &many)]);
    let errors = machine.errors();
    assert_eq!(errors[0], "/etc/vfio-early.conf:4097: more than 4096 claims; expected fewer, by slot, ID or modalias");
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
            "/etc/vfio-early.conf:1: `with=x`: expected functions, group or none",
            "/etc/vfio-early.conf:3: 10de:1e04 is claimed twice (see /etc/vfio-early.conf:2); expected one claim",
            "kernel command line: 0000:01:00.0 is claimed twice (see /etc/vfio-early.conf:1); expected one claim",
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

/// A kernel command line and what is said about it, after the place.
const WRONG_COMMAND_LINES: &[(&str, &str)] = &[
    ("vfio_early", "vfio_early=``: expected on or off"),
    ("vfio_early=0", "vfio_early=`0`: expected on or off"),
    ("vfio_early=OFF", "vfio_early=`OFF`: expected on or off"),
    ("vfio_early=no vfio_early=on", "vfio_early=`no`: expected on or off"),
    (
        "vfio_early.clam=01:00.0",
        "unknown vfio_early parameter `clam` (did you mean `claim`?); expected claim, iommu, on-failure, framebuffer, adopt-ids or step-timeout",
    ),
    (
        "vfio_early.=1",
        "unknown vfio_early parameter ``; expected claim, iommu, on-failure, framebuffer, adopt-ids or step-timeout",
    ),
    ("vfio_early.claim", "vfio_early.claim: expected vfio_early.claim=VALUE"),
    ("vfio-early.step-timeout", "vfio_early.step_timeout: expected vfio_early.step_timeout=VALUE"),
    (
        "vfio_early.claim=",
        "``: expected a selector: an address (01:00.0), a slot (01:00.*), a path (00:01.0/00.0), an ID (10de:1e04) or a modalias pattern (pci:v000010DEd*bc03*)",
    ),
    (
        "vfio_early.claim=with=group,01:00.0",
        "`with=group`: expected a selector: an address (01:00.0), a slot (01:00.*), a path (00:01.0/00.0), an ID (10de:1e04) or a modalias pattern (pci:v000010DEd*bc03*)",
    ),
    (
        "vfio_early.claim=01:00.0,,02:00.0",
        "``: expected a selector: an address (01:00.0), a slot (01:00.*), a path (00:01.0/00.0), an ID (10de:1e04) or a modalias pattern (pci:v000010DEd*bc03*)",
    ),
    ("vfio_early.claim=\"pci:v* d*\"", "`pci:v* d*`: expected a modalias pattern such as pci:v000010DEd*bc03*"),
    ("vfio_early.claim=01:00.0,with=all", "`with=all`: expected functions, group or none"),
    ("vfio_early.claim=01:00.0,01:00.0", "0000:01:00.0 is claimed twice (see kernel command line); expected one claim"),
    ("vfio_early.iommu=on", "iommu `on`: expected required or optional"),
    ("vfio_early.on-failure=", "on-failure ``: expected restore or keep"),
    ("vfio_early.step_timeout=0", "step-timeout `0`: expected a number of seconds from 1 to 300"),
];

#[test]
fn every_wrong_parameter_is_told() {
    for (line, message) in WRONG_COMMAND_LINES {
        let machine = Files::new(&format!("quiet {line} ro"), &[]);
        assert_eq!(machine.errors(), [format!("kernel command line: {message}")], "{line:?}");
    }
}

#[test]
fn quotes_and_bytes_of_others_do_no_harm() {
    let mut line = b"BOOT_IMAGE=/vmlinuz root=LABEL=\xc3 \"vfio-early.claim=01:00.0,with=none\" vfio_early.claim=\"02:00.0\" vfio_earlyx=1 xvfio_early=2 vfio-early=\"on\" -- vfio_early.iommu=optional".to_vec();
    line.push(b'\n');
    let loaded = Files::new("", &[]).with("/proc/cmdline", Node::File(line)).loaded();
    assert_eq!(
        claims(&loaded.config),
        ["kernel command line: claim 0000:01:00.0 with=none", "kernel command line: claim 0000:02:00.0"]
    );
    assert_eq!(loaded.config.settings.iommu, Iommu::Optional);
}

#[test]
fn off_wins_over_whatever_is_broken() {
    let off = Loaded { config: Config { off: true, ..Config::default() }, ..Loaded::default() };
    for line in [
        "vfio_early=off",
        "vfio-early=off vfio_early.claim=nonsense vfio_early.x=y",
        "vfio_early=on vfio_early=what vfio_early=\"off\"",
        "quiet -- \"vfio_early=off\"",
    ] {
        let machine = Files::new(line, &[("/etc/vfio-early.d/a.conf", "nonsense")])
            .with("/etc/vfio-early.conf", Node::Directory)
            .with("/etc/modprobe.d", Node::Broken(Errno::EIO));
        assert_eq!(machine.loaded(), off, "{line}");
    }
    assert!(!Files::new("vfio_early=off vfio_early=on", &[]).loaded().config.off);
    assert_eq!(
        Files::new("vfio_early=off vfio_early=of", &[]).errors(),
        ["kernel command line: vfio_early=`of`: expected on or off"]
    );
}

#[test]
fn a_command_line_that_cannot_be_read_is_told() {
    let machine = Files::new("", &[]).with("/proc/cmdline", Node::Broken(Errno::EACCES));
    assert_eq!(machine.errors(), ["/proc/cmdline: cannot be read: Permission denied"]);
    let loaded = Files(Tree::default()).loaded();
    let warnings: Vec<_> = loaded.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(warnings, ["/proc/cmdline: is missing, so the kernel command line cannot be heeded"]);
}

/// What a machine adopts: its claims, and its warnings.
fn adopted(machine: &Files) -> (Vec<String>, Vec<String>) {
    let loaded = machine.loaded();
    (claims(&loaded.config), loaded.warnings.iter().map(ToString::to_string).collect())
}

#[test]
fn the_ids_of_vfio_pci_become_claims() {
    let machine = Files::new(
        "",
        &[
            (
                "/etc/modprobe.d/vfio.conf",
                "# options vfio-pci ids=1111:1111\noptions vfio-pci disable_vga=1 \\\n  ids=10de:1e04,\\\n10DE:10f7 # both\noptions vfio ids=2222:2222\nsoftdep nouveau pre: vfio-pci",
            ),
            ("/etc/vfio-early.conf", "claim 10de:10f7 with=functions"),
        ],
    );
    let (claims, warnings) = adopted(&machine);
    assert_eq!(
        claims,
        [
            "/etc/vfio-early.conf:1: claim 10de:10f7 with=functions",
            "/etc/modprobe.d/vfio.conf:2: claim 10de:1e04 match=all with=none",
        ]
    );
    assert!(warnings.is_empty(), "{warnings:?}");

    // The same device in other words is the same selector.
    for (own, entry) in [("8086:0001:0002:0003", "8086:1:2:3:030000"), ("10DE:*:*:*", "10de:ffffffff")] {
        let file = format!("claim {own} match=all");
        let (claims, _) = adopted(&Files::new(&format!("vfio-pci.ids={entry}"), &[("/etc/vfio-early.conf", &file)]));
        assert_eq!(claims.len(), 1, "{claims:?}");
        assert!(claims[0].starts_with("/etc/vfio-early.conf:1: "), "{claims:?}");
    }
}

#[test]
fn adopting_can_be_turned_off() {
    for line in ["vfio-pci.ids=10de:1e04", "vfio_pci.ids=\"10de:1e04\"", "\"vfio-pci.ids=10de:1e04,\""] {
        let (claims, warnings) = adopted(&Files::new(line, &[]));
        assert_eq!(claims, ["kernel command line: claim 10de:1e04 match=all with=none"], "{line}");
        assert!(warnings.is_empty());
        let (claims, warnings) = adopted(
            &Files::new(&format!("{line} vfio_early.adopt_ids=no"), &[])
                .with("/etc/modprobe.d", Node::File(Vec::new())),
        );
        assert!(claims.is_empty() && warnings.is_empty(), "{claims:?} {warnings:?}");
    }
}

#[test]
fn the_last_list_is_the_one_that_vfio_pci_takes() {
    let machine = Files::new(
        "vfio-pci.ids=0003:0003",
        &[
            ("/lib/modprobe.d/a.conf", "options vfio_pci ids=0001:0001"),
            ("/usr/lib/modprobe.d/b.conf", "options vfio_pci ids=0009:0009"),
            ("/etc/modprobe.d/b.conf", "\noptions vfio_pci ids=0002:0002"),
            ("/run/modprobe.d/c.conf.bak", "options vfio_pci ids=0009:0009"),
        ],
    );
    let (claims, warnings) = adopted(&machine);
    assert_eq!(claims, ["kernel command line: claim 0003:0003 match=all with=none"]);
    assert_eq!(
        warnings,
        [
            "/lib/modprobe.d/a.conf:1: vfio-pci heeds only the last ids= (see /etc/modprobe.d/b.conf:2), so this one is not claimed",
            "/etc/modprobe.d/b.conf:2: vfio-pci heeds only the last ids= (see kernel command line), so this one is not claimed",
        ]
    );
}

#[test]
fn what_vfio_pci_cannot_use_is_told_and_breaks_nothing() {
    for (entry, claim, warning) in [
        ("10de:1e04:1462:3711", "10de:1e04:1462:3711", ""),
        ("10de:1e04:1462", "10de:1e04:1462:*", ""),
        ("10de:ffffffff", "10de:*", ""),
        ("0x10de:0X1E04", "10de:1e04", ""),
        ("10de:1e04junk", "10de:1e04", ""),
        ("8086:ffffffff:ffffffff:ffffffff:00030000:ffffffff", "8086:*:*:*:030000", ""),
        ("8086:ffffffff:ffffffff:ffffffff:00030000:00ff0000", "8086:*:*:*:030000:ff0000", ""),
        ("8086:1:2:3:ff030000:ffff00", "8086:0001:0002:0003:030000:ffff00", ""),
        ("8086:1:2:3:030000", "8086:0001:0002:0003", ""),
        ("ffffffff:ffffffff:ffffffff:ffffffff:00030000:00ffff00", "pci:v*d*sv*sd*bc03sc00i*", ""),
        ("ffffffff:1e04", "pci:v*d00001E04sv*sd*bc*sc*i*", ""),
        ("ffffffff:ffffffff", "", "it selects every device there is"),
        ("ffffffff:1:2:3:030000:00fff000", "", "its class mask cuts through a byte"),
        ("10de", "", "expected VENDOR:DEVICE, and vfio-pci does not understand it either"),
        ("10de:*", "", "expected VENDOR:DEVICE, and vfio-pci does not understand it either"),
        ("gpu", "", "expected VENDOR:DEVICE, and vfio-pci does not understand it either"),
        ("10de1:1e04", "", "no device has such an ID"),
        ("10de:1e04:1:2:03000000:ff000000", "", "no device has such a class"),
    ] {
        let (claims, warnings) = adopted(&Files::new(&format!("vfio-pci.ids=,{entry},,{entry},abcd:abcd"), &[]));
        let mut expected: Vec<String> = [claim, "abcd:abcd"]
            .iter()
            .filter(|claim| !claim.is_empty())
            .map(|claim| format!("kernel command line: claim {claim} match=all with=none"))
            .collect();
        assert_eq!(claims, expected, "{entry}");
        expected = vec![format!("kernel command line: ids= entry `{entry}` is not claimed: {warning}"); 2];
        expected.truncate(if warning.is_empty() { 0 } else { 2 });
        assert_eq!(warnings, expected, "{entry}");
    }
}

#[test]
fn trouble_with_modprobe_files_is_only_a_warning() {
    let machine = Files::new("", &[("/etc/modprobe.d/z.conf", "options vfio-pci ids=10de:1e04")])
        .with("/etc/modprobe.d/a.conf", Node::Directory)
        .with("/etc/modprobe.d/b.conf", Node::Link("/dev/null".into()))
        .with("/etc/modprobe.d/c.conf", Node::File(vec![0; 2 << 20]))
        .with("/usr/lib/modprobe.d/b.conf", Node::File(b"options vfio-pci ids=1111:1111".to_vec()))
        .with("/lib", Node::Link("usr/lib".into()))
        .with("/run/modprobe.d", Node::Broken(Errno::EACCES));
    let (claims, warnings) = adopted(&machine);
    assert_eq!(claims, ["/etc/modprobe.d/z.conf:1: claim 10de:1e04 match=all with=none"]);
    assert_eq!(
        warnings,
        [
            "/run/modprobe.d: cannot be read: Permission denied",
            "/etc/modprobe.d/a.conf: is a directory, expected a file",
            "/etc/modprobe.d/c.conf: has more than 1 MiB, expected a few lines of text",
        ]
    );
    let (claims, warnings) = adopted(&Files::new(&format!("vfio-pci.ids={}", "a".repeat(1024)), &[]));
    assert!(claims.is_empty());
    assert_eq!(warnings, ["kernel command line: ids= has 1024 characters, and vfio-pci takes at most 1023"]);
}

#[test]
fn sizes_of_bars_are_powers_of_two_from_a_mebibyte_on() {
    let read = |value: &str| {
        let mut reader = Reader::default();
        reader.file("f", format!("claim 01:00.0 rebar={value}").as_bytes());
        reader.finish()
    };
    for (value, bar, exponent, printed) in [
        ("0:1M", 0, 0, "0:1M"),
        ("1:256M", 1, 8, "1:256M"),
        ("5:1024M", 5, 10, "5:1G"),
        ("2:008G", 2, 13, "2:8G"),
        ("0:8388608M", 0, 23, "0:8T"),
        ("0:8E", 0, 43, "0:8E"),
    ] {
        let rebar = read(value).unwrap().claims[0].options.rebar[0];
        assert_eq!((rebar.bar, rebar.exponent, rebar.to_string().as_str()), (bar, exponent, printed), "{value}");
        assert_eq!(rebar.bytes(), 1 << (20 + u32::from(exponent)), "{value}");
    }
    for value in [
        "",
        ":",
        "0",
        "0:",
        "0:G",
        "0:8",
        "0:8g",
        "0:8K",
        "0:0G",
        "0:3G",
        "0:+8G",
        "0:-8G",
        "0:8é",
        "0:16E",
        "6:8G",
        "00006:8G",
        ":8G",
        "a:8G",
        "0:8GB",
        "0:8:G",
        "0:99999999999G",
    ] {
        let errors = read(value).unwrap_err();
        let wanted = format!(
            "f:1: `rebar={value}`: expected a BAR from 0 to 5, each once, and a power of two from 1M on, such as 0:8G"
        );
        assert_eq!(errors[0].to_string(), wanted);
    }
}

#[test]
fn the_tables_say_what_the_parser_takes() {
    for word in OPTIONS {
        for value in word.values.split('|').filter(|value| !value.contains(char::is_uppercase)) {
            let line = format!("claim 10de:1e04 {}={value}", word.name);
            let mut reader = Reader::default();
            reader.file("f", line.as_bytes());
            assert!(reader.finish().is_ok(), "{line}");
        }
    }
    for word in SETTINGS {
        for value in word.values.split('|').filter(|value| !value.contains(char::is_uppercase)) {
            let mut reader = Reader::default();
            reader.command_line(format!("vfio_early.{}={value}", word.name).as_bytes());
            assert!(reader.finish().is_ok(), "{} {value}", word.name);
        }
    }
    let printed = Settings::default().to_string();
    assert_eq!(printed.lines().count(), SETTINGS.len());
    for (line, word) in printed.lines().zip(SETTINGS) {
        assert!(line.starts_with(&format!("set {} ", word.name)), "{line}");
    }
    let claim = Claim {
        selector: "10de:1e04".parse().unwrap(),
        origin: Origin::command_line(),
        options: Options {
            id: Some("10de:1e04".parse().unwrap()),
            all: true,
            with: Some(With::Group),
            driver: Driver::Auto,
            save_rom: true,
            reset: vec!["flr", "bus"],
            rebar: vec![Rebar { bar: 1, exponent: 13 }],
            allow: vec![Guard::InUse, Guard::Rmrr],
        },
        adopted: false,
    };
    let printed = claim.to_string();
    assert_eq!(
        printed,
        "claim 10de:1e04 id=10de:1e04 match=all with=group driver=auto rom=save reset=flr+bus rebar=1:8G allow=in-use+rmrr"
    );
    let names: Vec<_> = printed.split(' ').filter_map(|word| word.split_once('=')).map(|(name, _)| name).collect();
    assert_eq!(names, OPTIONS.iter().map(|word| word.name).collect::<Vec<_>>(), "an option that is not printed");
}
