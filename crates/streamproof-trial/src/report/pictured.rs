//! What pictures of a server show of a stream or a consumer, before and after: the numbers that a person looks at first.

use streamproof_model::op::FaultKind;

use crate::picture::{Picture, StreamPicture};

/// A stream or a consumer in two pictures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pictured {
    /// The stream, or `STREAM > CONSUMER`.
    pub target: String,
    /// What lay between the pictures.
    pub fault: FaultKind,
    /// What it was before; none where it was not there.
    pub before: Option<Sight>,
    /// What it was after; none where it is gone.
    pub after: Option<Sight>,
}

/// The numbers of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight {
    /// Of a stream.
    Stream {
        /// Messages that it says it has.
        messages: u64,
        /// Of them, those that were read, each with its hash.
        read: u64,
        /// Bytes.
        bytes: u64,
        /// First sequence.
        first_seq: u64,
        /// Last sequence.
        last_seq: u64,
    },
    /// Of a consumer.
    Consumer {
        /// The last sequence of the stream that was delivered.
        delivered: u64,
        /// Up to this sequence of the stream all is acknowledged.
        floor: u64,
        /// Delivered and not acknowledged.
        unacked: u64,
        /// Not yet delivered.
        pending: u64,
    },
}

impl Pictured {
    /// Whether it looks the same after as before.
    #[must_use]
    pub fn is_same(&self) -> bool {
        self.before == self.after
    }

    /// Everything of two pictures, by name; a stream comes before its consumers.
    #[must_use]
    pub fn of(prefix: &str, fault: FaultKind, before: &Picture, after: &Picture) -> Vec<Pictured> {
        let mut all = Vec::new();
        let (was, is) = (&before.streams, &after.streams);
        let mut names: Vec<&String> = was.keys().chain(is.keys()).collect();
        names.sort_unstable();
        names.dedup();
        for name in names {
            let (was, is) = (was.get(name), is.get(name));
            let target = format!("{prefix}{name}");
            let of = |picture: Option<&StreamPicture>| picture.filter(|of| of.offline.is_none()).map(stream);
            all.push(Pictured { target: target.clone(), fault, before: of(was), after: of(is) });
            let consumers = |picture: Option<&StreamPicture>| -> Vec<String> {
                picture.into_iter().flat_map(|picture| picture.consumers.keys().cloned()).collect()
            };
            let mut names = [consumers(was), consumers(is)].concat();
            names.sort_unstable();
            names.dedup();
            for name in names {
                let of = |picture: Option<&StreamPicture>| consumer(picture?, &name);
                let (before, after) = (of(was), of(is));
                all.push(Pictured { target: format!("{target} > {name}"), fault, before, after });
            }
        }
        all
    }
}

fn stream(picture: &StreamPicture) -> Sight {
    let state = picture.first;
    Sight::Stream {
        messages: state.messages,
        read: picture.reading.count,
        bytes: state.bytes,
        first_seq: state.first_seq,
        last_seq: state.last_seq,
    }
}

fn consumer(picture: &StreamPicture, name: &str) -> Option<Sight> {
    let state = picture.consumers.get(name)?.first;
    Some(Sight::Consumer {
        delivered: state.delivered_stream,
        floor: state.floor_stream,
        unacked: state.ack_pending,
        pending: state.pending,
    })
}
