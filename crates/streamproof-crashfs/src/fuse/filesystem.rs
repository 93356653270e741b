//! The requests of the kernel, each as a checked change of the file system in memory and a line of the log.
//!
//! Settings that were measured: `getxattr` answers ENOSYS, which the kernel asks once (ENODATA is asked again at each
//! write); no writeback cache (it merges writes, so the log would not see them); direct I/O (a write arrives whole, and
//! a shared mapping, whose writes would arrive late, is refused); one thread (faster than two, and a total order).

use std::ffi::OsStr;
use std::io;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use fuser::{
    AccessFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    KernelConfig, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};
use rustix::fs::OFlags;

use super::mount::{Shared, State};
use crate::image::{Body, Image, Refusal, RenameMode};
use crate::log::{Ino, Op, WriteSync};

/// How long the kernel may keep names and attributes: nothing changes behind its back.
const TTL: Duration = Duration::from_secs(3600);

/// The size of a block that is reported, in bytes.
const BLOCK: u32 = 4096;

pub(super) struct CrashFs {
    shared: Arc<Shared>,
    buffer: std::sync::Mutex<Vec<u8>>,
}

impl CrashFs {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        CrashFs { shared, buffer: std::sync::Mutex::default() }
    }

    /// Makes a change: checked on the live file system, recorded, refused when the power is already gone.
    fn change(&self, check: impl FnOnce(&Image) -> Result<Option<Op>, Errno>) -> Result<Changed<'_>, Errno> {
        let mut state = self.shared.state();
        let at_ns = self.shared.alive(&state)?;
        if let Some(op) = check(state.recorder.live())? {
            state.recorder.record(at_ns, op);
        }
        Ok(Changed { state })
    }

    fn attr(&self, image: &Image, ino: Ino) -> Result<FileAttr, Errno> {
        let inode = image.inode(ino).ok_or(Errno::ENOENT)?;
        let (kind, size) = match &inode.body {
            Body::File(content) => (FileType::RegularFile, content.size()),
            Body::Dir { .. } => (FileType::Directory, u64::from(BLOCK)),
        };
        let time = UNIX_EPOCH + self.shared.wall_origin + Duration::from_nanos(inode.changed_ns);
        Ok(FileAttr {
            ino: INodeNo(ino),
            size,
            blocks: size.div_ceil(512),
            atime: time,
            mtime: time,
            ctime: time,
            crtime: time,
            kind,
            perm: inode.mode as u16,
            nlink: inode.links,
            uid: inode.owner.0,
            gid: inode.owner.1,
            rdev: 0,
            blksize: BLOCK,
            flags: 0,
        })
    }

    fn entry(
        &self,
        done: Result<Changed<'_>, Errno>,
        ino: impl FnOnce(&Image) -> Option<Ino>,
        reply: ReplyEntry,
    ) {
        let attr = done.and_then(|changed| {
            let image = changed.state.recorder.live();
            self.attr(image, ino(image).ok_or(Errno::ENOENT)?)
        });
        match attr {
            Ok(attr) => reply.entry(&TTL, &attr, Generation(0)),
            Err(e) => reply.error(e),
        }
    }
}

struct Changed<'a> {
    state: std::sync::MutexGuard<'a, State>,
}

fn errno(refusal: Refusal) -> Errno {
    match refusal {
        Refusal::NotFound => Errno::ENOENT,
        Refusal::Exists => Errno::EEXIST,
        Refusal::NotDir => Errno::ENOTDIR,
        Refusal::IsDir => Errno::EISDIR,
        Refusal::NotEmpty => Errno::ENOTEMPTY,
        Refusal::Invalid => Errno::EINVAL,
        Refusal::NameTooLong => Errno::ENAMETOOLONG,
        Refusal::NotPermitted => Errno::EPERM,
    }
}

fn utf8(name: &OsStr) -> Result<&str, Errno> {
    name.to_str().ok_or(Errno::EILSEQ)
}

fn empty(done: Result<Changed<'_>, Errno>, reply: ReplyEmpty) {
    match done {
        Ok(_) => reply.ok(),
        Err(e) => reply.error(e),
    }
}

/// `O_DSYNC` and `O_SYNC` as the kernel has them (include/uapi/asm-generic/fcntl.h): the latter holds the bit of the former. rustix
/// has the bits of `O_SYNC` for both, so that a write with `O_DSYNC` alone would be taken for one without any.
const O_DSYNC: i32 = 0o10_000;
const O_SYNC: i32 = 0o4_010_000;

fn sync_of(flags: OpenFlags) -> WriteSync {
    match flags.0 & O_SYNC {
        O_SYNC => WriteSync::Full,
        O_DSYNC => WriteSync::Data,
        _ => WriteSync::None,
    }
}

fn is_writable(flags: OpenFlags) -> bool {
    flags.0 as u32 & (OFlags::WRONLY | OFlags::RDWR).bits() != 0
}

impl Filesystem for CrashFs {
    fn init(&mut self, _req: &Request, _config: &mut KernelConfig) -> io::Result<()> {
        Ok(())
    }

    fn lookup(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let state = self.shared.state();
        let image = state.recorder.live();
        let attr = utf8(name)
            .and_then(|name| image.lookup(parent.0, name).map_err(errno))
            .and_then(|ino| self.attr(image, ino));
        match attr {
            Ok(attr) => reply.entry(&TTL, &attr, Generation(0)),
            Err(e) => reply.error(e),
        }
    }

    fn getattr(&self, _req: &Request, ino: INodeNo, _fh: Option<FileHandle>, reply: ReplyAttr) {
        match self.attr(self.shared.state().recorder.live(), ino.0) {
            Ok(attr) => reply.attr(&TTL, &attr),
            Err(e) => reply.error(e),
        }
    }

    fn setattr(
        &self,
        _req: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        _mtime: Option<TimeOrNow>,
        _ctime: Option<std::time::SystemTime>,
        _fh: Option<FileHandle>,
        _crtime: Option<std::time::SystemTime>,
        _chgtime: Option<std::time::SystemTime>,
        _bkuptime: Option<std::time::SystemTime>,
        _flags: Option<fuser::BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let done = self.change(|image| {
            let inode = image.inode(ino.0).ok_or(Errno::ENOENT)?;
            match size {
                Some(_) if matches!(inode.body, Body::Dir { .. }) => Err(Errno::EISDIR),
                Some(size) => Ok(Some(Op::Truncate { ino: ino.0, size })),
                None if mode.is_some() || uid.is_some() || gid.is_some() => Ok(Some(Op::SetAttr {
                    ino: ino.0,
                    mode: mode.unwrap_or(inode.mode) & 0o7777,
                    owner: (uid.unwrap_or(inode.owner.0), gid.unwrap_or(inode.owner.1)),
                })),
                // Times are not part of a crash state.
                None => Ok(None),
            }
        });
        match done.and_then(|changed| self.attr(changed.state.recorder.live(), ino.0)) {
            Ok(attr) => reply.attr(&TTL, &attr),
            Err(e) => reply.error(e),
        }
    }

    fn mkdir(&self, req: &Request, parent: INodeNo, name: &OsStr, mode: u32, umask: u32, reply: ReplyEntry) {
        let done = self.change(|image| {
            image.mkdir(parent.0, utf8(name)?, mode & !umask, (req.uid(), req.gid())).map(Some).map_err(errno)
        });
        self.entry(done, |image| image.lookup(parent.0, name.to_str()?).ok(), reply);
    }

    fn unlink(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        empty(self.change(|image| image.unlink(parent.0, utf8(name)?).map(Some).map_err(errno)), reply);
    }

    fn rmdir(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        empty(self.change(|image| image.rmdir(parent.0, utf8(name)?).map(Some).map_err(errno)), reply);
    }

    fn rename(
        &self,
        _req: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let done = self.change(|image| {
            let mode = if flags.is_empty() {
                RenameMode::Replace
            } else if flags == RenameFlags::RENAME_NOREPLACE {
                RenameMode::NoReplace
            } else if flags == RenameFlags::RENAME_EXCHANGE {
                RenameMode::Exchange
            } else {
                return Err(Errno::EINVAL);
            };
            image.rename((parent.0, utf8(name)?), (newparent.0, utf8(newname)?), mode).map_err(errno)
        });
        empty(done, reply);
    }

    fn link(&self, _req: &Request, ino: INodeNo, newparent: INodeNo, newname: &OsStr, reply: ReplyEntry) {
        let done =
            self.change(|image| image.link(ino.0, newparent.0, utf8(newname)?).map(Some).map_err(errno));
        self.entry(done, |_| Some(ino.0), reply);
    }

    fn create(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let done = self.change(|image| {
            image
                .create(parent.0, utf8(name)?, mode & !umask, (req.uid(), req.gid()))
                .map(Some)
                .map_err(errno)
        });
        let attr = done.and_then(|changed| {
            let image = changed.state.recorder.live();
            let ino = image.lookup(parent.0, utf8(name)?).map_err(errno)?;
            self.attr(image, ino)
        });
        match attr {
            Ok(attr) => {
                self.shared.opened(attr.ino.0, is_writable(OpenFlags(flags)));
                reply.created(&TTL, &attr, Generation(0), FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
            }
            Err(e) => reply.error(e),
        }
    }

    fn open(&self, _req: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        self.shared.opened(ino.0, is_writable(flags));
        reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
    }

    fn release(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        if self.shared.closed(ino.0, is_writable(flags)) {
            // A dead file system closes without a trace.
            let _ = self.change(|_| Ok(Some(Op::Close { ino: ino.0 })));
        }
        reply.ok();
    }

    fn read(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let mut buffer = self.buffer.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        self.shared.state().recorder.read(ino.0, offset, size as usize, &mut buffer);
        reply.data(&buffer);
    }

    fn write(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let mut state = self.shared.state();
        match self.shared.alive(&state) {
            Ok(at_ns) => {
                // With direct I/O the kernel sends no fsync for an O_SYNC write: the flag is all there is.
                state.recorder.write(at_ns, ino.0, offset, data, sync_of(flags));
                self.shared.check_limit(&state);
                drop(state);
                reply.written(data.len() as u32);
            }
            Err(e) => {
                drop(state);
                reply.error(e);
            }
        }
    }

    fn flush(
        &self,
        _req: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        _lock_owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        // POSIX's close promises nothing.
        reply.ok();
    }

    fn fsync(&self, _req: &Request, ino: INodeNo, _fh: FileHandle, datasync: bool, reply: ReplyEmpty) {
        // ENOSYS, the default, would make the kernel report success for ever without asking.
        empty(self.change(|_| Ok(Some(Op::Fsync { ino: ino.0, datasync }))), reply);
    }

    fn fsyncdir(&self, _req: &Request, ino: INodeNo, _fh: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        empty(self.change(|_| Ok(Some(Op::FsyncDir { ino: ino.0 }))), reply);
    }

    fn fallocate(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        const FALLOC_FL_KEEP_SIZE: i32 = 1;
        let done = self.change(|_| match mode {
            0 | FALLOC_FL_KEEP_SIZE => {
                Ok(Some(Op::Fallocate { ino: ino.0, off: offset, len: length, keep_size: mode != 0 }))
            }
            _ => Err(Errno::EOPNOTSUPP),
        });
        empty(done, reply);
    }

    fn readdir(&self, _req: &Request, ino: INodeNo, _fh: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let state = self.shared.state();
        let image = state.recorder.live();
        let Some(entries) = image.entries(ino.0) else {
            reply.error(Errno::ENOTDIR);
            return;
        };
        // The offset of an entry is its inode's number, so that a removal while a directory is read skips nothing:
        // numbers are never used twice. `.` and `..` come first.
        let parent = image.parent(ino.0).unwrap_or(ino.0);
        let mut all: Vec<(u64, Ino, FileType, &str)> =
            vec![(1, ino.0, FileType::Directory, "."), (2, parent, FileType::Directory, "..")];
        let kind =
            |ino| if image.entries(ino).is_some() { FileType::Directory } else { FileType::RegularFile };
        let mut names: Vec<_> = entries.iter().collect();
        names.sort_by_key(|(_, ino)| **ino);
        // Hard links of one file share its number, so the place among them is added.
        let mut last = (0, 0);
        for (name, &child) in names {
            last = if last.0 == child { (child, last.1 + 1) } else { (child, 0) };
            all.push(((child + 2) << 16 | last.1, child, kind(child), name));
        }
        for (at, child, kind, name) in all {
            if at > offset && reply.add(INodeNo(child), at, kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, _req: &Request, _ino: INodeNo, reply: ReplyStatfs) {
        let state = self.shared.state();
        let total = self.shared.limit_bytes / u64::from(BLOCK);
        let used = state.recorder.log().memory_bytes() / u64::from(BLOCK);
        let free = total.saturating_sub(used);
        reply.statfs(total, free, free, 1 << 20, 1 << 20, BLOCK, 255, BLOCK);
    }

    fn access(&self, _req: &Request, _ino: INodeNo, _mask: AccessFlags, reply: ReplyEmpty) {
        reply.error(Errno::ENOSYS);
    }
}
