//! The table of messages: what was sent, by publisher and counter.

use crate::column::CHUNK;
use std::collections::HashMap;
use streamproof_model::op::{Headers, Publish, StreamId, SubjectId, Ttl};

/// A message that was sent, or at least attempted.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sent {
    /// The sequence of its latest ack.
    pub(crate) seq: u64,
    /// When its first attempt was invoked, in ms since the run began.
    pub(crate) invoked_ms: u32,
    pub(crate) subject: u32,
    pub(crate) len: u32,
    pub(crate) headers_hash: u32,
    pub(crate) headers_len: u16,
    pub(crate) stream: u16,
    pub(crate) flags: u8,
}

/// It was attempted.
pub(crate) const TRIED: u8 = 1;
/// It carries a message id.
pub(crate) const HAS_ID: u8 = 2;
/// Some attempt may have stored it.
pub(crate) const MAY_BE_STORED: u8 = 4;
/// Some attempt was acked.
pub(crate) const WAS_ACKED: u8 = 8;
/// It may be stored more than once, by retries that the server could not or need not recognise.
pub(crate) const MAY_REPEAT: u8 = 16;
/// It has a time to live of its own.
pub(crate) const HAS_TTL: u8 = 32;
/// It was sent more than once.
pub(crate) const RETRIED: u8 = 64;

/// The publisher that messages of others are put under; how old they are is not known.
pub(crate) const ADOPTED: u16 = u16::MAX;

/// All messages of a run.
#[derive(Debug, Default)]
pub(crate) struct Messages {
    /// By publisher, the chunk of each [`CHUNK`] counters; `u32::MAX` for none.
    publishers: Vec<Vec<u32>>,
    chunks: Vec<Box<[Sent; CHUNK]>>,
    /// The publisher and first counter of each chunk.
    names: Vec<(u16, u32)>,
    ttls: HashMap<u32, Ttl>,
}

impl Messages {
    /// The number of a message, if it was ever attempted.
    pub(crate) fn find(&self, publisher: u16, counter: u32) -> Option<u32> {
        let chunk = *self.publishers.get(usize::from(publisher))?.get(counter as usize / CHUNK)?;
        let number = (chunk != u32::MAX).then_some(chunk * CHUNK as u32 + counter % CHUNK as u32)?;
        (self.get(number).flags & TRIED != 0).then_some(number)
    }

    pub(crate) fn get(&self, number: u32) -> &Sent {
        &self.chunks[number as usize / CHUNK][number as usize % CHUNK]
    }

    pub(crate) fn get_mut(&mut self, number: u32) -> &mut Sent {
        &mut self.chunks[number as usize / CHUNK][number as usize % CHUNK]
    }

    pub(crate) fn name(&self, number: u32) -> (u16, u32) {
        let (publisher, first) = self.names[number as usize / CHUNK];
        (publisher, first + number % CHUNK as u32)
    }

    pub(crate) fn ttl(&self, number: u32) -> Ttl {
        if self.get(number).flags & HAS_TTL == 0 {
            return Ttl::Stream;
        }
        self.ttls.get(&number).copied().unwrap_or_default()
    }

    /// Notes an attempt. The first one says what the message is.
    pub(crate) fn attempt(&mut self, publish: &Publish, invoked: u64) -> u32 {
        let number = self.number(publish.publisher, publish.counter);
        let sent = self.get_mut(number);
        if sent.flags & TRIED != 0 {
            sent.flags |= RETRIED;
            return number;
        }
        let Publish { stream: StreamId(stream), subject: SubjectId(subject), .. } = *publish;
        let Headers { len, hash } = publish.headers;
        *sent = Sent {
            seq: 0,
            invoked_ms: millis(invoked),
            subject,
            len: publish.len,
            headers_hash: hash,
            headers_len: len,
            stream,
            flags: TRIED | if publish.msg_id { HAS_ID } else { 0 },
        };
        if publish.ttl != Ttl::Stream {
            sent.flags |= HAS_TTL;
            self.ttls.insert(number, publish.ttl);
        }
        number
    }

    fn number(&mut self, publisher: u16, counter: u32) -> u32 {
        let index = usize::from(publisher);
        if self.publishers.len() <= index {
            self.publishers.resize(index + 1, Vec::new());
        }
        let chunks = &mut self.publishers[index];
        let chunk = counter as usize / CHUNK;
        if chunks.len() <= chunk {
            chunks.resize(chunk + 1, u32::MAX);
        }
        if chunks[chunk] == u32::MAX {
            chunks[chunk] = self.chunks.len() as u32;
            self.chunks.push(Box::new([Sent::default(); CHUNK]));
            self.names.push((publisher, counter - counter % CHUNK as u32));
        }
        chunks[chunk] * CHUNK as u32 + counter % CHUNK as u32
    }
}

/// Milliseconds of a time in µs; runs are shorter than 49 days.
pub(crate) fn millis(us: u64) -> u32 {
    u32::try_from(us / 1000).unwrap_or(u32::MAX)
}
