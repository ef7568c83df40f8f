//! What one connection has opened, and who else has.
//!
//! In memory only. Start at [`SessionAccess`].

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use satchel_protocol::id::MailboxId;
use satchel_protocol::limits::MAX_OPEN_MAILBOXES;
use tokio::sync::watch;

use crate::store::{Grant, Head, Level};

/// The mailboxes that one connection has opened, and as what. Ends with the connection.
pub struct SessionAccess {
    origin: IpAddr,
    grants: HashMap<MailboxId, Grant>,
    presence: Presence,
}

impl SessionAccess {
    pub(super) fn new(origin: IpAddr, presence: Presence) -> Self {
        Self {
            origin,
            grants: HashMap::new(),
            presence,
        }
    }

    pub(super) fn origin(&self) -> IpAddr {
        self.origin
    }

    /// What was proved about this mailbox.
    pub(super) fn grant(&self, mailbox: MailboxId) -> Option<Grant> {
        self.grants.get(&mailbox).copied()
    }

    /// What that is worth now.
    pub(super) fn level(&self, mailbox: MailboxId, head: &Head) -> Option<Level> {
        self.grants
            .get(&mailbox)
            .and_then(|grant| head.level_of(grant))
    }

    /// Notes what was proved, unless more was proved before and still counts.
    ///
    /// # Errors
    /// How many mailboxes may be open, when this would be one more.
    pub(super) fn insert(
        &mut self,
        mailbox: MailboxId,
        grant: Grant,
        head: &Head,
    ) -> Result<(), u64> {
        let is_known = self.grants.contains_key(&mailbox);
        if !is_known && self.grants.len() >= MAX_OPEN_MAILBOXES {
            return Err(MAX_OPEN_MAILBOXES as u64);
        }
        if self.level(mailbox, head) <= head.level_of(&grant) {
            self.grants.insert(mailbox, grant);
        }
        if !is_known {
            self.presence.enter(mailbox);
        }
        Ok(())
    }

    /// Tells when something in this mailbox changes; `None` when it is not open here.
    pub(crate) fn changes(&self, mailbox: MailboxId) -> Option<watch::Receiver<()>> {
        self.grants
            .contains_key(&mailbox)
            .then(|| self.presence.changes(mailbox))
            .flatten()
    }
}

impl Drop for SessionAccess {
    fn drop(&mut self) {
        for mailbox in self.grants.keys() {
            self.presence.leave(*mailbox);
        }
    }
}

/// How many connections have each mailbox open, and a bell for those that follow it.
#[derive(Clone, Default)]
pub(super) struct Presence(Arc<Mutex<HashMap<MailboxId, Present>>>);

struct Present {
    sessions: usize,
    changed: watch::Sender<()>,
}

impl Presence {
    pub(super) fn wake(&self, mailbox: MailboxId) {
        if let Some(present) = self.all().get(&mailbox) {
            present.changed.send_replace(());
        }
    }

    pub(super) fn sessions(&self, mailbox: MailboxId) -> u16 {
        let sessions = self
            .all()
            .get(&mailbox)
            .map_or(0, |present| present.sessions);
        u16::try_from(sessions).unwrap_or(u16::MAX)
    }

    fn changes(&self, mailbox: MailboxId) -> Option<watch::Receiver<()>> {
        let all = self.all();
        all.get(&mailbox).map(|present| present.changed.subscribe())
    }

    fn enter(&self, mailbox: MailboxId) {
        let mut all = self.all();
        let present = all.entry(mailbox).or_insert_with(|| Present {
            sessions: 0,
            changed: watch::Sender::new(()),
        });
        present.sessions += 1;
        present.changed.send_replace(());
    }

    fn leave(&self, mailbox: MailboxId) {
        let mut all = self.all();
        if let Some(present) = all.get_mut(&mailbox) {
            present.sessions = present.sessions.saturating_sub(1);
            present.changed.send_replace(());
            if present.sessions == 0 {
                all.remove(&mailbox);
            }
        }
    }

    fn all(&self) -> MutexGuard<'_, HashMap<MailboxId, Present>> {
        // Counts stay usable after a panic elsewhere: at worst one is too high.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
