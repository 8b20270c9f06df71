// SPDX-License-Identifier: MIT OR Apache-2.0
//! Any bytes as a recorded machine: it is read or refused, what is read is printed and read again, and a snapshot of it can be
//! read, too.

use vfio_early::machine::{Machine, Recorded, Recorder, print};

/// The entry point.
pub(crate) fn run(data: &[u8]) {
    let text = [b"vfio-early machine 1\n", data].concat();
    for bytes in [data, text.as_slice()] {
        let Ok(machine) = Recorded::parse(bytes) else { continue };
        let printed = print(machine.tree());
        let again = Recorded::parse(printed.as_bytes()).expect("what is printed is right");
        assert_eq!(print(again.tree()), printed);
        let recorder = Recorder::new(&machine);
        for (path, _) in machine.tree().iter().take(64) {
            let _ = recorder.list(path);
            let _ = recorder.read(path, 4096);
            let _ = recorder.link(path);
        }
        let snapshot = vfio_early::snapshot::print(recorder.into_observations(), "none");
        Recorded::parse(snapshot.as_bytes()).expect("a snapshot is a recorded machine");
    }
}
