//! Small histories, written as lists of changes.

use super::*;

const DESK: Option<DeviceId> = Some(DeviceId([1; 16]));
const TRAVEL: Option<DeviceId> = Some(DeviceId([2; 16]));
/// Some day.
const DAY_S: i64 = 1_795_000_000;

fn hash(number: u32) -> ChangeHash {
    let mut bytes = [0; 32];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    ChangeHash(bytes)
}

fn typed(number: u32, deps: &[u32], author: Option<DeviceId>, at_s: i64) -> Step {
    Step {
        hash: hash(number),
        deps: deps.iter().map(|dep| hash(*dep)).collect(),
        author,
        at_s: if at_s == 0 { 0 } else { DAY_S + at_s },
        saved: false,
    }
}

fn saved(number: u32, deps: &[u32], author: Option<DeviceId>, at_s: i64) -> Step {
    Step {
        saved: true,
        ..typed(number, deps, author, at_s)
    }
}

fn heads(versions: &[Version]) -> Vec<Vec<u8>> {
    let last = |version: &Version| version.heads.iter().map(|head| head.0[3]).collect();
    versions.iter().map(last).collect()
}

#[test]
fn what_one_device_types_in_one_sitting_is_one_version_and_what_is_saved_is_another() {
    let steps = [
        typed(1, &[], DESK, 10),
        typed(2, &[1], DESK, 500),
        typed(3, &[2], DESK, 0),
        // After a pause.
        typed(4, &[3], DESK, 2000),
        // Two states that were saved one after the other, each with a record beside it.
        saved(5, &[4], DESK, 2001),
        typed(6, &[5], DESK, 0),
        saved(7, &[6], DESK, 2002),
        typed(8, &[7], DESK, 2003),
        typed(9, &[8], TRAVEL, 2004),
    ];
    let found = versions(&steps);
    assert_eq!(
        heads(&found),
        [vec![3], vec![4], vec![6], vec![7], vec![8], vec![9]]
    );
    assert_eq!(found[0].at_ms, Some((DAY_S + 500) * 1000));
    assert_eq!(found[0].since_ms, Some((DAY_S + 10) * 1000));
    assert_eq!(found[5].from, [5]);
    assert!(meetings(&found).is_empty());
}

#[test]
fn a_sitting_ends_after_an_hour() {
    let steps: Vec<Step> = (0..100u32)
        .map(|number| {
            let deps: Vec<u32> = number.checked_sub(1).into_iter().collect();
            typed(number, &deps, DESK, 1 + i64::from(number) * 60)
        })
        .collect();
    assert_eq!(versions(&steps).len(), 2);
}

#[test]
fn each_side_of_a_meeting_is_a_version_and_their_join_as_well() {
    let mut steps = vec![
        saved(1, &[], None, 10),
        saved(2, &[1], DESK, 100),
        saved(3, &[1], TRAVEL, 200),
        saved(4, &[3], TRAVEL, 300),
    ];
    let open = versions(&steps);
    assert_eq!(
        heads(&open),
        [vec![1], vec![2], vec![3], vec![4], vec![2, 4]]
    );
    assert_eq!((open[4].how, &open[4].from), (How::Joined, &vec![2, 4]));
    let met = meetings(&open);
    let expected = Meeting {
        joined: 5,
        base: vec![1],
        sides: vec![
            Side {
                version: 2,
                devices: DESK.into_iter().collect(),
                since_ms: Some((DAY_S + 100) * 1000),
                at_ms: Some((DAY_S + 100) * 1000),
            },
            Side {
                version: 4,
                devices: TRAVEL.into_iter().collect(),
                since_ms: Some((DAY_S + 200) * 1000),
                at_ms: Some((DAY_S + 300) * 1000),
            },
        ],
    };
    assert_eq!(met, [expected]);
    // An edit of the joined text closes it; the join keeps its number and name.
    steps.push(saved(5, &[2, 4], DESK, 400));
    let closed = versions(&steps);
    assert_eq!(closed[4].id, open[4].id);
    assert_eq!(closed[5].from, [5]);
    assert_eq!(meetings(&closed), met);
    // The order in which changes came here does not matter.
    steps.swap(1, 3);
    assert_eq!(versions(&steps), closed);
}

#[test]
fn one_device_with_two_names_meets_nobody() {
    let steps = [
        saved(1, &[], DESK, 10),
        saved(2, &[1], DESK, 100),
        saved(3, &[1], DESK, 200),
    ];
    let found = versions(&steps);
    assert_eq!(found.len(), 4);
    assert!(meetings(&found).is_empty());
}

#[test]
fn two_who_type_at_the_same_time_make_one_version_together() {
    // Ping, pong: each change is joined with the other's before the next.
    let mut steps = vec![saved(1, &[], DESK, 1), typed(2, &[1], DESK, 10_000)];
    let mut number = 2;
    for round in 0..50 {
        let at = 10_001 + round * 3;
        steps.push(typed(number + 1, &[number], DESK, at));
        steps.push(typed(number + 2, &[number], TRAVEL, at + 1));
        steps.push(typed(number + 3, &[number + 1, number + 2], DESK, at + 2));
        number += 3;
    }
    steps.push(saved(number + 1, &[number], TRAVEL, 50_000));
    let found = versions(&steps);
    let how: Vec<How> = found.iter().map(|version| version.how).collect();
    assert!(found.len() <= 6, "{found:#?}");
    assert_eq!(how.iter().filter(|how| **how == How::Together).count(), 1);
    let live = found.iter().find(|version| version.how == How::Together);
    assert_eq!(live.unwrap().authors, [DESK, TRAVEL]);
    assert!(meetings(&found).is_empty(), "typing together is no meeting");
    // A few joins are shown one by one.
    let few = versions(&steps[..8]);
    assert!(few.iter().all(|version| version.how != How::Together));
    assert_eq!(meetings(&few).len(), 2);
}

#[test]
fn a_program_that_saves_all_the_time_does_not_fill_the_list() {
    let steps: Vec<Step> = (0..10_000u32)
        .map(|number| {
            let deps: Vec<u32> = number.checked_sub(1).into_iter().collect();
            saved(number, &deps, DESK, 1 + i64::from(number))
        })
        .collect();
    assert_eq!(versions(&steps).len(), 1);
    assert_eq!(versions(&steps[..100]).len(), 100);
}
