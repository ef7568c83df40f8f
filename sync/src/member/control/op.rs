//! What a record of the control log does.
//!
//! Pure. Start at [`Op`]. Layout: `sync/SEALING.md` § 7.

use super::ControlError;
use crate::bytes::{Malformed, Reader, Writer};
use crate::id::DeviceId;
use crate::member::role::Role;
use crate::member::{DevicePublic, MAX_EDGE_LINK_BYTES, MAX_EDGES, MAX_NAME_BYTES};

/// A change of who is a member, with what role, and where the workspace is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Begins the log: the first owner.
    Genesis {
        /// Keys of the first device.
        owner: DevicePublic,
        /// Who uses it.
        user: String,
        /// What the device is called.
        label: String,
    },
    /// Takes in a device. Its keys for reading travel through pairing.
    AddDevice {
        /// Its keys.
        public: DevicePublic,
        /// Who uses it.
        user: String,
        /// What the device is called.
        label: String,
        /// What it may do.
        role: Role,
    },
    /// Ends a device's membership and makes a new epoch.
    RemoveDevice {
        /// Which one.
        device: DeviceId,
        /// Sequence number of its last entry that counts; later ones are set aside.
        last_accepted: u64,
    },
    /// Gives a device another role and makes a new epoch.
    SetRole {
        /// Which one.
        device: DeviceId,
        /// What it may do from now on.
        role: Role,
    },
    /// Calls a device by another name.
    Rename {
        /// Which one.
        device: DeviceId,
        /// Its new name.
        label: String,
    },
    /// Says where the workspace is kept.
    Edges {
        /// Links to edges, the home first.
        links: Vec<String>,
    },
    /// Makes a new epoch without changing who is a member.
    Rotate {
        /// Why.
        reason: RotateReason,
    },
}

/// Why an epoch ended though nobody left. The number is stored in signed records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum RotateReason {
    /// An owner asked for it.
    Asked = 1,
    /// The epoch was old or much used.
    Due = 2,
}

impl Op {
    pub(super) fn write(&self, writer: &mut Writer) {
        match self {
            Self::Genesis { owner, user, label } => {
                writer.u8(1).array(&owner.to_bytes());
                writer.bytes16(user.as_bytes()).bytes16(label.as_bytes());
            }
            Self::AddDevice {
                public,
                user,
                label,
                role,
            } => {
                writer.u8(2).array(&public.to_bytes()).u8(*role as u8);
                writer.bytes16(user.as_bytes()).bytes16(label.as_bytes());
            }
            Self::RemoveDevice {
                device,
                last_accepted,
            } => {
                writer.u8(3).array(&device.0).u64(*last_accepted);
            }
            Self::SetRole { device, role } => {
                writer.u8(4).array(&device.0).u8(*role as u8);
            }
            Self::Rename { device, label } => {
                writer.u8(5).array(&device.0).bytes16(label.as_bytes());
            }
            Self::Edges { links } => {
                // At most 4: `rules` has checked.
                writer.u8(6).u8(links.len() as u8);
                for link in links {
                    writer.bytes16(link.as_bytes());
                }
            }
            Self::Rotate { reason } => {
                writer.u8(7).u8(*reason as u8);
            }
        }
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, ControlError> {
        Ok(match reader.u8()? {
            1 => Self::Genesis {
                owner: DevicePublic::from_bytes(&reader.array()?),
                user: name(reader)?,
                label: name(reader)?,
            },
            2 => {
                let public = DevicePublic::from_bytes(&reader.array()?);
                let role = role(reader)?;
                Self::AddDevice {
                    public,
                    user: name(reader)?,
                    label: name(reader)?,
                    role,
                }
            }
            3 => Self::RemoveDevice {
                device: DeviceId(reader.array()?),
                last_accepted: reader.u64()?,
            },
            4 => Self::SetRole {
                device: DeviceId(reader.array()?),
                role: role(reader)?,
            },
            5 => Self::Rename {
                device: DeviceId(reader.array()?),
                label: name(reader)?,
            },
            6 => Self::Edges {
                links: links(reader)?,
            },
            7 => Self::Rotate {
                reason: match reader.u8()? {
                    1 => RotateReason::Asked,
                    2 => RotateReason::Due,
                    _ => return Err(ControlError::Newer),
                },
            },
            _ => return Err(ControlError::Newer),
        })
    }
}

fn role(reader: &mut Reader<'_>) -> Result<Role, ControlError> {
    Role::from_number(reader.u8()?).ok_or(ControlError::Newer)
}

fn name(reader: &mut Reader<'_>) -> Result<String, Malformed> {
    text(reader, MAX_NAME_BYTES)
}

fn links(reader: &mut Reader<'_>) -> Result<Vec<String>, Malformed> {
    let count = usize::from(reader.u8()?);
    if count > MAX_EDGES {
        return Err(Malformed::OverLimit);
    }
    (0..count)
        .map(|_| text(reader, MAX_EDGE_LINK_BYTES))
        .collect()
}

fn text(reader: &mut Reader<'_>, max_bytes: usize) -> Result<String, Malformed> {
    let bytes = reader.bytes16(max_bytes)?;
    String::from_utf8(bytes.to_vec()).map_err(|_| Malformed::Value)
}
