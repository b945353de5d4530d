//! A trace of everything that a program, and whatever it starts, does to files, as strace writes it down.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use crate::strace;

/// What strace is to write down: all that changes a file or a name, and what is needed to know which file that is.
pub(crate) const TRACED: &str = "open,openat,creat,write,pwrite64,writev,pwritev,pwritev2,ftruncate,truncate,fallocate,\
    fsync,fdatasync,sync,syncfs,sync_file_range,rename,renameat,renameat2,link,linkat,symlink,symlinkat,unlink,unlinkat,\
    rmdir,mkdir,mkdirat,copy_file_range,sendfile,splice,lseek,dup,dup2,dup3,fcntl,chdir,fchdir,clone,clone3,fork,vfork,chmod,fchmod,fchmodat";

/// Something that was done, in the order in which it was completed.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    /// How many events had been completed when it began.
    pub(crate) begun: usize,
    pub(crate) done: Done,
}

/// What was done. Paths are absolute.
#[derive(Clone, Debug)]
pub(crate) enum Done {
    /// A file was opened so that it is made if it is not there.
    Made {
        path: PathBuf,
        mode: u32,
    },
    /// A file was cut, or made longer with zeros.
    Cut {
        path: PathBuf,
        len: u64,
    },
    /// Bytes were written; without a place, at the end.
    Wrote {
        path: PathBuf,
        at: Option<u64>,
        bytes: Vec<u8>,
    },
    /// Bytes of another file were written.
    Copied {
        from: PathBuf,
        start: u64,
        len: u64,
        path: PathBuf,
        at: Option<u64>,
    },
    /// A file, or the names in a directory, were made durable.
    Synced {
        path: PathBuf,
    },
    /// A file's bytes are on their way to the disk, and there with whatever is next made durable.
    Pushed {
        path: PathBuf,
    },
    /// A directory was made.
    MadeDir {
        path: PathBuf,
        mode: u32,
    },
    Renamed {
        from: PathBuf,
        to: PathBuf,
    },
    Linked {
        from: PathBuf,
        to: PathBuf,
    },
    LinkedTo {
        target: String,
        path: PathBuf,
    },
    /// A name was removed, that of a directory too.
    Removed {
        path: PathBuf,
    },
    Moded {
        path: PathBuf,
        mode: u32,
    },
    /// Something was said on standard output or standard error.
    Said {
        text: String,
    },
}

/// A call, with what strace wrote before and after others came between.
#[derive(Debug)]
struct Call {
    thread: u32,
    begun: usize,
    name: String,
    args: Vec<String>,
    result: String,
}

/// Reads a trace. `dir` is where the program was started.
pub(crate) fn events(text: &str, dir: &Path) -> Vec<Event> {
    let calls = calls(text);
    let mut reader = Reader { families: families(&calls), dir: dir.to_owned(), ..Reader::default() };
    // A call began after as many events as had been completed then, and not after as many lines.
    let mut events_at_call = Vec::with_capacity(calls.len() + 1);
    let mut events: Vec<Event> = Vec::new();
    for call in &calls {
        events_at_call.push(events.len());
        let begun = events_at_call[call.begun.min(events_at_call.len() - 1)];
        events.extend(reader.read(call).into_iter().map(|done| Event { begun, done }));
    }
    events
}

/// The calls that succeeded, in the order of their ends; those that never ended are left out.
fn calls(text: &str) -> Vec<Call> {
    let mut calls: Vec<Call> = Vec::new();
    let mut calls_at_line: Vec<usize> = Vec::new();
    for line in strace::lines(text) {
        calls_at_line.push(calls.len());
        calls.extend(call(line.thread, calls_at_line[line.begun], &line.text));
    }
    calls
}

fn call(thread: u32, begun: usize, line: &str) -> Option<Call> {
    let (name, rest) = line.split_once('(')?;
    let (args, end) = arguments(rest)?;
    let result = end.trim_start().strip_prefix("= ")?.to_owned();
    let is_good = !result.starts_with('-') && !result.starts_with('?');
    is_good.then(|| Call { thread, begun, name: name.to_owned(), args, result })
}

/// The arguments up to the closing parenthesis, and what follows it.
fn arguments(text: &str) -> Option<(Vec<String>, &str)> {
    let (mut args, mut from, mut depth) = (Vec::new(), 0, 0_i32);
    let (mut is_quoted, mut is_escaped) = (false, false);
    for (at, byte) in text.bytes().enumerate() {
        if is_quoted {
            (is_quoted, is_escaped) = (byte != b'"' || is_escaped, byte == b'\\' && !is_escaped);
            continue;
        }
        match byte {
            b'"' => is_quoted = true,
            b'(' | b'{' | b'[' | b'<' => depth += 1,
            b')' if depth == 0 => {
                args.push(text[from..at].trim().to_owned());
                return Some((args, &text[at + 1..]));
            }
            // An arrow is no bracket.
            b'>' if text[..at].ends_with('=') => {}
            b')' | b'}' | b']' | b'>' => depth -= 1,
            b',' if depth == 0 => {
                args.push(text[from..at].trim().to_owned());
                from = at + 1;
            }
            _ => {}
        }
    }
    None
}

/// Who made each thread, and whether it is one more thread of the same process.
fn families(calls: &[Call]) -> HashMap<u32, (u32, bool)> {
    let makes = |call: &&Call| matches!(call.name.as_str(), "clone" | "clone3" | "fork" | "vfork");
    let made = calls.iter().filter(makes).filter_map(|call| {
        let child: u32 = call.result.split_whitespace().next()?.parse().ok()?;
        let is_thread = call.args.iter().any(|arg| arg.contains("CLONE_THREAD"));
        Some((child, (call.thread, is_thread)))
    });
    made.collect()
}

/// What is known while a trace is read.
#[derive(Default)]
struct Reader {
    families: HashMap<u32, (u32, bool)>,
    dir: PathBuf,
    processes: HashMap<u32, Process>,
}

/// One process: where it works, and how far it is in what it has open (nothing says: always at the end).
#[derive(Clone, Default)]
struct Process {
    dir: PathBuf,
    places: BTreeMap<i64, Option<u64>>,
}

impl Reader {
    /// The process that a thread is of.
    fn process(&mut self, thread: u32) -> &mut Process {
        let mut leader = thread;
        while let Some((parent, true)) = self.families.get(&leader) {
            leader = *parent;
        }
        if !self.processes.contains_key(&leader) {
            let begun = match self.families.get(&leader).copied() {
                Some((parent, _)) => self.process(parent).clone(),
                None => Process { dir: self.dir.clone(), ..Process::default() },
            };
            self.processes.insert(leader, begun);
        }
        self.processes.get_mut(&leader).unwrap()
    }

    fn read(&mut self, call: &Call) -> Vec<Done> {
        let process = self.process(call.thread);
        let args = &call.args;
        let arg = |at: usize| args[at].as_str();
        let path = |at: usize| process.dir.join(string(arg(at)));
        let one = match call.name.as_str() {
            "open" => return process.opened(call, path(0), arg(1), args.get(2)),
            "openat" => return process.opened(call, at_dir(arg(0), arg(1)), arg(2), args.get(3)),
            "chdir" => {
                process.dir = path(0);
                None
            }
            "lseek" => {
                process.places.insert(descriptor(arg(0)), call.result.parse().ok());
                None
            }
            "dup" | "dup2" | "dup3" => process.doubled(arg(0), call),
            "fcntl" if arg(1).starts_with("F_DUPFD") => process.doubled(arg(0), call),
            "fcntl" | "clone" | "clone3" | "fork" | "vfork" => None,
            "write" => process.wrote(arg(0), bytes(arg(1)), call),
            "pwrite64" => named(arg(0)).map(|path| {
                let mut bytes = bytes(arg(1));
                bytes.truncate(count(call));
                Done::Wrote { path, at: Some(arg(3).parse().unwrap()), bytes }
            }),
            "copy_file_range" => process.copied(arg(0), arg(2), call),
            "sendfile" => process.copied(arg(1), arg(0), call),
            "ftruncate" => named(arg(0)).map(|path| Done::Cut { path, len: arg(1).parse().unwrap() }),
            "fsync" | "fdatasync" => named(arg(0)).map(|path| Done::Synced { path }),
            "sync_file_range" => named(arg(0)).map(|path| Done::Pushed { path }),
            "mkdir" => Some(Done::MadeDir { path: path(0), mode: octal(arg(1)) }),
            "mkdirat" => Some(Done::MadeDir { path: at_dir(arg(0), arg(1)), mode: octal(arg(2)) }),
            "rename" => Some(Done::Renamed { from: path(0), to: path(1) }),
            "renameat" | "renameat2" => {
                Some(Done::Renamed { from: at_dir(arg(0), arg(1)), to: at_dir(arg(2), arg(3)) })
            }
            "link" => Some(Done::Linked { from: path(0), to: path(1) }),
            "linkat" => Some(Done::Linked { from: at_dir(arg(0), arg(1)), to: at_dir(arg(2), arg(3)) }),
            "symlink" => Some(Done::LinkedTo { target: string(arg(0)), path: path(1) }),
            "symlinkat" => Some(Done::LinkedTo { target: string(arg(0)), path: at_dir(arg(1), arg(2)) }),
            "unlink" | "rmdir" => Some(Done::Removed { path: path(0) }),
            "unlinkat" => Some(Done::Removed { path: at_dir(arg(0), arg(1)) }),
            "chmod" => Some(Done::Moded { path: path(0), mode: octal(arg(1)) }),
            "fchmod" => named(arg(0)).map(|path| Done::Moded { path, mode: octal(arg(1)) }),
            "fchmodat" => Some(Done::Moded { path: at_dir(arg(0), arg(1)), mode: octal(arg(2)) }),
            // Rather none of the states than wrong ones.
            _ => panic!("nothing is known of this call: {call:?}"),
        };
        one.into_iter().collect()
    }
}

impl Process {
    fn opened(&mut self, call: &Call, path: PathBuf, flags: &str, mode: Option<&String>) -> Vec<Done> {
        let has = |flag: &str| flags.split('|').any(|it| it == flag);
        assert!(!has("O_TMPFILE"), "{call:?}");
        self.places.insert(descriptor(&call.result), (!has("O_APPEND")).then_some(0));
        let mut done = Vec::new();
        if has("O_CREAT") {
            done.push(Done::Made { path: path.clone(), mode: mode.map_or(0o600, |mode| octal(mode)) });
        }
        if has("O_TRUNC") {
            done.push(Done::Cut { path, len: 0 });
        }
        done
    }

    /// Something is open twice. Both go on from where it was, which is right for as long as one of them is used.
    fn doubled(&mut self, from: &str, call: &Call) -> Option<Done> {
        let place = self.places.get(&descriptor(from)).copied().unwrap_or(Some(0));
        self.places.insert(descriptor(&call.result), place);
        None
    }

    fn wrote(&mut self, to: &str, mut bytes: Vec<u8>, call: &Call) -> Option<Done> {
        let descriptor = descriptor(to);
        bytes.truncate(count(call));
        match named(to) {
            Some(path) => Some(Done::Wrote { path, at: self.advance(descriptor, bytes.len()), bytes }),
            None if matches!(descriptor, 1 | 2) => {
                Some(Done::Said { text: String::from_utf8_lossy(&bytes).into_owned() })
            }
            None => None,
        }
    }

    fn copied(&mut self, from: &str, to: &str, call: &Call) -> Option<Done> {
        let (source, path) = (named(from)?, named(to)?);
        let start = self.advance(descriptor(from), count(call)).unwrap();
        let at = self.advance(descriptor(to), count(call));
        Some(Done::Copied { from: source, start, len: count(call) as u64, path, at })
    }

    /// Where the next bytes go or come from, which moves the place on.
    fn advance(&mut self, descriptor: i64, count: usize) -> Option<u64> {
        let place = self.places.entry(descriptor).or_insert(Some(0));
        let at = *place;
        *place = at.map(|at| at + count as u64);
        at
    }
}

/// How many bytes a call says that it wrote.
fn count(call: &Call) -> usize {
    call.result.parse().unwrap_or_else(|error| panic!("{error}: {call:?}"))
}

/// The number of `7</a/b>`.
fn descriptor(text: &str) -> i64 {
    let number = text.split('<').next().unwrap_or_default().trim();
    number.parse().unwrap_or_else(|error| panic!("{error}: {text:?}"))
}

/// The file of `7</a/b>`; none for a pipe and the like, or for a file that has no name any more.
fn named(text: &str) -> Option<PathBuf> {
    let (_, path) = text.split_once('<')?;
    let path = path.strip_suffix('>')?;
    (path.starts_with('/') && !path.ends_with("(deleted)")).then(|| PathBuf::from(path))
}

/// A path below `AT_FDCWD</a>` or `7</a>`.
fn at_dir(dir: &str, path: &str) -> PathBuf {
    let (_, dir) = dir.split_once('<').unwrap_or_else(|| panic!("{dir:?} is no directory"));
    Path::new(dir.trim_end_matches('>')).join(string(path))
}

fn octal(text: &str) -> u32 {
    u32::from_str_radix(text, 8).unwrap_or_else(|error| panic!("{error}: {text:?}"))
}

fn string(text: &str) -> String {
    String::from_utf8(bytes(text)).unwrap()
}

/// What a quoted text of strace's stands for. It must be whole.
fn bytes(text: &str) -> Vec<u8> {
    let inside = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    let inside = inside.unwrap_or_else(|| panic!("{text:.100?} is not quoted, or not whole")).as_bytes();
    let mut found = Vec::with_capacity(inside.len());
    let mut at = 0;
    while at < inside.len() {
        let byte = inside[at];
        at += 1;
        if byte != b'\\' {
            found.push(byte);
            continue;
        }
        let escape = inside[at];
        at += 1;
        found.push(match escape {
            b'n' => b'\n',
            b't' => b'\t',
            b'r' => b'\r',
            b'v' => 0x0b,
            b'f' => 0x0c,
            b'0'..=b'7' => {
                let digits = inside[at - 1..].iter().take(3).take_while(|byte| matches!(byte, b'0'..=b'7')).count();
                let text = std::str::from_utf8(&inside[at - 1..at - 1 + digits]).unwrap();
                at += digits - 1;
                u8::from_str_radix(text, 8).unwrap()
            }
            other => other,
        });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(trace: &str, expected: &expect_test::Expect) {
        let lines: Vec<String> = events(trace, Path::new("/here"))
            .iter()
            .map(|event| format!("{} {:?}\n", event.begun, event.done))
            .collect();
        expected.assert_eq(&lines.concat());
    }

    #[test]
    fn places_follow_what_was_written_and_names_are_absolute() {
        check(
            r#"1 openat(AT_FDCWD</here>, "a", O_WRONLY|O_CREAT|O_TRUNC|O_CLOEXEC, 0644) = 3</here/a>
1 write(3</here/a>, "b\n\"\0017", 5) = 5
1 write(3</here/a>, "later", 5) = 5
1 rename("a", "/b") = 0
1 rename("a", "/b") = -1 ENOENT (No such file or directory)
1 write(2<pipe:[7]>, "done", 4) = 4
"#,
            &expect_test::expect![[r#"
                0 Made { path: "/here/a", mode: 420 }
                0 Cut { path: "/here/a", len: 0 }
                2 Wrote { path: "/here/a", at: Some(0), bytes: [98, 10, 34, 1, 55] }
                3 Wrote { path: "/here/a", at: Some(5), bytes: [108, 97, 116, 101, 114] }
                4 Renamed { from: "/here/a", to: "/b" }
                5 Said { text: "done" }
            "#]],
        );
    }

    #[test]
    fn output_that_is_sent_elsewhere_begins_there() {
        check(
            r#"1 openat(AT_FDCWD</here>, "a", O_WRONLY|O_CREAT, 0644) = 3</here/a>
1 dup2(3</here/a>, 1<pipe:[7]>) = 1</here/a>
1 write(1</here/a>, "one", 3) = 3
1 openat(AT_FDCWD</here>, "b", O_WRONLY|O_CREAT|O_APPEND, 0644) = 3</here/b>
1 dup2(3</here/b>, 1</here/a>) = 1</here/b>
1 write(1</here/b>, "two", 3) = 3
"#,
            &expect_test::expect![[r#"
                0 Made { path: "/here/a", mode: 420 }
                1 Wrote { path: "/here/a", at: Some(0), bytes: [111, 110, 101] }
                2 Made { path: "/here/b", mode: 420 }
                3 Wrote { path: "/here/b", at: None, bytes: [116, 119, 111] }
            "#]],
        );
    }

    #[test]
    fn a_call_that_others_came_between_began_before_them() {
        check(
            r#"1 clone3({flags=CLONE_VM|CLONE_THREAD} => {parent_tid=[2]}, 88 <unfinished ...>
2 fsync(5</here/a> <unfinished ...>
1 <... clone3 resumed>) = 2
1 pwrite64(5</here/a>, "x", 1, 4096) = 1
2 <... fsync resumed>) = 0
"#,
            &expect_test::expect![[r#"
                0 Wrote { path: "/here/a", at: Some(4096), bytes: [120] }
                0 Synced { path: "/here/a" }
            "#]],
        );
    }

    #[test]
    fn a_process_begins_where_its_parent_was() {
        check(
            r#"1 chdir("below") = 0
1 vfork( <unfinished ...>
2 mkdir("x", 0777) = 0
1 <... vfork resumed>) = 2
2 chdir("/") = 0
1 mkdir("y", 0700) = 0
"#,
            &expect_test::expect![[r#"
                0 MadeDir { path: "/here/below/x", mode: 511 }
                1 MadeDir { path: "/here/below/y", mode: 448 }
            "#]],
        );
    }
}
