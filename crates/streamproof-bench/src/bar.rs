//! The bar: what this client promises beside the `nats` CLI, for 128-byte messages, file storage and one connection.

use serde::Serialize;

use crate::report::{Measured, Report};
use crate::settings::Measure;

/// The size of body for which it is promised.
const SIZE_BYTES: usize = 128;

/// One promise, and what was measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Bar {
    /// The measure.
    pub measure: &'static str,
    /// What is held against what.
    pub what: &'static str,
    /// The bar.
    pub bar: f64,
    /// Whether the number may not be above the bar; otherwise it may not be below.
    pub at_most: bool,
    /// The number, from medians.
    pub measured: f64,
    /// Whether it is met.
    pub met: bool,
}

struct Promise {
    measure: Measure,
    what: &'static str,
    bar: f64,
    at_most: bool,
    of: fn(&Measured, &Report) -> Option<f64>,
}

const PROMISES: [Promise; 7] = [
    at_least(Measure::PublishAck, "msgs/s, nats bench js pub async = 1", 1.5, rate),
    at_most(Measure::PublishAck, "client CPU, nats bench js pub async = 1", 0.35, cpu),
    at_least(Measure::PublishFast, "msgs/s, nats bench js pub fast = 1", 1.0, rate),
    at_most(Measure::PublishFast, "client CPU, nats bench js pub fast = 1", 1.2, cpu),
    at_least(Measure::ConsumeExplicit, "msgs/s, nats bench js consume = 1", 1.05, rate),
    at_least(Measure::ConsumeDoubleAck, "msgs/s, nats bench js consume --doubleack = 1", 8.0, rate),
    at_least(Measure::ConsumeAckAll, "msgs/s, our consume-explicit = 1", 1.8, beside_explicit),
];

const fn at_least(
    measure: Measure,
    what: &'static str,
    bar: f64,
    of: fn(&Measured, &Report) -> Option<f64>,
) -> Promise {
    Promise { measure, what, bar, at_most: false, of }
}

const fn at_most(
    measure: Measure,
    what: &'static str,
    bar: f64,
    of: fn(&Measured, &Report) -> Option<f64>,
) -> Promise {
    Promise { measure, what, bar, at_most: true, of }
}

fn rate(m: &Measured, _: &Report) -> Option<f64> {
    m.ratio
}

fn cpu(m: &Measured, _: &Report) -> Option<f64> {
    m.cpu_ratio
}

fn beside_explicit(m: &Measured, report: &Report) -> Option<f64> {
    let explicit = report.measures.iter().find(|other| {
        other.name == Measure::ConsumeExplicit.name()
            && (other.size_bytes, other.window, other.clients) == (m.size_bytes, m.window, m.clients)
    })?;
    Some(m.ours.msgs_per_s / explicit.ours.msgs_per_s)
}

/// What the report says about each promise, as far as it was measured beside the peer.
#[must_use]
pub fn bar(report: &Report) -> Vec<Bar> {
    if report.peer.is_none() {
        return Vec::new();
    }
    let mut bars = Vec::new();
    for promise in &PROMISES {
        let same =
            |m: &&Measured| m.name == promise.measure.name() && m.size_bytes == SIZE_BYTES && m.clients == 1;
        for m in report.measures.iter().filter(same) {
            let Some(measured) = (promise.of)(m, report) else { continue };
            // As it is printed: a bar that reads as met is met.
            let rounded = (measured * 100.0).round() / 100.0;
            let met = if promise.at_most { rounded <= promise.bar } else { rounded >= promise.bar };
            let Promise { what, bar, at_most, .. } = *promise;
            bars.push(Bar { measure: promise.measure.name(), what, bar, at_most, measured, met });
        }
    }
    bars
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Server, Side};

    fn measured(measure: Measure, msgs_per_s: f64, ratio: f64, cpu_ratio: f64) -> Measured {
        Measured {
            name: measure.name().to_owned(),
            size_bytes: SIZE_BYTES,
            window: 500,
            clients: 1,
            rounds: 1,
            ours: Side {
                msgs: 1,
                msgs_per_s,
                msgs_per_s_least: msgs_per_s,
                msgs_per_s_most: msgs_per_s,
                client_cpu_s_per_million: None,
                server_cpu_s_per_million: None,
                latency_us: None,
            },
            peer: None,
            peer_unfinished: 0,
            ratio: Some(ratio),
            ratio_least: None,
            ratio_most: None,
            cpu_ratio: Some(cpu_ratio),
            counted: true,
            miscounts: Vec::new(),
        }
    }

    fn report(measures: Vec<Measured>) -> Report {
        let server = Server { version: "2".into(), url: "u".into(), about: "a".into(), cores: 2 };
        Report { server, peer: Some("nats 0".into()), measures }
    }

    #[test]
    fn each_side_of_a_bar_is_told_apart() {
        let met = |ratio, cpu_ratio| {
            let bars = bar(&report(vec![measured(Measure::PublishAck, 1.0, ratio, cpu_ratio)]));
            bars.iter().map(|b| b.met).collect::<Vec<_>>()
        };
        assert_eq!(met(1.5, 0.35), [true, true]);
        assert_eq!(met(1.49, 0.36), [false, false]);
    }

    #[test]
    fn acks_for_many_are_held_against_our_own_explicit_ones() {
        let explicit = measured(Measure::ConsumeExplicit, 100.0, 1.2, 0.5);
        let bars = bar(&report(vec![explicit, measured(Measure::ConsumeAckAll, 170.0, 3.0, 0.1)]));
        let all: Vec<_> = bars.iter().map(|b| (b.measure, b.measured, b.met)).collect();
        assert_eq!(all, [("consume-explicit", 1.2, true), ("consume-ack-all", 1.7, false)]);
    }

    #[test]
    fn other_shapes_have_no_bar() {
        let mut other = measured(Measure::PublishAck, 1.0, 0.1, 9.0);
        other.size_bytes = 1024;
        assert_eq!(bar(&report(vec![other])), []);
    }
}
