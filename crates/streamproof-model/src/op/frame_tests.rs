//! Tests of the binary frames.

use super::*;
use crate::op::{Control, Evidence, FaultKind, Meta, Phase};

fn samples() -> Vec<Record> {
    let publish = Publish {
        stream: StreamId(3),
        subject: SubjectId(70_000),
        publisher: 9,
        counter: 123_456,
        attempt: 0,
        len: 128,
        headers: Headers::default(),
        msg_id: false,
        expect: Expect::Nothing,
        ttl: Ttl::Stream,
        role: Role::Plain,
    };
    let headers = Headers { len: 9, hash: 0xdead_beef };
    let mut calls = vec![
        Call::Publish(publish),
        Call::Publish(Publish {
            attempt: 2,
            headers,
            msg_id: true,
            expect: Expect::LastSubjectSeq(7),
            ttl: Ttl::Seconds(0),
            role: Role::KvPurge,
            ..publish
        }),
        Call::Publish(Publish { ttl: Ttl::Never, expect: Expect::LastMsgId(3), ..publish }),
        Call::Delete { stream: StreamId(1), seq: u64::MAX, erase: true },
        Call::Purge { stream: StreamId(1), filter: Some(SubjectId(2)), before: Some(3), keep: None },
        Call::Batch { messages: vec![publish; 3] },
        Call::MustRefuse { stream: StreamId(1), what: "ä\n".into() },
    ];
    for kind in [AckKind::Ack, AckKind::DoubleAck, AckKind::Nak, AckKind::Term, AckKind::InProgress] {
        calls.push(Call::Ack { consumer: ConsumerId(2), seq: 300, consumer_seq: 301, kind });
    }
    let outcomes = [
        Outcome::Acked { seq: 1, duplicate: false },
        Outcome::Acked { seq: u64::MAX, duplicate: true },
        Outcome::Done { count: 4 },
        Outcome::Sent,
        Outcome::Rejected { code: 10077 },
        Outcome::Indeterminate { why: Why::Disconnect },
    ];
    let deliver = Deliver {
        consumer: ConsumerId(1),
        seq: 2,
        consumer_seq: 3,
        delivered: 1,
        pending: 4,
        subject: SubjectId(5),
        seen: Seen::Ours { publisher: 1, counter: 2, len: 3 },
        headers,
    };
    let stored = Stored {
        stream: StreamId(1),
        seq: 2,
        subject: SubjectId(3),
        seen: Seen::Damaged { publisher: 1, counter: 2, len: 3, hash: 4 },
        headers: Headers::default(),
        ts_us: -5,
        server_made: false,
    };
    let events = [
        Event::Meta(Meta { run: 1, id: "r".into(), seed: u64::MAX, server: "2.15.1".into(), began_ns: 3 }),
        Event::Deliver(deliver),
        Event::Stored(stored),
        Event::Stored(Stored {
            seen: Seen::Foreign { len: 0, hash: 0 },
            server_made: true,
            ts_us: i64::MAX,
            ..stored
        }),
        Event::FaultBegin { fault: 1, kind: FaultKind::PowerCutExt4, streams: vec![] },
        Event::FaultEnd { fault: 1, evidence: Box::new(Evidence { pid_after: 3, ..Evidence::default() }) },
        Event::ReadBegin { stream: StreamId(0), phase: Phase::After },
        Event::Control(Control {
            name: "planted-deletion".into(),
            stream: StreamId(0),
            consumer: None,
            seq: Some(4),
            expect: "M1".into(),
            also: vec![],
        }),
        Event::Finished,
    ];
    let mut records = Vec::new();
    for (id, call) in calls.into_iter().enumerate() {
        records.push(Record::Invoke { id: id as u64, at: 1_000_000, call });
    }
    records.extend(outcomes.map(|outcome| Record::Done { id: 8, at: 1 << 40, outcome }));
    records.extend(events.map(|event| Record::Event { at: 77, event }));
    records
}

fn encoded(records: &[Record]) -> Vec<u8> {
    let mut out = Encoder::magic().to_vec();
    let mut encoder = Encoder::default();
    for record in records {
        encoder.record(record, &mut out);
    }
    out
}

#[test]
fn every_record_comes_back_as_it_was() {
    let records = samples();
    let read: Vec<_> = Reader::new(&encoded(&records)[..]).unwrap().collect();
    assert_eq!(read, records);
    let text: String = records.iter().map(|record| crate::op::to_jsonl(record) + "\n").collect();
    let lines: Result<Vec<_>, _> = crate::op::from_jsonl(&text).collect();
    assert_eq!(lines.unwrap(), records);
}

#[test]
fn a_cut_at_any_byte_keeps_all_whole_records_and_says_that_it_is_torn() {
    let records = samples();
    let whole = encoded(&records);
    let mut clean = 0;
    for cut in 8..whole.len() {
        let mut read: Vec<_> = Reader::new(&whole[..cut]).unwrap().collect();
        let torn = matches!(read.last(), Some(Record::Event { event: Event::Torn { .. }, .. }));
        if torn {
            read.pop();
        } else {
            clean += 1;
        }
        assert_eq!(read, records[..read.len()], "cut at {cut}");
    }
    assert_eq!(clean, records.len(), "only a cut between two records goes unseen");
    assert!(matches!(Reader::new(&whole[..7]), Err(HistoryError::NotAHistory)));
}

#[test]
fn a_flipped_bit_ends_the_history_there() {
    let records = samples();
    let whole = encoded(&records);
    for bit in 64..whole.len() * 8 {
        let mut damaged = whole.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let mut read: Vec<_> = Reader::new(&damaged[..]).unwrap().collect();
        let last = read.pop();
        assert!(matches!(last, Some(Record::Event { event: Event::Torn { .. }, .. })), "bit {bit}");
        assert_eq!(read, records[..read.len()], "bit {bit}");
    }
}

#[test]
fn a_million_operations_take_less_than_64_mb() {
    let publish = |id: u64| Publish {
        stream: StreamId(3),
        subject: SubjectId((id % 500) as u32),
        publisher: (id % 16) as u16,
        counter: (id / 16) as u32,
        attempt: 0,
        len: 128,
        headers: Headers { len: 40, hash: 1 << 31 },
        msg_id: true,
        expect: Expect::Nothing,
        ttl: Ttl::Stream,
        role: Role::Plain,
    };
    let mut out = Vec::new();
    let mut encoder = Encoder::default();
    for id in 0..10_000 {
        // The numbers are as large as they get near the millionth operation.
        let late = 990_000 + id;
        encoder.invoke(late, 60_000_000, &Call::Publish(publish(late)), &mut out);
        encoder.done(late, 60_000_000, Outcome::Acked { seq: late, duplicate: false }, &mut out);
    }
    assert!(out.len() <= 64 * 10_000, "{} bytes an operation", out.len() / 10_000);
}
