//! A node's log: its last lines, and what is added to them.

use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::ops::ControlFlow;
use std::sync::mpsc;
use std::time::Duration;

use super::Node;
use crate::disk::Doing;
use crate::engine::Engine;
use crate::error::ServerError;
use crate::poll::{self, Pace};
use crate::{container, spawn};

/// How often it is looked for more lines, and whether anybody still wants them.
const LOOK: Duration = Duration::from_millis(100);

impl Node {
    /// The last lines of its log.
    #[must_use]
    pub fn log_tail(&self, lines: usize) -> String {
        if self.engine() == Some(Engine::Docker) {
            return container::log_tail(self, lines);
        }
        spawn::tail(&self.log_path(), lines)
    }
}

/// Waits on a node's log for more lines, calling `line` with each; ends when `go_on` says so or the container is gone.
///
/// # Errors
/// [`ServerError::Disk`].
pub fn follow(
    node: &Node,
    from_lines: usize,
    line: impl FnMut(&str),
    go_on: impl FnMut() -> bool,
) -> Result<(), ServerError> {
    match node.engine() {
        Some(Engine::Docker) => follow_container(node, from_lines, line, go_on),
        _ => follow_file(node, from_lines, line, go_on),
    }
}

fn follow_file(
    node: &Node,
    from_lines: usize,
    mut line: impl FnMut(&str),
    mut go_on: impl FnMut() -> bool,
) -> Result<(), ServerError> {
    let path = node.log_path();
    let mut file = File::open(&path).doing("read", &path)?;
    // Where it ends is looked at first: what is written meanwhile is shown twice rather than not at all.
    file.seek(SeekFrom::End(0)).doing("read", &path)?;
    for text in node.log_tail(from_lines).lines() {
        line(text);
    }
    let mut reader = BufReader::new(file);
    let mut text = String::new();
    let mut read = || {
        loop {
            match reader.read_line(&mut text) {
                Ok(0) => return Ok(()),
                Ok(_) if text.ends_with('\n') => {
                    line(text.trim_end());
                    text.clear();
                }
                Ok(_) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    };
    let never = Duration::from_secs(u64::MAX / 4);
    let ended = poll::until_or(Pace::from(LOOK), never, || match read() {
        Err(error) => ControlFlow::Break(Err(error)),
        Ok(()) if go_on() => ControlFlow::Continue("more to come"),
        Ok(()) => ControlFlow::Break(read()),
    });
    match ended {
        Err(poll::Ended::Hopeless(error)) => Ok(Err(error).doing("read", &path)?),
        _ => Ok(()),
    }
}

fn follow_container(
    node: &Node,
    from_lines: usize,
    mut line: impl FnMut(&str),
    mut go_on: impl FnMut() -> bool,
) -> Result<(), ServerError> {
    let reader = container::log_reader(node, from_lines)?;
    let (sender, lines) = mpsc::channel();
    // It waits for a line as long as it takes, so it does so beside: dropping the reader ends the client, and that the thread.
    std::thread::scope(|scope| {
        let source = &reader;
        scope.spawn(move || {
            for text in BufReader::new(source).lines().map_while(Result::ok) {
                if sender.send(text).is_err() {
                    break;
                }
            }
        });
        loop {
            match lines.recv_timeout(LOOK) {
                Ok(text) => line(&text),
                Err(mpsc::RecvTimeoutError::Timeout) if go_on() => {}
                Err(_) => break,
            }
        }
        // What the client was still to say: nobody waits for it.
        let _ = reader.kill();
        for text in lines.try_iter() {
            line(&text);
        }
    });
    Ok(())
}
