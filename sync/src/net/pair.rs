//! Two laptops meet at an edge to make one of them a member: the way of the messages of `pairing`.
//!
//! Nothing is believed of the edge: what it relays is protected by the code. Start at [`PairNew::begin`] on the new
//! laptop and [`PairKnown::begin`] on one that is a member.

use std::time::Duration;

use satchel_protocol::frame::{Answer, ErrorCode, Request};
use satchel_protocol::link::NodeLink;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::driver::{OpenSocket, connect};
use super::{EdgeClient, RequestError, open_socket};
use crate::member::{DeviceInfo, DeviceKeys, Welcome, WelcomeError};
use crate::pairing::{
    Approver, ApproverWaiting, Emoji, Joiner, JoinerWaiting, PairingCode, PairingError,
};

/// How long the two laptops have: the edge forgets the code then.
pub const PAIRING_LIFETIME: Duration = Duration::from_secs(600);

/// How long a laptop whose code was typed may take to answer: it shows the code, and waits for nothing but this.
const ANSWER_WAIT: Duration = Duration::from_secs(60);
/// How long a laptop that was let in may take to say that it has joined: it has to write a workspace to its disk.
const JOIN_WAIT: Duration = Duration::from_secs(30);
/// How long giving up a code may take.
const BURN_WAIT: Duration = Duration::from_secs(2);

/// Why two laptops did not meet. Nothing was changed on either of them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PairError {
    /// The edge cannot be reached now.
    #[error("{0}")]
    NotReached(String),
    /// The edge is not to be trusted or not understood: trying again does not help.
    #[error("{0}")]
    WrongEdge(String),
    /// The laptop that shows the code is not there any more.
    #[error(
        "the new laptop does not answer: does it still show this code? Begin again with a new one"
    )]
    Gone,
    /// The edge knows no such code.
    #[error(
        "the edge node knows no such code: it was mistyped, used already, or is older than ten minutes; show a new one on the new laptop"
    )]
    NoSuchCode,
    /// The other laptop did not answer in time.
    #[error("the other laptop did not answer within ten minutes: begin again with a new code")]
    TooLate,
    /// The other laptop was let in and did not say that it has joined.
    #[error("the new laptop did not finish joining")]
    NotJoined,
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

/// The new laptop, which has all that it needs and has to write it down.
pub struct Joining {
    meeting: Meeting,
    joined: Vec<u8>,
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
        Self::begin_with(&open_socket, link).await
    }

    /// As [`PairNew::begin`], through a socket of the caller's choice.
    ///
    /// # Errors
    /// See [`PairError`].
    pub async fn begin_with(sockets: &OpenSocket, link: &NodeLink) -> Result<Self, PairError> {
        let client = reach(sockets, link).await?;
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

    /// Waits for the other laptop, and tells it who this one is. Once `stopped` is ready, the code is given up.
    ///
    /// # Errors
    /// See [`PairError`]; the code is used up. `None` when it was stopped.
    pub async fn meet(
        self,
        info: &DeviceInfo,
        stopped: impl Future<Output = ()>,
    ) -> Result<Option<PairNewWaiting>, PairError> {
        let Some(reply) = self.meeting.next_unless(0, stopped).await? else {
            return Ok(None);
        };
        let (joiner, accept) = match self.joiner.confirm(&reply, &info.encode()) {
            Ok(confirmed) => confirmed,
            Err(error) => {
                self.meeting.burn().await;
                return Err(error.into());
            }
        };
        self.meeting.post(accept).await?;
        Ok(Some(PairNewWaiting {
            meeting: self.meeting,
            joiner,
        }))
    }
}

impl PairNewWaiting {
    /// Four pictures; the other laptop shows the same ones.
    #[must_use]
    pub fn check(&self) -> [Emoji; 4] {
        self.joiner.check()
    }

    /// Waits until the user of the other laptop has approved. Once `stopped` is ready, the code is given up.
    ///
    /// What comes back besides must be told how the joining went: [`Joining::joined`] or [`Joining::failed`].
    ///
    /// # Errors
    /// See [`PairError`]. `None` when it was stopped.
    pub async fn welcome(
        self,
        stopped: impl Future<Output = ()>,
    ) -> Result<Option<(Welcome, Joining)>, PairError> {
        let joined = self.joiner.joined();
        let welcomed = match self.meeting.next_unless(1, stopped).await {
            Ok(None) => return Ok(None),
            Ok(Some(answer)) => self.joiner.finish(&answer).map_err(PairError::from),
            Err(error) => Err(error),
        };
        let welcome = welcomed.and_then(|bytes| Ok(Welcome::decode(&bytes)?));
        match welcome {
            Ok(welcome) => Ok(Some((
                welcome,
                Joining {
                    meeting: self.meeting,
                    joined,
                },
            ))),
            Err(error) => {
                self.meeting.burn().await;
                Err(error)
            }
        }
    }
}

impl Joining {
    /// Tells the other laptop that this one is a member now.
    ///
    /// # Errors
    /// See [`PairError`]: the other laptop takes the membership back then.
    pub async fn joined(self) -> Result<(), PairError> {
        self.meeting.post(self.joined).await
    }

    /// Tells the other laptop that this one does not become a member after all.
    pub async fn failed(self) {
        self.meeting.burn().await;
    }
}

impl PairKnown {
    /// Meets the laptop that shows this code.
    ///
    /// # Errors
    /// See [`PairError`]; the code is used up.
    pub async fn begin(link: &NodeLink, code: PairingCode) -> Result<Self, PairError> {
        let client = reach(&open_socket, link).await?;
        let nameplate = code.nameplate();
        let meeting = Meeting::open(client, Request::RvClaim { nameplate }).await?;
        let until = Instant::now() + ANSWER_WAIT;
        let hello = meeting.next_until(0, until).await?;
        let (approver, reply) = Approver::start(code, link.fingerprint, &hello)?;
        meeting.post(reply).await?;
        let accept = match meeting.next_until(1, until).await {
            // It has looked at our answer, and does not go on.
            Err(PairError::NoSuchCode) => return Err(PairingError::WrongCode.into()),
            accept => accept?,
        };
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

    /// Sends what the new laptop needs, and waits until it has joined. It must be a member already.
    ///
    /// # Errors
    /// See [`PairError`]: its membership is to be taken back then.
    pub async fn welcome(self, welcome: &Welcome) -> Result<(), PairError> {
        let expected = self.approver.expects();
        let answer = self.approver.welcome(&welcome.encode()?)?;
        self.meeting.post(answer).await?;
        let until = Instant::now() + JOIN_WAIT;
        let end = self.meeting.next_until(2, until).await;
        self.meeting.burn().await;
        match end {
            Ok(end) if end == expected => Ok(()),
            Ok(_) | Err(PairError::NoSuchCode | PairError::Gone) => Err(PairError::NotJoined),
            Err(error) => Err(error),
        }
    }

    /// Tells the new laptop that its user is not wanted.
    ///
    /// # Errors
    /// See [`PairError`].
    pub async fn refuse(self) -> Result<(), PairError> {
        self.meeting.post(self.approver.refuse()).await
    }
}

async fn reach(sockets: &OpenSocket, link: &NodeLink) -> Result<EdgeClient, PairError> {
    connect(link, sockets).await.map_err(|(words, is_passing)| {
        if is_passing {
            PairError::NotReached(words)
        } else {
            PairError::WrongEdge(words)
        }
    })
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

    /// The other side's message with this number, which a person may have to think about.
    async fn next(&self, index: u8) -> Result<Vec<u8>, PairError> {
        match self.next_until(index, self.until).await {
            Err(PairError::Gone) => Err(PairError::TooLate),
            answer => answer,
        }
    }

    /// As [`Meeting::next`]; gives up the code once `stopped` is ready.
    async fn next_unless(
        &self,
        index: u8,
        stopped: impl Future<Output = ()>,
    ) -> Result<Option<Vec<u8>>, PairError> {
        tokio::select! {
            biased;
            () = stopped => {
                self.burn().await;
                Ok(None)
            }
            answer = self.next(index) => answer.map(Some),
        }
    }

    async fn next_until(&self, index: u8, until: Instant) -> Result<Vec<u8>, PairError> {
        let request = Request::RvNext {
            nameplate: self.nameplate,
            token: self.token,
            index,
        };
        let asked = async {
            loop {
                if let Answer::RvMessage { body } = one(&self.client, &request).await? {
                    return Ok(body);
                }
            }
        };
        tokio::time::timeout_at(until, asked)
            .await
            .unwrap_or(Err(PairError::Gone))
    }

    /// So that nobody tries the code again; the edge forgets it by itself as well.
    async fn burn(&self) {
        let request = Request::RvBurn {
            nameplate: self.nameplate,
            token: self.token,
        };
        // Whoever stops does not wait for long.
        drop(tokio::time::timeout(BURN_WAIT, one(&self.client, &request)).await);
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
