//! Transforms and republishing: `checkStreamCfg`, server/stream.go.

use serde_json::Value;

use super::subjects;
use crate::desired::DesiredStream;
use crate::failure::Place;
use crate::finding::{Finding, Rule};
use crate::normalize::implicit_republish;
use crate::subject::{collide, is_valid};
use crate::transform::refusal;
use crate::version::Version;

const FORM: &str =
    "such as \"src\": \"orders.*\", \"dest\": \"copy.{{wildcard(1)}}\", or > at the end of both";

pub(super) fn stream(stream: &DesiredStream, version: &Version, found: &mut Vec<Finding>) {
    let end = |part: &Value, key: &str| part.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    if let Some(transform) = stream.config.get("subject_transform") {
        let place = stream.places.value("/subject_transform");
        pair(&place, &end(transform, "src"), &end(transform, "dest"), version, found);
    }
    let Some(republish) = stream.config.get("republish") else { return };
    let (src, dest) = match implicit_republish(&stream.config, version) {
        Some(both) => (both.clone(), both),
        None => (end(republish, "src"), end(republish, "dest")),
    };
    let place = stream.places.value("/republish");
    if dest.is_empty() {
        let message = "a \"republish\" needs a \"dest\"";
        found.push(
            Finding::error(Rule::InvalidSubject, place, message)
                .label("republishes nothing")
                .help("write where to: \"dest\": \"copy.>\""),
        );
        return;
    }
    if let Some(into) = subjects::of(stream).iter().find(|subject| collide(&dest, subject)) {
        found.push(
            Finding::error(
                Rule::Cycle,
                stream.places.value("/republish/dest"),
                format!("{dest:?} is stored by stream {:?} itself ({into:?})", stream.name),
            )
            .label("forms a cycle")
            .help("republish to a subject that the stream does not store"),
        );
    } else if let Some(why) = refusal(&src, &dest, version) {
        found.push(
            Finding::error(Rule::InvalidSubject, place, why).label("cannot republish like this").help(FORM),
        );
    }
}

/// One transform, with its two ends.
pub(super) fn pair(place: &Place, src: &str, dest: &str, version: &Version, found: &mut Vec<Finding>) {
    let why = if !src.is_empty() && !is_valid(src) {
        Some(format!("{src:?} is not a subject"))
    } else {
        refusal(src, dest, version)
    };
    if let Some(why) = why {
        found.push(
            Finding::error(Rule::InvalidSubject, place.clone(), why)
                .label("cannot transform like this")
                .help(FORM),
        );
    }
}
