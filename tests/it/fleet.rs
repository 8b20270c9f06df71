// SPDX-License-Identifier: MIT OR Apache-2.0
//! What engines that watch many machines read: every line is of their format, and says what `status --json` says.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use vfio_early::json::{self, Value};
use vfio_early::machine::Node;

use crate::support::disk::Scratch;
use crate::support::exposition::{self, Sample};
use crate::support::files::machines;
use crate::support::program::{MachineRoot, Ran, have, program, run, say, tree};

const STATES: [&str; 7] = ["claimed", "pending", "refused", "failed", "missing", "drifted", "taken"];

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    match value.field(field) {
        Value::Text(text) => text,
        Value::Null => "",
        other => panic!("{field}: {other:?}"),
    }
}

fn list(value: &Value) -> &[Value] {
    if let Value::List(values) = value { values } else { panic!("no list: {value:?}") }
}

/// The value of the one sample with this name and these labels.
fn value<'a>(samples: &'a [Sample], name: &str, labels: &[(&str, &str)]) -> Option<&'a str> {
    let fits = |sample: &&Sample| {
        sample.name == name
            && sample.labels.iter().map(|(name, text)| (name.as_str(), text.as_str())).eq(labels.iter().copied())
    };
    samples.iter().find(fits).map(|sample| sample.value.as_str())
}

/// Holds a file for node_exporter against the document.
fn hold(samples: &[Sample], document: &Value) {
    let iommu = document.field("iommu");
    for (name, field) in
        [("vfio_early_iommu_state", "state"), ("vfio_early_interrupt_remapping", "interrupt_remapping")]
    {
        let all: Vec<&Sample> = samples.iter().filter(|sample| sample.name == name).collect();
        let on: Vec<&str> =
            all.iter().filter(|sample| sample.value == "1").map(|sample| sample.labels[0].1.as_str()).collect();
        assert_eq!((all.len(), on.as_slice()), (3, [text(iommu, field)].as_slice()), "{name}");
    }
    let claims = list(document.field("claims"));
    for state in STATES {
        let count = claims.iter().filter(|claim| text(claim, "state") == state).count().to_string();
        assert_eq!(value(samples, "vfio_early_claims", &[("state", state)]), Some(count.as_str()), "{state}");
    }
    for claim in claims {
        let own = [
            ("device", text(claim, "device")),
            ("selector", text(claim, "selector")),
            ("source", text(claim, "source")),
        ];
        for state in STATES {
            let labels = [own.as_slice(), &[("state", state)]].concat();
            let expected = if text(claim, "state") == state { "1" } else { "0" };
            assert_eq!(value(samples, "vfio_early_claim_state", &labels), Some(expected), "{claim:?}");
        }
    }
    let of_claims = samples.iter().filter(|sample| sample.name == "vfio_early_claim_state").count();
    assert_eq!(of_claims, claims.len() * STATES.len());
}

/// The features of a file, each of which may be a label of a node (Kubernetes, "Labels and Selectors").
fn features(file: &str) -> BTreeMap<String, String> {
    let fits = |text: &str| {
        let ends = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
        let inside = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'));
        inside && text.len() <= 63 && ends(text.as_bytes().first()) && ends(text.as_bytes().last())
    };
    assert!(file.ends_with('\n') && file.len() < 64 * 1024);
    let mut features = BTreeMap::new();
    for line in file.lines() {
        let (key, value) = line.split_once('=').unwrap_or_else(|| panic!("no value: {line}"));
        let name = key.strip_prefix("feature.node.kubernetes.io/").unwrap_or_else(|| panic!("namespace: {line}"));
        assert!(fits(name) && fits(value), "no label: {line}");
        assert!(features.insert(name.to_owned(), value.to_owned()).is_none(), "twice: {line}");
    }
    features
}

/// Judges everything that is said about a machine; returns the files and the document.
fn judge(root: &Path) -> (Vec<Sample>, BTreeMap<String, String>, Value) {
    let of = |arguments: &str| run(&mut program(root, arguments));
    let (document, metrics, file) = (of("status --json"), of("status --format prometheus"), of("status --format nfd"));
    assert!(matches!(document.status, 0..=3), "{document:?}");
    assert_eq!([metrics.status, file.status], [document.status; 2], "{metrics:?}");
    let samples = exposition::parse(&metrics.stdout).unwrap_or_else(|wrong| panic!("{wrong}\n{}", metrics.stdout));
    let status = document.status.to_string();
    assert_eq!(value(&samples, "vfio_early_status", &[]), Some(status.as_str()));
    let features = features(&file.stdout);
    assert_eq!(features["vfio-early.status"], status);
    let document = json::read(&document.stdout).unwrap();
    if status != "2" {
        hold(&samples, &document);
        for state in STATES {
            let count = list(document.field("claims")).iter().filter(|claim| text(claim, "state") == state).count();
            assert_eq!(features[&format!("vfio-early.{state}")], count.to_string());
        }
    }
    (samples, features, document)
}

#[test]
fn every_machine_is_told_in_both_formats() {
    let configurations = [
        "",
        "claim pci:v*bc03* match=all allow=last-display\n",
        "claim 01:00.0\nclaim 65:00.*\nclaim ffff:ff:1f.7\nset iommu optional\n",
        "claim what\n",
    ];
    let scratch = Scratch::new("fleet");
    let at = scratch.0.join("machine");
    let mut seen = 0;
    for machine in machines() {
        let recorded = fs::read_to_string(&machine).unwrap();
        for configuration in configurations {
            let lines = configuration.replace("claim", "  claim").replace("set", "  set");
            fs::write(&at, format!("{recorded}\nat /etc\nvfio-early.conf |\n{lines}")).unwrap();
            let (samples, ..) = judge(&at);
            seen += samples.len();
        }
    }
    assert!(seen > 2000, "{seen}");
}

#[test]
fn names_of_every_kind_are_escaped() {
    // A backslash, a quote and a line feed are what the format escapes.
    let name = "a\\b\"c\nd{}.conf";
    let mut tree = tree("two-identical-gpus-claimed", "");
    tree.put(&format!("/etc/vfio-early.d/{name}"), Node::File(b"claim 65:00.0\n".to_vec()));
    let machine = MachineRoot::new(&tree);
    let (samples, ..) = judge(&machine.root);
    let sources: Vec<&String> = samples
        .iter()
        .flat_map(|sample| &sample.labels)
        .filter(|(name, _)| name == "source")
        .map(|(_, text)| text)
        .collect();
    assert_eq!(sources.len(), 14);
    assert!(sources.iter().all(|source| **source == format!("/etc/vfio-early.d/{name}:1")), "{sources:?}");
}

#[test]
fn drift_is_counted_and_models_are_told() {
    let mut tree = tree("two-identical-gpus-drifted", "claim 65:00.0\n");
    let claim = |device: &str| {
        format!(
            r#"{{"selector":"0000:65:00.0","source":"x","device":"{device}","state":"claimed","driver":"vfio-pci","target":"vfio-pci","guard":null,"reason":null,"stage":"initramfs","time_ms":1420,"before":[]}}"#
        )
    };
    let report = format!(
        r#"{{"version":"0","kernel":"6","dry_run":false,"stage":"initramfs","time_ms":1420,"duration_ms":7,"status":0,"iommu":{{"state":"enabled","kind":null,"units":[],"firmware_table":null,"interrupt_remapping":"enabled","advice":[]}},"steps":[],"claims":[{},{}],"problems":[]}}"#,
        claim("0000:65:00.0"),
        claim("0000:65:00.1")
    );
    tree.put("/run/vfio-early/report.json", Node::File(report.into_bytes()));
    let machine = MachineRoot::new(&tree);
    let (samples, features, _) = judge(&machine.root);
    assert_eq!(value(&samples, "vfio_early_claims", &[("state", "drifted")]), Some("1"));
    assert_eq!(value(&samples, "vfio_early_last_claim_seconds", &[("stage", "initramfs")]), Some("1.420"));
    assert_eq!(value(&samples, "vfio_early_last_claim_duration_seconds", &[]), Some("0.007"));
    let labels = [("device", "0000:65:00.1"), ("group", "2")];
    assert_eq!(value(&samples, "vfio_early_group_viable", &labels), Some("0"));
    assert_eq!(features["vfio-early.drifted"], "1");
    assert_eq!(features["vfio-early.claimed.10de-1aef"], "1");
    assert!(!features.contains_key("vfio-early.claimed.10de-2204"), "{features:?}");
}

#[test]
fn equal_models_are_counted_together() {
    let mut tree = tree("two-identical-gpus-claimed", "claim 10de:2204 match=all with=card allow=last-display\n");
    for function in ["0000:17:00.0", "0000:17:00.1"] {
        let driver = Node::Link("../../../../bus/pci/drivers/vfio-pci".to_owned());
        tree.put(&format!("/sys/devices/pci0000:16/0000:16:00.0/{function}/driver"), driver);
    }
    let (_, features, _) = judge(&MachineRoot::new(&tree).root);
    assert_eq!(features["vfio-early.claimed.10de-2204"], "2");
    assert_eq!(features["vfio-early.claimed.10de-1aef"], "2");
}

#[test]
fn a_machine_that_cannot_be_read_is_told_as_well() {
    let scratch = Scratch::new("fleet");
    let root = scratch.0.join("empty");
    fs::create_dir(&root).unwrap();
    let ran: Ran = run(&mut program(&root, "status --format prometheus"));
    assert_eq!(ran.status, 4, "{ran:?}");
    let samples = exposition::parse(&ran.stdout).unwrap();
    assert_eq!(value(&samples, "vfio_early_status", &[]), Some("4"));
    for arguments in ["status --format what", "status --format nfd --json", "status --format=json"] {
        let ran = run(&mut program(&root, arguments));
        assert_eq!(ran.status, 2, "{arguments}: {ran:?}");
        assert!(ran.stderr.contains("--format"), "{ran:?}");
    }
}

/// The commands of the units are run as systemd runs them, into directories of the test.
#[test]
fn the_units_put_both_files_in_place_and_start_no_shell() {
    let scratch = Scratch::new("unit");
    for (name, variable) in [("status", "TEXTFILE_DIRECTORY"), ("features", "FEATURES_DIRECTORY")] {
        let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("systemd/vfio-early-{name}.service"));
        let unit = fs::read_to_string(unit).unwrap();
        let lines: Vec<&str> = unit.lines().filter_map(|line| line.strip_prefix("ExecStart=")).collect();
        let [line] = lines.as_slice() else { panic!("{lines:?}") };
        let directory = scratch.0.join(name);
        fs::create_dir(&directory).unwrap();
        let line = line.replace(&format!("${{{variable}}}"), directory.to_str().unwrap());
        let mut words = line.split(' ');
        assert_eq!(words.next(), Some("/usr/bin/vfio-early"));
        for _ in 0..2 {
            let status =
                Command::new(env!("CARGO_BIN_EXE_vfio-early")).args(words.clone()).env_clear().status().unwrap();
            // SuccessExitStatus=: what is wrong with the claims is in the file.
            assert!((0..=4).contains(&status.code().unwrap()), "{line}");
        }
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1, "{name}");
    }
    exposition::parse(&fs::read_to_string(scratch.0.join("status/vfio-early.prom")).unwrap()).unwrap();
    features(&fs::read_to_string(scratch.0.join("features/vfio-early")).unwrap());
}

/// How far the units are closed (systemd.exec(5)).
#[test]
fn the_units_are_closed() {
    if !have("systemd-analyze", "how far the units are closed") {
        return;
    }
    for (name, most) in [("vfio-early-status", 3.0), ("vfio-early-features", 3.0), ("vfio-early", 4.5)] {
        let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("systemd/{name}.service"));
        let lines = fs::read_to_string(&unit).unwrap();
        assert!(!lines.contains("/bin/sh"), "{name}");
        // Without it, no mark of a trial can be changed; `make boot CASE=trial-systemd` shows that.
        assert!(name != "vfio-early" || lines.contains(" CAP_LINUX_IMMUTABLE\n"), "{name}");
        let output = Command::new("systemd-analyze").args(["security", "--offline=yes"]).arg(&unit).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let exposure = text.lines().find_map(|line| line.split_once("exposure level for")?.1.split_whitespace().nth(1));
        let Some(exposure) = exposure.and_then(|word| word.parse::<f64>().ok()) else {
            say(&format!("NOT RUN: how far {name} is closed: this systemd-analyze cannot tell: {output:?}"));
            continue;
        };
        assert!(exposure < most, "{name}: {exposure}");
    }
}
