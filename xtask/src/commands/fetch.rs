//! `fetch`: get and verify a nats-server for later, offline use.

use serde_json::json;
use streamproof::model::failure::Code;
use streamproof::model::version::Version;
use streamproof::server::{PINNED, Source, Wanted, acquire};

use super::session::{Session, interrupt};
use crate::flags::FetchFlags;
use crate::output::Done;
use crate::problem::Problem;

pub(crate) fn run(session: &Session<'_>, flags: &FetchFlags) -> Result<Done, Problem> {
    let version = match &flags.version {
        Some(text) => text
            .trim_start_matches('v')
            .parse::<Version>()
            .map_err(|_| Problem::new(Code::Usage, format!("{text:?} is no version, such as 2.14.6")))?,
        None => PINNED,
    };
    let mut wanted = Wanted::exactly(version);
    if let Some(name) = &flags.from {
        let source = Source::ALL
            .into_iter()
            .find(|source| source.name() == name)
            .ok_or_else(|| Problem::new(Code::Usage, format!("{name:?} is no source")))?;
        wanted = wanted.from(source);
    }
    session.home.folder.make_state_dir().map_err(Problem::of)?;
    session.out.doing("fetching and verifying");
    let mut sources = session.home.sources(None);
    sources.interrupt = interrupt()?;
    let binary = acquire(&wanted, &sources).map_err(Problem::of)?;
    for refusal in &binary.refused {
        session.out.note(&format!("not from {refusal}"));
    }
    session.out.step(
        "server",
        &format!("nats-server {} ({}), sha256 {}", binary.version, binary.source, binary.sha256),
    );
    Ok(Done::new(binary.path.display().to_string(), json!(binary)))
}
