//! The keeper and an authority that speaks Istio's protocol, over real connections on the loopback interface.

use std::convert::Infallible;
use std::fs;
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use lazyload_logic::boot::mesh_identity::{AUTHORITIES, TOKEN};
use prost::Message as _;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::codegen::BoxFuture;
use tonic::server::{Grpc, UnaryService};
use tonic::{Request, Response, Status};

use super::authority::{CertificateRequest, CertificateResponse};
use super::testing::Authority;
use super::{Current, Identity, IdentityCounters, Keeper, Place};
use crate::observe::codec::RawCodec;
use crate::process::readiness::Readiness;

const DEADLINE: Duration = Duration::from_secs(30);
const OWN: &str = "spiffe://cluster.local/ns/mesh-operator/sa/lazyload";
const WITHOUT: &str = "access logs are taken in plaintext alone";

/// What the authority answers next, and what it was asked.
struct Office {
    authority: Authority,
    life: Duration,
    refuses: bool,
    asked: Vec<(String, CertificateRequest)>,
}

/// Istio's certificate service.
#[derive(Clone)]
struct Istiod(Arc<Mutex<Office>>);

impl Istiod {
    async fn answer(self, request: http::Request<Incoming>) -> Result<http::Response<Body>, Infallible> {
        assert_eq!(request.uri().path(), "/istio.v1.auth.IstioCertificateService/CreateCertificate");
        Ok(Grpc::new(RawCodec).unary(self, request).await)
    }
}

impl UnaryService<Bytes> for Istiod {
    type Response = Bytes;
    type Future = BoxFuture<Response<Bytes>, Status>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        let token = request.metadata().get("authorization").unwrap().to_str().unwrap().to_owned();
        let asked = CertificateRequest::decode(request.into_inner()).unwrap();
        let mut office = self.0.lock().unwrap();
        office.asked.push((token, asked.clone()));
        if office.refuses {
            return Box::pin(async { Err(Status::unauthenticated("authentication failure")) });
        }
        let now = SystemTime::now();
        let certificate = office.authority.certificate_for_request(&asked.csr, OWN, now, now + office.life);
        let cert_chain = vec![pem(&certificate), pem(&office.authority.der())];
        Box::pin(async { Ok(Response::new(CertificateResponse { cert_chain }.encode_to_vec().into())) })
    }
}

fn pem(der: &[u8]) -> String {
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", BASE64_STANDARD.encode(der))
}

struct Running {
    folder: TempDir,
    office: Arc<Mutex<Office>>,
    identity: Current,
    counters: Arc<IdentityCounters>,
    readiness: Readiness,
    shutdown: CancellationToken,
}

/// A keeper beside an istiod that is there; `life` is that of the certificates.
async fn start(life: Duration, authorities: bool) -> Running {
    let authority = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(TOKEN), "the-token\n").unwrap();
    if authorities {
        trust(folder.path(), &authority);
    }
    let (chain, key) = authority.certificate_of_host("localhost");
    let office = Arc::new(Mutex::new(Office { authority, life, refuses: false, asked: Vec::new() }));
    let port = serve(Istiod(office.clone()), super::tls::server_of_authority(chain, key)).await;

    let (counters, readiness, shutdown) = (Arc::default(), Readiness::default(), CancellationToken::new());
    let place = Place { authority: format!("localhost:{port}"), folder: folder.path().to_owned() };
    let (keeper, identity) = Keeper::new(place, Arc::clone(&counters), readiness.clone(), WITHOUT);
    tokio::spawn(keeper.run(shutdown.clone()));
    Running { folder, office, identity, counters, readiness, shutdown }
}

async fn serve(istiod: Istiod, config: rustls::ServerConfig) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            // Who does not trust us goes away again.
            let Ok(connection) = acceptor.accept(connection).await else { continue };
            let istiod = istiod.clone();
            let answers = service_fn(move |request| istiod.clone().answer(request));
            let server = http2::Builder::new(TokioExecutor::new());
            tokio::spawn(server.serve_connection(TokioIo::new(connection), answers));
        }
    });
    port
}

fn trust(folder: &Path, authority: &Authority) {
    fs::write(folder.join(AUTHORITIES), pem(&authority.der())).unwrap();
}

impl Running {
    /// The next identity that is shown.
    async fn next(&mut self) -> Arc<Identity> {
        timeout(DEADLINE, self.identity.changed()).await.expect("no identity came").unwrap();
        self.identity.borrow_and_update().clone().unwrap()
    }

    fn asked(&self) -> usize {
        self.office.lock().unwrap().asked.len()
    }

    async fn failed(&self, at_least: u64) {
        let poll = async {
            while self.counters.failed.load(Relaxed) < at_least {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(DEADLINE, poll).await.expect("nothing failed");
    }
}

#[tokio::test]
async fn a_certificate_is_asked_for_with_the_token_and_a_key_that_stays_here() {
    let mut running = start(Duration::from_secs(24 * 3600), true).await;
    let identity = running.next().await;
    assert_eq!(identity.uri, OWN);
    let (token, request) = running.office.lock().unwrap().asked[0].clone();
    assert_eq!(token, "Bearer the-token");
    assert_eq!(request.validity_duration, 24 * 3600);
    assert!(request.csr.starts_with("-----BEGIN CERTIFICATE REQUEST-----\n"), "{}", request.csr);
    assert!(!request.csr.contains("PRIVATE"));
    let left = running.counters.expires.load(Relaxed) - unix(SystemTime::now());
    assert!((23 * 3600..=24 * 3600).contains(&left), "{left}");
    assert!(running.readiness.notes().is_empty());
    assert_eq!(running.asked(), 1);
    running.shutdown.cancel();
}

fn unix(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}

#[tokio::test]
async fn it_is_renewed_when_half_of_its_life_is_over() {
    let mut running = start(Duration::from_secs(4), true).await;
    let first = running.next().await;
    let second = running.next().await;
    assert!(!Arc::ptr_eq(&first, &second));
    let office = running.office.lock().unwrap();
    assert_ne!(office.asked[0].1.csr, office.asked[1].1.csr, "a new key");
}

#[tokio::test]
async fn without_authorities_or_token_or_consent_it_says_so_and_asks_again() {
    let mut running = start(Duration::from_secs(3600), false).await;
    running.failed(1).await;
    let said = running.readiness.notes().join("\n");
    assert!(said.starts_with("no certificate of the mesh: failed to read ") && said.ends_with(WITHOUT), "{said}");
    assert_eq!(running.asked(), 0);

    running.office.lock().unwrap().refuses = true;
    trust(running.folder.path(), &running.office.lock().unwrap().authority);
    let refused = async {
        while !running.readiness.notes().join("\n").contains("gives no certificate: authentication failure") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(DEADLINE, refused).await.unwrap();
    assert!(running.identity.borrow().is_none());

    running.office.lock().unwrap().refuses = false;
    running.next().await;
    assert!(running.readiness.notes().is_empty());
}

#[tokio::test]
async fn a_stranger_in_istiods_place_gets_no_token() {
    let running = start(Duration::from_secs(3600), false).await;
    trust(running.folder.path(), &Authority::new());
    let refused = async {
        while !running.readiness.notes().join("\n").contains("invalid peer certificate") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(DEADLINE, refused).await.unwrap();
    assert_eq!(running.asked(), 0);
}

#[tokio::test]
async fn a_mesh_that_changes_its_authorities_is_followed_before_half_of_the_life_is_over() {
    let mut running = start(Duration::from_secs(24 * 3600), true).await;
    let first = running.next().await;
    {
        let office = running.office.lock().unwrap();
        let both = format!("{}{}", pem(&office.authority.der()), pem(&Authority::new().der()));
        fs::write(running.folder.path().join(AUTHORITIES), both).unwrap();
    }
    let second = running.next().await;
    assert!(!Arc::ptr_eq(&first, &second));
}
