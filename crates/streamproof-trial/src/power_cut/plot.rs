//! What a report draws of a recording: the operations of the file system, its syncs, and the cuts with what came of them.

use streamproof_crashfs::cuts::timeline;
use streamproof_crashfs::log::{Op, WriteSync};

use super::recorded::Recorded;
use super::search::Catch;
use crate::report::power::{Basis, FsOp, FsOpKind, PowerCut, Recording, Sync};

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
    let mut cuts = catch.cuts.clone();
    cuts.sort_by_key(|cut| cut.at);
    let of = |depth: u32| catch.searched.iter().filter(move |searched| searched.depth == depth);
    let nested: usize = of(2).map(|searched| searched.tested).sum();
    PowerCut {
        basis: Basis::Model("ext4".to_owned()),
        recording: Some(Recording::new(case, &catch.verdicts)),
        span_us: recorded.span_ns() / 1000,
        syncs,
        operations,
        cuts,
        chosen: catch.looked_at as u64,
        same: catch.looked_at.saturating_sub(of(1).map(|searched| searched.found).sum()) as u64,
        nested: nested as u64,
    }
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
