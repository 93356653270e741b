//! Random interleavings of all that can happen to a pipeline, against a server that is only a list of what it was sent.
//!
//! The server answers each request with the tag that the request was made with. Whatever happens, each request must end
//! once, and an ack must be that of its own request.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::outcome::{AckReader, Outcome};

const WINDOW: usize = 4;

/// The answers of a stream; each request has the sequence that its tag says.
struct Tagged(AckReader);

impl Exchange for Tagged {
    type Outcome = Outcome;
    fn answered(&mut self, message: &Message) -> Option<Outcome> {
        self.0.read(message)
    }
    fn unanswered(why: Indeterminate) -> Outcome {
        Outcome::Indeterminate(why)
    }
    fn class(outcome: &Outcome) -> Class {
        match outcome {
            Outcome::Acked(ack) => Class::Acked { duplicate: ack.duplicate },
            Outcome::Rejected(_) => Class::Rejected,
            Outcome::Indeterminate(why) => Class::Unknown(*why),
        }
    }
    fn probe(&self, used: async_nats::Subject) -> Outgoing {
        Outgoing::new(used, "")
    }
    fn may_repeat(_: &Outgoing) -> bool {
        true
    }
}

#[derive(Debug, Clone)]
enum Event {
    /// A request is made; `handed_over` is whether it reaches the connection.
    Request { handed_over: bool, repeatable: bool },
    /// The server reads the oldest unread request.
    Reads,
    /// One of the answers on their way arrives.
    Arrives(usize),
    /// Somebody else answers a request that was made at some time.
    Foreign(usize),
    /// The connection is lost, with what was on it. What the client has not written yet stays for the next one.
    Lost { unwritten: usize, answers_too: bool },
    /// There is a new one.
    Reconnected,
    /// Time passes, and the slots are looked at.
    Tick { milliseconds: u64 },
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => (prop::bool::weighted(0.9), any::<bool>())
            .prop_map(|(handed_over, repeatable)| Event::Request { handed_over, repeatable }),
        6 => Just(Event::Reads),
        6 => any::<usize>().prop_map(Event::Arrives),
        1 => any::<usize>().prop_map(Event::Foreign),
        1 => (any::<usize>(), any::<bool>())
            .prop_map(|(unwritten, answers_too)| Event::Lost { unwritten, answers_too }),
        2 => Just(Event::Reconnected),
        4 => (1..400u64).prop_map(|milliseconds| Event::Tick { milliseconds }),
    ]
}

/// What is on its way to the server.
enum OnItsWay {
    Request { token: Token, tag: u64 },
    Fence { number: u64, allowed: bool },
}

/// What the user may publish besides its requests.
#[derive(Debug, Clone, Copy)]
struct Rights {
    inbox: bool,
    probe: bool,
}

struct World {
    slots: Slots<Tagged>,
    rights: Rights,
    /// How often a place was freed for a request that is to tell.
    rooms: usize,
    now: Now,
    to_server: Vec<OnItsWay>,
    to_client: Vec<OnItsWay>,
    /// Tags by token, as they were sent, for those who answer late.
    every_request: Vec<Token>,
    outcomes: HashMap<u64, Vec<Outcome>>,
    repeats: bool,
    requested: u64,
    undone: u64,
}

impl World {
    fn new(on_disconnect: OnDisconnect, one_answer: bool, rights: Rights) -> Self {
        let timeout = Duration::from_millis(500);
        let settings = Settings { window: WINDOW, timeout, on_disconnect, one_answer };
        let time = Instant::now();
        let reader = AckReader::new(one_answer.then(|| "S".to_owned()));
        World {
            slots: Slots::new(&settings, Tagged(reader), time),
            rights,
            rooms: 0,
            now: Now { time, connects: 1, connected: true, heard_bytes: 0 },
            to_server: Vec::new(),
            to_client: Vec::new(),
            every_request: Vec::new(),
            outcomes: HashMap::new(),
            repeats: on_disconnect == OnDisconnect::Repeat,
            requested: 0,
            undone: 0,
        }
    }

    fn told(&mut self, told: impl IntoIterator<Item = Told<Tagged>>) {
        for (tag, outcome) in told {
            self.outcomes.entry(tag).or_default().push(outcome);
        }
    }

    fn happens(&mut self, event: &Event) {
        match event {
            Event::Request { handed_over, repeatable } => {
                let tag = self.requested + 1;
                let copy =
                    (*repeatable && self.repeats).then(|| Box::new(Outgoing::new("s", tag.to_string())));
                let Some(token) = self.slots.take(self.now.time, self.now.connects, tag, None, copy) else {
                    return;
                };
                self.requested += 1;
                if *handed_over {
                    self.every_request.push(token);
                    self.to_server.push(OnItsWay::Request { token, tag });
                } else {
                    assert!(self.slots.undo(token));
                    self.undone += 1;
                }
            }
            Event::Reads if self.now.connected && !self.to_server.is_empty() => {
                // What is not allowed is refused, and that is heard; so is what the server says to others at any time.
                self.now.heard_bytes += 1;
                match self.to_server.remove(0) {
                    OnItsWay::Fence { allowed: false, .. } => {}
                    read => self.to_client.push(read),
                }
            }
            Event::Arrives(which) if self.now.connected && !self.to_client.is_empty() => {
                match self.to_client.remove(which % self.to_client.len()) {
                    OnItsWay::Fence { number, .. } => self.slots.fence_is_back(number, self.now.time),
                    OnItsWay::Request { token, tag } => {
                        self.answer(token, &format!("{{\"stream\":\"S\",\"seq\":{tag}}}"))
                    }
                }
            }
            // Only where one stream was named may somebody else answer and do no harm.
            Event::Foreign(which) if self.slots.one_answer && !self.every_request.is_empty() => {
                let token = self.every_request[which % self.every_request.len()];
                self.answer(token, "{\"stream\":\"other\",\"seq\":999999}");
                self.answer(token, "+OK");
            }
            Event::Lost { unwritten, answers_too } if self.now.connected => {
                self.now.connected = false;
                let sent = self.to_server.len() - unwritten % (self.to_server.len() + 1);
                self.to_server.drain(..sent);
                if *answers_too {
                    self.to_client.clear();
                }
            }
            Event::Reconnected if !self.now.connected => {
                self.now.connected = true;
                self.now.connects += 1;
            }
            Event::Tick { milliseconds } => self.tick(Duration::from_millis(*milliseconds)),
            _ => {}
        }
        self.check();
    }

    fn answer(&mut self, token: Token, payload: &str) {
        let message = Message {
            subject: "x".into(),
            reply: None,
            payload: payload.to_owned().into(),
            headers: None,
            status: None,
            description: None,
            length: 0,
        };
        let told = self.slots.answered(token, &message, self.now);
        self.told(told);
    }

    fn tick(&mut self, passed: Duration) {
        self.now.time += passed;
        let mut ended = Vec::new();
        let room_made = self.slots.room_made;
        let fence = self.slots.watch_over(self.now, true, &mut ended);
        if self.slots.room_made != room_made {
            self.rooms += 1;
            // Whoever has the right to a fence is slow, not without it.
            assert!(!self.slots.came_back || self.slots.unheard >= 30);
        }
        self.told(ended);
        let Some(work) = fence else { return };
        for (message, token) in work.repeat {
            let tag = std::str::from_utf8(&message.payload).unwrap().parse().unwrap();
            self.to_server.push(OnItsWay::Request { token, tag });
        }
        let allowed = match work.way {
            Way::Inbox => self.rights.inbox,
            Way::Probe => self.rights.probe,
            Way::Request => return,
        };
        self.to_server.push(OnItsWay::Fence { number: work.number, allowed });
    }

    fn check(&self) {
        let totals = &self.slots.totals;
        assert!(totals.balanced(), "{totals:?}");
        assert_eq!(totals.sent, self.requested - self.undone);
        let unread = self.to_server.iter().filter_map(|o| match o {
            OnItsWay::Request { token, .. } => Some(*token),
            OnItsWay::Fence { .. } => None,
        });
        assert!(unread.count() <= WINDOW + self.rooms, "more is in flight than may be");
        assert!(self.rooms as u64 <= self.now.connects, "more than one on each connection");
        assert!(self.slots.occupied() <= WINDOW);
        for (tag, outcomes) in &self.outcomes {
            assert_eq!(outcomes.len(), 1, "request {tag} ended as {outcomes:?}");
            if let Outcome::Acked(ack) = &outcomes[0] {
                assert_eq!(ack.sequence, *tag, "an ack of another request");
            }
        }
    }

    /// The connection is there, the server reads and answers, time passes: everything ends and every slot is free.
    fn settle(&mut self) {
        self.happens(&Event::Reconnected);
        for round in 0..128 {
            // Without any rights only a request can tell.
            if round < 64 && !self.rights.inbox && !self.rights.probe {
                self.happens(&Event::Request { handed_over: true, repeatable: false });
            }
            while !self.to_server.is_empty() {
                self.happens(&Event::Reads);
            }
            while !self.to_client.is_empty() {
                self.happens(&Event::Arrives(0));
            }
            self.happens(&Event::Tick { milliseconds: 100 });
        }
        let totals = &self.slots.totals;
        assert_eq!((totals.in_flight, self.slots.occupied()), (0, 0), "{totals:?}");
        assert_eq!(self.outcomes.len() as u64, totals.sent);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_request_ends_once_and_an_ack_is_its_own(
        on_disconnect in prop_oneof![
            Just(OnDisconnect::Wait), Just(OnDisconnect::Repeat), Just(OnDisconnect::Fail)
        ],
        one_answer in any::<bool>(),
        (inbox, probe) in (prop::bool::weighted(0.6), any::<bool>()),
        events in prop::collection::vec(event(), 1..120),
    ) {
        let mut world = World::new(on_disconnect, one_answer, Rights { inbox, probe });
        for event in &events {
            world.happens(event);
        }
        world.settle();
    }
}

/// In `Wait`: only what the server has read can be lost, and it is given time to answer.
#[test]
fn nothing_is_given_up_before_the_server_has_read_on_and_had_time() {
    let mut world = World::new(OnDisconnect::Wait, false, Rights { inbox: true, probe: true });
    let request = Event::Request { handed_over: true, repeatable: false };
    for event in [&request, &request, &Event::Lost { unwritten: 1, answers_too: true }, &Event::Reconnected] {
        world.happens(event);
    }
    // The first was lost; the second is still to be read on the new connection, and after it the fence.
    world.happens(&Event::Tick { milliseconds: 2_000 });
    assert_eq!(world.outcomes.len(), 0);
    world.happens(&Event::Reads);
    world.happens(&Event::Reads);
    let (ack, fence) = (world.to_client.remove(0), world.to_client.remove(0));
    let (OnItsWay::Request { token, .. }, OnItsWay::Fence { number, .. }) = (ack, fence) else {
        panic!("in another order");
    };
    world.slots.fence_is_back(number, world.now.time);
    let most = u64::try_from(RECONNECT_GRACE.as_millis()).unwrap();
    world.happens(&Event::Tick { milliseconds: most - 1 });
    assert_eq!(world.outcomes.len(), 0);
    world.answer(token, "{\"stream\":\"S\",\"seq\":2}");
    // While such answers come, others may.
    world.happens(&Event::Tick { milliseconds: most - 1 });
    assert_eq!(world.outcomes.keys().collect::<Vec<_>>(), [&2]);
    world.happens(&Event::Tick { milliseconds: 1 });
    assert_eq!(world.outcomes[&1], [Outcome::Indeterminate(Indeterminate::Disconnected)]);
}
