//! Decides which connection attempts are taken: how many in all, how many and how often per address.
//!
//! Pure: no socket, and the caller brings the time. Addresses live in memory only, as long as a
//! connection or a used-up rate needs them. Start at [`Admission::decide`].

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Instant;

use crate::config::Limits;
use crate::rate::Bucket;

/// Addresses remembered at a time: 65,536 × about 100 bytes = 6.5 MB.
const MAX_ADDRESSES: usize = 65_536;

/// Handshakes per second from all addresses before each must first prove its address.
const HANDSHAKES_PER_S: u32 = 200;

/// Handshakes under way before each further one must first prove its address.
const MAX_PENDING_UNPROVEN: usize = 128;

/// What to do with an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Take it. It counts until [`Admission::release`].
    Accept,
    /// Let it prove its address first (QUIC Retry): costs the node no memory.
    Retry,
    /// Turn it away.
    Refuse,
}

/// All that is known about who is connected.
pub(crate) struct Admission {
    max_connections: usize,
    max_connections_per_ip: u32,
    handshakes_per_ip_per_s: u32,
    connections: usize,
    pending: usize,
    all: Bucket,
    by_network: HashMap<Network, Visitor>,
}

struct Visitor {
    connections: u32,
    handshakes: Bucket,
}

impl Admission {
    pub(crate) fn new(limits: &Limits, now: Instant) -> Self {
        Self {
            max_connections: limits.max_connections,
            max_connections_per_ip: limits.max_connections_per_ip,
            handshakes_per_ip_per_s: limits.handshakes_per_ip_per_s,
            connections: 0,
            pending: 0,
            all: Bucket::new(HANDSHAKES_PER_S, HANDSHAKES_PER_S, now),
            by_network: HashMap::new(),
        }
    }

    /// Decides about one attempt. `proven`: the address was validated by QUIC.
    ///
    /// An unproven address is never punished: someone else may have written it on the packet.
    pub(crate) fn decide(&mut self, address: IpAddr, proven: bool, now: Instant) -> Verdict {
        if self.connections >= self.max_connections {
            return Verdict::Refuse;
        }
        let crowded = self.all.try_take(now).is_err() || self.pending >= MAX_PENDING_UNPROVEN;
        if crowded && !proven {
            return Verdict::Retry;
        }
        let network = Network::of(address);
        if !self.make_room(network, now) {
            return if proven {
                Verdict::Refuse
            } else {
                Verdict::Retry
            };
        }
        let rate = self.handshakes_per_ip_per_s;
        let visitor = self.by_network.entry(network).or_insert_with(|| Visitor {
            connections: 0,
            handshakes: Bucket::new(rate, rate.saturating_mul(2), now),
        });
        if visitor.connections >= self.max_connections_per_ip
            || visitor.handshakes.try_take(now).is_err()
        {
            return if proven {
                Verdict::Refuse
            } else {
                Verdict::Retry
            };
        }
        visitor.connections += 1;
        self.connections += 1;
        self.pending += 1;
        Verdict::Accept
    }

    /// The handshake of an accepted attempt is over, well or badly.
    pub(crate) fn handshake_ended(&mut self) {
        self.pending = self.pending.saturating_sub(1);
    }

    /// An accepted attempt is over altogether.
    pub(crate) fn release(&mut self, address: IpAddr) {
        self.connections = self.connections.saturating_sub(1);
        if let Some(visitor) = self.by_network.get_mut(&Network::of(address)) {
            visitor.connections = visitor.connections.saturating_sub(1);
        }
    }

    /// Whether this network is remembered or can be: forgets the idle ones when the table is full.
    fn make_room(&mut self, network: Network, now: Instant) -> bool {
        if self.by_network.len() >= MAX_ADDRESSES && !self.by_network.contains_key(&network) {
            self.by_network
                .retain(|_, visitor| visitor.connections > 0 || !visitor.handshakes.is_full(now));
        }
        self.by_network.len() < MAX_ADDRESSES || self.by_network.contains_key(&network)
    }
}

/// One IPv4 address, or the /56 that an IPv6 provider gives to one customer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Network {
    V4([u8; 4]),
    V6([u8; 7]),
}

impl Network {
    pub(crate) fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self::V4(v4.octets()),
            IpAddr::V6(v6) => {
                let [a, b, c, d, e, f, g, ..] = v6.octets();
                Self::V6([a, b, c, d, e, f, g])
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn admission(now: Instant) -> Admission {
        let limits = Limits {
            max_connections: 3,
            max_connections_per_ip: 2,
            ..Limits::default()
        };
        Admission::new(&limits, now)
    }

    #[test]
    fn one_address_cannot_take_all_places() {
        let now = Instant::now();
        let mut door = admission(now);
        assert_eq!(door.decide(ip("10.0.0.1"), true, now), Verdict::Accept);
        assert_eq!(door.decide(ip("10.0.0.1"), true, now), Verdict::Accept);
        assert_eq!(door.decide(ip("10.0.0.1"), true, now), Verdict::Refuse);
        assert_eq!(door.decide(ip("10.0.0.2"), false, now), Verdict::Accept);
        assert_eq!(
            door.decide(ip("10.0.0.3"), true, now),
            Verdict::Refuse,
            "the node is full"
        );
        door.release(ip("10.0.0.1"));
        assert_eq!(door.decide(ip("10.0.0.1"), true, now), Verdict::Accept);
    }

    #[test]
    fn a_forged_address_is_asked_for_proof_and_not_punished() {
        let now = Instant::now();
        let mut door = Admission::new(
            &Limits {
                handshakes_per_ip_per_s: 1,
                ..Limits::default()
            },
            now,
        );
        let victim = ip("192.0.2.1");
        assert_eq!(door.decide(victim, false, now), Verdict::Accept);
        assert_eq!(door.decide(victim, false, now), Verdict::Accept);
        assert_eq!(door.decide(victim, false, now), Verdict::Retry);
        assert_eq!(door.decide(victim, true, now), Verdict::Refuse);
        assert_eq!(
            door.decide(victim, true, now + Duration::from_secs(1)),
            Verdict::Accept
        );
    }

    #[test]
    fn many_half_open_handshakes_turn_on_proof_for_all() {
        let now = Instant::now();
        let limits = Limits {
            max_connections_per_ip: 1000,
            ..Limits::default()
        };
        let mut door = Admission::new(&limits, now);
        for index in 0..MAX_PENDING_UNPROVEN {
            let address = IpAddr::from([10, 0, (index / 256) as u8, index as u8]);
            assert_eq!(door.decide(address, false, now), Verdict::Accept);
        }
        assert_eq!(door.decide(ip("10.9.9.9"), false, now), Verdict::Retry);
        assert_eq!(
            door.decide(ip("10.9.9.9"), true, now),
            Verdict::Accept,
            "proof is enough"
        );
        (0..2).for_each(|_| door.handshake_ended());
        assert_eq!(door.decide(ip("10.9.9.8"), false, now), Verdict::Accept);
    }

    #[test]
    fn an_ipv6_customer_counts_as_one() {
        let now = Instant::now();
        let mut door = admission(now);
        assert_eq!(
            door.decide(ip("2001:db8:0:ff01::1"), true, now),
            Verdict::Accept
        );
        assert_eq!(
            door.decide(ip("2001:db8:0:ff02::2"), true, now),
            Verdict::Accept
        );
        assert_eq!(
            door.decide(ip("2001:db8:0:ffff::3"), true, now),
            Verdict::Refuse
        );
        assert_eq!(
            door.decide(ip("2001:db8:1:ff01::1"), true, now),
            Verdict::Accept
        );
    }

    #[test]
    fn the_table_of_addresses_forgets_the_idle_and_stays_bounded() {
        let start = Instant::now();
        let limits = Limits {
            max_connections: usize::MAX,
            ..Limits::default()
        };
        let mut door = Admission::new(&limits, start);
        let mut now = start;
        for index in 0..(MAX_ADDRESSES as u32 + 10) {
            now += Duration::from_millis(10);
            let address = IpAddr::from(index.to_be_bytes());
            assert_eq!(door.decide(address, true, now), Verdict::Accept);
            door.handshake_ended();
            door.release(address);
        }
        assert!(door.by_network.len() <= MAX_ADDRESSES);
    }
}
