//! The Docker engine, through the `docker` client: it knows contexts, credentials and sockets, so nothing here does.

use std::time::Duration;

use crate::error::ServerError;
use crate::tool::{Tool, ToolError};

/// How long an engine may take to say that it is there. The client alone does not count.
const ENGINE_BOUND: Duration = Duration::from_secs(3);

/// How long a question to an engine that answers may take.
const ASK_BOUND: Duration = Duration::from_secs(10);

/// The version of the engine that answers.
///
/// # Errors
/// [`ServerError::EngineDown`] where none does.
pub fn engine_version() -> Result<String, ServerError> {
    let asked =
        Tool::new("docker").args(["version", "--format", "{{.Server.Version}}"]).bound(ENGINE_BOUND).run();
    match asked {
        Ok(said) => Ok(said.text()),
        Err(ToolError::Failed { said, .. }) => {
            let reason = said.lines().last().unwrap_or_default().to_owned();
            Err(ServerError::EngineDown { reason })
        }
        Err(other) => Err(ServerError::EngineDown { reason: other.to_string() }),
    }
}

/// A container that publishes a port of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publishing {
    /// Its name.
    pub name: String,
    /// The folders in it that are on mounts.
    pub mounts: Vec<String>,
}

/// The container that publishes this port of this machine; none where no engine answers either.
#[must_use]
pub fn publishing(port: u16) -> Option<Publishing> {
    engine_version().ok()?;
    let ask = |args: &[&str]| Tool::new("docker").args(args).bound(ASK_BOUND).run().ok();
    let said = ask(&["ps", "--filter", &format!("publish={port}"), "--format", "{{.Names}}"])?;
    let name = said.text().lines().next()?.to_owned();
    let said = ask(&["inspect", "--format", "{{range .Mounts}}{{println .Destination}}{{end}}", &name])?;
    let mounts = said.text().lines().filter(|line| !line.is_empty()).map(str::to_owned).collect();
    Some(Publishing { name, mounts })
}
