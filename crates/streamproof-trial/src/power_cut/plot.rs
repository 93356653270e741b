//! What a report draws of a recording: the operations of the file system, its syncs, and the cuts with what came of them.

use streamproof_crashfs::cuts::timeline;
use streamproof_crashfs::log::{Op, WriteSync};

use super::recorded::Recorded;
use super::search::Catch;
use crate::report::power::{Basis, Cut, FsOp, FsOpKind, PowerCut, Recording, Sync};

/// The plots of the recording of a case and its crash states.
pub(crate) fn plot(case: u32, recorded: &Recorded, catch: &Catch) -> PowerCut {
    let log = &recorded.log;
    let lines = timeline(log);
    let mut syncs = Vec::new();
    let mut operations = Vec::with_capacity(lines.len());
    for (entry, (_, at_ns, _, path)) in log.entries().iter().zip(lines) {
        let at = at_ns / 1000;
        let kind = kind(&entry.op);
        if kind == FsOpKind::Sync {
            syncs.push(Sync { at, path: path.clone() });
        }
        operations.push(FsOp { at, kind, path });
    }
    let published: Vec<u64> =
        recorded.past.published_us().into_iter().map(|at| recorded.ns(at) / 1000).collect();
    // What is acknowledged after the last operation is cut, too: a recording goes on until then.
    let ends_ns = [log.end_ns(), recorded.acks_ns().last().copied().unwrap_or(0)];
    let span_ns = ends_ns[0].max(ends_ns[1]).max(1);
    let cuts = of_span(with_acked(catch.cuts.clone(), &published), ends_ns[0], span_ns);
    let of = |depth: u32| catch.searched.iter().filter(move |searched| searched.depth == depth);
    let nested: usize = of(2).map(|searched| searched.tested).sum();
    PowerCut {
        basis: Basis::Model("ext4".to_owned()),
        recording: Some(Recording::new(case, &catch.verdicts)),
        span_us: span_ns / 1000,
        syncs,
        operations,
        cuts,
        chosen: catch.looked_at as u64,
        same: catch.looked_at.saturating_sub(of(1).map(|searched| searched.found).sum()) as u64,
        nested: nested as u64,
    }
}

/// The cuts in the order of time, each with how many messages had been acknowledged before it. What was answered in the very
/// microsecond of a cut is not missed, so it does not count here either.
fn with_acked(mut cuts: Vec<Cut>, published_us: &[u64]) -> Vec<Cut> {
    cuts.sort_by_key(|cut| cut.at);
    for cut in &mut cuts {
        cut.acked = published_us.partition_point(|at| *at < cut.at) as u64;
    }
    cuts
}

/// The cuts with their shares of the whole recording, where they were those of the time until its last operation.
fn of_span(mut cuts: Vec<Cut>, end_ns: u64, span_ns: u64) -> Vec<Cut> {
    let (end_ns, span_ns) = (end_ns.max(1) as f64, span_ns as f64);
    cuts.iter_mut().for_each(|cut| cut.share *= end_ns / span_ns);
    cuts
}

fn kind(op: &Op) -> FsOpKind {
    match op {
        Op::Write { sync: WriteSync::None, .. } => FsOpKind::Write,
        Op::Write { .. } | Op::Fsync { .. } | Op::FsyncDir { .. } | Op::Settle => FsOpKind::Sync,
        Op::Create { .. } | Op::Mkdir { .. } | Op::Link { .. } => FsOpKind::Create,
        Op::Unlink { .. } | Op::Rmdir { .. } => FsOpKind::Remove,
        Op::Rename { .. } => FsOpKind::Rename,
        Op::Truncate { .. } | Op::Fallocate { .. } => FsOpKind::Resize,
        // Attributes and the end of a handle change no bytes; they stand as writes so that numbers are those of the log.
        Op::SetAttr { .. } | Op::Close { .. } => FsOpKind::Write,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use streamproof_checker::Cell;

    fn cut(at: u64) -> Cut {
        Cut {
            at,
            after: 1,
            verdict: Cell::Pass,
            acked: 782,
            lost: 0,
            oldest_lost_us: None,
            share: 0.6,
            note: String::new(),
        }
    }

    #[test]
    fn the_states_of_a_recording_do_not_last_longer_than_it_does() {
        // 600 and 400 of a recording whose last operation is at 800 of 1,000.
        let cuts = vec![Cut { share: 600.0 / 800.0, ..cut(1) }, Cut { share: 400.0 / 800.0, ..cut(2) }];
        let shares: Vec<f64> = of_span(cuts, 800, 1_000).iter().map(|cut| cut.share).collect();
        assert!((shares[0] - 0.6).abs() < 1e-9 && (shares[1] - 0.4).abs() < 1e-9, "{shares:?}");
    }

    #[test]
    fn a_cut_has_the_messages_that_were_acknowledged_before_it() {
        let cuts = with_acked(vec![cut(30), cut(10), cut(20)], &[5, 20, 25]);
        assert_eq!(
            cuts.iter().map(|cut| (cut.at, cut.acked)).collect::<Vec<_>>(),
            [(10, 1), (20, 1), (30, 3)]
        );
    }
}
