// SPDX-License-Identifier: MIT OR Apache-2.0
//! One sort for the whole room: each kind of element that is sorted would cost kilobytes of program.

/// A number and an index.
pub(super) type Pair = (u64, usize);

/// Sorts pairs and drops those that come twice.
pub(super) fn sort(mut pairs: Vec<Pair>) -> Vec<Pair> {
    pairs.sort_unstable();
    pairs.dedup();
    pairs
}

/// The indices in order, each once.
pub(super) fn set(indices: impl Iterator<Item = usize>) -> Vec<usize> {
    sort(indices.map(|index| (0, index)).collect()).into_iter().map(|(_, index)| index).collect()
}

/// The indices that go with `number` in sorted pairs.
pub(super) fn with(pairs: &[Pair], number: u64) -> &[Pair] {
    let first = pairs.partition_point(|pair| pair.0 < number);
    let rest = pairs.get(first..).unwrap_or_default();
    rest.get(..rest.partition_point(|pair| pair.0 == number)).unwrap_or_default()
}

/// An index as a number.
pub(super) fn number(index: usize) -> u64 {
    u64::try_from(index).unwrap_or(u64::MAX)
}
