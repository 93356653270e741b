//! `bench --durability`: the price list.

use serde_json::json;
use streamproof::bench::plot::{loss, svg, time_us};
use streamproof::bench::report::of_rounds;
use streamproof::bench::{Extent, PriceList, price_list};
use streamproof::model::failure::Code;
use streamproof::model::project::Project;

use super::{build, grouped, watched, write};
use crate::commands::session::Session;
use crate::flags::BenchFlags;
use crate::output::{Done, columns};
use crate::problem::Problem;

pub(super) fn run(session: &Session<'_>, flags: &BenchFlags, project: &Project) -> Result<Done, Problem> {
    let first = |numbers: &[usize]| numbers.first().copied().unwrap_or(1);
    let extent = Extent {
        msgs: flags.msgs,
        size_bytes: first(&flags.size),
        window: first(&flags.window),
        rounds: flags.rounds,
        crash_states: true,
    };
    let home = &session.home;
    let list =
        watched(session.out, |progress| price_list(home, project, extent, progress).map_err(Problem::of))?;
    if let Some(file) = &flags.save {
        write(file, &(serde_json::to_string_pretty(&list).unwrap_or_default() + "\n"))?;
    }
    if let Some(file) = &flags.plot {
        write(file, &svg(&list))?;
    }
    let mut data = json!(list);
    data["build"] = build().into();
    let done = Done::new(text(&list), data);
    Ok(if list.prices.iter().all(|p| p.counted) { done } else { done.ending(Code::Violation) })
}

fn text(list: &PriceList) -> String {
    let mut text = format!(
        "nats-server {}; {} cores; {} build; {} B, {}\n\n",
        list.server.version,
        list.server.cores,
        build(),
        list.size_bytes,
        of_rounds(list.rounds)
    );
    text.push_str(&columns(&table(list)));
    text.push('\n');
    match &list.no_crash_states {
        Some(reason) => {
            text.push_str(&format!("no crash states here ({reason}): what is lost is said by each setting's definition\n"));
        }
        None => text.push_str(
            "a host crash takes at worst: the worst of the states of ext4 on an honest disk, of a run of some seconds on a stream\n\
             that was there before (default: 10 s, so all that was recorded; by definition it is up to 2 minutes)\n",
        ),
    }
    text.push_str("one at a time: publish, wait for the ack, publish the next\n");
    text
}

fn table(list: &PriceList) -> Vec<Vec<String>> {
    let window = format!("msgs/s, {} in flight", list.window);
    let head = [
        "setting",
        &window,
        "rounds",
        "p50",
        "p99",
        "one at a time",
        "p50",
        "p99",
        "a host crash takes at worst",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for p in &list.prices {
        let us = |of: fn(&streamproof::bench::report::LatencyUs) -> u64, alone: bool| {
            let latency = if alone { &p.alone_latency_us } else { &p.latency_us };
            latency.as_ref().map_or_else(|| "-".to_owned(), |l| time_us(of(l)))
        };
        rows.push(vec![
            p.setting.clone(),
            grouped(p.msgs_per_s),
            format!("{}–{}", grouped(p.msgs_per_s_least), grouped(p.msgs_per_s_most)),
            us(|l| l.p50, false),
            us(|l| l.p99, false),
            grouped(p.alone_msgs_per_s),
            us(|l| l.p50, true),
            us(|l| l.p99, true),
            loss(p),
        ]);
    }
    rows
}
