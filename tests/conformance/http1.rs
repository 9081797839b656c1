//! HTTP/1: what is passed on as it is, what ends at a proxy, and how a message ends.

use super::conn::{Conn, all_lines, ask, begins, has, lacks, lines, request};
use super::destination::{Destination, OK};
use super::proxy::{Kind, Proxy};
use super::table::{compare, rows};

type Checked = anyhow::Result<()>;

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_http1_arrive_as_they_were_sent() {
    let rows = rows![
        "method, path and query arrive as written" => target_untouched,
        "an absolute-form target outranks Host and arrives in origin form" => absolute_form,
        "nothing is added to a request, nothing is missing" => request_headers,
        "nothing is added to an answer, nothing is missing" => answer_headers,
        "trace headers pass untouched (W3C, B3, x-request-id)" => trace_headers,
        "hop-by-hop headers end here, in both directions" => hop_by_hop,
        "Slime's headers reach neither destination nor client" => slime_headers,
        "a short Host is completed with the caller's namespace, port kept" => short_name,
        "redirects are passed on, not followed" => redirect,
        "encoded bodies stay encoded, Accept-Encoding is not invented" => encoding,
        "HEAD, 204 and 304 keep their headers and the connection" => no_body,
        "304 keeps a Content-Length" => length_of_304; "the HTTP library leaves it out; RFC 9110 section 8.6 allows to",
        "chunked both ways, with trailers both ways" => chunked,
        "an answer without a length ends with its connection" => until_close,
        "100 (Continue) comes before the body is sent" => continues,
        "who expects 100 (Continue) may be refused instead" => continue_refused,
        "103 (Early Hints) is passed on" => early_hints; "the HTTP library cannot send it; the final answer is as it would be",
        "HTTP/1.0: an answer without chunks that ends with the connection" => http10,
        "HTTP/1.0 with keep-alive: a length, and the connection stays" => http10_kept,
        "pipelined requests are answered in order" => pipelined,
        "requests one after the other share a connection to the destination" => pooled,
        "a stale connection fails no request that may be sent again" => stale,
        "Upgrade: h2c is answered in HTTP/1.1, body and all" => upgrade_h2c,
        "an upgrade to WebSocket becomes a tunnel" => websocket,
        "any other upgrade becomes a tunnel" => other_upgrade,
        "an upgrade that the destination ignores is an answer like others" => upgrade_ignored,
        "CONNECT is refused" => connect,
        "OPTIONS * arrives as such" => asterisk,
        "a destination with an IPv6 address is reached" => ipv6,
    ];
    compare("HTTP 1", rows).await;
}

async fn target_untouched(proxy: &Proxy) -> Checked {
    let destination = Destination::answering(OK).await?;
    let target = "//a/../b/%2e%2E/c;d=e//?f=%20g&h=?";
    begins(&ask(proxy, &format!("PURGE {target}"), destination.address, "").await?, "HTTP/1.1 200")?;
    begins(&destination.noted(1).await?[0], &format!("PURGE {target} HTTP/1.1\r\n"))
}

async fn absolute_form(proxy: &Proxy) -> Checked {
    let destination = Destination::answering(OK).await?;
    let answer = ask(proxy, "GET http://details.other:81/x?y", destination.address, "").await?;
    begins(&answer, "HTTP/1.1 200")?;
    let head = &destination.noted(1).await?[0];
    begins(head, "GET /x?y HTTP/1.1\r\n")?;
    has(&head.to_lowercase(), "host: details.other:81\r\n")
}

async fn request_headers(proxy: &Proxy) -> Checked {
    let destination = Destination::answering(OK).await?;
    begins(
        &ask(proxy, "GET /", destination.address, "x-b: 2\r\nx-a: 1\r\nx-a: 3\r\ncookie: c=d; e\r\n").await?,
        "HTTP/1.1 200",
    )?;
    let expected = ["cookie: c=d; e", "host: reviews.default:9080", "x-a: 1", "x-a: 3", "x-b: 2"];
    same(&all_lines(&destination.noted(1).await?[0]), &expected)
}

async fn answer_headers(proxy: &Proxy) -> Checked {
    let answer =
        "HTTP/1.1 299 Odd\r\ncontent-length: 2\r\nset-cookie: a=b\r\nset-cookie: c=d\r\nx-server: mine\r\n\r\nhi";
    let destination = Destination::answering(answer).await?;
    let mut client = Conn::to(proxy).await?;
    client.send(request("GET /", destination.address, "")).await?;
    let head = client.head().await?;
    begins(&head, "HTTP/1.1 299 ")?;
    same(&all_lines(&head), &["content-length: 2", "set-cookie: a=b", "set-cookie: c=d", "x-server: mine"])
}

async fn trace_headers(proxy: &Proxy) -> Checked {
    let traced = [
        "b3: 80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-1-05e3ac9a4f6e3b90",
        "baggage: user=alice,tenant=a%20b",
        "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "tracestate: rojo=00f067aa0ba902b7,congo=t61rcWkgMzE",
        "x-b3-parentspanid: 05e3ac9a4f6e3b90",
        "x-b3-sampled: 1",
        "x-b3-spanid: e457b5a2e4d86bd1",
        "x-b3-traceid: 80f198ee56343ba864fe8b2a57d3eff7",
        "x-ot-span-context: a;b;c",
        "x-request-id: 5b2c6d1e-0000-4000-8000-1234567890ab",
    ];
    let destination = Destination::answering(OK).await?;
    let sent: String = traced.iter().map(|line| format!("{line}\r\n")).collect();
    begins(&ask(proxy, "GET /", destination.address, &sent).await?, "HTTP/1.1 200")?;
    let mut expected = traced.to_vec();
    expected.push("host: reviews.default:9080");
    expected.sort_unstable();
    same(&lines(&destination.noted(1).await?[0]), &expected)
}

async fn hop_by_hop(proxy: &Proxy) -> Checked {
    let ending = "keep-alive: timeout=5\r\nproxy-connection: keep-alive\r\nx-mine: 1\r\n";
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: x-mine\r\n{ending}x-yours: 1\r\n\r\nhi");
    let destination = Destination::answering(answer).await?;
    let mut client = Conn::to(proxy).await?;
    let more = format!("connection: keep-alive, X-Mine\r\n{ending}te: gzip, trailers\r\nx-yours: 1\r\n");
    client.send(request("GET /", destination.address, &more)).await?;
    let head = client.head().await?;
    same(&lines(&head), &["content-length: 2", "x-yours: 1"])?;
    same(&lines(&destination.noted(1).await?[0]), &["host: reviews.default:9080", "te: trailers", "x-yours: 1"])
}

async fn slime_headers(proxy: &Proxy) -> Checked {
    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nslime-orig-dest: 1.2.3.4:5\r\nSlime-Source-Ns: a\r\n\r\nhi";
    let destination = Destination::answering(answer).await?;
    let answer = ask(proxy, "GET /", destination.address, "slime-source-ns: default\r\n").await?;
    begins(&answer, "HTTP/1.1 200")?;
    lacks(&destination.noted(1).await?[0], "slime")?;
    lacks(&answer, "slime")
}

async fn short_name(proxy: &Proxy) -> Checked {
    let destination = Destination::answering(OK).await?;
    for host in ["ratings:9080", "ratings"] {
        let head = format!("GET / HTTP/1.1\r\nhost: {host}\r\nslime-orig-dest: {}\r\n", destination.address);
        let mut client = Conn::to(proxy).await?;
        client.send(head + "slime-source-ns: shop\r\nconnection: close\r\n\r\n").await?;
        client.rest().await?;
    }
    let notes = destination.noted(2).await?;
    has(&notes[0], "host: ratings.shop:9080\r\n")?;
    has(&notes[1], "host: ratings.shop\r\n")
}

async fn redirect(proxy: &Proxy) -> Checked {
    let answer = "HTTP/1.1 302 Found\r\nlocation: http://elsewhere/\r\ncontent-length: 0\r\n\r\n";
    let destination = Destination::answering(answer).await?;
    let answer = ask(proxy, "GET /", destination.address, "").await?;
    begins(&answer, "HTTP/1.1 302")?;
    has(&answer, "location: http://elsewhere/\r\n")
}

async fn encoding(proxy: &Proxy) -> Checked {
    let answer = "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 4\r\n\r\n\x1fgz.";
    let destination = Destination::answering(answer).await?;
    let answer = ask(proxy, "GET /", destination.address, "").await?;
    has(&answer, "content-encoding: gzip\r\n")?;
    anyhow::ensure!(answer.ends_with("\r\n\r\n\x1fgz."), "{answer:?}");
    lacks(&destination.noted(1).await?[0], "accept-encoding")
}

async fn no_body(proxy: &Proxy) -> Checked {
    for (method, answer) in [
        ("HEAD", "HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n"),
        ("HEAD", "HTTP/1.1 200 OK\r\nx-length: unknown\r\n\r\n"),
        ("GET", "HTTP/1.1 204 No Content\r\nx-a: b\r\n\r\n"),
        ("GET", "HTTP/1.1 304 Not Modified\r\netag: \"x\"\r\n\r\n"),
    ] {
        let destination = Destination::answering(answer).await?;
        let mut client = Conn::to(proxy).await?;
        for _ in 0..2 {
            client.send(request(&format!("{method} /"), destination.address, "")).await?;
            let head = client.head().await?;
            let without_chunks: Vec<_> = lines(&head)
                .into_iter()
                .filter(|line| method != "HEAD" || line != "transfer-encoding: chunked")
                .collect();
            let expected = lines(answer);
            anyhow::ensure!(without_chunks == expected, "{method}: {:?} instead of {expected:?}", lines(&head));
        }
    }
    Ok(())
}

async fn length_of_304(proxy: &Proxy) -> Checked {
    let destination = Destination::answering("HTTP/1.1 304 Not Modified\r\ncontent-length: 7\r\n\r\n").await?;
    has(&ask(proxy, "GET /", destination.address, "").await?, "content-length: 7\r\n")
}

async fn chunked(proxy: &Proxy) -> Checked {
    let destination = Destination::playing(|mut conn, _, notes| async move {
        notes.add(conn.head().await?);
        notes.add(conn.until("0\r\n").await? + &conn.head().await?);
        let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n";
        conn.send(format!("{head}3\r\ndef\r\n0\r\nx-sum: 2\r\n\r\n")).await
    })
    .await?;
    let mut client = Conn::to(proxy).await?;
    let more = "transfer-encoding: chunked\r\ntrailer: x-sum\r\nte: trailers\r\n";
    client.send(request("POST /", destination.address, more) + "3\r\nabc\r\n0\r\nx-sum: 1\r\n\r\n").await?;
    let head = client.head().await?;
    has(&head.to_lowercase(), "transfer-encoding: chunked\r\n")?;
    has(&client.head().await?, "3\r\ndef\r\n0\r\nx-sum: 2\r\n\r\n")?;
    let notes = destination.noted(2).await?;
    lacks(&notes[0], "content-length")?;
    has(&notes[1], "3\r\nabc\r\n0\r\nx-sum: 1\r\n\r\n")
}

async fn until_close(proxy: &Proxy) -> Checked {
    let destination = Destination::playing(|mut conn, _, _| async move {
        conn.head().await?;
        conn.send("HTTP/1.1 200 OK\r\n\r\nto the end").await
    })
    .await?;
    let mut client = Conn::to(proxy).await?;
    client.send(request("GET /", destination.address, "")).await?;
    let head = client.head().await?.to_lowercase();
    // With chunks the end is certain; without, it is the connection's.
    if head.contains("transfer-encoding: chunked") {
        has(&client.until("0\r\n\r\n").await?, "to the end")
    } else {
        has(&client.rest().await?, "to the end")
    }
}

async fn continues(proxy: &Proxy) -> Checked {
    let destination = Destination::playing(|mut conn, _, _| async move {
        conn.head().await?;
        conn.send("HTTP/1.1 100 Continue\r\n\r\n").await?;
        conn.until("body").await?;
        conn.send(OK).await
    })
    .await?;
    let mut client = Conn::to(proxy).await?;
    client.send(request("PUT /", destination.address, "expect: 100-continue\r\ncontent-length: 4\r\n")).await?;
    begins(&client.head().await?, "HTTP/1.1 100")?;
    client.send("body").await?;
    begins(&client.head().await?, "HTTP/1.1 200")
}

async fn continue_refused(proxy: &Proxy) -> Checked {
    let destination = Destination::playing(|mut conn, _, _| async move {
        let head = conn.head().await?;
        has(&head, "expect: 100-continue\r\n")?;
        conn.send("HTTP/1.1 417 Expectation Failed\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno").await
    })
    .await?;
    let mut client = Conn::to(proxy).await?;
    client.send(request("PUT /", destination.address, "expect: 100-continue\r\ncontent-length: 4\r\n")).await?;
    let head = client.head().await?;
    // A proxy may tell the client to go on by itself; what the destination says still counts.
    let head = if head.starts_with("HTTP/1.1 100") { client.head().await? } else { head };
    begins(&head, "HTTP/1.1 417")
}

async fn early_hints(proxy: &Proxy) -> Checked {
    let destination = Destination::playing(|mut conn, _, _| async move {
        conn.head().await?;
        conn.send("HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\n\r\n").await?;
        conn.send(OK).await
    })
    .await?;
    let mut client = Conn::to(proxy).await?;
    client.send(request("GET /", destination.address, "")).await?;
    let head = client.head().await?;
    begins(&head, "HTTP/1.1 103")?;
    has(&head, "link: </a.css>; rel=preload\r\n")?;
    begins(&client.head().await?, "HTTP/1.1 200")
}

async fn http10(proxy: &Proxy) -> Checked {
    let destination =
        Destination::answering("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n").await?;
    let mut client = Conn::to(proxy).await?;
    client.send(format!("GET / HTTP/1.0\r\nhost: a.b\r\nslime-orig-dest: {}\r\n\r\n", destination.address)).await?;
    let answer = client.rest().await?;
    lacks(&answer, "transfer-encoding")?;
    anyhow::ensure!(answer.starts_with("HTTP/1.") && answer.ends_with("\r\n\r\nhi"), "{answer:?}");
    Ok(())
}

async fn http10_kept(proxy: &Proxy) -> Checked {
    let destination = Destination::answering(OK).await?;
    let mut client = Conn::to(proxy).await?;
    for _ in 0..2 {
        let head = format!("GET / HTTP/1.0\r\nhost: a.b\r\nslime-orig-dest: {}\r\n", destination.address);
        client.send(head + "connection: keep-alive\r\n\r\n").await?;
        let answer = client.until("\r\n\r\nhi").await?.to_lowercase();
        has(&answer, "content-length: 2\r\n")?;
        has(&answer, "connection: keep-alive\r\n")?;
    }
    Ok(())
}

async fn pipelined(proxy: &Proxy) -> Checked {
    let destination = Destination::playing(|mut conn, _, _| async move {
        while let Ok(head) = conn.head().await {
            let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
            if path == "/1" {
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
            conn.send(format!("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{path}")).await?;
        }
        Ok(())
    })
    .await?;
    let mut client = Conn::to(proxy).await?;
    let all: String = (1..=3).map(|number| request(&format!("GET /{number}"), destination.address, "")).collect();
    client.send(all).await?;
    for number in 1..=3 {
        let answer = client.until(&format!("\r\n\r\n/{number}")).await?;
        anyhow::ensure!(answer.matches("HTTP/1.1 200").count() == 1, "{answer:?}");
    }
    Ok(())
}

async fn pooled(proxy: &Proxy) -> Checked {
    let destination = Destination::answering(OK).await?;
    for _ in 0..3 {
        let mut client = Conn::to(proxy).await?;
        client.send(request("GET /", destination.address, "")).await?;
        client.until("\r\n\r\nhi").await?;
    }
    anyhow::ensure!(destination.connections() == 1, "{} connections", destination.connections());
    Ok(())
}

async fn stale(proxy: &Proxy) -> Checked {
    // Each connection answers once, and closes when it is asked again: at that moment, no sooner.
    let destination = Destination::playing(|mut conn, _, _| async move {
        conn.head().await?;
        conn.send(OK).await?;
        conn.head().await.map(drop)
    })
    .await?;
    let mut client = Conn::to(proxy).await?;
    for number in 1..=4 {
        client.send(request("GET /", destination.address, "")).await?;
        let head = client.head().await?;
        anyhow::ensure!(head.starts_with("HTTP/1.1 200"), "request {number}: {:?}", head.lines().next());
        client.until("hi").await?;
    }
    Ok(())
}

async fn upgrade_h2c(proxy: &Proxy) -> Checked {
    let destination = Destination::playing(|mut conn, _, notes| async move {
        notes.add(conn.head().await?);
        conn.until("body").await?;
        conn.send(OK).await
    })
    .await?;
    let asked = "connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n";
    let mut client = Conn::to(proxy).await?;
    client.send(request("POST /", destination.address, &format!("{asked}content-length: 4\r\n")) + "body").await?;
    begins(&client.head().await?, "HTTP/1.1 200")?;
    let head = &destination.noted(1).await?[0];
    lacks(head, "upgrade")?;
    lacks(head, "http2-settings")
}

async fn websocket(proxy: &Proxy) -> Checked {
    tunnel(proxy, "websocket").await
}

async fn other_upgrade(proxy: &Proxy) -> Checked {
    tunnel(proxy, "raw/1").await
}

async fn tunnel(proxy: &Proxy, protocol: &'static str) -> Checked {
    let destination = Destination::playing(move |mut conn, _, _| async move {
        let head = conn.head().await?.to_lowercase();
        has(&head, &format!("upgrade: {protocol}\r\n"))?;
        has(&head, "connection: upgrade\r\n")?;
        let answer = format!("HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: {protocol}\r\n\r\n");
        // The first bytes of the other protocol in the same write.
        conn.send(answer + "hello").await?;
        let said = conn.until(".").await?;
        conn.send(said.to_uppercase()).await
    })
    .await?;
    let mut client = Conn::to(proxy).await?;
    let more = format!("connection: keep-alive, Upgrade\r\nupgrade: {protocol}\r\n");
    client.send(request("GET /", destination.address, &more)).await?;
    let head = client.head().await?;
    begins(&head, "HTTP/1.1 101")?;
    has(&head.to_lowercase(), &format!("upgrade: {protocol}\r\n"))?;
    client.until("hello").await?;
    client.send("echo.").await?;
    let rest = client.rest().await?;
    anyhow::ensure!(rest == "ECHO.", "{rest:?}");
    Ok(())
}

async fn upgrade_ignored(proxy: &Proxy) -> Checked {
    let destination = Destination::answering(OK).await?;
    let mut client = Conn::to(proxy).await?;
    for more in ["connection: upgrade\r\nupgrade: websocket\r\n", ""] {
        client.send(request("GET /", destination.address, more)).await?;
        let answer = client.until("\r\n\r\nhi").await?;
        begins(&answer, "HTTP/1.1 200")?;
    }
    Ok(())
}

async fn connect(proxy: &Proxy) -> Checked {
    let destination = Destination::answering(OK).await?;
    let mut client = Conn::to(proxy).await?;
    let to = destination.address;
    client.send(format!("CONNECT {to} HTTP/1.1\r\nhost: {to}\r\nslime-orig-dest: {to}\r\n\r\n")).await?;
    let head = client.head().await?;
    let status = head.get(9..12).unwrap_or_default();
    anyhow::ensure!(status.starts_with(['4', '5']), "{head:?}");
    if proxy.kind == Kind::Ours {
        has(&head, "x-lazyload-failure: client; ")?;
    }
    anyhow::ensure!(destination.connections() == 0, "a connection was made");
    Ok(())
}

async fn asterisk(proxy: &Proxy) -> Checked {
    let destination = Destination::answering(OK).await?;
    begins(&ask(proxy, "OPTIONS *", destination.address, "").await?, "HTTP/1.1 200")?;
    begins(&destination.noted(1).await?[0], "OPTIONS * HTTP/1.1\r\n")
}

async fn ipv6(proxy: &Proxy) -> Checked {
    let destination = Destination::playing_at("[::1]:0", |mut conn, _, _| async move {
        conn.head().await?;
        conn.send(OK).await
    })
    .await?;
    begins(&ask(proxy, "GET /", destination.address, "").await?, "HTTP/1.1 200")
}

fn same(seen: &[String], expected: &[&str]) -> Checked {
    anyhow::ensure!(seen == expected, "{seen:?} instead of {expected:?}");
    Ok(())
}
