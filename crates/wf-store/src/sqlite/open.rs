//! Opening a database: where it lies, what it is, its settings, its schema. Whatever is not as it must be is refused.

use std::fs::{File, Permissions};
use std::io::{self, BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};

use super::{sums, wal};
use crate::OpenError;
use crate::files::{FILE_MODE, has_blobs, make_dirs, sync_dir};

/// The first SQLite whose write-ahead log cannot be corrupted by a reset (3.51.3). It is bundled, and asserted.
pub const SQLITE_VERSION_MIN: i32 = 3_051_003;

/// Marks a file as a store of ours ("whal").
const APPLICATION_ID: i64 = 0x7768_616c;
/// The schemas, oldest first; the version of the last is how many there are.
pub(crate) const MIGRATIONS: &[&str] = &[
    include_str!("schema_1.sql"),
    include_str!("schema_2.sql"),
    include_str!("schema_3.sql"),
    include_str!("schema_4.sql"),
];
/// The schema that this program writes.
pub const SCHEMA: i64 = MIGRATIONS.len() as i64;
/// What the names of databases begin with that are being made.
pub(crate) const NEW_PREFIX: &str = "new-";
/// What the names of copies begin with that are being made.
pub(crate) const BACKUP_PREFIX: &str = "backup-";
/// How often a statement asks again for a lock that another process holds. With the pauses of [`wait_for_lock`] it
/// gives up after some six seconds.
const LOCK_TRIES_MAX: i32 = 2_000;
/// After how many pages of write-ahead log its content is moved into the database (16 MiB).
const CHECKPOINT_PAGES: i64 = 4_000;
/// To what the write-ahead log is cut after it had to grow beyond.
const WAL_BYTES_KEPT: i64 = 32 << 20;
/// How much of the database each connection keeps in memory, in KiB.
const CACHE_KIB: i64 = 8_192;
/// How many prepared statements each connection keeps.
const STATEMENTS_MAX: usize = 64;

/// How many directories above a new store are made durable.
const ANCESTORS_SYNCED: usize = 4;
/// How many backups of one schema are kept at most; beyond, nothing is migrated until somebody has cleared them away.
const BACKUPS_MAX: u32 = 100;

/// How a SQLite store is opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqliteOptions {
    /// The most pages (of 4 KiB) that the database may have; beyond, every write answers `Unavailable`.
    pub pages_max: Option<u32>,
    /// The largest blob.
    pub blob_bytes_max: u64,
    /// The largest trace of one instance; the rest is dropped, with a marker.
    pub trace_bytes_max: u64,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        Self {
            pages_max: None,
            blob_bytes_max: crate::blob::BLOB_BYTES_MAX,
            trace_bytes_max: crate::trace::TRACE_BYTES_MAX,
        }
    }
}

/// Where a database lies, and all that is needed to open it again.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    path: PathBuf,
    pages_max: Option<u32>,
}

impl Place {
    /// Makes the database if it is not there, and brings its schema up to date.
    pub(crate) fn prepare(dir: &Path, options: &SqliteOptions) -> Result<(Self, Connection), OpenError> {
        let found = rusqlite::version_number();
        if found < SQLITE_VERSION_MIN {
            let detail = format!("SQLite {found} is older than {SQLITE_VERSION_MIN}");
            return Err(OpenError::Unsafe { detail });
        }
        let place = Self { path: dir.join("store.db"), pages_max: options.pages_max };
        make_file(&place.path)?;
        if place.path.symlink_metadata().map_err(io_fault)?.len() == 0 {
            // A new one appears with its tables.
            return Err(OpenError::Damaged { detail: "the database is empty".to_owned() });
        }
        let conn = place.writer()?;
        check_log(&conn, &place.path)?;
        migrate(&conn, &place, MIGRATIONS)?;
        make_found(&conn, dir)?;
        Ok((place, conn))
    }

    /// A connection that may write.
    pub(crate) fn writer(&self) -> Result<Connection, OpenError> {
        let conn = self.connect()?;
        if let Some(pages) = self.pages_max {
            conn.pragma_update(None, "max_page_count", pages).map_err(fault)?;
        }
        Ok(conn)
    }

    /// A connection that may write, after one that failed. What the failed one left in the write-ahead log may be in
    /// memory only, although it can be read: it is moved into the database, durably, before anything is built on it.
    pub(crate) fn writer_after_fault(&self) -> Result<Connection, OpenError> {
        let conn = self.writer()?;
        check_schema(&conn, SCHEMA)?;
        let busy: i64 = conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0)).map_err(fault)?;
        if busy != 0 {
            return Err(OpenError::Unavailable("the write-ahead log is in use".into()));
        }
        Ok(conn)
    }

    /// A connection that only reads.
    pub(crate) fn reader(&self) -> Result<Connection, OpenError> {
        let conn = self.connect()?;
        conn.pragma_update(None, "query_only", true).map_err(fault)?;
        Ok(conn)
    }

    fn connect(&self) -> Result<Connection, OpenError> {
        let metadata = self.path.symlink_metadata().map_err(io_fault)?;
        if !metadata.is_file() {
            return Err(OpenError::Unsafe { detail: format!("{} is not a file", self.path.display()) });
        }
        let conn = open_file(&self.path)?;
        configure(&conn)?;
        Ok(conn)
    }
}

/// Refuses a write-ahead log in which transactions are passed over, once: it is kept aside, and what is before them is
/// what the store has from then on.
fn check_log(conn: &Connection, path: &Path) -> Result<(), OpenError> {
    let log = path.with_extension("db-wal");
    let passed_over = wal::passed_over(conn, &log).map_err(|error| match error {
        wal::Fault::Sql(error) => fault(error),
        wal::Fault::Io(error) => io_fault(error),
    })?;
    let Some(frame) = passed_over else { return Ok(()) };
    let dir = path.parent().unwrap_or(Path::new("."));
    let mut copy = tempfile::Builder::new().prefix(BACKUP_PREFIX).tempfile_in(dir).map_err(io_fault)?;
    io::copy(&mut File::open(&log).map_err(io_fault)?, &mut copy).map_err(io_fault)?;
    copy.as_file().sync_all().map_err(io_fault)?;
    let kept = keep_aside(copy, path, "wal-damaged").map_err(io_fault)?;
    sync_dir(dir).map_err(io_fault)?;
    let busy: i64 = conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0)).map_err(fault)?;
    let kept = kept.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let next = if busy == 0 { "opened again, it goes on with what was written before" } else { "it is in use" };
    let detail =
        format!("the write-ahead log is damaged at frame {frame}, what was written after it is lost ({kept}); {next}");
    Err(OpenError::Damaged { detail })
}

/// Makes the names of a store durable that nobody has been told of yet: whoever makes it may not have come as far.
fn make_found(conn: &Connection, dir: &Path) -> Result<(), OpenError> {
    let is_used: bool = conn.query_row("SELECT EXISTS (SELECT 1 FROM runs)", [], |row| row.get(0)).map_err(fault)?;
    if is_used {
        return Ok(());
    }
    sync_dir(dir).map_err(io_fault)?;
    for above in dir.ancestors().skip(1).take(ANCESTORS_SYNCED).filter(|above| !above.as_os_str().is_empty()) {
        match sync_dir(above) {
            Ok(()) => {}
            // Somebody else's directory was there before.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
            Err(error) => return Err(io_fault(error)),
        }
    }
    Ok(())
}

/// The schema of the store in `dir`, whatever it is; none if there is no database.
pub(crate) fn schema_of(dir: &Path) -> Result<Option<i64>, OpenError> {
    let path = dir.join("store.db");
    match path.symlink_metadata() {
        Ok(found) if !found.is_file() => Err(OpenError::Unsafe { detail: format!("{} is not a file", path.display()) }),
        Ok(_) => {
            let conn = open_file(&path)?;
            conn.busy_handler(Some(wait_for_lock)).map_err(fault)?;
            conn.pragma_update(None, "query_only", true).map_err(fault)?;
            conn.pragma_query_value(None, "user_version", |row| row.get(0)).map(Some).map_err(fault)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io_fault(error)),
    }
}

/// Opens a file that is there, by its plain name: one that has vanished is a fault, not a reason to begin a new one.
fn open_file(path: &Path) -> Result<Connection, OpenError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags).map_err(fault)?;
    sums::teach(&conn).map_err(fault)?;
    Ok(conn)
}

/// Waits a moment for another process's lock; short pauses keep waiting processes even with each other.
fn wait_for_lock(tries: i32) -> bool {
    if tries >= LOCK_TRIES_MAX {
        return false;
    }
    std::thread::sleep(Duration::from_millis(if tries < 20 { 1 } else { 3 }));
    true
}

fn configure(conn: &Connection) -> Result<(), OpenError> {
    conn.busy_handler(Some(wait_for_lock)).map_err(fault)?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true).map_err(fault)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false).map_err(fault)?;
    switch_to_wal(conn)?;
    conn.pragma_update(None, "synchronous", "FULL").map_err(fault)?;
    conn.pragma_update(None, "foreign_keys", true).map_err(fault)?;
    conn.pragma_update(None, "cell_size_check", true).map_err(fault)?;
    conn.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES).map_err(fault)?;
    conn.pragma_update(None, "journal_size_limit", WAL_BYTES_KEPT).map_err(fault)?;
    conn.pragma_update(None, "cache_size", -CACHE_KIB).map_err(fault)?;
    // Read back: SQLite answers a setting that it cannot honour with silence.
    let journal: String = conn.pragma_query_value(None, "journal_mode", |row| row.get(0)).map_err(fault)?;
    let synchronous: i64 = conn.pragma_query_value(None, "synchronous", |row| row.get(0)).map_err(fault)?;
    let foreign_keys: i64 = conn.pragma_query_value(None, "foreign_keys", |row| row.get(0)).map_err(fault)?;
    check_settings(&journal, synchronous, foreign_keys)
}

fn check_settings(journal: &str, synchronous: i64, foreign_keys: i64) -> Result<(), OpenError> {
    const FULL: i64 = 2;
    if journal == "wal" && synchronous == FULL && foreign_keys == 1 {
        return Ok(());
    }
    let detail = format!(
        "journal_mode is {journal:?}, synchronous {synchronous}, foreign_keys {foreign_keys}; \
         they must be \"wal\", {FULL} and 1"
    );
    Err(OpenError::Unsafe { detail })
}

/// Turns the write-ahead log on. SQLite does not call the busy handler for this change, so the waiting is done here.
fn switch_to_wal(conn: &Connection) -> Result<(), OpenError> {
    let mut tries = 0;
    loop {
        let switched = conn.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get::<_, String>(0));
        match switched {
            Err(error) if is_busy(&error) && wait_for_lock(tries) => tries += 1,
            Err(error) => return Err(fault(error)),
            Ok(_) => return Ok(()),
        }
    }
}

/// Brings the schema up to date. An older one is saved beside the database first.
fn migrate(conn: &Connection, place: &Place, migrations: &[&str]) -> Result<(), OpenError> {
    let latest = migrations.len() as i64;
    if check_schema(conn, latest)? == latest {
        return Ok(());
    }
    // Asked again under the write lock: another process may have been quicker.
    let tx = rusqlite::Transaction::new_unchecked(conn, TransactionBehavior::Exclusive).map_err(fault)?;
    let version = check_schema(&tx, latest)?;
    if version > 0 && version < latest {
        back_up(place, version)?;
    }
    write_schema(&tx, version, migrations).and_then(|()| tx.commit()).map_err(fault)
}

/// Writes what the schema `version` lacks.
fn write_schema(conn: &Connection, version: i64, migrations: &[&str]) -> rusqlite::Result<()> {
    for migration in migrations.iter().skip(usize::try_from(version).unwrap_or(0)) {
        conn.execute_batch(migration)?;
    }
    conn.pragma_update(None, "application_id", APPLICATION_ID)?;
    conn.pragma_update(None, "user_version", migrations.len() as i64)
}

/// The version of the schema; 0 is an empty file.
fn check_schema(conn: &Connection, latest: i64) -> Result<i64, OpenError> {
    let version: i64 = conn.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(fault)?;
    let application: i64 = conn.pragma_query_value(None, "application_id", |row| row.get(0)).map_err(fault)?;
    let tables: i64 = conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(fault)?;
    let fresh = version == 0 && application == 0 && tables == 0;
    if !fresh && (application != APPLICATION_ID || version < 1) {
        return Err(OpenError::Unsafe { detail: "the database belongs to another program".to_owned() });
    }
    if version > latest {
        return Err(OpenError::Newer { found: version, known: latest });
    }
    Ok(version)
}

/// Saves the database as it is beside it, durably, as `store.db.v<version>`. What is there under such a name stays
/// there: if it is something else, the new one gets a number.
fn back_up(place: &Place, version: i64) -> Result<(), OpenError> {
    let dir = place.path.parent().unwrap_or(Path::new("."));
    let copy = tempfile::Builder::new().prefix(BACKUP_PREFIX).tempfile_in(dir).map_err(not_saved)?;
    // A second connection, because the first one is inside the transaction that is about to migrate.
    let mut into = open_file(copy.path())?;
    let from = place.reader()?;
    rusqlite::backup::Backup::new(&from, &mut into)
        .and_then(|backup| backup.run_to_completion(1_000, Duration::ZERO, None))
        .map_err(not_saved)?;
    into.close().map_err(|(_, error)| not_saved(error))?;
    copy.as_file().sync_all().map_err(not_saved)?;
    keep_aside(copy, &place.path, &format!("v{version}")).map_err(not_saved)?;
    sync_dir(dir).map_err(not_saved)
}

/// Gives a copy the first name that is free, unless the same was kept before.
fn keep_aside(mut copy: tempfile::NamedTempFile, path: &Path, what: &str) -> io::Result<PathBuf> {
    for number in 1..=BACKUPS_MAX {
        let suffix = if number == 1 { String::new() } else { format!(".{number}") };
        let target = path.with_extension(format!("db.{what}{suffix}"));
        copy = match copy.persist_noclobber(&target) {
            Ok(_) => return Ok(target),
            Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => error.file,
            Err(error) => return Err(error.error),
        };
        // A migration that did not come to its end has left it, and nobody has written since.
        if is_same(copy.path(), &target)? {
            return Ok(target);
        }
    }
    Err(io::Error::other(format!("there are {BACKUPS_MAX} of them already")))
}

fn is_same(one: &Path, two: &Path) -> io::Result<bool> {
    if !two.symlink_metadata()?.is_file() {
        return Ok(false);
    }
    let (mut one, mut two) = (BufReader::new(File::open(one)?), BufReader::new(File::open(two)?));
    loop {
        let (left, right) = (one.fill_buf()?, two.fill_buf()?);
        let len = left.len().min(right.len());
        if left[..len] != right[..len] || (len == 0 && left.len() != right.len()) {
            return Ok(false);
        }
        if len == 0 {
            return Ok(true);
        }
        one.consume(len);
        two.consume(len);
    }
}

/// The store stays as it is, because its old schema could not be saved.
fn not_saved(error: impl std::fmt::Display) -> OpenError {
    OpenError::Unavailable(format!("the old schema cannot be saved beside the store: {error}").into())
}

/// Makes the database, or takes other users' rights away from the one that is there. SQLite gives the files that it
/// makes beside it the same mode.
///
/// A new one is made aside and appears whole. That spares the many waits for the disk with which SQLite would guard the
/// steps in between.
fn make_file(path: &Path) -> Result<(), OpenError> {
    match path.symlink_metadata() {
        Ok(found) if !found.is_file() => Ok(()),
        Ok(found) if found.permissions().mode() & 0o777 == FILE_MODE => Ok(()),
        Ok(_) => std::fs::set_permissions(path, Permissions::from_mode(FILE_MODE)).map_err(io_fault),
        Err(error) if error.kind() == io::ErrorKind::NotFound => make_new_file(path),
        Err(error) => Err(io_fault(error)),
    }
}

fn make_new_file(path: &Path) -> Result<(), OpenError> {
    let dir = path.parent().unwrap_or(Path::new("."));
    if has_blobs(dir).map_err(io_fault)? {
        let detail = format!("{} is gone, and what it named is still here", path.display());
        return Err(OpenError::Damaged { detail });
    }
    let file = tempfile::Builder::new().prefix(NEW_PREFIX).tempfile_in(dir).map_err(io_fault)?;
    let conn = open_file(file.path())?;
    conn.pragma_update(None, "synchronous", "OFF").map_err(fault)?;
    conn.pragma_update_and_check(None, "journal_mode", "MEMORY", |_| Ok(())).map_err(fault)?;
    write_schema(&conn, 0, MIGRATIONS).map_err(fault)?;
    switch_to_wal(&conn)?;
    conn.close().map_err(|(_, error)| fault(error))?;
    file.as_file().sync_all().map_err(io_fault)?;
    // Before the directory is made durable below, so that it is so once for all.
    make_dirs(dir).map_err(io_fault)?;
    match file.persist_noclobber(path) {
        // Another process may have been quicker; its file is as good.
        Err(error) if error.error.kind() != io::ErrorKind::AlreadyExists => Err(io_fault(error.error)),
        Ok(_) | Err(_) => sync_dir(dir).map_err(io_fault),
    }
}

fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

fn fault(error: rusqlite::Error) -> OpenError {
    match super::Fault::of(error) {
        super::Fault::Unavailable(error) => OpenError::Unavailable(error),
        super::Fault::Damaged(detail) => OpenError::Damaged { detail },
    }
}

fn io_fault(error: io::Error) -> OpenError {
    OpenError::Unavailable(error.into())
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn place(dir: &Path) -> Place {
        Place { path: dir.join("store.db"), pages_max: None }
    }

    #[test]
    fn only_the_promised_settings_pass() {
        assert!(check_settings("wal", 2, 1).is_ok());
        for (journal, synchronous, foreign_keys) in [("delete", 2, 1), ("wal", 1, 1), ("wal", 3, 1), ("wal", 2, 0)] {
            let refused = check_settings(journal, synchronous, foreign_keys);
            assert!(matches!(refused, Err(OpenError::Unsafe { .. })), "{journal} {synchronous} {foreign_keys}");
        }
    }

    #[test]
    fn an_older_schema_is_saved_and_brought_up_to_date_once() {
        let dir = tempfile::tempdir().unwrap();
        let place = place(dir.path());
        std::fs::write(&place.path, "").unwrap();
        make_file(&place.path).unwrap();
        let first = "CREATE TABLE a (x INTEGER) STRICT; INSERT INTO a VALUES (7);";
        let second = "ALTER TABLE a ADD COLUMN y INTEGER DEFAULT 8;";
        migrate(&place.writer().unwrap(), &place, &[first]).unwrap();
        for _ in 0..2 {
            migrate(&place.writer().unwrap(), &place, &[first, second]).unwrap();
        }
        let sum = |path: &Path, sql: &str| -> i64 {
            Connection::open(path).unwrap().query_row(sql, [], |row| row.get(0)).unwrap()
        };
        assert_eq!(sum(&place.path, "SELECT sum(x + y) FROM a"), 15);
        assert_eq!(sum(&place.path, "PRAGMA user_version"), 2);
        let saved = dir.path().join("store.db.v1");
        assert_eq!(sum(&saved, "SELECT sum(x) FROM a"), 7);
        assert_eq!(sum(&saved, "PRAGMA user_version"), 1);
        assert_eq!(saved.metadata().unwrap().permissions().mode() & 0o777, FILE_MODE);
    }

    #[test]
    fn a_backup_is_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let place = place(dir.path());
        std::fs::write(&place.path, "").unwrap();
        let first = "CREATE TABLE a (x INTEGER) STRICT; INSERT INTO a VALUES (7);";
        migrate(&place.writer().unwrap(), &place, &[first]).unwrap();
        let backups = || {
            let mut names: Vec<_> = std::fs::read_dir(dir.path())
                .unwrap()
                .map(|it| it.unwrap().file_name().into_string().unwrap())
                .collect();
            names.retain(|name| name.contains(".v") || name.starts_with("backup"));
            names.sort();
            names.join(" ")
        };
        // What a migration leaves that does not come to its end is what the next one would save, however often.
        for _ in 0..3 {
            assert!(migrate(&place.writer().unwrap(), &place, &[first, "nonsense"]).is_err());
            assert_eq!(backups(), "store.db.v1");
        }
        let before = std::fs::read(dir.path().join("store.db.v1")).unwrap();
        place.writer().unwrap().execute_batch("INSERT INTO a VALUES (8)").unwrap();
        std::fs::create_dir(dir.path().join("store.db.v1.2")).unwrap();
        assert!(migrate(&place.writer().unwrap(), &place, &[first, "nonsense"]).is_err());
        migrate(&place.writer().unwrap(), &place, &[first, "CREATE TABLE b (x INTEGER) STRICT"]).unwrap();
        assert_eq!(backups(), "store.db.v1 store.db.v1.2 store.db.v1.3");
        assert_eq!(std::fs::read(dir.path().join("store.db.v1")).unwrap(), before);
    }

    #[test]
    fn a_crash_between_the_backup_and_the_commit_leaves_the_old_schema_whole() {
        let (dir, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let place_of = place;
        let place = place_of(dir.path());
        std::fs::write(&place.path, "").unwrap();
        let first = "CREATE TABLE a (x INTEGER) STRICT; INSERT INTO a VALUES (7);";
        let second = "ALTER TABLE a ADD COLUMN y INTEGER DEFAULT 8;";
        migrate(&place.writer().unwrap(), &place, &[first]).unwrap();
        let conn = place.writer().unwrap();
        let tx = rusqlite::Transaction::new_unchecked(&conn, TransactionBehavior::Exclusive).unwrap();
        back_up(&place, 1).unwrap();
        write_schema(&tx, 1, &[first, second]).unwrap();
        // What a crash would leave at this moment.
        for entry in std::fs::read_dir(dir.path()).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
        }
        let place = place_of(copy.path());
        let conn = place.writer().unwrap();
        assert_eq!(check_schema(&conn, 1).unwrap(), 1);
        let sum = |sql: &str| -> i64 { conn.query_row(sql, [], |row| row.get(0)).unwrap() };
        assert_eq!((sum("SELECT sum(x) FROM a"), sum("SELECT count(*) FROM pragma_table_info('a')")), (7, 1));
        migrate(&conn, &place, &[first, second]).unwrap();
        assert_eq!((sum("SELECT sum(x + y) FROM a"), sum("PRAGMA user_version")), (15, 2));
    }

    #[test]
    fn of_many_that_open_at_once_one_migrates() {
        let dir = tempfile::tempdir().unwrap();
        let place = place(dir.path());
        std::fs::write(&place.path, "").unwrap();
        let first = "CREATE TABLE a (x INTEGER) STRICT;";
        migrate(&place.writer().unwrap(), &place, &[first]).unwrap();
        let start = std::sync::Barrier::new(8);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    start.wait();
                    let conn = place.writer().unwrap();
                    migrate(&conn, &place, &[first, "INSERT INTO a VALUES (1)"]).unwrap();
                    assert_eq!(check_schema(&conn, 2).unwrap(), 2);
                });
            }
        });
        let sum: i64 =
            Connection::open(&place.path).unwrap().query_row("SELECT sum(x) FROM a", [], |row| row.get(0)).unwrap();
        assert_eq!(sum, 1);
    }

    #[test]
    fn what_cannot_be_saved_is_not_migrated() {
        let dir = tempfile::tempdir().unwrap();
        let place = place(dir.path());
        std::fs::write(&place.path, "").unwrap();
        let first = "CREATE TABLE a (x INTEGER) STRICT;";
        migrate(&place.writer().unwrap(), &place, &[first]).unwrap();
        for number in 1..=BACKUPS_MAX {
            let suffix = if number == 1 { String::new() } else { format!(".{number}") };
            std::fs::write(dir.path().join(format!("store.db.v1{suffix}")), "in the way").unwrap();
        }
        let conn = place.writer().unwrap();
        let refused = migrate(&conn, &place, &[first, "CREATE TABLE b (x INTEGER) STRICT"]).unwrap_err().to_string();
        expect![
            "the store is unavailable: the old schema cannot be saved beside the store: there are 100 of them already"
        ]
        .assert_eq(&refused);
        assert_eq!(check_schema(&conn, 1).unwrap(), 1);
    }

    #[test]
    fn a_migration_that_fails_leaves_the_old_schema() {
        let dir = tempfile::tempdir().unwrap();
        let place = place(dir.path());
        std::fs::write(&place.path, "").unwrap();
        let first = "CREATE TABLE a (x INTEGER) STRICT;";
        migrate(&place.writer().unwrap(), &place, &[first]).unwrap();
        let conn = place.writer().unwrap();
        assert!(migrate(&conn, &place, &[first, "CREATE TABLE b (x INTEGER) STRICT; nonsense;"]).is_err());
        let names: i64 = conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).unwrap();
        assert_eq!((check_schema(&conn, 1).unwrap(), names), (1, 1));
    }

    #[test]
    fn a_newer_schema_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (place, conn) = Place::prepare(dir.path(), &SqliteOptions::default()).unwrap();
        conn.pragma_update(None, "user_version", 9).unwrap();
        drop((place, conn));
        let refused = Place::prepare(dir.path(), &SqliteOptions::default()).err().unwrap().to_string();
        expect!["the store has schema 9, this program knows up to 4"].assert_eq(&refused);
    }
}
