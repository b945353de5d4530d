//! A search that runs out of file descriptors says so. The limit is a process's, so this test has one of its own.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tempfile::TempDir;
use wf_effects::CancelToken;
use wf_effects::beneath::Root;
use wf_effects::search::{Search, SearchError, search};

#[test]
fn what_could_not_be_opened_is_not_passed_over() {
    let temp = TempDir::new().unwrap();
    for at in 0..3 {
        let dir = temp.path().join(format!("a/b{at}/c"));
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("file"), "needle\n").unwrap();
        std::fs::write(dir.join(".gitignore"), "none\n").unwrap();
    }
    let root = Root::open(temp.path()).unwrap();
    let find = || {
        search(&Search { root: &root, pattern: "needle", reads: &[], matches_max: 9 }, &CancelToken::default())
            .map(|value| value.get("count").as_int())
    };
    let usual = getrlimit(Resource::Nofile);
    let mut found = Vec::new();
    for max in 0..40 {
        setrlimit(Resource::Nofile, Rlimit { current: Some(max), ..usual }).unwrap();
        found.push(find());
    }
    setrlimit(Resource::Nofile, usual).unwrap();
    let failed = found.iter().filter(|it| matches!(it, Err(SearchError::Io(_)))).count();
    let whole = found.iter().filter(|it| **it == Ok(Some(3))).count();
    assert_eq!((failed + whole, failed > 0, found.last()), (found.len(), true, Some(&Ok(Some(3)))), "{found:?}");
}
