//! Nameplates: where two devices that share nothing yet pass a few short messages for a pairing.
//!
//! In memory only, and content is opaque. There is no list; asking for numbers that nobody gave out is
//! limited per address. Start at [`Rendezvous::handle`].

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use aws_lc_rs::rand;
use satchel_protocol::frame::{Answer, ErrorAnswer, ErrorCode, Request};
use satchel_protocol::limits::{MAX_RENDEZVOUS_MESSAGES, RENDEZVOUS_LIFETIME};

use crate::admission::Network;
use crate::config::Limits;

/// Networks remembered at a time: 65,536 × about 60 bytes = 4 MB.
const MAX_NETWORKS: usize = 65_536;

/// How long uses of one network are counted together.
const WINDOW_MS: u64 = 60_000;

/// All nameplates that are alive.
pub(super) struct Rendezvous {
    max_places: usize,
    per_network: u32,
    /// By number, so that the smallest free one is found.
    places: BTreeMap<u32, Place>,
    uses: HashMap<Network, Uses>,
}

struct Place {
    expires_ms: u64,
    /// A number stays taken after its end, so that a late participant meets nobody else.
    is_burnt: bool,
    tokens: [Option<[u8; 16]>; 2],
    /// By the participant who posted.
    messages: [Vec<Vec<u8>>; 2],
}

#[derive(Default)]
struct Uses {
    since_ms: u64,
    allocated: u32,
    misses: u32,
}

impl Rendezvous {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            max_places: limits.nameplates,
            per_network: limits.nameplates_per_ip_per_min,
            places: BTreeMap::new(),
            uses: HashMap::new(),
        }
    }

    /// Allocate, claim, post and burn.
    pub(super) fn handle(&mut self, origin: IpAddr, request: Request, now_ms: u64) -> Answer {
        self.places.retain(|_, place| now_ms < place.expires_ms);
        match request {
            Request::RvAllocate => self.allocate(origin, now_ms),
            Request::RvClaim { nameplate } => self.claim(origin, nameplate, now_ms),
            Request::RvPost {
                nameplate,
                token,
                body,
            } => self.post(nameplate, token, body),
            Request::RvBurn { nameplate, token } => self.burn(nameplate, token),
            _ => refusal(ErrorCode::Malformed, 0, 0),
        }
    }

    /// The message of the other participant with this index, or that there is none yet.
    pub(super) fn next(
        &mut self,
        nameplate: u32,
        token: [u8; 16],
        index: u8,
        now_ms: u64,
    ) -> Answer {
        self.places.retain(|_, place| now_ms < place.expires_ms);
        let Some((place, who)) = self.participant(nameplate, token) else {
            return refusal(ErrorCode::NoNameplate, 0, 0);
        };
        let message = place.messages[1 - who].get(usize::from(index));
        message.map_or(Answer::RvWaiting, |body| Answer::RvMessage {
            body: body.clone(),
        })
    }

    fn allocate(&mut self, origin: IpAddr, now_ms: u64) -> Answer {
        let Some(uses) = self.uses_of(origin, now_ms) else {
            return refusal(ErrorCode::Busy, 0, 1000);
        };
        if uses.allocated >= self.per_network {
            return refusal(ErrorCode::Rate, self.per_network.into(), WINDOW_MS);
        }
        if self.places.len() >= self.max_places {
            return refusal(ErrorCode::Busy, self.max_places as u64, WINDOW_MS);
        }
        let free = (1..=u32::MAX).find(|number| !self.places.contains_key(number));
        let (Some(nameplate), Some(token)) = (free, fresh_token()) else {
            return refusal(ErrorCode::Busy, 0, 1000);
        };
        self.count(origin, |uses| uses.allocated += 1);
        let place = Place {
            expires_ms: now_ms.saturating_add(RENDEZVOUS_LIFETIME.as_millis() as u64),
            is_burnt: false,
            tokens: [Some(token), None],
            messages: [Vec::new(), Vec::new()],
        };
        self.places.insert(nameplate, place);
        Answer::RvPlace { nameplate, token }
    }

    fn claim(&mut self, origin: IpAddr, nameplate: u32, now_ms: u64) -> Answer {
        let Some(uses) = self.uses_of(origin, now_ms) else {
            return refusal(ErrorCode::Busy, 0, 1000);
        };
        if uses.misses >= self.per_network {
            return refusal(ErrorCode::Rate, self.per_network.into(), WINDOW_MS);
        }
        let free = self
            .places
            .get_mut(&nameplate)
            .filter(|place| !place.is_burnt && place.tokens[1].is_none());
        match (free, fresh_token()) {
            (Some(place), Some(token)) => {
                place.tokens[1] = Some(token);
                Answer::RvPlace { nameplate, token }
            }
            _ => {
                self.count(origin, |uses| uses.misses += 1);
                refusal(ErrorCode::NoNameplate, 0, 0)
            }
        }
    }

    fn post(&mut self, nameplate: u32, token: [u8; 16], body: Vec<u8>) -> Answer {
        let Some((place, who)) = self.participant(nameplate, token) else {
            return refusal(ErrorCode::NoNameplate, 0, 0);
        };
        // Said again because the answer was lost.
        if place.messages[who].last() == Some(&body) {
            return Answer::Ok;
        }
        if place.messages.iter().map(Vec::len).sum::<usize>() >= MAX_RENDEZVOUS_MESSAGES {
            return refusal(ErrorCode::TooMany, MAX_RENDEZVOUS_MESSAGES as u64, 0);
        }
        place.messages[who].push(body);
        Answer::Ok
    }

    fn burn(&mut self, nameplate: u32, token: [u8; 16]) -> Answer {
        let Some((place, _)) = self.participant(nameplate, token) else {
            return refusal(ErrorCode::NoNameplate, 0, 0);
        };
        place.is_burnt = true;
        place.messages = [Vec::new(), Vec::new()];
        Answer::Ok
    }

    fn participant(&mut self, nameplate: u32, token: [u8; 16]) -> Option<(&mut Place, usize)> {
        let place = self.places.get_mut(&nameplate)?;
        let who = place
            .tokens
            .iter()
            .position(|known| *known == Some(token))?;
        (!place.is_burnt).then_some((place, who))
    }

    /// The counts of a network in this minute; `None` when no more networks can be remembered.
    fn uses_of(&mut self, origin: IpAddr, now_ms: u64) -> Option<&mut Uses> {
        let network = Network::of(origin);
        if self.uses.len() >= MAX_NETWORKS && !self.uses.contains_key(&network) {
            self.uses
                .retain(|_, uses| now_ms.saturating_sub(uses.since_ms) < WINDOW_MS);
            if self.uses.len() >= MAX_NETWORKS {
                return None;
            }
        }
        let uses = self.uses.entry(network).or_default();
        if now_ms.saturating_sub(uses.since_ms) >= WINDOW_MS {
            *uses = Uses {
                since_ms: now_ms,
                ..Uses::default()
            };
        }
        Some(uses)
    }

    fn count(&mut self, origin: IpAddr, add: impl FnOnce(&mut Uses)) {
        if let Some(uses) = self.uses.get_mut(&Network::of(origin)) {
            add(uses);
        }
    }
}

fn fresh_token() -> Option<[u8; 16]> {
    let mut token = [0; 16];
    rand::fill(&mut token).ok()?;
    Some(token)
}

fn refusal(code: ErrorCode, limit: u64, retry_after_ms: u64) -> Answer {
    Answer::Error(ErrorAnswer {
        code,
        limit,
        retry_after_ms: u32::try_from(retry_after_ms).unwrap_or(u32::MAX),
    })
}
