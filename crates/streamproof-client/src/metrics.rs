//! Numbers a user can read: counts by outcome, what is in flight, and how long answers take.

use std::time::Duration;

/// A copy of the numbers at one moment, consistent in itself:
/// `sent == acked + rejected + indeterminate() + in_flight`, always.
///
/// ```no_run
/// # fn f(publisher: streamproof_client::Publisher, consumer: streamproof_client::PullConsumer) {
/// let totals = publisher.totals();
/// println!("{} acked, {} in flight, {} unknown", totals.acked, totals.in_flight, totals.indeterminate());
/// println!("99 of 100 acks within {:?}", publisher.latency().quantile(0.99));
/// println!("{} handed out and not answered", consumer.totals().unanswered);
/// # }
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Totals {
    /// Handed to the connection.
    pub sent: u64,
    /// Confirmed by the server, duplicates among them.
    pub acked: u64,
    /// Of `acked`: the message id was known already.
    pub duplicates: u64,
    /// Refused by the server.
    pub rejected: u64,
    /// No answer within the bound.
    pub timed_out: u64,
    /// The connection was lost before the answer.
    pub disconnected: u64,
    /// Closed, or answered in a way that could not be read.
    pub otherwise_unknown: u64,
    /// Without an outcome yet.
    pub in_flight: u64,
    /// Answers that came after their operation had ended as indeterminate. They change no other count.
    pub late: u64,
    /// Answers from somebody else than the stream that was named
    /// ([`PublisherOptions::stream`](crate::PublisherOptions::stream)). They change no other count.
    pub foreign: u64,
    /// Sent again after a reconnect, under the same message id.
    pub repeated: u64,
}

impl Totals {
    /// All that ended as indeterminate.
    #[must_use]
    pub fn indeterminate(&self) -> u64 {
        self.timed_out + self.disconnected + self.otherwise_unknown
    }

    /// Whether everything that was sent has an outcome or is in flight. A `false` is a bug in this crate.
    #[must_use]
    pub fn balanced(&self) -> bool {
        self.sent == self.acked + self.rejected + self.indeterminate() + self.in_flight
    }
}

/// What a consumer handed out, and what became of it. As of now: while others answer, the numbers of one copy may be a
/// message apart; with nobody at it `delivered` is the sum of all the others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConsumerTotals {
    /// Handed out; each delivery of a message counts.
    pub delivered: u64,
    /// Acked; with [`AckPolicy::All`](crate::AckPolicy::All) also those that a later ack answered for.
    pub acked: u64,
    /// Given back by [`nak`](crate::Delivery::nak).
    pub nacked: u64,
    /// Given up by [`term`](crate::Delivery::term).
    pub termed: u64,
    /// Given back because it was dropped, or left at the end; or delivered again before its answer.
    pub given_back: u64,
    /// Taken out as a bare message: the caller answers.
    pub taken: u64,
    /// Wants no answer: with [`AckPolicy::None`](crate::AckPolicy::None), or as no consumer sent it.
    pub unasked: u64,
    /// Not answered yet.
    pub unanswered: u64,
}

impl ConsumerTotals {
    /// Whether everything that was handed out is answered or still open.
    #[must_use]
    pub fn balanced(&self) -> bool {
        let answered = self.acked + self.nacked + self.termed + self.given_back + self.taken + self.unasked;
        self.delivered == answered + self.unanswered
    }
}

/// Buckets for each power of two: 16, so that a quantile is at most 6.25 % too high.
const SUB_BUCKETS: usize = 16;
/// Powers of two of microseconds: up to 2^36 µs, 19 hours.
const POWERS: usize = 37;

/// Latencies in buckets of constant relative width. Recording is a few instructions and never allocates.
#[derive(Clone)]
pub struct Histogram {
    buckets: Box<[u64]>,
    count: u64,
    sum_us: u64,
    max_us: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram { buckets: vec![0; SUB_BUCKETS * POWERS].into(), count: 0, sum_us: 0, max_us: 0 }
    }
}

impl Histogram {
    /// Adds one.
    pub fn record(&mut self, latency: Duration) {
        let us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.buckets[bucket(us)] += 1;
        self.count += 1;
        self.sum_us = self.sum_us.saturating_add(us);
        self.max_us = self.max_us.max(us);
    }

    /// How many were recorded.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The mean.
    #[must_use]
    pub fn mean(&self) -> Duration {
        Duration::from_micros(self.sum_us.checked_div(self.count).unwrap_or(0))
    }

    /// The largest.
    #[must_use]
    pub fn max(&self) -> Duration {
        Duration::from_micros(self.max_us)
    }

    /// The latency that `quantile` (0.0 to 1.0) of all stay at or below, rounded up to the bucket's end.
    #[must_use]
    pub fn quantile(&self, quantile: f64) -> Duration {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a rank, clamped"
        )]
        let rank = ((self.count as f64 * quantile.clamp(0.0, 1.0)).ceil() as u64).max(1);
        let mut seen = 0;
        for (i, n) in self.buckets.iter().enumerate() {
            seen += n;
            if seen >= rank {
                return Duration::from_micros(upper(i).min(self.max_us));
            }
        }
        self.max()
    }

    /// Adds everything that another one holds.
    pub fn merge(&mut self, other: &Histogram) {
        for (mine, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine += theirs;
        }
        self.count += other.count;
        self.sum_us = self.sum_us.saturating_add(other.sum_us);
        self.max_us = self.max_us.max(other.max_us);
    }
}

impl std::fmt::Debug for Histogram {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Histogram")
            .field("count", &self.count)
            .field("p50", &self.quantile(0.5))
            .field("p99", &self.quantile(0.99))
            .field("max", &self.max())
            .finish()
    }
}

fn bucket(us: u64) -> usize {
    let us = us.max(1);
    let power = us.ilog2() as usize;
    if power >= POWERS {
        return SUB_BUCKETS * POWERS - 1;
    }
    let below = us - (1 << power);
    let sub = (below << 4 >> power) as usize;
    power * SUB_BUCKETS + sub
}

fn upper(bucket: usize) -> u64 {
    let (power, sub) = (bucket / SUB_BUCKETS, (bucket % SUB_BUCKETS) as u64);
    let base = 1u64 << power;
    base + ((base * (sub + 1)).div_ceil(SUB_BUCKETS as u64)).saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_never_below_and_at_most_a_sixteenth_above() {
        for us in (1..5_000u64).chain([70_000, 1_234_567, 60_000_000]) {
            let end = upper(bucket(us));
            assert!(end >= us, "{us}: {end}");
            assert!(end as f64 <= us as f64 * 1.0625 + 1.0, "{us}: {end}");
        }
    }

    #[test]
    fn quantiles_of_a_known_set() {
        let mut h = Histogram::default();
        (1..=1000).for_each(|ms| h.record(Duration::from_millis(ms)));
        let near = |q: f64, ms: u64| {
            let got = h.quantile(q);
            assert!(
                got >= Duration::from_millis(ms) && got <= Duration::from_millis(ms * 107 / 100),
                "{q}: {got:?}"
            );
        };
        near(0.5, 500);
        near(0.99, 990);
        assert_eq!(h.quantile(1.0), Duration::from_secs(1));
        assert_eq!(h.mean(), Duration::from_micros(500_500));
    }
}
