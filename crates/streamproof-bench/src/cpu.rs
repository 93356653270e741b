//! Processor time of processes, as Linux counts it, in steps of 10 ms; on other systems it is not known.

use std::time::Duration;

/// What a process has used so far, all its threads together.
pub(crate) fn of(pid: u32) -> Option<Duration> {
    read(&format!("/proc/{pid}/stat")).map(|used| used.own)
}

/// What this process has used so far.
pub(crate) fn own() -> Option<Duration> {
    read("/proc/self/stat").map(|used| used.own)
}

/// What those processes have used that this one started and waited for.
pub(crate) fn ended_children() -> Option<Duration> {
    read("/proc/self/stat").map(|used| used.children)
}

#[derive(Debug, PartialEq, Eq)]
struct Used {
    own: Duration,
    children: Duration,
}

fn read(path: &str) -> Option<Used> {
    if cfg!(not(target_os = "linux")) {
        return None;
    }
    parse(&std::fs::read_to_string(path).ok()?, rustix::param::clock_ticks_per_second())
}

/// proc(5): fields 14 to 17 are utime, stime, cutime and cstime. The second, the name, may hold anything but ends with
/// the line's last parenthesis.
fn parse(stat: &str, ticks_per_second: u64) -> Option<Used> {
    let after_name = &stat[stat.rfind(')')? + 1..];
    let mut fields = after_name.split_ascii_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<u64>().ok();
    let (utime, stime, cutime, cstime) = (next()?, next()?, next()?, next()?);
    let time = |ticks: u64| Duration::from_millis(ticks * 1000 / ticks_per_second.max(1));
    Some(Used { own: time(utime + stime), children: time(cutime + cstime) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_blanks_and_parentheses_moves_no_field() {
        let stat = "77 (a ) b) S 1 2 3 0 -1 4194560 10 20 30 40 150 50 7 3 20 0 1 0 100 200 300";
        let want = Used { own: Duration::from_secs(2), children: Duration::from_millis(100) };
        assert_eq!(parse(stat, 100), Some(want));
        assert_eq!(parse("77 (x) S 1 2", 100), None);
    }
}
