//! `bench`: throughput and latency, every message counted, always by a release build.

use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use streamproof::bench::bar::bar;
use streamproof::bench::report::{Compared, Measured, Side, of_rounds};
use streamproof::bench::{Config, Host, Measure, Progress, Report, Settings, run as measure};
use streamproof::model::failure::Code;

use super::session::Session;
use crate::flags::BenchFlags;
use crate::output::{Done, Out, Role, columns};
use crate::problem::Problem;

mod durability;

/// How often the progress is drawn.
const DRAW_INTERVAL: Duration = Duration::from_millis(100);

pub(crate) fn run(session: &Session<'_>, flags: &BenchFlags) -> Result<Done, Problem> {
    let earlier = flags.compare.as_deref().map(read_report).transpose()?;
    let project = session.load()?;
    let _lock = session.home.lock().map_err(Problem::of)?;
    session.out.doing("starting");
    if flags.durability {
        return durability::run(session, flags, &project);
    }
    let named = flags.server.server.is_some() || flags.server.context.is_some();
    let host = if flags.live || named {
        let reached = session.reach(&flags.server, &project)?;
        let pid = if named { None } else { session.running()?.map(|running| running.pid) };
        Host::at(&session.home, &reached.connect, pid)
    } else {
        let config = if flags.config { Config::Project } else { Config::Sync(flags.sync.clone()) };
        Host::start(&session.home, &project, &config)
    };
    let host = host.map_err(Problem::of)?;
    let settings = settings(flags, &host);
    let report =
        watched(session.out, |progress| measure(&settings, &host.target, progress).map_err(Problem::of))?;
    drop(host);
    if let Some(file) = &flags.save {
        write(file, &(serde_json::to_string_pretty(&report).unwrap_or_default() + "\n"))?;
    }
    let compared = earlier.as_ref().map(|earlier| {
        if earlier.server.version != report.server.version || earlier.server.about != report.server.about {
            session.out.warn(format!(
                "the earlier run was on nats-server {}, {}",
                earlier.server.version, earlier.server.about
            ));
        }
        report.compare(earlier)
    });
    let mut data = json!(report);
    data["build"] = build().into();
    data["bar"] = json!(bar(&report));
    data["compared"] = json!(compared);
    let text = text(session.out, &report, compared.as_deref());
    let done = Done::new(text, data);
    Ok(if report.counted() { done } else { done.ending(Code::Violation) })
}

fn settings(flags: &BenchFlags, host: &Host) -> Settings {
    let wanted = |m: &Measure| flags.measures.is_empty() || flags.measures.iter().any(|n| n == m.name());
    Settings {
        measures: Measure::ALL.into_iter().filter(wanted).collect(),
        msgs: flags.msgs,
        sizes_bytes: flags.size.clone(),
        windows: flags.window.clone(),
        clients: flags.clients.clone(),
        rounds: flags.rounds,
        rate_per_second: flags.rate,
        end_to_end_seconds: flags.seconds,
        persist_async: false,
        peer: flags.peer.then(|| flags.nats.clone()),
        work_dir: host.work_dir.clone(),
    }
}

/// Measures on a thread of its own, draws how far it is, and ends it on Ctrl-C.
fn watched<T: Send>(
    out: &Out,
    measure: impl FnOnce(&Arc<Progress>) -> Result<T, Problem> + Send,
) -> Result<T, Problem> {
    let progress = Arc::new(Progress::default());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Problem::new(Code::Internal, format!("no runtime: {e}")))?;
    std::thread::scope(|scope| {
        let measuring = scope.spawn(|| measure(&progress));
        runtime.block_on(async {
            let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
            let mut told = false;
            while !measuring.is_finished() {
                tokio::select! {
                    _ = &mut interrupted, if !told => {
                        told = true;
                        progress.stop();
                    }
                    () = tokio::time::sleep(DRAW_INTERVAL) => {}
                }
                let now = progress.snapshot();
                out.progress(&now.doing, now.done, now.of);
            }
        });
        measuring.join().map_err(|_| Problem::new(Code::Internal, "the measurement panicked"))?
    })
}

fn write(file: &Path, text: &str) -> Result<(), Problem> {
    std::fs::write(file, text)
        .map_err(|e| Problem::new(Code::Io, format!("cannot write {}: {e}", file.display())))
}

fn build() -> &'static str {
    if cfg!(debug_assertions) { "debug" } else { "release" }
}

fn read_report(file: &Path) -> Result<Report, Problem> {
    let text = std::fs::read_to_string(file)
        .map_err(|e| Problem::new(Code::Usage, format!("cannot read {}: {e}", file.display())))?;
    serde_json::from_str(&text).map_err(|e| {
        Problem::new(Code::Usage, format!("{} is not a report of bench: {e}", file.display()))
            .help("cargo xtask bench --save FILE   writes one")
    })
}

fn text(out: &Out, report: &Report, compared: Option<&[Compared]>) -> String {
    let mut text = format!(
        "nats-server {}, {}; {} cores; {} build\n",
        report.server.version,
        report.server.about,
        report.server.cores,
        build()
    );
    if cfg!(debug_assertions) {
        text.push_str("a debug build: these numbers say nothing\n");
    }
    text.push('\n');
    text.push_str(&columns(&table(report)));
    let latencies = latencies(report);
    if latencies.len() > 1 {
        text.push('\n');
        text.push_str(&columns(&latencies));
    }
    let bars = bars(out, report);
    if bars.len() > 1 {
        text.push('\n');
        text.push_str(&columns(&bars));
    }
    if let Some(compared) = compared {
        text.push('\n');
        text.push_str(&columns(&comparison(out, compared)));
    }
    for m in report.measures.iter().filter(|m| m.peer_unfinished > 0) {
        let rounds = m.peer_unfinished;
        _ = writeln!(text, "{rounds} of the rounds of nats bench did not end: {}", shape(m));
    }
    for m in &report.measures {
        for miscount in &m.miscounts {
            _ = writeln!(text, "{} {}: {miscount}", out.paint(Role::Bad, "not accounted for:"), shape(m));
        }
    }
    let rounds = report.measures.first().map_or(0, |m| m.rounds);
    _ = write!(
        text,
        "\n{}{}; s/M: processor seconds for a million messages\n",
        of_rounds(rounds),
        match (report.peer.is_some(), rounds) {
            (true, 1) => ", in turn with the peer",
            (true, _) =>
                ", in turn with the peer; the ratios are medians, too: of each round to its neighbour",
            (false, _) => "",
        }
    );
    if let Some(accounted) = report.accounted() {
        _ = writeln!(text, "{accounted}");
    }
    text
}

fn table(report: &Report) -> Vec<Vec<String>> {
    let mut head =
        vec!["measure", "size", "window", "clients", "msgs/s", "rounds", "client s/M", "server s/M"];
    if report.peer.is_some() {
        head.extend(["nats bench msgs/s", "client s/M", "server s/M", "ratio", "client ratio"]);
    }
    let mut rows = vec![head.into_iter().map(str::to_owned).collect::<Vec<_>>()];
    for m in &report.measures {
        let mut row =
            vec![m.name.clone(), m.size_bytes.to_string(), m.window.to_string(), m.clients.to_string()];
        row.push(grouped(m.ours.msgs_per_s));
        row.push(spread(&m.ours));
        row.extend([m.ours.client_cpu_s_per_million, m.ours.server_cpu_s_per_million].map(decimals));
        if report.peer.is_some() {
            match &m.peer {
                Some(peer) => {
                    row.push(grouped(peer.msgs_per_s));
                    row.extend([peer.client_cpu_s_per_million, peer.server_cpu_s_per_million].map(decimals));
                    row.push(ratio(m));
                    row.push(decimals(m.cpu_ratio));
                }
                None => row.extend(vec!["-".to_owned(); 5]),
            }
        }
        rows.push(row);
    }
    rows
}

fn latencies(report: &Report) -> Vec<Vec<String>> {
    let mut rows = vec![
        ["latency in µs", "size", "window", "clients", "p50", "p90", "p99", "p99.9", "max"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for m in &report.measures {
        let Some(l) = &m.ours.latency_us else { continue };
        let mut row =
            vec![m.name.clone(), m.size_bytes.to_string(), m.window.to_string(), m.clients.to_string()];
        row.extend([l.p50, l.p90, l.p99, l.p99_9, l.max].map(|us| us.to_string()));
        rows.push(row);
    }
    rows
}

fn bars(out: &Out, report: &Report) -> Vec<Vec<String>> {
    let mut rows = vec![["the bar, at 128 B", "of", "bar", "measured", ""].map(str::to_owned).to_vec()];
    for b in bar(report) {
        let verdict = if b.met { out.paint(Role::Good, "met") } else { out.paint(Role::Bad, "missed") };
        let least_or_most = if b.at_most { "≤" } else { "≥" };
        rows.push(vec![
            b.measure.to_owned(),
            b.what.to_owned(),
            format!("{least_or_most} {:.2}", b.bar),
            format!("{:.2}", b.measured),
            verdict,
        ]);
    }
    rows
}

fn comparison(out: &Out, compared: &[Compared]) -> Vec<Vec<String>> {
    let mut rows = vec![
        ["against before", "size", "window", "clients", "msgs/s", "before", "ratio", ""]
            .map(str::to_owned)
            .to_vec(),
    ];
    for c in compared {
        let verdict = match (c.within_spread, c.ratio < 1.0) {
            (true, _) => out.paint(Role::Quiet, "rounds overlap"),
            (false, true) => out.paint(Role::Bad, "slower"),
            (false, false) => out.paint(Role::Good, "faster"),
        };
        rows.push(vec![
            c.name.clone(),
            c.size_bytes.to_string(),
            c.window.to_string(),
            c.clients.to_string(),
            grouped(c.msgs_per_s),
            grouped(c.before),
            decimals(Some(c.ratio)),
            verdict,
        ]);
    }
    rows
}

fn shape(m: &Measured) -> String {
    format!("{} {} B, window {}, clients {}", m.name, m.size_bytes, m.window, m.clients)
}

fn spread(side: &Side) -> String {
    format!("{}–{}", grouped(side.msgs_per_s_least), grouped(side.msgs_per_s_most))
}

/// The median, and between which the rounds were.
fn ratio(m: &Measured) -> String {
    match (m.ratio, m.ratio_least, m.ratio_most) {
        (Some(median), Some(least), Some(most)) => format!("{median:.2} ({least:.2}–{most:.2})"),
        (median, ..) => decimals(median),
    }
}

fn decimals(number: Option<f64>) -> String {
    number.map_or_else(|| "-".to_owned(), |n| format!("{n:.2}"))
}

/// A whole number with its thousands apart.
fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_set_apart() {
        for (number, want) in [(0.4, "0"), (999.0, "999"), (1000.0, "1,000"), (1_234_567.8, "1,234,568")] {
            assert_eq!(grouped(number), want);
        }
    }
}
