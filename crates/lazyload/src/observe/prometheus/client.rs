//! One request to Prometheus, within its time and size.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use lazyload_logic::prometheus::{AnswerError, Found, Query};
use lazyload_logic::settings::Prometheus;

use super::access::{self, AccessError};
use crate::process::exit::chain;

/// Largest answer, in bytes: about 1,000 fences of 100 hosts. Beyond it fewer fences are asked about at once.
const MAX_ANSWER: usize = 16 * 1024 * 1024;
/// Longest that a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(5);
/// What of an unreadable answer is repeated in the log.
const SHOWN: usize = 200;

/// Why a query gave nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// A file of ours.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// There is no connection, or it broke.
    #[error("failed to reach Prometheus: {0}")]
    Unreachable(String),
    /// It took too long.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    /// 401 or 403.
    #[error("Prometheus answers {0}: look at bearerTokenFile, basicAuth and headers")]
    Unauthorized(StatusCode),
    /// The query is refused.
    #[error("Prometheus refuses the query: {0}")]
    Refused(AnswerError),
    /// Another status than 200, without Prometheus' own words.
    #[error("expected an answer of Prometheus, got {0}: {1}")]
    Status(StatusCode, String),
    /// More than anybody reads.
    #[error("an answer of more than {MAX_ANSWER} bytes")]
    TooLarge,
    /// It is no answer to the question.
    #[error("{0}")]
    Unreadable(AnswerError),
}

impl Failure {
    /// Every reason by its name in the metrics.
    pub(super) const NAMES: [&'static str; 8] =
        ["access_file", "unreachable", "timed_out", "unauthorized", "refused", "status", "too_large", "unreadable"];

    /// Its place in [`Failure::NAMES`].
    pub(super) fn index(&self) -> usize {
        match self {
            Self::Access(_) => 0,
            Self::Unreachable(_) => 1,
            Self::TimedOut(_) => 2,
            Self::Unauthorized(_) => 3,
            Self::Refused(_) => 4,
            Self::Status(..) => 5,
            Self::TooLarge => 6,
            Self::Unreadable(_) => 7,
        }
    }

    /// Whether asking about fewer fences at once may help.
    pub(super) fn is_about_size(&self) -> bool {
        match self {
            Self::TimedOut(_) | Self::TooLarge | Self::Status(StatusCode::PAYLOAD_TOO_LARGE, _) => true,
            // `execution`: too many samples, for example. `bad_data` is the query itself.
            Self::Refused(AnswerError::Refused { kind, .. }) => kind != "bad_data",
            _ => false,
        }
    }

    /// Whether Prometheus was not there at all.
    pub(super) fn is_absence(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::TimedOut(_) | Self::Access(_))
    }
}

type Sender = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// A client whose connections are kept between rounds.
pub(super) struct PrometheusClient {
    settings: Prometheus,
    uri: Uri,
    sender: Option<(Option<Vec<u8>>, Sender)>,
}

/// What one round's requests need.
#[derive(Clone)]
pub(super) struct Session {
    uri: Uri,
    headers: HeaderMap,
    timeout: Duration,
    sender: Sender,
}

impl PrometheusClient {
    /// A client that has not connected yet.
    ///
    /// # Errors
    /// The address cannot be used.
    pub(super) fn new(settings: &Prometheus) -> Result<Self, http::uri::InvalidUri> {
        let uri = format!("{}/api/v1/query", settings.address).parse()?;
        Ok(Self { settings: settings.clone(), uri, sender: None })
    }

    /// Reads the files anew and makes what a round needs.
    ///
    /// # Errors
    /// A file cannot be used.
    pub(super) async fn session(&mut self) -> Result<Session, Failure> {
        let access = &self.settings.access;
        let headers = access::headers(access).await?;
        let pem = access::authorities(access).await?;
        let sender = match &self.sender {
            Some((known, sender)) if *known == pem => sender.clone(),
            _ => {
                let sender = self.connector(pem.as_deref())?;
                self.sender = Some((pem, sender.clone()));
                sender
            }
        };
        Ok(Session { uri: self.uri.clone(), headers, timeout: self.settings.timeout, sender })
    }

    fn connector(&self, pem: Option<&[u8]>) -> Result<Sender, Failure> {
        let mut tcp = HttpConnector::new();
        tcp.set_connect_timeout(Some(CONNECT));
        tcp.set_nodelay(true);
        tcp.enforce_http(false);
        let builder = HttpsConnectorBuilder::new();
        let builder = match pem {
            Some(pem) => {
                let roots = access::roots(&self.settings.access, pem)?;
                let config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
                builder.with_tls_config(config)
            }
            // A machine without certificates can still ask over http.
            None if self.uri.scheme_str() == Some("http") => {
                let none = rustls::RootCertStore::empty();
                let config = rustls::ClientConfig::builder().with_root_certificates(none).with_no_client_auth();
                builder.with_tls_config(config)
            }
            None => builder.with_native_roots().map_err(|error| Failure::Unreachable(error.to_string()))?,
        };
        let connector = builder.https_or_http().enable_http1().wrap_connector(tcp);
        Ok(Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(connector))
    }
}

impl Session {
    /// Asks one query.
    ///
    /// # Errors
    /// There is no answer that could be used.
    pub(super) async fn ask(&self, query: &Query) -> Result<Found, Failure> {
        let answer = tokio::time::timeout(self.timeout, self.send(&query.text));
        let (status, body) = answer.await.map_err(|_| Failure::TimedOut(self.timeout))??;
        match (status, query.read(&body)) {
            (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, _) => Err(Failure::Unauthorized(status)),
            (StatusCode::OK, Ok(found)) => Ok(found),
            (_, Err(error @ AnswerError::Refused { .. })) => Err(Failure::Refused(error)),
            (StatusCode::OK, Err(error)) => Err(Failure::Unreadable(error)),
            (_, _) => {
                let text = String::from_utf8_lossy(&body);
                let shown: String = text.chars().filter(|letter| !letter.is_control()).take(SHOWN).collect();
                Err(Failure::Status(status, shown))
            }
        }
    }

    async fn send(&self, query: &str) -> Result<(StatusCode, Bytes), Failure> {
        let limit = format!("{}ms", self.timeout.as_millis());
        let body = form_urlencoded::Serializer::new(String::new())
            .append_pair("query", query)
            .append_pair("timeout", &limit)
            .finish();
        let mut request = Request::new(Full::from(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        request.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static("application/x-www-form-urlencoded"));
        request.headers_mut().insert(ACCEPT, http::HeaderValue::from_static("application/json"));
        let answer = self.sender.request(request).await.map_err(|error| Failure::Unreachable(chain(&error)))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await.map_err(|error| {
            if error.is::<LengthLimitError>() { Failure::TooLarge } else { Failure::Unreachable(error.to_string()) }
        })?;
        Ok((status, body.to_bytes()))
    }
}
