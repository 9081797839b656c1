use super::*;

/// Answers when told.
async fn patient() -> (Upstream, watch::Sender<bool>) {
    let (go_tx, go_rx) = watch::channel(false);
    let upstream = Upstream::playing(move |mut conn, _| {
        let mut go_rx = go_rx.clone();
        async move {
            conn.head().await;
            if go_rx.wait_for(|go| *go).await.is_ok() {
                conn.send(OK).await;
            }
        }
    });
    (upstream.await, go_tx)
}

#[tokio::test]
async fn a_request_in_flight_is_answered_and_then_the_end_is_clean() {
    let (rig, (upstream, go)) = (Rig::start().await, patient().await);
    let mut client = rig.connect().await;
    client.send(&request("GET /", upstream.address, "")).await;
    eventually("the request at the upstream", || upstream.connections() == 1).await;
    rig.shutdown.cancel();
    eventually("the listener to close", || std::net::TcpStream::connect(rig.address).is_err()).await;
    go.send_replace(true);
    let answer = client.rest().await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("hi"), "{answer}");
    assert!(answer.contains("connection: close\r\n"), "{answer}");
    within("the end", rig.ended).await.unwrap();
}

#[tokio::test]
async fn an_idle_connection_does_not_hold_up_the_end() {
    let (rig, upstream) = (Rig::start().await, Upstream::answering(OK).await);
    let mut client = rig.connect().await;
    client.send(&request("GET /", upstream.address, "")).await;
    assert!(client.until("hi").await.is_some());
    rig.shutdown.cancel();
    within("the end", rig.ended).await.unwrap();
    assert_eq!(client.rest().await, "");
}

#[tokio::test]
async fn during_the_grace_it_is_not_ready_but_serves_and_asks_to_connect_elsewhere() {
    let limits = Limits { drain_grace: GIVE_UP * 10, ..limits() };
    let (rig, upstream) = (Rig::with(limits, None).await, Upstream::answering(OK).await);
    assert!(rig.readiness.awaited().is_empty());
    rig.shutdown.cancel();
    eventually("not ready", || !rig.readiness.awaited().is_empty()).await;
    let mut client = rig.connect().await;
    client.send(&request("GET /", upstream.address, "")).await;
    let answer = client.rest().await;
    assert!(answer.contains("connection: close\r\n") && answer.ends_with("hi"), "{answer}");
    rig.ended.abort();
}

#[tokio::test]
async fn what_does_not_finish_is_cut_at_the_deadline() {
    let limits = Limits { drain_in_flight: Duration::from_millis(20), ..limits() };
    let (rig, (upstream, _go)) = (Rig::with(limits, None).await, patient().await);
    let mut client = rig.connect().await;
    client.send(&request("GET /", upstream.address, "")).await;
    eventually("the request at the upstream", || upstream.connections() == 1).await;
    rig.shutdown.cancel();
    within("the end", rig.ended).await.unwrap();
    assert_eq!(client.rest().await, "");
}

#[tokio::test]
async fn under_load_no_request_is_lost_on_any_event_loop() {
    // Each client asks at least once within the grace, also on a machine that is busy: who asks at its very end may meet the closing.
    let limits = Limits { drain_grace: Duration::from_secs(1), ..limits() };
    for cores in [1, 3] {
        drained_under_load(Rig::on_cores(cores, limits).await).await;
    }
}

async fn drained_under_load(rig: Rig) {
    let upstream = Upstream::answering(OK).await;
    let mut clients = Vec::new();
    for _ in 0..8 {
        let mut client = rig.connect().await;
        let (address, readiness) = (upstream.address, rig.readiness.clone());
        clients.push(tokio::spawn(async move {
            loop {
                // Once it is told, each answer is to say so.
                let ending = !readiness.awaited().is_empty();
                client.send(&request("GET /", address, "")).await;
                let answer = client.until("hi").await.expect("an answer to each request before connection: close");
                assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
                if answer.contains("connection: close") {
                    return;
                }
                assert!(!ending, "asked after the end began, but not told to go");
            }
        }));
    }
    eventually("some traffic", || upstream.heads().len() > 100).await;
    rig.shutdown.cancel();
    for client in clients {
        client.await.unwrap();
    }
    within("the end", rig.ended).await.unwrap();
}
