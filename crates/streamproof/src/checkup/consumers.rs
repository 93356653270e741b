//! Consumers that get nothing although there is something, or soon will not.

use serde_json::Value;
use streamproof_model::plan::StreamSeen;

use super::{Remark, Seen, State, few};

pub(super) fn remarks(seen: &Seen) -> Vec<Remark> {
    let remarks: Vec<Remark> = seen
        .consumers
        .iter()
        .filter_map(|info| {
            let stream = seen.observed.stream(info.get("stream_name")?.as_str()?)?;
            consumer(info, stream)
        })
        .collect();
    if remarks.is_empty() && !seen.consumers.is_empty() {
        return vec![Remark::new(State::Ok, "consumers", "none stands still")];
    }
    few("consumers", remarks)
}

/// The gravest that is to be said of one.
fn consumer(info: &Value, stream: &StreamSeen) -> Option<Remark> {
    let number = |path: &str| info.pointer(path).and_then(Value::as_u64).unwrap_or(0);
    let flag = |path: &str| info.pointer(path).and_then(Value::as_bool).unwrap_or(false);
    let name = format!("{}/{}", stream.name, info.get("name")?.as_str()?);
    let say = |state, text: String| Some(Remark::new(state, "consumers", text));
    let (pending, unacked) = (number("/num_pending"), number("/num_ack_pending"));
    let at = number("/delivered/stream_seq").max(number("/ack_floor/stream_seq"));
    let target = info.pointer("/config/deliver_subject").and_then(Value::as_str).filter(|s| !s.is_empty());
    let most = info.pointer("/config/max_ack_pending").and_then(Value::as_u64).filter(|n| *n > 0);
    // One that was made to start later waits on purpose.
    let start = number("/config/opt_start_seq");
    if at > stream.last_seq && at >= start {
        // nats-server #5412, #3996, #7384: the position is ahead of the stream after a crash.
        return Some(
            Remark::new(
                State::Fail,
                "consumers",
                format!(
                    "{name} stands at sequence {at}, and the stream ends at {}: it gets nothing until the stream is there",
                    stream.last_seq
                ),
            )
            .fix(format!("make it anew, at a position that is there: nats consumer rm {}", name.replace('/', " "))),
        );
    }
    if let Some(most) = most.filter(|most| unacked >= *most) {
        return Some(
            Remark::new(
                State::Warn,
                "consumers",
                format!(
                    "{name} is stuck: {unacked} are delivered and not acked, which is its max_ack_pending of {most}; {pending} wait behind them"
                ),
            )
            .fix("have its users ack (or raise max_ack_pending)"),
        );
    }
    if flag("/paused") {
        let until =
            info.pointer("/config/pause_until").and_then(Value::as_str).unwrap_or("a moment not said");
        return say(State::Info, format!("{name} is paused until {until}; {pending} wait"));
    }
    if pending == 0 {
        return None;
    }
    if let Some(target) = target {
        if flag("/push_bound") {
            return None;
        }
        let remark = Remark::new(
            State::Warn,
            "consumers",
            format!("{name} is stuck: it pushes to {target:?}, and nobody listens there; {pending} wait"),
        );
        return Some(if target.eq_ignore_ascii_case("pull") {
            remark.fix("for a pull consumer leave deliver_subject out, and apply with --replace")
        } else {
            remark.fix(format!("subscribe to {target:?}, or make it a pull consumer"))
        });
    }
    // Between two fetches nobody waits either: that is to be known, not to be mended.
    let idle = number("/num_waiting") == 0 && unacked == 0;
    if idle {
        say(State::Info, format!("{name}: {pending} wait, and nobody asks for them just now"))
    } else {
        None
    }
}
