// SPDX-License-Identifier: MIT OR Apache-2.0
//! Time that a busy machine does not change.

use std::time::{Duration, Instant};

/// The time that this thread spent on a processor: other programs run here too.
pub(crate) struct Spent(Instant, Option<Duration>);

impl Spent {
    pub(crate) fn now() -> Self {
        Self(Instant::now(), Self::processor())
    }

    /// Documentation/scheduler/sched-stats.rst: the first number, in nanoseconds.
    fn processor() -> Option<Duration> {
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
        text.split(' ').next()?.parse().ok().map(Duration::from_nanos)
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.1.zip(Self::processor()).map_or_else(|| self.0.elapsed(), |(start, end)| end.saturating_sub(start))
    }
}
