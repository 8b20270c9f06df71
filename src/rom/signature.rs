// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who signed an EFI driver: the names in the PKCS #7 signature that Authenticode keeps in a PE file (RFC 2315, sections 9.1
//! and 9.2; RFC 5280, section 4.1). Nothing is verified.

use der::asn1::AnyRef;
use der::{Decode as _, SliceReader, Tag, TagNumber, Tagged as _};

use crate::json::fields;

use super::bytes::{array, part, printable, u8_at, u32_at};

/// The signer of a driver, as the signature names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signer {
    /// The common name of the certificate; empty if the certificate is not there.
    pub name: String,
    /// The common name of the authority that issued it.
    pub issuer: String,
}

fields!(Signer { name, issuer });

/// The authority of most drivers for graphics cards. Its certificate expired on 27 June 2026.
pub(super) const EXPIRED: &str = "Microsoft Corporation UEFI CA 2011";

/// A driver has no more signatures: Microsoft signs with two authorities at most.
const MAX_SIGNATURES: usize = 8;

/// The PKCS #7 signatures (type 2) in the table of `WIN_CERTIFICATE`s at this offset and of this length.
pub(super) fn all(driver: &[u8], (at, length): (usize, usize)) -> impl Iterator<Item = &[u8]> {
    let mut table = part(driver, at, length).unwrap_or_default();
    let next = move || {
        let length = u32_at(table, 0).filter(|&length| length >= 8)?;
        let entry = part(table, 0, length)?;
        table = table.get(length.checked_next_multiple_of(8)?..).unwrap_or_default();
        Some(entry)
    };
    std::iter::from_fn(next).take(MAX_SIGNATURES).filter_map(|entry| {
        // Revision 2.0, type 2, then a DER SEQUENCE.
        let kind: [u8; 4] = array(entry, 4)?;
        entry.get(8..).filter(|body| kind == [0, 2, 2, 0] && u8_at(body, 0) == Some(0x30))
    })
}

/// `[0]`, with a structure in it.
const CONTEXT_0: Tag = Tag::ContextSpecific { constructed: true, number: TagNumber(0) };
/// The object identifier of a common name, 2.5.4.3.
const COMMON_NAME: &[u8] = &[0x55, 4, 3];

/// The signers of a driver.
pub(super) fn signers(driver: &[u8], place: (usize, usize)) -> Vec<Signer> {
    all(driver, place).filter_map(signer).collect()
}

/// The first signer in a signature.
fn signer(signature: &[u8]) -> Option<Signer> {
    let mut content = Elements::of(signature)?.sequence()?;
    content.expect(Tag::ObjectIdentifier)?;
    let mut data = Elements::of(content.expect(CONTEXT_0)?)?.sequence()?;
    // Version, algorithms, what was signed.
    data.expect(Tag::Integer)?;
    data.expect(Tag::Set)?;
    data.expect(Tag::Sequence)?;
    let (mut certificates, mut signers) = (&[][..], &[][..]);
    while let Some(element) = data.next() {
        match element.tag() {
            CONTEXT_0 => certificates = element.value(),
            Tag::Set => signers = element.value(),
            _ => {}
        }
    }
    let mut signer = Elements::of(signers)?.sequence()?;
    signer.expect(Tag::Integer)?;
    let mut id = signer.sequence()?;
    let (issuer, serial) = (id.expect(Tag::Sequence)?, id.expect(Tag::Integer)?);
    let mut name = String::new();
    let mut certificates = Elements::of(certificates)?;
    while let Some(certificate) = certificates.next() {
        if let Some((_, subject)) = subject(certificate.value()).filter(|(number, _)| *number == serial) {
            name = common_name(subject).unwrap_or_default();
        }
    }
    Some(Signer { name, issuer: common_name(issuer).unwrap_or_default() })
}

/// Serial number and subject of a certificate.
fn subject(certificate: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut fields = Elements::of(certificate)?.sequence()?;
    let first = fields.next()?;
    // The version is optional.
    let serial = if first.tag() == CONTEXT_0 { fields.expect(Tag::Integer)? } else { first.value() };
    // Algorithm, issuer, validity.
    for _ in 0..3 {
        fields.expect(Tag::Sequence)?;
    }
    Some((serial, fields.expect(Tag::Sequence)?))
}

/// The last common name in a distinguished name.
fn common_name(name: &[u8]) -> Option<String> {
    let mut found = None;
    let mut parts = Elements::of(name)?;
    while let Some(part) = parts.next() {
        let mut pair = Elements::of(part.value())?.sequence()?;
        if pair.expect(Tag::ObjectIdentifier) == Some(COMMON_NAME) {
            found = pair.next().map(|text| printable(text.value(), 80));
        }
    }
    found
}

/// DER, element by element.
struct Elements<'a>(SliceReader<'a>);

impl<'a> Elements<'a> {
    fn of(bytes: &'a [u8]) -> Option<Self> {
        SliceReader::new(bytes).ok().map(Self)
    }

    /// The next element.
    fn next(&mut self) -> Option<AnyRef<'a>> {
        AnyRef::decode(&mut self.0).ok()
    }

    /// The content of the next element, which has to have this tag.
    fn expect(&mut self, wanted: Tag) -> Option<&'a [u8]> {
        self.next().filter(|element| element.tag() == wanted).map(AnyRef::value)
    }

    /// The elements of the next element, a sequence.
    fn sequence(&mut self) -> Option<Self> {
        self.expect(Tag::Sequence).and_then(Self::of)
    }
}
