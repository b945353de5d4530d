//! Ways to poison git's control files: of each it is shown that no program of the poisoner's runs in the engine's calls,
//! that work is neither lost nor falsified, and that an answer comes. Where plain git in the same directory would run the
//! program, that is shown first, so that a case cannot pass because its poison has no effect.

use std::fmt::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use expect_test::{Expect, expect};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use wf_effects::git::{CombineOrder, FileOrder, Git, GitError, GitOptions, Repository, Rescues, Trees, TreesOptions};
use wf_kernel::effect::Part;

use super::support::{Bench, Lab, RUN, make_executable, options, order, raw, raw_output, shell, write_all};

/// How long one call of git may take here, and how long one operation, which makes dozens.
const CALL_LIMIT: Duration = Duration::from_secs(30);
const OPERATION_LIMIT: Duration = Duration::from_secs(180);

/// Attributes that bring every driver into play.
const ATTRIBUTES: &str = "*.txt filter=t diff=t merge=t\n";

/// A way to poison.
struct Case {
    name: &'static str,
    poison: Poison,
    /// What makes plain git run the program, said to a shell in the tree. Empty where the harm is another one: content
    /// that lies, a read that never ends, a repository that cannot be read.
    proof: &'static str,
}

enum Poison {
    /// Lines for the config that all checkouts share, with attributes that use them.
    Config(&'static str),
    /// A hook.
    Hook(&'static str),
    /// Anything else.
    Files(fn(&Scene)),
}

/// A repository of which a tree is in use, with work in it.
struct Scene {
    bench: Bench,
    dir: PathBuf,
    /// Git's entry of the tree.
    admin: PathBuf,
    /// What all checkouts share.
    common: PathBuf,
    /// A commit on the base that was made before anything was poisoned.
    won: String,
}

/// Makes a commit that adds one file, in whatever directory of a repository.
const WON: &str = "export GIT_INDEX_FILE=$PWD/.git/index-of-won; git read-tree HEAD; \
    git update-index --add --cacheinfo 100644,$(echo won | git hash-object -w --stdin),won.txt; \
    git commit-tree -p HEAD -m won $(git write-tree); rm $GIT_INDEX_FILE";

impl Scene {
    async fn new() -> Self {
        let lab = Lab::new().await;
        let (repo, base) = lab.repository("repo");
        let git = Git::open(quick(&lab)).await.unwrap();
        let bench = Bench::over(Lab { git, ..lab }, repo, base).await;
        let dir = bench.ready("b").await;
        let common = bench.repo.join(".git");
        let admin = common.join("worktrees").join(dir.file_name().unwrap());
        let trap = bench.lab.path("trap");
        let canary = bench.lab.path("canary");
        std::fs::write(&trap, format!("#!/bin/sh\necho run >> '{}'\nexit 1\n", canary.display())).unwrap();
        make_executable(&trap);
        write_all(&dir, &[("src/a.txt", "changed\n"), ("new.txt", "new\n")]);
        let won = String::from_utf8(shell(&bench.repo, WON).stdout).unwrap().trim().to_owned();
        Self { bench, dir, admin, common, won }
    }

    /// Text in which the names of places are replaced.
    fn filled(&self, text: &str) -> String {
        let path = |name: &str| self.bench.lab.path(name).display().to_string();
        text.replace("{trap}", &path("trap"))
            .replace("{lab}", &path(""))
            .replace("{repo}", &self.bench.repo.display().to_string())
            .replace("{base}", &self.bench.base)
    }

    fn plant(&self, poison: &Poison) {
        match poison {
            Poison::Config(text) => self.plant_config(text),
            Poison::Hook(name) => self.trap_at(&self.common.join("hooks").join(name)),
            Poison::Files(plant) => plant(self),
        }
    }

    fn plant_config(&self, text: &str) {
        write_all(&self.common, &[("info/attributes", ATTRIBUTES)]);
        self.append(&self.common.join("config"), text);
    }

    fn append(&self, path: &Path, text: &str) {
        let old = std::fs::read_to_string(path).unwrap_or_default();
        let text = self.filled(text);
        if !old.contains(&text) {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, format!("{old}\n{text}\n")).unwrap();
        }
    }

    fn trap_at(&self, path: &Path) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::copy(self.bench.lab.path("trap"), path).unwrap();
    }

    /// A repository elsewhere whose config runs the program.
    fn evil(&self) -> PathBuf {
        let evil = self.bench.lab.path("evil.git");
        self.evil_at(&evil);
        evil
    }

    fn evil_at(&self, dir: &Path) {
        if !dir.join("HEAD").exists() {
            raw(&self.bench.lab.path(""), &["init", "-q", "--bare", &dir.display().to_string()]);
            self.append(&dir.join("config"), "[core]\n\tbare = false\n\tfsmonitor = {trap}\n\tworktree = {lab}/repo");
            self.append(&dir.join("config"), "[filter \"t\"]\n\tclean = {trap}\n\tsmudge = {trap}");
            write_all(dir, &[("info/attributes", ATTRIBUTES)]);
            self.trap_at(&dir.join("hooks/post-index-change"));
        }
    }

    /// Puts something else in the place of a file.
    fn replace(&self, path: &Path, with: &With) {
        match std::fs::symlink_metadata(path) {
            Ok(metadata) if metadata.is_dir() => std::fs::remove_dir_all(path).unwrap(),
            Ok(_) => std::fs::remove_file(path).unwrap(),
            Err(_) => std::fs::create_dir_all(path.parent().unwrap()).unwrap(),
        }
        match with {
            With::Text(text) => std::fs::write(path, self.filled(text)).unwrap(),
            With::Link(target) => symlink(self.filled(target), path).unwrap(),
            With::Pipe => mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap(),
            With::Directory => std::fs::create_dir(path).unwrap(),
            With::Huge => std::fs::File::create(path).unwrap().set_len(1 << 32).unwrap(),
        }
    }

    fn has_run(&self) -> bool {
        self.bench.lab.path("canary").exists()
    }
}

enum With {
    Text(&'static str),
    Link(&'static str),
    Pipe,
    Directory,
    /// 4 GiB, of which none is on the disk.
    Huge,
}

fn quick(lab: &Lab) -> GitOptions {
    GitOptions { timeout: CALL_LIMIT, ..options(&lab.path(""), "git".into()) }
}

/// What the operations of the engine answered, where it was an error.
#[derive(Default)]
struct Refusals(Vec<String>);

impl Refusals {
    async fn note<T>(&mut self, name: &str, work: impl Future<Output = Result<T, GitError>>) -> Option<T> {
        match tokio::time::timeout(OPERATION_LIMIT, work).await {
            Ok(Ok(done)) => Some(done),
            Ok(Err(error)) => {
                let said = format!("{error:?}");
                let variant: String = said.chars().take_while(char::is_ascii_alphanumeric).collect();
                assert!(variant != "TimedOut", "{name}: {error}");
                self.0.push(format!("{name} {variant}"));
                None
            }
            Err(_) => panic!("{name}: no answer"),
        }
    }
}

/// Whether plain git runs the program.
async fn is_proven(case: &Case) -> bool {
    let scene = Scene::new().await;
    scene.plant(&case.poison);
    shell(&scene.dir, &scene.filled(case.proof));
    scene.has_run()
}

/// Every operation of the engine on a poisoned tree and repository. Answers with those that were refused.
async fn perform_all(case: &Case) -> Refusals {
    let scene = Scene::new().await;
    let Bench { trees, base, .. } = &scene.bench;
    let mut refusals = Refusals::default();
    scene.plant(&case.poison);
    let point = refusals.note("checkpoint", trees.checkpoint(order("b", base, &["**"]))).await;
    let mut is_saved = false;
    if let Some(point) = point.filter(|point| point.out_of_scope.is_empty()) {
        is_saved = true;
        assert_holds_work(&scene, &point.commit, case.name).await;
    }
    scene.plant(&case.poison);
    let begun = refusals.note("begin", trees.begin("b", base)).await;
    let has_rescued = begun.is_some_and(|begun| begun.rescued.is_some());
    scene.plant(&case.poison);
    if let Some(repository) = refusals.note("discover", Repository::discover(&scene.bench.lab.git, &scene.dir)).await {
        assert_eq!(repository.top(), scene.dir, "{}", case.name);
    }
    if let Some(others) = refusals.note("open", reopen(&scene)).await {
        perform_in_another(&scene, case, &others, &mut refusals).await;
        read_and_apply(&scene, case, &others, &mut refusals).await;
    }
    scene.plant(&case.poison);
    let released = refusals.note("release", trees.release("b", base, false)).await;
    for rescue in Rescues::of(trees.repository()).list(Some(RUN)).await.unwrap_or_default() {
        // Also where the operation that saved it failed after that.
        is_saved |= is_work(&work_in(&scene, &rescue.commit).await);
        // Or what a commit could not hold was moved there, whole.
        let holds = |dir: &PathBuf, name: &str, text: &str| {
            std::fs::read(dir.join(name)).is_ok_and(|found| found == text.as_bytes())
        };
        is_saved |=
            rescue.kept.iter().any(|dir| holds(dir, "src/a.txt", "changed\n") && holds(dir, "new.txt", "new\n"));
    }
    assert!(is_saved || !has_rescued, "{}: what was rescued is not what was there", case.name);
    let is_there = || std::fs::read(scene.dir.join("src/a.txt")).is_ok_and(|text| text == b"changed\n");
    assert!(is_saved || released.is_some_and(|rescued| rescued.is_some()) || is_there(), "{}: work is lost", case.name);
    refusals.note("cleanup", trees.cleanup()).await;
    assert!(!scene.has_run(), "{}: the program ran", case.name);
    refusals
}

/// What a second process does: a tree of its own, copies, rescues.
async fn perform_in_another(scene: &Scene, case: &Case, others: &Trees, refusals: &mut Refusals) {
    let base = &scene.bench.base;
    refusals.note("acquire", others.acquire("c", base)).await;
    scene.plant(&case.poison);
    if let Some(begun) = refusals.note("begin in another", others.begin("c", base)).await {
        assert_eq!(std::fs::read(begun.dir.join("src/b.txt")).unwrap(), b"b\n", "{}", case.name);
        write_all(&begun.dir, &[("dropped", "x\n")]);
    }
    scene.plant(&case.poison);
    if let Some(dir) = refusals.note("discard", others.discard("c", base)).await {
        assert!(!dir.join("dropped").exists(), "{}", case.name);
    }
    refusals.note("release of another", others.release("c", base, false)).await;
    for is_shared in [true, false] {
        let copy = match is_shared {
            true => refusals.note("snapshot", others.snapshot(base)).await.map(|copy| copy.path().to_owned()),
            // Looked at while it is there.
            false => refusals.note("private snapshot", others.private_snapshot(base)).await.map(|copy| {
                assert!(copy.path().join("src/a.txt").exists());
                PathBuf::new()
            }),
        };
        if let Some(copy) = copy.filter(|copy| copy.is_absolute()) {
            assert_eq!(std::fs::read(copy.join("src/a.txt")).unwrap(), b"a\n", "{}", case.name);
        }
    }
    let rescues = Rescues::of(others.repository());
    for rescue in refusals.note("list", rescues.list(Some(RUN))).await.unwrap_or_default() {
        let into = scene.bench.lab.path("restored").join(rescue.reference.replace('/', "-"));
        let restored = refusals.note("restore", rescues.restore(&rescue.reference, &into)).await;
        if restored.is_some_and(|rescue| rescue.kept.is_empty()) {
            assert_eq!(std::fs::read(into.join("new.txt")).unwrap(), b"new\n", "{}", case.name);
        }
    }
}

/// What is done with commits and with the user's checkout.
async fn read_and_apply(scene: &Scene, case: &Case, others: &Trees, refusals: &mut Refusals) {
    let (repository, base, won) = (others.repository(), &scene.bench.base, &scene.won);
    refusals.note("head", repository.head_commit()).await;
    refusals.note("snapshot of the checkout", repository.snapshot_worktree("run9", 5)).await;
    refusals.note("state of the checkout", repository.checkout_state()).await;
    if let Some(patch) = refusals.note("diff", repository.diff(base, won, 1 << 20)).await {
        assert!(String::from_utf8_lossy(&patch.bytes).contains("+won"), "{}", case.name);
    }
    refusals.note("patch", repository.patch(base, won)).await;
    refusals.note("harvest", repository.harvest(base, won)).await;
    refusals.note("merge", repository.merge(base, won, base)).await;
    let part =
        Part { path: "c".to_owned(), base: base.clone(), commit: won.clone(), files: vec!["won.txt".to_owned()] };
    let order = CombineOrder {
        reference: format!("refs/whaleflow/{RUN}/b/both"),
        node: "both".to_owned(),
        base: base.clone(),
        commit: base.clone(),
        parts: vec![part],
        at_ms: 5,
    };
    if let Some(combined) = refusals.note("combine", repository.combine(&order)).await {
        assert_eq!((combined.taken.len(), combined.left.len()), (1, 0), "{}", case.name);
    }
    scene.plant(&case.poison);
    let (from, to, tag) = (base.clone(), won.clone(), "t1".to_owned());
    let order = FileOrder { from, to, tag, with_index: true, leaves_others: true };
    if refusals.note("apply", repository.change_files(&order)).await.is_some() {
        assert_eq!(std::fs::read(scene.bench.repo.join("won.txt")).unwrap(), b"won\n", "{}", case.name);
    }
    refusals.note("branch", repository.create_branch("won", won)).await;
}

async fn reopen(scene: &Scene) -> Result<Trees, GitError> {
    let git = Git::open(quick(&scene.bench.lab)).await?;
    let repository = Repository::discover(&git, &scene.bench.repo).await?;
    let (root, pool) = (scene.bench.lab.path("trees"), scene.bench.lab.pool("first"));
    Trees::open(&repository, &TreesOptions { root, run: RUN.to_owned(), pool })
}

async fn assert_holds_work(scene: &Scene, commit: &str, name: &str) {
    let text = work_in(scene, commit).await;
    assert!(is_work(&text), "{name}: {commit} holds\n{text}");
}

async fn work_in(scene: &Scene, commit: &str) -> String {
    let diff = scene.bench.trees.repository().diff(&scene.bench.base, commit, 1 << 20).await.unwrap();
    String::from_utf8(diff.bytes).unwrap()
}

fn is_work(text: &str) -> bool {
    text.contains("\n+changed\n") && text.contains("\n+new\n")
}

/// Holds the engine against each case; every second one, unless this is the long form. What is expected: how many there
/// are, in how many plain git runs the program, and which operations are refused; all others do their work.
async fn check(cases: &[Case], expected: Expect) {
    let is_long = std::env::vars_os().any(|(name, value)| name == "WHALEFLOW_LONG" && value == "1");
    let is_proven_by_git = |case: &&Case| !case.proof.is_empty();
    let counted = format!("{} cases, {} proven\n", cases.len(), cases.iter().filter(is_proven_by_git).count());
    let mut said = counted.clone();
    let run: Vec<&Case> = cases.iter().step_by(if is_long { 1 } else { 2 }).collect();
    for case in &run {
        if is_proven_by_git(case) {
            assert!(is_proven(case).await, "{}: plain git does not run the program", case.name);
        }
        let refusals = perform_all(case).await.0;
        if !refusals.is_empty() {
            writeln!(said, "{}: {}", case.name, refusals.join(", ")).unwrap();
        }
    }
    if is_long {
        return expected.assert_eq(&said);
    }
    let is_of_run = |line: &&str| run.iter().any(|case| line.starts_with(&format!("{}: ", case.name)));
    let wanted: String =
        expected.data().lines().map(str::trim_start).filter(is_of_run).map(|line| format!("{line}\n")).collect();
    assert_eq!(said, counted.clone() + &wanted);
    assert!(expected.data().contains(counted.trim()), "{counted}");
}

const fn config(name: &'static str, text: &'static str, proof: &'static str) -> Case {
    Case { name, poison: Poison::Config(text), proof }
}

const fn hook(name: &'static str, proof: &'static str) -> Case {
    Case { name, poison: Poison::Hook(name), proof }
}

const fn files(name: &'static str, plant: fn(&Scene), proof: &'static str) -> Case {
    Case { name, poison: Poison::Files(plant), proof }
}

/// A file of the repository itself in whose place is something else.
fn swap(scene: &Scene, name: &str, with: &With) {
    scene.replace(&scene.common.join(name), with);
}

/// The same, of git's entry of the tree.
fn swap_admin(scene: &Scene, name: &str, with: &With) {
    if scene.admin.exists() {
        scene.replace(&scene.admin.join(name), with);
    }
}

#[tokio::test]
async fn config_that_names_a_program_for_files() {
    let cases = [
        config("core.fsmonitor", "[core]\n\tfsmonitor = {trap}", "git status"),
        config(
            "core.hooksPath",
            "[core]\n\thooksPath = {lab}/hooks-of-mine",
            "ln -s . '{lab}/hooks-of-mine'; cp '{trap}' '{lab}/pre-commit'; git commit --allow-empty -m x",
        ),
        config(
            "core.attributesFile",
            "[core]\n\tattributesFile = {repo}/.git/info/attributes\n[filter \"t\"]\n\tclean = {trap}",
            "git add src",
        ),
        config("filter.clean", "[filter \"t\"]\n\tclean = {trap}\n\trequired = true", "git add src"),
        config(
            "filter.smudge",
            "[filter \"t\"]\n\tsmudge = {trap}\n\trequired = true",
            "rm src/b.txt; git checkout -- src",
        ),
        config("filter.process", "[filter \"t\"]\n\tprocess = {trap}\n\trequired = true", "git add src"),
        config("diff.external", "[diff]\n\texternal = {trap}", "git diff"),
        config("diff.textconv", "[diff \"t\"]\n\ttextconv = {trap}", "git diff"),
        config("diff.command", "[diff \"t\"]\n\tcommand = {trap}", "git diff"),
        config(
            "merge.driver",
            "[merge \"t\"]\n\tdriver = {trap}",
            "git stash -q; echo x > src/a.txt; git commit -qam x; git stash pop",
        ),
        config("gpg.program", "[commit]\n\tgpgSign = true\n[gpg]\n\tprogram = {trap}", "git commit --allow-empty -m x"),
        config(
            "gpg.ssh.program",
            "[commit]\n\tgpgSign = true\n[gpg]\n\tformat = ssh\n[user]\n\tsigningKey = {trap}\n[gpg \"ssh\"]\n\tprogram = {trap}",
            "git commit --allow-empty -m x",
        ),
        config(
            "gpg.x509.program",
            "[commit]\n\tgpgSign = true\n[gpg]\n\tformat = x509\n[gpg \"x509\"]\n\tprogram = {trap}",
            "git commit --allow-empty -m x",
        ),
        config(
            "gpg.ssh.defaultKeyCommand",
            "[commit]\n\tgpgSign = true\n[gpg]\n\tformat = ssh\n[gpg \"ssh\"]\n\tdefaultKeyCommand = {trap}",
            "git commit --allow-empty -m x",
        ),
        config("tag.gpgSign", "[tag]\n\tgpgSign = true\n[gpg]\n\tprogram = {trap}", "git tag -m x x"),
        config("core.editor", "[core]\n\teditor = {trap}", "git commit --allow-empty"),
        config("sequence.editor", "[sequence]\n\teditor = {trap}", "git stash; git rebase -i --root"),
        config("core.pager", "[core]\n\tpager = {trap}", "git grep -O one"),
        config("alias", "[alias]\n\tread-tree = !{trap}\n\tx = !{trap}", "git x"),
        config(
            "trailer.cmd",
            "[trailer \"x\"]\n\tkey = X\n\tcmd = {trap}",
            "echo a | git interpret-trailers --trailer x=1",
        ),
        config("difftool.cmd", "[diff]\n\ttool = t\n[difftool \"t\"]\n\tcmd = {trap}", "git difftool -y"),
        config(
            "interactive.diffFilter",
            "[interactive]\n\tdiffFilter = {trap}\n[color]\n\tui = always",
            "echo q | git add -p",
        ),
        config("gc.recentObjectsHook", "[gc]\n\tauto = 1\n\trecentObjectsHook = {trap}", "git gc -q --prune=now"),
    ];
    check(
        &cases,
        expect![[r#"
        23 cases, 23 proven
    "#]],
    )
    .await;
}

#[tokio::test]
async fn config_that_names_a_program_for_what_is_elsewhere() {
    let cases = [
        config("core.sshCommand", "[core]\n\tsshCommand = {trap}", "git fetch ssh://localhost/x"),
        config("core.gitProxy", "[core]\n\tgitProxy = {trap}", "git fetch git://localhost/x"),
        config(
            "core.askPass",
            "[core]\n\taskPass = {trap}",
            "printf 'protocol=https\\nhost=localhost\\n\\n' | git credential fill",
        ),
        config(
            "credential.helper",
            "[credential]\n\thelper = {trap}",
            "printf 'protocol=https\\nhost=localhost\\n\\n' | git credential fill",
        ),
        config(
            "credential.url.helper",
            "[credential \"https://localhost\"]\n\thelper = !{trap}",
            "printf 'protocol=https\\nhost=localhost\\n\\n' | git credential fill",
        ),
        config("remote.uploadpack", "[remote \"r\"]\n\turl = {repo}\n\tuploadpack = {trap}", "git fetch r"),
        config(
            "remote.receivepack",
            "[remote \"r\"]\n\turl = {repo}\n\treceivepack = {trap}",
            "git push r HEAD:refs/heads/x",
        ),
        config(
            "remote.vcs",
            "[protocol]\n\tallow = always\n[remote \"r\"]\n\tvcs = ext\n\turl = {trap}",
            "git fetch r",
        ),
        config(
            "protocol.ext.allow",
            "[protocol \"ext\"]\n\tallow = always\n[remote \"r\"]\n\turl = ext::{trap}",
            "git fetch r",
        ),
        config(
            "url.insteadOf",
            "[protocol]\n\tallow = always\n[url \"ext::{trap} \"]\n\tinsteadOf = https:",
            "git fetch https://localhost/x",
        ),
        config(
            "extensions.partialClone",
            "[core]\n\trepositoryFormatVersion = 1\n[extensions]\n\tpartialClone = r\n[remote \"r\"]\n\tpromisor = true\n\turl = {repo}\n\tuploadpack = {trap}",
            "git cat-file -p 1234567890123456789012345678901234567890",
        ),
        config(
            "submodule.update",
            "[submodule \"part\"]\n\turl = {repo}\n\tactive = true\n\tupdate = !{trap}",
            "printf '[submodule \"part\"]\\npath=part\\nurl=./x\\n' > .gitmodules; git update-index --add --cacheinfo 160000,{base},part; git -c protocol.file.allow=always submodule update",
        ),
        config("uploadpack.packObjectsHook", "[uploadpack]\n\tpackObjectsHook = {trap}", ""),
        config(
            "core.alternateRefsCommand",
            "[core]\n\talternateRefsCommand = {trap}",
            "git init -q --bare '{lab}/alt'; echo '{lab}/alt/objects' > '{repo}/.git/objects/info/alternates'; git push '{repo}' HEAD:refs/heads/x",
        ),
        config(
            "include.path",
            "[include]\n\tpath = {lab}/included",
            "printf '[core]\\nfsmonitor = {trap}\\n' > '{lab}/included'; git status",
        ),
        files(
            "include.path that is there",
            |scene| {
                scene.append(
                    &scene.bench.lab.path("included"),
                    "[core]\n\tfsmonitor = {trap}\n[filter \"t\"]\n\tclean = {trap}\n\tsmudge = {trap}",
                );
                scene.plant_config("[include]\n\tpath = {lab}/included");
            },
            "git status",
        ),
        files(
            "includeIf.gitdir",
            |scene| {
                scene.append(
                    &scene.bench.lab.path("included"),
                    "[core]\n\tfsmonitor = {trap}\n[filter \"t\"]\n\tclean = {trap}\n\tsmudge = {trap}",
                );
                scene.plant_config("[includeIf \"gitdir:/\"]\n\tpath = {lab}/included");
            },
            "git status",
        ),
        files(
            "includeIf.onbranch",
            |scene| {
                scene.append(&scene.bench.lab.path("included"), "[core]\n\tfsmonitor = {trap}");
                scene.plant_config("[includeIf \"onbranch:**\"]\n\tpath = {lab}/included");
            },
            "git checkout -q -b x; git status",
        ),
        files(
            "includeIf.hasconfig",
            |scene| {
                scene.append(&scene.bench.lab.path("included"), "[core]\n\tfsmonitor = {trap}");
                scene.plant_config("[remote \"r\"]\n\turl = file:///x\n[includeIf \"hasconfig:remote.*.url:file:///**\"]\n\tpath = {lab}/included");
            },
            "git status",
        ),
        files(
            "include from the tree",
            |scene| {
                scene.append(&scene.dir.join("../included"), "[core]\n\tfsmonitor = {trap}");
                scene.plant_config("[include]\n\tpath = ../../trees/included");
            },
            "git status",
        ),
        config(
            "a driver with an odd name",
            "[filter \"p=q.r\"]\n\tclean = {trap}\n\tsmudge = {trap}",
            "echo '* filter=p=q.r' > .gitattributes; git add .",
        ),
        config(
            "a driver with a name in capitals",
            "[FILTER \"T\"]\n\tCLEAN = {trap}\n\tSMUDGE = {trap}",
            "echo '* filter=T' > .gitattributes; git add .",
        ),
        config("an alias in a section of its own", "[alias \"update-index\"]\n\tcommand = !{trap}", ""),
    ];
    check(
        &cases,
        expect![[r#"
        23 cases, 21 proven
    "#]],
    )
    .await;
}

#[tokio::test]
async fn config_that_changes_what_a_repository_is() {
    let cases = [
        config("core.worktree", "[core]\n\tworktree = {lab}", ""),
        config("core.bare", "[core]\n\tbare = true", ""),
        config("core.excludesFile", "[core]\n\texcludesFile = /dev/zero", ""),
        config("core.sparseCheckout", "[core]\n\tsparseCheckout = true", ""),
        config("core.repositoryFormatVersion", "[core]\n\trepositoryFormatVersion = 99", ""),
        config(
            "extensions.objectFormat",
            "[core]\n\trepositoryFormatVersion = 1\n[extensions]\n\tobjectFormat = sha256",
            "",
        ),
        config(
            "extensions.refStorage",
            "[core]\n\trepositoryFormatVersion = 1\n[extensions]\n\trefStorage = reftable",
            "",
        ),
        config("extensions.unknown", "[core]\n\trepositoryFormatVersion = 1\n[extensions]\n\tunknown = true", ""),
        config("diff.orderFile", "[diff]\n\torderFile = /dev/zero", ""),
        config("malformed", "[core\nx = ]]]", ""),
        config("include of itself", "[include]\n\tpath = config", ""),
        files(
            "config.worktree of the tree",
            |scene| {
                scene.plant_config("[extensions]\n\tworktreeConfig = true");
                swap_admin(scene, "config.worktree", &With::Text("[core]\n\tfsmonitor = {trap}\n"));
            },
            "git status",
        ),
        files(
            "config.worktree of the checkout",
            |scene| {
                scene.plant_config("[extensions]\n\tworktreeConfig = true");
                swap(
                    scene,
                    "config.worktree",
                    &With::Text("[core]\n\tfsmonitor = {trap}\n[filter \"t\"]\n\tclean = {trap}\n\tsmudge = {trap}\n"),
                );
            },
            "git -C '{repo}' status",
        ),
        files(
            "config as a link",
            |scene| {
                scene.append(&scene.bench.lab.path("linked"), "[core]\n\tbare = false\n\tfsmonitor = {trap}");
                swap(scene, "config", &With::Link("{lab}/linked"));
            },
            "git status",
        ),
        files("config as a pipe", |scene| swap(scene, "config", &With::Pipe), ""),
        files("config as a directory", |scene| swap(scene, "config", &With::Directory), ""),
        files("config of 4 GiB", |scene| swap(scene, "config", &With::Huge), ""),
        files(
            "config.worktree as a pipe",
            |scene| {
                scene.plant_config("[extensions]\n\tworktreeConfig = true");
                swap(scene, "config.worktree", &With::Pipe);
            },
            "",
        ),
    ];
    check(&cases, expect![[r#"
        18 cases, 3 proven
        core.bare: open Bare
        core.repositoryFormatVersion: checkpoint Failed, begin Failed, acquire UnknownRevision, begin in another UnknownRevision, discard UnknownRevision, release of another UnknownRevision, snapshot UnknownRevision, private snapshot UnknownRevision, list Failed, head Unborn, snapshot of the checkout Unborn, state of the checkout Unborn, diff UnknownRevision, patch UnknownRevision, harvest UnknownRevision, merge UnknownRevision, combine UnknownRevision, apply UnknownRevision, branch UnknownRevision, release Failed, cleanup Failed
        extensions.objectFormat: checkpoint Failed, begin Failed, acquire UnknownRevision, begin in another UnknownRevision, discard UnknownRevision, release of another UnknownRevision, snapshot UnknownRevision, private snapshot UnknownRevision, head Unborn, snapshot of the checkout Unborn, state of the checkout Unborn, diff UnknownRevision, patch UnknownRevision, harvest UnknownRevision, merge UnknownRevision, combine UnknownRevision, apply UnknownRevision, branch UnknownRevision, release Failed, cleanup Failed
        extensions.refStorage: checkpoint Failed, begin Failed, acquire Failed, begin in another Failed, discard Failed, release of another Failed, head Unborn, snapshot of the checkout Unborn, state of the checkout Unborn, combine Failed, apply Unborn, branch Failed, release Failed, cleanup Failed
        extensions.unknown: checkpoint Failed, begin Failed, acquire Failed, begin in another Failed, discard Failed, release of another Failed, list Failed, head Unborn, snapshot of the checkout Unborn, state of the checkout Unborn, combine Failed, apply Unborn, branch Failed, release Failed, cleanup Failed
        malformed: checkpoint Failed, begin Failed, discover Failed, open Failed, release Failed, cleanup Failed
        include of itself: checkpoint Failed, begin Failed, acquire Failed, begin in another Failed, discard Failed, release of another Failed, list Failed, head Unborn, snapshot of the checkout Unborn, state of the checkout Unborn, combine Failed, apply Unborn, branch Failed, release Failed, cleanup Failed
        config as a link: discover Tampered, open Tampered
        config as a pipe: checkpoint Tampered, begin Tampered, discover Tampered, open Tampered, release Tampered, cleanup Tampered
        config as a directory: checkpoint Failed, begin Failed, discover Tampered, open Tampered, release Failed, cleanup Failed
        config of 4 GiB: checkpoint Failed, begin Failed, discover Tampered, open Tampered, release Failed, cleanup Failed
        config.worktree as a pipe: checkpoint Tampered, begin Tampered, acquire Tampered, begin in another Tampered, discard Tampered, release of another Tampered, list Tampered, head Tampered, snapshot of the checkout Tampered, state of the checkout Tampered, combine Tampered, apply Tampered, branch Tampered, release Tampered, cleanup Tampered
    "#]]).await;
}

#[tokio::test]
async fn hooks() {
    let cases = [
        hook("pre-commit", "git commit --allow-empty -m x"),
        hook("prepare-commit-msg", "git commit --allow-empty -m x"),
        hook("commit-msg", "git commit --allow-empty -m x"),
        hook("post-commit", "git commit --allow-empty -m x"),
        hook("post-checkout", "git checkout -q HEAD~0"),
        hook("post-index-change", "git add src"),
        hook("post-rewrite", "git commit --amend -m x"),
        hook(
            "post-merge",
            "git stash -q; git checkout -q -b x; git commit -q --allow-empty -m x; git checkout -q -b y {base}; git merge x",
        ),
        hook(
            "pre-merge-commit",
            "git stash -q; git checkout -q -b x; git commit -q --allow-empty -m x; git checkout -q -b y {base}; git merge --no-ff -m x x",
        ),
        hook("pre-rebase", "git stash -q; git rebase --root"),
        hook("reference-transaction", "git update-ref refs/heads/x HEAD"),
        hook(
            "applypatch-msg",
            "git commit -qam x; git format-patch -1 --stdout > '{lab}/x'; git reset -q --hard HEAD^; git am '{lab}/x'",
        ),
        hook(
            "pre-applypatch",
            "git commit -qam x; git format-patch -1 --stdout > '{lab}/x'; git reset -q --hard HEAD^; git am '{lab}/x'",
        ),
        hook(
            "post-applypatch",
            "git commit -qam x; git format-patch -1 --stdout > '{lab}/x'; git reset -q --hard HEAD^; git am '{lab}/x'",
        ),
        hook("pre-push", "git push '{repo}' HEAD:refs/heads/x"),
        hook("pre-receive", "git push '{repo}' HEAD:refs/heads/x"),
        hook("update", "git push '{repo}' HEAD:refs/heads/x"),
        hook("post-receive", "git push '{repo}' HEAD:refs/heads/x"),
        hook("post-update", "git push '{repo}' HEAD:refs/heads/x"),
        hook(
            "push-to-checkout",
            "git commit -qam x; git -C '{repo}' config receive.denyCurrentBranch updateInstead; git push '{repo}' HEAD:refs/heads/main",
        ),
        hook("pre-auto-gc", "git repack -q; git commit -qam x; git repack -q; git -c gc.autoPackLimit=1 gc --auto"),
        hook("sendemail-validate", ""),
    ];
    check(
        &cases,
        expect![[r#"
        22 cases, 21 proven
    "#]],
    )
    .await;
}

#[tokio::test]
async fn pointers_and_nested_repositories() {
    let cases = [
        files(
            ".git as a directory",
            |scene| {
                let dot_git = scene.dir.join(".git");
                if !dot_git.is_dir() {
                    std::fs::remove_file(&dot_git).unwrap();
                }
                scene.evil_at(&dot_git);
            },
            "git --work-tree=. status",
        ),
        files(
            ".git that leads elsewhere",
            |scene| {
                scene.evil();
                scene.replace(&scene.dir.join(".git"), &With::Text("gitdir: {lab}/evil.git\n"));
            },
            "git --work-tree=. status",
        ),
        files(
            ".git as a link to elsewhere",
            |scene| {
                scene.evil();
                scene.replace(&scene.dir.join(".git"), &With::Link("{lab}/evil.git"));
            },
            "git --work-tree=. status",
        ),
        files(
            ".git as a link to nothing",
            |scene| scene.replace(&scene.dir.join(".git"), &With::Link("{lab}/none")),
            "",
        ),
        files(".git as a pipe", |scene| scene.replace(&scene.dir.join(".git"), &With::Pipe), ""),
        files(".git of 4 GiB", |scene| scene.replace(&scene.dir.join(".git"), &With::Huge), ""),
        files(
            "commondir",
            |scene| {
                scene.evil();
                swap_admin(scene, "commondir", &With::Text("{lab}/evil.git\n"));
            },
            "git status",
        ),
        files("commondir as a pipe", |scene| swap_admin(scene, "commondir", &With::Pipe), ""),
        files(
            "commondir as a link",
            |scene| {
                scene.evil();
                scene.append(&scene.bench.lab.path("commondir"), "");
                std::fs::write(scene.bench.lab.path("commondir"), scene.filled("{lab}/evil.git\n")).unwrap();
                swap_admin(scene, "commondir", &With::Link("{lab}/commondir"));
            },
            "git status",
        ),
        files("gitdir", |scene| swap_admin(scene, "gitdir", &With::Text("/etc/passwd\n")), ""),
        files("gitdir as a pipe", |scene| swap_admin(scene, "gitdir", &With::Pipe), ""),
        files(
            "git's entry as a link",
            |scene| {
                scene.evil();
                if scene.admin.symlink_metadata().is_ok_and(|metadata| metadata.is_dir()) {
                    std::fs::remove_dir_all(&scene.admin).unwrap();
                    symlink(scene.bench.lab.path("evil.git"), &scene.admin).unwrap();
                }
            },
            "git --work-tree=. status",
        ),
        files(
            "an embedded bare repository",
            |scene| scene.evil_at(&scene.dir.join("docs.git")),
            "cd docs.git && git status",
        ),
        files(
            "a nested repository",
            |scene| {
                std::fs::create_dir_all(scene.dir.join("nested")).unwrap();
                scene.evil_at(&scene.dir.join("nested/.git"));
            },
            "cd nested && git status",
        ),
        files(
            "a nested repository that is a submodule in the index",
            |scene| {
                std::fs::create_dir_all(scene.dir.join("nested")).unwrap();
                scene.evil_at(&scene.dir.join("nested/.git"));
                raw_output(
                    &scene.dir,
                    &["update-index", "--add", "--cacheinfo", &format!("160000,{},nested", scene.bench.base)],
                );
                let head = scene.dir.join("nested/.git/HEAD");
                std::fs::write(head, format!("{}\n", scene.bench.base)).unwrap();
                std::fs::create_dir_all(scene.dir.join("nested/.git/objects/info")).unwrap();
                std::fs::write(
                    scene.dir.join("nested/.git/objects/info/alternates"),
                    scene.filled("{repo}/.git/objects\n"),
                )
                .unwrap();
            },
            "git status",
        ),
        files(
            ".gitmodules",
            |scene| {
                write_all(
                    &scene.dir,
                    &[(
                        ".gitmodules",
                        &scene.filled("[submodule \"x\"]\n\tpath = x\n\turl = ext::{trap}\n\tupdate = !{trap}\n"),
                    )],
                );
            },
            "",
        ),
        files(
            ".gitattributes",
            |scene| {
                write_all(&scene.dir, &[(".gitattributes", "* filter=lfs\n")]);
                scene.append(
                    &scene.common.join("config"),
                    "[filter \"lfs\"]\n\tprocess = {trap}\n\tclean = {trap}\n\tsmudge = {trap}\n\trequired = true",
                );
            },
            "git add .",
        ),
    ];
    check(
        &cases,
        expect![[r#"
        17 cases, 10 proven
        .git as a link to nothing: discover NoRepository
        .git as a pipe: discover Tampered
        .git of 4 GiB: discover Tampered
        commondir: discover Tampered
        commondir as a pipe: discover Tampered
        commondir as a link: discover Tampered
        gitdir: discover Tampered
        gitdir as a pipe: discover Tampered
        git's entry as a link: checkpoint Tampered, begin Tampered, release Tampered, cleanup Tampered
    "#]],
    )
    .await;
}

#[tokio::test]
async fn refs_and_objects() {
    let cases = [
        files(
            "HEAD of the tree as a link",
            |scene| swap_admin(scene, "HEAD", &With::Link("{repo}/.git/refs/heads/main")),
            "",
        ),
        files("HEAD of the tree as a pipe", |scene| swap_admin(scene, "HEAD", &With::Pipe), ""),
        files(
            "HEAD of the tree that leads out",
            |scene| swap_admin(scene, "HEAD", &With::Text("ref: ../../../../etc/passwd\n")),
            "",
        ),
        files(
            "HEAD of the tree on the user's branch",
            |scene| swap_admin(scene, "HEAD", &With::Text("ref: refs/heads/main\n")),
            "",
        ),
        files("HEAD of 4 GiB", |scene| swap_admin(scene, "HEAD", &With::Huge), ""),
        files("HEAD of the checkout as a pipe", |scene| swap(scene, "HEAD", &With::Pipe), ""),
        files(
            "a ref of the engine's as a link",
            |scene| {
                let reference = scene.common.join(scene.bench.trees.branch_ref("b"));
                scene.replace(&reference, &With::Link("{repo}/.git/refs/heads/main"));
            },
            "",
        ),
        files(
            "a ref of the engine's as a pipe",
            |scene| {
                let reference = scene.common.join(scene.bench.trees.branch_ref("b"));
                scene.replace(&reference, &With::Pipe);
            },
            "",
        ),
        files(
            "refs/whaleflow as a link",
            |scene| {
                let refs = scene.common.join("refs/whaleflow");
                if refs.symlink_metadata().is_ok_and(|metadata| metadata.is_dir()) {
                    std::fs::rename(&refs, scene.bench.lab.path("refs")).unwrap();
                    symlink(scene.bench.lab.path("refs"), &refs).unwrap();
                }
            },
            "",
        ),
        files(
            "packed-refs with odd names",
            |scene| {
                swap(
                    scene,
                    "packed-refs",
                    &With::Text("{base} refs/../../x\n{base} refs/heads/-x\n{base} refs/heads/a b\n"),
                )
            },
            "",
        ),
        files("packed-refs as a pipe", |scene| swap(scene, "packed-refs", &With::Pipe), ""),
        files("packed-refs of no sense", |scene| swap(scene, "packed-refs", &With::Text("\u{0}\u{1}{base}")), ""),
        files(
            "replace refs",
            |scene| {
                let evil =
                    raw(&scene.bench.repo, &["commit-tree", "-m", "evil", "4b825dc642cb6eb9a060e54bf8d69288fbee4904"]);
                let reference = scene.common.join("refs/replace").join(&scene.bench.base);
                write_all(&scene.common, &[(&format!("refs/replace/{}", scene.bench.base), &format!("{evil}\n"))]);
                assert!(reference.exists());
            },
            "",
        ),
        files(
            "grafts",
            |scene| write_all(&scene.common, &[("info/grafts", "1234567890123456789012345678901234567890\n")]),
            "",
        ),
        files("shallow", |scene| swap(scene, "shallow", &With::Text("{base}\n")), ""),
        files("shallow as a pipe", |scene| swap(scene, "shallow", &With::Pipe), ""),
        files(
            "alternates",
            |scene| {
                scene.evil();
                swap(
                    scene,
                    "objects/info/alternates",
                    &With::Text("{lab}/evil.git/objects\n\"\\057dev/zero\n/dev/zero\n"),
                );
            },
            "",
        ),
        files("alternates as a pipe", |scene| swap(scene, "objects/info/alternates", &With::Pipe), ""),
        files(
            "http-alternates",
            |scene| swap(scene, "objects/info/http-alternates", &With::Text("http://localhost/\n")),
            "",
        ),
        files(
            "commit-graph of no sense",
            |scene| swap(scene, "objects/info/commit-graph", &With::Text("CGPH\u{1}")),
            "",
        ),
        files("commit-graph as a pipe", |scene| swap(scene, "objects/info/commit-graph", &With::Pipe), ""),
        files("multi-pack-index as a pipe", |scene| swap(scene, "objects/pack/multi-pack-index", &With::Pipe), ""),
        files(
            "logs as a link",
            |scene| {
                swap_admin(scene, "logs", &With::Link("{repo}/.git/refs"));
            },
            "",
        ),
    ];
    check(&cases, expect![[r#"
        23 cases, 0 proven
        HEAD of the checkout as a pipe: checkpoint Tampered, begin Tampered, acquire Tampered, begin in another Tampered, discard Tampered, release of another Tampered, list Tampered, head Tampered, snapshot of the checkout Tampered, state of the checkout Tampered, combine Tampered, apply Tampered, branch Tampered, release Tampered, cleanup Tampered
        a ref of the engine's as a pipe: checkpoint Tampered, begin Tampered
        packed-refs as a pipe: checkpoint Tampered, begin Tampered, acquire Tampered, begin in another Tampered, discard Tampered, release of another Tampered, list Tampered, head Tampered, snapshot of the checkout Tampered, state of the checkout Tampered, combine Tampered, apply Tampered, branch Tampered, release Tampered, cleanup Tampered
        packed-refs of no sense: checkpoint Failed, begin Failed, acquire Failed, begin in another Failed, discard Failed, release of another Failed, list Failed, head Unborn, snapshot of the checkout Unborn, state of the checkout Unborn, combine Failed, apply Unborn, branch Failed, release Failed, cleanup Failed
        shallow as a pipe: checkpoint Tampered, begin Tampered, acquire Tampered, begin in another Tampered, discard Tampered, release of another Tampered, list Tampered, head Tampered, snapshot of the checkout Tampered, state of the checkout Tampered, combine Tampered, apply Tampered, branch Tampered, release Tampered, cleanup Tampered
        alternates as a pipe: checkpoint Tampered, begin Tampered, acquire Tampered, begin in another Tampered, discard Tampered, release of another Tampered, snapshot Tampered, private snapshot Tampered, list Tampered, head Tampered, snapshot of the checkout Tampered, state of the checkout Tampered, diff Tampered, patch Tampered, harvest Tampered, merge Tampered, combine Tampered, apply Tampered, branch Tampered, release Tampered, cleanup Tampered
        commit-graph as a pipe: checkpoint Tampered, begin Tampered, acquire Tampered, begin in another Tampered, discard Tampered, release of another Tampered, snapshot Tampered, private snapshot Tampered, list Tampered, head Tampered, snapshot of the checkout Tampered, state of the checkout Tampered, diff Tampered, patch Tampered, harvest Tampered, merge Tampered, combine Tampered, apply Tampered, branch Tampered, release Tampered, cleanup Tampered
        multi-pack-index as a pipe: checkpoint Tampered, begin Tampered, acquire Tampered, begin in another Tampered, discard Tampered, release of another Tampered, snapshot Tampered, private snapshot Tampered, list Tampered, head Tampered, snapshot of the checkout Tampered, state of the checkout Tampered, diff Tampered, patch Tampered, harvest Tampered, merge Tampered, combine Tampered, apply Tampered, branch Tampered, release Tampered, cleanup Tampered
    "#]]).await;
}

#[tokio::test]
async fn indexes_and_state_files() {
    let cases = [
        files("an index of no sense", |scene| swap_admin(scene, "index", &With::Text("DIRC")), ""),
        files("an index as a pipe", |scene| swap_admin(scene, "index", &With::Pipe), ""),
        files("an index of 4 GiB", |scene| swap_admin(scene, "index", &With::Huge), ""),
        files(
            "an index that is split",
            |scene| {
                raw_output(&scene.dir, &["update-index", "--split-index"]);
            },
            "",
        ),
        files(
            "an index with the file-system monitor's extension",
            |scene| {
                raw_output(&scene.dir, &["-c", "core.fsmonitor=true", "update-index", "--fsmonitor"]);
                scene.append(&scene.common.join("config"), "[core]\n\tfsmonitor = {trap}");
            },
            "git status",
        ),
        files(
            "intent to add",
            |scene| {
                raw_output(&scene.dir, &["add", "-N", "new.txt"]);
            },
            "",
        ),
        files(
            "skip-worktree",
            |scene| {
                raw_output(&scene.dir, &["update-index", "--skip-worktree", "src/a.txt", "src/b.txt"]);
            },
            "",
        ),
        files(
            "assume-unchanged",
            |scene| {
                raw_output(&scene.dir, &["update-index", "--assume-unchanged", "src/a.txt", "src/b.txt"]);
            },
            "",
        ),
        files("a lock of the tree's index", |scene| swap_admin(scene, "index.lock", &With::Text("")), ""),
        files("a lock of the tree's HEAD", |scene| swap_admin(scene, "HEAD.lock", &With::Text("")), ""),
        files("a tree that is locked", |scene| swap_admin(scene, "locked", &With::Text("mine\n")), ""),
        files(
            "sparse-checkout",
            |scene| {
                scene.append(
                    &scene.common.join("config"),
                    "[core]\n\tsparseCheckout = true\n\tsparseCheckoutCone = false",
                );
                swap_admin(scene, "info/sparse-checkout", &With::Text("/nothing\n"));
                swap(scene, "info/sparse-checkout", &With::Text("/nothing\n"));
            },
            "",
        ),
        files("exclude as a pipe", |scene| swap(scene, "info/exclude", &With::Pipe), ""),
        files("attributes as a pipe", |scene| swap(scene, "info/attributes", &With::Pipe), ""),
        files(
            "attributes of the tree as a pipe",
            |scene| {
                if scene.dir.exists() {
                    scene.replace(&scene.dir.join("src/.gitattributes"), &With::Pipe);
                }
            },
            "",
        ),
        files(
            "ignore rules as a pipe",
            |scene| {
                if scene.dir.exists() {
                    scene.replace(&scene.dir.join(".gitignore"), &With::Pipe);
                }
            },
            "",
        ),
        files(
            "rerere",
            |scene| {
                write_all(&scene.common, &[("rr-cache/1/preimage", "x\n"), ("rr-cache/1/postimage", "x\n")]);
                scene.plant_config("[rerere]\n\tenabled = true\n\tautoUpdate = true");
            },
            "",
        ),
        files(
            "bisect",
            |scene| {
                for name in ["BISECT_LOG", "BISECT_START", "BISECT_RUN", "BISECT_TERMS"] {
                    swap_admin(scene, name, &With::Text("git bisect start; {trap}\n"));
                }
            },
            "",
        ),
        files(
            "a merge, a pick and a rebase that never were",
            |scene| {
                for name in ["MERGE_HEAD", "CHERRY_PICK_HEAD", "REVERT_HEAD", "ORIG_HEAD", "AUTO_MERGE"] {
                    swap_admin(scene, name, &With::Text("{base}\n"));
                }
                swap_admin(scene, "rebase-merge/git-rebase-todo", &With::Text("exec {trap}\n"));
                swap_admin(scene, "rebase-merge/onto", &With::Text("{base}\n"));
                swap_admin(scene, "rebase-merge/head-name", &With::Text("refs/heads/main\n"));
                swap_admin(scene, "rebase-merge/orig-head", &With::Text("{base}\n"));
                swap_admin(scene, "rebase-merge/interactive", &With::Text(""));
                swap_admin(scene, "rebase-merge/end", &With::Text("1\n"));
                swap_admin(scene, "rebase-merge/msgnum", &With::Text("0\n"));
            },
            "git reset -q --hard; git -c core.editor=true rebase --continue",
        ),
    ];
    check(&cases, expect![[r#"
        19 cases, 2 proven
        exclude as a pipe: checkpoint Tampered, begin Tampered, acquire Tampered, begin in another Tampered, discard Tampered, release of another Tampered, list Tampered, head Tampered, snapshot of the checkout Tampered, state of the checkout Tampered, combine Tampered, apply Tampered, branch Tampered, release Tampered, cleanup Tampered
        attributes as a pipe: checkpoint Tampered, begin Tampered, acquire Tampered, begin in another Tampered, discard Tampered, release of another Tampered, list Tampered, head Tampered, snapshot of the checkout Tampered, state of the checkout Tampered, combine Tampered, apply Tampered, branch Tampered, release Tampered, cleanup Tampered
        attributes of the tree as a pipe: checkpoint Tampered
        ignore rules as a pipe: checkpoint Tampered
    "#]]).await;
}
