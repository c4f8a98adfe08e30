//! Whom what a server says is for, and what it is asked for on whose behalf.

use super::*;
use crate::config::{Command, EraChoice, Filter, Share, Transport};
use crate::mcp::capabilities::ServerCapabilities;
use crate::mcp::revision::Revision;

pub(in crate::upstream) fn server(share: Share) -> Arc<Server> {
    let command = Command {
        program: "x".into(),
        args: vec![],
        env: Default::default(),
        cwd: None,
    };
    Arc::new(Server {
        name: "x".into(),
        enabled: true,
        tags: vec![],
        transport: Transport::Stdio(command),
        tools: Filter::default(),
        prompts: Filter::default(),
        resources: Filter::default(),
        rename: BTreeMap::new(),
        timeout: Duration::from_secs(60),
        connections: 64,
        share,
        era: EraChoice::Auto,
        required: false,
    })
}

pub(in crate::upstream) fn key(number: u64) -> SessionKey {
    SessionKey::new(number, WorkerId(0))
}

fn open(key: Key) -> Conversation {
    let mut conversation = Conversation::new(Time::ZERO, key, server(Share::Shared), 1);
    conversation.opened(
        Time::ZERO,
        Introduced {
            revision: Revision::LATEST,
            capabilities: ServerCapabilities {
                prompts: false,
                ..ServerCapabilities::EVERYTHING
            },
            name: String::new(),
            version: String::new(),
            instructions: String::new(),
            said: Box::default(),
        },
    );
    conversation
}

#[test]
fn only_a_sole_user_is_given_what_is_addressed_to_nobody() {
    let mut conversation = open(Key::base(0));
    assert_eq!(conversation.sole_user(Time::ZERO), None);
    conversation.join(key(1), None);
    assert_eq!(conversation.sole_user(Time::ZERO), Some(key(1)));
    conversation.join(key(2), None);
    assert_eq!(conversation.sole_user(Time::ZERO), None);
    conversation.leave(Time::ZERO, key(1));
    assert_eq!(conversation.sole_user(Time::ZERO), None);
    assert_eq!(conversation.sole_user(Time::ZERO + FAREWELL), Some(key(2)));
    conversation.unsettle(Time::ZERO + FAREWELL);
    assert_eq!(conversation.sole_user(Time::ZERO + FAREWELL), None);
}

#[test]
fn who_only_listens_is_given_changes_and_nothing_else() {
    let mut conversation = open(Key::base(0));
    conversation.join_listener(key(1));
    conversation.subscribe(key(1), "a");
    assert_eq!(conversation.sole_user(Time::ZERO), None);
    assert_eq!(conversation.sole_subscriber(Time::ZERO), Some(key(1)));
    conversation.join(key(2), None);
    assert_eq!(conversation.sole_user(Time::ZERO), Some(key(2)));
    assert_eq!(conversation.sole_subscriber(Time::ZERO), None);
    assert_eq!(conversation.leave(Time::ZERO, key(1)), ["a"]);
    conversation.subscribe(key(2), "b");
    let later = Time::ZERO + FAREWELL;
    assert_eq!(conversation.sole_subscriber(Time::ZERO), None);
    assert_eq!(conversation.sole_subscriber(later), Some(key(2)));
}

#[test]
fn what_is_said_soon_after_anothers_answer_is_not_taken_for_ones_own() {
    let mut conversation = open(Key::base(0));
    let at = |seconds| Time::ZERO + Duration::from_secs(seconds);
    assert!(conversation.serves_only(at(0), Some(key(1))));
    conversation.serve(at(0), Some(key(1)));
    assert!(conversation.serves_only(at(0), Some(key(1))));
    assert!(!conversation.serves_only(at(0), Some(key(2))));
    conversation.serve(at(5), Some(key(2)));
    conversation.serve(at(6), Some(key(2)));
    assert!(!conversation.serves_only(at(6), Some(key(1))));
    assert!(!conversation.serves_only(at(6), Some(key(2))));
    assert!(conversation.serves_only(at(10), Some(key(2))));
    conversation.serve(at(20), None);
    assert!(!conversation.serves_only(at(20), Some(key(2))));
    assert!(conversation.serves_only(at(20), None));
}

#[test]
fn subscription_lasts_until_its_last_subscriber_leaves() {
    let mut conversation = open(Key::base(0));
    conversation.join(key(1), None);
    conversation.join(key(2), None);
    conversation.subscribe(key(1), "a");
    conversation.subscribe(key(2), "a");
    conversation.subscribe(key(2), "b");
    assert!(!conversation.unsubscribe(key(1), "a"));
    assert!(conversation.subscribers("a").eq([key(2)]));
    assert_eq!(conversation.leave(Time::ZERO, key(2)), ["a", "b"]);
    assert_eq!(conversation.subscribed().count(), 0);
}

#[test]
fn server_is_asked_until_it_has_granted() {
    let mut conversation = open(Key::base(0));
    assert!(conversation.subscribe(key(1), "a") && conversation.subscribe(key(2), "a"));
    conversation.grant("a");
    conversation.grant("b");
    assert!(!conversation.subscribe(key(3), "a") && conversation.subscribe(key(3), "b"));
    conversation.grant_nothing();
    assert!(conversation.subscribe(key(4), "a"));
    conversation.grant("b");
    conversation.unsubscribe(key(3), "b");
    assert!(conversation.subscribe(key(3), "b"));
}

#[test]
fn server_is_set_to_the_least_serious_level_that_anyone_wants() {
    let mut conversation = open(Key::base(0));
    conversation.join(key(1), None);
    conversation.join(key(2), Some(3));
    assert_eq!(conversation.level_to_set(), Some(3));
    conversation.choose_level(key(1), 5);
    assert_eq!(conversation.level_to_set(), None);
    conversation.choose_level(key(1), 0);
    assert_eq!(conversation.level_to_set(), Some(0));
    conversation.leave(Time::ZERO, key(1));
    assert_eq!(conversation.level_to_set(), Some(3));
    conversation.leave(Time::ZERO, key(2));
    assert_eq!(conversation.level_to_set(), Some(LEVEL_USUAL));
    assert_eq!(conversation.level_to_set(), None);
}

#[test]
fn level_that_one_call_wants_is_no_longer_than_a_call() {
    let mut conversation = open(Key::base(0));
    let later = Time::ZERO + EXCHANGE_TIMEOUT_MAX / 2;
    conversation.want_level(Time::ZERO, 0);
    conversation.want_level(later, 3);
    assert_eq!(conversation.level_to_set(), Some(0));
    assert_eq!(
        conversation.level_until(),
        Some(Time::ZERO + EXCHANGE_TIMEOUT_MAX)
    );
    conversation.want_level(later, 0);
    assert_eq!(
        conversation.level_until(),
        Some(later + EXCHANGE_TIMEOUT_MAX)
    );
}

#[test]
fn lists_are_fetched_in_order_and_once_more_if_they_changed_meanwhile() {
    let mut conversation = open(Key::base(0));
    assert!(conversation.relist());
    assert_eq!(conversation.next_list(), Some(Kind::Tools));
    assert!(conversation.paged(true) && !conversation.paged(false));
    assert_eq!(conversation.next_list(), Some(Kind::Resources));
    assert!(!conversation.relist());
    assert!(conversation.listed().is_none());
    conversation.paged(false);
    conversation.paged(false);
    assert!(conversation.listed().unwrap().1);
    assert!(conversation.listed().is_none() && conversation.relist());
}

#[test]
fn call_waits_for_the_first_restart_and_is_refused_with_the_cause_after_that() {
    let mut conversation = open(Key::base(0));
    conversation.failed(Time::ZERO, "exit status: 1");
    assert_eq!(conversation.unavailable(Time::ZERO), None);
    conversation.reopen(Time::ZERO);
    assert_eq!(conversation.unavailable(Time::ZERO), None);
    conversation.failed(Time::ZERO, "exit status: 1");
    let reason = conversation.unavailable(Time::ZERO).unwrap();
    assert!(
        reason.starts_with("exit status: 1; next try in "),
        "{reason}"
    );
}

#[test]
fn call_to_a_server_that_never_answered_is_refused_at_once() {
    let conversation = Conversation::new(Time::ZERO, Key::base(0), server(Share::Shared), 1);
    assert!(
        conversation
            .unavailable(Time::ZERO)
            .unwrap()
            .contains("not answered initialize")
    );
}
