//! The cost of judging: operations a second and peak memory an operation, over histories that grow.
//!
//! `cargo run --release -p streamproof-checker --example curve [LARGEST]`; the largest is 50,000,000 by default.

use std::time::Instant;
use streamproof_checker::{Checker, Context};
use streamproof_model::op::{
    AckKind, Call, ConsumerId, Deliver, Event, Expect, Headers, Op, Outcome, Phase, Publish, Role, Seen,
    Stored, StreamId, SubjectId, Ttl,
};

/// What is done with each message.
#[derive(Clone, Copy)]
enum Mix {
    /// Published and read back: two operations a message, the most memory for each.
    Stored,
    /// Published, delivered, double-acked and read back: four operations a message.
    Consumed,
}

const MIXES: [(&str, Mix); 2] = [("stored", Mix::Stored), ("consumed", Mix::Consumed)];
const SIZES: [u64; 6] = [100_000, 1_000_000, 5_000_000, 10_000_000, 25_000_000, 50_000_000];

#[expect(clippy::print_stdout, reason = "an example prints its answer")]
fn main() -> std::io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [name, operations] = &arguments[..] {
        let mix = MIXES.iter().find(|(mix, _)| mix == name);
        if let (Some((name, mix)), Ok(operations)) = (mix, operations.parse()) {
            println!("{}", row(name, *mix, operations));
        }
        return Ok(());
    }
    let largest: u64 = arguments.first().and_then(|text| text.parse().ok()).unwrap_or(50_000_000);
    println!("{:<10} {:>12} {:>10} {:>14} {:>8}", "mix", "operations", "seconds", "operations/s", "bytes/op");
    for (name, _) in MIXES {
        for operations in SIZES.into_iter().filter(|operations| *operations <= largest) {
            // A process for each row: what an earlier row gave back must not count, or hide, in a later one.
            let mut again = std::process::Command::new(std::env::current_exe()?);
            again.args([name, &operations.to_string()]).status()?;
        }
    }
    Ok(())
}

fn row(name: &str, mix: Mix, operations: u64) -> String {
    let before = memory("VmHWM:");
    let context = Context::default();
    let mut checker = Checker::new(&context);
    let began = Instant::now();
    history(mix, operations, |op| checker.take(&op));
    let found = checker.violations();
    let seconds = began.elapsed().as_secs_f64();
    let peak = memory("VmHWM:").saturating_sub(before);
    assert_eq!(found, 0, "a good history");
    let per_second = operations as f64 / seconds;
    let bytes = peak as f64 / operations as f64;
    format!("{name:<10} {operations:>12} {seconds:>10.3} {per_second:>14.0} {bytes:>8.1}")
}

/// A good history of so many operations, one after the other; the time of making it is in the measure.
fn history(mix: Mix, operations: u64, mut take: impl FnMut(Op)) {
    let stream = StreamId(0);
    take(Op::Event { at: 0, event: Event::DeclareStream { id: stream, name: "S".into() } });
    for id in 0..100 {
        let name = format!("s.{id}");
        take(Op::Event { at: 0, event: Event::DeclareSubject { id: SubjectId(id), name } });
    }
    let consumer = ConsumerId(0);
    take(Op::Event { at: 0, event: Event::DeclareConsumer { id: consumer, stream, name: "c".into() } });
    let each = match mix {
        Mix::Stored => 2,
        Mix::Consumed => 4,
    };
    let messages = operations / each;
    let seen = |seq: u64| Seen::Ours { publisher: (seq % 16) as u16, counter: (seq / 16) as u32, len: 128 };
    let subject = |seq: u64| SubjectId((seq % 100) as u32);
    for seq in 1..=messages {
        let publish = Publish {
            stream,
            subject: subject(seq),
            publisher: (seq % 16) as u16,
            counter: (seq / 16) as u32,
            attempt: 0,
            len: 128,
            headers: Headers::default(),
            msg_id: false,
            expect: Expect::Nothing,
            ttl: Ttl::Stream,
            role: Role::Plain,
        };
        let (invoked, done) = (seq * 10, seq * 10 + 3);
        let outcome = Outcome::Acked { seq, duplicate: false };
        take(Op::Call { id: seq, invoked, done, call: Call::Publish(publish), outcome });
        if matches!(mix, Mix::Consumed) {
            let deliver = Deliver {
                consumer,
                seq,
                consumer_seq: seq,
                delivered: 1,
                pending: 0,
                subject: subject(seq),
                seen: seen(seq),
                headers: Headers::default(),
            };
            take(Op::Event { at: done, event: Event::Deliver(deliver) });
            let call = Call::Ack { consumer, seq, consumer_seq: seq, kind: AckKind::DoubleAck };
            take(Op::Call {
                id: seq,
                invoked: done,
                done: done + 2,
                call,
                outcome: Outcome::Done { count: 0 },
            });
        }
    }
    let at = messages * 10 + 10;
    take(Op::Event { at, event: Event::ReadBegin { stream, phase: Phase::Quiet } });
    for seq in 1..=messages {
        let stored = Stored {
            stream,
            seq,
            subject: subject(seq),
            seen: seen(seq),
            headers: Headers::default(),
            ts_us: 0,
            server_made: false,
        };
        take(Op::Event { at, event: Event::Stored(stored) });
    }
    take(Op::Event { at, event: Event::ReadEnd { stream, cut_short: None } });
}

/// A line of `/proc/self/status`, in bytes; 0 where there is none.
fn memory(line: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kilobytes = status
        .lines()
        .find_map(|text| text.strip_prefix(line))
        .and_then(|text| text.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kilobytes.unwrap_or_default() * 1024
}
