//! Seals an epoch's secrets to one device, as much of them as its role may know.
//!
//! HPKE (RFC 9180) base mode: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20-Poly1305. Who sealed is said by
//! the signature of the record around it, not by the wrap. Pure. Start at [`Wrap::seal`].
//! Layout: `sync/SEALING.md` § 5.

use std::fmt;

use rustls::crypto::aws_lc_rs::hpke::DH_KEM_X25519_HKDF_SHA256_CHACHA20_POLY1305;
use rustls::crypto::hpke::{EncapsulatedSecret, Hpke, HpkePublicKey};
use zeroize::Zeroizing;

use super::capability::PolicyKey;
use super::device::{DeviceKeys, DevicePublic};
use super::epoch::{EpochId, EpochSecrets};
use super::role::Role;
use crate::bytes::{Malformed, Reader, Writer};
use crate::id::{DeviceId, WorkspaceId};

static HPKE: &dyn Hpke = DH_KEM_X25519_HKDF_SHA256_CHACHA20_POLY1305;
const TAG_BYTES: usize = 16;

/// Secrets that one device can open.
#[derive(Clone, PartialEq, Eq)]
pub struct Wrap {
    device: DeviceId,
    role: Role,
    encapsulated: [u8; 32],
    ciphertext: Vec<u8>,
}

impl Wrap {
    /// Seals what `role` may know: a reader gets the epoch's secret, a writer also the writers', an owner also
    /// the policy key.
    ///
    /// Only the number of `secrets.id()` is bound: the record which names the epoch holds this wrap.
    ///
    /// # Errors
    /// [`WrapError::Missing`] when `secrets` or `policy` lack what the role is to know;
    /// [`WrapError::BadKey`] when nothing can be sealed to the device.
    pub fn seal(
        device: &DevicePublic,
        role: Role,
        workspace: WorkspaceId,
        secrets: &EpochSecrets,
        policy: Option<&PolicyKey>,
    ) -> Result<Self, WrapError> {
        let plaintext = role_secrets(role, secrets, policy)?;
        let id = device.id();
        let info = info(workspace, secrets.id().number, id);
        let key = HpkePublicKey(device.kem_key.to_vec());
        let (EncapsulatedSecret(encapsulated), ciphertext) = HPKE
            .seal(&info, &[], &plaintext, &key)
            .map_err(|_| WrapError::BadKey { device: id })?;
        Ok(Self {
            device: id,
            role,
            encapsulated: encapsulated
                .try_into()
                .map_err(|_| WrapError::BadKey { device: id })?,
            ciphertext,
        })
    }

    /// Opens what was sealed to us, for the epoch that the record around it makes.
    ///
    /// # Errors
    /// [`WrapError::Sealed`] when it was sealed to another device, for another epoch or workspace, or changed.
    pub fn open(
        &self,
        me: &DeviceKeys,
        workspace: WorkspaceId,
        epoch: EpochId,
    ) -> Result<(EpochSecrets, Option<PolicyKey>), WrapError> {
        let info = info(workspace, epoch.number, me.id());
        let encapsulated = EncapsulatedSecret(self.encapsulated.to_vec());
        let plaintext = HPKE
            .open(
                &encapsulated,
                &info,
                &[],
                &self.ciphertext,
                &me.kem_private_key(),
            )
            .map_err(|_| WrapError::Sealed)?;
        read_role_secrets(self.role, epoch, &Zeroizing::new(plaintext))
            .map_err(|_| WrapError::Sealed)
    }

    /// For which device.
    #[must_use]
    pub fn device(&self) -> DeviceId {
        self.device
    }

    /// How much is inside.
    #[must_use]
    pub fn role(&self) -> Role {
        self.role
    }

    pub(super) fn write(&self, writer: &mut Writer) {
        writer
            .array(&self.device.0)
            .u8(self.role as u8)
            .array(&self.encapsulated)
            .array(&self.ciphertext);
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let device = DeviceId(reader.array()?);
        let role = Role::from_number(reader.u8()?).ok_or(Malformed::Value)?;
        Ok(Self {
            device,
            role,
            encapsulated: reader.array()?,
            ciphertext: reader.slice(secrets_bytes(role) + TAG_BYTES)?.to_vec(),
        })
    }
}

impl fmt::Debug for Wrap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Wrap({} as {})", self.device.short(), self.role)
    }
}

/// Secrets cannot be sealed to a device, or what was sealed is not for us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WrapError {
    /// We do not know ourselves what the role is to know.
    #[error("this device does not hold the keys that a {role} needs: let an owner do it")]
    Missing {
        /// The role.
        role: Role,
    },
    /// The device's X25519 key is none.
    #[error("the keys of device {} cannot be used: pair it again with new ones", .device.short())]
    BadKey {
        /// The device.
        device: DeviceId,
    },
    /// Changed, or sealed for another device, epoch or workspace.
    #[error("the keys in the record were not sealed for this device, or were changed on the way")]
    Sealed,
}

/// Whether secrets can be sealed to this X25519 key: a point of small order gives no secret.
///
/// Asked before a device becomes a member, because afterwards every rotation seals to it.
pub(super) fn is_usable(device: &DevicePublic) -> bool {
    let key = HpkePublicKey(device.kem_key.to_vec());
    HPKE.setup_sealer(b"wsync try 1", &key).is_ok()
}

/// Length of what a role gets to know.
pub(super) fn secrets_bytes(role: Role) -> usize {
    match role {
        Role::Reader => 32,
        Role::Writer => 64,
        Role::Owner => 96,
    }
}

/// Epoch's secret, then the writers' one, then the policy seed, as far as the role goes.
pub(super) fn role_secrets(
    role: Role,
    secrets: &EpochSecrets,
    policy: Option<&PolicyKey>,
) -> Result<Zeroizing<Vec<u8>>, WrapError> {
    let missing = WrapError::Missing { role };
    let mut bytes = Zeroizing::new(Vec::with_capacity(secrets_bytes(role)));
    bytes.extend_from_slice(secrets.expose_secret());
    if role.may_write() {
        bytes.extend_from_slice(secrets.expose_writer_secret().ok_or(missing)?);
    }
    if role == Role::Owner {
        bytes.extend_from_slice(policy.ok_or(missing)?.expose_secret());
    }
    Ok(bytes)
}

/// Reads what [`role_secrets`] made.
pub(super) fn read_role_secrets(
    role: Role,
    epoch: EpochId,
    bytes: &[u8],
) -> Result<(EpochSecrets, Option<PolicyKey>), Malformed> {
    let mut reader = Reader::new(bytes);
    let secret = reader.array()?;
    let writer = role.may_write().then(|| reader.array()).transpose()?;
    let policy = (role == Role::Owner)
        .then(|| reader.array().map(PolicyKey::from_bytes))
        .transpose()?;
    reader.end()?;
    Ok((EpochSecrets::new(epoch, secret, writer), policy))
}

/// What a wrap is bound to. Do not change: records on edges depend on every byte.
fn info(workspace: WorkspaceId, epoch_number: u32, device: DeviceId) -> Vec<u8> {
    let mut info = Writer::new();
    info.array(b"wsync wrap 1")
        .array(&workspace.0)
        .u32(epoch_number)
        .array(&device.0);
    info.into_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORKSPACE: WorkspaceId = WorkspaceId([1; 16]);
    const EPOCH: EpochId = EpochId {
        number: 3,
        record: [4; 8],
    };

    fn wrap_as(role: Role, device: &DeviceKeys) -> (Wrap, EpochSecrets, PolicyKey) {
        let (secrets, policy) = (EpochSecrets::random(EPOCH), PolicyKey::random());
        let wrap = Wrap::seal(&device.public(), role, WORKSPACE, &secrets, Some(&policy)).unwrap();
        (wrap, secrets, policy)
    }

    #[test]
    fn every_role_gets_its_secrets_and_no_more() {
        let device = DeviceKeys::random();
        for role in [Role::Reader, Role::Writer, Role::Owner] {
            let (wrap, secrets, policy) = wrap_as(role, &device);
            let (opened, opened_policy) = wrap.open(&device, WORKSPACE, EPOCH).unwrap();
            assert_eq!(opened.expose_secret(), secrets.expose_secret());
            let writer = secrets
                .expose_writer_secret()
                .filter(|_| role != Role::Reader);
            assert_eq!(opened.expose_writer_secret(), writer);
            let policy = (role == Role::Owner).then(|| policy.public());
            assert_eq!(opened_policy.map(|key| key.public()), policy);
        }
    }

    #[test]
    fn a_wrap_opens_for_its_device_epoch_and_workspace_alone() {
        let device = DeviceKeys::random();
        let (wrap, ..) = wrap_as(Role::Writer, &device);
        let other_epoch = EpochId { number: 4, ..EPOCH };
        let other_workspace = WorkspaceId([2; 16]);
        assert!(wrap.open(&device, WORKSPACE, EPOCH).is_ok());
        for refused in [
            wrap.open(&DeviceKeys::random(), WORKSPACE, EPOCH),
            wrap.open(&device, WORKSPACE, other_epoch),
            wrap.open(&device, other_workspace, EPOCH),
        ] {
            assert_eq!(refused.unwrap_err(), WrapError::Sealed);
        }
    }

    #[test]
    fn every_bit_of_a_wrap_matters() {
        let device = DeviceKeys::random();
        let (wrap, ..) = wrap_as(Role::Owner, &device);
        let mut bytes = Writer::new();
        wrap.write(&mut bytes);
        let bytes = bytes.into_vec();
        assert_eq!(Wrap::read(&mut Reader::new(&bytes)).unwrap(), wrap);
        // The first 17 bytes say for whom it is; the record's signature covers them. The top bit of an
        // X25519 public key is ignored by RFC 7748, but HPKE hashes the key as sent.
        for bit in 17 * 8..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let changed = Wrap::read(&mut Reader::new(&changed)).unwrap();
            assert!(
                changed.open(&device, WORKSPACE, EPOCH).is_err(),
                "bit {bit}"
            );
        }
    }

    #[test]
    fn what_we_do_not_know_cannot_be_passed_on() {
        let device = DeviceKeys::random().public();
        let reader = EpochSecrets::new(EPOCH, [1; 32], None);
        let seal = |role| Wrap::seal(&device, role, WORKSPACE, &reader, None);
        assert!(seal(Role::Reader).is_ok());
        let role = Role::Writer;
        assert_eq!(seal(role), Err(WrapError::Missing { role }));
        let writer = EpochSecrets::random(EPOCH);
        let role = Role::Owner;
        assert_eq!(
            Wrap::seal(&device, role, WORKSPACE, &writer, None),
            Err(WrapError::Missing { role })
        );
    }

    #[test]
    fn a_key_of_small_order_is_noticed() {
        let mut device = DeviceKeys::random().public();
        assert!(is_usable(&device));
        device.kem_key = [0; 32];
        assert!(!is_usable(&device));
        assert_eq!(
            Wrap::seal(
                &device,
                Role::Reader,
                WORKSPACE,
                &EpochSecrets::random(EPOCH),
                None
            ),
            Err(WrapError::BadKey {
                device: device.id()
            })
        );
    }
}
