//! What users write, and what becomes of it.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

#[expect(clippy::needless_pass_by_value, reason = "reads better where it is called")]
fn settings(entry: Value) -> Settings {
    resolve(&entry, &Context::default()).unwrap().settings
}

#[test]
fn the_seeds_cluster_accesslog_module_is_read_as_printed() {
    let settings = settings(json!({
        "name": "lazyload", "kind": "lazyload", "enable": true,
        "general": {"wormholePort": ["9080"]},
        "global": {"misc": {"globalSidecarMode": "cluster", "metricSourceType": "accesslog"}},
    }));
    assert_eq!(settings.wormhole_ports, [9080]);
    assert_eq!(settings.mode, GlobalSidecarMode::Cluster);
    assert_eq!(settings.source, MetricSource::AccessLog);
    assert_eq!(settings.slime_namespace, "mesh-operator");
    assert_eq!(settings.aux_address, ":8081");
    assert!(!settings.auto_fence);
}

#[test]
fn prometheus_is_the_source_if_its_block_alone_is_given() {
    let settings = settings(json!({"metric": {"prometheus": {
        "address": "http://p:9090", "handlers": {"destination": {"query": "sum(x{app=\"$source_app\"})by(request_host)"}},
    }}}));
    assert_eq!(settings.source, MetricSource::Prometheus);
    assert_eq!(settings.prometheus.unwrap().address, "http://p:9090");
}

#[test]
fn a_header_for_prometheus_is_not_shown_and_a_changed_one_takes_a_restart() {
    let with = |token: &str| {
        settings(json!({"metric": {"prometheus": {
            "address": "http://p:9090", "headers": {"X-Key": token},
            "handlers": {"destination": {"query": "sum(x{app=\"$source_app\"})by(request_host)"}},
        }}}))
    };
    assert!(!with("hush-hush").effective().contains("hush-hush"));
    assert_ne!(with("hush-hush").restart_fingerprint(), with("other").restart_fingerprint());
}

#[test]
fn integers_stand_for_text_and_flags_for_words() {
    let settings = settings(json!({"general": {
        "wormholePort": [9080, "80", 9080], "autoFence": "true",
        "dispatches": [{"name": 163, "domains": ["www.163.com"], "cluster": "PassthroughCluster"}],
    }}));
    assert_eq!(settings.wormhole_ports, [9080, 80]);
    assert!(settings.auto_fence);
    assert_eq!(settings.dispatches[0].name, "163");
}

#[test]
fn general_wins_over_the_legacy_fence_key_by_key() {
    let settings = settings(json!({
        "fence": {"wormholePort": ["1"], "autoFence": true},
        "general": {"wormholePort": ["2"]},
    }));
    assert_eq!(settings.wormhole_ports, [2]);
    assert!(settings.auto_fence);
}

#[test]
fn the_mode_comes_from_the_component_type_if_the_module_is_silent() {
    let context = Context { component_type: Some("namespace".into()), namespace: None };
    let resolved = resolve(&json!({}), &context).unwrap();
    assert_eq!(resolved.settings.mode, GlobalSidecarMode::Namespace);
}

#[test]
fn two_modes_that_differ_are_refused_with_both_names() {
    let context = Context { component_type: Some("namespace".into()), namespace: None };
    let error = resolve(&json!({"general": {"globalSidecarMode": "cluster"}}), &context).unwrap_err();
    assert_eq!(
        error.to_string(),
        "component.globalSidecar.type: expected the same mode as general.globalSidecarMode, or nothing, got \"namespace\""
    );
}

#[test]
fn a_wrong_value_is_named_by_its_path() {
    let error = resolve(&json!({"general": {"wormholePort": ["9080", "http"]}}), &Context::default()).unwrap_err();
    assert_eq!(error.to_string(), "general.wormholePort[1]: expected a port number from 1 to 65535, got \"http\"");
    assert!(resolve(&json!({"general": {"autoFence": "yes please"}}), &Context::default()).is_err());
    assert!(resolve(&json!([]), &Context::default()).is_err());
}

#[test]
fn namespaces_are_listed_in_black_or_in_white_but_not_in_both() {
    let white = settings(json!({"general": {"whiteNamespaceList": "a, b"}}));
    assert_eq!(white.white_namespaces.unwrap(), ["a", "b"]);
    let both = json!({"general": {"blackNamespaceList": "a", "whiteNamespaceList": "b"}});
    let error = resolve(&both, &Context::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "general.blackNamespaceList: expected nothing where whiteNamespaceList is set, got \"a\""
    );
}

#[test]
fn an_unknown_key_at_any_level_is_named_with_the_nearest_known_one_and_changes_nothing() {
    for (entry, warning) in [
        (json!({"generel": {}}), "generel is not a known setting and has no effect; did you mean general?"),
        (
            json!({"globalSidecarMode": "namespace"}),
            "globalSidecarMode is not a known setting and has no effect; did you mean general.globalSidecarMode?",
        ),
        (
            json!({"general": {"wormholePorts": ["1"]}}),
            "general.wormholePorts is not a known setting and has no effect; did you mean general.wormholePort?",
        ),
        (
            json!({"fence": {"autofence": true}}),
            "fence.autofence is not a known setting and has no effect; did you mean fence.autoFence?",
        ),
        (
            json!({"general": {"dispatches": [{"name": "a", "cluster": "c", "domain": ["x"]}]}}),
            "general.dispatches[0].domain is not a known setting and has no effect; did you mean general.dispatches[0].domains?",
        ),
        (
            json!({"general": {"domainAliases": [{"pattern": "a", "templates": ["b"], "patern": ""}]}}),
            "general.domainAliases[0].patern is not a known setting and has no effect; did you mean general.domainAliases[0].pattern?",
        ),
        (
            json!({"general": {"logLevel": "debug"}}),
            "general.logLevel is not a known setting and has no effect; did you mean global.log.logLevel?",
        ),
        (json!({"global": {"istioRevision": "x"}}), "global.istioRevision is not a known setting and has no effect"),
        (
            json!({"global": {"istiorev": "x"}}),
            "global.istiorev is not a known setting and has no effect; did you mean global.istioRev?",
        ),
        (json!({"global": {"log": {"level": "debug"}}}), "global.log.level is not a known setting and has no effect"),
        (
            json!({"global": {"log": {"logRotate": true, "logRotateConfig": {"maxSizeMb": 1}}}}),
            "global.log.logRotateConfig.maxSizeMb is not a known setting and has no effect; did you mean global.log.logRotateConfig.maxSizeMB?",
        ),
        (
            json!({"global": {"misc": {"auxAddr": ":1"}}}),
            "global.misc.auxAddr is not a known setting and has no effect; did you mean global.misc.aux-addr?",
        ),
        (
            json!({"metric": {"prometeus": {}}}),
            "metric.prometeus is not a known setting and has no effect; did you mean metric.prometheus?",
        ),
        (json!({"zzz": 1}), "zzz is not a known setting and has no effect"),
    ] {
        let resolved = resolve(&entry, &Context::default()).unwrap();
        assert_eq!(resolved.warnings, [warning], "{entry}");
        if !["dispatches", "domainAliases", "logRotate"].iter().any(|key| entry.to_string().contains(key)) {
            assert_eq!(resolved.settings, settings(json!({})), "{entry}");
        }
    }
}

#[test]
fn the_originals_spellings_are_no_oddity() {
    let entry = json!({
        "global": {"misc": {"enable-leader-election": "off", "enableLeaderElection": "off", "metrics-addr": ":8080"}, "multicluster": ""},
        "general": {"disableIpv4Passthrough": true, "render": "lazyload"},
    });
    assert_eq!(resolve(&entry, &Context::default()).unwrap().warnings, Vec::<String>::new());
}

#[test]
fn the_console_is_on_loopback_unless_it_is_moved_or_off() {
    let address = |misc: Value| settings(json!({"global": {"misc": misc}})).console_address;
    assert_eq!(address(json!({})).as_deref(), Some("127.0.0.1:8083"));
    assert_eq!(address(json!({"console-addr": ":9"})).as_deref(), Some(":9"));
    for off in [json!("off"), json!(false)] {
        assert_eq!(address(json!({"console-addr": off})), None);
    }
}

#[test]
fn two_sources_that_differ_are_refused_with_both_names() {
    let entry = json!({
        "general": {"metricSourceType": "accesslog"}, "global": {"misc": {"metricSourceType": "prometheus"}},
    });
    assert_eq!(
        resolve(&entry, &Context::default()).unwrap_err().to_string(),
        "module.global.misc.metricSourceType: expected the same source as general.metricSourceType, or nothing, got \"prometheus\""
    );
}

#[test]
fn a_controller_that_would_leave_its_own_fences_alone_is_refused() {
    let entry = |own: &str, auto: bool| json!({"general": {"autoFence": auto}, "global": {"istioRev": "1-18, 1-19", "strictRev": true, "selfResourceRev": own}});
    let found = settings(entry("1-19", true)).revisions;
    assert_eq!(found.managed, ["1-18", "1-19"]);
    assert!(resolve(&entry("", false), &Context::default()).is_ok());
    for own in ["", "1-20"] {
        let error = resolve(&entry(own, true), &Context::default()).unwrap_err().to_string();
        assert!(error.starts_with("module.global.selfResourceRev: expected a revision of global.istioRev"), "{error}");
    }
}

#[test]
fn each_value_that_cannot_work_is_named_by_path_and_remedy() {
    for (entry, message) in [
        (
            json!({"general": {"clusterGsNamespace": "My_NS"}}),
            "general.clusterGsNamespace: expected a namespace: at most 63 lower-case letters, digits and '-', not beginning or ending with '-', got \"My_NS\"",
        ),
        (
            json!({"general": {"namespace": ["ok", ""]}}),
            "general.namespace[1]: expected a namespace: at most 63 lower-case letters, digits and '-', not beginning or ending with '-', got \"\"",
        ),
        (
            json!({"general": {"blackNamespaceList": "a,B"}}),
            "general.blackNamespaceList: expected names of namespaces with commas between them, got \"a,B\"",
        ),
        (
            json!({"general": {"fenceLabelKeyAlias": "app:A b"}}),
            "general.fenceLabelKeyAlias: expected LABEL_KEY or LABEL_KEY:ALIAS, where the alias has lower-case letters, digits and '-', got \"app:A b\"",
        ),
        (
            json!({"general": {"fenceLabelKeyAlias": "a b"}}),
            "general.fenceLabelKeyAlias: expected a label key such as example.com/name, got \"a b\"",
        ),
        (
            json!({"general": {"managementSelectors": [{}, {"matchLabel": {}}]}}),
            "general.managementSelectors[1].matchLabel: expected matchLabels or matchExpressions only, got {}",
        ),
        (
            json!({"global": {"misc": {"aux-addr": "8081"}}}),
            "module.global.misc.aux-addr: expected HOST:PORT or :PORT, such as :8081, got \"8081\"",
        ),
        (
            json!({"global": {"misc": {"console-addr": "8083"}}}),
            "module.global.misc.console-addr: expected HOST:PORT or :PORT, such as 127.0.0.1:8083, got \"8083\"",
        ),
        (
            json!({"global": {"log": {"logLevel": "loud"}}}),
            "module.global.log.logLevel: expected trace, debug, info, warn, error, fatal or panic, got \"loud\"",
        ),
        (
            json!({"general": {"enforceAfter": "soon"}}),
            "general.enforceAfter: expected a time such as 12h or 3d, or off, got \"soon\"",
        ),
        (json!({"global": {"misc": 5}}), "module.global.misc: expected a map, got 5"),
        (json!({"global": "x"}), "module.global: expected a map, got \"x\""),
        (
            json!({"global": {"service": "a b"}}),
            "module.global.service: expected a label key such as example.com/name, got \"a b\"",
        ),
    ] {
        assert_eq!(resolve(&entry, &Context::default()).unwrap_err().to_string(), message, "{entry}");
    }
}

#[test]
fn the_alias_of_a_pod_label_is_app_unless_it_is_written() {
    let found = |text: &str| {
        settings(json!({"general": {"fenceLabelKeyAlias": text}})).pod_label.map(|label| (label.key, label.alias))
    };
    assert_eq!(found("example.com/name:team"), Some(("example.com/name".to_owned(), "team".to_owned())));
    assert_eq!(found("name"), Some(("name".to_owned(), "app".to_owned())));
    assert_eq!(found(""), None);
}

/// An entry in which every setting differs from its default.
fn all_different() -> Settings {
    settings(json!({
        "name": "other",
        "general": {
            "wormholePort": [1], "autoPort": true, "autoFence": true, "defaultFence": true, "blackNamespaceList": "a",
            "managementSelectors": [{}], "fenceLabelKeyAlias": "k", "enableShortDomain": true, "namespace": ["a"],
            "dispatches": [{"name": 1, "cluster": "c"}], "domainAliases": [{"pattern": "a"}], "stableHost": ["a.b"],
            "clusterGsNamespace": "gs", "passthroughByDefault": true, "addEnvHeaderViaLua": true, "proxyVersion": "1",
            "supportH2": true, "cleanupWormholePort": true, "globalSidecarMode": "namespace", "metricSourceType": "prometheus", "switching": "fastest",
            "policyDependencies": false, "accessLogSecurity": "strict", "fenceMode": "observe", "callerLogs": "on", "enforceAfter": "3d", "expireUnusedAfter": "720h",
        },
        "global": {
            "service": "k", "istioNamespace": "i", "slimeNamespace": "s", "istioRev": "r", "strictRev": true,
            "selfResourceRev": "r", "log": {"logLevel": "debug", "logRotate": true},
            "misc": {"metrics-addr": ":1", "aux-addr": ":2", "logSourcePort": ":3", "console-addr": ":4",
                "console-hosts": "a, b", "enableLeaderElection": "on"},
        },
        "metric": {"prometheus": {"address": "http://p", "handlers": {"h": {"query": "x"}}}},
    }))
}

#[test]
fn what_takes_a_restart_is_kept_and_named_and_everything_else_is_taken_over() {
    let (running, wanted) = (settings(json!({})), all_different());
    let (merged, kept) = wanted.clone().at_run_time(&running);
    let rows = running.entries().into_iter().zip(wanted.entries()).zip(merged.entries());
    for ((running, wanted), merged) in rows {
        if running.path != "general.whiteNamespaceList" {
            assert_ne!(running.value, wanted.value, "{}", running.path);
        }
        let restart = running.takes == Takes::Restart;
        assert_eq!(merged.value, if restart { running.value } else { wanted.value }, "{}", running.path);
        assert_eq!(kept.contains(&running.path), restart, "{}", running.path);
    }
    assert_eq!(merged.restart_fingerprint(), running.restart_fingerprint());
    assert_ne!(wanted.restart_fingerprint(), running.restart_fingerprint());
}

#[test]
fn the_effective_settings_are_one_readable_line() {
    let line = settings(json!({"general": {"autoFence": true, "wormholePort": ["9080"]}})).effective();
    assert!(line.starts_with("{\"general.accessLogSecurity\":\"off\",\"general.autoFence\":true,"), "{line}");
    assert!(
        line.contains("\"general.wormholePort\":[9080]") && line.contains("\"global.log.logLevel\":\"info\""),
        "{line}"
    );
    assert!(!line.contains('\n') && !line.contains("defaultFence"), "{line}");
}

#[test]
fn every_setting_is_in_the_reference() {
    let page = include_str!("../../../../docs/reference/config.md");
    for entry in settings(json!({})).entries() {
        let key = entry.path.rsplit('.').next().unwrap();
        assert!(
            ["`", "[]`"]
                .iter()
                .any(|end| page.contains(&format!("`{key}{end}")) || page.contains(&format!(".{key}{end}"))),
            "{} is not in docs/reference/config.md",
            entry.path
        );
    }
}

/// Any JSON, with keys and values that settings have more often than chance would have it.
fn any_json() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        "[ -~]{0,12}",
        Just("cluster".to_owned()),
        Just("a,b".to_owned()),
        Just(":80".to_owned()),
        Just("k:a".to_owned()),
        Just("In".to_owned()),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text.prop_map(Value::from),
    ];
    let key = prop::sample::select(vec![
        "general",
        "fence",
        "global",
        "misc",
        "log",
        "metric",
        "prometheus",
        "autoFence",
        "wormholePort",
        "dispatches",
        "domains",
        "domainAliases",
        "pattern",
        "templates",
        "stableHost",
        "managementSelectors",
        "matchLabels",
        "matchExpressions",
        "key",
        "operator",
        "values",
        "fenceLabelKeyAlias",
        "istioRev",
        "selfResourceRev",
        "logLevel",
        "aux-addr",
        "globalSidecarMode",
        "metricSourceType",
        "name",
        "cluster",
        "namespace",
        "blackNamespaceList",
        "\u{e9}",
    ]);
    leaf.prop_recursive(5, 64, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(key.clone().prop_map(str::to_owned), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_module_entry_gives_settings_or_one_error_with_its_path(entry in any_json()) {
        match resolve(&entry, &Context::default()) {
            Ok(resolved) => {
                prop_assert!(entry.is_object() || entry.is_null());
                prop_assert_eq!(resolved.settings.clone().at_run_time(&resolved.settings).1, Vec::<&str>::new());
            }
            Err(error) => {
                let places = ["module", "general", "metric.prometheus"];
                prop_assert!(places.iter().any(|place| error.path.starts_with(place)), "{}", error);
            }
        }
    }
}

#[test]
fn switches_are_lossless_unless_the_fastest_are_wanted() {
    assert_eq!(settings(json!({})).switching, Switching::Lossless);
    assert_eq!(settings(json!({"general": {"switching": "fastest"}})).switching, Switching::Fastest);
    let error = resolve(&json!({"general": {"switching": "fast"}}), &Context::default()).unwrap_err();
    assert_eq!(error.to_string(), "general.switching: expected lossless or fastest, got \"fast\"");
}

#[test]
fn fences_are_enforced_unless_another_mode_is_wanted() {
    let mode = |value: Value| settings(json!({"general": {"fenceMode": value}})).fence_mode;
    for (written, expected) in
        [("", Mode::Enforce), ("enforce", Mode::Enforce), ("recommend", Mode::Recommend), ("observe", Mode::Observe)]
    {
        assert_eq!(mode(json!(written)), expected);
    }
    let error = resolve(&json!({"general": {"fenceMode": "watch"}}), &Context::default()).unwrap_err();
    assert_eq!(error.to_string(), "general.fenceMode: expected enforce, recommend or observe, got \"watch\"");
}

#[test]
fn learned_hosts_stay_unless_a_time_is_given() {
    let after = |value: Value| settings(json!({"general": {"expireUnusedAfter": value}})).expire_unused_after;
    for stays in [json!(null), json!(""), json!("off"), json!(false)] {
        assert_eq!(after(stays), None);
    }
    assert_eq!(after(json!("720h")), Some(Duration::from_secs(30 * 24 * 3600)));
    assert_eq!(after(json!(10)), Some(Duration::from_secs(10)));
    for wrong in ["soon", "9s", "0"] {
        let error = resolve(&json!({"general": {"expireUnusedAfter": wrong}}), &Context::default()).unwrap_err();
        let expected = "general.expireUnusedAfter: expected a time of at least 10s such as 720h or 30d, or off, got";
        assert!(error.to_string().starts_with(expected), "{error}");
    }
}

#[test]
fn access_logs_are_plaintext_unless_mutual_tls_is_asked_for() {
    let security = |value: Value| settings(json!({"general": {"accessLogSecurity": value}})).log_security;
    for off in [json!(null), json!(""), json!("off"), json!(false)] {
        assert_eq!(security(off), LogSecurity::Off);
    }
    assert_eq!(security(json!("permissive")), LogSecurity::Permissive);
    assert_eq!(security(json!("strict")), LogSecurity::Strict);
    let error = resolve(&json!({"general": {"accessLogSecurity": "on"}}), &Context::default()).unwrap_err();
    assert_eq!(error.to_string(), "general.accessLogSecurity: expected off, permissive or strict, got \"on\"");
}

#[test]
fn policies_name_dependencies_unless_that_is_switched_off() {
    let dependencies = |entry: Value| settings(entry).policy_dependencies;
    assert!(dependencies(json!({})) && dependencies(json!({"general": {"policyDependencies": ""}})));
    assert!(dependencies(json!({"general": {"policyDependencies": "on"}})));
    assert!(!dependencies(json!({"general": {"policyDependencies": false}})));
    let error = resolve(&json!({"general": {"policyDependencies": "no"}}), &Context::default()).unwrap_err();
    assert_eq!(error.to_string(), "general.policyDependencies: expected true or false, got \"no\"");
}

#[test]
fn leader_election_is_off_unless_it_is_asked_for_and_its_lease_has_the_originals_name() {
    let lease = |entry: Value| settings(entry).lease;
    assert_eq!(lease(json!({})), None);
    assert_eq!(lease(json!({"global": {"misc": {"enableLeaderElection": "off"}}})), None);
    let on = json!({"enableLeaderElection": "on"});
    assert_eq!(lease(json!({"global": {"misc": on}})).as_deref(), Some("lazyload"));
    assert_eq!(lease(json!({"global": {"misc": {"enable-leader-election": "on"}}})).as_deref(), Some("lazyload"));
    assert_eq!(
        lease(json!({"name": "other", "global": {"misc": on, "deployRev": "blue"}})).as_deref(),
        Some("other-blue")
    );
    let error = resolve(&json!({"global": {"misc": on, "deployRev": "a_b"}}), &Context::default()).unwrap_err();
    assert!(error.to_string().starts_with("module.global.deployRev: expected lower-case letters"), "{error}");
}

#[test]
fn a_fence_has_its_sidecar_at_once_unless_it_is_to_be_known_for_a_time() {
    for (value, seconds) in [
        (json!(null), 0),
        (json!("72h"), 259_200),
        (json!("3d"), 259_200),
        (json!("1h30m"), 5_400),
        (json!(90), 90),
        (json!("off"), 0),
        (json!(false), 0),
        (json!("0"), 0),
    ] {
        assert_eq!(settings(json!({"general": {"enforceAfter": value}})).enforce_after, seconds, "{value}");
    }
}

#[test]
fn waiting_for_what_is_not_heard_is_warned_of() {
    let warnings = |entry: Value| resolve(&entry, &Context::default()).unwrap().warnings;
    let query = "sum(x{a=\"$source_app\"})by(destination_service)";
    let prometheus = json!({"prometheus": {"address": "http://p", "handlers": {"h": {"query": query}}}});
    for (entry, expected) in [
        (json!({"general": {"enforceAfter": "3d"}}), 1),
        (json!({"general": {"enforceAfter": "3d", "callerLogs": "on"}}), 0),
        (json!({"general": {"enforceAfter": "3d"}, "metric": prometheus}), 0),
        (json!({"general": {"enforceAfter": "off"}}), 0),
    ] {
        let found = warnings(entry.clone());
        assert_eq!(found.len(), expected, "{entry}: {found:?}");
        assert!(found.iter().all(|warning| warning.starts_with("general.enforceAfter waits for nothing")), "{found:?}");
    }
}
