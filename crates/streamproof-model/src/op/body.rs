//! Message bodies that name themselves and check themselves, so that a history need not hold them.

use serde::{Deserialize, Serialize};

/// The shortest body that can name and check itself: run, publisher, counter, length, and their checksum.
pub const MIN_BODY_LEN: u32 = 18;

/// A body as it is published: the rest of it follows from these four numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Body {
    /// The run.
    pub run: u32,
    /// Who publishes.
    pub publisher: u16,
    /// The how-manieth of that publisher, from 0.
    pub counter: u32,
    /// Length in bytes; less than [`MIN_BODY_LEN`] counts as that.
    pub len: u32,
}

impl Body {
    /// Appends the body to `out`. The filling does not compress, so that stores with compression are exercised.
    pub fn write(&self, out: &mut Vec<u8>) {
        let len = self.len.max(MIN_BODY_LEN);
        let start = out.len();
        out.extend_from_slice(&self.run.to_le_bytes());
        out.extend_from_slice(&self.publisher.to_le_bytes());
        out.extend_from_slice(&self.counter.to_le_bytes());
        out.extend_from_slice(&len.to_le_bytes());
        let check = crc32fast::hash(&out[start..]);
        out.extend_from_slice(&check.to_le_bytes());
        let mut filling = Filling::new(self);
        let mut left = (len - MIN_BODY_LEN) as usize;
        while left > 0 {
            let word = filling.next().to_le_bytes();
            let take = left.min(word.len());
            out.extend_from_slice(&word[..take]);
            left -= take;
        }
    }

    /// The bytes of the body.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.len.max(MIN_BODY_LEN) as usize);
        self.write(&mut out);
        out
    }
}

/// A body as it was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "body", rename_all = "snake_case")]
pub enum Seen {
    /// One of this run, every byte as it was sent.
    Ours {
        /// Who published it.
        publisher: u16,
        /// The how-manieth of that publisher.
        counter: u32,
        /// Length in bytes.
        len: u32,
    },
    /// It names itself as one of this run, but its bytes are not what was sent.
    Damaged {
        /// Who published it.
        publisher: u16,
        /// The how-manieth of that publisher.
        counter: u32,
        /// Length in bytes, as received.
        len: u32,
        /// CRC-32 of what was received.
        hash: u32,
    },
    /// Not one of this run: empty, made by the server, or from somebody else.
    Foreign {
        /// Length in bytes.
        len: u32,
        /// CRC-32 of what was received.
        hash: u32,
    },
}

impl Seen {
    /// Looks at bytes that were received in `run`.
    #[must_use]
    pub fn of(run: u32, bytes: &[u8]) -> Self {
        let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let Some(body) = head(bytes).filter(|body| body.run == run) else {
            return Seen::Foreign { len, hash: crc32fast::hash(bytes) };
        };
        let Body { publisher, counter, .. } = body;
        if body.len == len && filled(&body, &bytes[MIN_BODY_LEN as usize..]) {
            Seen::Ours { publisher, counter, len }
        } else {
            Seen::Damaged { publisher, counter, len, hash: crc32fast::hash(bytes) }
        }
    }
}

/// The user's headers of a message, in short.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Headers {
    /// Length of names and values together, in bytes.
    pub len: u16,
    /// CRC-32 over names and values, in order; 0 without headers.
    pub hash: u32,
}

impl Headers {
    /// Sums headers up. Those that the server reads or writes (`Nats-…`) are left out, save `Nats-Msg-Id`: a
    /// server may add to or drop from its own.
    #[must_use]
    pub fn of<'a>(headers: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut hasher = crc32fast::Hasher::new();
        let mut len = 0_usize;
        for (name, value) in headers {
            if name.starts_with("Nats-") && name != "Nats-Msg-Id" {
                continue;
            }
            for part in [name, ":", value, "\n"] {
                hasher.update(part.as_bytes());
            }
            len += name.len() + value.len() + 2;
        }
        if len == 0 {
            return Self::default();
        }
        Self { len: u16::try_from(len).unwrap_or(u16::MAX), hash: hasher.finalize() }
    }
}

fn head(bytes: &[u8]) -> Option<Body> {
    let head = bytes.first_chunk::<{ MIN_BODY_LEN as usize }>()?;
    let [a, b, c, d, p, q, e, f, g, h, i, j, k, l, w, x, y, z] = *head;
    if crc32fast::hash(&head[..14]) != u32::from_le_bytes([w, x, y, z]) {
        return None;
    }
    Some(Body {
        run: u32::from_le_bytes([a, b, c, d]),
        publisher: u16::from_le_bytes([p, q]),
        counter: u32::from_le_bytes([e, f, g, h]),
        len: u32::from_le_bytes([i, j, k, l]),
    })
}

fn filled(body: &Body, rest: &[u8]) -> bool {
    let mut filling = Filling::new(body);
    rest.chunks(8).all(|chunk| filling.next().to_le_bytes()[..chunk.len()] == *chunk)
}

/// The bytes after the head: splitmix64 (Steele, Lea, Flood 2014), seeded with what the head says.
struct Filling(u64);

impl Filling {
    fn new(body: &Body) -> Self {
        let who = (u64::from(body.publisher) << 32) | u64::from(body.counter);
        Self((u64::from(body.run) << 48) ^ who.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_knows_itself_and_notices_every_flipped_bit() {
        for len in [0, 18, 19, 26, 100] {
            let body = Body { run: 7, publisher: 3, counter: 99, len };
            let bytes = body.bytes();
            let whole = Seen::Ours { publisher: 3, counter: 99, len: len.max(MIN_BODY_LEN) };
            assert_eq!(Seen::of(7, &bytes), whole);
            assert!(matches!(Seen::of(8, &bytes), Seen::Foreign { .. }));
            for bit in 0..bytes.len() * 8 {
                let mut damaged = bytes.clone();
                damaged[bit / 8] ^= 1 << (bit % 8);
                assert_ne!(Seen::of(7, &damaged), whole, "bit {bit}");
            }
            assert_ne!(Seen::of(7, &bytes[..bytes.len() - 1]), whole);
        }
        assert!(matches!(Seen::of(7, b""), Seen::Foreign { len: 0, .. }));
    }

    #[test]
    fn headers_of_the_server_do_not_count() {
        let plain = Headers::of([("A", "1")]);
        assert_eq!(Headers::of([("A", "1"), ("Nats-Time-Stamp", "x")]), plain);
        assert_ne!(Headers::of([("A", "2")]), plain);
        assert_eq!(Headers::of([]), Headers::default());
    }
}
