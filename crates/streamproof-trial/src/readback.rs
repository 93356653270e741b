//! The read-back: every message of a stream, by sequence, as fast as the server gives them.

use std::time::Instant;

use serde_json::{Value, json};
use streamproof_model::op::{Event, Headers, Phase, Seen, Stored, StreamSnapshot};

use crate::site::{CALL_LIMIT, Halt, Site};
use crate::snapshot::time_ns;
use crate::wire::{Incoming, Wire, header};

/// Messages asked for in one batched direct get.
const BATCH: u64 = 1000;
/// Single gets in flight at once, where batches are not to be had.
const WINDOW: usize = 128;

/// The user's headers of a raw block, summed up as they were when sent.
pub(crate) fn headers_of(block: &[u8]) -> Headers {
    let Ok(text) = std::str::from_utf8(block) else {
        return Headers { len: u16::MAX, hash: crc32fast::hash(block) };
    };
    Headers::of(
        text.split("\r\n")
            .skip(1)
            .filter_map(|line| line.split_once(':').map(|(name, value)| (name, value.trim_start()))),
    )
}

/// Whether the server made a message itself: a delete marker says why (ADR-43).
fn server_made(block: &[u8]) -> bool {
    header(block, "Nats-Marker-Reason").is_some()
}

impl Site<'_> {
    /// Reads the whole stream back and records every message; returns how many there were.
    ///
    /// # Errors
    /// [`Halt`] when the connection ends; an answer that does not come is recorded and ends the reading.
    pub fn read_back(&mut self, info: &StreamSnapshot, phase: Phase, batches: bool) -> Result<u64, Halt> {
        self.settle(0)?;
        self.recorder.event(&Event::ReadBegin { stream: self.id, phase });
        let mut live = std::collections::BTreeMap::new();
        let rules = &self.target.rules;
        // A consumer of ours would remove what it is given from an interest stream, and is refused by a work queue.
        let by_consumer = self.read_by_consumer && !rules.work_queue && !rules.interest;
        let result = if info.last_seq == 0 {
            Ok(None)
        } else if by_consumer {
            self.read_delivered(info, &mut live)
        } else if batches && rules.direct {
            self.read_batches(info, &mut live)
        } else {
            self.read_singly(info, &mut live)
        };
        let cut_short = match &result {
            Ok(cut_short) => cut_short.clone(),
            Err(Halt::Gone(why)) => Some(why.clone()),
            Err(Halt::Cancelled) => Some("cancelled".to_owned()),
        };
        self.recorder.event(&Event::ReadEnd { stream: self.id, cut_short });
        let count = live.len() as u64;
        self.live = live;
        result.map(|_| count)
    }

    /// The read-back of a stream that is not there: nothing.
    pub(crate) fn read_nothing(&mut self, phase: Phase) {
        self.recorder.event(&Event::ReadBegin { stream: self.id, phase });
        self.recorder.event(&Event::ReadEnd { stream: self.id, cut_short: None });
        self.live.clear();
    }

    fn read_batches(
        &mut self,
        info: &StreamSnapshot,
        live: &mut std::collections::BTreeMap<u64, usize>,
    ) -> Result<Option<String>, Halt> {
        let subject = format!("$JS.API.DIRECT.GET.{}", self.target.name);
        let mut from = info.first_seq.max(1);
        loop {
            let request = json!({ "seq": from, "batch": BATCH, "max_bytes": 8 * 1024 * 1024 });
            let Some(wire) = self.wire.as_mut() else { return Err(Halt::Gone("not connected".to_owned())) };
            let (number, reply) = wire.reply_subject();
            if let Err(error) = wire.publish(&subject, Some(&reply), b"", request.to_string().as_bytes()) {
                return Err(self.gone(&error));
            }
            let until = Instant::now() + CALL_LIMIT;
            let mut last = None;
            let pending = loop {
                let Some(message) = self.receive_read(until)? else {
                    self.hung("a batched direct get");
                    return Ok(Some("a batched direct get was not answered in time".to_owned()));
                };
                if self.wire.as_ref().and_then(|wire| wire.reply_number(&message)) != Some(number) {
                    self.answer(&message);
                    continue;
                }
                match message.status() {
                    // The end of a batch says how many more there are (ADR-31).
                    Some(204) => {
                        break message
                            .header("Nats-Num-Pending")
                            .and_then(|count| count.parse::<u64>().ok())
                            .unwrap_or(0);
                    }
                    Some(404) => return Ok(None),
                    Some(status) => {
                        return Ok(Some(format!("a batched direct get was answered with status {status}")));
                    }
                    None => last = self.store_direct(&message, live).or(last),
                }
            };
            match last {
                Some(seq) if pending > 0 => from = seq + 1,
                _ => return Ok(None),
            }
        }
    }

    /// Has everything delivered by a consumer made for it: the fastest way there is, on every server. What it does not show (an
    /// answer for each sequence by itself) is asked for where it does not come to what the stream says it holds.
    fn read_delivered(
        &mut self,
        info: &StreamSnapshot,
        live: &mut std::collections::BTreeMap<u64, usize>,
    ) -> Result<Option<String>, Halt> {
        if info.messages == 0 {
            return self.read_singly(info, live);
        }
        let name = self.target.name.clone();
        let Some(wire) = self.wire.as_mut() else { return Err(Halt::Gone("not connected".to_owned())) };
        let (_, deliver) = wire.reply_subject();
        let deliver = format!("{deliver}.all");
        let sid = wire.subscribe(&deliver, None);
        let config = json!({
            "deliver_subject": deliver, "ack_policy": "none", "deliver_policy": "all", "mem_storage": true,
            "inactive_threshold": 60_000_000_000_u64,
        });
        let request = json!({ "stream_name": name, "config": config });
        let created = self.api(&format!("CONSUMER.CREATE.{name}"), &request);
        let mut messages = Vec::with_capacity(info.messages as usize);
        let mut left = created.as_ref().map_or(0, |info| info["num_pending"].as_u64().unwrap_or(0).max(1));
        while left > 0 && created.is_ok() {
            // What has arrived already is taken without a look at the clock.
            let arrived = self.wire.as_mut().map_or(Ok(None), Wire::buffered);
            let message = match arrived.map_err(|error| self.gone(&error))? {
                Some(message) => Some(message),
                None => self.receive_read(Instant::now() + CALL_LIMIT)?,
            };
            let Some(message) = message else { break };
            if message.sid != sid {
                self.answer(&message);
                continue;
            }
            let Some((seq, ts_ns, pending)) = message.reply.as_deref().and_then(place) else { continue };
            left = pending;
            messages.push((seq, ts_ns, message));
        }
        if let Some(wire) = self.wire.as_mut() {
            wire.unsubscribe(sid);
        }
        if created.is_err() || messages.len() as u64 != info.messages {
            return self.read_singly(info, live);
        }
        for (seq, ts_ns, message) in messages {
            self.stored(seq, &message.subject, &message.payload, &message.headers, ts_ns, live);
        }
        Ok(None)
    }

    fn store_direct(
        &mut self,
        message: &Incoming,
        live: &mut std::collections::BTreeMap<u64, usize>,
    ) -> Option<u64> {
        let seq = message.header("Nats-Sequence")?.parse().ok()?;
        let subject = message.header("Nats-Subject")?.to_owned();
        let ts = time_ns(message.header("Nats-Time-Stamp"));
        self.stored(seq, &subject, &message.payload, &message.headers, ts, live);
        Some(seq)
    }

    fn stored(
        &mut self,
        seq: u64,
        subject: &str,
        body: &[u8],
        headers: &[u8],
        ts_ns: i64,
        live: &mut std::collections::BTreeMap<u64, usize>,
    ) {
        live.insert(seq, self.subject_index(subject).unwrap_or(usize::MAX));
        self.recorder.event(&Event::Stored(Stored {
            stream: self.id,
            seq,
            subject: self.recorder.subject(subject),
            seen: Seen::of(self.recorder.run, body),
            headers: headers_of(headers),
            ts_us: self.recorder.wall_to_run_us(ts_ns),
            server_made: server_made(headers),
        }));
    }

    /// One request for each sequence, many in flight: works on every server and every stream, and asks for each sequence by itself.
    fn read_singly(
        &mut self,
        info: &StreamSnapshot,
        live: &mut std::collections::BTreeMap<u64, usize>,
    ) -> Result<Option<String>, Halt> {
        let subject = format!("$JS.API.STREAM.MSG.GET.{}", self.target.name);
        let (mut next, last) = (info.first_seq.max(1), info.last_seq);
        let mut asked: std::collections::HashMap<u64, u64> = std::collections::HashMap::new();
        while next <= last || !asked.is_empty() {
            while next <= last && asked.len() < WINDOW {
                let Some(wire) = self.wire.as_mut() else {
                    return Err(Halt::Gone("not connected".to_owned()));
                };
                let (number, reply) = wire.reply_subject();
                let request = format!("{{\"seq\":{next}}}");
                if let Err(error) = wire.publish(&subject, Some(&reply), b"", request.as_bytes()) {
                    return Err(self.gone(&error));
                }
                asked.insert(number, next);
                next += 1;
            }
            let Some(message) = self.receive_read(Instant::now() + CALL_LIMIT)? else {
                self.hung("a message get");
                return Ok(Some(format!("{} message gets were not answered in time", asked.len())));
            };
            let Some(seq) = self
                .wire
                .as_ref()
                .and_then(|wire| wire.reply_number(&message))
                .and_then(|number| asked.remove(&number))
            else {
                self.answer(&message);
                continue;
            };
            self.single(seq, &message, live);
        }
        Ok(None)
    }

    fn single(&mut self, seq: u64, message: &Incoming, live: &mut std::collections::BTreeMap<u64, usize>) {
        let unreadable = |error: String| Event::Unreadable { stream: self.id, seq, error };
        let Ok(value) = serde_json::from_slice::<Value>(&message.payload) else {
            self.recorder.event(&unreadable("an answer that is no JSON".to_owned()));
            return;
        };
        if let Some(error) = value.get("error") {
            // 10037: no message found, which is what a deleted one looks like.
            if error["err_code"].as_u64() != Some(10037) {
                self.recorder
                    .event(&unreadable(error["description"].as_str().unwrap_or("unknown").to_owned()));
            }
            return;
        }
        let stored = &value["message"];
        let body = base64(stored["data"].as_str().unwrap_or_default());
        let headers = base64(stored["hdrs"].as_str().unwrap_or_default());
        let (Some(body), Some(headers), Some(subject)) = (body, headers, stored["subject"].as_str()) else {
            self.recorder.event(&unreadable("an answer without a readable message".to_owned()));
            return;
        };
        let seq = stored["seq"].as_u64().unwrap_or(seq);
        self.stored(seq, subject, &body, &headers, time_ns(stored["time"].as_str()), live);
    }

    fn receive_read(&mut self, until: Instant) -> Result<Option<Incoming>, Halt> {
        self.check_cancel()?;
        let Some(wire) = self.wire.as_mut() else { return Err(Halt::Gone("not connected".to_owned())) };
        match wire.next(until) {
            Ok(message) => Ok(message),
            Err(error) => Err(self.gone(&error)),
        }
    }
}

/// Sequence, time in ns since 1970, and what is yet to come, from an ack subject (ADR-15; `consume.rs` has its form).
fn place(reply: &str) -> Option<(u64, i64, u64)> {
    let skip = if reply.bytes().filter(|byte| *byte == b'.').count() >= 10 { 2 } else { 0 };
    let mut tokens = reply.split('.').skip(5 + skip);
    let sequence = tokens.next()?.parse().ok()?;
    let ts_ns = tokens.nth(1)?.parse().ok()?;
    Some((sequence, ts_ns, tokens.next()?.parse().ok()?))
}

/// Standard base64, as Go's JSON writes bytes.
pub(crate) fn base64(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut count) = (0_u32, 0);
    for byte in text.bytes() {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            b'=' => break,
            _ => return None,
        };
        bits = (bits << 6) | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_read_as_go_writes_it() {
        assert_eq!(base64("aGVsbG8="), Some(b"hello".to_vec()));
        assert_eq!(base64("aGVsbG8h"), Some(b"hello!".to_vec()));
        assert_eq!(base64("//8="), Some(vec![0xff, 0xff]));
        assert_eq!(base64(""), Some(vec![]));
        assert_eq!(base64("a*"), None);
    }

    #[test]
    fn an_ack_subject_says_which_message_and_how_many_follow() {
        let reply = "$JS.ACK.ORDERS.x.1.42.7.1700000000000000000.3";
        assert_eq!(place(reply), Some((42, 1_700_000_000_000_000_000, 3)));
        let long = "$JS.ACK.hub.acc.ORDERS.x.1.42.7.1700000000000000000.0.rnd";
        assert_eq!(place(long), Some((42, 1_700_000_000_000_000_000, 0)));
        assert_eq!(place("_INBOX.x"), None);
    }

    #[test]
    fn headers_are_summed_alike_when_sent_and_when_read() {
        let sent = Headers::of([("Nats-Msg-Id", "x"), ("Note", "1")]);
        assert_eq!(headers_of(b"NATS/1.0\r\nNats-Msg-Id: x\r\nNote: 1\r\nNats-Sequence: 4\r\n\r\n"), sent);
    }
}
