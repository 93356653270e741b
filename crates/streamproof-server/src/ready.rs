//! When a server is ready: alive, TCP, `/healthz`, `$JS.API.INFO`, then every stream and consumer that is named.

use std::fmt;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::error::ServerError;
use crate::poll::{self, Pace};
use crate::wire::{Connection, Credentials, WireError};
use crate::{monitor, spawn};

/// One step of the ladder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rung {
    /// The process lives, and says where it listens.
    Process,
    /// It accepts connections, and is the one that was started.
    Tcp,
    /// `/healthz` is 200.
    Healthz,
    /// `$JS.API.INFO` answers.
    #[serde(rename = "jetstream")]
    JetStream,
    /// Each named stream and consumer answers.
    Assets,
}

impl fmt::Display for Rung {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Rung::Process => "process",
            Rung::Tcp => "tcp",
            Rung::Healthz => "healthz",
            Rung::JetStream => "jetstream",
            Rung::Assets => "streams and consumers",
        })
    }
}

/// A stream or a consumer that must answer.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub enum Asset {
    /// A stream.
    Stream(String),
    /// A stream's consumer.
    Consumer(String, String),
}

impl Asset {
    fn subject(&self) -> String {
        match self {
            Asset::Stream(stream) => format!("$JS.API.STREAM.INFO.{stream}"),
            Asset::Consumer(stream, consumer) => format!("$JS.API.CONSUMER.INFO.{stream}.{consumer}"),
        }
    }
}

impl fmt::Display for Asset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Asset::Stream(stream) => write!(f, "stream {stream}"),
            Asset::Consumer(stream, consumer) => write!(f, "consumer {stream}/{consumer}"),
        }
    }
}

/// What to climb.
#[derive(Debug, Clone)]
pub struct Ladder {
    /// `127.0.0.1:4222`.
    pub address: String,
    /// `127.0.0.1:8222`; without it `/healthz` is left out.
    pub monitor: Option<String>,
    /// How to log in.
    pub credentials: Credentials,
    /// The name that the server must have: another one that got the port is not ours.
    pub name: Option<String>,
    /// What must answer in the end. One that the server says does not exist has answered, and is reported.
    pub assets: Vec<Asset>,
}

/// A server that is ready, and how it came to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Ready {
    /// Each rung, and the time from the start of the wait until it was reached.
    pub reached: Vec<(Rung, Duration)>,
    /// Assets that do not exist.
    pub missing: Vec<Asset>,
    /// The server's version, as it writes it.
    pub version: String,
    /// Whether the ladder ended at TLS, which is left to the caller's own client.
    pub tls: bool,
}

/// How long one answer may take before it is asked again.
const ANSWER_BOUND: Duration = Duration::from_secs(2);

/// Climbs the ladder, at most for `bound`. `alive` is asked at each look; its error ends the wait at once.
///
/// # Errors
/// What `alive` gave, [`ServerError::NotReady`], [`ServerError::NoJetStream`] or [`ServerError::AccessDenied`].
pub fn climb(
    ladder: &Ladder,
    bound: Duration,
    log: &Path,
    mut alive: impl FnMut() -> Result<(), ServerError>,
) -> Result<Ready, ServerError> {
    let start = Instant::now();
    let mut climber =
        Climber { ladder, start, reached: Vec::new(), missing: Vec::new(), assets: 0, connection: None };
    let ended = poll::until_or(Pace::QUICK, bound, || {
        if let Err(dead) = alive() {
            return ControlFlow::Break(Err(dead));
        }
        match climber.look() {
            Ok(ready) => ControlFlow::Break(Ok(ready)),
            Err(Fall::Wait(rung, status)) => ControlFlow::Continue((rung, status)),
            Err(Fall::Hopeless(error)) => ControlFlow::Break(Err(error)),
        }
    });
    ended.map_err(|ended| match ended {
        poll::Ended::Hopeless(error) => error,
        poll::Ended::TimedOut(timed_out) => {
            let (rung, last) = timed_out.last;
            ServerError::NotReady {
                rung,
                last,
                waited: timed_out.waited,
                log_tail: spawn::tail(log, LOG_LINES),
            }
        }
    })
}

/// How much of the log is shown with an error.
pub(crate) const LOG_LINES: usize = 20;

enum Fall {
    Wait(Rung, String),
    Hopeless(ServerError),
}

struct Climber<'a> {
    ladder: &'a Ladder,
    start: Instant,
    reached: Vec<(Rung, Duration)>,
    missing: Vec<Asset>,
    assets: usize,
    connection: Option<Connection>,
}

impl Climber<'_> {
    /// One look: on from the last rung reached.
    fn look(&mut self) -> Result<Ready, Fall> {
        self.mark(Rung::Process);
        let tls = match self.connect() {
            Ok(()) => false,
            Err(WireError::TlsRequired) => true,
            Err(WireError::Refused(reason)) => {
                return Err(Fall::Hopeless(ServerError::AccessDenied { reason }));
            }
            Err(WireError::Credentials(reason)) => {
                return Err(Fall::Hopeless(ServerError::AccessDenied {
                    reason: format!("credentials: {reason}"),
                }));
            }
            Err(error) => return Err(Fall::Wait(Rung::Tcp, error.to_string())),
        };
        self.mark(Rung::Tcp);
        self.healthz()?;
        let mut version = String::new();
        if !tls {
            version = self.jetstream()?;
            self.assets()?;
        }
        let reached = std::mem::take(&mut self.reached);
        Ok(Ready { reached, missing: std::mem::take(&mut self.missing), version, tls })
    }

    fn mark(&mut self, rung: Rung) {
        if self.reached.last().is_none_or(|(last, _)| *last < rung) {
            self.reached.push((rung, self.start.elapsed()));
        }
    }

    fn at(&self, rung: Rung) -> bool {
        self.reached.iter().any(|(reached, _)| *reached == rung)
    }

    fn connect(&mut self) -> Result<(), WireError> {
        if self.connection.is_some() {
            return Ok(());
        }
        let connection = Connection::open(&self.ladder.address, &self.ladder.credentials, ANSWER_BOUND)?;
        let name = &connection.info().server_name;
        if self.ladder.name.as_ref().is_some_and(|wanted| wanted != name) {
            return Err(WireError::NotNats(format!("I am {name}")));
        }
        self.connection = Some(connection);
        Ok(())
    }

    fn healthz(&mut self) -> Result<(), Fall> {
        let Some(address) = &self.ladder.monitor else { return Ok(()) };
        if self.at(Rung::Healthz) {
            return Ok(());
        }
        match monitor::get(address, "/healthz", ANSWER_BOUND) {
            Ok(page) if page.status == 200 => {
                self.mark(Rung::Healthz);
                Ok(())
            }
            Ok(page) => Err(Fall::Wait(Rung::Healthz, format!("is {}: {}", page.status, page.body.trim()))),
            Err(error) => Err(Fall::Wait(Rung::Healthz, error.to_string())),
        }
    }

    fn ask(&mut self, rung: Rung, subject: &str) -> Result<serde_json::Value, Fall> {
        let Some(connection) = &mut self.connection else {
            return Err(Fall::Wait(rung, "has no connection".to_owned()));
        };
        match connection.request(subject, b"") {
            Ok(body) => serde_json::from_slice(&body).map_err(|error| Fall::Wait(rung, error.to_string())),
            // JetStream is started before clients are let in, and no account gets it later: it is off.
            Err(WireError::NoResponders(_)) if !connection.info().jetstream => {
                Err(Fall::Hopeless(ServerError::NoJetStream {
                    reason: "it is not enabled on this server".to_owned(),
                }))
            }
            Err(WireError::Refused(reason)) => Err(Fall::Hopeless(ServerError::AccessDenied { reason })),
            Err(error) => {
                self.connection = None;
                Err(Fall::Wait(rung, error.to_string()))
            }
        }
    }

    fn jetstream(&mut self) -> Result<String, Fall> {
        let version =
            self.connection.as_ref().map(|connection| connection.info().version.clone()).unwrap_or_default();
        if self.at(Rung::JetStream) {
            return Ok(version);
        }
        let answer = self.ask(Rung::JetStream, "$JS.API.INFO")?;
        if let Some(error) = answer.get("error") {
            let said = error.get("description").and_then(|said| said.as_str()).unwrap_or_default().to_owned();
            // 10039: JetStream not enabled for account. 10076: not enabled at all (nats-server `errors.json`).
            let hopeless =
                matches!(error.get("err_code").and_then(serde_json::Value::as_u64), Some(10_039 | 10_076));
            return Err(if hopeless {
                Fall::Hopeless(ServerError::NoJetStream { reason: said })
            } else {
                Fall::Wait(Rung::JetStream, said)
            });
        }
        self.mark(Rung::JetStream);
        Ok(version)
    }

    fn assets(&mut self) -> Result<(), Fall> {
        while let Some(asset) = self.ladder.assets.get(self.assets) {
            let answer = self.ask(Rung::Assets, &asset.subject())?;
            if let Some(error) = answer.get("error") {
                let said = error.get("description").and_then(|said| said.as_str()).unwrap_or_default();
                if error.get("code").and_then(serde_json::Value::as_u64) != Some(404) {
                    return Err(Fall::Wait(Rung::Assets, format!("{asset}: {said}")));
                }
                self.missing.push(asset.clone());
            }
            self.assets += 1;
        }
        if !self.ladder.assets.is_empty() {
            self.mark(Rung::Assets);
        }
        Ok(())
    }
}
