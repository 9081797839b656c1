//! WebSocket: the cases of the Autobahn test suite, with the proxy between client and server.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

use super::programs::{Serving, run, source};
use super::proxy::{Kind, Proxy};
use super::table::publish;

/// The destination's library does not look whether the reason of a close is UTF-8; it fails alike through Envoy.
const OF_THE_DESTINATION: &str = "7.5.1: FAILED, WRONG CODE";

#[derive(Deserialize)]
struct Verdict {
    case: String,
    behavior: String,
    close: String,
}

impl Verdict {
    fn is_fine(&self) -> bool {
        ["OK", "NON-STRICT", "INFORMATIONAL"].contains(&self.behavior.as_str())
            && ["OK", "INFORMATIONAL"].contains(&self.close.as_str())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn autobahns_cases_pass() {
    let Some((ours, envoy)) = Proxy::both("websocket").await else { return };
    let destination = Serving::destination().await;
    let mut cells: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut wrong = Vec::new();
    let (by_ours, by_envoy) = tokio::join!(verdicts(&ours, &destination), verdicts(&envoy, &destination));
    for (kind, verdicts) in [(Kind::Ours, by_ours), (Kind::Envoy, by_envoy)] {
        assert!(verdicts.len() > 290, "only {} cases ran", verdicts.len());
        let mut by_section: BTreeMap<u32, (usize, Vec<String>)> = BTreeMap::new();
        for verdict in verdicts {
            let section = verdict.case.split('.').next().and_then(|section| section.parse().ok()).expect("a section");
            let (count, failed) = by_section.entry(section).or_default();
            *count += 1;
            if !verdict.is_fine() {
                failed.push(format!("{}: {}, {}", verdict.case, verdict.behavior, verdict.close));
            }
        }
        for (section, (count, failed)) in by_section {
            let more = if failed.is_empty() { String::new() } else { format!("; {}", failed.join("; ")) };
            cells.entry(title(section)).or_default().push(format!("{} of {count}{more}", count - failed.len()));
            if kind == Kind::Ours {
                wrong.extend(failed);
            }
        }
    }
    let rows: Vec<_> = cells.into_iter().collect();
    publish("WebSocket", &rows);
    assert_eq!(wrong, [OF_THE_DESTINATION]);
}

fn title(section: u32) -> String {
    let what = match section {
        1 => "frames of all lengths",
        2 => "pings and pongs",
        3 => "reserved bits",
        4 => "reserved opcodes",
        5 => "fragments, control frames between them",
        6 => "UTF-8",
        7 => "closing, close codes",
        9 => "messages up to 16 MiB, in pieces of all sizes",
        10 => "fragments of one octet",
        _ => "others",
    };
    format!("Autobahn {section:>2}: {what}")
}

async fn verdicts(proxy: &Proxy, destination: &Serving) -> Vec<Verdict> {
    // The caller's proxy adds the header; here this does.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    let (to, header) = (proxy.address, format!("slime-orig-dest: {}\r\n", destination.address));
    let relay = tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(add_header(client, to, header.clone()));
        }
    });
    let arguments = [source("autobahn.py").to_string_lossy().into_owned(), url];
    let ended = run(Path::new("python3"), &arguments, Duration::from_secs(400)).await.unwrap();
    relay.abort();
    assert!(ended.success, "{}", ended.stderr);
    ended.stdout.lines().map(|line| serde_json::from_str(line).expect("a verdict")).collect()
}

/// Passes bytes both ways, with one more header after the request line.
async fn add_header(mut client: TcpStream, to: std::net::SocketAddr, header: String) -> std::io::Result<()> {
    let mut proxy = TcpStream::connect(to).await?;
    let mut head = super::conn::Conn::new(client);
    let line = head.until("\r\n").await.map_err(std::io::Error::other)?;
    proxy.write_all(format!("{line}{header}").as_bytes()).await?;
    let (stream, unread) = head.into_parts();
    client = stream;
    proxy.write_all(&unread).await?;
    tokio::io::copy_bidirectional(&mut client, &mut proxy).await.map(drop)
}
