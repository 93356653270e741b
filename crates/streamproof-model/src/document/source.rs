//! A text and the places in it: lines, columns in characters, offsets in bytes.

use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::failure::Place;

/// A text with the name of its file, from which places are made.
#[derive(Debug, Clone)]
pub struct Source {
    file: PathBuf,
    text: String,
    /// Offset of the first byte of each line.
    lines: Vec<usize>,
    /// Characters before each block of [`BLOCK`] bytes, so that a column costs the same in a file of one long line.
    chars: Vec<usize>,
}

/// Small enough to count through for every place, large enough that the table is a small part of the text.
const BLOCK: usize = 256;

impl Source {
    /// A text and the name of its file, as the user would write it.
    #[must_use]
    pub fn new(file: impl Into<PathBuf>, text: impl Into<String>) -> Source {
        let text = text.into();
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        let chars = text.as_bytes().chunks(BLOCK).scan(0, |count, block| {
            let before = *count;
            *count += starts(block);
            Some(before)
        });
        let chars = chars.collect();
        Source { file: file.into(), text, lines, chars }
    }

    /// The name of the file.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The whole text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The place of a range of bytes; a range beyond the text is cut.
    #[must_use]
    pub fn place(&self, range: Range<usize>) -> Place {
        let offset = floor_char(&self.text, range.start);
        let end = floor_char(&self.text, range.end).max(offset);
        let line = self.lines.partition_point(|start| *start <= offset).max(1);
        let column = self.chars_before(offset) - self.chars_before(self.lines[line - 1]) + 1;
        Place {
            file: self.file.clone(),
            line: u32::try_from(line).unwrap_or(u32::MAX),
            column: u32::try_from(column).unwrap_or(u32::MAX),
            offset,
            length: end - offset,
        }
    }

    /// The file as a whole.
    #[must_use]
    pub fn whole(&self) -> Place {
        Place { file: self.file.clone(), line: 0, column: 0, offset: 0, length: 0 }
    }

    fn chars_before(&self, offset: usize) -> usize {
        let block = offset / BLOCK;
        match self.chars.get(block) {
            Some(before) => before + starts(&self.text.as_bytes()[block * BLOCK..offset]),
            None => {
                self.chars.last().copied().unwrap_or(0)
                    + starts(&self.text.as_bytes()[offset.saturating_sub(BLOCK)..offset])
            }
        }
    }

    /// The offset of a line and a column in bytes, both from 1.
    pub(super) fn offset(&self, line: usize, column: usize) -> usize {
        let start = self.lines.get(line.saturating_sub(1)).copied().unwrap_or(self.text.len());
        floor_char(&self.text, start + column.saturating_sub(1))
    }
}

/// The characters that start in a piece of UTF-8.
fn starts(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| (**byte as i8) >= -0x40).count()
}

fn floor_char(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}
