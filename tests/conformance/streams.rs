//! Bodies on their way: nothing waits for its end, nothing is kept for nobody, and a broken one does not look whole.

use std::time::Duration;

use tokio::io::AsyncWriteExt;

use super::conn::{Conn, begins, has, request};
use super::destination::Destination;
use super::proxy::Proxy;
use super::table::{compare, rows};

type Checked = anyhow::Result<()>;

/// More than all buffers of a proxy and of the system hold together.
const ENDLESS: usize = 256 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn bodies_stream() {
    let rows = rows![
        "server-sent events arrive one by one" => events,
        "the start of an upload arrives before its end" => upload,
        "an upload and its answer flow at once" => both_ways,
        "an answer before the end of the upload arrives (413), the destination goes on reading" => early,
        "an answer before the end of the upload arrives (413), the destination closes" => early_and_closed,
        "an answer that nobody reads is not fetched" => unread,
        "an upload that nobody reads is not fetched" => unread_upload,
        "an answer of a gibibyte arrives whole" => gibibyte,
        "an answer that breaks off does not look complete (chunks)" => broken_chunks,
        "an answer that breaks off does not look complete (length)" => broken_length,
        "an upload that breaks off does not look complete" => broken_upload,
        "a client that goes away ends the exchange at the destination" => gone,
        "one side of a tunnel may close and still hear the other" => half_closed_tunnel,
    ];
    compare("Streams", rows).await;
}

async fn events(proxy: &Proxy) -> Checked {
    let destination = Destination::playing(|mut conn, _, _| async move {
        conn.head().await?;
        conn.send("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n").await?;
        for _ in 0..3 {
            conn.send("8\r\ndata: a\n\r\n").await?;
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        conn.rest().await.map(drop)
    })
    .await?;
    let mut client = Conn::to(proxy).await?;
    client.send(request("GET /", destination.address, "")).await?;
    for _ in 0..3 {
        client.until("data: a\n").await?;
    }
    Ok(())
}

async fn upload(proxy: &Proxy) -> Checked {
    let destination = Destination::playing(|mut conn, _, _| async move {
        conn.head().await?;
        conn.until("half").await?;
        conn.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n").await?;
        conn.until("rest").await?;
        conn.send("hi").await
    })
    .await?;
    let mut client = Conn::to(proxy).await?;
    client.send(request("POST /", destination.address, "content-length: 8\r\n") + "half").await?;
    begins(&client.head().await?, "HTTP/1.1 200")?;
    client.send("rest").await?;
    client.until("hi").await.map(drop)
}

async fn both_ways(proxy: &Proxy) -> Checked {
    let destination = Destination::playing(|mut conn, _, _| async move {
        conn.head().await?;
        conn.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await?;
        loop {
            let chunk = conn.until("\r\n").await? + &conn.until("\r\n").await?;
            conn.send(&chunk).await?;
            if chunk.starts_with("0\r\n") {
                return Ok(());
            }
        }
    })
    .await?;
    let mut client = Conn::to(proxy).await?;
    client.send(request("POST /", destination.address, "transfer-encoding: chunked\r\n")).await?;
    begins(&client.head().await?, "HTTP/1.1 200")?;
    for word in ["one", "two", "six"] {
        client.send(format!("3\r\n{word}\r\n")).await?;
        client.until(&format!("3\r\n{word}\r\n")).await?;
    }
    client.send("0\r\n\r\n").await?;
    client.until("0\r\n\r\n").await.map(drop)
}

const TOO_LARGE: &str = "HTTP/1.1 413 Payload Too Large\r\ncontent-length: 2\r\n";

async fn early(proxy: &Proxy) -> Checked {
    let destination = Destination::playing(|mut conn, _, _| async move {
        conn.head().await?;
        conn.send(format!("{TOO_LARGE}\r\nno")).await?;
        conn.drained().await;
        Ok(())
    })
    .await?;
    told_to_stop(proxy, &destination).await
}

async fn early_and_closed(proxy: &Proxy) -> Checked {
    let destination = Destination::playing(|mut conn, _, _| async move {
        conn.head().await?;
        conn.send(format!("{TOO_LARGE}connection: close\r\n\r\nno")).await?;
        conn.stream.shutdown().await?;
        // What has arrived unread would reset the connection and with it the answer.
        tokio::time::timeout(Duration::from_millis(300), conn.drained()).await.ok();
        Ok(())
    })
    .await?;
    told_to_stop(proxy, &destination).await
}

/// Uploads without looking, as curl does, until it cannot or until the answer is there.
async fn told_to_stop(proxy: &Proxy, destination: &Destination) -> Checked {
    let mut client = Conn::to(proxy).await?;
    let length = 64 << 20;
    client.send(request("POST /", destination.address, &format!("content-length: {length}\r\n"))).await?;
    let part = vec![b'x'; 64 * 1024];
    for _ in 0..16 {
        client.send(&part).await?;
    }
    let answer = client.until("\r\n\r\nno").await?;
    begins(&answer, "HTTP/1.1 413")
}

async fn unread(proxy: &Proxy) -> Checked {
    let destination = Destination::playing(|mut conn, _, notes| async move {
        conn.head().await?;
        conn.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {ENDLESS}\r\n\r\n")).await?;
        notes.add(written(&mut conn).await.to_string());
        Ok(())
    })
    .await?;
    let mut client = Conn::to(proxy).await?;
    client.send(request("GET /", destination.address, "")).await?;
    client.head().await?;
    let sent: usize = destination.noted(1).await?[0].parse()?;
    anyhow::ensure!(sent < ENDLESS / 4, "{sent} bytes were fetched for nobody");
    Ok(())
}

async fn unread_upload(proxy: &Proxy) -> Checked {
    let destination = Destination::playing(|mut conn, _, _| async move {
        conn.head().await?;
        tokio::time::sleep(Duration::from_secs(30)).await;
        Ok(())
    })
    .await?;
    let mut client = Conn::to(proxy).await?;
    client.send(request("POST /", destination.address, &format!("content-length: {ENDLESS}\r\n"))).await?;
    let sent = written(&mut client).await;
    anyhow::ensure!(sent < ENDLESS / 4, "{sent} bytes were fetched for nobody");
    Ok(())
}

/// Writes until a second passes in which nothing could be; how much it was.
async fn written(conn: &mut Conn) -> usize {
    let (part, mut sent) = (vec![b'x'; 64 * 1024], 0);
    while sent < ENDLESS {
        match tokio::time::timeout(Duration::from_secs(1), conn.stream.write(&part)).await {
            Ok(Ok(count)) => sent += count,
            _ => break,
        }
    }
    sent
}

async fn gibibyte(proxy: &Proxy) -> Checked {
    const LENGTH: usize = 1 << 30;
    let destination = Destination::playing(|mut conn, _, _| async move {
        conn.head().await?;
        conn.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {LENGTH}\r\n\r\n")).await?;
        let part = vec![b'x'; 256 * 1024];
        for _ in 0..LENGTH / part.len() {
            conn.send(&part).await?;
        }
        Ok(())
    })
    .await?;
    let mut client = Conn::to(proxy).await?;
    client.send(request("GET /", destination.address, "connection: close\r\n")).await?;
    begins(&client.head().await?, "HTTP/1.1 200")?;
    let read = client.drained().await;
    anyhow::ensure!(read == LENGTH, "{read} of {LENGTH} bytes");
    Ok(())
}

async fn broken_chunks(proxy: &Proxy) -> Checked {
    let answer = broken_answer(proxy, "transfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n").await?;
    has(&answer, "first")?;
    anyhow::ensure!(!answer.ends_with("0\r\n\r\n"), "{answer:?}");
    Ok(())
}

async fn broken_length(proxy: &Proxy) -> Checked {
    let answer = broken_answer(proxy, "content-length: 10\r\n\r\nfirst").await?;
    anyhow::ensure!(
        answer.to_lowercase().contains("content-length: 10\r\n") && answer.ends_with("first"),
        "{answer:?}"
    );
    Ok(())
}

async fn broken_answer(proxy: &Proxy, rest: &'static str) -> anyhow::Result<String> {
    let destination = Destination::playing(move |mut conn, _, _| async move {
        conn.head().await?;
        conn.send(format!("HTTP/1.1 200 OK\r\n{rest}")).await?;
        tokio::time::sleep(Duration::from_millis(200)).await;
        Ok(())
    })
    .await?;
    let mut client = Conn::to(proxy).await?;
    client.send(request("GET /", destination.address, "")).await?;
    client.rest().await
}

async fn broken_upload(proxy: &Proxy) -> Checked {
    let destination = Destination::playing(|mut conn, _, notes| async move {
        conn.head().await?;
        notes.add(conn.rest().await?);
        Ok(())
    })
    .await?;
    let mut client = Conn::to(proxy).await?;
    client.send(request("POST /", destination.address, "transfer-encoding: chunked\r\n") + "5\r\nfirst\r\n").await?;
    tokio::time::sleep(Duration::from_millis(200)).await;
    drop(client);
    let body = &destination.noted(1).await?[0];
    has(body, "first")?;
    anyhow::ensure!(!body.ends_with("0\r\n\r\n"), "{body:?}");
    Ok(())
}

async fn gone(proxy: &Proxy) -> Checked {
    let destination = Destination::playing(|mut conn, _, notes| async move {
        conn.head().await?;
        notes.add("asked");
        conn.rest().await?;
        notes.add("gone");
        Ok(())
    })
    .await?;
    let mut client = Conn::to(proxy).await?;
    client.send(request("GET /", destination.address, "")).await?;
    destination.noted(1).await?;
    drop(client);
    destination.noted(2).await.map(drop)
}

async fn half_closed_tunnel(proxy: &Proxy) -> Checked {
    let destination = Destination::playing(|mut conn, _, _| async move {
        conn.head().await?;
        conn.send("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n").await?;
        let all = conn.rest().await?;
        conn.send(format!("got {all}")).await
    })
    .await?;
    let mut client = Conn::to(proxy).await?;
    client.send(request("GET /", destination.address, "connection: upgrade\r\nupgrade: websocket\r\n")).await?;
    begins(&client.head().await?, "HTTP/1.1 101")?;
    client.send("all").await?;
    client.stream.shutdown().await?;
    let answer = client.rest().await?;
    anyhow::ensure!(answer == "got all", "{answer:?}");
    Ok(())
}
