//! The Docker engine, through the `docker` client: it knows contexts, credentials and sockets, so nothing here does.

use std::time::Duration;

use crate::error::ServerError;
use crate::tool::{Tool, ToolError};

/// How long an engine may take to say that it is there. The client alone does not count.
const ENGINE_BOUND: Duration = Duration::from_secs(3);

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
