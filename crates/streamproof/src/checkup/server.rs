//! The server itself: JetStream, its version and that version's defects, when it syncs, and where it stores.

use std::collections::BTreeMap;

use streamproof_checker::Version as Numbers;
use streamproof_checker::known::{Defect, TABLE};
use streamproof_checker::rules::Retention;
use streamproof_model::server_conf::Sync;
use streamproof_model::version::Version;

use super::{Remark, Seen, State};
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
        Some(Sync::Always) => Remark::new(
            State::Ok,
            "sync",
            "always: what was acknowledged is on the disk (consumers' acks aside, which follow within 100 ms)",
        ),
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
    fn temporary_folders_are_known_by_their_names() {
        for dir in ["/tmp/nats/jetstream", "/var/tmp/x", r"C:\Users\me\AppData\Local\Temp\nats\jetstream"] {
            assert!(in_temporary_folder(dir), "{dir}");
        }
        for dir in ["/data/jetstream", "/tmpfs/x", "/home/me/tmp/jetstream"] {
            assert!(!in_temporary_folder(dir), "{dir}");
        }
    }
}
