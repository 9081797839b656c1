use proptest::prelude::*;

use super::*;

const HEAD: RequestHead<'_> = RequestHead {
    is_connect: false,
    target_authority: None,
    host: Some("reviews:9080"),
    original_destination: Some("10.96.0.7:9080"),
    source_namespace: Some("default"),
    dialled_by_host: false,
    listener_port: 9080,
};

fn known(namespace: &str, name: &str) -> bool {
    (namespace, name) == ("default", "reviews")
}

fn host_of(head: RequestHead<'_>) -> String {
    route(&head, false, known).unwrap().host.into_owned()
}

fn dial_of(head: RequestHead<'_>) -> String {
    route(&head, false, known).unwrap().dial.to_string()
}

#[test]
fn a_short_name_of_the_callers_namespace_is_completed() {
    assert_eq!(host_of(HEAD), "reviews.default:9080");
    assert_eq!(host_of(RequestHead { host: Some("reviews"), ..HEAD }), "reviews.default");
    assert_eq!(host_of(RequestHead { host: Some("Reviews"), ..HEAD }), "Reviews.default");
}

#[test]
fn a_host_is_left_alone_if_it_is_no_short_name_of_a_known_service() {
    for host in
        ["ratings:9080", "reviews.other", "reviews.", "10.0.0.1:80", "[::1]:80", "::1", "odd name", "reviews:99999"]
    {
        assert_eq!(host_of(RequestHead { host: Some(host), ..HEAD }), host);
    }
}

#[test]
fn without_a_usable_source_namespace_nothing_is_completed() {
    for namespace in [None, Some(""), Some("-"), Some("other"), Some("a b")] {
        let head = RequestHead { source_namespace: namespace, ..HEAD };
        assert_eq!(route(&head, false, |namespace, _| namespace != "other").unwrap().host, "reviews:9080");
    }
}

#[test]
fn the_original_destination_is_dialled_whatever_host_says() {
    assert_eq!(dial_of(HEAD), "10.96.0.7:9080");
    assert_eq!(dial_of(RequestHead { original_destination: Some("10.96.0.7"), ..HEAD }), "10.96.0.7:9080");
    assert_eq!(dial_of(RequestHead { original_destination: Some("[fd00::7]:81"), ..HEAD }), "[fd00::7]:81");
    assert_eq!(dial_of(RequestHead { original_destination: Some("fd00::7"), ..HEAD }), "[fd00::7]:9080");
}

#[test]
fn a_bad_original_destination_is_refused_and_named() {
    for value in ["reviews:80", "10.0.0.1:0", "10.0.0.1:http", "-", "envoy://internal", "[fd00::7"] {
        let refusal = route(&RequestHead { original_destination: Some(value), ..HEAD }, false, known).unwrap_err();
        assert_eq!(refusal.status(), 400);
        let text = refusal.to_string();
        assert!(
            text.contains("Slime-Orig-Dest") && text.contains(value) && text.contains("expected IP:PORT"),
            "{text}"
        );
    }
}

#[test]
fn without_an_original_destination_the_completed_host_is_dialled() {
    let head = RequestHead { original_destination: Some(""), ..HEAD };
    assert_eq!(dial_of(head), "reviews.default:9080");
    assert_eq!(dial_of(RequestHead { host: Some("example.org"), ..head }), "example.org:80");
    assert_eq!(dial_of(RequestHead { host: Some("[::1]"), ..head }), "[::1]:80");
    assert!(route(&head, false, known).unwrap().by_host);
}

#[test]
fn the_listener_port_can_outrank_the_port_of_host_but_not_of_the_original_destination() {
    let head = RequestHead { original_destination: None, host: Some("example.org:8080"), ..HEAD };
    assert_eq!(route(&head, true, known).unwrap().dial.to_string(), "example.org:9080");
    let head = RequestHead { original_destination: Some("10.0.0.1:81"), ..head };
    assert_eq!(route(&head, true, known).unwrap().dial.to_string(), "10.0.0.1:81");
}

#[test]
fn an_absolute_target_outranks_host_and_loses_its_user_info() {
    assert_eq!(host_of(RequestHead { target_authority: Some("me:secret@ratings:81"), ..HEAD }), "ratings:81");
    assert_eq!(host_of(RequestHead { target_authority: Some("reviews"), ..HEAD }), "reviews.default");
}

#[test]
fn a_request_without_a_host_is_refused() {
    for host in [None, Some("")] {
        assert_eq!(route(&RequestHead { host, ..HEAD }, false, known), Err(Refusal::MissingHost));
    }
}

#[test]
fn a_host_that_must_be_dialled_and_cannot_be_is_refused() {
    let head = RequestHead { original_destination: None, host: Some("odd name"), ..HEAD };
    assert_eq!(route(&head, false, known).unwrap_err().status(), 400);
}

#[test]
fn a_request_that_comes_back_by_host_is_a_loop_but_one_with_an_original_destination_is_not() {
    let head = RequestHead { original_destination: None, dialled_by_host: true, ..HEAD };
    assert_eq!(route(&head, false, known).unwrap_err().status(), 508);
    assert_eq!(dial_of(RequestHead { dialled_by_host: true, ..HEAD }), "10.96.0.7:9080");
}

#[test]
fn connect_is_refused() {
    assert_eq!(route(&RequestHead { is_connect: true, ..HEAD }, false, known).unwrap_err().status(), 501);
}

proptest! {
    #[test]
    fn no_head_makes_the_decision_panic(host in ".*", dest in ".*", namespace in ".*", prefer: bool) {
        let head = RequestHead {
            host: Some(&host),
            original_destination: Some(&dest),
            source_namespace: Some(&namespace),
            ..HEAD
        };
        let _ = route(&head, prefer, |_, _| true);
    }

    #[test]
    fn completing_a_name_keeps_its_port(name in "[a-z]([a-z0-9-]{0,20}[a-z0-9])?", port in 1u16..) {
        let host = format!("{name}:{port}");
        let head = RequestHead { host: Some(&host), ..HEAD };
        prop_assert_eq!(route(&head, false, |_, _| true).unwrap().host, format!("{name}.default:{port}"));
    }
}
