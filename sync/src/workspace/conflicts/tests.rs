//! What two laptops that met are told.

use std::time::Instant;

use automerge::AutomergeError;
use automerge::transaction::{CommitOptions, Transactable};

use super::*;
use crate::chat::{Message, Role};
use crate::workspace::NewDocument;
use crate::workspace::tests::two::{DESK, TRAVEL, Two, edit};

fn all(workspace: &Workspace) -> Conflicts {
    workspace
        .conflicts(0, &mut MeetingCache::default())
        .unwrap()
}

const LEASE: &str = "Lease\n\nIt ends in September.\n\nThe deposit is 900.\n";

#[test]
fn edits_of_two_devices_that_met_are_told_with_both_sides() {
    let two = Two::new(|desk| {
        let lease = NewDocument::plain("Lease", LEASE);
        desk.put(vec![lease, NewDocument::plain("Other", "x")])
            .unwrap();
    });
    let id = two
        .desk
        .documents()
        .iter()
        .find(|entry| entry.title == "Lease")
        .unwrap()
        .id;
    assert_eq!(all(&two.desk), Conflicts::default());
    // One after the other is no meeting.
    edit(&two.desk, id, &LEASE.replace("900", "950"));
    two.exchange();
    assert_eq!(all(&two.desk), Conflicts::default());

    edit(&two.desk, id, &LEASE.replace("900", "1000"));
    edit(
        &two.travel,
        id,
        &LEASE.replace("900", "950").replace("September", "October"),
    );
    two.exchange();
    for workspace in [&two.desk, &two.travel] {
        let found = all(workspace);
        let [met] = found.documents.as_slice() else {
            panic!("{found:#?}");
        };
        assert_eq!((met.title.as_str(), met.same_lines), ("Lease", false));
        let devices: BTreeSet<DeviceId> = met
            .meeting
            .sides
            .iter()
            .flat_map(|side| side.devices.clone())
            .collect();
        assert_eq!(devices, BTreeSet::from([DESK, TRAVEL]));
        assert!(met.meeting.sides.iter().all(|side| side.at_ms.is_some()));
        // Each side can be read as its writer saw it, and the join as it is now.
        let versions = workspace.history(id).unwrap();
        let text_of = |number: usize| workspace.text_of(id, &versions[number - 1].heads).unwrap();
        let sides: BTreeSet<String> = met
            .meeting
            .sides
            .iter()
            .map(|side| text_of(side.version))
            .collect();
        let expected = [
            LEASE.replace("900", "1000"),
            LEASE.replace("900", "950").replace("September", "October"),
        ];
        assert_eq!(sides, BTreeSet::from(expected));
        assert_eq!(text_of(met.meeting.joined), workspace.text(id).unwrap());
        assert_eq!(versions.len(), met.meeting.joined);
    }
    assert_eq!(
        two.desk.history(id).unwrap(),
        two.travel.history(id).unwrap(),
        "both number the versions alike"
    );

    // The same line on both, and one side brought back: the older meeting is still told, below.
    let text = two.desk.text(id).unwrap();
    edit(&two.desk, id, &text.replace("1000", "1001"));
    edit(&two.travel, id, &text.replace("deposit is", "deposit was"));
    two.exchange();
    let found = all(&two.desk).documents;
    let same: Vec<bool> = found.iter().map(|met| met.same_lines).collect();
    assert_eq!(same, [true, false], "{found:#?}");
    let side = found[0].meeting.sides[1].version;
    let versions = two.travel.history(id).unwrap();
    let before = two.travel.text(id).unwrap();
    two.travel.restore(id, &versions[side - 1]).unwrap();
    two.exchange();
    assert_eq!(all(&two.desk).documents.len(), 2);
    let versions = two.desk.history(id).unwrap();
    let joined = &versions[found[0].meeting.joined - 1];
    assert_eq!(two.desk.text_of(id, &joined.heads).unwrap(), before);
}

#[test]
fn what_was_only_written_on_one_device_or_long_ago_is_not_told() {
    let two = Two::new(|desk| {
        desk.put(vec![NewDocument::plain("Lease", LEASE)]).unwrap();
    });
    let id = two.desk.documents()[0].id;
    for round in 0..5 {
        edit(&two.desk, id, &LEASE.replace("900", &round.to_string()));
        edit(
            &two.desk,
            id,
            &LEASE.replace("September", &round.to_string()),
        );
        two.exchange();
        edit(&two.travel, id, &format!("{round} {LEASE}"));
        two.exchange();
    }
    assert_eq!(all(&two.travel), Conflicts::default());
    edit(&two.desk, id, "desk");
    edit(&two.travel, id, "travel");
    two.exchange();
    let mut cache = MeetingCache::default();
    assert_eq!(
        two.desk.conflicts(0, &mut cache).unwrap().documents.len(),
        1
    );
    assert_eq!(
        two.desk.conflicts(0, &mut cache).unwrap().documents.len(),
        1,
        "from the cache"
    );
    let tomorrow = crate::workspace::documents::now_ms() + 86_400_000;
    assert_eq!(
        two.desk.conflicts(tomorrow, &mut cache).unwrap(),
        Conflicts::default()
    );
}

#[test]
fn names_given_on_two_devices_are_told_until_one_is_given_again() {
    let two = Two::new(|desk| {
        desk.create_thread("Trips").unwrap();
    });
    let chat = two.desk.threads()[0].id;
    two.desk.rename("Flat").unwrap();
    two.travel.rename("Flat").unwrap();
    two.desk.rename_thread(chat, "Trips north").unwrap();
    two.travel.rename_thread(chat, "Trips south").unwrap();
    two.exchange();
    let found = all(&two.desk).names;
    let [choice] = found.as_slice() else {
        panic!("the same name twice is no choice: {found:#?}");
    };
    assert_eq!(choice.what, Chosen::Chat(chat));
    assert_eq!(choice.values[0].value, two.desk.threads()[0].title);
    let authors: BTreeSet<_> = choice.values.iter().map(|value| value.author).collect();
    assert_eq!(authors, BTreeSet::from([Some(DESK), Some(TRAVEL)]));
    assert!(choice.values.iter().all(|value| value.at_ms.is_some()));
    assert_eq!(all(&two.travel).names, found);
    two.travel.rename_thread(chat, "Trips east").unwrap();
    two.exchange();
    assert!(all(&two.desk).names.is_empty());
}

#[test]
fn a_chat_that_two_devices_continued_is_told() {
    let two = Two::new(|desk| {
        let chat = desk.create_thread("Trips").unwrap();
        desk.append_message(chat, None, Message::new(Role::User, "When?", 1))
            .unwrap();
    });
    let chat = two.desk.threads()[0].id;
    let first = two.desk.thread(chat).unwrap().messages[0].id;
    for (workspace, at_ms) in [(&two.desk, 2), (&two.travel, 3)] {
        let said = Message::new(Role::Assistant, "At seven.", at_ms);
        workspace.append_message(chat, Some(first), said).unwrap();
    }
    assert!(all(&two.desk).chats.is_empty());
    two.exchange();
    let found = all(&two.desk).chats;
    let [branches] = found.as_slice() else {
        panic!("{found:#?}");
    };
    let ends: BTreeSet<_> = branches.ends.iter().copied().collect();
    assert_eq!(ends, BTreeSet::from([(Some(DESK), 2), (Some(TRAVEL), 3)]));
}

#[test]
fn ranges_of_lines_meet_where_they_share_a_line_or_a_place() {
    assert!(meets(&(2..4), &(3..5)) && !meets(&(2..4), &(4..5)));
    assert!(meets(&(5..5), &(5..5)) && !meets(&(5..5), &(6..6)));
    assert!(meets(&(4..4), &(2..4)) && meets(&(2..4), &(3..3)) && !meets(&(2..4), &(5..5)));
}

/// Ten thousand changes that one person typed in two and a half days.
#[test]
fn a_long_history_is_listed_quickly() {
    let day_s = 1_795_000_000;
    let text: String = (0..2000)
        .map(|line| format!("line {line} of a paper\n"))
        .collect();
    let mut document = TextDocument::new_in(
        Automerge::new(),
        &text,
        &BTreeMap::<String, String>::new(),
        day_s,
    )
    .unwrap();
    let object = TextDocument::check(document.automerge()).unwrap();
    for number in 0..10_000i64 {
        let at_s = day_s + number * 20;
        let noted = |_: &()| CommitOptions::default().with_time(at_s);
        let at = (number as usize * 37) % text.len();
        document
            .automerge_mut()
            .transact_with::<_, _, AutomergeError, _>(noted, |tx| {
                tx.splice_text(&object, at, 0, "x")
            })
            .unwrap();
    }
    let begun = Instant::now();
    let versions = history::versions_of(&document);
    let listed = begun.elapsed();
    assert!((50..200).contains(&versions.len()), "{}", versions.len());
    let last = &versions[versions.len() - 20].heads;
    let begun = Instant::now();
    let text = history::text_at(&document, last).unwrap();
    let read = begun.elapsed();
    let begun = Instant::now();
    let hunks = history::difference(&text, &document.text().unwrap());
    let compared = begun.elapsed();
    assert!(!hunks.is_empty());
    eprintln!("10,000 changes: listed in {listed:?}, read in {read:?}, compared in {compared:?}");
    // Twenty times what it takes on two busy cores.
    assert!(
        listed.as_millis() < 2000 && read.as_millis() < 2000,
        "{listed:?} {read:?}"
    );
}
