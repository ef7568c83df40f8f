//! As whom this process writes into Automerge documents.
//!
//! In a shared workspace an actor id begins with the device's id, so that others can tell a forged change; the
//! rest is random and new for each process. It is also new after a write failed: a change that was taken back
//! and one that follows it must never have the same actor and number. Start at [`Author`].

use std::sync::{Mutex, MutexGuard, PoisonError};

use automerge::{ActorId, Automerge};

use crate::id::{DeviceId, random};

/// Gives documents their actor.
#[derive(Debug)]
pub(crate) struct Author(Mutex<Name>);

#[derive(Debug)]
struct Name {
    device: Option<DeviceId>,
    actor: ActorId,
}

impl Author {
    /// An author without a device: the workspace is not shared.
    pub(crate) fn unknown() -> Self {
        Self(Mutex::new(Name {
            device: None,
            actor: actor_of(None),
        }))
    }

    /// Writes as this device from now on.
    pub(crate) fn become_device(&self, device: DeviceId) {
        let mut name = self.name();
        name.device = Some(device);
        name.actor = actor_of(name.device.as_ref());
    }

    /// Makes a new actor: something written as the present one may be taken back.
    pub(crate) fn renew(&self) {
        let mut name = self.name();
        name.actor = actor_of(name.device.as_ref());
    }

    /// A new, empty document.
    pub(crate) fn new_document(&self) -> Automerge {
        Automerge::new().with_actor(self.name().actor.clone())
    }

    /// Makes the changes to come this author's.
    pub(crate) fn take_over(&self, doc: &mut Automerge) {
        doc.set_actor(self.name().actor.clone());
    }

    /// An actor of the same device that nobody else uses.
    pub(crate) fn another(&self) -> ActorId {
        actor_of(self.name().device.as_ref())
    }

    /// Whether changes may be made as this actor now.
    pub(crate) fn may_be(&self, actor: &ActorId) -> bool {
        self.name()
            .device
            .is_none_or(|device| is_actor_of(actor, &device))
    }

    fn name(&self) -> MutexGuard<'_, Name> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether an actor id is one that this device uses.
pub(crate) fn is_actor_of(actor: &ActorId, device: &DeviceId) -> bool {
    actor.to_bytes().starts_with(&device.0)
}

/// The device that an actor id names; `None` for one that was made before the workspace was shared.
pub(crate) fn device_of(actor: &ActorId) -> Option<DeviceId> {
    let (device, rest) = actor.to_bytes().split_first_chunk::<16>()?;
    (rest.len() == 8).then_some(DeviceId(*device))
}

/// 16 bytes of device and 8 random ones, or 16 random ones.
fn actor_of(device: Option<&DeviceId>) -> ActorId {
    match device {
        Some(device) => ActorId::from([&device.0[..], &random::<8>()].concat()),
        None => ActorId::from(random::<16>()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actors_name_their_device_and_are_never_reused() {
        let author = Author::unknown();
        let first = author.new_document().get_actor().clone();
        author.become_device(DeviceId([7; 16]));
        let second = author.new_document().get_actor().clone();
        author.renew();
        let third = author.new_document().get_actor().clone();
        assert!(!is_actor_of(&first, &DeviceId([7; 16])));
        assert_eq!(
            (device_of(&first), device_of(&third)),
            (None, Some(DeviceId([7; 16])))
        );
        assert!(
            is_actor_of(&second, &DeviceId([7; 16])) && is_actor_of(&third, &DeviceId([7; 16]))
        );
        assert_ne!(second, third);
    }
}
