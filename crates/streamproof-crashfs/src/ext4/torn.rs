//! The profile `torn`: of what is not surely durable, any part that may have reached the disk.

use super::{Ext4, Pending, apply};
use crate::content::Content;
use crate::image::Image;
use crate::log::{Ino, Log, Op};
use crate::profile::Grain;
use crate::seed::Random;
use crate::tree::{Node, Tree};

impl Ext4 {
    /// The profile `torn`: a commit that came earlier than it must, and any of the dirty pages.
    pub(crate) fn torn(&self, log: &Log, live_image: &Image, grain: Grain, random: &mut Random) -> Tree {
        let mut disk = self.disk.clone();
        let kept = random.below(self.pending.len() as u64 + 1) as usize;
        for pending in &self.pending[..kept] {
            apply(&mut disk, log, pending);
        }
        // What a truncation after that commit took away is still on disk, and what was written after it went to
        // blocks that only the next commit gives to the file.
        let truncated_later: Vec<Ino> = self.pending[kept..]
            .iter()
            .filter_map(|p| match p {
                Pending::Op(index) => match &log.entries()[*index].op {
                    Op::Truncate { ino, .. } => Some(*ino),
                    _ => None,
                },
                _ => None,
            })
            .collect();
        // A file is no longer than readers saw it before the first change that is not committed: sizes are metadata, too.
        let first_lost = self.pending[kept..].iter().find_map(|p| match p {
            Pending::Op(index) => Some(*index),
            _ => None,
        });
        let then = first_lost.map(|ops| {
            let mut then = log.base().clone();
            log.entries()[..ops].iter().for_each(|e| then.apply(e.at_ns, &e.op));
            then
        });
        let mut tree = Tree::of(&disk);
        for node in tree.nodes_mut().values_mut() {
            let Node::File { ino, content, .. } = node else { continue };
            let (Some(file), Some(live)) = (self.files.get(*ino as usize), live_image.content(*ino)) else {
                continue;
            };
            if truncated_later.contains(ino) {
                continue;
            }
            let seen = then.as_ref().unwrap_or(live_image).content(*ino).map_or(0, Content::size);
            let longest = content.size().max(seen);
            for flight in self.flights.iter().filter(|f| f.ino == *ino && random.one_in(2)) {
                flight.extents.iter().for_each(|e| content.put(*e));
            }
            for &(from, to) in file.dirty.runs() {
                let mut at = from;
                while at < to {
                    let end = to.min((at / grain.bytes() + 1) * grain.bytes());
                    if random.one_in(2) {
                        content.copy_range(live, at, end);
                    }
                    at = end;
                }
            }
            if content.size() > longest {
                content.resize(longest);
            }
        }
        tree
    }
}
