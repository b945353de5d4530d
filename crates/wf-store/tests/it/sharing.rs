//! Several handles on one directory, as several processes have them; ends without a farewell; a disk without room.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use wf_store::{AppendError, Epoch, LeaseError, Mark, PostError, Seq, SqliteOptions, Store};

use crate::fixture::{batch, board, create, on_disk, open, payloads, run, task};

/// What is on the disk at this moment, as after a kill.
fn killed_copy(dir: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for name in ["store.db", "store.db-wal"] {
        std::fs::copy(dir.join(name), copy.path().join(name)).unwrap();
    }
    copy
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_kill() {
    let on_disk = on_disk();
    let (run, _) = create(&on_disk.store, "r1", "i:a").await;
    for number in 1..20 {
        let mut batch = batch("i:b d:c");
        batch.tasks.push(task(&format!("n[{number:02}]"), 1, wf_store::TaskStatus::Claimed));
        let seq = Seq(2 * number - 1);
        let appended = on_disk.store.log.append(&run, seq, Epoch::NEVER_OWNED, batch).await.unwrap();
        let copy = killed_copy(on_disk.dir.path());
        let store = open(copy.path());
        let verified = store.log.verify(&run).await.unwrap();
        assert_eq!((verified.records, verified.log_digest), (2 * number + 1, appended.hash));
        assert_eq!(board(&store, &run).await.matches("claimed").count(), number as usize);
    }
}

#[tokio::test]
async fn a_torn_write_ahead_log_keeps_the_intact_prefix() {
    let on_disk = on_disk();
    let (run, _) = create(&on_disk.store, "r1", "i:a").await;
    let mut digests = vec![on_disk.store.log.verify(&run).await.unwrap().log_digest];
    for number in 1..=10 {
        let appended = on_disk.store.log.append(&run, Seq(number), Epoch::NEVER_OWNED, batch("i:b")).await.unwrap();
        digests.push(appended.hash);
    }
    let size = std::fs::metadata(on_disk.dir.path().join("store.db-wal")).unwrap().len();
    let mut kept = Vec::new();
    for part in 0..16 {
        let copy = killed_copy(on_disk.dir.path());
        let wal = std::fs::OpenOptions::new().write(true).open(copy.path().join("store.db-wal")).unwrap();
        wal.set_len(size - size * part / 32 - 7 * part).unwrap();
        let store = open(copy.path());
        let verified = store.log.verify(&run).await.unwrap();
        assert_eq!(verified.log_digest, digests[verified.records as usize - 1]);
        kept.push(verified.records);
    }
    assert!(kept.is_sorted_by(|a, b| a >= b) && kept[0] == 11 && kept[15] < 11, "{kept:?}");
}

/// A bit that flips in an acknowledged transaction makes SQLite pass over all that come after it. That is said once, and
/// the evidence is kept; in the last transaction it cannot be told from a loss of power.
#[tokio::test]
async fn a_damaged_write_ahead_log_is_not_passed_over_in_silence() {
    let on_disk = on_disk();
    let (run, _) = create(&on_disk.store, "r1", "i:a").await;
    for number in 1..=10 {
        on_disk.store.log.append(&run, Seq(number), Epoch::NEVER_OWNED, batch("i:b")).await.unwrap();
    }
    let whole = std::fs::read(on_disk.dir.path().join("store.db-wal")).unwrap();
    let frames = (whole.len() - 32) / (24 + 4096);
    let mut silent = Vec::new();
    for frame in 0..frames {
        // In the header of the frame, in its page, and in its sums.
        for at in [1, 9, 17, 24 + 2_000] {
            let copy = killed_copy(on_disk.dir.path());
            let mut bytes = whole.clone();
            bytes[32 + frame * (24 + 4096) + at] ^= 0x10;
            std::fs::write(copy.path().join("store.db-wal"), &bytes).unwrap();
            let (is_silent, store) = match Store::open_sqlite(copy.path(), SqliteOptions::default()) {
                Ok(store) => (true, store),
                Err(error) => {
                    let said = error.to_string();
                    let begin = "the store is damaged: the write-ahead log is damaged at frame ";
                    assert!(said.starts_with(begin) && said.contains("(store.db.wal-damaged)"), "{said}");
                    assert_eq!(std::fs::read(copy.path().join("store.db.wal-damaged")).unwrap(), bytes);
                    (false, open(copy.path()))
                }
            };
            let records = store.log.verify(&run).await.map_or(0, |verified| verified.records);
            assert!(records <= 10);
            silent.extend(is_silent.then_some(records));
        }
    }
    let undamaged = killed_copy(on_disk.dir.path());
    assert_eq!(open(undamaged.path()).log.verify(&run).await.unwrap().records, 11);
    // Only what is in the last transaction, or makes the one before seem to be one with it.
    silent.sort();
    assert_eq!((frames, silent), (27, vec![9, 10, 10, 10, 10, 10, 10, 10, 10]));
}

#[tokio::test]
async fn a_newer_schema_stops_who_has_the_store_open() {
    let on_disk = on_disk();
    let (run, _) = create(&on_disk.store, "r1", "i:a").await;
    let newer = rusqlite::Connection::open(on_disk.dir.path().join("store.db")).unwrap();
    newer.execute_batch("PRAGMA user_version = 99").unwrap();
    for _ in 0..2 {
        let refused = on_disk.store.log.append(&run, Seq(1), Epoch::NEVER_OWNED, batch("i:b")).await.unwrap_err();
        assert_eq!(
            refused.to_string(),
            "the store is unavailable: the store has schema 99, this program knows up to 4"
        );
    }
    newer.execute_batch("PRAGMA user_version = 4").unwrap();
    on_disk.store.log.append(&run, Seq(1), Epoch::NEVER_OWNED, batch("i:b")).await.unwrap();
}

#[tokio::test]
async fn a_store_without_its_database_is_not_begun_anew() {
    let on_disk = on_disk();
    let (run, _) = create(&on_disk.store, "r1", "i:a").await;
    on_disk.store.blobs.put(b"x".as_slice().into()).await.unwrap();
    on_disk.store.close().await;
    let db = on_disk.dir.path().join("store.db");
    let refused = || {
        let error = Store::open_sqlite(on_disk.dir.path(), SqliteOptions::default()).err().unwrap().to_string();
        error.replace(&on_disk.dir.path().display().to_string(), "DIR")
    };
    std::fs::rename(&db, on_disk.dir.path().join("aside")).unwrap();
    assert_eq!(refused(), "the store is damaged: DIR/store.db is gone, and what it named is still here");
    assert!(!db.exists());
    std::fs::write(&db, "").unwrap();
    assert_eq!(refused(), "the store is damaged: the database is empty");
    assert_eq!(std::fs::metadata(&db).unwrap().len(), 0);
    std::fs::rename(on_disk.dir.path().join("aside"), &db).unwrap();
    assert_eq!(open(on_disk.dir.path()).log.verify(&run).await.unwrap().records, 1);
}

#[tokio::test]
async fn dropping_the_store_loses_nothing() {
    let on_disk = on_disk();
    let (run, _) = create(&on_disk.store, "r1", "i:a").await;
    let appended = on_disk.store.log.append(&run, Seq(1), Epoch::NEVER_OWNED, batch("i:b")).await.unwrap();
    let dir = on_disk.dir;
    drop(on_disk.store);
    assert_eq!(open(dir.path()).log.verify(&run).await.unwrap().log_digest, appended.hash);
}

#[tokio::test]
async fn two_processes_cannot_both_advance_a_run() {
    let one = on_disk();
    let two = open(one.dir.path());
    let (run, _) = create(&one.store, "r1", "i:a").await;
    let epoch = one.store.leases.acquire_lease(&run, "one", 0, 10).await.unwrap();
    assert!(matches!(two.leases.acquire_lease(&run, "two", 9, 10).await, Err(LeaseError::Held { .. })));
    one.store.log.append(&run, Seq(1), epoch, batch("i:b")).await.unwrap();
    assert_eq!(payloads(&two, &run, 9).await.len(), 2);
    let later = two.leases.acquire_lease(&run, "two", 10, 10).await.unwrap();
    two.log.append(&run, Seq(2), later, batch("i:c")).await.unwrap();
    match one.store.log.append(&run, Seq(2), epoch, batch("i:d")).await {
        Err(AppendError::Fenced { held, current }) => assert_eq!((held, current), (epoch, later)),
        other => panic!("{other:?}"),
    }
    match two.log.append(&run, Seq(2), later, batch("i:d")).await {
        Err(AppendError::Conflict { actual, .. }) => assert_eq!(actual, Seq(3)),
        other => panic!("{other:?}"),
    }
    assert_eq!(one.store.log.verify(&run).await.unwrap().records, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_handles_writing_at_once_lose_nothing() {
    const HANDLES: u64 = 4;
    const APPENDS: u64 = 25;
    let first = on_disk();
    create(&first.store, "shared", "i:a").await;
    let mut owners = tokio::task::JoinSet::new();
    for handle in 0..HANDLES {
        let dir = first.dir.path().to_owned();
        owners.spawn(async move {
            let store = open(&dir);
            let (own, _) = create(&store, &format!("own{handle}"), "i:a").await;
            for number in 1..=APPENDS {
                store.log.append(&own, Seq(number), Epoch::NEVER_OWNED, batch("i:b")).await.unwrap();
                store.inbox.post(&run("shared"), format!("{handle}/{number}"), 0).await.unwrap();
            }
            store.close().await;
        });
    }
    while let Some(done) = owners.join_next().await {
        done.unwrap();
    }
    let messages = first.store.inbox.inbox(&run("shared"), 0, usize::MAX).await.unwrap();
    assert_eq!(messages.len() as u64, HANDLES * APPENDS);
    assert!(messages.iter().zip(1..).all(|(message, id)| message.id == id));
    for handle in 0..HANDLES {
        let own: Vec<_> = messages.iter().filter(|it| it.message.starts_with(&format!("{handle}/"))).collect();
        assert!(own.iter().zip(1..).all(|(it, number)| it.message == format!("{handle}/{number}")));
        assert_eq!(first.store.log.verify(&run(&format!("own{handle}"))).await.unwrap().records, APPENDS + 1);
    }
    assert_eq!(first.store.runs.check().await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn owners_hear_what_other_processes_post_and_append() {
    let owner = on_disk();
    let other = open(owner.dir.path());
    let (run, _) = create(&owner.store, "r1", "i:a").await;
    let (mut mark, mut changes) = (owner.store.watch.run(&run), owner.store.watch.changes());
    mark.wait_for(|mark| mark.seq == Seq(1)).await.unwrap();
    changes.mark_unchanged();
    other.inbox.post(&run, "cancel".to_owned(), 0).await.unwrap();
    mark.wait_for(|mark| *mark == Mark { seq: Seq(1), message: 1 }).await.unwrap();
    assert_eq!(owner.store.inbox.inbox(&run, 0, 9).await.unwrap()[0].message, "cancel");
    other.log.append(&run, Seq(1), Epoch::NEVER_OWNED, batch("i:b")).await.unwrap();
    mark.wait_for(|mark| *mark == Mark { seq: Seq(2), message: 1 }).await.unwrap();
    changes.changed().await.unwrap();
    // After everybody has stopped watching, watching begins anew.
    drop((mark, changes));
    other.inbox.post(&run, "again".to_owned(), 0).await.unwrap();
    let mut mark = owner.store.watch.run(&run);
    mark.wait_for(|mark| mark.message == 2).await.unwrap();
    // One may watch a run that does not exist yet.
    let mut coming = owner.store.watch.run(&crate::fixture::run("r2"));
    create(&other, "r2", "i:a d:b").await;
    coming.wait_for(|mark| mark.seq == Seq(2)).await.unwrap();
}

#[test]
fn watching_outlives_a_runtime() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let owner = on_disk();
    let other = open(owner.dir.path());
    let (run, mut first) = runtime().block_on(async {
        let (run, _) = create(&owner.store, "r1", "i:a").await;
        let mut mark = owner.store.watch.run(&run);
        mark.wait_for(|mark| mark.seq == Seq(1)).await.unwrap();
        (run, mark)
    });
    runtime().block_on(async {
        let _again = owner.store.watch.run(&run);
        other.inbox.post(&run, String::new(), 0).await.unwrap();
        first.wait_for(|mark| mark.message == 1).await.unwrap();
    });
}

#[tokio::test]
async fn a_full_disk_is_an_error_and_nothing_is_half_written() {
    let dir = tempfile::tempdir().unwrap();
    let options = SqliteOptions { pages_max: Some(60), ..SqliteOptions::default() };
    let store = Store::open_sqlite(dir.path(), options).unwrap();
    let (run, _) = create(&store, "r1", "i:a").await;
    let wide = |number: u64| {
        let mut wide = batch("i:b d:c");
        wide.records[1].payload = "x".repeat(10_000);
        wide.tasks.push(task(&format!("n[{number:03}]"), 1, wf_store::TaskStatus::Claimed));
        wide
    };
    let mut written = 0;
    let full = loop {
        match store.log.append(&run, Seq(1 + 2 * written), Epoch::NEVER_OWNED, wide(written)).await {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
        assert!(written < 60, "the limit holds");
    };
    assert!(matches!(&full, AppendError::Unavailable(why) if why.to_string().contains("full")), "{full:?}");
    assert!(written > 3);
    // Again and again the same answer, for this run and for others, and what there is stays readable.
    let again = store.log.append(&run, Seq(1 + 2 * written), Epoch::NEVER_OWNED, wide(written)).await;
    assert!(matches!(again, Err(AppendError::Unavailable(_))), "{again:?}");
    let post = store.inbox.post(&run, "x".repeat(100_000), 0).await;
    assert!(matches!(post, Err(PostError::Unavailable(_))), "{post:?}");
    assert_eq!(store.log.verify(&run).await.unwrap().records, 1 + 2 * written);
    assert_eq!(board(&store, &run).await.matches("claimed").count() as u64, written);
    assert_eq!(store.runs.check().await.unwrap(), Vec::<String>::new());
    drop(store);
    // With room again, the run goes on where it was.
    let store = open(dir.path());
    store.log.append(&run, Seq(1 + 2 * written), Epoch::NEVER_OWNED, wide(written)).await.unwrap();
    assert_eq!(store.log.verify(&run).await.unwrap().records, 3 + 2 * written);
}

#[tokio::test]
async fn a_database_that_vanished_is_not_begun_anew() {
    let on_disk = on_disk();
    let (run, _) = create(&on_disk.store, "r1", "i:a").await;
    on_disk.store.close().await;
    for name in ["store.db", "store.db-wal", "store.db-shm"] {
        let _ = std::fs::remove_file(on_disk.dir.path().join(name));
    }
    let gone = on_disk.store.log.verify(&run).await.unwrap_err();
    assert!(matches!(gone, wf_store::ReadError::Unavailable(_)), "{gone:?}");
    assert!(!on_disk.dir.path().join("store.db").exists());
}

#[tokio::test]
async fn nobody_else_can_read_the_files() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("state/projects/p");
    let store = open(&root);
    let (run, _) = create(&store, "r1", "i:a").await;
    store.blobs.put(b"x".as_slice().into()).await.unwrap();
    store.traces.append(&run, "a", "{}".to_owned());
    store.traces.flush().await;
    let mut waiting = vec![dir.path().join("state")];
    let mut seen = 0;
    while let Some(path) = waiting.pop() {
        let metadata = std::fs::metadata(&path).unwrap();
        let expected = if metadata.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(metadata.permissions().mode() & 0o777, expected, "{}", path.display());
        seen += 1;
        if metadata.is_dir() {
            waiting.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    assert_eq!(seen, 3 + 3 + 4 + 3, "state/projects/p, the database's files, blobs, traces");
    // A database that others could read is closed to them when it is opened.
    store.close().await;
    drop(store);
    std::fs::set_permissions(root.join("store.db"), std::fs::Permissions::from_mode(0o666)).unwrap();
    drop(open(&root));
    assert_eq!(std::fs::metadata(root.join("store.db")).unwrap().permissions().mode() & 0o777, 0o600);
}
