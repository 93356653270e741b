//! The server itself: JetStream, its version and that version's defects, when it syncs, and where it stores.

use std::collections::BTreeMap;

use streamproof_checker::Version as Numbers;
use streamproof_checker::known::{Defect, TABLE};
use streamproof_checker::rules::Retention;
use streamproof_model::plan::StreamSeen;
use streamproof_model::server_conf::Sync;
use streamproof_model::version::Version;

use super::{NAMED_MAX, Remark, Seen, State};
use crate::store::Store;

/// The releases that the rules are known of, and that the tests run against.
const KNOWN: (Version, Version) = (Version::new(2, 10, 0), Version::new(2, 16, 0));

pub(super) fn remarks(seen: &Seen) -> Vec<Remark> {
    let server = &seen.observed.server;
    let level = match server.api_level {
        0 => "API level not said".to_owned(),
        level => format!("API level {level}"),
    };
    let jetstream =
        format!("on: {} streams, {} consumers, {level}", seen.observed.streams.len(), seen.consumers.len());
    let mut remarks =
        vec![Remark::new(State::Ok, "jetstream", jetstream), version(&server.name, &server.version)];
    remarks.extend(defects(seen));
    remarks.push(sync(seen));
    remarks.push(store(seen));
    remarks
}

fn version(name: &str, version: &str) -> Remark {
    let text = format!("nats-server {version} ({name})");
    match version.parse::<Version>() {
        Ok(known) if known >= KNOWN.0 && known < KNOWN.1 => Remark::new(State::Ok, "version", text),
        _ => Remark::new(
            State::Warn,
            "version",
            format!("{text} is none of {} to {}: the rules of another are assumed", KNOWN.0, KNOWN.1),
        ),
    }
}

/// The known defects that this version has, and that concern a stream that is there.
fn defects(seen: &Seen) -> Vec<Remark> {
    let version = Numbers::parse(&seen.observed.server.version);
    let mut by_name: BTreeMap<&str, &Defect> = BTreeMap::new();
    for defect in TABLE {
        if defect.is_in(version) {
            by_name.entry(defect.name).or_insert(defect);
        }
    }
    let concerned = |defect: &Defect| {
        let retention = match defect.retention? {
            Retention::Limits => "limits",
            Retention::Interest => "interest",
            Retention::WorkQueue => "workqueue",
        };
        let has = |config: &streamproof_model::plan::Document| {
            config.get("retention").and_then(|v| v.as_str()).unwrap_or("limits") == retention
        };
        Some(
            seen.observed
                .streams
                .iter()
                .filter(|s| has(&s.config))
                .map(|s| s.name.as_str())
                .collect::<Vec<_>>(),
        )
    };
    let remark = |defect: &&Defect| {
        let streams = concerned(defect);
        let state = if streams.as_ref().is_some_and(Vec::is_empty) { State::Info } else { State::Warn };
        let whom = match streams {
            None => String::new(),
            Some(streams) if streams.is_empty() => " (no stream here is of the kind)".to_owned(),
            Some(streams) => format!(" (here: {})", streams.join(", ")),
        };
        let text = format!("{}: {}{whom}; {}", defect.name, defect.seen, defect.issue);
        let remark = Remark::new(state, "defect", text);
        match defect.mended_for(version) {
            Some(mended) => remark.fix(format!("nats-server {mended} does not have it")),
            None => remark,
        }
    };
    by_name.values().map(remark).collect()
}

fn sync(seen: &Seen) -> Remark {
    let monitored = match &seen.monitored {
        Ok(monitored) => monitored,
        Err(tried) => {
            return Remark::new(
                State::Info,
                "sync",
                format!("not seen, for the monitoring port was not found ({tried})"),
            )
            .fix("--monitor HOST:PORT names it");
        }
    };
    match monitored.varz.jetstream.sync() {
        Some(Sync::Always) => always(&seen.observed.streams),
        Some(sync) => Remark::new(
            State::Warn,
            "sync",
            format!(
                "every {sync}: a power cut loses up to {sync} of messages that were acknowledged, unless another replica has them; a \
                 crash of the server alone loses none of them"
            ),
        )
        .fix("`sync_interval: always` in the server's jetstream block (it costs a sync for each write)"),
        None => Remark::new(State::Info, "sync", format!("{} does not say it", monitored.address)),
    }
}

/// A stream with `persist_mode: async` is not synced at every write, whatever the server's own setting is: see the promise table.
fn always(streams: &[StreamSeen]) -> Remark {
    let has = |stream: &StreamSeen, key: &str, value: &str| {
        stream.config.get(key).is_some_and(|set| set.as_str() == Some(value))
    };
    let relaxed: Vec<&str> =
        streams.iter().filter(|s| has(s, "persist_mode", "async")).map(|s| s.name.as_str()).collect();
    if !relaxed.is_empty() {
        let text = format!(
            "always, and \"persist_mode\": \"async\" switches it off for {}: a power cut loses messages that were acknowledged there, \
             and so does a crash of the server alone",
            named(&relaxed)
        );
        return Remark::new(State::Warn, "sync", text).fix(
            "\"persist_mode\": \"default\" in the files of the streams (it costs a sync for each write)",
        );
    }
    let window_ms = streamproof_checker::promise::ACK_WINDOW_US / 1000;
    let queues = if streams.iter().any(|stream| has(stream, "retention", "workqueue")) {
        "; of a work queue a power cut can lose older ones"
    } else {
        ""
    };
    Remark::new(
        State::Ok,
        "sync",
        format!(
            "always: what a stream of file storage acknowledged is on the disk (consumers' acks aside, which follow within {window_ms} \
             ms{queues})"
        ),
    )
}

/// The first of many names, and how many more there are.
fn named(names: &[&str]) -> String {
    let shown = &names[..names.len().min(NAMED_MAX)];
    match names.len() - shown.len() {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

fn store(seen: &Seen) -> Remark {
    let Ok(monitored) = &seen.monitored else {
        return Remark::new(State::Info, "store", "not seen: only the monitoring port says where it is");
    };
    let Some(config) = &monitored.varz.jetstream.config else {
        return Remark::new(State::Info, "store", format!("{} does not say where it is", monitored.address));
    };
    let dir = &config.store_dir;
    let warn = |text: String| Remark::new(State::Warn, "store", text);
    if in_temporary_folder(dir) {
        return warn(format!("{dir} is in a temporary folder, which systems empty"))
            .fix("store_dir in the server's jetstream block: a folder that stays");
    }
    match &seen.store {
        Store::Container { name, mounts }
            if !mounts.iter().any(|mount| std::path::Path::new(dir).starts_with(mount)) =>
        {
            warn(format!(
                "{dir} is in the container {name} itself, on no mount: it is gone with the container"
            ))
            .fix(format!("run it with a volume: docker run -v DATA:{dir}"))
        }
        Store::Container { name, .. } => {
            Remark::new(State::Ok, "store", format!("{dir} is on a mount of the container {name}"))
        }
        Store::Here { kind } if matches!(kind.as_str(), "tmpfs" | "ramfs") => {
            warn(format!("{dir} is on a {kind}: it is gone when the machine ends")).fix("store_dir on a disk")
        }
        Store::Here { kind } if kind == "overlay" => {
            warn(format!("{dir} is in a container itself, on no mount: it is gone with the container"))
                .fix("a volume at the store_dir")
        }
        Store::Here { kind } => Remark::new(State::Ok, "store", format!("{dir} ({kind})")),
        Store::Elsewhere => Remark::new(
            State::Info,
            "store",
            format!(
                "{dir}, on a machine or in a container that cannot be looked into from here: see that it is on a mount"
            ),
        ),
    }
}

fn in_temporary_folder(dir: &str) -> bool {
    const FOLDERS: [&str; 6] =
        ["/tmp", "/var/tmp", "/private/tmp", "/private/var/folders", "/var/folders", "/dev/shm"];
    let windows = dir.to_ascii_lowercase().replace('\\', "/");
    FOLDERS.iter().any(|folder| std::path::Path::new(dir).starts_with(folder)) || windows.contains("/temp/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn always_is_not_said_of_a_stream_that_switches_it_off() {
        let stream = |config: serde_json::Value| -> StreamSeen {
            serde_json::from_value(serde_json::json!({
                "name": config["name"], "config": config, "created": "", "messages": 0, "bytes": 0, "first_seq": 0,
                "last_seq": 0, "first_ts": null, "num_subjects": null, "consumer_count": 0
            }))
            .unwrap()
        };
        let plain = stream(serde_json::json!({ "name": "PLAIN" }));
        let fast = stream(serde_json::json!({ "name": "FAST", "persist_mode": "async" }));
        let queue = stream(serde_json::json!({ "name": "Q", "retention": "workqueue" }));
        let remark = always(&[plain.clone(), fast]);
        assert_eq!(remark.state, State::Warn, "{remark:?}");
        assert!(remark.text.contains("switches it off for FAST:"), "{remark:?}");
        let remark = always(std::slice::from_ref(&plain));
        assert_eq!(remark.state, State::Ok, "{remark:?}");
        assert!(remark.text.ends_with("follow within 500 ms)"), "as the checker grants: {remark:?}");
        assert!(always(&[plain, queue]).text.contains("of a work queue"));
    }

    #[test]
    fn temporary_folders_are_known_by_their_names() {
        for dir in ["/tmp/nats/jetstream", "/var/tmp/x", r"C:\Users\me\AppData\Local\Temp\nats\jetstream"] {
            assert!(in_temporary_folder(dir), "{dir}");
        }
        for dir in ["/data/jetstream", "/tmpfs/x", "/home/me/tmp/jetstream"] {
            assert!(!in_temporary_folder(dir), "{dir}");
        }
    }
}
