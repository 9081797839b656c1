//! Istio's JSON format of access logs; keys not read here may be there or not.

use serde::Deserialize;

use super::LineError;
use super::log_line::{LogLine, excerpt, parse_ip};

#[derive(Deserialize)]
struct Line {
    authority: Option<String>,
    upstream_cluster: Option<String>,
    /// Not in Istio's default set of keys; the address of the connection, where the other may come from a header.
    downstream_direct_remote_address: Option<String>,
    downstream_remote_address: Option<String>,
    start_time: Option<String>,
}

pub(super) fn parse(line: &str) -> Result<LogLine, LineError> {
    let line: Line = serde_json::from_str(line).map_err(|source| LineError::Json { source })?;
    let (key, address) = match (&line.downstream_direct_remote_address, &line.downstream_remote_address) {
        (Some(direct), _) if direct != "-" => ("downstream_direct_remote_address", direct.as_str()),
        (_, remote) => ("downstream_remote_address", remote.as_deref().unwrap_or_default()),
    };
    let caller =
        parse_ip(address).ok_or_else(|| LineError::JsonValue { key, expected: "IP:PORT", found: excerpt(address) })?;
    Ok(LogLine {
        caller,
        authority: line.authority.unwrap_or_else(|| "-".to_owned()),
        upstream_cluster: line.upstream_cluster.unwrap_or_else(|| "-".to_owned()),
        at: line.start_time.filter(|at| at != "-"),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::{call_of, parse_line};

    fn mk_line() -> serde_json::Value {
        json!({
            "authority": "details:9080", "bytes_received": 0, "bytes_sent": 178, "connection_termination_details": null,
            "downstream_local_address": "10.102.66.227:9080", "downstream_remote_address": "172.17.0.11:40210",
            "duration": 12, "method": "GET", "path": "/details/0", "protocol": "HTTP/1.1",
            "request_id": "7ec25152-ca8e-923b-a736-49838ce316f4", "requested_server_name": null, "response_code": 200,
            "response_code_details": "via_upstream", "response_flags": "-", "route_name": null,
            "start_time": "2021-12-23T06:24:55.527Z",
            "upstream_cluster": "outbound|9080||global-sidecar.mesh-operator.svc.cluster.local",
            "upstream_host": "172.17.0.10:80", "upstream_local_address": "172.17.0.11:45194",
            "upstream_service_time": "12", "upstream_transport_failure_reason": null, "user_agent": "a \"quoted\" agent",
            "x_forwarded_for": null
        })
    }

    #[test]
    fn a_line_tells_who_called_whom_and_when() {
        let line = parse_line(&mk_line().to_string()).unwrap();
        assert_eq!(line.at.as_deref(), Some("2021-12-23T06:24:55.527Z"));
        let call = call_of(&line).unwrap();
        assert_eq!((call.caller.to_string().as_str(), call.authority.as_str()), ("172.17.0.11", "details"));
    }

    #[test]
    fn the_connections_address_goes_before_the_one_that_a_header_may_set() {
        let mut line = mk_line();
        line["downstream_direct_remote_address"] = json!("172.17.0.99:1");
        assert_eq!(parse_line(&line.to_string()).unwrap().caller.to_string(), "172.17.0.99");
        line["downstream_direct_remote_address"] = json!("-");
        assert_eq!(parse_line(&line.to_string()).unwrap().caller.to_string(), "172.17.0.11");
    }

    #[test]
    fn absent_values_are_like_dashes() {
        let mut line = mk_line();
        line["authority"] = json!(null);
        assert_eq!(call_of(&parse_line(&line.to_string()).unwrap()).unwrap_err().name(), "no_authority");
        line["upstream_cluster"] = json!(null);
        assert_eq!(call_of(&parse_line(&line.to_string()).unwrap()).unwrap_err().name(), "not_routed");
    }

    #[test]
    fn an_error_names_the_key() {
        let mut line = mk_line();
        line["downstream_remote_address"] = json!(null);
        let error = parse_line(&line.to_string()).unwrap_err().to_string();
        assert_eq!(
            error,
            r#"failed to read a JSON log line: expected IP:PORT as "downstream_remote_address", found """#
        );
        assert!(parse_line("{").unwrap_err().to_string().starts_with("failed to read a JSON log line"));
    }
}
