//! The way out of a sandbox, host by host.
//!
//! The sandbox has a network of its own, with nobody else in it. Its first process listens there, and hands the
//! listening socket out; whoever wanted the command accepts from it on the outside and connects to those whom the policy
//! names. Programs find it by `HTTPS_PROXY`. What asks for no proxy reaches nobody.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::{AbortHandle, JoinSet};

use super::hosts::{HostRule, split_port};

/// Connections at once; more wait to be accepted.
const CONNECTIONS_MAX: usize = 64;
/// The longest head of a request.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// How long a request's head may take to arrive.
const HEAD_WAIT: Duration = Duration::from_secs(30);
/// How long a host may take to be found and to answer.
const CONNECT_WAIT: Duration = Duration::from_secs(30);
/// By which names programs find a proxy.
const VARIABLES: [&str; 6] = ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"];
/// What is asked directly: the inside itself.
const DIRECT: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// Makes the listening socket inside and hands it out. Answers with what programs are told. A name of this machine that
/// `rules` name means the outside.
pub(super) fn hand_out(socket: &UnixStream, rules: &[HostRule]) -> io::Result<Vec<(String, String)>> {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let url = format!("http://{}", listener.local_addr()?);
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let fds = [listener.as_fd()];
    ancillary.push(SendAncillaryMessage::ScmRights(&fds));
    sendmsg(socket, &[IoSlice::new(b"l")], &mut ancillary, SendFlags::NOSIGNAL)?;
    let mut told: Vec<_> = VARIABLES.iter().map(|name| ((*name).to_owned(), url.clone())).collect();
    let direct: Vec<&str> = DIRECT.into_iter().filter(|name| !rules.iter().any(|rule| rule.is_for(name))).collect();
    told.extend(["NO_PROXY", "no_proxy"].map(|name| (name.to_owned(), direct.join(","))));
    Ok(told)
}

/// A proxy that serves one sandbox, for as long as this lives.
#[derive(Debug)]
pub(crate) struct Proxy {
    serving: AbortHandle,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Proxy {
    /// Serves the listener that is handed out through `socket`.
    pub(crate) fn start(socket: UnixStream, rules: Vec<HostRule>) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let socket = tokio::net::UnixStream::from_std(socket)?;
        let serving = tokio::spawn(async move {
            // Without a listener there is nobody to be served: what is inside reaches nobody then.
            if let Ok(listener) = receive(&socket).await {
                serve(listener, rules.into()).await;
            }
        });
        Ok(Self { serving: serving.abort_handle() })
    }
}

async fn receive(socket: &tokio::net::UnixStream) -> io::Result<TcpListener> {
    let fd = socket.async_io(Interest::READABLE, || receive_fd(socket)).await?;
    let listener = std::net::TcpListener::from(fd);
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

fn receive_fd(socket: &tokio::net::UnixStream) -> io::Result<OwnedFd> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut first = [0u8];
    recvmsg(socket, &mut [IoSliceMut::new(&mut first)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    let mut found = None;
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(mut fds) = message {
            found = fds.next();
        }
    }
    found.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

async fn serve(listener: TcpListener, rules: Arc<[HostRule]>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut serving = JoinSet::new();
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        let Ok((client, _)) = listener.accept().await else { return };
        let rules = Arc::clone(&rules);
        serving.spawn(async move {
            // Whatever goes wrong with a connection is seen by its two ends.
            let _ = connect(client, &rules).await;
            drop(permit);
        });
        while serving.try_join_next().is_some() {}
    }
}

/// Serves one connection: a tunnel, or one plain request.
async fn connect(mut client: TcpStream, rules: &[HostRule]) -> io::Result<()> {
    let read = tokio::time::timeout(HEAD_WAIT, read_head(&mut client)).await;
    let Ok(Ok((head, rest))) = read else { return refuse(&mut client, "400 Bad Request", "no request").await };
    let Some(request) = Request::parse(&head) else {
        return refuse(&mut client, "400 Bad Request", "this is a proxy: CONNECT, or a request with a whole URL").await;
    };
    let (host, port) = (request.host, request.port);
    let rule = rules.iter().filter(|rule| rule.allows(host, port)).max_by_key(|rule| rule.is_explicit());
    let Some(rule) = rule else {
        let why = format!("{host}:{port} is not among the hosts that may be reached");
        return refuse(&mut client, "403 Forbidden", &why).await;
    };
    let found = tokio::time::timeout(CONNECT_WAIT, reach(host, port, rule)).await;
    let mut server = match found.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
        Ok(server) => server,
        Err(error) => {
            let why = format!("{host}:{port} cannot be reached: {}", error.kind());
            return refuse(&mut client, "502 Bad Gateway", &why).await;
        }
    };
    match &request.forwarded {
        None => client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?,
        Some(head) => server.write_all(head.as_bytes()).await?,
    }
    server.write_all(&rest).await?;
    tokio::io::copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}

/// Connects to a host, and not to this machine or its surroundings under a name of somebody's choice.
async fn reach(host: &str, port: u16, rule: &HostRule) -> io::Result<TcpStream> {
    let addresses: Vec<SocketAddr> = tokio::net::lookup_host((host, port))
        .await?
        .filter(|address| rule.is_explicit() || is_public(address.ip()))
        .collect();
    if addresses.is_empty() {
        return Err(io::ErrorKind::AddrNotAvailable.into());
    }
    TcpStream::connect(addresses.as_slice()).await
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, ..] = address.octets();
    let is_own = address.is_private() || address.is_loopback() || address.is_link_local() || address.is_broadcast();
    let is_shared = a == 100 && b & 0xc0 == 64;
    !(is_own || is_shared || address.is_multicast() || address.is_documentation() || a == 0 || a >= 240)
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    // An older address in the clothes of a newer one is judged as what it is.
    if let Some(address) = address.to_ipv4() {
        return is_public_v4(address);
    }
    let [first, second, ..] = address.segments();
    let translates = first == 0x64 && second == 0xff9b || first == 0x2002;
    !(address.is_loopback()
        || address.is_unspecified()
        || address.is_multicast()
        || address.is_unique_local()
        || address.is_unicast_link_local()
        || translates)
}

async fn refuse(client: &mut TcpStream, status: &str, why: &str) -> io::Result<()> {
    let body = format!("whaleflow: {why}\n");
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    client.write_all(format!("{head}{body}").as_bytes()).await?;
    client.shutdown().await
}

/// The head of a request, and what came behind it.
async fn read_head(client: &mut TcpStream) -> io::Result<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let rest = bytes.split_off(end + 4);
            return Ok((String::from_utf8(bytes).map_err(io::Error::other)?, rest));
        }
        if bytes.len() >= HEAD_BYTES_MAX || client.read_buf(&mut bytes).await? == 0 {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
}

/// What a client wants.
#[derive(Debug, PartialEq, Eq)]
struct Request<'a> {
    host: &'a str,
    port: u16,
    /// The head as it goes on; nothing for a tunnel.
    forwarded: Option<String>,
}

impl<'a> Request<'a> {
    fn parse(head: &'a str) -> Option<Self> {
        let mut lines = head.split("\r\n");
        let mut words = lines.next()?.split(' ');
        let (method, target, version) = (words.next()?, words.next()?, words.next()?);
        if words.next().is_some() || !version.starts_with("HTTP/1.") {
            return None;
        }
        if method == "CONNECT" {
            let (host, port) = split_port(target)?;
            return Some(Self { host, port: port?, forwarded: None });
        }
        let rest = target.strip_prefix("http://")?;
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let (host, port) = split_port(authority)?;
        if host.is_empty() || host.contains('@') {
            return None;
        }
        let slash = if path.starts_with('/') { "" } else { "/" };
        let mut forwarded = format!("{method} {slash}{path} HTTP/1.1\r\n");
        for line in lines.filter(|line| !line.is_empty() && !is_for_the_proxy(line)) {
            forwarded.push_str(line);
            forwarded.push_str("\r\n");
        }
        // One request a connection, so that the next one is judged again.
        forwarded.push_str("Connection: close\r\n\r\n");
        Some(Self { host, port: port.unwrap_or(80), forwarded: Some(forwarded) })
    }
}

fn is_for_the_proxy(line: &str) -> bool {
    let name = line.split(':').next().unwrap_or_default().to_ascii_lowercase();
    name.starts_with("proxy-") || name == "connection" || name == "keep-alive"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_understood_or_refused() {
        let tunnel = Request { host: "a.org", port: 443, forwarded: None };
        assert_eq!(Request::parse("CONNECT a.org:443 HTTP/1.1\r\nHost: x\r\n\r\n"), Some(tunnel));
        let head = "GET http://a.org:81?x HTTP/1.1\r\nHost: a.org\r\nProxy-Authorization: b\r\nConnection: c\r\n\r\n";
        let forwarded = "GET /?x HTTP/1.1\r\nHost: a.org\r\nConnection: close\r\n\r\n".to_owned();
        assert_eq!(Request::parse(head), Some(Request { host: "a.org", port: 81, forwarded: Some(forwarded) }));
        for head in [
            "",
            "GET / HTTP/1.1\r\n\r\n",
            "GET ftp://a/ HTTP/1.1\r\n\r\n",
            "GET http://u@a.org/ HTTP/1.1\r\n\r\n",
            "CONNECT a.org HTTP/1.1\r\n\r\n",
            "CONNECT a.org:1 b HTTP/1.1\r\n\r\n",
            "CONNECT a.org:1 HTTP/2\r\n\r\n",
        ] {
            assert_eq!(Request::parse(head), None, "{head}");
        }
    }

    #[test]
    fn addresses_of_the_surroundings_are_not_public() {
        let own = "127.0.0.1 10.1.1.1 172.16.0.1 192.168.1.1 169.254.169.254 100.64.0.1 0.0.0.0 255.255.255.255 ::1 :: \
                   fe80::1 fd00::1 ::ffff:127.0.0.1 ::7f00:1 64:ff9b::7f00:1 2002:7f00:1:: ff02::1 224.0.0.1";
        for address in own.split_whitespace() {
            assert!(!is_public(address.parse().unwrap()), "{address}");
        }
        for address in ["1.1.1.1", "100.128.0.1", "2606:4700::1111"] {
            assert!(is_public(address.parse().unwrap()), "{address}");
        }
    }
}
