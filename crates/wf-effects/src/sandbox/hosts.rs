//! Whom a sandboxed process may reach: a name, all names below one, or an address, each with a port if it is not that of
//! the web.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// Ports that are meant where none is named.
const PORTS_DEFAULT: [u16; 2] = [80, 443];
/// The longest name.
const NAME_BYTES_MAX: usize = 253;

/// Hosts that may be reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostRule {
    name: Name,
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Name {
    /// Any host that is not of this machine's own surroundings.
    Any,
    /// Every name below this one.
    Below(String),
    /// This name or address.
    Exactly(String),
}

/// A text that names no hosts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} names no host: NAME, *.NAME, * or an address, each with :PORT if it is not 80 or 443")]
pub struct NoHost(String);

impl HostRule {
    /// Reads a rule.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(text: &str) -> Result<Self, NoHost> {
        let fail = || NoHost(text.chars().take(NAME_BYTES_MAX).collect());
        let (name, port) = split_port(text).ok_or_else(fail)?;
        let name = name.to_ascii_lowercase();
        let name = match name.strip_prefix("*.") {
            _ if name == "*" => Name::Any,
            Some(rest) if is_name(rest) => Name::Below(format!(".{rest}")),
            None if is_name(&name) || name.parse::<IpAddr>().is_ok() => Name::Exactly(name),
            Some(_) | None => return Err(fail()),
        };
        Ok(Self { name, port })
    }

    /// Whether a host may be reached at a port.
    pub fn allows(&self, host: &str, port: u16) -> bool {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let is_port = self.port.map_or_else(|| PORTS_DEFAULT.contains(&port), |wanted| wanted == port);
        is_port
            && match &self.name {
                Name::Any => true,
                Name::Below(suffix) => host.len() > suffix.len() && host.ends_with(suffix.as_str()),
                Name::Exactly(name) => *name == host,
            }
    }

    /// Whether it names this very host.
    pub(super) fn is_for(&self, host: &str) -> bool {
        matches!(&self.name, Name::Exactly(name) if name == host)
    }

    /// Whether it names this machine or an address itself: only then may the way lead to one that is not public.
    pub(super) fn is_explicit(&self) -> bool {
        matches!(&self.name, Name::Exactly(name) if name == "localhost" || name.parse::<IpAddr>().is_ok())
    }
}

/// A name or address, and the port behind it.
pub(super) fn split_port(text: &str) -> Option<(&str, Option<u16>)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (address, rest) = rest.split_once(']')?;
        return match rest.strip_prefix(':') {
            Some(port) => Some((address, Some(port.parse().ok()?))),
            None => rest.is_empty().then_some((address, None)),
        };
    }
    match text.split_once(':') {
        // An address of the newer kind without brackets.
        Some((_, rest)) if rest.contains(':') => Some((text, None)),
        Some((name, port)) => Some((name, Some(port.parse().ok()?))),
        None => Some((text, None)),
    }
}

fn is_name(name: &str) -> bool {
    let is_label = |label: &str| {
        let is_character = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        (1..=63).contains(&label.len()) && label.bytes().all(is_character)
    };
    name.len() <= NAME_BYTES_MAX && name.split('.').all(is_label)
}

impl fmt::Display for HostRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Name::Any => f.write_str("*")?,
            Name::Below(suffix) => write!(f, "*{suffix}")?,
            Name::Exactly(name) if name.contains(':') => write!(f, "[{name}]")?,
            Name::Exactly(name) => f.write_str(name)?,
        }
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

impl TryFrom<String> for HostRule {
    type Error = NoHost;

    fn try_from(text: String) -> Result<Self, NoHost> {
        Self::parse(&text)
    }
}

impl From<HostRule> for String {
    fn from(rule: HostRule) -> Self {
        rule.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_say_whom() {
        let cases = [
            ("example.org", "example.org", 443, true),
            ("example.org", "EXAMPLE.org.", 80, true),
            ("example.org", "example.org", 22, false),
            ("example.org:22", "example.org", 22, true),
            ("example.org:22", "example.org", 443, false),
            ("example.org", "sub.example.org", 443, false),
            ("example.org", "badexample.org", 443, false),
            ("*.example.org", "sub.example.org", 443, true),
            ("*.example.org", "example.org", 443, false),
            ("*.example.org", "badexample.org", 443, false),
            ("*.example.org", ".example.org", 443, false),
            ("*", "anything", 443, true),
            ("*", "anything", 25, false),
            ("127.0.0.1:8080", "127.0.0.1", 8080, true),
            ("[::1]:8080", "::1", 8080, true),
        ];
        for (rule, host, port, expected) in cases {
            let read = HostRule::parse(rule).unwrap();
            assert_eq!((read.allows(host, port), read.to_string().as_str()), (expected, rule), "{rule} {host}:{port}");
        }
    }

    #[test]
    fn what_is_no_rule_is_an_error() {
        for text in ["", "*.", "**", "a..b", "a b", "http://a", "a:", "a:99999", "a/b", "[::1", "*.*", "ä.org"] {
            assert!(HostRule::parse(text).is_err(), "{text}");
        }
    }
}
