//! A history as the commands of the `nats` CLI that do the same by hand: what a bug report holds.
//!
//! Pure. What is written stands on its own: it starts a nats-server in a folder of its own, and needs nothing of ours.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::Value;
use streamproof_model::op::{
    AckKind, Call, ConfigSource, ConsumerId, Event, Expect, FaultKind, Op, Outcome, Publish, Role, StreamId,
    SubjectId, Ttl,
};

/// Bodies up to this are written out; longer ones are made by a command.
const BODY_MAX: u32 = 40;

/// What the script needs beside the history.
#[derive(Debug, Clone, Default)]
pub struct Around {
    /// The server's own configuration, where the failure needs it.
    pub server_conf: Option<String>,
    /// The version to upgrade to.
    pub upgrade_to: Option<String>,
    /// The version to downgrade to.
    pub downgrade_to: Option<String>,
    /// The failure is of times of creation, which the CLI shows to the second only: they are asked for in full.
    pub created: bool,
    /// The failure is of a power cut.
    pub power_cut: Option<PowerCut>,
}

/// A power cut, done by hand: what the disk held then takes the place of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PowerCut {
    /// When it came, in µs of the history.
    pub cut_us: u64,
    /// The folder beside the report with the store that it left.
    pub store: String,
}

/// The commands, one a line, for `sh`.
#[must_use]
pub fn script(operations: impl IntoIterator<Item = Op>, around: &Around) -> String {
    let mut writer = Writer::default();
    writer.head(around);
    let before = |operation: &Op| match (operation, &around.power_cut) {
        (Op::Call { invoked, .. }, Some(cut)) => *invoked <= cut.cut_us,
        _ => true,
    };
    for operation in operations.into_iter().filter(before) {
        writer.take(operation, around);
    }
    if let Some(cut) = &around.power_cut {
        writer.line(
            "# The power goes: what was not durable is gone. The store that is left is beside this report.",
        );
        writer.line(&format!("STORE=${{STORE:-{}}}", cut.store));
        writer.line("kill -9 $PID; wait $PID; rm -rf data; cp -r $STORE data; start");
    }
    writer.end();
    writer.text
}

#[derive(Debug, Default)]
struct Writer {
    text: String,
    streams: BTreeMap<u16, String>,
    subjects: BTreeMap<u32, String>,
    consumers: BTreeMap<u16, (u16, String)>,
    push: BTreeMap<u16, bool>,
    /// A command that is not written yet, since the same may follow: without and with a count, and how often.
    pending: Option<Pending>,
    /// Deliveries that nothing has been answered to yet: by consumer and sequence.
    open: BTreeMap<(u16, u64), ()>,
    started: bool,
}

/// A command that can be said once for many.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Pending {
    /// Publishing the same again.
    Publish { command: String, count: u32 },
    /// Taking messages from a consumer, and answering each alike.
    Next { consumer: u16, answer: &'static str, count: u32 },
}

impl Writer {
    fn line(&mut self, line: &str) {
        self.flush();
        self.push_line(line);
    }

    fn push_line(&mut self, line: &str) {
        // Writing to a string cannot fail.
        _ = writeln!(self.text, "{line}");
    }

    fn head(&mut self, around: &Around) {
        for line in [
            "# In an empty folder, with nats-server and nats (the CLI) on the PATH.",
            "SERVER=${SERVER:-nats-server} PORT=${PORT:-14222}",
            "export NATS_URL=nats://127.0.0.1:$PORT",
        ] {
            self.line(line);
        }
        let start = match &around.server_conf {
            Some(conf) => {
                // A path that begins with a point is a number to nats-server.
                self.line("export STREAMPROOF_STORE=\"$PWD/data\"");
                self.file("server.conf", conf);
                "-c server.conf"
            }
            None => "-js -sd ./data",
        };
        self.line(&format!(
            "start() {{ $SERVER {start} -a 127.0.0.1 -p $PORT -l server.log & PID=$!; for i in $(seq 100); do nats rtt >/dev/null 2>&1 && break; sleep 0.1; done; }}"
        ));
        self.line("start");
    }

    fn file(&mut self, name: &str, text: &str) {
        self.line(&format!("cat > {name} <<'END'"));
        self.push_line(text.trim_end());
        self.push_line("END");
    }

    fn end(&mut self) {
        let streams: Vec<String> = self.streams.values().cloned().collect();
        for stream in streams {
            self.line(&format!("nats stream info {stream}"));
            let consumers = self.consumers.values().map(|(_, name)| name.clone()).collect::<Vec<_>>();
            for consumer in consumers {
                self.line(&format!("nats consumer info {stream} {consumer}"));
            }
        }
        self.line("kill $PID");
    }

    fn stream(&self, id: StreamId) -> String {
        self.streams.get(&id.0).cloned().unwrap_or_default()
    }

    fn subject(&self, id: SubjectId) -> String {
        self.subjects.get(&id.0).cloned().unwrap_or_default()
    }

    fn consumer(&self, id: ConsumerId) -> (String, String) {
        let (stream, name) = self.consumers.get(&id.0).cloned().unwrap_or_default();
        (self.streams.get(&stream).cloned().unwrap_or_default(), name)
    }

    fn flush(&mut self) {
        match self.pending.take() {
            None => {}
            Some(Pending::Publish { command, count: 1 }) => self.push_line(&command),
            Some(Pending::Publish { command, count }) => {
                self.push_line(&format!("{command} --count {count}"))
            }
            Some(Pending::Next { consumer, answer, count }) => {
                let (stream, name) = self.consumer(ConsumerId(consumer));
                let verb = if self.push.get(&consumer) == Some(&true) { "sub" } else { "next" };
                self.push_line(&format!("nats consumer {verb} {stream} {name} --count {count} {answer}"));
            }
        }
    }

    fn take(&mut self, operation: Op, around: &Around) {
        match operation {
            Op::Event { event, .. } => self.event(event, around),
            Op::Call { call, outcome, .. } => self.call(call, outcome),
        }
    }

    fn event(&mut self, event: Event, around: &Around) {
        match event {
            Event::DeclareStream { id, name } => _ = self.streams.insert(id.0, name),
            Event::DeclareSubject { id, name } => _ = self.subjects.insert(id.0, name),
            Event::DeclareConsumer { id, stream, name } => {
                self.consumers.insert(id.0, (stream.0, name));
            }
            Event::Config { stream, consumer, source: ConfigSource::Desired, json } => {
                self.create(stream, consumer, &json);
            }
            Event::Deliver(delivery) => {
                self.open.insert((delivery.consumer.0, delivery.seq), ());
            }
            Event::FaultBegin { kind, .. } => {
                self.unanswered();
                self.fault(kind, around);
            }
            Event::StreamInfo(info) if self.started => {
                self.unanswered();
                let stream = self.stream(info.stream);
                if around.created {
                    self.line(&format!("nats stream info {stream} --json | grep '\"created\"'"));
                } else {
                    self.line(&format!(
                        "nats stream info {stream}   # here: {} messages, from {} to {}",
                        info.messages, info.first_seq, info.last_seq
                    ));
                }
            }
            _ => {}
        }
    }

    fn create(&mut self, stream: StreamId, consumer: Option<ConsumerId>, json: &str) {
        let config: Value = serde_json::from_str(json).unwrap_or_default();
        let pretty = serde_json::to_string(&config).unwrap_or_default();
        match consumer {
            None => {
                let name = self.stream(stream);
                self.file(&format!("{name}.json"), &pretty);
                self.line(&format!("nats stream add --config {name}.json"));
            }
            Some(id) => {
                let (stream, name) = self.consumer(id);
                let is_push = config["deliver_subject"].as_str().is_some_and(|subject| !subject.is_empty());
                self.push.insert(id.0, is_push);
                self.file(&format!("{stream}.{name}.json"), &pretty);
                self.line(&format!("nats consumer add {stream} --config {stream}.{name}.json"));
            }
        }
        self.started = true;
    }

    fn call(&mut self, call: Call, outcome: Outcome) {
        let noted = match outcome {
            Outcome::Rejected { code } => format!("   # refused here, with code {code}"),
            Outcome::Indeterminate { .. } => "   # no answer came here".to_owned(),
            _ => String::new(),
        };
        match call {
            Call::Publish(publish) => {
                let command = format!("{}{noted}", self.publish(&publish));
                match &mut self.pending {
                    Some(Pending::Publish { command: same, count })
                        if *same == command && noted.is_empty() =>
                    {
                        *count += 1;
                    }
                    _ => {
                        self.flush();
                        self.pending = Some(Pending::Publish { command, count: 1 });
                    }
                }
            }
            Call::Batch { messages } => {
                self.line(&format!("# an atomic batch of these {} messages{noted}", messages.len()));
                for message in messages {
                    let command = self.publish(&message);
                    self.line(&command);
                }
            }
            Call::Ack { consumer, seq, kind, .. } => {
                self.open.remove(&(consumer.0, seq));
                self.next(
                    consumer,
                    match kind {
                        AckKind::Ack | AckKind::DoubleAck => "--ack",
                        AckKind::Nak => "--nak",
                        AckKind::Term => "--term",
                        AckKind::InProgress => "--no-ack",
                    },
                );
            }
            Call::Delete { stream, seq, erase: true } => {
                let stream = self.stream(stream);
                self.line(&format!("nats stream rmm {stream} {seq} --force{noted}"));
            }
            Call::Delete { stream, seq, erase: false } => {
                let stream = self.stream(stream);
                self.line(&format!(
                    "nats request '$JS.API.STREAM.MSG.DELETE.{stream}' '{{\"seq\":{seq},\"no_erase\":true}}'{noted}"
                ));
            }
            Call::Purge { stream, filter, before, keep } => {
                let stream = self.stream(stream);
                let mut command = format!("nats stream purge {stream} --force");
                if let Some(filter) = filter {
                    command.push_str(&format!(" --subject '{}'", self.subject(filter)));
                }
                if let Some(seq) = before {
                    command.push_str(&format!(" --seq {seq}"));
                }
                if let Some(keep) = keep {
                    command.push_str(&format!(" --keep {keep}"));
                }
                self.line(&format!("{command}{noted}"));
            }
            Call::UpdateStream { stream, config } => {
                let stream = self.stream(stream);
                self.line(&format!(
                    "nats request '$JS.API.STREAM.UPDATE.{stream}' '{}'{noted}",
                    quoted(&config)
                ));
            }
            Call::UpdateConsumer { consumer, config } => {
                let (stream, name) = self.consumer(consumer);
                self.line(&format!(
                    "nats request '$JS.API.CONSUMER.DURABLE.CREATE.{stream}.{name}' '{{\"stream_name\":\"{stream}\",\"config\":{}}}'{noted}",
                    quoted(&config)
                ));
            }
            Call::Remove { stream, consumer: None } => {
                let stream = self.stream(stream);
                self.line(&format!("nats stream rm {stream} --force{noted}"));
            }
            Call::Remove { consumer: Some(consumer), .. } => {
                let (stream, name) = self.consumer(consumer);
                self.line(&format!("nats consumer rm {stream} {name} --force{noted}"));
            }
            Call::MustRefuse { stream, what } => {
                let stream = self.stream(stream);
                self.line(&format!("# on {stream}: {what}, which the server must refuse{noted}"));
            }
        }
    }

    fn next(&mut self, consumer: ConsumerId, answer: &'static str) {
        match &mut self.pending {
            Some(Pending::Next { consumer: same, answer: alike, count })
                if *same == consumer.0 && *alike == answer =>
            {
                *count += 1;
            }
            _ => {
                self.flush();
                self.pending = Some(Pending::Next { consumer: consumer.0, answer, count: 1 });
            }
        }
    }

    /// What was delivered and left without an answer, before anything else happens.
    fn unanswered(&mut self) {
        let open = std::mem::take(&mut self.open);
        for (consumer, _) in open.into_keys() {
            self.next(ConsumerId(consumer), "--no-ack");
        }
        self.flush();
    }

    fn publish(&self, publish: &Publish) -> String {
        let mut headers = Vec::new();
        if publish.msg_id {
            headers.push(format!("Nats-Msg-Id:{}-{}", publish.publisher, publish.counter));
        }
        match publish.expect {
            Expect::Nothing => {}
            Expect::LastSeq(seq) => headers.push(format!("Nats-Expected-Last-Sequence:{seq}")),
            Expect::LastSubjectSeq(seq) => headers.push(format!("Nats-Expected-Last-Subject-Sequence:{seq}")),
            Expect::LastMsgId(counter) => {
                headers.push(format!("Nats-Expected-Last-Msg-Id:{}-{counter}", publish.publisher));
            }
        }
        match publish.ttl {
            Ttl::Stream => {}
            Ttl::Seconds(seconds) => headers.push(format!("Nats-TTL:{seconds}s")),
            Ttl::Never => headers.push("Nats-TTL:never".to_owned()),
        }
        match publish.role {
            Role::Plain => {}
            Role::KvDelete => headers.push("KV-Operation:DEL".to_owned()),
            Role::KvPurge => headers.extend(["KV-Operation:PURGE".to_owned(), "Nats-Rollup:sub".to_owned()]),
            Role::RollupSubject => headers.push("Nats-Rollup:sub".to_owned()),
            Role::RollupAll => headers.push("Nats-Rollup:all".to_owned()),
        }
        let body = match publish.len {
            0 => "''".to_owned(),
            len if len <= BODY_MAX => "x".repeat(len as usize),
            len => format!("\"$(head -c {len} /dev/zero | tr '\\0' x)\""),
        };
        let mut command =
            format!("nats publish --jetstream --quiet {} {body}", word(&self.subject(publish.subject)));
        for header in headers {
            command.push_str(&format!(" --header {header}"));
        }
        command
    }

    fn fault(&mut self, kind: FaultKind, around: &Around) {
        let index = "find data -name index.db";
        match kind {
            FaultKind::Stop | FaultKind::Recreate => self.line("kill $PID; wait $PID; start"),
            FaultKind::Restarts => {
                self.line("for i in 1 2 3; do kill $PID; wait $PID; start; done");
            }
            FaultKind::Kill | FaultKind::KillAfterAck => self.line("kill -9 $PID; wait $PID; start"),
            FaultKind::IndexLost => self.line(&format!("kill $PID; wait $PID; {index} -delete; start")),
            FaultKind::IndexStale => {
                self.line("# here an older copy of each index.db, from an earlier stop, is put back while the server is down");
                self.line("kill $PID; wait $PID; start");
            }
            FaultKind::Pause => self.line("kill -STOP $PID; sleep 0.4; kill -CONT $PID"),
            FaultKind::Disconnect => self.line("# here every client is cut off and connects again"),
            FaultKind::DiskFull => {
                self.line(
                    "# here the file system under data is made as small as what it holds (of a tmpfs: mount -o remount,size=...),",
                );
                self.line("# published to until the server refuses, and given room again");
                self.line("kill $PID; wait $PID; start");
            }
            FaultKind::PowerCutExt4 => {
                self.line(
                    "# here the file system under data is shut down without its journal (FS_IOC_SHUTDOWN, NOLOGFLUSH) and mounted again",
                );
                self.line("kill -9 $PID; wait $PID; start");
            }
            FaultKind::Upgrade | FaultKind::Downgrade => {
                let to = if kind == FaultKind::Upgrade { &around.upgrade_to } else { &around.downgrade_to };
                let to = to.clone().unwrap_or_default();
                self.line(&format!(
                    "kill $PID; wait $PID; SERVER=${{OTHER:-nats-server-{to}}}; start   # nats-server {to}"
                ));
            }
            other => self.line(&format!("# here: {}", other.name())),
        }
    }
}

/// A word of a command line, quoted where the shell would read it otherwise.
fn word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || ".-_/=".contains(c);
    if !text.is_empty() && text.chars().all(plain) { text.to_owned() } else { format!("'{}'", quoted(text)) }
}

/// Text as it stands between single quotes.
fn quoted(text: &str) -> String {
    text.replace('\'', "'\\''")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_becomes_commands_that_do_the_same() {
        let stream = StreamId(0);
        let consumer = ConsumerId(0);
        let event = |event| Op::Event { at: 0, event };
        let call = |call, outcome| Op::Call { id: 0, invoked: 0, done: 0, call, outcome };
        let publish = |counter, len, role| {
            Call::Publish(Publish {
                stream,
                subject: SubjectId(0),
                publisher: 0,
                counter,
                attempt: 0,
                len,
                headers: Default::default(),
                msg_id: false,
                expect: Expect::Nothing,
                ttl: Ttl::Stream,
                role,
            })
        };
        let acked = |seq| Outcome::Acked { seq, duplicate: false };
        let config = |consumer, json: &str| {
            event(Event::Config { stream, consumer, source: ConfigSource::Desired, json: json.to_owned() })
        };
        let operations = vec![
            event(Event::DeclareStream { id: stream, name: "S".to_owned() }),
            event(Event::DeclareConsumer { id: consumer, stream, name: "C".to_owned() }),
            event(Event::DeclareSubject { id: SubjectId(0), name: "s.$a".to_owned() }),
            config(None, r#"{"name":"S","subjects":["s.*"]}"#),
            config(Some(consumer), r#"{"durable_name":"C","ack_policy":"explicit"}"#),
            call(publish(0, 4, Role::Plain), acked(1)),
            call(publish(1, 4, Role::Plain), acked(2)),
            call(publish(2, 0, Role::KvDelete), Outcome::Rejected { code: 10 }),
            call(Call::Delete { stream, seq: 1, erase: true }, Outcome::Done { count: 0 }),
            call(
                Call::Ack { consumer, seq: 2, consumer_seq: 1, kind: AckKind::DoubleAck },
                Outcome::Done { count: 0 },
            ),
            call(
                Call::UpdateStream { stream, config: r#"{"name":"S","description":"it's"}"#.to_owned() },
                Outcome::Done { count: 0 },
            ),
            event(Event::FaultBegin { fault: 1, kind: FaultKind::Kill, streams: Vec::new() }),
        ];
        let text = script(operations, &Around::default());
        let body: Vec<&str> = text.lines().skip_while(|line| *line != "start").skip(1).collect();
        assert_eq!(
            body,
            [
                "cat > S.json <<'END'",
                r#"{"name":"S","subjects":["s.*"]}"#,
                "END",
                "nats stream add --config S.json",
                "cat > S.C.json <<'END'",
                r#"{"durable_name":"C","ack_policy":"explicit"}"#,
                "END",
                "nats consumer add S --config S.C.json",
                "nats publish --jetstream --quiet 's.$a' xxxx --count 2",
                "nats publish --jetstream --quiet 's.$a' '' --header KV-Operation:DEL   # refused here, with code 10",
                "nats stream rmm S 1 --force",
                "nats consumer next S C --count 1 --ack",
                r#"nats request '$JS.API.STREAM.UPDATE.S' '{"name":"S","description":"it'\''s"}'"#,
                "kill -9 $PID; wait $PID; start",
                "nats stream info S",
                "nats consumer info S C",
                "kill $PID",
            ]
        );
    }
}
