//! The write-ahead log after its last valid transaction.
//!
//! SQLite believes a write-ahead log up to the first frame whose sum does not fit, and takes the rest for a transaction
//! that the power cut short. There can be only one of those: each is made durable before the next one begins. Where more
//! than one follows, the log was damaged, and what SQLite would pass over had been acknowledged.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::Path;

use rusqlite::Connection;

/// The length of the header of the log, and of that of a frame.
const HEADER_BYTES: u64 = 32;
const FRAME_HEADER_BYTES: u64 = 24;
/// How many frames after the last valid one are looked at.
const FRAMES_MAX: u64 = 8_192;
/// How often it is looked at anew when somebody writes meanwhile.
const LOOKS_MAX: u32 = 10;

/// The first frame (from 1) of transactions that are there and are passed over.
pub(crate) fn passed_over(conn: &Connection, log: &Path) -> Result<Option<u64>, Fault> {
    for _ in 0..LOOKS_MAX {
        let valid = valid_frames(conn)?;
        let Some(tail) = Tail::read(log, valid)? else { return Ok(None) };
        // Somebody may have written in between; then it says nothing.
        if valid_frames(conn)? == valid && Head::read(log)?.is_some_and(|head| head == tail.head) {
            return Ok(tail.is_passed_over.then_some(valid + 1));
        }
    }
    // What is in use is not what a crash has left.
    Ok(None)
}

/// Why the log could not be looked at.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error(transparent)]
    Sql(#[from] rusqlite::Error),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// How many frames SQLite believes.
fn valid_frames(conn: &Connection) -> rusqlite::Result<u64> {
    let frames: i64 = conn.query_row("PRAGMA wal_checkpoint(NOOP)", [], |row| row.get(1))?;
    Ok(u64::try_from(frames).unwrap_or(0))
}

/// What of the log's header makes its frames its own.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Head {
    page_bytes: u32,
    salts: [u8; 8],
}

impl Head {
    fn read(log: &Path) -> io::Result<Option<Self>> {
        let file = match File::open(log) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        Self::of(&file)
    }

    fn of(file: &File) -> io::Result<Option<Self>> {
        let mut bytes = [0u8; HEADER_BYTES as usize];
        if !read_whole(file, &mut bytes, 0)? {
            return Ok(None);
        }
        let page_bytes = u32::from_be_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]);
        let mut salts = [0u8; 8];
        salts.copy_from_slice(&bytes[16..24]);
        Ok((page_bytes > 0).then_some(Self { page_bytes, salts }))
    }
}

/// The frames after the last valid one.
struct Tail {
    head: Head,
    /// Whether a transaction is whole and another one has begun after it.
    is_passed_over: bool,
}

impl Tail {
    fn read(log: &Path, valid: u64) -> io::Result<Option<Self>> {
        let file = match File::open(log) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let Some(head) = Head::of(&file)? else { return Ok(None) };
        let frame_bytes = FRAME_HEADER_BYTES + u64::from(head.page_bytes);
        let mut is_whole = false;
        for frame in valid..valid.saturating_add(FRAMES_MAX) {
            let mut bytes = [0u8; FRAME_HEADER_BYTES as usize];
            if !read_whole(&file, &mut bytes, HEADER_BYTES + frame * frame_bytes)? {
                break;
            }
            // Another salt is a frame of an earlier round of the log, or a damaged one.
            if bytes[8..16] != head.salts {
                continue;
            }
            if is_whole {
                return Ok(Some(Self { head, is_passed_over: true }));
            }
            // The last frame of a transaction says how large the database is then.
            is_whole = bytes[4..8] != [0; 4];
        }
        Ok(Some(Self { head, is_passed_over: false }))
    }
}

/// Fills `bytes` from `offset`; says whether the file has as many.
fn read_whole(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<bool> {
    match file.read_exact_at(bytes, offset) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}
