//! What a server does with a change of a field: takes it, refuses it, takes it for good, or takes it and does nothing.

use super::step::{Change, Effect};
use crate::desired::Kind;
use crate::fields::{self, consumer_field, stream_field};
use crate::version::Version;
use serde_json::Value;

/// Puts the effect of a change, and the rule behind it, into the change.
pub(super) fn judge(kind: Kind, change: &mut Change, version: &Version) {
    let top = change.path.split('.').next().unwrap_or_default();
    let field = if kind == Kind::Consumer { consumer_field(top) } else { stream_field(top) };
    let rule = field.map_or(fields::Change::InPlace, |field| field.change(version));
    let (effect, rule) = effect(kind, top, rule, &change.from, &change.to);
    change.effect = effect;
    change.rule = rule;
}

fn effect(kind: Kind, top: &str, rule: fields::Change, from: &Value, to: &Value) -> (Effect, Option<String>) {
    use fields::Change as C;
    let on = |v: &Value| v.as_bool().unwrap_or(false);
    let nothing = |v: &Value| v.as_str().is_none_or(str::is_empty);
    let because = |effect, text: &str| (effect, Some(text.to_owned()));
    match rule {
        C::Immutable(refusal) => because(Effect::Replace, refusal),
        C::OneWay(_) if on(to) && !on(from) => {
            because(Effect::OneWay, &format!("{top} cannot be switched off again"))
        }
        C::OneWay(refusal) => because(Effect::Replace, refusal),
        C::Retention if from == "workqueue" || to == "workqueue" => because(
            Effect::Replace,
            "stream configuration update can not change retention policy to/from workqueue",
        ),
        C::Promotion if to.is_null() => {
            because(Effect::OneWay, "a mirror that was made a stream of its own never becomes a mirror again")
        }
        C::Mirror | C::Promotion => {
            because(Effect::Replace, "stream mirror configuration can not be updated")
        }
        C::DeliverSubject if nothing(from) != nothing(to) => {
            because(Effect::Replace, "a push consumer cannot become a pull consumer, nor the other way")
        }
        // Paused and resumed through a request of its own, which does take effect.
        C::Ineffective(_) if top == "pause_until" => (Effect::InPlace, None),
        // A consumer can be made anew at its position, and then the change takes effect.
        C::Ineffective(why) if kind == Kind::Consumer => because(Effect::Replace, why),
        C::Ineffective(why) => because(Effect::Ineffective, why),
        _ => (Effect::InPlace, None),
    }
}
