// SPDX-License-Identifier: MIT OR Apache-2.0
//! The configuration, from files and kernel command line to claims and settings, and every way in which it can be wrong.

mod adopted;
mod command_line;
mod properties;
mod wrong;

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use vfio_early::config::{
    Claim, Config, Driver, Framebuffer, Guard, IommuPolicy, Loaded, OPTIONS, OnFailure, Options, Origin, Reader, Rebar,
    SETTINGS, Settings, Sources, With, load,
};
use vfio_early::machine::{Error, Machine, Node, Operation, Result as Passed, Tree};

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
        load(self, Sources::AtBoot).unwrap_or_else(|errors| panic!("{errors:#?}"))
    }

    fn errors(&self) -> Vec<String> {
        match load(self, Sources::AtBoot) {
            Ok(loaded) => panic!("{loaded:#?}"),
            Err(errors) => errors.iter().map(ToString::to_string).collect(),
        }
    }
}

impl Machine for Files {
    fn attribute(&self, path: &str) -> Passed<Vec<u8>> {
        self.read(path, 4096)
    }
    fn read(&self, path: &str, limit: usize) -> Passed<Vec<u8>> {
        let fail = |errno| Error::os(Operation::Read, path, errno);
        let content = self.0.file(path).map_err(fail)?;
        if content.len() > limit { Err(fail(Errno::EFBIG)) } else { Ok(content.to_vec()) }
    }
    fn read_prefix(&self, path: &str, most: usize) -> Passed<Vec<u8>> {
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
    fn load(&self, module: &str, _options: &[&str]) -> Passed<()> {
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
             set isolation required\n\
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
            "/etc/vfio-early.conf:7: claim pci:v000010DEd*bc03* match=all with=card",
            "kernel command line: claim 0000:07:00.0 id=8086:1533",
            "kernel command line: claim 10de:2204 match=all",
        ]
    );
    assert_eq!(config.claims[1].options.allow, [Guard::Storage, Guard::Rmrr]);
    assert_eq!(config.claims[1].options.driver, Driver::Named("xe_vfio_pci".into()));
    let settings = Settings {
        trial: false,
        iommu: IommuPolicy::Optional,
        isolation_required: true,
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
    assert_eq!(loaded.config.settings.iommu, IommuPolicy::Required);
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
            "f:1: `rebar={value}`: expected a BAR from 0 to 5, each once, and a power of two of at least 1M, such as 0:8G"
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
            power_on: true,
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
        "claim 10de:1e04 id=10de:1e04 match=all with=group driver=auto rom=save reset=flr+bus rebar=1:8G power=on allow=in-use+rmrr"
    );
    let names: Vec<_> = printed.split(' ').filter_map(|word| word.split_once('=')).map(|(name, _)| name).collect();
    assert_eq!(names, OPTIONS.iter().map(|word| word.name).collect::<Vec<_>>(), "an option that is not printed");
}
