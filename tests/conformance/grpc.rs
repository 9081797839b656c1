//! gRPC's own interoperability tests, its Go client and server, with the proxy in between.

use std::time::Duration;

use super::programs::{Serving, run};
use super::proxy::program;
use super::table::{Row, compare};

const CASES: [&str; 15] = [
    "empty_unary",
    "large_unary",
    "client_streaming",
    "server_streaming",
    "ping_pong",
    "empty_stream",
    "timeout_on_sleeping_server",
    "cancel_after_begin",
    "cancel_after_first_response",
    "status_code_and_message",
    "special_status_message",
    "custom_metadata",
    "unimplemented_method",
    "unimplemented_service",
    "rpc_soak",
];

#[tokio::test(flavor = "multi_thread")]
async fn grpcs_interoperability_tests_pass() {
    let rows = CASES.into_iter().map(|case| Row {
        what: case.to_owned(),
        known: None,
        check: Box::new(move |proxy| {
            Box::pin(async move {
                let server = Serving::start("interop-server", |port| vec![format!("--port={port}")]).await;
                let arguments = [
                    "--server_host=127.0.0.1".to_owned(),
                    format!("--server_port={}", proxy.address.port()),
                    format!("--additional_metadata=slime-orig-dest:{};slime-source-ns:shop", server.address),
                    format!("--test_case={case}"),
                    "--soak_iterations=100".to_owned(),
                ];
                let ended = run(&program("interop-client"), &arguments, Duration::from_secs(40)).await?;
                anyhow::ensure!(ended.success, "{}", ended.stderr.lines().last().unwrap_or("failed without a word"));
                Ok(())
            })
        }),
    });
    compare("gRPC interop", rows.collect()).await;
}
