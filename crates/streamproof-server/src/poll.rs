//! Waiting: a condition is looked at again and again, with an interval, a bound and a last status for the error.

use std::fmt;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

/// How often to look: soon at first, then less and less often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// The first interval.
    pub first: Duration,
    /// The longest interval; each one is a quarter longer than the one before, up to this.
    pub longest: Duration,
}

impl Pace {
    /// What starts within milliseconds: look every half millisecond at first, and never less often than each 20 ms.
    pub const QUICK: Pace = Pace { first: Duration::from_micros(500), longest: Duration::from_millis(20) };

    /// What takes seconds, or costs something to look at: from 20 ms to 500 ms.
    pub const CALM: Pace = Pace { first: Duration::from_millis(20), longest: Duration::from_millis(500) };
}

impl From<Duration> for Pace {
    fn from(interval: Duration) -> Pace {
        Pace { first: interval, longest: interval }
    }
}

/// The bound was reached; `last` is what was seen when it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimedOut<S> {
    /// How long it was waited for.
    pub waited: Duration,
    /// How often it was looked at.
    pub looks: u32,
    /// The last status.
    pub last: S,
}

impl<S: fmt::Display> fmt::Display for TimedOut<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} after {:.1} s", self.last, self.waited.as_secs_f64())
    }
}

impl<S: fmt::Display + fmt::Debug> std::error::Error for TimedOut<S> {}

/// Why a wait ended without what was waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended<S, E> {
    /// The bound was reached.
    TimedOut(TimedOut<S>),
    /// It can never come: waiting on would be in vain.
    Hopeless(E),
}

/// Looks until `look` gives `Ok`, at most for `bound`. It is looked at least once, and once more at the bound.
///
/// ```
/// use std::time::Duration;
/// use streamproof_server::poll;
///
/// let mut looks = 0;
/// let found = poll::until(Duration::from_millis(1), Duration::from_secs(5), || {
///     looks += 1;
///     if looks == 3 { Ok(looks) } else { Err(format!("only {looks} looks")) }
/// });
/// assert_eq!(found, Ok(3));
///
/// let never = poll::until(Duration::from_millis(1), Duration::from_millis(5), || Err::<(), _>("still red"));
/// assert_eq!(never.unwrap_err().last, "still red");
/// ```
///
/// # Errors
/// [`TimedOut`] with the last `Err`.
pub fn until<T, S>(
    pace: impl Into<Pace>,
    bound: Duration,
    mut look: impl FnMut() -> Result<T, S>,
) -> Result<T, TimedOut<S>> {
    let found = until_or(pace, bound, || match look() {
        Ok(found) => ControlFlow::Break(Ok::<T, std::convert::Infallible>(found)),
        Err(status) => ControlFlow::Continue(status),
    });
    found.map_err(|ended| match ended {
        Ended::TimedOut(timed_out) => timed_out,
        Ended::Hopeless(never) => match never {},
    })
}

/// As [`until`], but `look` can also end the wait with an error: `Break(Ok)` is found, `Break(Err)` is hopeless, `Continue`
/// is the status so far.
///
/// # Errors
/// [`Ended::TimedOut`] with the last status, or [`Ended::Hopeless`] with what `look` broke off with.
pub fn until_or<T, S, E>(
    pace: impl Into<Pace>,
    bound: Duration,
    mut look: impl FnMut() -> ControlFlow<Result<T, E>, S>,
) -> Result<T, Ended<S, E>> {
    let Pace { first, longest } = pace.into();
    let start = Instant::now();
    let mut interval = first;
    let mut looks = 0;
    loop {
        looks += 1;
        let status = match look() {
            ControlFlow::Break(Ok(found)) => return Ok(found),
            ControlFlow::Break(Err(hopeless)) => return Err(Ended::Hopeless(hopeless)),
            ControlFlow::Continue(status) => status,
        };
        let waited = start.elapsed();
        if waited >= bound {
            return Err(Ended::TimedOut(TimedOut { waited, looks, last: status }));
        }
        pause(interval.min(bound - waited));
        interval = (interval + interval / 4).min(longest);
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place that sleeps; whoever waits comes here")]
fn pause(interval: Duration) {
    std::thread::sleep(interval);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_found_at_once_even_with_no_time_at_all() {
        assert_eq!(until(Pace::QUICK, Duration::ZERO, || Ok::<_, ()>(7)), Ok(7));
    }

    #[test]
    fn the_bound_ends_it_with_the_last_status() {
        let mut looks = 0;
        let ended = until(Duration::from_millis(1), Duration::from_millis(10), || {
            looks += 1;
            Err::<(), _>(looks)
        })
        .unwrap_err();
        assert_eq!(ended.last, looks);
        assert_eq!(ended.looks, looks);
        assert!(ended.waited >= Duration::from_millis(10));
    }

    #[test]
    fn hopeless_ends_it_at_once() {
        let ended: Result<(), _> = until_or(Duration::from_secs(60), Duration::from_secs(600), || {
            ControlFlow::<_, &str>::Break(Err("dead"))
        });
        assert_eq!(ended, Err(Ended::Hopeless("dead")));
    }
}
