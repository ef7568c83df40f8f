//! One line that an operator gives to users: where a node is and which key it has.
//!
//! `satchel-edge:<host>:<port>/<fingerprint>`. Resolves no names. Start at [`NodeLink`].

use std::fmt;
use std::str::FromStr;

use crate::id::{NodeFingerprint, ParseIdError};

const SCHEME: &str = "satchel-edge:";

/// Where an edge node is, and whom to accept there.
///
/// Shown and read as `satchel-edge:edge.example.org:4747/<64 hex digits>`; an IPv6 address stands in
/// brackets.
///
/// ```
/// use satchel_protocol::link::NodeLink;
///
/// let text = format!("satchel-edge:edge.example.org:4747/{}", "ab".repeat(32));
/// let link: NodeLink = text.parse()?;
/// assert_eq!(link.address, "edge.example.org:4747");
/// assert_eq!(link.to_string(), text);
/// # Ok::<(), satchel_protocol::link::ParseLinkError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NodeLink {
    /// `host:port`; the host is a name, an IPv4 address or an IPv6 address in brackets.
    pub address: String,
    /// The key of the node.
    pub fingerprint: NodeFingerprint,
}

impl fmt::Display for NodeLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}/{}", self.address, self.fingerprint)
    }
}

impl FromStr for NodeLink {
    type Err = ParseLinkError;

    /// Reads a link; white space around it is ignored.
    fn from_str(text: &str) -> Result<Self, ParseLinkError> {
        let text = text.trim();
        let rest = text.strip_prefix(SCHEME).ok_or(ParseLinkError::Scheme)?;
        let (address, fingerprint) = rest.split_once('/').ok_or(ParseLinkError::NoFingerprint)?;
        let fingerprint = fingerprint.trim_end_matches('/').to_ascii_lowercase();
        Ok(Self {
            address: check_address(address)?.to_owned(),
            fingerprint: fingerprint.parse().map_err(ParseLinkError::Fingerprint)?,
        })
    }
}

fn check_address(address: &str) -> Result<&str, ParseLinkError> {
    let (host, port) = address.rsplit_once(':').ok_or(ParseLinkError::Address)?;
    let digits = port.bytes().all(|byte| byte.is_ascii_digit());
    let port_is_valid = digits && port.parse::<u16>().is_ok_and(|port| port != 0);
    let host_is_valid = match host.strip_prefix('[') {
        Some(inside) => inside
            .strip_suffix(']')
            .is_some_and(|inside| inside.parse::<core::net::Ipv6Addr>().is_ok()),
        None => {
            !host.is_empty()
                && host
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'))
        }
    };
    if port_is_valid && host_is_valid {
        Ok(address)
    } else {
        Err(ParseLinkError::Address)
    }
}

/// A text that is no link to an edge node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseLinkError {
    /// It does not begin as a link does.
    #[error(
        "a link to an edge node begins with {SCHEME} : copy the whole line that `satchel-edge run` prints after \"link:\""
    )]
    Scheme,
    /// Nothing follows the address.
    #[error("the link has no fingerprint after the address: copy it whole, up to its end")]
    NoFingerprint,
    /// The middle is no address.
    #[error(
        "the link has no valid address: write host:port, such as edge.example.org:4747 or [2001:db8::1]:4747"
    )]
    Address,
    /// The end is no fingerprint.
    #[error("the link has no valid fingerprint")]
    Fingerprint(#[source] ParseIdError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_reads_back_with_spaces_around_it() {
        let hex = "0f".repeat(32);
        for address in [
            "edge.example.org:4747",
            "127.0.0.1:1",
            "[2001:db8::1]:65535",
        ] {
            let link: NodeLink = format!("  satchel-edge:{address}/{hex}\n").parse().unwrap();
            assert_eq!(link.address, address);
            assert_eq!(link.to_string().parse(), Ok(link));
        }
    }

    #[test]
    fn each_mistake_has_its_own_words() {
        let hex = "0f".repeat(32);
        let error = |text: String| text.parse::<NodeLink>().unwrap_err();
        assert_eq!(error(format!("http://a:1/{hex}")), ParseLinkError::Scheme);
        assert_eq!(
            error("satchel-edge:a:1".into()),
            ParseLinkError::NoFingerprint
        );
        for address in [
            "a",
            "a:",
            ":1",
            "a:0",
            "a:70000",
            "2001:db8::1:5",
            "[x]:1",
            "a b:1",
            "a:+1",
        ] {
            assert_eq!(
                error(format!("satchel-edge:{address}/{hex}")),
                ParseLinkError::Address,
                "{address}"
            );
        }
        assert!(matches!(
            error("satchel-edge:a:1/0f0f".into()),
            ParseLinkError::Fingerprint(_)
        ));
    }
}
