//! Damage: whatever is done to the file behind the store's back is found, named, and never passed over.

use std::path::Path;

use expect_test::{Expect, expect};
use rusqlite::Connection;
use wf_store::{AppendError, Epoch, OpenError, PageLimit, ReadError, Seq, SqliteOptions, Store};

use crate::fixture::{OnDisk, batch, create, on_disk, open};

const RECORDS: usize = 9;

fn tamper(dir: &Path, sql: &str) {
    Connection::open(dir.join("store.db")).unwrap().execute_batch(sql).unwrap();
}

/// A store with a log of nine records in `r1` and one of three in `r2`.
async fn two_logs() -> OnDisk {
    let on_disk = on_disk();
    create(&on_disk.store, "r1", "i:a d:b d:c i:d d:e i:f d:g d:h i:i").await;
    create(&on_disk.store, "r2", "i:x d:y d:z").await;
    on_disk
}

/// What verification says after `sql`, and how many records a reader still gets.
async fn check(sql: &str, intact: usize, expected: Expect) {
    let on_disk = two_logs().await;
    let run = crate::fixture::run("r1");
    assert_eq!(on_disk.store.log.verify(&run).await.unwrap().records, RECORDS as u64);
    tamper(on_disk.dir.path(), sql);
    let found = on_disk.store.log.verify(&run).await.expect_err("the damage is found");
    expected.assert_eq(&found.to_string());
    let ReadError::Corrupt { seq: bad, .. } = found else { panic!("{found:?}") };

    // A reader gets what is intact, and then the same error, whatever the size of its pages.
    for records_max in [1, 2, 100] {
        let limit = PageLimit { records_max, bytes_max: 1 << 20 };
        let (mut read, mut after) = (0, Seq::START);
        let error = loop {
            match on_disk.store.log.read(&run, after, limit).await {
                Ok(page) => {
                    assert!(!page.is_empty(), "the end of a damaged log is not its end");
                    read += page.len();
                    after = page.last().unwrap().seq;
                }
                Err(error) => break error,
            }
        };
        assert_eq!(read, intact, "pages of {records_max}");
        let ReadError::Corrupt { seq, .. } = error else { panic!("{error:?}") };
        assert_eq!(seq, bad, "pages of {records_max}");
    }
    // The other log is untouched.
    assert_eq!(on_disk.store.log.verify(&crate::fixture::run("r2")).await.unwrap().records, 3);
}

/// The id of a record of `r1`, whose number is 1.
macro_rules! of_r1 {
    ($sql:literal) => {
        &$sql.replace("R1", "4294967296")
    };
}

#[tokio::test]
async fn a_changed_payload() {
    check(
        of_r1!(r#"UPDATE records SET payload = replace(payload, 'e', 'E') WHERE id = R1 + 5"#),
        4,
        expect!["the log of run r1 is damaged at record 5: its hash does not match its content and its predecessor"],
    )
    .await;
}

#[tokio::test]
async fn a_changed_kind() {
    check(
        of_r1!("UPDATE records SET kind = 1 - kind WHERE id = R1 + 1"),
        0,
        expect!["the log of run r1 is damaged at record 1: its hash does not match its content and its predecessor"],
    )
    .await;
}

#[tokio::test]
async fn a_kind_that_does_not_exist() {
    check(
        of_r1!("UPDATE records SET kind = 256 WHERE id = R1 + 3"),
        2,
        expect!["the log of run r1 is damaged at record 3: Integer 256 out of range at index 1"],
    )
    .await;
}

#[tokio::test]
async fn a_changed_time() {
    check(
        of_r1!("UPDATE records SET at_ms = at_ms + 1 WHERE id = R1 + 9"),
        8,
        expect!["the log of run r1 is damaged at record 9: its hash does not match its content and its predecessor"],
    )
    .await;
}

#[tokio::test]
async fn a_changed_hash() {
    check(
        of_r1!("UPDATE records SET hash = randomblob(32) WHERE id = R1 + 4"),
        3,
        expect!["the log of run r1 is damaged at record 4: its hash does not match its content and its predecessor"],
    )
    .await;
}

#[tokio::test]
async fn a_short_hash() {
    check(of_r1!("UPDATE records SET hash = x'00' WHERE id = R1 + 4"), 3, expect!["the log of run r1 is damaged at record 4: Conversion error from type Blob at index: 4, Cannot read 32 byte value out of 1 byte blob"]).await;
}

#[tokio::test]
async fn a_deleted_row() {
    check(
        of_r1!("DELETE FROM records WHERE id = R1 + 6"),
        5,
        expect!["the log of run r1 is damaged at record 6: the record is missing, the next one is 7"],
    )
    .await;
}

#[tokio::test]
async fn a_deleted_row_whose_followers_moved_up() {
    check(
        of_r1!(
            "DELETE FROM records WHERE id = R1 + 6;
             UPDATE records SET id = id - 1 WHERE id = R1 + 7;
             UPDATE records SET id = id - 1 WHERE id = R1 + 8;
             UPDATE records SET id = id - 1 WHERE id = R1 + 9;
             UPDATE heads SET seq = 8 WHERE run_no = 1;"
        ),
        5,
        expect!["the log of run r1 is damaged at record 6: its hash does not match its content and its predecessor"],
    )
    .await;
}

#[tokio::test]
async fn swapped_rows() {
    check(
        of_r1!(
            "UPDATE records SET id = -1 WHERE id = R1 + 3;
             UPDATE records SET id = R1 + 3 WHERE id = R1 + 7;
             UPDATE records SET id = R1 + 7 WHERE id = -1;"
        ),
        2,
        expect!["the log of run r1 is damaged at record 3: its hash does not match its content and its predecessor"],
    )
    .await;
}

#[tokio::test]
async fn a_truncated_tail() {
    check(
        of_r1!("DELETE FROM records WHERE id IN (R1 + 8, R1 + 9)"),
        7,
        expect!["the log of run r1 is damaged at record 8: the log ends before it, the head names 9"],
    )
    .await;
}

#[tokio::test]
async fn a_log_that_is_gone() {
    check(
        of_r1!("DELETE FROM records WHERE id BETWEEN R1 AND R1 + 100"),
        0,
        expect!["the log of run r1 is damaged at record 1: the log ends before it, the head names 9"],
    )
    .await;
}

#[tokio::test]
async fn a_truncated_tail_with_its_head() {
    check(
        of_r1!("DELETE FROM records WHERE id = R1 + 9; UPDATE heads SET seq = 8 WHERE run_no = 1"),
        8,
        expect!["the log of run r1 is damaged at record 8: the hash in the head is not the hash of the last record"],
    )
    .await;
}

#[tokio::test]
async fn a_row_after_the_head() {
    check(
        of_r1!("INSERT INTO records SELECT R1 + 10, kind, at_ms, payload, hash FROM records WHERE id = R1 + 9"),
        9,
        expect!["the log of run r1 is damaged at record 10: its hash does not match its content and its predecessor"],
    )
    .await;
}

#[tokio::test]
async fn a_head_that_is_gone() {
    check(
        of_r1!("DELETE FROM heads WHERE run_no = 1"),
        0,
        expect!["the log of run r1 is damaged at record 0: the run has no head"],
    )
    .await;
}

#[tokio::test]
async fn a_log_of_another_run() {
    check(
        of_r1!(
            "DELETE FROM records WHERE id BETWEEN R1 AND R1 + 100;
             INSERT INTO records SELECT id - R1, kind, at_ms, payload, hash FROM records WHERE id > 2 * R1;
             UPDATE heads SET (seq, hash) = (SELECT seq, hash FROM heads WHERE run_no = 2) WHERE run_no = 1;"
        ),
        0,
        expect!["the log of run r1 is damaged at record 1: its hash does not match its content and its predecessor"],
    )
    .await;
}

#[tokio::test]
async fn rows_of_no_run_are_found_by_the_check() {
    let on_disk = two_logs().await;
    tamper(
        on_disk.dir.path(),
        "PRAGMA foreign_keys = OFF;
         DELETE FROM runs WHERE run = 'r2'; DELETE FROM heads WHERE run_no = 1;
         INSERT INTO inbox VALUES (8589934593, 0, '', 0)",
    );
    let findings = on_disk.store.runs.check().await.unwrap().join("\n");
    expect![[r#"
        a row of inboxes belongs to no run
        a row of heads belongs to no run
        a row of leases belongs to no run
        3 records belong to no run
        1 messages belong to no run
        run r1 has no head
        messages are missing from the inbox of run number 2
        message 1 of run number 2 is not what was written"#]]
    .assert_eq(&findings);
}

#[tokio::test]
async fn a_run_without_a_head_is_damaged_and_not_missing() {
    let on_disk = two_logs().await;
    let run = crate::fixture::run("r1");
    tamper(on_disk.dir.path(), "DELETE FROM heads WHERE run_no = 1");
    let store = &on_disk.store;
    let append = store.log.append(&run, Seq(9), Epoch::NEVER_OWNED, batch("i:j")).await.unwrap_err();
    expect!["the log of run r1 is damaged at record 10: run r1 has no head or no lease"].assert_eq(&append.to_string());
    let head = store.runs.head(&run).await.unwrap_err();
    expect!["the store is damaged: run r1 has no head or no lease"].assert_eq(&head.to_string());
    let post = store.inbox.post(&run, String::new(), 0).await.unwrap_err();
    expect!["the store is damaged: run r1 has no head or no lease"].assert_eq(&post.to_string());
    tamper(on_disk.dir.path(), "DELETE FROM leases WHERE run_no = 1");
    let lease = store.leases.acquire_lease(&run, "one", 0, 1).await.unwrap_err();
    expect!["the store is damaged: run r1 has no head or no lease"].assert_eq(&lease.to_string());
    let lease = store.leases.lease(&run).await.unwrap_err();
    expect!["the store is damaged: run r1 has no head or no lease"].assert_eq(&lease.to_string());
}

#[tokio::test]
async fn an_append_onto_a_row_that_should_not_be_there() {
    let on_disk = two_logs().await;
    let run = crate::fixture::run("r1");
    tamper(on_disk.dir.path(), "INSERT INTO records VALUES (4294967306, 0, 0, '', x'')");
    let refused = on_disk.store.log.append(&run, Seq(9), Epoch::NEVER_OWNED, batch("i:j")).await;
    match refused {
        Err(AppendError::Corrupt { run: named, seq, .. }) => assert_eq!((named, seq), (run, Seq(10))),
        other => panic!("{other:?}"),
    }
    let other = crate::fixture::run("r2");
    on_disk.store.log.append(&other, Seq(3), Epoch::NEVER_OWNED, batch("i:j")).await.unwrap();
}

/// Every page of the file is overwritten in turn: each time the store refuses to open, names the damage, or was not
/// touched in what it says. It never answers something else.
#[tokio::test]
async fn overwritten_pages() {
    let made = two_logs().await;
    let run = crate::fixture::run("r1");
    for number in 0..40u64 {
        made.store
            .log
            .append(&run, Seq(9 + number), Epoch::NEVER_OWNED, batch(&format!("i:{number:0500}")))
            .await
            .unwrap();
    }
    let before = made.store.log.verify(&run).await.unwrap();
    made.store.close().await;
    let whole = std::fs::read(made.dir.path().join("store.db")).unwrap();
    assert!(!made.dir.path().join("store.db-wal").exists(), "closing has emptied the write-ahead log");
    let (mut refused, mut corrupt) = (0, 0);
    for page in 0..whole.len() / 4096 {
        let dir = tempfile::tempdir().unwrap();
        let mut bytes = whole.clone();
        // The first hundred bytes say what file it is; they have a test of their own.
        let from = page * 4096 + if page == 0 { 100 } else { 0 };
        bytes[from..(page + 1) * 4096].fill(0xa5);
        std::fs::write(dir.path().join("store.db"), bytes).unwrap();
        let store = match Store::open_sqlite(dir.path(), SqliteOptions::default()) {
            Ok(store) => store,
            Err(OpenError::Damaged { .. }) => {
                refused += 1;
                continue;
            }
            Err(error) => panic!("page {page}: {error:?}"),
        };
        match store.log.verify(&run).await {
            Ok(verified) => assert_eq!(verified, before, "page {page}"),
            Err(ReadError::Corrupt { .. } | ReadError::Damaged { .. } | ReadError::Missing { .. }) => corrupt += 1,
            Err(error) => panic!("page {page}: {error:?}"),
        }
        let findings = store.runs.check().await;
        assert!(!matches!(&findings, Ok(none) if none.is_empty()), "page {page} is not found by the check");
    }
    assert!(refused >= 1 && corrupt >= 5, "{refused} {corrupt}");
}

#[tokio::test]
async fn what_is_not_a_store_is_refused() {
    let refuse = |make: &dyn Fn(&Path)| {
        let dir = tempfile::tempdir().unwrap();
        make(&dir.path().join("store.db"));
        let before: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|it| it.unwrap().file_name()).collect();
        let error = Store::open_sqlite(dir.path(), SqliteOptions::default()).err().unwrap();
        let after = std::fs::read_dir(dir.path()).unwrap().count();
        assert_eq!(before.len(), after, "nothing is left behind");
        error.to_string().replace(&dir.path().display().to_string(), "DIR")
    };
    let text = refuse(&|path| std::fs::write(path, "a diary\n".repeat(1_000)).unwrap());
    expect!["the store is damaged: file is not a database"].assert_eq(&text);
    let folder = refuse(&|path| std::fs::create_dir(path).unwrap());
    expect!["the store is not safe to use: DIR/store.db is not a file"].assert_eq(&folder);
    let device = refuse(&|path| std::os::unix::fs::symlink("/dev/zero", path).unwrap());
    expect!["the store is not safe to use: DIR/store.db is not a file"].assert_eq(&device);
    let foreign = refuse(&|path| {
        Connection::open(path).unwrap().execute_batch("CREATE TABLE diary (day TEXT)").unwrap();
    });
    expect!["the store is not safe to use: the database belongs to another program"].assert_eq(&foreign);
    let newer = refuse(&|path| {
        drop(open(path.parent().unwrap()));
        Connection::open(path).unwrap().execute_batch("PRAGMA user_version = 77").unwrap();
    });
    expect!["the store has schema 77, this program knows up to 4"].assert_eq(&newer);
}

#[tokio::test]
async fn damaged_blobs_are_named_and_mended() {
    let on_disk = on_disk();
    let digest = on_disk.store.blobs.put(b"content".as_slice().into()).await.unwrap();
    let hex = digest.to_string();
    let path = on_disk.dir.path().join("blobs").join(&hex[..2]).join(&hex[2..]);
    let damage = |bytes: &[u8]| std::fs::write(&path, bytes).unwrap();
    for bytes in [&b""[..], b"contenT", b"content and more"] {
        damage(bytes);
        let found = on_disk.store.blobs.get(&digest).await.unwrap_err().to_string();
        assert_eq!(found, format!("blob {hex} is damaged: its content has another digest"));
        assert_eq!(on_disk.store.blobs.put(b"content".as_slice().into()).await.unwrap(), digest);
        assert_eq!(on_disk.store.blobs.get(&digest).await.unwrap(), b"content");
    }
    std::fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
    let found = on_disk.store.blobs.get(&digest).await.unwrap_err().to_string();
    assert_eq!(found, format!("blob {hex} is damaged: it is not a file"));
    assert!(!on_disk.store.blobs.exists(&digest).await.unwrap());
}

#[tokio::test]
async fn blobs_have_a_limit() {
    let dir = tempfile::tempdir().unwrap();
    let options = SqliteOptions { blob_bytes_max: 10, ..SqliteOptions::default() };
    let store = Store::open_sqlite(dir.path(), options).unwrap();
    store.blobs.put(vec![7; 10].into()).await.unwrap();
    let refused = store.blobs.put(vec![7; 11].into()).await.unwrap_err().to_string();
    expect!["a blob of 11 bytes, at most 10 are allowed"].assert_eq(&refused);
    let larger = open(dir.path()).blobs.put(vec![7; 11].into()).await.unwrap();
    let refused = store.blobs.get(&larger).await.unwrap_err().to_string();
    expect!["a blob of 11 bytes, at most 10 are allowed"].assert_eq(&refused);
}

#[tokio::test]
async fn a_torn_line_of_a_trace_stays_alone() {
    let on_disk = on_disk();
    let run = crate::fixture::run("r1");
    on_disk.store.traces.append(&run, "a", "{\"n\":1}".to_owned());
    on_disk.store.close().await;
    let dir = on_disk.dir.path().join("traces/r1");
    let path = std::fs::read_dir(&dir).unwrap().next().unwrap().unwrap().path();
    std::fs::write(&path, b"{\"n\":1}\n{\"n\":\xff").unwrap();
    let store = open(on_disk.dir.path());
    let torn = store.traces.read(&run, "a", 0).await.unwrap();
    assert_eq!((torn.lines.join("|"), torn.next_offset), ("{\"n\":1}".to_owned(), 8));
    store.traces.append(&run, "a", "{\"n\":3}".to_owned());
    store.traces.flush().await;
    let mended = store.traces.read(&run, "a", 8).await.unwrap();
    assert_eq!(mended.lines.join("|"), "{\"n\":\u{fffd}|{\"n\":3}");
}

#[tokio::test]
async fn a_fault_of_traces_fails_nothing() {
    let on_disk = on_disk();
    let run = crate::fixture::run("r1");
    let root = on_disk.dir.path().join("traces");
    std::fs::write(root.join("r1"), "in the way").unwrap();
    on_disk.store.traces.append(&run, "a", "lost".to_owned());
    on_disk.store.traces.flush().await;
    std::fs::remove_file(root.join("r1")).unwrap();
    on_disk.store.traces.append(&run, "a", "kept".to_owned());
    on_disk.store.traces.flush().await;
    let chunk = on_disk.store.traces.read(&run, "a", 0).await.unwrap();
    assert_eq!(chunk.lines, [r#"{"trace":"lines_dropped","lines":1}"#, "kept"]);
}
