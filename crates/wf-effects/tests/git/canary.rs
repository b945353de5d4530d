//! Whatever a tree or a repository says should be run, is not run.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use wf_effects::git::{CombineOrder, FileOrder, Repository};
use wf_kernel::effect::Part;

use super::support::{Bench, make_executable, order, raw, raw_output, users_own, write_all};

/// A program that leaves a file behind when it is run.
fn trap(bench: &Bench, name: &str) -> String {
    let program = bench.lab.path(&format!("trap-{name}"));
    let canary = canaries(bench).join(name);
    std::fs::create_dir_all(canaries(bench)).unwrap();
    std::fs::write(&program, format!("#!/bin/sh\necho run >> {}\ncat\n", canary.display())).unwrap();
    make_executable(&program);
    program.display().to_string()
}

fn canaries(bench: &Bench) -> PathBuf {
    bench.lab.path("canaries")
}

/// A config in which everything that names a program names a trap.
fn poisoned_config(bench: &Bench, from: &str) -> String {
    let trap = |name: &str| trap(bench, &format!("{from}-{name}"));
    let hooks = bench.lab.path(&format!("hooks-{from}"));
    plant_hooks(bench, from, &hooks);
    format!(
        "[core]\n\tfsmonitor = {fsmonitor}\n\thooksPath = {hooks}\n\tsshCommand = {ssh}\n\teditor = {editor}\n\
         \tpager = {pager}\n\taskPass = {ask}\n\tattributesFile = {attributes}\n\tgitProxy = {proxy}\n\
         [diff]\n\texternal = {external}\n[diff \"t\"]\n\ttextconv = {textconv}\n\tcommand = {command}\n\
         [filter \"t\"]\n\tclean = {clean}\n\tsmudge = {smudge}\n\trequired = true\n\
         [filter \"p=q.r\"]\n\tprocess = {process}\n\trequired = true\n\
         [merge \"t\"]\n\tdriver = {driver}\n[gpg]\n\tprogram = {gpg}\n[commit]\n\tgpgSign = true\n\
         [alias]\n\tread-tree = !{alias}\n\tdiff-tree = !{alias}\n[credential]\n\thelper = {ask}\n\
         [uploadpack]\n\tpackObjectsHook = {pack}\n[hook \"t\"]\n\tcommand = {hook}\n\tevent = reference-transaction\n\
         \tevent = post-checkout\n[gc]\n\tauto = 1\n[maintenance]\n\tauto = true\n",
        fsmonitor = trap("fsmonitor"),
        hooks = hooks.display(),
        ssh = trap("ssh"),
        editor = trap("editor"),
        pager = trap("pager"),
        ask = trap("ask"),
        attributes = bench.lab.path("attributes").display(),
        proxy = trap("proxy"),
        external = trap("external"),
        textconv = trap("textconv"),
        command = trap("command"),
        clean = trap("clean"),
        smudge = trap("smudge"),
        process = trap("process"),
        driver = trap("driver"),
        gpg = trap("gpg"),
        alias = trap("alias"),
        pack = trap("pack"),
        hook = trap("hook"),
    )
}

fn plant_hooks(bench: &Bench, from: &str, dir: &Path) {
    std::fs::create_dir_all(dir).unwrap();
    for hook in
        ["post-checkout", "pre-commit", "reference-transaction", "post-index-change", "post-commit", "pre-auto-gc"]
    {
        std::fs::copy(trap(bench, &format!("{from}-{hook}")), dir.join(hook)).unwrap();
    }
}

fn append(path: &Path, text: &str) {
    let old = std::fs::read_to_string(path).unwrap_or_default();
    std::fs::write(path, format!("{old}\n{text}")).unwrap();
}

/// Attributes that bring every driver into play.
const ATTRIBUTES: &str = "* filter=t diff=t merge=t\n*.txt filter=p=q.r diff=t\n";

/// Every operation there is, with work in the tree.
async fn every_operation(bench: &Bench) {
    let trees = bench.successor().await;
    let repository = trees.repository().clone();
    trees.acquire("all", &bench.base).await.unwrap();
    let dir = trees.begin("all", &bench.base).await.unwrap().dir;
    write_all(&dir, &[("src/a.txt", "changed\n"), ("new.txt", "new\n")]);
    let point = trees.checkpoint(order("all", &bench.base, &["**"])).await.unwrap();
    assert_eq!(point.files.len(), 2);
    write_all(&dir, &[("src/b.txt", "unsaved\n")]);
    assert!(trees.begin("all", &point.commit).await.unwrap().rescued.is_some());
    write_all(&dir, &[("src/b.txt", "junk\n")]);
    trees.discard("all", &point.commit).await.unwrap();
    repository.harvest(&bench.base, &point.commit).await.unwrap();
    repository.diff(&bench.base, &point.commit, 1 << 20).await.unwrap();
    repository.patch(&bench.base, &point.commit).await.unwrap();
    trees.private_snapshot(&bench.base).await.unwrap();
    trees.snapshot(&point.commit).await.unwrap();
    repository.checkout_state().await.unwrap();
    write_all(&bench.repo, &[("README", "changed by hand\n")]);
    let other = repository.snapshot_worktree("other", 5).await.unwrap().at.commit;
    let order = FileOrder {
        from: bench.base.clone(),
        to: point.commit.clone(),
        tag: "t1".to_owned(),
        with_index: false,
        leaves_others: false,
    };
    repository.change_files(&order).await.unwrap();
    let (from, to) = (order.to.clone(), order.from.clone());
    repository.change_files(&FileOrder { from, to, with_index: true, ..order }).await.unwrap();
    repository.standing(&bench.base, &point.commit).await.unwrap();
    repository.create_branch("made", &point.commit).await.unwrap();
    repository.move_branch("refs/heads/made", &point.commit, &bench.base, "moved").await.unwrap();
    repository.drop_branch("made", &bench.base).await.unwrap();
    repository.pin("refs/whaleflow/run1/apply/1", &point.commit).await.unwrap();
    repository.unpin("refs/whaleflow/run1/apply/1").await.unwrap();
    repository.identity(&[]).await.unwrap();
    repository.head_ref().await.unwrap();
    repository.merge_base(&other, &point.commit).await.unwrap();
    repository.merge(&bench.base, &other, &point.commit).await.unwrap();
    let files = point.files.iter().map(|file| file.path.clone()).collect();
    let fruit = Part { path: "all".to_owned(), base: bench.base.clone(), commit: point.commit.clone(), files };
    let combine = CombineOrder {
        reference: "refs/whaleflow/run1/b/both".to_owned(),
        node: "both".to_owned(),
        base: bench.base.clone(),
        commit: bench.base.clone(),
        parts: vec![fruit],
        at_ms: 5,
    };
    repository.combine(&combine).await.unwrap();
    trees.release("all", &point.commit, false).await.unwrap();
    trees.cleanup().await.unwrap();
}

fn assert_silent(bench: &Bench) {
    assert_eq!(super::support::names_in(&canaries(bench)), Vec::<String>::new());
}

#[tokio::test]
async fn the_traps_work() {
    let bench = Bench::new().await;
    append(&bench.repo.join(".git/config"), &poisoned_config(&bench, "own").replace("gpgSign = true", ""));
    write_all(&bench.repo, &[(".git/info/attributes", ATTRIBUTES), ("src/a.txt", "changed\n")]);
    write_all(&bench.repo, &[("README", "changed\n")]);
    for args in [["status", "."], ["add", "README"], ["add", "src"], ["show", "--ext-diff"]] {
        raw_output(&bench.repo, &args);
    }
    raw(&bench.repo, &["branch", "other"]);
    let names = super::support::names_in(&canaries(&bench));
    for name in ["clean", "command", "fsmonitor", "process", "reference-transaction"] {
        let name = format!("own-{name}");
        assert!(names.contains(&name), "{name} is not among {names:?}");
    }
}

#[tokio::test]
async fn the_repositorys_config_hooks_and_attributes() {
    let bench = Bench::new().await;
    append(&bench.repo.join(".git/config"), &poisoned_config(&bench, "own"));
    write_all(&bench.repo, &[(".git/info/attributes", ATTRIBUTES)]);
    std::fs::write(bench.lab.path("attributes"), ATTRIBUTES).unwrap();
    plant_hooks(&bench, "default", &bench.repo.join(".git/hooks"));
    every_operation(&bench).await;
    assert_silent(&bench);
}

#[tokio::test]
async fn attributes_in_the_tree() {
    let mut bench = Bench::new().await;
    write_all(&bench.repo, &[(".gitattributes", ATTRIBUTES), ("src/.gitattributes", ATTRIBUTES)]);
    bench.base = super::support::commit_all(&bench.repo, "attributes");
    append(&bench.repo.join(".git/config"), &poisoned_config(&bench, "own"));
    every_operation(&bench).await;
    assert_silent(&bench);
}

#[tokio::test]
async fn included_and_per_worktree_config() {
    let bench = Bench::new().await;
    let included = bench.lab.path("included");
    std::fs::write(&included, poisoned_config(&bench, "included")).unwrap();
    let path = included.display();
    append(
        &bench.repo.join(".git/config"),
        &format!(
            "[include]\n\tpath = {path}\n[includeIf \"gitdir:/\"]\n\tpath = {path}\n[extensions]\n\tworktreeConfig = true\n"
        ),
    );
    std::fs::write(bench.repo.join(".git/config.worktree"), poisoned_config(&bench, "worktree")).unwrap();
    write_all(&bench.repo, &[(".git/info/attributes", ATTRIBUTES)]);
    every_operation(&bench).await;
    assert_silent(&bench);
}

#[tokio::test]
async fn a_config_that_is_poisoned_while_a_tree_is_in_use() {
    let bench = Bench::new().await;
    let dir = bench.ready("b").await;
    append(&bench.repo.join(".git/config"), &poisoned_config(&bench, "late"));
    plant_hooks(&bench, "late", &bench.repo.join(".git/hooks"));
    write_all(&dir, &[(".gitattributes", ATTRIBUTES), ("src/a.txt", "x\n")]);
    let point = bench.checkpoint("b", &["**"]).await;
    assert_eq!(point.files.len(), 2);
    write_all(&dir, &[("src/a.txt", "y\n")]);
    bench.trees.begin("b", &point.commit).await.unwrap();
    bench.trees.release("b", &point.commit, false).await.unwrap();
    assert_silent(&bench);
}

/// What an agent did to the control files of its tree; then the tree is used again.
async fn check_tampering(name: &str, tamper: impl Fn(&Bench, &Path, &Path)) {
    let bench = Bench::new().await;
    let dir = bench.ready("b").await;
    let admin = bench.repo.join(".git/worktrees").join(dir.file_name().unwrap());
    let before = users_own(&bench.repo);
    write_all(&dir, &[("src/a.txt", "x\n")]);
    tamper(&bench, &dir, &admin);
    let checkpoint = bench.trees.checkpoint(order("b", &bench.base, &["src/a.txt"])).await.unwrap();
    let begun = bench.trees.begin("b", &bench.base).await.unwrap();
    let rescued = begun.rescued.unwrap_or_else(|| panic!("{name}: the work must be rescued"));
    assert_eq!(bench.show(&rescued, "src/a.txt"), "x", "{name}");
    assert_eq!(raw(&dir, &["status", "--porcelain"]), "", "{name}");
    assert_eq!(raw(&dir, &["rev-parse", "HEAD"]), bench.base, "{name}");
    tamper(&bench, &dir, &admin);
    bench.trees.discard("b", &bench.base).await.unwrap();
    assert_eq!(raw(&dir, &["status", "--porcelain"]), "", "{name}");
    tamper(&bench, &dir, &admin);
    bench.trees.acquire("b", &bench.base).await.unwrap();
    tamper(&bench, &dir, &admin);
    bench.trees.release("b", &checkpoint.commit, false).await.unwrap();
    assert!(!dir.exists() && !admin.exists(), "{name}");
    assert_eq!(users_own(&bench.repo), before, "{name}");
    assert_silent(&bench);
}

/// A repository with a poisoned config, which is not in the way when it is there already.
fn evil_repository(bench: &Bench, dir: &Path) {
    if !dir.join("HEAD").exists() {
        std::fs::create_dir_all(dir.parent().unwrap()).unwrap();
        raw(&bench.lab.path(""), &["init", "-q", "--bare", &dir.display().to_string()]);
        std::fs::write(dir.join("config"), poisoned_config(bench, "evil")).unwrap();
        plant_hooks(bench, "evil", &dir.join("hooks"));
        write_all(dir, &[("info/attributes", ATTRIBUTES)]);
    }
}

#[tokio::test]
async fn a_git_pointer_that_was_swapped_for_a_directory() {
    check_tampering("directory", |bench, dir, _| {
        let dot_git = dir.join(".git");
        if dot_git.is_file() {
            std::fs::remove_file(&dot_git).unwrap();
        }
        evil_repository(bench, &dot_git);
    })
    .await;
}

#[tokio::test]
async fn a_git_pointer_that_leads_elsewhere() {
    check_tampering("pointer", |bench, dir, _| {
        let evil = bench.lab.path("evil.git");
        evil_repository(bench, &evil);
        std::fs::write(dir.join(".git"), format!("gitdir: {}\n", evil.display())).unwrap();
    })
    .await;
    check_tampering("link", |bench, dir, _| {
        let evil = bench.lab.path("evil.git");
        evil_repository(bench, &evil);
        std::fs::remove_file(dir.join(".git")).unwrap();
        symlink(evil, dir.join(".git")).unwrap();
    })
    .await;
    check_tampering("removed", |_, dir, _| _ = std::fs::remove_file(dir.join(".git"))).await;
}

#[tokio::test]
async fn control_files_that_were_changed() {
    check_tampering("commondir", |bench, _, admin| {
        let evil = bench.lab.path("evil.git");
        evil_repository(bench, &evil);
        std::fs::write(admin.join("commondir"), format!("{}\n", evil.display())).unwrap();
    })
    .await;
    check_tampering("config.worktree", |bench, _, admin| {
        std::fs::write(admin.join("config.worktree"), poisoned_config(bench, "worktree")).unwrap();
        let config = bench.repo.join(".git/config");
        assert!(std::fs::read_to_string(&config).unwrap().contains("filemode"));
    })
    .await;
    check_tampering("gitdir", |_, _, admin| std::fs::write(admin.join("gitdir"), "/etc/passwd\n").unwrap()).await;
    check_tampering("odd files", |_, _, admin| {
        for name in ["HEAD", "index", "gitdir", "commondir"] {
            _ = std::fs::remove_file(admin.join(name));
            symlink("/dev/zero", admin.join(name)).unwrap();
        }
        std::fs::remove_dir_all(admin.join("logs")).ok();
        symlink("../../logs", admin.join("logs")).ok();
    })
    .await;
    check_tampering("gone", |_, _, admin| {
        for name in ["HEAD", "index", "gitdir", "commondir", "refs", "logs"] {
            let path = admin.join(name);
            _ = if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
        }
    })
    .await;
}

#[tokio::test]
async fn a_head_on_the_users_branch_moves_nothing_of_the_users() {
    check_tampering("symbolic HEAD", |_, _, admin| {
        std::fs::write(admin.join("HEAD"), "ref: refs/heads/main\n").unwrap()
    })
    .await;
}

#[tokio::test]
async fn a_branch_ref_that_leads_to_the_users_branch() {
    let bench = Bench::new().await;
    let dir = bench.ready("b").await;
    write_all(&dir, &[("src/a.txt", "x\n")]);
    let reference = bench.trees.branch_ref("b");
    raw(&bench.repo, &["symbolic-ref", &reference, "refs/heads/main"]);
    let point = bench.checkpoint("b", &["**"]).await;
    assert_eq!((bench.at("refs/heads/main"), bench.at(&reference)), (bench.base.clone(), point.commit));
}

#[tokio::test]
async fn nested_repositories_are_not_entered() {
    let bench = Bench::new().await;
    let dir = bench.ready("b").await;
    evil_repository(&bench, &dir.join("inner/.git"));
    evil_repository(&bench, &dir.join("bare.git"));
    write_all(&dir, &[("inner/x.txt", "x\n"), ("src/a.txt", "x\n")]);
    raw(&bench.repo, &["-c", "advice.addEmbeddedRepo=false", "status"]);
    let point = bench.checkpoint("b", &["**"]).await;
    assert_eq!(point.out_of_scope, ["inner"]);
    bench.trees.begin("b", &bench.base).await.unwrap();
    assert_silent(&bench);
    // The same in the user's checkout, where a submodule is poisoned, too.
    evil_repository(&bench, &bench.repo.join("inner/.git"));
    let repository = Repository::discover(&bench.lab.git, &bench.repo).await.unwrap();
    repository.snapshot_worktree("other", 5).await.unwrap();
    repository.checkout_state().await.unwrap();
    assert_silent(&bench);
}

#[tokio::test]
async fn a_poisoned_submodule_is_not_asked_anything() {
    let mut bench = Bench::new().await;
    bench.lab.repository("part");
    raw(&bench.repo, &["-c", "protocol.file.allow=always", "submodule", "--quiet", "add", "../part", "part"]);
    bench.base = super::support::commit_all(&bench.repo, "with a submodule");
    append(&bench.repo.join(".git/modules/part/config"), &poisoned_config(&bench, "part"));
    write_all(&bench.repo, &[("part/README", "changed\n")]);
    let repository = Repository::discover(&bench.lab.git, &bench.repo).await.unwrap();
    assert!(repository.checkout_state().await.unwrap().is_clean());
    assert_eq!(repository.snapshot_worktree("run1", 5).await.unwrap().at.commit, bench.base);
    assert_silent(&bench);
}
