//! What a process and the supervisors of its commands say to each other, over one socket each.
//!
//! First the order: a byte, with which descriptors may come (the standard input of the program, the socket for what its
//! sandbox hands out), then the length of a JSON text and the text. After that single bytes go one way, and lines the other. The end of the socket is the end of
//! whoever is at its other end.

use std::collections::BTreeMap;
use std::io::{self, IoSlice, IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize};

use crate::sandbox::{Policy, Stage};

/// The longest order; a program cannot be given as much.
const ORDER_BYTES_MAX: usize = 32 << 20;
/// Descriptors that come with it.
const FDS_MAX: usize = 2;
/// Asks the program's group to end.
pub(super) const ASK: u8 = b'a';
/// Ends everything.
pub(super) const KILL: u8 = b'k';

/// What to run.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Order {
    /// The file of the program.
    pub(super) program: PathBuf,
    /// Its arguments, its own name first.
    pub(super) argv: Vec<String>,
    /// Where it runs.
    pub(super) cwd: PathBuf,
    /// Its whole environment.
    pub(super) env: BTreeMap<String, String>,
    /// Whether the first descriptor is its standard input.
    pub(super) has_stdin: bool,
    /// The sandbox that it runs in. If that may reach somebody, the last descriptor is where it hands its listener out.
    pub(super) sandbox: Option<Policy>,
}

/// What a supervisor says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Report {
    /// The program runs.
    Started,
    /// It could not be started, for this reason of the operating system.
    NotStarted(i32),
    /// There is no sandbox for it: this stood in the way, for this reason of the operating system.
    NoSandbox(Stage, i32),
    /// It has exited, with this code.
    Exited(i32),
    /// A signal has ended it.
    Signalled(i32),
    /// Everything is over; this many processes could not be ended.
    Over(u32),
}

impl Report {
    /// As it is said.
    pub(super) fn line(self) -> String {
        match self {
            Self::Started => "started\n".to_owned(),
            Self::NotStarted(reason) => format!("not_started {reason}\n"),
            Self::NoSandbox(stage, reason) => format!("no_sandbox {stage} {reason}\n"),
            Self::Exited(code) => format!("exited {code}\n"),
            Self::Signalled(signal) => format!("signalled {signal}\n"),
            Self::Over(left) => format!("over {left}\n"),
        }
    }

    /// As it is heard.
    pub(super) fn parse(line: &str) -> Option<Self> {
        match line.split_once(' ').unwrap_or((line, "")) {
            ("started", "") => Some(Self::Started),
            ("not_started", reason) => reason.parse().ok().map(Self::NotStarted),
            ("no_sandbox", rest) => {
                let (stage, reason) = rest.split_once(' ')?;
                Some(Self::NoSandbox(Stage::named(stage)?, reason.parse().ok()?))
            }
            ("exited", code) => code.parse().ok().map(Self::Exited),
            ("signalled", signal) => signal.parse().ok().map(Self::Signalled),
            ("over", left) => left.parse().ok().map(Self::Over),
            _ => None,
        }
    }
}

/// Sends the byte that an order begins with, and descriptors with it. One byte always fits.
pub(super) fn send_fds(socket: &UnixStream, fds: &[OwnedFd]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
    if !fds.is_empty() {
        ancillary.push(SendAncillaryMessage::ScmRights(&fds));
    }
    sendmsg(socket, &[IoSlice::new(b"o")], &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Reads a byte, and the descriptors that came with it.
fn read_fds(socket: &UnixStream) -> io::Result<Vec<OwnedFd>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut first = [0u8];
    let read = recvmsg(socket, &mut [IoSliceMut::new(&mut first)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    if read.bytes != 1 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let mut all = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(fds) = message {
            all.extend(fds);
        }
    }
    Ok(all)
}

/// The rest of an order.
pub(super) fn order_bytes(order: &Order) -> io::Result<Vec<u8>> {
    let text = serde_json::to_vec(order)?;
    let len = u32::try_from(text.len()).ok().filter(|_| text.len() <= ORDER_BYTES_MAX);
    let len = len.ok_or_else(|| io::Error::from_raw_os_error(rustix::io::Errno::TOOBIG.raw_os_error()))?;
    let mut bytes = len.to_le_bytes().to_vec();
    bytes.extend_from_slice(&text);
    Ok(bytes)
}

/// Reads an order, and the descriptors that came with it.
pub(super) fn read_order(mut socket: &UnixStream) -> io::Result<(Order, Vec<OwnedFd>)> {
    let fds = read_fds(socket)?;
    let mut len = [0u8; 4];
    socket.read_exact(&mut len)?;
    let len = u32::from_le_bytes(len) as usize;
    if len > ORDER_BYTES_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut text = vec![0; len];
    socket.read_exact(&mut text)?;
    Ok((serde_json::from_slice(&text)?, fds))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::sandbox::Host;

    #[test]
    fn reports_are_heard_as_they_were_said() {
        let all = [
            Report::Started,
            Report::NotStarted(2),
            Report::NoSandbox(Stage::Mounts, 1),
            Report::Exited(-1),
            Report::Signalled(9),
            Report::Over(3),
        ];
        for report in all {
            assert_eq!(Report::parse(report.line().trim_end()), Some(report));
        }
        for line in ["", "exited", "exited x", "over -1", "gone 3", "no_sandbox 1", "no_sandbox x 1"] {
            assert_eq!(Report::parse(line), None, "{line}");
        }
    }

    #[test]
    fn an_order_arrives_with_its_input() {
        let order = Order {
            program: "/bin/cat".into(),
            argv: vec!["cat".into(), "ä \n\"".into()],
            cwd: "/".into(),
            env: BTreeMap::from([("A".into(), "x".repeat(300_000))]),
            has_stdin: true,
            sandbox: Some(Host::default().policy()),
        };
        for with_input in [false, true] {
            let (mut ours, theirs) = UnixStream::pair().unwrap();
            let (mut reader, writer) = std::io::pipe().unwrap();
            let fds: Vec<OwnedFd> = with_input.then(|| writer.into()).into_iter().collect();
            send_fds(&ours, &fds).unwrap();
            drop(fds);
            let bytes = order_bytes(&order).unwrap();
            let sending = std::thread::spawn(move || ours.write_all(&bytes).unwrap());
            let (heard, mut fds) = read_order(&theirs).unwrap();
            sending.join().unwrap();
            assert_eq!((&heard, fds.len()), (&order, usize::from(with_input)));
            if let Some(stdin) = fds.pop() {
                std::fs::File::from(stdin).write_all(b"through").unwrap();
                let mut text = String::new();
                reader.read_to_string(&mut text).unwrap();
                assert_eq!(text, "through");
            }
        }
    }

    #[test]
    fn what_is_not_an_order_is_an_error() {
        for bytes in [&b""[..], b"o", b"o\xff\xff\xff\xff", b"o\x02\0\0\0[]", b"o\x09\0\0\0{}"] {
            let (mut ours, theirs) = UnixStream::pair().unwrap();
            ours.write_all(bytes).unwrap();
            drop(ours);
            assert!(read_order(&theirs).is_err(), "{bytes:?}");
        }
    }
}
