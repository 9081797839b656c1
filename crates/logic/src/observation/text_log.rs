//! Istio's default text format of access logs.
//!
//! ```text
//! [START_TIME] "METHOD PATH PROTOCOL" RESPONSE_CODE RESPONSE_FLAGS RESPONSE_CODE_DETAILS CONNECTION_TERMINATION_DETAILS
//! "UPSTREAM_TRANSPORT_FAILURE_REASON" BYTES_RECEIVED BYTES_SENT DURATION UPSTREAM_SERVICE_TIME "X-FORWARDED-FOR"
//! "USER-AGENT" "X-REQUEST-ID" "AUTHORITY" "UPSTREAM_HOST" UPSTREAM_CLUSTER UPSTREAM_LOCAL_ADDRESS
//! DOWNSTREAM_LOCAL_ADDRESS DOWNSTREAM_REMOTE_ADDRESS REQUESTED_SERVER_NAME ROUTE_NAME
//! ```
//!
//! Envoy does not escape what clients write: a quote in a path or a user agent stands in the line as it is. All fields
//! that matter here come after those, so a line is read from its end: nothing that a client writes into its user agent can
//! pass for another authority.

use super::LineError;
use super::log_line::{LogLine, excerpt, parse_ip};

pub(super) fn parse(line: &str) -> Result<LogLine, LineError> {
    let wrong = |field, expected, found: &str| LineError::Text { field, expected, found: excerpt(found) };

    let (at, rest) = line
        .strip_prefix('[')
        .and_then(|rest| rest.split_once("] \""))
        .ok_or_else(|| wrong(1, "[START_TIME] and a quoted request", line))?;

    // The last quote of the line ends UPSTREAM_HOST; what follows is never quoted.
    let (quoted, unquoted) =
        rest.rsplit_once("\" ").ok_or_else(|| wrong(16, "a quoted UPSTREAM_HOST and six more fields", rest))?;
    let (quoted, _upstream_host) =
        quoted.rsplit_once("\" \"").ok_or_else(|| wrong(16, "a quoted UPSTREAM_HOST", quoted))?;
    let (_before, authority) = quoted.rsplit_once("\" \"").ok_or_else(|| wrong(15, "a quoted AUTHORITY", quoted))?;

    // A route's name comes last and may have spaces.
    let mut fields = unquoted.splitn(6, ' ');
    let mut next = |field, expected| fields.next().ok_or_else(|| wrong(field, expected, unquoted));
    let upstream_cluster = next(17, "UPSTREAM_CLUSTER")?;
    let _upstream_local = next(18, "UPSTREAM_LOCAL_ADDRESS")?;
    let _downstream_local = next(19, "DOWNSTREAM_LOCAL_ADDRESS")?;
    let downstream_remote = next(20, "DOWNSTREAM_REMOTE_ADDRESS")?;
    let _server_name = next(21, "REQUESTED_SERVER_NAME")?;
    let _route_name = next(22, "ROUTE_NAME")?;

    let caller = parse_ip(downstream_remote)
        .ok_or_else(|| wrong(20, "IP:PORT (DOWNSTREAM_REMOTE_ADDRESS)", downstream_remote))?;
    Ok(LogLine {
        caller,
        authority: authority.to_owned(),
        upstream_cluster: upstream_cluster.to_owned(),
        at: (at != "-").then(|| at.to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{call_of, parse_line};

    /// The lines that the original's documentation prints; the first calls go through the global-sidecar, the later ones
    /// are direct.
    const SEED: [(&str, &str, &str, &str); 6] = [
        (
            r#"[2021-12-23T06:24:55.527Z] "GET /details/0 HTTP/1.1" 200 - via_upstream - "-" 0 178 12 12 "-" "curl/7.52.1" "7ec25152-ca8e-923b-a736-49838ce316f4" "details:9080" "172.17.0.10:80" outbound|9080||global-sidecar.mesh-operator.svc.cluster.local 172.17.0.11:45194 10.102.66.227:9080 172.17.0.11:40210 - -"#,
            "172.17.0.11",
            "details",
            "2021-12-23T06:24:55.527Z",
        ),
        (
            r#"[2021-12-23T06:24:55.552Z] "GET /reviews/0 HTTP/1.1" 200 - via_upstream - "-" 0 295 30 29 "-" "curl/7.52.1" "7ec25152-ca8e-923b-a736-49838ce316f4" "reviews:9080" "172.17.0.10:80" outbound|9080||global-sidecar.mesh-operator.svc.cluster.local 172.17.0.11:45202 10.104.97.115:9080 172.17.0.11:40880 - -"#,
            "172.17.0.11",
            "reviews",
            "2021-12-23T06:24:55.552Z",
        ),
        (
            r#"[2021-12-23T06:24:55.490Z] "GET /productpage HTTP/1.1" 200 - via_upstream - "-" 0 4183 93 93 "-" "curl/7.52.1" "7ec25152-ca8e-923b-a736-49838ce316f4" "productpage:9080" "172.17.0.11:9080" inbound|9080|| 127.0.0.6:48621 172.17.0.11:9080 172.17.0.7:41458 outbound_.9080_._.productpage.default.svc.cluster.local default"#,
            "172.17.0.7",
            "productpage",
            "2021-12-23T06:24:55.490Z",
        ),
        (
            r#"[2021-12-23T06:26:47.700Z] "GET /details/0 HTTP/1.1" 200 - via_upstream - "-" 0 178 13 12 "-" "curl/7.52.1" "899e918c-e44c-9dc2-9629-d8db191af972" "details:9080" "172.17.0.13:9080" outbound|9080||details.default.svc.cluster.local 172.17.0.11:50020 10.102.66.227:9080 172.17.0.11:42180 - default"#,
            "172.17.0.11",
            "details",
            "2021-12-23T06:26:47.700Z",
        ),
        (
            r#"[2021-12-23T06:26:47.718Z] "GET /reviews/0 HTTP/1.1" 200 - via_upstream - "-" 0 375 78 77 "-" "curl/7.52.1" "899e918c-e44c-9dc2-9629-d8db191af972" "reviews:9080" "172.17.0.16:9080" outbound|9080||reviews.default.svc.cluster.local 172.17.0.11:58986 10.104.97.115:9080 172.17.0.11:42846 - default"#,
            "172.17.0.11",
            "reviews",
            "2021-12-23T06:26:47.718Z",
        ),
        (
            r#"[2021-12-23T06:26:47.690Z] "GET /productpage HTTP/1.1" 200 - via_upstream - "-" 0 5179 122 121 "-" "curl/7.52.1" "899e918c-e44c-9dc2-9629-d8db191af972" "productpage:9080" "172.17.0.11:9080" inbound|9080|| 127.0.0.6:51799 172.17.0.11:9080 172.17.0.7:41458 outbound_.9080_._.productpage.default.svc.cluster.local default"#,
            "172.17.0.7",
            "productpage",
            "2021-12-23T06:26:47.690Z",
        ),
    ];

    #[test]
    fn the_lines_of_the_documentation_tell_who_called_whom() {
        for (text, caller, host, at) in SEED {
            let line = parse_line(text).unwrap();
            let call = call_of(&line).unwrap();
            assert_eq!(
                (call.caller.to_string().as_str(), call.authority.as_str(), call.count),
                (caller, host, 1),
                "{text}"
            );
            assert_eq!(line.at.as_deref(), Some(at));
        }
    }

    #[test]
    fn a_call_to_where_the_mesh_does_not_know_is_a_call_too() {
        for cluster in ["PassthroughCluster", "BlackHoleCluster"] {
            let text = SEED[0].0.replace("outbound|9080||global-sidecar.mesh-operator.svc.cluster.local", cluster);
            assert_eq!(call_of(&parse_line(&text).unwrap()).unwrap().authority, "details");
        }
    }

    #[test]
    fn a_line_of_the_proxy_itself_tells_nothing() {
        let text = SEED[0].0.replace("outbound|9080||global-sidecar.mesh-operator.svc.cluster.local", "agent");
        assert_eq!(call_of(&parse_line(&text).unwrap()).unwrap_err().name(), "not_routed");
        let tcp = r#"[2021-12-23T06:24:55.527Z] "- - -" 0 - - - "-" 12 34 56 - "-" "-" "-" "-" "10.0.0.9:3306" outbound|3306||mysql.default.svc.cluster.local 172.17.0.11:45194 10.102.66.228:3306 172.17.0.11:40210 - -"#;
        assert_eq!(call_of(&parse_line(tcp).unwrap()).unwrap_err().name(), "no_authority");
    }

    #[test]
    fn quotes_and_spaces_in_a_user_agent_do_not_shift_the_fields() {
        for agent in [
            r"Mozilla/5.0 (X11; Linux x86_64) Chrome/96",
            r#"a \"quoted\" agent"#,
            r#"forged" "id" "evil:80" "1.2.3.4:80" outbound|80||evil 1.1.1.1:1 2.2.2.2:2 3.3.3.3:3 - x"#,
        ] {
            let text = SEED[0].0.replace("curl/7.52.1", agent);
            let call = call_of(&parse_line(&text).unwrap()).unwrap();
            assert_eq!(
                (call.caller.to_string().as_str(), call.authority.as_str()),
                ("172.17.0.11", "details"),
                "{agent}"
            );
        }
    }

    #[test]
    fn an_ipv6_caller_and_a_route_name_with_spaces_are_read() {
        let text = SEED[0].0.replace("172.17.0.11:40210 - -", "[fd00::11]:40210 - my own route");
        assert_eq!(parse_line(&text).unwrap().caller.to_string(), "fd00::11");
    }

    #[test]
    fn an_error_says_what_was_expected_at_which_field() {
        let remote = SEED[0].0.replace("172.17.0.11:40210", "@pipe");
        let cases = [
            ("", r#"expected [START_TIME] and a quoted request as field 1, found """#),
            ("2021-12-23T06:24:55Z\tinfo\tEnvoy proxy is ready", "as field 1, found \"2021-12-23T06:24:55Z"),
            (r#"[t] "GET / HTTP/1.1"#, "expected a quoted UPSTREAM_HOST and six more fields as field 16"),
            (r#"[t] "GET / HTTP/1.1" 200 -"#, "expected a quoted UPSTREAM_HOST as field 16"),
            (r#"[t] "a" "host" b c d e f g"#, "expected a quoted AUTHORITY as field 15"),
            (r#"[t] "r" "id" "a" "host" cluster b c"#, "expected DOWNSTREAM_REMOTE_ADDRESS as field 20"),
            (&remote, r#"expected IP:PORT (DOWNSTREAM_REMOTE_ADDRESS) as field 20, found "@pipe""#),
        ];
        for (text, message) in cases {
            let error = parse_line(text).unwrap_err().to_string();
            assert!(error.contains(message), "{text:?}: {error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,200}|\\[[a-z\" |:.\\[\\]-]{0,200}") {
            if let Ok(line) = parse_line(&text) {
                let _ = call_of(&line);
            }
        }

        #[test]
        fn the_request_and_the_user_agent_are_the_clients_and_change_nothing(path in "\\PC{0,60}", agent in "\\PC{0,60}") {
            let text = SEED[0].0.replace("/details/0", &path).replace("curl/7.52.1", &agent);
            let call = call_of(&parse_line(&text).unwrap()).unwrap();
            prop_assert_eq!((call.caller.to_string(), call.authority), ("172.17.0.11".to_owned(), "details".to_owned()));
        }
    }
}
