//! A file system in memory: what is there now, what an operation would do, and the errors that POSIX asks for.

use std::collections::BTreeMap;

use crate::content::{Content, Extent};
use crate::log::{Ino, Name, Op, ROOT};

/// The longest name, as on ext4.
pub const NAME_MAX: usize = 255;

/// The entries of a directory.
pub type Entries = BTreeMap<Name, Ino>;

/// A file or directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inode {
    /// Permission bits.
    pub mode: u32,
    /// Owner and group.
    pub owner: (u32, u32),
    /// How many names it has; 0 for a file that only open handles still know.
    pub links: u32,
    /// When its content last changed, in nanoseconds since the recording began.
    pub changed_ns: u64,
    /// What it holds.
    pub body: Body,
}

/// What a file or directory holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// Bytes.
    File(Content),
    /// Entries.
    Dir {
        /// The directory that it is in.
        parent: Ino,
        /// What is in it.
        entries: Entries,
    },
}

/// Why an operation cannot be done; each is an errno of POSIX.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// ENOENT
    #[error("no such file or directory")]
    NotFound,
    /// EEXIST
    #[error("file exists")]
    Exists,
    /// ENOTDIR
    #[error("not a directory")]
    NotDir,
    /// EISDIR
    #[error("is a directory")]
    IsDir,
    /// ENOTEMPTY
    #[error("directory not empty")]
    NotEmpty,
    /// EINVAL
    #[error("invalid argument")]
    Invalid,
    /// ENAMETOOLONG
    #[error("file name too long")]
    NameTooLong,
    /// EPERM
    #[error("operation not permitted")]
    NotPermitted,
}

/// How a rename treats what has the new name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RenameMode {
    /// It is replaced.
    #[default]
    Replace,
    /// RENAME_NOREPLACE: it must not be there.
    NoReplace,
    /// RENAME_EXCHANGE: it gets the old name.
    Exchange,
}

/// A file system in memory. The methods that name an operation check it and return it; [`Image::apply`] makes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    inodes: Vec<Option<Inode>>,
}

impl Default for Image {
    fn default() -> Self {
        let root = Inode {
            mode: 0o755,
            owner: (0, 0),
            links: 2,
            changed_ns: 0,
            body: Body::Dir { parent: ROOT, entries: Entries::new() },
        };
        Image { inodes: vec![None, Some(root)] }
    }
}

impl Image {
    /// The inode `ino`.
    #[must_use]
    pub fn inode(&self, ino: Ino) -> Option<&Inode> {
        self.inodes.get(ino as usize)?.as_ref()
    }

    fn inode_mut(&mut self, ino: Ino) -> Option<&mut Inode> {
        self.inodes.get_mut(ino as usize)?.as_mut()
    }

    /// The number that the next new inode has.
    #[must_use]
    pub fn next_ino(&self) -> Ino {
        self.inodes.len() as Ino
    }

    /// How many inodes can still be reached by a name.
    #[must_use]
    pub fn inode_count(&self) -> usize {
        self.inodes.iter().flatten().filter(|i| i.links > 0).count()
    }

    /// The entries of the directory `ino`.
    #[must_use]
    pub fn entries(&self, ino: Ino) -> Option<&Entries> {
        match &self.inode(ino)?.body {
            Body::Dir { entries, .. } => Some(entries),
            Body::File(_) => None,
        }
    }

    pub(crate) fn entries_mut(&mut self, ino: Ino) -> Option<&mut Entries> {
        match &mut self.inode_mut(ino)?.body {
            Body::Dir { entries, .. } => Some(entries),
            Body::File(_) => None,
        }
    }

    /// The content of the file `ino`.
    #[must_use]
    pub fn content(&self, ino: Ino) -> Option<&Content> {
        match &self.inode(ino)?.body {
            Body::File(content) => Some(content),
            Body::Dir { .. } => None,
        }
    }

    pub(crate) fn content_mut(&mut self, ino: Ino) -> Option<&mut Content> {
        match &mut self.inode_mut(ino)?.body {
            Body::File(content) => Some(content),
            Body::Dir { .. } => None,
        }
    }

    /// The directory that the directory `ino` is in.
    #[must_use]
    pub fn parent(&self, ino: Ino) -> Option<Ino> {
        match &self.inode(ino)?.body {
            Body::Dir { parent, .. } => Some(*parent),
            Body::File(_) => None,
        }
    }

    /// The inode at `path`, relative to the root; the root itself where `path` is empty.
    #[must_use]
    pub fn resolve(&self, path: &str) -> Option<Ino> {
        path.split('/')
            .filter(|p| !p.is_empty())
            .try_fold(ROOT, |dir, name| self.entries(dir)?.get(name).copied())
    }

    /// Finds `name` in the directory `dir`.
    ///
    /// # Errors
    /// Where there is no such directory or no such name.
    pub fn lookup(&self, dir: Ino, name: &str) -> Result<Ino, Refusal> {
        self.dir(dir)?.get(name).copied().ok_or(Refusal::NotFound)
    }

    fn dir(&self, ino: Ino) -> Result<&Entries, Refusal> {
        let inode = self.inode(ino).filter(|i| i.links > 0).ok_or(Refusal::NotFound)?;
        match &inode.body {
            Body::Dir { entries, .. } => Ok(entries),
            Body::File(_) => Err(Refusal::NotDir),
        }
    }

    fn free_name(&self, dir: Ino, name: &str) -> Result<Name, Refusal> {
        if name.len() > NAME_MAX {
            return Err(Refusal::NameTooLong);
        }
        if self.dir(dir)?.contains_key(name) {
            return Err(Refusal::Exists);
        }
        Ok(name.into())
    }

    /// A new file.
    ///
    /// # Errors
    /// As open(2) with O_CREAT and O_EXCL.
    pub fn create(&self, dir: Ino, name: &str, mode: u32, owner: (u32, u32)) -> Result<Op, Refusal> {
        let name = self.free_name(dir, name)?;
        Ok(Op::Create { dir, name, ino: self.next_ino(), mode: mode & 0o7777, owner })
    }

    /// A new directory.
    ///
    /// # Errors
    /// As mkdir(2).
    pub fn mkdir(&self, dir: Ino, name: &str, mode: u32, owner: (u32, u32)) -> Result<Op, Refusal> {
        let name = self.free_name(dir, name)?;
        Ok(Op::Mkdir { dir, name, ino: self.next_ino(), mode: mode & 0o7777, owner })
    }

    /// Another name for a file.
    ///
    /// # Errors
    /// As link(2).
    pub fn link(&self, ino: Ino, dir: Ino, name: &str) -> Result<Op, Refusal> {
        let inode = self.inode(ino).filter(|i| i.links > 0).ok_or(Refusal::NotFound)?;
        if matches!(inode.body, Body::Dir { .. }) {
            return Err(Refusal::NotPermitted);
        }
        let name = self.free_name(dir, name)?;
        Ok(Op::Link { ino, dir, name })
    }

    /// A name of a file removed.
    ///
    /// # Errors
    /// As unlink(2) on Linux: EISDIR for a directory.
    pub fn unlink(&self, dir: Ino, name: &str) -> Result<Op, Refusal> {
        let ino = self.lookup(dir, name)?;
        if self.entries(ino).is_some() {
            return Err(Refusal::IsDir);
        }
        Ok(Op::Unlink { dir, name: name.into(), ino })
    }

    /// An empty directory removed.
    ///
    /// # Errors
    /// As rmdir(2).
    pub fn rmdir(&self, dir: Ino, name: &str) -> Result<Op, Refusal> {
        let ino = self.lookup(dir, name)?;
        let entries = self.entries(ino).ok_or(Refusal::NotDir)?;
        if !entries.is_empty() {
            return Err(Refusal::NotEmpty);
        }
        Ok(Op::Rmdir { dir, name: name.into(), ino })
    }

    /// A name moved. `None` where both names are of the same file: then there is nothing to do.
    ///
    /// # Errors
    /// As renameat2(2).
    pub fn rename(
        &self,
        (from_dir, from): (Ino, &str),
        (to_dir, to): (Ino, &str),
        mode: RenameMode,
    ) -> Result<Option<Op>, Refusal> {
        let ino = self.lookup(from_dir, from)?;
        if to.len() > NAME_MAX {
            return Err(Refusal::NameTooLong);
        }
        let replaced = self.dir(to_dir)?.get(to).copied();
        let is_dir = self.entries(ino).is_some();
        if is_dir && self.is_below(to_dir, ino) {
            return Err(Refusal::Invalid);
        }
        match (mode, replaced) {
            (RenameMode::NoReplace, Some(_)) => return Err(Refusal::Exists),
            (RenameMode::Exchange, None) => return Err(Refusal::NotFound),
            (_, Some(other)) if other == ino => return Ok(None),
            (RenameMode::Exchange, Some(other)) => {
                if self.entries(other).is_some() && self.is_below(from_dir, other) {
                    return Err(Refusal::Invalid);
                }
            }
            (_, Some(other)) => match (is_dir, self.entries(other)) {
                (true, None) => return Err(Refusal::NotDir),
                (false, Some(_)) => return Err(Refusal::IsDir),
                (true, Some(entries)) if !entries.is_empty() => return Err(Refusal::NotEmpty),
                _ => {}
            },
            (_, None) => {}
        }
        Ok(Some(Op::Rename {
            from_dir,
            from: from.into(),
            to_dir,
            to: to.into(),
            ino,
            replaced,
            exchange: mode == RenameMode::Exchange,
        }))
    }

    fn is_below(&self, mut dir: Ino, above: Ino) -> bool {
        loop {
            if dir == above {
                return true;
            }
            match self.parent(dir) {
                Some(parent) if parent != dir => dir = parent,
                _ => return false,
            }
        }
    }

    /// Makes an operation; what it names and is not there (half of a crash state) is passed over.
    pub fn apply(&mut self, at_ns: u64, op: &Op) {
        match op {
            Op::Write { ino, off, len, src, .. } => {
                if let Some(content) = self.content_mut(*ino) {
                    content.put(Extent { off: *off, len: u64::from(*len), src: *src });
                }
                self.touch(at_ns, *ino);
            }
            Op::Truncate { ino, size } => {
                if let Some(content) = self.content_mut(*ino) {
                    content.resize(*size);
                }
                self.touch(at_ns, *ino);
            }
            Op::Fallocate { ino, off, len, keep_size } => {
                if let (false, Some(content)) = (keep_size, self.content_mut(*ino)) {
                    content.grow(off + len);
                }
                self.touch(at_ns, *ino);
            }
            Op::Create { dir, name, ino, mode, owner } => {
                self.add(at_ns, *ino, *mode, *owner, Body::File(Content::default()));
                self.enter(at_ns, *dir, name, *ino);
            }
            Op::Mkdir { dir, name, ino, mode, owner } => {
                self.add(at_ns, *ino, *mode, *owner, Body::Dir { parent: *dir, entries: Entries::new() });
                self.enter(at_ns, *dir, name, *ino);
            }
            Op::Link { ino, dir, name } => {
                if let Some(inode) = self.inode_mut(*ino) {
                    inode.links += 1;
                }
                self.enter(at_ns, *dir, name, *ino);
            }
            Op::Unlink { dir, name, ino } | Op::Rmdir { dir, name, ino } => {
                self.leave(at_ns, *dir, name);
                self.unname(*ino);
            }
            Op::Rename { from_dir, from, to_dir, to, ino, replaced, exchange } => {
                self.leave(at_ns, *from_dir, from);
                self.enter(at_ns, *to_dir, to, *ino);
                self.set_parent(*ino, *to_dir);
                match replaced {
                    Some(other) if *exchange => {
                        self.enter(at_ns, *from_dir, from, *other);
                        self.set_parent(*other, *from_dir);
                    }
                    Some(other) => self.unname(*other),
                    None => {}
                }
            }
            Op::SetAttr { ino, mode, owner } => {
                if let Some(inode) = self.inode_mut(*ino) {
                    inode.mode = *mode & 0o7777;
                    inode.owner = *owner;
                }
            }
            Op::Close { .. } | Op::Fsync { .. } | Op::FsyncDir { .. } | Op::Settle => {}
        }
    }

    /// Adds an inode that has no name yet.
    pub(crate) fn add(&mut self, at_ns: u64, ino: Ino, mode: u32, owner: (u32, u32), body: Body) {
        let at = ino as usize;
        if self.inodes.len() <= at {
            self.inodes.resize_with(at + 1, || None);
        }
        let links = if matches!(body, Body::Dir { .. }) { 2 } else { 1 };
        self.inodes[at] = Some(Inode { mode, owner, links, changed_ns: at_ns, body });
    }

    fn touch(&mut self, at_ns: u64, ino: Ino) {
        if let Some(inode) = self.inode_mut(ino) {
            inode.changed_ns = at_ns;
        }
    }

    fn enter(&mut self, at_ns: u64, dir: Ino, name: &Name, ino: Ino) {
        if let Some(entries) = self.entries_mut(dir) {
            entries.insert(name.clone(), ino);
        }
        self.touch(at_ns, dir);
    }

    fn leave(&mut self, at_ns: u64, dir: Ino, name: &Name) {
        if let Some(entries) = self.entries_mut(dir) {
            entries.remove(name);
        }
        self.touch(at_ns, dir);
    }

    fn unname(&mut self, ino: Ino) {
        if let Some(inode) = self.inode_mut(ino) {
            inode.links =
                if matches!(inode.body, Body::Dir { .. }) { 0 } else { inode.links.saturating_sub(1) };
        }
    }

    fn set_parent(&mut self, ino: Ino, to: Ino) {
        if let Some(Inode { body: Body::Dir { parent, .. }, .. }) = self.inode_mut(ino) {
            *parent = to;
        }
    }
}
