//! The processes of this machine, as far as this user may see them: to find our server, and who holds a port.

use std::path::Path;
#[cfg(not(target_os = "linux"))]
use std::time::Duration;

/// A process and the words of its command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its id.
    pub pid: u32,
    /// Its command line; on systems other than Linux split at blanks.
    pub words: Vec<String>,
}

impl Process {
    /// Whether its program is called nats-server.
    #[must_use]
    pub fn is_nats_server(&self) -> bool {
        let program = self.words.first().map(Path::new).and_then(Path::file_name);
        program.is_some_and(|name| name.to_string_lossy().starts_with("nats-server"))
    }

    /// The command line as one text.
    #[must_use]
    pub fn command(&self) -> String {
        self.words.join(" ")
    }
}

/// Every process whose command line can be read.
#[must_use]
pub fn all() -> Vec<Process> {
    #[cfg(target_os = "linux")]
    {
        let pids = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        pids.filter_map(|entry| one(entry.file_name().to_string_lossy().parse().ok()?)).collect()
    }
    #[cfg(not(target_os = "linux"))]
    {
        let listed =
            crate::tool::Tool::new("ps").args(["-axo", "pid=,command="]).bound(Duration::from_secs(5)).run();
        let text = listed.map(|said| said.text()).unwrap_or_default();
        text.lines()
            .filter_map(|line| {
                let mut words = line.split_ascii_whitespace().map(str::to_owned);
                let pid = words.next()?.parse().ok()?;
                Some(Process { pid, words: words.collect() })
            })
            .collect()
    }
}

/// One process, if it runs. One that has ended and waits to be collected does not.
#[must_use]
pub fn one(pid: u32) -> Option<Process> {
    #[cfg(target_os = "linux")]
    {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        if line.is_empty() {
            return None;
        }
        let words = line.split(|byte| *byte == 0).filter(|word| !word.is_empty());
        Some(Process { pid, words: words.map(|word| String::from_utf8_lossy(word).into_owned()).collect() })
    }
    #[cfg(not(target_os = "linux"))]
    {
        all().into_iter().find(|process| process.pid == pid)
    }
}

/// The process that runs with this configuration file: nats-server names it in its command line, and no two share one of ours.
#[must_use]
pub fn with_config(config: &Path) -> Option<u32> {
    let config = config.to_string_lossy();
    all()
        .into_iter()
        .find(|process| process.words.iter().any(|word| *word == config))
        .map(|process| process.pid)
}
