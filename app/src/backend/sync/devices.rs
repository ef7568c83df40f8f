//! The laptops of the open workspace: listed, called something else, removed, given a role.
//!
//! Start at [`list`].

use std::sync::Arc;

use satchel_sync::engine::{Change, DeviceStatus};

use crate::backend::Shared;
use crate::message::{Failure, FailureKind, Reply, Role};

use super::report;

/// The laptops, this one first.
///
/// # Errors
/// When the workspace is not shared.
pub(super) async fn list(shared: &Arc<Shared>) -> Result<Reply, Failure> {
    known(shared).await.map(Reply::Devices)
}

/// Calls one something else.
///
/// # Errors
/// When it is not found, or the change is not possible now.
pub(super) async fn rename(
    shared: &Arc<Shared>,
    device: &str,
    name: String,
) -> Result<Reply, Failure> {
    let found = find(&known(shared).await?, device)?;
    shared.sync.change(Change::Rename(found.id, name)).await?;
    list(shared).await
}

/// Lets one take no part any more.
///
/// # Errors
/// As for [`rename`].
pub(super) async fn remove(shared: &Arc<Shared>, device: &str) -> Result<Reply, Failure> {
    let found = find(&known(shared).await?, device)?;
    shared.sync.change(Change::Remove(found.id)).await?;
    list(shared).await
}

/// Lets one do more, or less.
///
/// # Errors
/// As for [`rename`].
pub(super) async fn set_role(
    shared: &Arc<Shared>,
    device: &str,
    role: Role,
) -> Result<Reply, Failure> {
    let found = find(&known(shared).await?, device)?;
    shared.sync.change(Change::SetRole(found.id, role)).await?;
    list(shared).await
}

async fn known(shared: &Arc<Shared>) -> Result<Vec<DeviceStatus>, Failure> {
    let report = shared.sync.fresh().await;
    match report.status {
        Some(status) => Ok(status.devices),
        None => Err(report::why_not_running(&report)),
    }
}

/// The laptop that is to answer a question instead of this one.
///
/// # Errors
/// When it is none of the others, or one of the two may only read: a question is written into a chat, as its answer is.
pub async fn lender(shared: &Arc<Shared>, wanted: &str) -> Result<DeviceStatus, Failure> {
    let report = shared.sync.fresh().await;
    let Some(status) = &report.status else {
        return Err(report::why_not_running(&report));
    };
    if report::was_removed(status) {
        return Err(report::removed());
    }
    let found = find(&status.devices, wanted)?;
    let cannot = |words: String| Err(Failure::new(FailureKind::Usage, words));
    if found.is_this {
        return cannot(format!("{} is this laptop: leave --on out", found.label));
    }
    if found.role == Role::Reader {
        return cannot(format!(
            "{} is a reader of this workspace: it could not write an answer into it",
            found.label
        ));
    }
    if status.role == Some(Role::Reader) {
        return cannot(
            "this laptop is a reader of this workspace: no other one would ever see its question"
                .to_owned(),
        );
    }
    Ok(found)
}

/// The member that a user names: by its label, its id, or the first digits of that.
fn find(all: &[DeviceStatus], wanted: &str) -> Result<DeviceStatus, Failure> {
    let wanted = wanted.trim();
    let members = || all.iter().filter(|device| device.removed_ms.is_none());
    let lower = wanted.to_lowercase();
    let by_label: Vec<_> = members()
        .filter(|device| device.label.to_lowercase() == lower)
        .collect();
    let by_id = || {
        members().filter(|device| wanted.len() >= 4 && device.id.to_string().starts_with(&lower))
    };
    let fitting = if by_label.is_empty() {
        by_id().collect()
    } else {
        by_label
    };
    match fitting.as_slice() {
        [one] => Ok((*one).clone()),
        [] => {
            let was_one = all.iter().any(|device| {
                let id = device.id.to_string();
                device.label.to_lowercase() == lower
                    || (wanted.len() >= 4 && id.starts_with(&lower))
            });
            let words = if was_one {
                format!("{wanted} was removed from this workspace")
            } else {
                format!("no laptop of this workspace is called {wanted}")
            };
            Err(Failure::new(FailureKind::NotFound, words)
                .with_hint("`satchel devices list` lists names and ids."))
        }
        several => {
            let ids: Vec<String> = several
                .iter()
                .map(|device| format!("{} ({})", device.id.short(), device.user))
                .collect();
            Err(Failure::new(
                FailureKind::Usage,
                format!("{wanted} fits several laptops: {}", ids.join(", ")),
            )
            .with_hint("Name the one you mean by the first digits of its id."))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use satchel_sync::DeviceId;

    fn device(first: u8, label: &str, removed_ms: Option<i64>) -> DeviceStatus {
        let mut id = DeviceId([7; 16]);
        id.0[0] = first;
        DeviceStatus {
            id,
            user: "Ada".to_owned(),
            label: label.to_owned(),
            role: Role::Writer,
            is_this: false,
            removed_ms,
            entries: 0,
            last_written_ms: None,
            last_heard_ms: None,
        }
    }

    #[test]
    fn a_laptop_is_named_by_its_label_or_the_first_digits_of_its_id() {
        let all = [
            device(1, "Desk", None),
            device(2, "Travel", None),
            device(3, "travel", None),
            device(4, "Old", Some(5)),
        ];
        assert_eq!(find(&all, "desk").unwrap().id, all[0].id);
        assert_eq!(find(&all, "0307").unwrap().id, all[2].id);
        assert_eq!(find(&all, "travel").unwrap_err().kind, FailureKind::Usage);
        let old = find(&all, "Old").unwrap_err();
        assert_eq!(old.kind, FailureKind::NotFound);
        assert!(old.message.contains("was removed"), "{old}");
        assert_eq!(find(&all, "").unwrap_err().kind, FailureKind::NotFound);
    }
}
