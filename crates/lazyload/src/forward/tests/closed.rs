//! Who is believed and what is dialled, with the guard that a mesh gets.

use super::*;

#[tokio::test]
async fn a_forged_destination_reaches_nothing_that_only_the_pod_can_reach() {
    let secret = Upstream::answering(OK).await;
    let rig = Rig::guarded(Guard::Full, limits(), None).await;
    let [local, by_name] = [secret.address.to_string(), format!("localhost:{}", secret.address.port())];
    for (head, status) in [
        (format!("slime-orig-dest: {local}\r\nhost: a"), 421),
        (format!("slime-orig-dest: [::ffff:127.0.0.1]:{}\r\nhost: a", secret.address.port()), 421),
        ("slime-orig-dest: 169.254.169.254:80\r\nhost: a".to_owned(), 421),
        ("slime-orig-dest: [fd00:ec2::254]:80\r\nhost: a".to_owned(), 421),
        ("slime-orig-dest: 0.0.0.0:80\r\nhost: a".to_owned(), 421),
        (format!("host: {local}"), 421),
        (format!("host: {by_name}"), 421),
    ] {
        let mut client = rig.connect().await;
        client.send(&format!("GET / HTTP/1.1\r\n{head}\r\n\r\n")).await;
        let answer = client.rest().await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{head}: {answer}");
        assert!(answer.contains("x-lazyload-failure: client; "), "{head}: {answer}");
    }
    assert_eq!(secret.connections(), 0);
}
