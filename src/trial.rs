// SPDX-License-Identifier: MIT OR Apache-2.0
//! `set trial yes`: whether a boot may claim, decided from a mark that survives a reset.
//!
//! The mark is an EFI variable. It holds the digest of a configuration and what is known of it: on trial since this boot,
//! good, or to be tried again. Functions here decide; [`crate::execute::mark`] writes.

use crate::inventory::Mount;
use crate::json::{fields, readable, readable_words};
use crate::machine::Machine;

/// Where efivarfs is mounted.
pub const VARIABLES: &str = "/sys/firmware/efi/efivars";

/// The file of the mark: the name of the variable, and a GUID that nothing else uses.
pub const MARK: &str = "/sys/firmware/efi/efivars/VfioEarlyTrial-a5b1ee7b-8618-4581-b594-89541b6a48b5";

/// The size of a mark, whatever it says: a variable that is written again needs no more room.
const MARK_SIZE: usize = 40;

/// The maximum size of a mark.
const MAX_MARK: usize = 256;

/// What efivarfs has before the data: the attributes non-volatile, boot services and runtime (fs/efivarfs/file.c,
/// `efivarfs_file_write`; UEFI 2.10, 8.2.1).
const ATTRIBUTES: [u8; 4] = [7, 0, 0, 0];

/// How a configuration stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Without a trial.
    #[default]
    Off,
    /// On trial in this boot.
    Running,
    /// Confirmed.
    Good,
    /// Nothing is claimed in this boot.
    Blocked,
}

readable_words!(State { Off: "off", Running: "running", Good: "good", Blocked: "blocked" });

/// How a boot stands with its configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trial {
    /// How it stands.
    pub state: State,
    /// The digest of the configuration.
    pub digest: String,
}

fields!(Trial { state, digest });
readable!(Trial { state, digest });

/// What a mark says of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is on trial since the boot with this ID.
    Running(String),
    /// It was confirmed.
    Good,
    /// It is to be tried once more.
    Retry,
}

/// The content of the EFI variable. Its text is `running DIGEST BOOT`, `good DIGEST` or `retry DIGEST`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// What is known of the configuration.
    pub verdict: Verdict,
    /// The digest of the configuration.
    pub digest: String,
}

impl Mark {
    /// The content of the variable's file.
    pub fn bytes(&self) -> Vec<u8> {
        let digest = self.digest.as_str();
        let text = match &self.verdict {
            Verdict::Running(boot) => ["running ", digest, " ", boot].concat(),
            Verdict::Good => ["good ", digest].concat(),
            Verdict::Retry => ["retry ", digest].concat(),
        };
        let mut bytes = [ATTRIBUTES.as_slice(), text.as_bytes()].concat();
        bytes.resize(bytes.len().max(MARK_SIZE), b' ');
        bytes
    }

    /// Parses the content of the variable's file. `None` if it is no mark: an attempt to create a variable that failed leaves
    /// an empty file until Linux 6.13.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes.get(ATTRIBUTES.len()..)?).ok()?;
        let mut words = text.split_ascii_whitespace();
        let (word, digest) = (words.next()?, words.next()?.to_owned());
        let verdict = match word {
            "running" => Verdict::Running(words.next().unwrap_or_default().to_owned()),
            "good" => Verdict::Good,
            "retry" => Verdict::Retry,
            _ => return None,
        };
        Some(Self { verdict, digest })
    }
}

/// Whether efivarfs is mounted, and then whether read-only.
pub fn mounted(mounts: &[Mount]) -> Option<bool> {
    let mut mounts = mounts.iter().rev();
    let mount = mounts.find(|mount| mount.mount_point == VARIABLES && mount.fs_type == "efivarfs")?;
    Some(mount.read_only)
}

/// What is known when a claim is planned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Why no mark can be kept.
    pub obstacle: Option<String>,
    /// The mark.
    pub mark: Option<Mark>,
    /// What the first claim of this boot decided.
    pub recorded: Option<Trial>,
    /// The ID of this boot; empty if it was not read.
    pub boot: String,
}

impl Facts {
    /// Reads the mark. `mounted`: whether efivarfs is mounted read-only, if it is mounted.
    pub fn read(machine: &dyn Machine, mounted: Option<bool>, recorded: Option<Trial>) -> Self {
        let mark = machine.read(MARK, MAX_MARK);
        let obstacle = match (&mark, mounted) {
            (Err(error), Some(_)) if !error.is_missing() => Some(error.to_string()),
            (_, Some(true)) => Some([VARIABLES, " is mounted read-only"].concat()),
            (_, Some(false)) => None,
            (_, None) if machine.list("/sys/firmware/efi").is_err() => {
                Some("this machine was not booted by UEFI firmware".to_owned())
            }
            (_, None) => Some(["efivarfs is not mounted at ", VARIABLES].concat()),
        };
        Self { obstacle, mark: mark.ok().and_then(|bytes| Mark::parse(&bytes)), recorded, boot: String::new() }
    }

    /// The verdict of the mark on a configuration.
    pub fn verdict(&self, digest: &str) -> Option<&Verdict> {
        self.mark.as_ref().filter(|mark| mark.digest == digest).map(|mark| &mark.verdict)
    }
}

/// What a claim may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Claim. The state is unknown for a claim that no boot has tried: a person runs it.
    Go(Option<State>),
    /// Write the mark, then claim: a trial begins.
    Begin,
    /// Claim nothing, for this reason.
    Block(String),
}

/// Decides about the configuration with this digest. `by_hand`: a person runs the claim on the running system.
pub fn decide(facts: &Facts, digest: &str, by_hand: bool) -> Decision {
    let verdict = facts.verdict(digest);
    let good_or = |state| Decision::Go(Some(if verdict == Some(&Verdict::Good) { State::Good } else { state }));
    match facts.recorded.as_ref().filter(|recorded| recorded.digest == digest) {
        Some(Trial { state: State::Blocked, .. }) => return Decision::Block(obstacle(facts, verdict)),
        Some(Trial { state: State::Off, .. }) => return Decision::Go(None),
        Some(_) => return good_or(State::Running),
        None if by_hand => return Decision::Go(None),
        None => {}
    }
    match verdict {
        Some(Verdict::Good) => Decision::Go(Some(State::Good)),
        // The run of this boot that wrote it was killed, or could not keep its report.
        Some(Verdict::Running(boot)) if !boot.is_empty() && *boot == facts.boot => Decision::Go(Some(State::Running)),
        Some(Verdict::Running(_)) => Decision::Block(obstacle(facts, verdict)),
        Some(Verdict::Retry) | None if facts.obstacle.is_some() => Decision::Block(obstacle(facts, verdict)),
        Some(Verdict::Retry) | None => Decision::Begin,
    }
}

/// Why a boot claims nothing.
fn obstacle(facts: &Facts, verdict: Option<&Verdict>) -> String {
    match (verdict, &facts.obstacle) {
        (Some(Verdict::Running(_)), _) => UNCONFIRMED.to_owned(),
        (Some(Verdict::Good), _) => "nothing is claimed in this boot; the next boot claims again".to_owned(),
        (Some(Verdict::Retry), None) => "nothing is claimed in this boot; the next boot tries again".to_owned(),
        (_, Some(why)) => no_place(why),
        (None, None) => no_place("the EFI variable could not be written"),
    }
}

/// Why a boot claims nothing after one that nobody confirmed.
pub const UNCONFIRMED: &str = "an earlier boot with this configuration was not confirmed, so nothing is claimed: \
    `vfio-early confirm --retry` tries it again at the next boot, a changed configuration is tried anew, and \
    vfio_early.trial=no on the kernel command line claims without a trial";

/// Why a boot claims nothing without a mark.
pub fn no_place(why: &str) -> String {
    [
        "`set trial yes` cannot keep its mark, so nothing is claimed: ",
        why,
        "; vfio_early.trial=no claims without a trial",
    ]
    .concat()
}

/// What a person has to know while a trial runs.
pub const RUNNING: &str = "the configuration is on trial: run `vfio-early confirm` once the machine works as it should, or \
    the next boot claims nothing";

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(verdict: Verdict, digest: &str) -> Mark {
        Mark { verdict, digest: digest.to_owned() }
    }

    fn facts(mark: Option<Mark>) -> Facts {
        Facts { obstacle: None, mark, recorded: None, boot: "2".to_owned() }
    }

    fn recorded(state: State) -> Facts {
        let mark = Some(mark(Verdict::Running("2".to_owned()), "d"));
        Facts { recorded: Some(Trial { state, digest: "d".to_owned() }), ..facts(mark) }
    }

    #[test]
    fn a_mark_is_read_as_it_was_written() {
        for verdict in [Verdict::Running("1a2b3c4d".to_owned()), Verdict::Good, Verdict::Retry] {
            let mark = Mark { verdict, digest: "0123456789abcdef".to_owned() };
            assert!(mark.bytes().len() == MARK_SIZE && mark.bytes().starts_with(&ATTRIBUTES));
            assert_eq!(Mark::parse(&mark.bytes()), Some(mark));
        }
        for bytes in
            [b"".as_slice(), b"\x07\0\0", b"\x07\0\0\0", b"\x07\0\0\0good", b"\x07\0\0\0bad d", b"\x07\0\0\0\xff"]
        {
            assert_eq!(Mark::parse(bytes), None);
        }
    }

    #[test]
    fn a_boot_claims_unless_an_earlier_one_was_not_confirmed() {
        let running = |boot: &str| Verdict::Running(boot.to_owned());
        let state = |facts: &Facts| match decide(facts, "d", false) {
            Decision::Go(state) => state.map_or("go", State::name),
            Decision::Begin => "begin",
            Decision::Block(_) => "block",
        };
        for (mark, expected) in [
            (None, "begin"),
            (Some(mark(Verdict::Good, "d")), "good"),
            (Some(mark(Verdict::Good, "other")), "begin"),
            (Some(mark(running("1"), "other")), "begin"),
            (Some(mark(running("1"), "d")), "block"),
            (Some(mark(running("2"), "d")), "running"),
            (Some(mark(Verdict::Retry, "d")), "begin"),
        ] {
            assert_eq!(state(&facts(mark.clone())), expected, "{mark:?}");
        }
        // Without an ID, no boot is known to be this one.
        assert_eq!(state(&Facts { boot: String::new(), ..facts(Some(mark(running(""), "d"))) }), "block");
        // Only what has to be written needs a place.
        let read_only = |mark| Facts { obstacle: Some("read-only".to_owned()), ..facts(mark) };
        assert_eq!(state(&read_only(Some(mark(Verdict::Good, "d")))), "good");
        assert_eq!(state(&read_only(None)), "block");
        assert_eq!(state(&read_only(Some(mark(running("1"), "d")))), "block");
    }

    #[test]
    fn the_first_claim_decides_for_the_whole_boot() {
        assert_eq!(decide(&recorded(State::Running), "d", false), Decision::Go(Some(State::Running)));
        assert_eq!(decide(&recorded(State::Off), "d", false), Decision::Go(None));
        assert_eq!(decide(&recorded(State::Blocked), "d", true), Decision::Block(UNCONFIRMED.to_owned()));
        let good = Facts { mark: Some(mark(Verdict::Good, "d")), ..recorded(State::Running) };
        assert_eq!(decide(&good, "d", false), Decision::Go(Some(State::Good)));
        // A person may claim what no boot has tried.
        assert_eq!(decide(&recorded(State::Blocked), "other", true), Decision::Go(None));
        assert_eq!(decide(&facts(None), "d", true), Decision::Go(None));
        // udev must not.
        assert_eq!(decide(&recorded(State::Blocked), "other", false), Decision::Begin);
    }
}
