//! Who may come in: nameplates for two laptops, one try, ten minutes; invitations for mailboxes.

use super::*;

#[test]
fn a_nameplate_is_for_two_and_for_one_try() {
    let mut rig = Rig::new();
    let (mut a, mut b, mut c) = (rig.session(), rig.session(), rig.session());
    let Answer::RvPlace { nameplate, token } = rig.one(&mut a, Request::RvAllocate) else {
        panic!("no place")
    };
    assert_eq!(nameplate, 1);
    let claim = Request::RvClaim { nameplate };
    let Answer::RvPlace { token: other, .. } = rig.one(&mut b, claim.clone()) else {
        panic!("not joined")
    };
    let gone = super::super::refusal(ErrorCode::NoNameplate, 0);
    assert_eq!(rig.one(&mut c, claim.clone()), gone, "a third one");
    let post = |token, number| Request::RvPost {
        nameplate,
        token,
        body: vec![number; 3],
    };
    let next = |token, index| Request::RvNext {
        nameplate,
        token,
        index,
    };
    assert_eq!(rig.one(&mut b, next(other, 0)), Answer::RvWaiting);
    for number in 0..10 {
        assert_eq!(rig.one(&mut a, post(token, number)), Answer::Ok);
    }
    assert_eq!(
        code(&rig.one(&mut b, post(other, 99))),
        Some(ErrorCode::TooMany)
    );
    assert_eq!(
        rig.one(&mut b, next(other, 9)),
        Answer::RvMessage { body: vec![9; 3] }
    );
    assert_eq!(rig.one(&mut a, next(token, 0)), Answer::RvWaiting);
    assert_eq!(rig.one(&mut c, next([0; 16], 0)), gone, "no participant");
    let burn = Request::RvBurn {
        nameplate,
        token: other,
    };
    assert_eq!(rig.one(&mut b, burn), Answer::Ok);
    assert_eq!(rig.one(&mut a, next(token, 0)), gone);
    assert_eq!(rig.one(&mut c, claim), gone);
    let Answer::RvPlace {
        nameplate: new,
        token,
    } = rig.one(&mut a, Request::RvAllocate)
    else {
        panic!("no place")
    };
    assert_eq!(new, 2, "the number of a burnt one rests");
    rig.now_ms += 600_001;
    let late = Request::RvNext {
        nameplate: new,
        token,
        index: 0,
    };
    assert_eq!(rig.one(&mut a, late), gone, "expired");
}

#[test]
fn guessing_nameplates_is_slowed_down_per_network() {
    let mut rig = Rig::new();
    let mut session = rig.session();
    let guess = |number| Request::RvClaim { nameplate: number };
    for number in 0..10 {
        let answer = rig.one(&mut session, guess(number));
        assert_eq!(code(&answer), Some(ErrorCode::NoNameplate));
    }
    let refused = rig.one(&mut rig.session(), guess(11));
    assert_eq!(code(&refused), Some(ErrorCode::Rate), "another connection");
    let mut elsewhere = rig.node.session([10, 0, 0, 9].into());
    let answer = rig.one(&mut elsewhere, guess(11));
    assert_eq!(code(&answer), Some(ErrorCode::NoNameplate));
    rig.now_ms += 60_000;
    let answer = rig.one(&mut session, guess(12));
    assert_eq!(code(&answer), Some(ErrorCode::NoNameplate));
}

#[test]
fn who_brings_no_invitation_makes_no_mailbox() {
    let config = Config {
        creation: Some(CreationMode::Token),
        tokens: vec!["0123456789abcdef".to_owned()],
        ..Config::default()
    };
    let store = Store::in_memory(Rules::of(&config)).unwrap();
    let node = Mailboxes::new(store, &config);
    let mut session = node.session([127, 0, 0, 1].into());
    let mut ask = |token: &[u8]| {
        let policy = Key::new(1);
        let mailbox = MailboxId::of_policy_key(&policy.public());
        let message = capability::create_message(&BINDING, mailbox, &capabilities(1), token);
        let request = Request::Create {
            policy_key: policy.public(),
            capabilities: capabilities(1),
            token: token.to_vec(),
            signature: policy.sign(&message),
        };
        node.handle(&mut session, &|_| BINDING, request, START_MS)
    };
    assert_eq!(ask(b""), [denied()]);
    assert_eq!(ask(b"0123456789abcdeX"), [denied()]);
    assert_eq!(ask(b"0123456789abcdef"), [Answer::Ok]);
}
