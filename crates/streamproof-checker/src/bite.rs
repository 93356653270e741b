//! Whether a fault bit: without that, nothing lost proves nothing.

use streamproof_model::op::{Evidence, FaultKind};

/// Why a fault did not bite; none if it did. The text of a bite is what showed it.
///
/// # Errors
///
/// With the reason why it did not bite.
pub fn bite(kind: FaultKind, evidence: Option<&Evidence>) -> Result<String, String> {
    let Some(evidence) = evidence else { return Err("its end was not recorded".to_owned()) };
    if let Some(why) = &evidence.failed {
        return Err(why.clone());
    }
    let Evidence { pid_before, pid_after, .. } = *evidence;
    let restarted = || {
        if pid_before == pid_after {
            Err(format!("the process is the same ({pid_before})"))
        } else {
            Ok(format!("process {pid_before} became {pid_after}"))
        }
    };
    let at_least = |count: u64, what: &str| {
        if count == 0 { Err(format!("no {what}")) } else { Ok(format!("{count} {what}")) }
    };
    match kind {
        FaultKind::Stop | FaultKind::Recreate => restarted(),
        FaultKind::Restarts => {
            restarted()?;
            at_least(evidence.restarts.into(), "restarts")
        }
        FaultKind::Kill => {
            restarted()?;
            at_least(evidence.in_flight.into(), "calls in flight at the kill")
        }
        FaultKind::KillAfterAck => {
            restarted()?;
            at_least(evidence.acked, "calls acknowledged before the kill")
        }
        FaultKind::IndexLost | FaultKind::IndexStale => {
            restarted()?;
            at_least(evidence.index_files.into(), "index files changed")
        }
        FaultKind::Pause => at_least(evidence.silent_us / 1000, "ms of silence"),
        FaultKind::Disconnect => at_least(evidence.connections_lost.into(), "connections lost"),
        FaultKind::PowerCut => at_least(evidence.unsynced_bytes, "unsynced bytes"),
        // A kernel does not say what it threw away: files that are shorter than before show it, or calls that never came to
        // their end.
        FaultKind::PowerCutExt4 => at_least(evidence.unsynced_bytes, "unsynced bytes")
            .or_else(|_| at_least(evidence.in_flight.into(), "calls in flight as the power went")),
        FaultKind::Upgrade | FaultKind::Downgrade => {
            restarted()?;
            match (&evidence.version_before, &evidence.version_after) {
                (Some(before), Some(after)) if before != after => Ok(format!("{before} became {after}")),
                _ => Err("the version is the same".to_owned()),
            }
        }
        FaultKind::DiskFull => at_least(evidence.refused_writes, "refused writes"),
        _ => Err("it is not known how to tell".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_needs_its_evidence() {
        let plenty = Evidence {
            pid_before: 1,
            pid_after: 2,
            in_flight: 3,
            acked: 4,
            unsynced_bytes: 5,
            connections_lost: 6,
            restarts: 7,
            index_files: 8,
            refused_writes: 9,
            silent_us: 10_000,
            version_before: Some("2.14.5".into()),
            version_after: Some("2.15.1".into()),
            log: None,
            failed: None,
        };
        for kind in FaultKind::ALL {
            assert!(bite(*kind, Some(&plenty)).is_ok(), "{kind:?}");
            assert!(bite(*kind, Some(&Evidence::default())).is_err(), "{kind:?}");
            assert!(bite(*kind, None).is_err(), "{kind:?}");
        }
    }
}
