//! What is served over HTTP: to operators `/healthz`, `/readyz` and `/metrics`,
//! on this machine [`backup`] too, and at `/` Kinesis' clients.
//!
//! Invariant: what operators read changes nothing and never waits for the
//! disk: it answers while the server recovers and when its log hangs. Protocols
//! are answered from when the log is open. Names of topics leave this machine,
//! in metrics, only for who is known.

mod again;
pub(crate) mod backup;
mod patience;
mod portions;
mod readiness;
pub(crate) mod server;
pub(crate) mod tls;

use std::sync::{Arc, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use millrace_broker::metrics::Metrics;
use millrace_kinesis::{Credentials, Front as Kinesis};
use millrace_types::Timestamp;
use tokio::sync::Semaphore;

pub(crate) use self::readiness::{Readiness, Stage};

/// What the handlers read.
#[derive(Clone)]
pub(crate) struct View {
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) readiness: Arc<Readiness>,
    pub(crate) operators: backup::Operators,
    /// There once the log is open.
    pub(crate) kinesis: Arc<OnceLock<Arc<Kinesis>>>,
    /// Who may read metrics from other machines; `None` for everyone.
    pub(crate) readers: Option<Credentials>,
}

/// How a request came, as far as it matters for what it may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// To an address that only this machine has.
    Loopback,
    /// From anywhere, in the clear.
    Open,
    /// From anywhere, by TLS.
    Tls,
}

/// The routes for requests that come this way.
pub(crate) fn router(view: &View, way: Way) -> Router {
    let view = view.clone();
    let readers = view.readers.clone().filter(|_| way != Way::Loopback);
    let metrics = async move |State(view): State<View>, request: Request| match readers {
        Some(readers) if !is_known(&readers, way, &request.into_parts().0) => not_known(way),
        _ => metrics(view).await,
    };
    let mut router = Router::new();
    if way == Way::Loopback {
        let back_up = async |State(view): State<View>, request: Request| {
            backup::answer(&view.operators, request).await
        };
        router = router.route(backup::PATH, post(back_up));
    }
    router
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/", any(kinesis))
        .with_state(view)
}

async fn readyz(State(view): State<View>, headers: HeaderMap) -> Response {
    view.readiness.answer(&headers)
}

/// The answer to who may not read metrics.
fn not_known(way: Way) -> Response {
    let said = "metrics are for this machine, or for who signs the request (AWS4-HMAC-SHA256, \
                service kinesis) by one of kinesis.credentials, or over TLS names one with its \
                secret\n";
    match way {
        Way::Tls => {
            let how = [(header::WWW_AUTHENTICATE, "Basic realm=\"millrace\"")];
            (StatusCode::UNAUTHORIZED, how, said).into_response()
        }
        Way::Loopback | Way::Open => (StatusCode::FORBIDDEN, said).into_response(),
    }
}

/// Whether a request is signed by one of the keys, or names its secret where
/// nobody on the way can read that.
fn is_known(readers: &Credentials, way: Way, head: &Parts) -> bool {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = Timestamp(i64::try_from(now.as_millis()).unwrap_or(i64::MAX));
    (way == Way::Tls && readers.basic(&head.headers)) || readers.signed(head, now)
}

async fn kinesis(State(view): State<View>, request: Request) -> Response {
    match view.kinesis.get() {
        Some(front) => front.answer(request).await.map(Body::new),
        None => (StatusCode::SERVICE_UNAVAILABLE, "starting\n").into_response(),
    }
}

/// One scrape at a time, beside the threads that serve clients: to look at many
/// partitions and groups takes milliseconds.
async fn metrics(view: View) -> Response {
    static ONE: Semaphore = Semaphore::const_new(1);
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    let _one = ONE.acquire().await;
    let rendered = tokio::task::spawn_blocking(move || {
        crate::process::show(&view.metrics);
        view.metrics.ready.set(u64::from(view.readiness.is_ready()));
        view.metrics.registry().render()
    });
    match rendered.await {
        Ok(text) => ([(header::CONTENT_TYPE, kind)], text).into_response(),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "stopping\n").into_response(),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::Request;
    use hyper::service::Service as _;
    use hyper_util::service::TowerToHyperService;
    use millrace_kinesis::Secret;

    use super::*;
    use crate::env::TokioEnv;

    #[tokio::test]
    async fn metrics_leave_this_machine_only_for_who_is_known() {
        let asked = async |way, readers: Option<Credentials>, request: Request<Body>| {
            let view = View {
                metrics: Arc::default(),
                readiness: Arc::new(Readiness::new(Arc::new(TokioEnv::new()), Arc::default())),
                operators: Arc::default(),
                kinesis: Arc::default(),
                readers,
            };
            TowerToHyperService::new(router(&view, way)).call(request).await.unwrap().status()
        };
        let get = |path: &str| Request::get(path).body(Body::empty()).unwrap();
        let status = async |way, readers, path: &str| asked(way, readers, get(path)).await;
        let keys = || Some([("A".to_owned(), Secret::new("S"))].into_iter().collect());
        assert_eq!(status(Way::Open, keys(), "/metrics").await, StatusCode::FORBIDDEN);
        assert_eq!(
            status(Way::Open, Some(Credentials::default()), "/metrics").await,
            StatusCode::FORBIDDEN
        );
        assert_eq!(status(Way::Open, None, "/metrics").await, StatusCode::OK);
        assert_eq!(status(Way::Loopback, keys(), "/metrics").await, StatusCode::OK);
        assert_eq!(status(Way::Tls, keys(), "/metrics").await, StatusCode::UNAUTHORIZED);
        assert_eq!(status(Way::Open, keys(), "/healthz").await, StatusCode::OK);
        for (way, expected) in [(Way::Tls, StatusCode::OK), (Way::Open, StatusCode::FORBIDDEN)] {
            let mut named = get("/metrics");
            named.headers_mut().insert(header::AUTHORIZATION, "Basic QTpT".parse().unwrap());
            assert_eq!(asked(way, keys(), named).await, expected, "{way:?}");
        }
    }
}
