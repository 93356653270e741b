//! Where a server runs and where its store is kept: what is asked for, what was chosen before, and what comes of both.

use std::fmt;

use serde::Serialize;

use crate::error::ServerError;
use crate::pins::Target;

/// What runs the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Engine {
    /// A plain process.
    Process,
    /// A container.
    Docker,
}

impl Engine {
    /// Its name, as flags and documents have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Engine::Process => "process",
            Engine::Docker => "docker",
        }
    }

    /// The engine of a name.
    #[must_use]
    pub fn named(name: &str) -> Option<Engine> {
        [Engine::Process, Engine::Docker].into_iter().find(|engine| engine.name() == name)
    }

    /// What a nats-server for it must run on.
    #[must_use]
    pub const fn target(self) -> Target {
        match self {
            Engine::Process => Target::host(),
            Engine::Docker => Target::container(),
        }
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where the store is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Keep {
    /// In `.streamproof/<node>/data`, which either engine can use.
    Folder,
    /// In a named volume of Docker's, which only Docker can use.
    Volume,
}

impl Keep {
    /// What is best on this system. A folder that is shared into a virtual machine has corrupted journals before, so a volume
    /// is kept inside of it.
    #[must_use]
    pub const fn usual() -> Keep {
        if cfg!(target_os = "linux") { Keep::Folder } else { Keep::Volume }
    }
}

/// What was chosen for a node. The first `up` chooses; it stays until the user says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Choice {
    /// A process, on the store in the folder.
    Process,
    /// A container.
    Docker(Keep),
}

impl Choice {
    /// Its engine.
    #[must_use]
    pub const fn engine(self) -> Engine {
        match self {
            Choice::Process => Engine::Process,
            Choice::Docker(_) => Engine::Docker,
        }
    }

    /// Where its store is kept.
    #[must_use]
    pub const fn keep(self) -> Keep {
        match self {
            Choice::Process => Keep::Folder,
            Choice::Docker(keep) => keep,
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Choice> {
        match text.trim() {
            "process" => Some(Choice::Process),
            "docker" => Some(Choice::Docker(Keep::Folder)),
            "docker volume" => Some(Choice::Docker(Keep::Volume)),
            _ => None,
        }
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Choice::Process => "process",
            Choice::Docker(Keep::Folder) => "docker",
            Choice::Docker(Keep::Volume) => "docker volume",
        })
    }
}

/// What `up` was asked for; nothing by default, and then what was chosen before counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Asked {
    /// This engine.
    pub engine: Option<Engine>,
    /// The store in a named volume.
    pub volume: bool,
}

/// What is there when the choice is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Present {
    /// What was chosen before.
    pub kept: Option<Choice>,
    /// The folder holds a store.
    pub folder: bool,
    /// The volume exists.
    pub volume: bool,
}

/// The choice. Nothing here ever begins an empty store beside one that is there.
///
/// `engine_answers` is asked only where it matters.
///
/// # Errors
/// [`ServerError::EngineMismatch`]: the store is where the engine that was asked for cannot use it.
pub fn choose(
    asked: Asked,
    present: Present,
    engine_answers: impl FnOnce() -> bool,
) -> Result<Choice, ServerError> {
    let mismatch = |what: &str, help: &str| {
        Err(ServerError::EngineMismatch { what: what.to_owned(), help: help.to_owned() })
    };
    let engine = match (asked.engine, present.kept) {
        (Some(engine), _) => engine,
        (None, _) if asked.volume => Engine::Docker,
        (None, Some(kept)) => kept.engine(),
        // A volume of ours without a note of the choice: the note was deleted, the store was not.
        (None, None) if present.volume || engine_answers() => Engine::Docker,
        (None, None) => Engine::Process,
    };
    let in_volume = present.volume && present.kept.is_none_or(|kept| kept == Choice::Docker(Keep::Volume));
    match engine {
        Engine::Process if asked.volume => {
            mismatch("a plain process cannot keep its store in a volume of Docker's", "leave out --volume")
        }
        Engine::Process if in_volume => mismatch(
            "the store is in a volume of Docker's, which a plain process cannot use",
            "cargo xtask up --engine docker\nor begin anew: cargo xtask clean, which deletes the volume",
        ),
        Engine::Process => Ok(Choice::Process),
        Engine::Docker if in_volume => Ok(Choice::Docker(Keep::Volume)),
        Engine::Docker if asked.volume && present.folder => mismatch(
            "the store is in the project's folder, not in a volume",
            "leave out --volume\nor begin anew: cargo xtask clean, which deletes the store",
        ),
        Engine::Docker if asked.volume => Ok(Choice::Docker(Keep::Volume)),
        Engine::Docker => Ok(Choice::Docker(match present.kept {
            Some(Choice::Docker(keep)) => keep,
            _ if present.folder => Keep::Folder,
            _ => Keep::usual(),
        })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use streamproof_model::failure::Failure;

    fn chosen(engine: Option<Engine>, volume: bool, present: Present, answers: bool) -> String {
        match choose(Asked { engine, volume }, present, || answers) {
            Ok(choice) => choice.to_string(),
            Err(error) => error.code().name().to_owned(),
        }
    }

    const NOTHING: Present = Present { kept: None, folder: false, volume: false };
    const PROCESS: Present = Present { kept: Some(Choice::Process), folder: true, volume: false };
    const FOLDER: Present = Present { kept: Some(Choice::Docker(Keep::Folder)), folder: true, volume: false };
    const VOLUME: Present = Present { kept: Some(Choice::Docker(Keep::Volume)), folder: false, volume: true };

    #[test]
    fn the_first_up_takes_docker_where_an_engine_answers() {
        let usual = Choice::Docker(Keep::usual()).to_string();
        assert_eq!(chosen(None, false, NOTHING, true), usual);
        assert_eq!(chosen(None, false, NOTHING, false), "process");
        assert_eq!(chosen(None, true, NOTHING, false), "docker volume");
        assert_eq!(chosen(Some(Engine::Process), false, NOTHING, true), "process");
        assert_eq!(chosen(Some(Engine::Docker), false, NOTHING, false), usual);
    }

    #[test]
    fn the_choice_stays_whether_an_engine_answers_or_not() {
        for answers in [false, true] {
            assert_eq!(chosen(None, false, PROCESS, answers), "process");
            assert_eq!(chosen(None, false, FOLDER, answers), "docker");
            assert_eq!(chosen(None, false, VOLUME, answers), "docker volume");
        }
    }

    #[test]
    fn a_store_in_the_folder_goes_with_either_engine() {
        assert_eq!(chosen(Some(Engine::Docker), false, PROCESS, true), "docker");
        assert_eq!(chosen(Some(Engine::Process), false, FOLDER, true), "process");
    }

    #[test]
    fn a_store_is_never_left_behind_for_an_empty_one() {
        assert_eq!(chosen(Some(Engine::Process), false, VOLUME, true), "engine-mismatch");
        assert_eq!(chosen(None, true, FOLDER, true), "engine-mismatch");
        assert_eq!(chosen(None, true, PROCESS, true), "engine-mismatch");
        assert_eq!(chosen(Some(Engine::Docker), false, VOLUME, true), "docker volume");
        let forgotten = Present { kept: None, ..VOLUME };
        assert_eq!(chosen(None, false, forgotten, true), "docker volume");
        assert_eq!(chosen(Some(Engine::Process), false, forgotten, true), "engine-mismatch");
        let forgotten = Present { kept: None, ..FOLDER };
        assert_eq!(chosen(None, false, forgotten, true), "docker");
        assert_eq!(chosen(None, false, forgotten, false), "process");
    }

    #[test]
    fn a_choice_is_read_as_it_is_written() {
        for choice in [Choice::Process, Choice::Docker(Keep::Folder), Choice::Docker(Keep::Volume)] {
            assert_eq!(Choice::parse(&format!("{choice}\n")), Some(choice));
        }
        assert_eq!(Choice::parse("podman"), None);
    }
}
