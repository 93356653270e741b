//! What was measured: medians, their spread, ratios, and a comparison with an earlier report.

use serde::{Deserialize, Serialize};

use crate::sample::Sample;
use crate::settings::{Measure, Shape};

/// A whole run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    /// On which server.
    pub server: Server,
    /// The `nats` CLI that was measured beside it, as it names itself.
    pub peer: Option<String>,
    /// One for each measure, size, window and number of clients.
    pub measures: Vec<Measured>,
}

/// The server that was measured on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    /// Its version.
    pub version: String,
    /// Its address.
    pub url: String,
    /// How it is configured, as far as it matters, in the words of whoever started it.
    pub about: String,
    /// The processors of the machine of the client.
    pub cores: usize,
}

/// One measure.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Measured {
    /// Its name.
    pub name: String,
    /// Size of the body.
    pub size_bytes: usize,
    /// In flight at most, for each client.
    pub window: usize,
    /// How many clients.
    pub clients: usize,
    /// How often it was measured.
    pub rounds: usize,
    /// This client.
    #[serde(flatten)]
    pub ours: Side,
    /// The peer.
    pub peer: Option<Side>,
    /// Rounds of the peer that did not end and were broken off; they are in no number.
    pub peer_unfinished: usize,
    /// Messages a second of ours, in those of the peer: the median over the rounds, each held against its neighbour. What
    /// else the machine does changes slowly, and so falls on both of a pair and not into the ratio.
    pub ratio: Option<f64>,
    /// The least of those ratios.
    #[serde(default)]
    pub ratio_least: Option<f64>,
    /// The largest.
    #[serde(default)]
    pub ratio_most: Option<f64>,
    /// Client processor time of ours, in that of the peer: the median over the rounds, too.
    pub cpu_ratio: Option<f64>,
    /// Whether every message is accounted for, in every round.
    pub counted: bool,
    /// What does not add up.
    pub miscounts: Vec<String>,
}

/// The numbers of one side: medians over the rounds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Side {
    /// Messages in each round.
    pub msgs: u64,
    /// The median.
    pub msgs_per_s: f64,
    /// The slowest round.
    pub msgs_per_s_least: f64,
    /// The fastest round.
    pub msgs_per_s_most: f64,
    /// Processor seconds of the client for a million messages.
    pub client_cpu_s_per_million: Option<f64>,
    /// Processor seconds of the server for a million messages.
    pub server_cpu_s_per_million: Option<f64>,
    /// Publish to ack, or publish to delivery; over all rounds.
    pub latency_us: Option<LatencyUs>,
}

/// Latencies in microseconds, each at most 6.25 % too high.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LatencyUs {
    /// Half stay at or below.
    pub p50: u64,
    /// Nine of ten stay at or below.
    pub p90: u64,
    /// 99 of 100 stay at or below.
    pub p99: u64,
    /// 999 of 1000 stay at or below.
    pub p99_9: u64,
    /// The largest.
    pub max: u64,
}

/// A measure now, and the same one in an earlier report.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Compared {
    /// Its name.
    pub name: String,
    /// Size of the body.
    pub size_bytes: usize,
    /// In flight at most.
    pub window: usize,
    /// How many clients.
    pub clients: usize,
    /// Messages a second now.
    pub msgs_per_s: f64,
    /// Messages a second then.
    pub before: f64,
    /// Now in those of then.
    pub ratio: f64,
    /// Whether the rounds of both overlap: then the difference may be chance.
    pub within_spread: bool,
}

impl Report {
    /// Each measure that an earlier report has, too.
    #[must_use]
    pub fn compare(&self, earlier: &Report) -> Vec<Compared> {
        let same = |a: &Measured, b: &Measured| {
            (&a.name, a.size_bytes, a.window, a.clients) == (&b.name, b.size_bytes, b.window, b.clients)
        };
        self.measures
            .iter()
            .filter_map(|now| {
                let before = &earlier.measures.iter().find(|then| same(now, then))?.ours;
                let (least, most) = (now.ours.msgs_per_s_least, now.ours.msgs_per_s_most);
                Some(Compared {
                    name: now.name.clone(),
                    size_bytes: now.size_bytes,
                    window: now.window,
                    clients: now.clients,
                    msgs_per_s: now.ours.msgs_per_s,
                    before: before.msgs_per_s,
                    ratio: now.ours.msgs_per_s / before.msgs_per_s,
                    within_spread: least <= before.msgs_per_s_most && most >= before.msgs_per_s_least,
                })
            })
            .collect()
    }

    /// Whether every message of every measure is accounted for.
    #[must_use]
    pub fn counted(&self) -> bool {
        self.measures.iter().all(|m| m.counted)
    }

    /// Where every message was counted, in a sentence; none where something does not add up, or nothing was measured.
    #[must_use]
    pub fn accounted(&self) -> Option<&'static str> {
        let consumers = || Measure::ALL.into_iter().filter(|measure| measure.has_consumer());
        let with = self.measures.iter().filter(|m| consumers().any(|one| one.name() == m.name)).count();
        match with {
            _ if self.measures.is_empty() || !self.counted() => None,
            0 => Some("every message is accounted for, in the stream; nothing was consumed"),
            all if all == self.measures.len() => {
                Some("every message is accounted for, in the stream and at the consumer")
            }
            _ => Some(
                "every message is accounted for, in the stream and, where it was consumed, at the consumer",
            ),
        }
    }
}

impl Measured {
    /// From the rounds: each has one of ours and one of the peer's, where there is a peer and it came to an end.
    pub(crate) fn new(name: &str, shape: Shape, rounds: &[(Sample, Option<Sample>)]) -> Self {
        let ours: Vec<&Sample> = rounds.iter().map(|(ours, _)| ours).collect();
        let pairs: Vec<(&Sample, &Sample)> =
            rounds.iter().filter_map(|(ours, peer)| Some((ours, peer.as_ref()?))).collect();
        let theirs: Vec<&Sample> = pairs.iter().map(|(_, peer)| *peer).collect();
        let of_peer =
            |s: &&Sample| s.miscounts.iter().map(|m| format!("of the peer: {m}")).collect::<Vec<_>>();
        let miscounts: Vec<String> =
            ours.iter().flat_map(|s| s.miscounts.clone()).chain(theirs.iter().flat_map(of_peer)).collect();
        let ratios: Vec<f64> =
            pairs.iter().map(|(ours, peer)| ours.msgs_per_s() / peer.msgs_per_s()).collect();
        let cpu_ratios = pairs.iter().map(|(ours, peer)| {
            Some(ours.client_cpu_s_per_msg()? / peer.client_cpu_s_per_msg().filter(|cpu| *cpu > 0.0)?)
        });
        let there = |number: f64| (!ratios.is_empty()).then_some(number);
        Measured {
            name: name.to_owned(),
            size_bytes: shape.size_bytes,
            window: shape.window,
            clients: shape.clients,
            rounds: ours.len(),
            ratio: there(median(&ratios)),
            ratio_least: there(ratios.iter().copied().fold(f64::INFINITY, f64::min)),
            ratio_most: there(ratios.iter().copied().fold(0.0, f64::max)),
            cpu_ratio: cpu_ratios
                .collect::<Option<Vec<f64>>>()
                .filter(|each| !each.is_empty())
                .map(|each| median(&each)),
            ours: Side::new(&ours),
            peer: (!theirs.is_empty()).then(|| Side::new(&theirs)),
            peer_unfinished: 0,
            counted: miscounts.is_empty(),
            miscounts,
        }
    }
}

impl Side {
    fn new(samples: &[&Sample]) -> Self {
        let rates: Vec<f64> = samples.iter().map(|s| s.msgs_per_s()).collect();
        let cpu = |f: fn(&Sample) -> Option<std::time::Duration>| {
            let each = samples.iter().map(|s| Some(f(s)?.as_secs_f64() * 1e6 / s.msgs as f64));
            each.collect::<Option<Vec<f64>>>().map(|each| median(&each))
        };
        let mut histograms = samples.iter().filter_map(|s| s.latency.clone());
        let latency = histograms.next().map(|mut first| {
            histograms.for_each(|h| first.merge(&h));
            first
        });
        Side {
            msgs: samples.first().map_or(0, |s| s.msgs),
            msgs_per_s: median(&rates),
            msgs_per_s_least: rates.iter().copied().fold(f64::INFINITY, f64::min),
            msgs_per_s_most: rates.iter().copied().fold(0.0, f64::max),
            client_cpu_s_per_million: cpu(|s| s.client_cpu),
            server_cpu_s_per_million: cpu(|s| s.server_cpu),
            latency_us: latency.map(|h| {
                let us = |q: f64| u64::try_from(h.quantile(q).as_micros()).unwrap_or(u64::MAX);
                LatencyUs { p50: us(0.5), p90: us(0.9), p99: us(0.99), p99_9: us(0.999), max: us(1.0) }
            }),
        }
    }
}

/// From how many rounds the numbers are: of a single one there is no median.
#[must_use]
pub fn of_rounds(rounds: usize) -> String {
    if rounds == 1 { "of one round".to_owned() } else { format!("medians of {rounds} rounds") }
}

/// The middle one, or the mean of the two in the middle; 0 of nothing.
fn median(numbers: &[f64]) -> f64 {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        n if n % 2 == 1 => sorted[n / 2],
        n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn sample(milliseconds: u64, cpu_ms: u64) -> Sample {
        Sample {
            msgs: 1000,
            took: Duration::from_millis(milliseconds),
            client_cpu: Some(Duration::from_millis(cpu_ms)),
            server_cpu: None,
            latency: None,
            miscounts: Vec::new(),
        }
    }

    fn measured(rounds: &[(Sample, Option<Sample>)]) -> Measured {
        Measured::new("m", Shape { size_bytes: 128, window: 500, clients: 1 }, rounds)
    }

    /// Slower and slower: the medians alone would say 2.0, and no round did.
    #[test]
    fn each_round_is_held_against_its_own_neighbour() {
        let rounds = [
            (sample(100, 10), Some(sample(150, 40))),
            (sample(200, 20), Some(sample(400, 40))),
            (sample(400, 90), Some(sample(600, 160))),
            (sample(200, 90), None),
        ];
        let m = measured(&rounds);
        assert_eq!((m.ours.msgs_per_s, m.ours.msgs_per_s_most), (5000.0, 10_000.0));
        assert_eq!(m.peer.map(|p| p.msgs_per_s), Some(2500.0));
        let close = |got: Option<f64>, want: f64| (got.unwrap() - want).abs() < 1e-9;
        assert!(close(m.ratio, 1.5) && close(m.ratio_least, 1.5) && close(m.ratio_most, 2.0));
        assert_eq!(m.cpu_ratio, Some(0.5));
        assert_eq!(m.ours.server_cpu_s_per_million, None);
        assert!(m.counted);
        assert_eq!(median(&[1.0, 4.0, 2.0, 3.0]), 2.5);
    }

    #[test]
    fn a_consumer_is_not_named_where_nothing_was_consumed() {
        let server = Server { version: "2".into(), url: "u".into(), about: "a".into(), cores: 2 };
        let of = |names: &[Measure]| {
            let named = |of: &Measure| Measured {
                name: of.name().to_owned(),
                ..measured(&[(sample(100, 10), None)])
            };
            Report { server: server.clone(), peer: None, measures: names.iter().map(named).collect() }
        };
        let said = |names: &[Measure]| of(names).accounted().unwrap_or_default();
        let publish = said(&[Measure::PublishAck, Measure::PublishFast]);
        assert!(publish.ends_with("in the stream; nothing was consumed"), "{publish}");
        for one in Measure::ALL.into_iter().filter(|one| one.has_consumer()) {
            assert!(said(&[one]).ends_with("in the stream and at the consumer"), "{one:?}");
        }
        assert!(said(&[Measure::PublishAck, Measure::EndToEnd]).contains("where it was consumed"));
        let mut wrong = of(&[Measure::PublishAck]);
        wrong.measures[0].counted = false;
        assert_eq!((wrong.accounted(), of(&[]).accounted()), (None, None));
    }

    #[test]
    fn of_one_round_there_is_no_median() {
        assert_eq!([1, 3].map(of_rounds), ["of one round", "medians of 3 rounds"]);
    }

    #[test]
    fn a_miscount_of_either_side_is_told() {
        let mut wrong = sample(100, 10);
        wrong.expect("messages in the stream", 1000, 999);
        let m = measured(&[(sample(100, 10), Some(wrong))]);
        assert!(!m.counted);
        assert_eq!(m.miscounts, ["of the peer: messages in the stream: 999 instead of 1000"]);
    }

    #[test]
    fn a_saved_report_is_read_back_and_compared() {
        let server = Server { version: "2".into(), url: "u".into(), about: "a".into(), cores: 2 };
        let report = |ms: &[u64]| Report {
            server: server.clone(),
            peer: None,
            measures: vec![measured(&ms.iter().map(|ms| (sample(*ms, 1), None)).collect::<Vec<_>>())],
        };
        let then = serde_json::to_string(&report(&[100, 110, 120])).unwrap();
        let then: Report = serde_json::from_str(&then).unwrap();
        let slower = report(&[200, 220, 240]).compare(&then);
        assert_eq!((slower[0].ratio, slower[0].within_spread), (0.5, false));
        assert!(report(&[115, 130, 140]).compare(&then)[0].within_spread);
        assert!(report(&[1]).compare(&Report { server, peer: None, measures: Vec::new() }).is_empty());
    }
}
