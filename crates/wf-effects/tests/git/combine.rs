//! The tree of a winner with fruit of losers.

use std::os::unix::fs::symlink;
use std::path::Path;

use expect_test::{Expect, expect};
use wf_effects::git::CombineOrder;
use wf_kernel::effect::Part;
use wf_kernel::record::Combined;

use super::support::{Bench, make_executable, order, raw, users_own, write_all};

const REF: &str = "refs/whaleflow/run1/b/both";

/// A branch that does `change`.
async fn branch(bench: &Bench, name: &str, change: impl FnOnce(&Path)) -> String {
    bench.trees.acquire(name, &bench.base).await.unwrap();
    let dir = bench.trees.begin(name, &bench.base).await.unwrap().dir;
    change(&dir);
    bench.trees.checkpoint(order(name, &bench.base, &["**"])).await.unwrap().commit
}

/// What a loser offers of all that it changed, or of some files.
async fn part(bench: &Bench, name: &str, files: Option<&[&str]>, change: impl FnOnce(&Path)) -> Part {
    let commit = branch(bench, name, change).await;
    let all = bench.trees.repository().harvest(&bench.base, &commit).await.unwrap().files;
    let all = all.into_iter().map(|file| file.path).collect();
    let files = files.map_or(all, |files| files.iter().map(|file| (*file).to_owned()).collect());
    Part { path: name.to_owned(), base: bench.base.clone(), commit, files }
}

async fn combine(bench: &Bench, winner: &str, parts: Vec<Part>) -> Combined {
    let order = CombineOrder {
        reference: REF.to_owned(),
        node: "both".to_owned(),
        base: bench.base.clone(),
        commit: winner.to_owned(),
        parts,
        at_ms: 1_700_000_009_000,
    };
    let before = users_own(&bench.repo);
    let combined = bench.trees.repository().combine(&order).await.unwrap();
    assert_eq!(bench.trees.repository().combine(&order).await.unwrap(), combined, "the same order, the same commit");
    assert_eq!(users_own(&bench.repo), before);
    assert_eq!(bench.at(REF), combined.checkpoint.commit);
    combined
}

/// What a combination came to.
fn told(bench: &Bench, combined: &Combined) -> String {
    let mut text = String::new();
    for part in &combined.taken {
        text += &format!("took {} of {}\n", part.files.join(" "), part.path);
    }
    for part in &combined.left {
        text += &format!("left {}: {}\n", part.path, part.files.join(" "));
    }
    for file in &combined.checkpoint.files {
        text += &format!("{} {}\n", file.change, file.path);
    }
    text + &raw(&bench.repo, &["ls-tree", "-r", "--name-only", &combined.checkpoint.commit]).replace('\n', " ")
}

fn check(bench: &Bench, combined: &Combined, expected: Expect) {
    expected.assert_eq(&told(bench, combined));
}

#[tokio::test]
async fn disjoint_patches_and_tests_are_taken() {
    let bench = Bench::new().await;
    let winner = branch(&bench, "win", |dir| write_all(dir, &[("src/a.txt", "won\n")])).await;
    let doc = part(&bench, "doc", None, |dir| {
        write_all(dir, &[("docs/guide", "how\n")]);
        std::fs::remove_file(dir.join("src/b.txt")).unwrap();
        make_executable(&dir.join("README"));
        symlink("README", dir.join("link")).unwrap();
    })
    .await;
    // It changed what the winner changed as well, but offers its test only.
    let test = part(&bench, "test", Some(&["tests/new.txt"]), |dir| {
        write_all(dir, &[("src/a.txt", "lost\n"), ("tests/new.txt", "check\n")]);
    })
    .await;
    let combined = combine(&bench, &winner, vec![doc, test]).await;
    check(
        &bench,
        &combined,
        expect![[r#"
        took README docs/guide link src/b.txt of doc
        took tests/new.txt of test
        mode README
        added docs/guide
        added link
        modified src/a.txt
        deleted src/b.txt
        added tests/new.txt
        .gitignore README docs/guide link src/a.txt tests/new.txt"#]],
    );
    assert_eq!(bench.show(&combined.checkpoint.commit, "src/a.txt"), "won");
    assert_eq!(bench.at(&format!("{}^", combined.checkpoint.commit)), winner);
    let facts = "%an %at%n%B";
    expect![[r#"
        whaleflow 1700000009
        both

        with fruit of: doc, test"#]]
    .assert_eq(&raw(&bench.repo, &["log", "-1", &format!("--format={facts}"), &combined.checkpoint.commit]));
}

#[tokio::test]
async fn what_does_not_fit_is_left_out_whole_and_named() {
    let bench = Bench::new().await;
    let winner = branch(&bench, "win", |dir| write_all(dir, &[("src/a.txt", "won\n"), ("new", "a file\n")])).await;
    let one = part(&bench, "one", None, |dir| write_all(dir, &[("README", "one\n"), ("x", "x\n")])).await;
    // In the way of the one before it, and so is the rest of it.
    let two = part(&bench, "two", None, |dir| write_all(dir, &[("README", "two\n"), ("y", "y\n")])).await;
    // The same as the one before: there already.
    let same = part(&bench, "same", None, |dir| write_all(dir, &[("README", "one\n")])).await;
    // A directory where the winner has a file.
    let dir_for_file = part(&bench, "dir", None, |dir| write_all(dir, &[("new/inner", "x\n")])).await;
    // A file where others have a directory.
    let file_for_dir = part(&bench, "file", Some(&["src"]), |dir| {
        std::fs::remove_dir_all(dir.join("src")).unwrap();
        write_all(dir, &[("src", "a file now\n")]);
    })
    .await;
    let combined = combine(&bench, &winner, vec![one, two, same, dir_for_file, file_for_dir]).await;
    check(
        &bench,
        &combined,
        expect![[r#"
        took README x of one
        took README of same
        left two: README
        left dir: new/inner
        left file: src
        modified README
        added new
        modified src/a.txt
        added x
        .gitignore README new src/a.txt src/b.txt x"#]],
    );
}

#[tokio::test]
async fn nothing_to_take_is_the_winner_itself() {
    let bench = Bench::new().await;
    let winner = branch(&bench, "win", |dir| write_all(dir, &[("src/a.txt", "won\n")])).await;
    let combined = combine(&bench, &winner, Vec::new()).await;
    assert_eq!(combined.checkpoint.commit, winner);
    let again = part(&bench, "again", None, |dir| write_all(dir, &[("src/a.txt", "won\n")])).await;
    let combined = combine(&bench, &winner, vec![again]).await;
    assert_eq!((combined.checkpoint.commit, combined.taken.len()), (winner, 1));
}

#[tokio::test]
async fn a_file_may_become_a_directory() {
    let bench = Bench::new().await;
    let winner = branch(&bench, "win", |dir| write_all(dir, &[("src/a.txt", "won\n")])).await;
    let turned = part(&bench, "turned", None, |dir| {
        std::fs::remove_file(dir.join("README")).unwrap();
        write_all(dir, &[("README/inner", "x\n")]);
    })
    .await;
    let combined = combine(&bench, &winner, vec![turned]).await;
    check(
        &bench,
        &combined,
        expect![[r#"
        took README README/inner of turned
        deleted README
        added README/inner
        modified src/a.txt
        .gitignore README/inner src/a.txt src/b.txt"#]],
    );
}

#[tokio::test]
async fn names_may_be_anything() {
    let bench = Bench::new().await;
    let winner = branch(&bench, "win", |dir| write_all(dir, &[("src/a.txt", "won\n")])).await;
    let odd = ["-rf", "a\nb", "\"q\"", "äöü", " ", ":(top)x", "*", "tab\there"];
    let fruit = part(&bench, "odd", None, |dir| {
        for name in odd {
            std::fs::write(dir.join(name), "x\n").unwrap();
        }
    })
    .await;
    let combined = combine(&bench, &winner, vec![fruit]).await;
    assert_eq!((combined.taken[0].files.len(), combined.checkpoint.files.len()), (odd.len(), odd.len() + 1));
    for name in odd {
        assert_eq!(bench.show(&combined.checkpoint.commit, name), "x", "{name:?}");
    }
}
