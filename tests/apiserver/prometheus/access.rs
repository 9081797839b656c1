//! A Prometheus behind TLS and a password, by its own `web.yml`.

use std::path::Path;

use serde_json::json;

use super::super::DEADLINE;
use super::super::cluster::Cluster;
use super::exporter::Exporter;
use super::server::Prometheus;
use super::{host, metric, start};
use crate::support::process::run;
use crate::support::waiting::eventually;

const PASSWORD: &str = "open sesame";
/// Of that password, as cheap as bcrypt allows.
const HASH: &str = "$2b$04$abcdefghijklmnopqrstuu/LVz6MZlItEy42I2juLihZ66HnQx/cy";

/// An authority `ca.crt`, and `web.yml` with a certificate of it for 127.0.0.1.
fn write_pki(folder: &Path) {
    let path = |name: &str| folder.join(name).display().to_string();
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"];
    let openssl = |arguments: &[&str]| run("openssl", &[&["req", "-x509"], &key[..], arguments].concat()).unwrap();
    openssl(&["-subj", "/CN=test-ca", "-keyout", &path("ca.key"), "-out", &path("ca.crt")]);
    let extensions = ["-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE"];
    let signed = ["-CA", &path("ca.crt"), "-CAkey", &path("ca.key")];
    let files = ["-subj", "/CN=prometheus", "-keyout", &path("web.key"), "-out", &path("web.crt")];
    openssl(&[&extensions[..], &signed, &files].concat());
    let web = format!(
        "tls_server_config: {{cert_file: {}, key_file: {}}}\nbasic_auth_users: {{lazyload: '{HASH}'}}\n",
        path("web.crt"),
        path("web.key")
    );
    std::fs::write(folder.join("web.yml"), web).unwrap();
}

#[tokio::test]
async fn a_prometheus_behind_tls_and_a_password_is_asked_as_soon_as_the_files_are_right() {
    let Some(cluster) = Cluster::start("prometheus access").await else { return };
    let exporter = Exporter::start().await;
    let folder = cluster.folder();
    write_pki(folder);
    let web = Some(folder.join("web.yml"));
    let Some(prometheus) = Prometheus::start("access", folder, exporter.port, web).await else { return };
    cluster.objects.fence("default", "a", json!({"enable": true})).await;
    exporter.requests("a", &host("b"), 5);
    let (password, authority) = (folder.join("password"), folder.join("authority.crt"));
    // Another authority first, and another password.
    std::fs::copy(folder.join("pki/apiserver.crt"), &authority).unwrap();
    std::fs::write(&password, "wrong\n").unwrap();
    let access = json!({"basicAuth": {"username": "lazyload", "passwordFile": password}, "caFile": authority});
    let controller = start(&cluster, &metric(&format!("https://{}", prometheus.address()), access));
    controller.ready().await;
    controller.counts("lazyload_prometheus_queries{outcome=\"unreachable\"}", 1.0).await;
    assert!(controller.log().contains("certificate"), "{}", controller.log());
    std::fs::copy(folder.join("ca.crt"), &authority).unwrap();
    controller.counts("lazyload_prometheus_queries{outcome=\"unauthorized\"}", 1.0).await;
    std::fs::write(&password, format!("{PASSWORD}\n")).unwrap();
    eventually("its host", DEADLINE, || async {
        let hosts = cluster.objects.hosts("default", "a").await.unwrap_or_default();
        if hosts.contains(&format!("*/{}", host("b"))) { Ok(()) } else { Err((hosts, controller.log())) }
    })
    .await;
    let log = controller.log();
    assert!(!log.contains(PASSWORD) && !log.contains("wrong\\n"), "{log}");
    // A password that is gone is a failure like any other, and takes nothing away.
    std::fs::remove_file(&password).unwrap();
    controller.counts("lazyload_prometheus_queries{outcome=\"access_file\"}", 1.0).await;
    assert!(controller.log().contains("failed to read basicAuth.passwordFile"), "{}", controller.log());
    assert!(cluster.objects.hosts("default", "a").await.unwrap().contains(&format!("*/{}", host("b"))));
}
