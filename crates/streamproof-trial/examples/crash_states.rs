//! Crash states tried in a minute, with everything read back and judged: `cargo run --release -p streamproof-trial --example
//! crash_states [SECONDS] [VERSION]`, on a stream of a thousand messages of 128 bytes and on one of ten thousand; 30 seconds
//! each and the pinned nats-server by default.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    #[cfg(target_os = "linux")]
    linux::main()?;
    Ok(())
}

#[cfg(target_os = "linux")]
mod linux {
    use std::time::Duration;

    use streamproof_server::{PINNED, Sources, Wanted, acquire};
    use streamproof_trial::power_cut::rate::rate;

    pub(super) fn main() -> Result<(), Box<dyn std::error::Error>> {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        let seconds: u64 = arguments.first().map_or(Ok(30), |n| n.parse())?;
        let version = arguments.get(1).map_or(Ok(PINNED), |v| v.parse())?;
        let binary = acquire(&Wanted::exactly(version.clone()), &Sources::from_process())?;
        let mut out = std::io::stdout();
        for messages in [1_000, 10_000] {
            let folder = tempfile::tempdir()?;
            let rate = rate(&binary, messages, Duration::from_secs(seconds), folder.path())?;
            std::io::Write::write_fmt(
                &mut out,
                format_args!(
                    "nats-server {version}, {messages} messages: {} crash states in {:.1} s, {} messages read back and judged, {} lossy; \
                     {:.0} states a minute, {} servers at a time\n",
                    rate.states,
                    rate.took.as_secs_f64(),
                    rate.messages,
                    rate.lossy,
                    rate.per_minute(),
                    rate.workers
                ),
            )?;
        }
        Ok(())
    }
}
