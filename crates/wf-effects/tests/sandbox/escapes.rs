//! Attempts to get out by a shell. Each says `ESCAPED` when it has done what a sandbox must not let it do. None does
//! inside; and each that counts does outside, so that this test can fail.

use wf_effects::process::Finished;

use crate::setup::{World, has_sandbox};

/// At least so many attempts must succeed without a sandbox.
const COUNTED_MIN: usize = 80;
/// At most so many may fail without one as well, because this machine lacks a program, or is no root.
const IDLE_MAX: usize = 40;
/// How many there are.
const ATTEMPTS: usize = 125;

// What each attempt finds: `$HOME` with secrets, `$OUT` beside the tree, `$STATE` of the engine, `$SOCK` with somebody
// listening, `$PORT` with somebody listening on this machine, `$PEER`, a process outside with a secret in its
// environment, `$ABSTRACT`, a socket without a path.
/// Reading what is private.
const READING: [(&str, &str); 26] = [
    ("cat a key", "grep -q SECRET $HOME/.ssh/id && echo ESCAPED"),
    ("cat credentials", "grep -q SECRET $HOME/.cargo/credentials.toml && echo ESCAPED"),
    ("through ..", "grep -q SECRET ../../person/.ssh/id && echo ESCAPED"),
    ("through /proc/self/root", "grep -q SECRET /proc/self/root$HOME/.ssh/id && echo ESCAPED"),
    ("through /proc/self/cwd", "grep -q SECRET /proc/self/cwd/../../person/.ssh/id && echo ESCAPED"),
    ("through /proc/1/root", "grep -q SECRET /proc/1/root$HOME/.ssh/id && echo ESCAPED"),
    ("through the parent's root", "grep -q SECRET /proc/$PPID/root$HOME/.ssh/id && echo ESCAPED"),
    ("through the peer's root", "grep -q SECRET /proc/$PEER/root$HOME/.ssh/id && echo ESCAPED"),
    ("by a symlink", "ln -s $HOME/.ssh/id l && grep -q SECRET l && echo ESCAPED"),
    ("by a symlink to a directory", "ln -s $HOME d && grep -q SECRET d/.ssh/id && echo ESCAPED"),
    ("by a chain of links", "ln -s $HOME a; ln -s a b; ln -s b/.ssh c; grep -q SECRET c/id && echo ESCAPED"),
    ("by find", "find $HOME -name id -exec grep -q SECRET {} ';' -print | grep -q id && echo ESCAPED"),
    ("by tar", "tar cf - -C $HOME .ssh/id | grep -aq SECRET && echo ESCAPED"),
    ("by cp", "cp -r $HOME/.ssh got && grep -q SECRET got/id && echo ESCAPED"),
    ("by dd", "dd if=$HOME/.ssh/id status=none | grep -q SECRET && echo ESCAPED"),
    ("by perl", "perl -e 'open F, \"$ENV{HOME}/.ssh/id\" or exit 1; exit(<F> !~ /SECRET/)' && echo ESCAPED"),
    (
        "by python",
        "python3 -c 'import os; exit(\"SECRET\" not in open(os.environ[\"HOME\"]+\"/.ssh/id\").read())' && echo ESCAPED",
    ),
    ("by git", "git hash-object --no-filters $HOME/.ssh/id && echo ESCAPED"),
    ("by git diff", "git diff --no-index /dev/null $HOME/.ssh/id | grep -q SECRET && echo ESCAPED"),
    ("by a redirection", "read x < $HOME/.ssh/id && test \"$x\" = SECRET && echo ESCAPED"),
    ("by sourcing", "echo 'echo ESCAPED' > $OUT/script; . $OUT/script"),
    ("state of the engine", "grep -q SECRET $STATE/log && echo ESCAPED"),
    ("names in the state", "ls $STATE | grep -q log && echo ESCAPED"),
    ("names in the home", "ls -a $HOME | grep -q .ssh && echo ESCAPED"),
    ("the machine's /tmp", "test -e $TMPFILE && echo ESCAPED"),
    ("by a file url", "curl -s file://$HOME/.ssh/id | grep -q SECRET && echo ESCAPED"),
];

/// Writing what is not its own.
const WRITING: [(&str, &str); 34] = [
    ("a new file", "touch $OUT/new && test -e $OUT/new && echo ESCAPED"),
    ("over a file", "echo x > $OUT/file && echo ESCAPED"),
    ("at a file's end", "echo x >> $OUT/file && echo ESCAPED"),
    ("truncate", "truncate -s 0 $OUT/file && echo ESCAPED"),
    ("remove", "rm $OUT/file && echo ESCAPED"),
    ("remove recursively", "rm -r $OUT/dir && echo ESCAPED"),
    ("rename away", "mv $OUT/file $OUT/other && echo ESCAPED"),
    ("rename into the tree", "mv $OUT/file ./f && echo ESCAPED"),
    ("rename out of the tree", "mv src/a.rs $OUT/a.rs && echo ESCAPED"),
    ("exchange directories", "mv $OUT/dir $OUT/moved && echo ESCAPED"),
    ("mkdir", "mkdir $OUT/made && echo ESCAPED"),
    ("mkfifo", "mkfifo $OUT/fifo && echo ESCAPED"),
    ("hard link out", "ln src/a.rs $OUT/a.rs && echo ESCAPED"),
    ("hard link in", "ln $OUT/file f && echo ESCAPED"),
    ("symlink out", "ln -s x $OUT/link && echo ESCAPED"),
    ("chmod", "chmod 777 $OUT/file && echo ESCAPED"),
    ("chmod of a directory", "chmod 700 $OUT && echo ESCAPED"),
    ("touch times", "touch -d 2001-01-01 $OUT/file && echo ESCAPED"),
    ("through a link in the tree", "ln -s $OUT o && echo x > o/file && echo ESCAPED"),
    ("through a relative link", "ln -s ../../out o && echo x > o/file && echo ESCAPED"),
    ("through /proc/self/root", "echo x > /proc/self/root$OUT/file && echo ESCAPED"),
    ("through /proc/self/cwd", "echo x > /proc/self/cwd/../../out/file && echo ESCAPED"),
    ("by tee", "echo x | tee $OUT/file >/dev/null && echo ESCAPED"),
    ("by dd", "echo x | dd of=$OUT/file status=none && echo ESCAPED"),
    ("by cp", "cp src/a.rs $OUT/file && echo ESCAPED"),
    ("by tar", "tar cf - src | tar xf - -C $OUT && test -e $OUT/src && echo ESCAPED"),
    ("by sed", "sed -i s/o/a/ $OUT/file && echo ESCAPED"),
    ("by python", "python3 -c 'import os; open(os.environ[\"OUT\"]+\"/file\",\"w\").write(\"x\")' && echo ESCAPED"),
    ("by perl", "perl -e 'open F, \">$ENV{OUT}/file\" or exit 1; exit 0' && echo ESCAPED"),
    ("by git init", "git init -q $OUT/repo && echo ESCAPED"),
    ("in the home", "echo x >> $HOME/.profile && echo ESCAPED"),
    ("authorised keys", "echo x >> $HOME/.ssh/authorized_keys && echo ESCAPED"),
    ("a program in the home", "cp /bin/true $HOME/.cargo/bin/tool && echo ESCAPED"),
    ("state of the engine", "echo x >> $STATE/log && echo ESCAPED"),
];

/// Git's control files.
const GIT: [(&str, &str); 9] = [
    ("the pointer overwritten", "echo 'gitdir: /x' > .git && echo ESCAPED"),
    ("the pointer removed", "rm .git && echo ESCAPED"),
    ("the pointer renamed", "mv .git g && echo ESCAPED"),
    ("another over the pointer", "echo x > p; mv -f p .git && echo ESCAPED"),
    ("the pointer made a directory", "rm -f .git; mkdir .git && echo ESCAPED"),
    ("config", "git config -f $GITDIR/config core.fsmonitor ./x && echo ESCAPED"),
    ("a hook", "echo x > $GITDIR/hooks/post-checkout && echo ESCAPED"),
    ("info/attributes", "mkdir -p $GITDIR/info && echo '* filter=x' > $GITDIR/info/attributes && echo ESCAPED"),
    ("an object removed", "rm $GITDIR/objects/aa && echo ESCAPED"),
];

/// Reaching others.
const REACHING: [(&str, &str); 15] = [
    ("a port of this machine", "curl -s --max-time 5 http://127.0.0.1:$PORT/ | grep -q HELLO && echo ESCAPED"),
    ("by bash", "bash -c 'exec 3<>/dev/tcp/127.0.0.1/'$PORT' && echo ESCAPED'"),
    ("by localhost", "curl -s --max-time 5 http://localhost:$PORT/ | grep -q HELLO && echo ESCAPED"),
    (
        "by the newer kind of address",
        "curl -s --max-time 5 'http://[::ffff:127.0.0.1]:'$PORT/ | grep -q HELLO && echo ESCAPED",
    ),
    (
        "by python",
        "python3 -c 'import os,socket; socket.create_connection((\"127.0.0.1\",int(os.environ[\"PORT\"])),5)' && echo ESCAPED",
    ),
    (
        "by perl",
        "perl -MIO::Socket::INET -e 'IO::Socket::INET->new(PeerAddr=>\"127.0.0.1\",PeerPort=>$ENV{PORT},Timeout=>5) or exit 1' && echo ESCAPED",
    ),
    (
        "a socket with a path",
        "python3 -c 'import os,socket; s=socket.socket(socket.AF_UNIX); s.connect(os.environ[\"SOCK\"])' && echo ESCAPED",
    ),
    (
        "the same by a relative path",
        "cd $OUT; python3 -c 'import socket; s=socket.socket(socket.AF_UNIX); s.connect(\"sock\")' && echo ESCAPED",
    ),
    (
        "the same by perl",
        "perl -MIO::Socket::UNIX -e 'IO::Socket::UNIX->new(Peer=>$ENV{SOCK}) or exit 1' && echo ESCAPED",
    ),
    ("the same by curl", "curl -s --max-time 5 --unix-socket $SOCK http://x/ ; test $? -ne 7 && echo ESCAPED"),
    (
        "the same through a link",
        "ln -s $SOCK s; python3 -c 'import socket; s=socket.socket(socket.AF_UNIX); s.connect(\"s\")' && echo ESCAPED",
    ),
    (
        "a socket in the tree's own directory",
        "python3 -c 'import socket; s=socket.socket(socket.AF_UNIX); s.connect(\"src/sock\")' && echo ESCAPED",
    ),
    (
        "a socket without a path",
        "python3 -c 'import os,socket; s=socket.socket(socket.AF_UNIX); s.connect(\"\\0\"+os.environ[\"ABSTRACT\"])' && echo ESCAPED",
    ),
    (
        "datagrams to a path",
        "python3 -c 'import os,socket; s=socket.socket(socket.AF_UNIX,socket.SOCK_DGRAM); s.connect(os.environ[\"DGRAM\"]); s.send(b\"x\")' && echo ESCAPED",
    ),
    (
        "interfaces of this machine",
        "test $(ls /proc/self/net/dev_snmp6 /sys/class/net 2>/dev/null | grep -cv -e '^lo$' -e : -e '^$') -gt 0 && echo ESCAPED",
    ),
];

/// Processes of others.
const PROCESSES: [(&str, &str); 13] = [
    ("somebody's environment", "tr '\\0' '\\n' < /proc/$PEER/environ | grep -q SECRET && echo ESCAPED"),
    ("anybody's environment", "cat /proc/[0-9]*/environ 2>/dev/null | grep -aq PEERSECRET && echo ESCAPED"),
    ("somebody's command line", "cat /proc/[0-9]*/cmdline 2>/dev/null | grep -aq PEER[M]ARK && echo ESCAPED"),
    ("kill", "kill -0 $PEER && echo ESCAPED"),
    ("kill for good", "kill -9 $PEER && echo ESCAPED"),
    ("stop", "kill -STOP $PEER && kill -CONT $PEER && echo ESCAPED"),
    ("a signal to a group", "kill -0 -- -$PEER && echo ESCAPED"),
    (
        "trace",
        "timeout 5 strace -o /dev/null -p $PEER & sleep 0.3; grep -q 'TracerPid:.*[1-9]' /proc/$PEER/status && echo ESCAPED; kill %1",
    ),
    ("priority", "renice -n 5 -p $PEER && echo ESCAPED"),
    ("limits", "prlimit --pid $PEER --nofile=100 && echo ESCAPED"),
    ("working directory", "ls -l /proc/$PEER/cwd | grep -q ' -> ' && echo ESCAPED"),
    ("memory", "head -c 1 /proc/$PEER/maps | grep -q . && echo ESCAPED"),
    ("scheduling", "chrt -p $PEER && echo ESCAPED"),
];

/// The sandbox itself, and what outlives it.
const KERNEL: [(&str, &str); 16] = [
    ("a namespace of users", "unshare -U true && echo ESCAPED"),
    ("a namespace of mounts as root", "unshare -Ur true && echo ESCAPED"),
    ("mount in a namespace", "unshare -Urm mount -t tmpfs x /mnt && echo ESCAPED"),
    ("a setuid file", "cp /bin/true t; chmod u+s t && test -u t && echo ESCAPED"),
    ("a setgid file", "cp /bin/true t; chmod g+s t && test -g t && echo ESCAPED"),
    (
        "a setuid file made so",
        "python3 -c 'import os; os.close(os.open(\"t\", os.O_CREAT|os.O_WRONLY, 0o4755))' && test -u t && echo ESCAPED",
    ),
    ("a setuid file by creat", "perl -e '$f=\"t\"; exit(syscall(85, $f, 04755) < 0)' && test -u t && echo ESCAPED"),
    (
        "a setuid file by mknod",
        "perl -e '$f=\"t\"; exit(syscall(133, $f, 0104755, 0) < 0)' && test -u t && echo ESCAPED",
    ),
    (
        "a setuid file by mknodat",
        "perl -e '$f=\"t\"; exit(syscall(259, -100, $f, 0104755, 0) < 0)' && test -u t && echo ESCAPED",
    ),
    (
        "a setuid file by openat2",
        "perl -e '$f=\"t\"; $h=pack(\"QQQ\", 0101, 04755, 0); exit(syscall(437, -100, $f, $h, 24) < 0)' && test -u t && echo ESCAPED",
    ),
    (
        "a setuid file without a name at first",
        "python3 -c 'import os; f=os.open(\".\", os.O_TMPFILE|os.O_WRONLY, 0o4755); os.link(f\"/proc/self/fd/{f}\", \"t\", src_dir_fd=f, follow_symlinks=True)' && test -u t && echo ESCAPED",
    ),
    ("trace a child", "strace -o /dev/null true && echo ESCAPED"),
    ("the keyring", "perl -e 'exit(syscall(250, 0, -3, 0) < 0)' && echo ESCAPED"),
    (
        "performance counters",
        "perl -e '$a=pack(\"LLQQ\",1,112,0,0).(\"\\0\"x88); exit(syscall(298,$a,0,-1,-1,0) < 0)' && echo ESCAPED",
    ),
    ("io_uring", "perl -e '$p=\"\\0\"x120; exit(syscall(425, 4, $p) < 0)' && echo ESCAPED"),
    ("userfaultfd", "perl -e 'exit(syscall(323, 1) < 0)' && echo ESCAPED"),
];

/// What only root can do at all.
const ROOT: [(&str, &str); 12] = [
    ("core_pattern", "cat /proc/sys/kernel/core_pattern > p; cat p > /proc/sys/kernel/core_pattern && echo ESCAPED"),
    ("a sysctl", "cat /proc/sys/vm/swappiness > p; cat p > /proc/sys/vm/swappiness && echo ESCAPED"),
    ("a device", "mknod dev c 1 3 && echo ESCAPED"),
    ("the disk", "ls /dev/vda /dev/sda 2>/dev/null | grep -q / && echo ESCAPED"),
    ("shadow", "grep -q root /etc/shadow && echo ESCAPED"),
    ("the kernel's messages", "dmesg > d && echo ESCAPED"),
    ("mount", "mkdir m; mount -t tmpfs x m && { umount m; echo ESCAPED; }"),
    ("bind", "mkdir m; mount --bind $HOME m && { umount m; echo ESCAPED; }"),
    ("another world", "nsenter -t $PEER -m true && echo ESCAPED"),
    ("chroot", "chroot / true && echo ESCAPED"),
    ("chown", "chown nobody $OUT/file && echo ESCAPED"),
    ("another user", "setpriv --reuid 65534 --clear-groups true && echo ESCAPED"),
];

fn attempts() -> Vec<(String, &'static str)> {
    let groups: [(&str, &[(&str, &'static str)]); 7] = [
        ("reading", &READING),
        ("writing", &WRITING),
        ("git", &GIT),
        ("reaching", &REACHING),
        ("processes", &PROCESSES),
        ("kernel", &KERNEL),
        ("root", &ROOT),
    ];
    groups
        .iter()
        .flat_map(|(group, all)| all.iter().map(move |(name, script)| (format!("{group}: {name}"), *script)))
        .collect()
}

fn attempt(script: &str, inside: bool) -> Finished {
    let world = World::new();
    let around = world.surroundings();
    let policy = inside.then(|| world.policy().reading(&world.at("out")).reading(&world.at("git")));
    let mut spec = world.spec(&["sh", "-c", &format!("{script}\ntrue")], policy);
    spec.env.extend(around.env());
    world.run(&spec).unwrap()
}

fn has_escaped(finished: &Finished) -> bool {
    finished.stdout.tail().contains("ESCAPED")
}

#[test]
fn no_attempt_gets_out() {
    if !has_sandbox() {
        return;
    }
    let mut escaped = Vec::new();
    let mut counted = 0;
    let mut idle = Vec::new();
    let all = attempts();
    assert_eq!(all.len(), ATTEMPTS);
    for (name, script) in all {
        let inside = attempt(script, true);
        if has_escaped(&inside) {
            escaped.push(format!("{name}: {}", inside.stderr.tail()));
        }
        let outside = attempt(script, false);
        match has_escaped(&outside) {
            true => counted += 1,
            false => idle.push(format!("{name}: {}", outside.stderr.tail())),
        }
    }
    println!("{ATTEMPTS} attempts, none gets out; {counted} do without a sandbox");
    println!("SKIPPED {} of them, which cannot on this machine in either way: {idle:#?}", idle.len());
    assert_eq!(escaped, Vec::<String>::new());
    assert_eq!(counted + idle.len(), ATTEMPTS);
    assert!(counted >= COUNTED_MIN && idle.len() <= IDLE_MAX, "only {counted} attempts count here");
}
