//! What is read, on connections of their own, in threads that may block.

use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, params};
use tokio::sync::Semaphore;
use wf_ir::Digest;

use super::Fault;
use super::open::Place;
use super::sums::{HEADS, INBOX, INBOXES, LEASES, MEMO, RUNS, changed, check_intact, damaged};
use crate::id::is_run_id_prefix;
use crate::log::CANDIDATES_MAX;
use crate::{
    Chain, Epoch, Head, Lease, Message, OpenError, PageLimit, ReadError, RecordKind, RunFilter, RunId, RunRow, Seq,
    StoredRecord, Verified,
};

/// How many reads go on at the same time; the others wait.
const READERS_MAX: usize = 4;

/// The columns of [`run_row`]. A run without a head or a lease has a row all the same, and is then found to be damaged.
static RUN_ROW: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT r.run, r.workflow_name, r.workflow_hash, r.labels, r.created_ms,
         h.seq, h.hash, h.inbox_cursor, h.status, h.ended, h.updated_ms, h.json, l.epoch, l.owner, l.until_ms,
         {}, {}, {}
         FROM runs r LEFT JOIN heads h ON h.run_no = r.run_no LEFT JOIN leases l ON l.run_no = r.run_no",
        RUNS.intact("r"),
        HEADS.intact("h"),
        LEASES.intact("l"),
    )
});
static SELECT_LEASE: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT r.run_no, l.epoch, l.owner, l.until_ms, {}
         FROM runs r JOIN leases l ON l.run_no = r.run_no WHERE r.run = ?1",
        LEASES.intact("l")
    )
});
static SELECT_LAST: LazyLock<String> =
    LazyLock::new(|| format!("SELECT last, {} FROM inboxes WHERE run_no = ?1", INBOXES.intact("inboxes")));
static SELECT_MESSAGES: LazyLock<String> = LazyLock::new(|| {
    let intact = INBOX.intact("inbox");
    format!("SELECT id, at_ms, message, {intact} FROM inbox WHERE id > ?1 AND id <= ?2 ORDER BY id LIMIT ?3")
});
static SELECT_MEMO: LazyLock<String> =
    LazyLock::new(|| format!("SELECT row, {} FROM memo WHERE key = ?1", MEMO.intact("memo")));

/// Connections that only read.
pub(crate) struct Readers {
    place: Place,
    permits: Arc<Semaphore>,
    idle: Mutex<Vec<Connection>>,
}

impl Readers {
    pub(crate) fn new(place: Place) -> Self {
        Self { place, permits: Arc::new(Semaphore::new(READERS_MAX)), idle: Mutex::default() }
    }

    /// Reads in one transaction, so that what is read fits together.
    pub(crate) fn read<T: Send + 'static>(
        self: &Arc<Self>,
        view: impl FnOnce(&Connection) -> Result<T, ReadError> + Send + 'static,
    ) -> impl Future<Output = Result<T, ReadError>> + Send + 'static {
        let readers = self.clone();
        async move {
            let permit = readers.permits.clone().acquire_owned().await;
            let permit = permit.map_err(|error| ReadError::Unavailable(error.into()))?;
            let reading = tokio::task::spawn_blocking(move || {
                let _permit = permit;
                readers.read_now(view)
            });
            reading.await.map_err(|error| ReadError::Unavailable(error.into()))?
        }
    }

    fn read_now<T>(&self, view: impl FnOnce(&Connection) -> Result<T, ReadError>) -> Result<T, ReadError> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let conn = match idle {
            Some(conn) => conn,
            None => self.place.reader().map_err(open_fault)?,
        };
        let tx = conn.unchecked_transaction()?;
        let result = view(&tx);
        // A connection that failed is closed; the next read opens another.
        if matches!(result, Ok(_) | Err(ReadError::Missing { .. })) && tx.commit().is_ok() {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(conn);
        }
        result
    }

    /// Closes the connections that are not in use.
    pub(crate) fn close(&self) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

pub(crate) fn open_fault(error: OpenError) -> ReadError {
    match error {
        OpenError::Damaged { detail } => ReadError::Damaged { detail },
        OpenError::Newer { .. } | OpenError::Unsafe { .. } | OpenError::Unavailable(_) => {
            ReadError::Unavailable(error.into())
        }
    }
}

/// The id before that of the first record or message of a run.
pub(crate) fn first_id(run_no: i64) -> i64 {
    run_no << 32
}

/// The number of a run.
pub(crate) fn run_no(conn: &Connection, run: &RunId) -> rusqlite::Result<Option<i64>> {
    conn.prepare_cached("SELECT run_no FROM runs WHERE run = ?1")?
        .query_row([run.as_str()], |row| row.get(0))
        .optional()
}

/// Why a run's rows were not found: there is no such run, or some of its rows are gone.
pub(crate) fn absent(conn: &Connection, run: &RunId) -> rusqlite::Result<Option<Fault>> {
    Ok(run_no(conn, run)?.map(|_| Fault::Damaged(format!("run {run} has no head or no lease"))))
}

fn missing(conn: &Connection, run: &RunId) -> ReadError {
    match absent(conn, run) {
        Ok(None) => ReadError::Missing { run: run.clone() },
        Ok(Some(fault)) => fault.into(),
        Err(error) => error.into(),
    }
}

pub(crate) fn known_run_no(conn: &Connection, run: &RunId) -> Result<i64, ReadError> {
    run_no(conn, run)?.ok_or_else(|| ReadError::Missing { run: run.clone() })
}

/// The last message of an inbox; 0 if it has none.
pub(crate) fn last_message(conn: &Connection, run_no: i64) -> rusqlite::Result<u64> {
    let last = conn
        .prepare_cached(&SELECT_LAST)?
        .query_row([run_no], |row| {
            check_intact(row, 1, || "the end of an inbox".to_owned())?;
            unsigned(row, 0)
        })
        .optional()?;
    last.ok_or_else(|| changed("the end of an inbox"))
}

fn last_id(base: i64) -> i64 {
    base + Seq::MAX.0 as i64
}

/// The number and the lease of a run.
pub(crate) fn lease_of(conn: &Connection, run: &RunId) -> rusqlite::Result<Option<(i64, Lease)>> {
    conn.prepare_cached(&SELECT_LEASE)?
        .query_row([run.as_str()], |row| {
            check_intact(row, 4, || format!("the lease of run {run}"))?;
            Ok((row.get(0)?, lease_at(row, 1)?))
        })
        .optional()
}

fn lease_at(row: &Row<'_>, column: usize) -> rusqlite::Result<Lease> {
    Ok(Lease { epoch: Epoch(unsigned(row, column)?), owner: row.get(column + 1)?, until_ms: row.get(column + 2)? })
}

pub(crate) fn lease(conn: &Connection, run: &RunId) -> Result<Lease, ReadError> {
    lease_of(conn, run)?.map(|(_, lease)| lease).ok_or_else(|| missing(conn, run))
}

/// A number that is never negative.
pub(crate) fn unsigned(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let number: i64 = row.get(column)?;
    u64::try_from(number).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, number))
}

/// A digest.
pub(crate) fn digest(row: &Row<'_>, column: usize) -> rusqlite::Result<Digest> {
    row.get::<_, [u8; 32]>(column).map(Digest)
}

pub(crate) fn bad_text(column: usize, error: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error))
}

/// A log on its way out of the database, record by record, checked against the chain.
struct Walk<'a> {
    run: &'a RunId,
    base: i64,
    chain: Chain,
    head_seq: Seq,
    head_hash: Digest,
}

impl<'a> Walk<'a> {
    /// Begins after the record `after`; none means that the log ends before it.
    fn after(conn: &Connection, run: &'a RunId, after: Seq) -> Result<Option<Self>, ReadError> {
        let corrupt = |seq, detail: &str| ReadError::Corrupt { run: run.clone(), seq, detail: detail.to_owned() };
        let base = first_id(known_run_no(conn, run)?);
        let head: Result<Option<(Seq, Digest)>, _> = conn
            .prepare_cached("SELECT seq, hash FROM heads WHERE run_no = ?1")?
            .query_row([base >> 32], |row| Ok((Seq(unsigned(row, 0)?), digest(row, 1)?)))
            .optional();
        let (head_seq, head_hash) = match head.map_err(Fault::of) {
            Ok(Some(head)) => head,
            Ok(None) => return Err(corrupt(Seq::START, "the run has no head")),
            Err(Fault::Damaged(detail)) => return Err(corrupt(Seq::START, &format!("the head: {detail}"))),
            Err(fault @ Fault::Unavailable(_)) => return Err(fault.into()),
        };
        if after > head_seq {
            return Ok(None);
        }
        let mut chain = Chain::start(run);
        if after > Seq::START {
            let hash = conn
                .prepare_cached("SELECT hash FROM records WHERE id = ?1")?
                .query_row([base + after.0 as i64], |row| digest(row, 0))
                .optional();
            chain = match hash.map_err(Fault::of) {
                Ok(Some(hash)) => Chain { seq: after, hash },
                Ok(None) => return Err(corrupt(after, "the record is missing")),
                Err(Fault::Damaged(detail)) => return Err(corrupt(after, &detail)),
                Err(fault @ Fault::Unavailable(_)) => return Err(fault.into()),
            };
        }
        Ok(Some(Self { run, base, chain, head_seq, head_hash }))
    }

    /// Gives each record to `take` until it says that it has enough, or the log ends.
    fn each(&mut self, conn: &Connection, mut take: impl FnMut(StoredRecord) -> bool) -> Result<(), ReadError> {
        let mut select = conn.prepare_cached(
            "SELECT id, kind, at_ms, payload, hash FROM records WHERE id > ?1 AND id <= ?2 ORDER BY id",
        )?;
        let mut rows = select.query([self.base + self.chain.seq.0 as i64, last_id(self.base)])?;
        loop {
            let record = match rows.next().and_then(|row| row.map(|row| self.record(row)).transpose()) {
                Ok(Some(record)) => record,
                Ok(None) => break,
                Err(error) => return Err(self.fault(error)),
            };
            self.chain.accept(&record).map_err(|detail| self.corrupt(self.chain.seq.next(), detail))?;
            if !take(record) {
                return Ok(());
            }
        }
        self.chain.finish(self.head_seq, &self.head_hash).map_err(|(seq, detail)| self.corrupt(seq, detail))
    }

    fn record(&self, row: &Row<'_>) -> rusqlite::Result<StoredRecord> {
        let kind: i64 = row.get(1)?;
        let known = u8::try_from(kind).ok().and_then(RecordKind::from_byte);
        Ok(StoredRecord {
            seq: Seq((row.get::<_, i64>(0)? - self.base) as u64),
            kind: known.ok_or(rusqlite::Error::IntegralValueOutOfRange(1, kind))?,
            at_ms: row.get(2)?,
            payload: row.get(3)?,
            hash: digest(row, 4)?,
        })
    }

    fn fault(&self, error: rusqlite::Error) -> ReadError {
        match Fault::of(error) {
            Fault::Damaged(detail) => self.corrupt(self.chain.seq.next(), detail),
            fault @ Fault::Unavailable(_) => fault.into(),
        }
    }

    fn corrupt(&self, seq: Seq, detail: String) -> ReadError {
        ReadError::Corrupt { run: self.run.clone(), seq, detail }
    }
}

/// A page of a log. What is intact before a bad record comes first; the error comes with the next page.
pub(crate) fn page(
    conn: &Connection,
    run: &RunId,
    after: Seq,
    limit: PageLimit,
) -> Result<Vec<StoredRecord>, ReadError> {
    let Some(mut walk) = Walk::after(conn, run, after)? else { return Ok(Vec::new()) };
    let mut page: Vec<StoredRecord> = Vec::new();
    let mut bytes = 0usize;
    let walked = walk.each(conn, |record| {
        bytes = bytes.saturating_add(record.payload.len()).saturating_add(1);
        if !page.is_empty() && bytes > limit.bytes_max {
            return false;
        }
        page.push(record);
        page.len() < limit.records_max
    });
    match walked {
        Err(ReadError::Corrupt { .. }) if !page.is_empty() => Ok(page),
        Err(error) => Err(error),
        Ok(()) => Ok(page),
    }
}

/// The whole of a log.
pub(crate) fn verify(conn: &Connection, run: &RunId) -> Result<Verified, ReadError> {
    let Some(mut walk) = Walk::after(conn, run, Seq::START)? else {
        return Ok(Verified { records: 0, log_digest: Chain::start(run).hash });
    };
    walk.each(conn, |_| true)?;
    Ok(Verified { records: walk.chain.seq.0, log_digest: walk.chain.hash })
}

fn run_row(row: &Row<'_>) -> rusqlite::Result<RunRow> {
    let run = RunId::parse(row.get_ref(0)?.as_str()?).map_err(|error| bad_text(0, error))?;
    if row.get::<_, Option<i64>>(5)?.is_none() || row.get::<_, Option<i64>>(12)?.is_none() {
        return Err(damaged(format!("run {run} has no head or no lease")));
    }
    check_intact(row, 15, || format!("run {run}"))?;
    check_intact(row, 16, || format!("the head of run {run}"))?;
    check_intact(row, 17, || format!("the lease of run {run}"))?;
    Ok(RunRow {
        run,
        workflow_name: row.get(1)?,
        workflow_hash: digest(row, 2)?,
        labels: row.get(3)?,
        created_ms: row.get(4)?,
        seq: Seq(unsigned(row, 5)?),
        hash: digest(row, 6)?,
        inbox_cursor: unsigned(row, 7)?,
        head: Head { status: row.get(8)?, ended: row.get(9)?, updated_ms: row.get(10)?, json: row.get(11)? },
        lease: lease_at(row, 12)?,
    })
}

pub(crate) fn head(conn: &Connection, run: &RunId) -> Result<RunRow, ReadError> {
    let sql = format!("{} WHERE r.run = ?1", *RUN_ROW);
    let row = conn.prepare_cached(&sql)?.query_row([run.as_str()], run_row).optional()?;
    row.ok_or_else(|| missing(conn, run))
}

pub(crate) fn runs(conn: &Connection, filter: &RunFilter) -> Result<Vec<RunRow>, ReadError> {
    let prefix = filter.prefix.as_deref().unwrap_or("");
    if !is_run_id_prefix(prefix) {
        return Ok(Vec::new());
    }
    let sql = format!(
        "{} WHERE r.run >= ?1 AND r.run < ?2 AND (?3 IS NULL OR h.ended IS NULL OR h.ended = ?3)
         ORDER BY r.created_ms DESC, r.run DESC LIMIT ?4",
        *RUN_ROW
    );
    let mut select = conn.prepare_cached(&sql)?;
    let rows = select.query_map(params![prefix, prefix_end(prefix), filter.ended, as_limit(filter.limit)], run_row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The first runs that begin with `prefix`, in the order of their ids.
pub(crate) fn with_prefix(conn: &Connection, prefix: &str) -> Result<Vec<RunId>, ReadError> {
    if !is_run_id_prefix(prefix) {
        return Ok(Vec::new());
    }
    let mut select = conn.prepare_cached("SELECT run FROM runs WHERE run >= ?1 AND run < ?2 ORDER BY run LIMIT ?3")?;
    let rows = select.query_map(params![prefix, prefix_end(prefix), CANDIDATES_MAX as i64], |row| {
        RunId::parse(row.get_ref(0)?.as_str()?).map_err(|error| bad_text(0, error))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// What comes after every run id that begins with `prefix`: `{` follows `z`.
fn prefix_end(prefix: &str) -> String {
    format!("{prefix}{{")
}

pub(crate) fn as_limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

pub(crate) fn inbox(conn: &Connection, run: &RunId, after_id: u64, limit: usize) -> Result<Vec<Message>, ReadError> {
    let base = first_id(known_run_no(conn, run)?);
    let after = after_id.min(Seq::MAX.0);
    let mut select = conn.prepare_cached(&SELECT_MESSAGES)?;
    let rows = select.query_map([base + after as i64, last_id(base), as_limit(limit)], |row| {
        let message = Message { id: (row.get::<_, i64>(0)? - base) as u64, at_ms: row.get(1)?, message: row.get(2)? };
        check_intact(row, 3, || format!("message {} of run {run}", message.id))?;
        Ok(message)
    })?;
    let messages: Vec<Message> = rows.collect::<Result<_, _>>()?;
    let last = last_message(conn, base >> 32)?;
    let expected = last.saturating_sub(after).min(limit as u64);
    // No message may be passed over, least of all the last.
    if messages.len() as u64 != expected || messages.iter().zip(after + 1..).any(|(message, id)| message.id != id) {
        return Err(changed(&format!("the inbox of run {run}")).into());
    }
    Ok(messages)
}

pub(crate) fn memo(conn: &Connection, key: &Digest) -> Result<Option<String>, ReadError> {
    let mut select = conn.prepare_cached(&SELECT_MEMO)?;
    let found = select.query_row([&key.0[..]], |row| {
        check_intact(row, 1, || format!("the memo row {key}"))?;
        row.get(0)
    });
    Ok(found.optional()?)
}
