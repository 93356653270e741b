//! M1, M2, M3, M4, M9, M12, C9, X1 and the limits of M8: what a stream holds when it is read back.

use crate::column::{ACKED, DELETED, GONE, LIVE, MAYBE_DELETED, PRESENT, READ, REPORTED, Slot};
use crate::eviction::{AGE_SLACK_US, Above};
use crate::messages::{ADOPTED, MAY_BE_STORED, MAY_REPEAT, RETRIED, WAS_ACKED};
use crate::returned::{Back, Removal};
use crate::stream::Reading;
use crate::verdict::Invariant;
use crate::world::World;
use streamproof_model::op::{
    Expect, Headers, MIN_BODY_LEN, Phase, Publish, Role, Seen, Stored, StreamId, Ttl,
};

impl World<'_> {
    pub(crate) fn read_begin(&mut self, id: StreamId, phase: Phase, at: u64) {
        self.unnamed_read = false;
        let stream = self.stream(id);
        stream.seen.clear();
        stream.reading =
            Some(Reading { begun: at, phase, count: 0, unreadable: 0, first: u64::MAX, last: 0 });
    }

    /// M3 *no phantom*: every stored message was sent in this run to this stream, or made by the server, or
    /// copied from another stream by a mirror or source. And M4 *stored once*: in one reading a message is seen
    /// once, unless it was sent again without an id or after its duplicate window.
    pub(crate) fn stored(&mut self, stored: &Stored) {
        self.counts.read_back += 1;
        let id = stored.stream;
        let Stored { seq, subject, seen, headers, .. } = *stored;
        if let Some(reading) = &mut self.stream(id).reading {
            reading.count += 1;
            reading.first = reading.first.min(seq);
            reading.last = reading.last.max(seq);
        }
        self.present.add(subject.0);
        if stored.server_made {
            self.unnamed_read = true;
            return;
        }
        let number = match seen {
            Seen::Ours { publisher, counter, len } => {
                let Some(number) = self.messages.find(publisher, counter) else {
                    self.violation(Invariant::M3, id.0, "never sent", Some(seq), || {
                        format!("{publisher}.{counter} was never sent")
                    });
                    return;
                };
                self.m1_unaltered(id, seq, number, subject.0, len, headers);
                number
            }
            Seen::Damaged { publisher, counter, .. } => {
                let Some(number) = self.messages.find(publisher, counter) else {
                    self.violation(Invariant::M3, id.0, "never sent", Some(seq), || {
                        format!("a damaged {publisher}.{counter}, which was never sent")
                    });
                    return;
                };
                self.message_violation(Invariant::M1, id.0, "altered body", seq, number, || {
                    "its bytes are not those that were sent".to_owned()
                });
                number
            }
            Seen::Foreign { len, hash } => match self.foreign(stored, len, hash) {
                Some(number) => number,
                None => return,
            },
        };
        let sent = *self.messages.get(number);
        let copies = self.stream(id).copies();
        if sent.stream != id.0 && !copies {
            let from = self.streams.get(usize::from(sent.stream)).map(|stream| stream.name.clone());
            self.message_violation(Invariant::M3, id.0, "of another stream", seq, number, || {
                format!("it was sent to {}", from.unwrap_or_default())
            });
            return;
        }
        if sent.flags & (MAY_BE_STORED | WAS_ACKED) == 0 {
            self.message_violation(Invariant::M8, id.0, "stored though refused", seq, number, || {
                "the server had refused it".to_owned()
            });
        }
        if !self.stream(id).seen.insert(number) && sent.flags & MAY_REPEAT == 0 {
            self.message_violation(Invariant::M4, id.0, "stored twice", seq, number, || {
                format!("it is at {seq} and at another sequence")
            });
        }
        self.place(id, seq, number, copies);
    }

    /// Puts a message that was read back to its sequence.
    fn place(&mut self, id: StreamId, seq: u64, number: u32, copies: bool) {
        let slot = self.stream(id).slots.get(seq);
        let sent = *self.messages.get(number);
        if slot.message == number + 1 {
            if slot.flags & GONE != 0 {
                self.back.push(Back { seq, number, by: Removal::Seen });
            }
        } else if slot.message == 0
            && !copies
            && sent.flags & WAS_ACKED != 0
            && sent.seq != seq
            && sent.flags & (MAY_REPEAT | RETRIED) == 0
        {
            self.message_violation(Invariant::M4, id.0, "at another sequence", seq, number, || {
                format!("acked as {}, stored at {seq}", sent.seq)
            });
        }
        if copies {
            self.x1_as_origin(id, seq, number);
        }
        self.bind(id, number, seq, PRESENT | READ | LIVE);
        let size = self.size(number);
        let stream = self.stream(id);
        stream.largest = stream.largest.max(size);
        stream.known_last = stream.known_last.max(seq);
    }

    /// A body that does not name itself: an empty one of ours (KV deletes), or somebody else's.
    fn foreign(&mut self, stored: &Stored, len: u32, hash: u32) -> Option<u32> {
        let Stored { stream: id, seq, subject, headers, .. } = *stored;
        let slot = self.stream(id).slots.get(seq);
        let both = headers.hash ^ hash.rotate_left(7);
        if slot.message != 0 {
            let number = slot.message - 1;
            let sent = *self.messages.get(number);
            let adopted = self.messages.name(number).0 == ADOPTED;
            let same = if adopted {
                sent.len == len && sent.headers_hash == both && sent.subject == subject.0
            } else {
                len == 0 && sent.len == 0 && sent.headers_hash == headers.hash
            };
            if !same {
                self.message_violation(Invariant::M1, id.0, "altered body", seq, number, || {
                    format!("{len} bytes that were not sent")
                });
            }
            return Some(number);
        }
        let stream = self.stream(id);
        let copies = stream.copies();
        let what = (subject.0, both);
        let in_doubt =
            len == 0 && (stream.doubts.contains_key(&subject.0) || stream.unnamed.get(&seq) == Some(&what));
        if in_doubt {
            stream.unnamed.insert(seq, what);
        }
        if self.context.adopt && self.faults.is_empty() {
            let publish = Publish {
                stream: id,
                subject,
                publisher: ADOPTED,
                counter: self.adopted,
                attempt: 0,
                len,
                headers: Headers { len: headers.len, hash: both },
                msg_id: false,
                expect: Expect::Nothing,
                ttl: Ttl::Stream,
                role: Role::Plain,
            };
            self.adopted += 1;
            let number = self.messages.attempt(&publish, 0);
            self.messages.get_mut(number).flags |= MAY_BE_STORED | MAY_REPEAT;
            return Some(number);
        }
        if !copies && !in_doubt {
            self.violation(Invariant::M3, id.0, "of somebody else", Some(seq), || {
                format!("{len} bytes that nobody of this run sent")
            });
        }
        self.unnamed_read = true;
        None
    }

    /// M1, as to content: subject, length, body and the user's headers are what was sent.
    fn m1_unaltered(
        &mut self,
        id: StreamId,
        seq: u64,
        number: u32,
        subject: u32,
        len: u32,
        headers: Headers,
    ) {
        let sent = *self.messages.get(number);
        // A mirror or source may transform subjects.
        let moved = sent.subject != subject && !self.stream(id).copies();
        let class = if moved {
            "altered subject"
        } else if len != sent.len.max(MIN_BODY_LEN) {
            "altered body"
        } else if (headers.hash, headers.len) != (sent.headers_hash, sent.headers_len) {
            "altered headers"
        } else {
            return;
        };
        self.message_violation(Invariant::M1, id.0, class, seq, number, || {
            "it is not what was sent".to_owned()
        });
    }

    /// M1 *acked messages are present*, M2 *what was read stays*: an acked message, and one that any reader saw,
    /// is at its sequence unless its removal is justified (M8).
    pub(crate) fn m1_lost(&mut self, id: StreamId, seq: u64, number: u32, flags: u8, class: &'static str) {
        let (invariant, why) = if flags & ACKED != 0 {
            (Invariant::M1, "acked, and not there")
        } else {
            (Invariant::M2, "read before, and not there")
        };
        self.message_violation(invariant, id.0, class, seq, number, || why.to_owned());
    }

    /// M11, as to reading: what the state says is there can be read. (nats-server #7123: "message block data
    /// missing".)
    pub(crate) fn unreadable(&mut self, id: StreamId, seq: u64, error: &str) {
        if let Some(reading) = &mut self.stream(id).reading {
            reading.unreadable += 1;
        }
        self.violation(Invariant::M11, id.0, "unreadable", Some(seq), || error.to_owned());
    }

    /// Judges a whole stream against what was read. Walks over what was expected, newest first.
    pub(crate) fn read_end(&mut self, id: StreamId, cut_short: Option<&str>, at: u64) {
        let Some(reading) = self.stream(id).reading.take() else { return };
        if let Some(why) = cut_short {
            self.violation(Invariant::A1, id.0, "read cut short", None, || why.to_owned());
            self.forget_reading(id);
            self.present.clear();
            self.back.clear();
            return;
        }
        self.x1_whole(id, &reading);
        self.m12_whole(id);
        let first_present = reading.first;
        let mut above = Above { first_present, ..Above::default() };
        let kv = self.stream(id).name.starts_with("KV_");
        self.newer.clear();
        let mut purged_away = Vec::new();
        let mut next = self.stream(id).slots.previous_live(u64::MAX);
        while let Some(seq) = next {
            let slot = self.stream(id).slots.get(seq);
            let number = slot.message.checked_sub(1);
            if slot.flags & PRESENT != 0 {
                self.still_there(id, seq, slot, number, &reading);
            } else {
                if self.was_purged_away(id, seq, slot, number) {
                    purged_away.push(seq);
                }
                let justified = self.m8_justified(id, seq, slot, number, above, at);
                let mut flags = (slot.flags & !(LIVE | DELETED | MAYBE_DELETED)) | GONE;
                if let (false, Some(number)) = (justified, number) {
                    let class = match (seq > reading.last, seq < reading.first) {
                        _ if reading.count == 0 => "lost all",
                        (true, _) => "lost tail",
                        (_, true) => "lost prefix",
                        _ => "lost middle",
                    };
                    self.m1_lost(id, seq, number, slot.flags, class);
                    let subject = self.messages.get(number).subject;
                    if kv && self.newer.get(subject) == 0 {
                        self.v1_last_value(id, seq, number);
                    }
                    flags |= REPORTED;
                }
                self.stream(id).slots.set(seq, Slot { flags, ..slot });
                let stream = self.stream(id);
                stream.gone.extend(number);
                if let Some(number) = number {
                    stream.back_told.remove(&number);
                }
            }
            if let Some(number) = number {
                above.count += 1;
                above.bytes += self.size(number);
                self.newer.add(self.messages.get(number).subject);
            }
            next = seq.checked_sub(1).and_then(|seq| self.stream(id).slots.previous_live(seq));
        }
        self.m7_and_c9_back(id, &purged_away);
        self.m8_limits(id, &reading);
        self.m11_counts(id, &reading);
        self.c6_counts(id);
        self.present.clear();
        let stream = self.stream(id);
        stream.purges.clear();
        stream.doubts.clear();
        stream.doubt = 0;
        stream.deletions.clear();
        stream.erased.clear();
        stream.batches.clear();
        stream.tight = stream.rules.clone();
        if let Some(fault) = self.current_fault() {
            fault.judged.insert(id.0);
            let restarted = fault.kind.restarts();
            let stopped = restarted && fault.kind.graceful();
            let stream = self.stream(id);
            stream.wrong_first &= !restarted;
            for number in stopped.then(|| std::mem::take(&mut stream.gone)).into_iter().flatten() {
                stream.gone_at_stop.insert(number);
            }
        }
    }

    /// A message that is present, and should perhaps not be. M9 *time to live*: it is gone some seconds after it is due, and some
    /// seconds after the server was started; M8 the same of `max_age`, for which the server looks before it answers. The time
    /// that the server was down counts.
    fn still_there(&mut self, id: StreamId, seq: u64, slot: Slot, number: Option<u32>, reading: &Reading) {
        self.stream(id)
            .slots
            .set(seq, Slot { flags: slot.flags & !(PRESENT | MAYBE_DELETED | DELETED), ..slot });
        let Some(number) = number else { return };
        let sent = *self.messages.get(number);
        let stream = &self.streams[usize::from(id.0)];
        let removal = if slot.flags & DELETED != 0 {
            Some(Removal::Deleted { erased: stream.erased.contains(&seq) })
        } else if stream.purges.has_hit(seq, sent.subject, self.subject(sent.subject)) {
            let on_subject = stream.purges.has_hit_on_subject(seq, sent.subject, self.subject(sent.subject));
            Some(Removal::Purged { on_subject })
        } else {
            None
        };
        self.back.extend(removal.map(|by| Back { seq, number, by }));
        if self.c9_must_be_gone(id, seq, sent.subject) {
            self.back.push(Back { seq, number, by: Removal::Acked });
        }
        let age_us = reading.begun.saturating_sub(u64::from(sent.invoked_ms) * 1000);
        let ttl = self.messages.ttl(number);
        // A server looks for what is due once it is up (nats-server filestore.go:resetAgeChk), not before it answers.
        let up_us = reading.begun.saturating_sub(self.up_since);
        if let Ttl::Seconds(seconds) = ttl
            && age_us > u64::from(seconds) * 1_000_000 + AGE_SLACK_US
            && up_us > AGE_SLACK_US
        {
            self.message_violation(Invariant::M9, id.0, "overdue", seq, number, || {
                format!("its time to live was {seconds} s")
            });
        }
        let max_age_us = self.stream(id).loose.max_age_us;
        if ttl == Ttl::Stream
            && self.messages.name(number).0 != ADOPTED
            && age_us > max_age_us.saturating_add(AGE_SLACK_US)
        {
            self.message_violation(Invariant::M8, id.0, "older than max_age", seq, number, || {
                format!("max_age is {} ms", max_age_us / 1000)
            });
        }
    }

    /// M8, as to limits: no more messages than `max_msgs`, and on no subject more than `max_msgs_per_subject`. A
    /// limit that was lowered counts from the next restart on (nats-server 2.11.6 and 2.11.7 apply it only then).
    fn m8_limits(&mut self, id: StreamId, reading: &Reading) {
        let rules = &self.stream(id).loose;
        let (most, most_per_subject) = (rules.max_msgs, rules.max_per_subject);
        if reading.count > most {
            self.violation(Invariant::M8, id.0, "more than max_msgs", None, || {
                format!("{} messages, max_msgs is {most}", reading.count)
            });
        }
        if most_per_subject != u64::MAX
            && let Some((subject, count)) = self.present.first_over(most_per_subject)
        {
            let name = self.subject(subject).to_owned();
            self.violation(Invariant::M8, id.0, "more than max_msgs_per_subject", None, || {
                format!("{count} messages on {name}, max_msgs_per_subject is {most_per_subject}")
            });
        }
    }

    /// V1 *a key has its last value*: the acked put with the highest revision of a key is there, unless a later
    /// one took its place or its removal is justified. (A revision is a stream sequence, so M5 to M7 hold for it.)
    fn v1_last_value(&mut self, id: StreamId, seq: u64, number: u32) {
        self.message_violation(Invariant::V1, id.0, "last value lost", seq, number, || {
            format!("revision {seq} was the last of its key")
        });
    }

    /// M12 *a batch is whole*: of an atomic batch all messages are there, or none. Not decided where messages
    /// may go by themselves.
    fn m12_whole(&mut self, id: StreamId) {
        let stream = self.stream(id);
        if stream.batches.is_empty() || stream.tight.evicts() || stream.purges.any() {
            return;
        }
        for batch in std::mem::take(&mut self.stream(id).batches) {
            let stream = &self.streams[usize::from(id.0)];
            let deleted = batch.iter().any(|number| {
                let sent = self.messages.get(*number);
                sent.flags & WAS_ACKED != 0 && stream.slots.get(sent.seq).flags & MAYBE_DELETED != 0
            });
            let present = batch.iter().filter(|number| stream.seen.contains(**number)).count();
            if present != 0 && present != batch.len() && !deleted {
                let seq = self.messages.get(batch[0]).seq;
                self.message_violation(Invariant::M12, id.0, "torn batch", seq, batch[0], || {
                    format!("{present} of {} messages are there", batch.len())
                });
            }
        }
    }

    /// X1 *a mirror equals its origin*: at every sequence that both know, the same message.
    fn x1_as_origin(&mut self, id: StreamId, seq: u64, number: u32) {
        let Some(origin) = self.origin(id) else { return };
        let theirs = self.streams[origin].slots.get(seq).message;
        if theirs != 0 && theirs != number + 1 {
            let (publisher, counter) = self.messages.name(theirs - 1);
            self.message_violation(Invariant::X1, id.0, "differs from origin", seq, number, || {
                format!("the origin has {publisher}.{counter} at {seq}")
            });
        }
    }

    /// The other half of X1: what the origin holds is in the mirror too, once it has had the time to follow; and
    /// what lies below the mirror's last message always.
    fn x1_whole(&mut self, id: StreamId, reading: &Reading) {
        let Some(origin) = self.origin(id) else { return };
        let mirror = &self.streams[usize::from(id.0)];
        if mirror.rules.mirror_partial || mirror.tight.evicts() || mirror.purges.any() {
            return;
        }
        let end = if reading.phase == Phase::Quiet { u64::MAX } else { reading.last };
        let mut next = self.streams[origin].slots.next_live(reading.first);
        let mut missing = Vec::new();
        while let Some(seq) = next.filter(|seq| *seq <= end) {
            let theirs = self.streams[origin].slots.get(seq);
            let mine = self.streams[usize::from(id.0)].slots.get(seq);
            if mine.flags & (PRESENT | MAYBE_DELETED) == 0 && theirs.flags & MAYBE_DELETED == 0 {
                missing.push((seq, theirs.message));
            }
            next = self.streams[origin].slots.next_live(seq + 1);
        }
        if self.streams[origin].purges.any() || self.streams[origin].tight.evicts() {
            return;
        }
        for (seq, message) in missing {
            if let Some(number) = message.checked_sub(1) {
                self.message_violation(Invariant::X1, id.0, "missing in mirror", seq, number, || {
                    "the origin has it".to_owned()
                });
            }
        }
    }

    fn origin(&self, id: StreamId) -> Option<usize> {
        let name = self.streams[usize::from(id.0)].rules.mirror.as_ref()?;
        self.streams.iter().position(|stream| stream.name == *name)
    }

    /// Takes back the marks of a reading that did not reach its end.
    fn forget_reading(&mut self, id: StreamId) {
        let slots = &mut self.stream(id).slots;
        let mut next = slots.next_live(0);
        while let Some(seq) = next {
            let slot = slots.get(seq);
            slots.set(seq, Slot { flags: slot.flags & !PRESENT, ..slot });
            next = slots.next_live(seq + 1);
        }
    }
}
