//! Two laptops meet at an edge to make one of them a member: the way of the messages of `pairing`.
//!
//! Nothing is believed of the edge: what it relays is protected by the code. Start at [`PairNew::begin`] on the new
//! laptop and [`PairKnown::begin`] on one that is a member.

use std::time::{Duration, Instant};

use satchel_protocol::frame::{Answer, ErrorCode, Request};
use satchel_protocol::link::NodeLink;
use zeroize::Zeroizing;

use super::driver::connect;
use super::{EdgeClient, RequestError, open_socket};
use crate::member::{DeviceInfo, DeviceKeys, Welcome, WelcomeError};
use crate::pairing::{
    Approver, ApproverWaiting, Emoji, Joiner, JoinerWaiting, PairingCode, PairingError,
};

/// How long the two laptops have: the edge forgets the code then.
pub const PAIRING_LIFETIME: Duration = Duration::from_secs(600);

/// Why two laptops did not meet. Nothing was changed on either of them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PairError {
    /// The edge cannot be reached.
    #[error("{0}")]
    NotReached(String),
    /// The edge knows no such code.
    #[error(
        "the edge node knows no such code: it was mistyped, used already, or is older than ten minutes; show a new one on the new laptop"
    )]
    NoSuchCode,
    /// The other laptop did not answer in time.
    #[error("the other laptop did not answer within ten minutes: begin again with a new code")]
    TooLate,
    /// The edge refused or broke off.
    #[error(transparent)]
    Edge(#[from] RequestError),
    /// The code was wrong, or somebody interfered.
    #[error(transparent)]
    Pairing(#[from] PairingError),
    /// What the other laptop sent is not understood.
    #[error(transparent)]
    Welcome(#[from] WelcomeError),
}

/// A place at the edge where two laptops leave messages for each other.
struct Meeting {
    client: EdgeClient,
    nameplate: u32,
    token: [u8; 16],
    until: Instant,
}

/// The new laptop, showing its code.
pub struct PairNew {
    meeting: Meeting,
    joiner: Joiner,
    code: Zeroizing<String>,
}

/// The new laptop, waiting for the approval.
pub struct PairNewWaiting {
    meeting: Meeting,
    joiner: JoinerWaiting,
}

/// A member's laptop that has met the new one, and asks its user.
pub struct PairKnown {
    meeting: Meeting,
    approver: ApproverWaiting,
    info: DeviceInfo,
}

impl PairNew {
    /// Asks the edge for a place and makes a code.
    ///
    /// # Errors
    /// See [`PairError`].
    pub async fn begin(link: &NodeLink) -> Result<Self, PairError> {
        let client = reach(link).await?;
        let meeting = Meeting::open(client, Request::RvAllocate).await?;
        let code = PairingCode::random(meeting.nameplate);
        let shown = Zeroizing::new(code.to_string());
        let (joiner, hello) = Joiner::start(code, link.fingerprint);
        meeting.post(hello).await?;
        Ok(Self {
            meeting,
            joiner,
            code: shown,
        })
    }

    /// What the user types on the other laptop.
    #[must_use]
    pub fn code(&self) -> &str {
        &self.code
    }

    /// Waits for the other laptop, and tells it who this one is.
    ///
    /// # Errors
    /// See [`PairError`]; the code is used up.
    pub async fn meet(self, info: &DeviceInfo) -> Result<PairNewWaiting, PairError> {
        let reply = self.meeting.next(0).await?;
        let (joiner, accept) = match self.joiner.confirm(&reply, &info.encode()) {
            Ok(confirmed) => confirmed,
            Err(error) => {
                self.meeting.burn().await;
                return Err(error.into());
            }
        };
        self.meeting.post(accept).await?;
        Ok(PairNewWaiting {
            meeting: self.meeting,
            joiner,
        })
    }
}

impl PairNewWaiting {
    /// Four pictures; the other laptop shows the same ones.
    #[must_use]
    pub fn check(&self) -> [Emoji; 4] {
        self.joiner.check()
    }

    /// Waits until the user of the other laptop has approved.
    ///
    /// # Errors
    /// See [`PairError`].
    pub async fn welcome(self) -> Result<Welcome, PairError> {
        let answer = self.meeting.next(1).await;
        let welcomed = match answer {
            Ok(answer) => self.joiner.finish(&answer).map_err(PairError::from),
            Err(error) => Err(error),
        };
        self.meeting.burn().await;
        Ok(Welcome::decode(&welcomed?)?)
    }
}

impl PairKnown {
    /// Meets the laptop that shows this code.
    ///
    /// # Errors
    /// See [`PairError`]; the code is used up.
    pub async fn begin(link: &NodeLink, code: PairingCode) -> Result<Self, PairError> {
        let client = reach(link).await?;
        let nameplate = code.nameplate();
        let meeting = Meeting::open(client, Request::RvClaim { nameplate }).await?;
        let hello = meeting.next(0).await?;
        let (approver, reply) = Approver::start(code, link.fingerprint, &hello)?;
        meeting.post(reply).await?;
        let accept = meeting.next(1).await?;
        let approver = match approver.receive(&accept) {
            Ok(approver) => approver,
            Err(error) => {
                meeting.burn().await;
                return Err(error.into());
            }
        };
        let info = DeviceInfo::decode(approver.device_info())?;
        Ok(Self {
            meeting,
            approver,
            info,
        })
    }

    /// Who wants to become a member.
    #[must_use]
    pub fn info(&self) -> &DeviceInfo {
        &self.info
    }

    /// Four pictures; the new laptop shows the same ones.
    #[must_use]
    pub fn check(&self) -> [Emoji; 4] {
        self.approver.check()
    }

    /// Sends what the new laptop needs. It must be a member already.
    ///
    /// # Errors
    /// See [`PairError`].
    pub async fn welcome(self, welcome: &Welcome) -> Result<(), PairError> {
        let answer = self.approver.welcome(&welcome.encode()?)?;
        self.meeting.post(answer).await
    }

    /// Tells the new laptop that its user is not wanted.
    ///
    /// # Errors
    /// See [`PairError`].
    pub async fn refuse(self) -> Result<(), PairError> {
        self.meeting.post(self.approver.refuse()).await
    }
}

async fn reach(link: &NodeLink) -> Result<EdgeClient, PairError> {
    connect(link, open_socket)
        .await
        .map_err(|(words, _)| PairError::NotReached(words))
}

/// A laptop's device information, signed by its keys.
///
/// # Errors
/// [`WelcomeError`] for a name that cannot be shown.
pub fn device_info(keys: &DeviceKeys, user: &str, label: &str) -> Result<DeviceInfo, WelcomeError> {
    DeviceInfo::new(keys, user, label)
}

impl Meeting {
    async fn open(client: EdgeClient, request: Request) -> Result<Self, PairError> {
        let until = Instant::now() + PAIRING_LIFETIME;
        match one(&client, &request).await? {
            Answer::RvPlace { nameplate, token } => Ok(Self {
                client,
                nameplate,
                token,
                until,
            }),
            _ => Err(RequestError::UnexpectedAnswer {
                why: "no nameplate",
            }
            .into()),
        }
    }

    async fn post(&self, body: Vec<u8>) -> Result<(), PairError> {
        let request = Request::RvPost {
            nameplate: self.nameplate,
            token: self.token,
            body,
        };
        one(&self.client, &request).await.map(|_| ())
    }

    /// The other side's message with this number.
    async fn next(&self, index: u8) -> Result<Vec<u8>, PairError> {
        let request = Request::RvNext {
            nameplate: self.nameplate,
            token: self.token,
            index,
        };
        while Instant::now() < self.until {
            if let Answer::RvMessage { body } = one(&self.client, &request).await? {
                return Ok(body);
            }
        }
        Err(PairError::TooLate)
    }

    /// So that nobody tries the code again; the edge forgets it by itself as well.
    async fn burn(&self) {
        let request = Request::RvBurn {
            nameplate: self.nameplate,
            token: self.token,
        };
        one(&self.client, &request).await.ok();
    }
}

async fn one(client: &EdgeClient, request: &Request) -> Result<Answer, PairError> {
    let mut answers = client.ask(request).await?;
    match answers.next().await? {
        Some(Answer::Error(error)) if error.code == ErrorCode::NoNameplate => {
            Err(PairError::NoSuchCode)
        }
        Some(Answer::Error(error)) => Err(RequestError::from_answer(error, 0).into()),
        Some(answer) => Ok(answer),
        None => Err(RequestError::Abandoned.into()),
    }
}
