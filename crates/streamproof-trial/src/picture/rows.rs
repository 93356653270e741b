//! The messages of a picture as rows in a file: sequence, time, hashes, subject; written and read one after the other.
//!
//! A file begins with [`MAGIC`] and ends with a footer (an empty row, the number of rows, a CRC-32 of all before): a file that
//! was cut off is not taken for a short stream.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;

/// What a file of rows begins with.
pub const MAGIC: &[u8; 8] = b"sprows1\n";

/// A subject is at most so long; the server's own bound on a control line is lower.
const SUBJECT_MAX: u64 = 1 << 20;

/// One message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Row {
    /// Its sequence.
    pub seq: u64,
    /// When it was stored, in ns since 1970.
    pub time_ns: i64,
    /// A hash of its body: the first half of its SHA-256.
    pub body: [u8; 16],
    /// A hash of its headers; 0 where it has none.
    pub headers: u64,
    /// The size of subject, headers and body together.
    pub size: u64,
    /// Its time to live.
    pub ttl: Ttl,
    /// What it does to older messages, or to itself.
    pub role: Role,
    /// Its subject.
    pub subject: String,
}

/// The time to live of a message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Ttl {
    /// As the stream says.
    #[default]
    Stream,
    /// So many seconds.
    Seconds(u64),
    /// It is exempt from `max_age`.
    Never,
}

/// What a message does by itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Role {
    /// Nothing.
    #[default]
    Plain,
    /// It took the place of all older ones on its subject (`Nats-Rollup: sub`).
    RollsSubject,
    /// It took the place of all older ones (`Nats-Rollup: all`).
    RollsAll,
    /// The server turns it into another message when it is due (`Nats-Schedule`).
    Schedule,
}

/// Writes rows.
#[derive(Debug)]
pub struct Writer {
    file: BufWriter<File>,
    crc: crc32fast::Hasher,
    count: u64,
    last_seq: u64,
    last_subject: String,
    buffer: Vec<u8>,
}

impl Writer {
    /// Begins a file.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn create(path: &Path) -> io::Result<Writer> {
        let mut file = BufWriter::with_capacity(256 * 1024, File::create(path)?);
        file.write_all(MAGIC)?;
        Ok(Writer {
            file,
            crc: crc32fast::Hasher::new(),
            count: 0,
            last_seq: 0,
            last_subject: String::new(),
            buffer: Vec::new(),
        })
    }

    /// Writes a row; sequences ascend.
    ///
    /// # Errors
    /// If it cannot be written, or does not ascend.
    pub fn write(&mut self, row: &Row) -> io::Result<()> {
        let step = row.seq.checked_sub(self.last_seq).filter(|step| *step > 0).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("the server gave sequence {} after {}", row.seq, self.last_seq),
            )
        })?;
        self.buffer.clear();
        varint(&mut self.buffer, step);
        let same = row.subject == self.last_subject;
        let role = match row.role {
            Role::Plain => 0,
            Role::RollsSubject => 1,
            Role::RollsAll => 2,
            Role::Schedule => 3,
        };
        let (ttl, seconds) = match row.ttl {
            Ttl::Stream => (0, 0),
            Ttl::Seconds(seconds) => (1, seconds),
            Ttl::Never => (2, 0),
        };
        self.buffer.push(u8::from(same) | role << 1 | ttl << 3);
        self.buffer.extend_from_slice(&row.time_ns.to_le_bytes());
        self.buffer.extend_from_slice(&row.body);
        self.buffer.extend_from_slice(&row.headers.to_le_bytes());
        varint(&mut self.buffer, row.size);
        if ttl == 1 {
            varint(&mut self.buffer, seconds);
        }
        if !same {
            varint(&mut self.buffer, row.subject.len() as u64);
            self.buffer.extend_from_slice(row.subject.as_bytes());
            self.last_subject.clone_from(&row.subject);
        }
        self.crc.update(&self.buffer);
        self.file.write_all(&self.buffer)?;
        self.last_seq = row.seq;
        self.count += 1;
        Ok(())
    }

    /// How many rows there are so far.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The sequence of the last row.
    #[must_use]
    pub fn last_seq(&self) -> u64 {
        self.last_seq
    }

    /// Ends the file.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn finish(mut self) -> io::Result<()> {
        self.buffer.clear();
        varint(&mut self.buffer, 0);
        varint(&mut self.buffer, self.count);
        self.crc.update(&self.buffer);
        self.file.write_all(&self.buffer)?;
        self.file.write_all(&self.crc.finalize().to_le_bytes())?;
        self.file.flush()
    }
}

/// Reads rows.
#[derive(Debug)]
pub struct Reader {
    file: BufReader<File>,
    crc: crc32fast::Hasher,
    count: u64,
    seq: u64,
    subject: String,
    ended: bool,
}

impl Reader {
    /// Opens a file.
    ///
    /// # Errors
    /// No such file, or another kind of file.
    pub fn open(path: &Path) -> io::Result<Reader> {
        let mut file = BufReader::with_capacity(256 * 1024, File::open(path)?);
        let mut magic = [0; 8];
        file.read_exact(&mut magic)?;
        if magic != *MAGIC {
            return Err(damaged());
        }
        let crc = crc32fast::Hasher::new();
        Ok(Reader { file, crc, count: 0, seq: 0, subject: String::new(), ended: false })
    }

    /// The next row; `None` after the last one.
    ///
    /// # Errors
    /// A file that is cut off or damaged.
    #[expect(clippy::should_implement_trait, reason = "it can fail, and after a failure there is no next")]
    pub fn next(&mut self) -> io::Result<Option<Row>> {
        if self.ended {
            return Ok(None);
        }
        let step = self.varint()?;
        if step == 0 {
            let count = self.varint()?;
            let expected = std::mem::take(&mut self.crc).finalize();
            let mut crc = [0; 4];
            self.file.read_exact(&mut crc)?;
            if count != self.count || u32::from_le_bytes(crc) != expected {
                return Err(damaged());
            }
            self.ended = true;
            return Ok(None);
        }
        self.seq = self.seq.checked_add(step).ok_or_else(damaged)?;
        self.count += 1;
        let [flags] = self.bytes()?;
        let time_ns = i64::from_le_bytes(self.bytes()?);
        let body = self.bytes()?;
        let headers = u64::from_le_bytes(self.bytes()?);
        let size = self.varint()?;
        let ttl = match flags >> 3 & 3 {
            0 => Ttl::Stream,
            1 => Ttl::Seconds(self.varint()?),
            _ => Ttl::Never,
        };
        let role = match flags >> 1 & 3 {
            0 => Role::Plain,
            1 => Role::RollsSubject,
            2 => Role::RollsAll,
            _ => Role::Schedule,
        };
        if flags & 1 == 0 {
            let length = self.varint()?;
            if length > SUBJECT_MAX {
                return Err(damaged());
            }
            let mut subject = vec![0; length as usize];
            self.file.read_exact(&mut subject)?;
            self.crc.update(&subject);
            self.subject = String::from_utf8(subject).map_err(|_| damaged())?;
        }
        let subject = self.subject.clone();
        Ok(Some(Row { seq: self.seq, time_ns, body, headers, size, ttl, role, subject }))
    }

    fn bytes<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.file.read_exact(&mut bytes)?;
        self.crc.update(&bytes);
        Ok(bytes)
    }

    fn varint(&mut self) -> io::Result<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let [byte] = self.bytes()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(damaged())
    }
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the rows of a picture are damaged or cut off")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<Row> {
        let row = |seq, subject: &str, ttl, role| Row {
            seq,
            time_ns: 1_700_000_000_000_000_000_i64.wrapping_add(seq as i64),
            body: [seq as u8; 16],
            headers: seq,
            size: seq / 2,
            ttl,
            role,
            subject: subject.to_owned(),
        };
        vec![
            row(3, "a.b", Ttl::Stream, Role::Plain),
            row(4, "a.b", Ttl::Seconds(3600), Role::RollsSubject),
            row(400, "ä", Ttl::Never, Role::RollsAll),
            row(u64::MAX, "", Ttl::Stream, Role::Schedule),
        ]
    }

    #[test]
    fn rows_are_read_as_they_were_written_and_a_cut_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rows");
        let mut writer = Writer::create(&path).unwrap();
        for row in rows() {
            writer.write(&row).unwrap();
        }
        assert!(writer.write(&Row { seq: 7, ..Row::default() }).is_err(), "sequences ascend");
        writer.finish().unwrap();
        let read = |path: &Path| -> io::Result<Vec<Row>> {
            let mut reader = Reader::open(path)?;
            let mut rows = Vec::new();
            while let Some(row) = reader.next()? {
                rows.push(row);
            }
            assert_eq!(reader.next()?, None);
            Ok(rows)
        };
        assert_eq!(read(&path).unwrap(), rows());
        let bytes = std::fs::read(&path).unwrap();
        for length in 0..bytes.len() {
            std::fs::write(&path, &bytes[..length]).unwrap();
            assert!(read(&path).is_err(), "cut off at {length}");
        }
        for at in 0..bytes.len() {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1;
            std::fs::write(&path, &bytes).unwrap();
            assert!(read(&path).is_err(), "damaged at {at}");
        }
    }
}
