// SPDX-License-Identifier: MIT OR Apache-2.0
//! One kind of list for the whole room: each kind of element that is sorted would cost kilobytes of program.

/// A number and the index of a function.
pub(super) type Pair = (u64, usize);

/// Sorts pairs and drops those that come twice.
pub(super) fn sort(mut pairs: Vec<Pair>) -> Vec<Pair> {
    pairs.sort_unstable();
    pairs.dedup();
    pairs
}

/// The pairs with this number, of sorted ones.
pub(super) fn with(pairs: &[Pair], number: u64) -> &[Pair] {
    let first = pairs.partition_point(|pair| pair.0 < number);
    let rest = pairs.get(first..).unwrap_or_default();
    rest.get(..rest.partition_point(|pair| pair.0 == number)).unwrap_or_default()
}

/// An index as a number.
pub(super) fn number(index: usize) -> u64 {
    u64::try_from(index).unwrap_or(u64::MAX)
}
