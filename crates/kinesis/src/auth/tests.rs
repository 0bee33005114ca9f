use bytes::Bytes;
use http::header::HeaderName;
use http::{HeaderValue, Request};
use http_body_util::Full;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::Settings;
use crate::testing::Server;

const ID: &str = "AKIDEXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
/// 20150830T123600Z
const NOW: Timestamp = Timestamp(1_440_938_160_000);

fn credentials() -> Credentials {
    [(ID.to_owned(), Secret::new(SECRET))].into_iter().collect()
}

fn head(text: &str) -> Parts {
    let mut lines = text.lines();
    let mut first = lines.next().unwrap().split(' ');
    let (method, uri) = (first.next().unwrap(), first.next().unwrap());
    let mut request = Request::builder().method(method).uri(uri).body(()).unwrap();
    for line in lines {
        let (name, value) = line.split_once(':').unwrap();
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        request.headers_mut().append(name, HeaderValue::from_str(value).unwrap());
    }
    request.into_parts().0
}

fn checked(service: &str, head: &Parts, body: &[u8], now: Timestamp) -> Result<String, Error> {
    let signed = credentials().admit_for(service, head, now)?;
    signed.check(head, body).map(|()| signed.region)
}

/// The requests of AWS's suite (aws-c-auth, Apache-2.0) that have the path `/`,
/// are not lent a token, and can come over HTTP: no folded headers.
#[test]
fn requests_of_awss_suite_pass_and_pass_no_more_when_changed() {
    let mut tried = 0;
    for vector in include_str!("vectors.txt").split("\n# ") {
        let (name, request) = vector.split_once('\n').unwrap();
        let (head_text, body) =
            request.trim_end().split_once("\n\n").unwrap_or((request.trim_end(), ""));
        let mut head = head(head_text);
        let region = checked("service", &head, body.as_bytes(), NOW);
        assert_eq!(region.as_deref(), Ok("us-east-1"), "{name}");
        let more = format!("{body}.");
        let changed = checked("service", &head, more.as_bytes(), NOW).unwrap_err();
        let named = head.headers.contains_key("x-amz-content-sha256");
        let message = if named { OTHER_BODY } else { MISMATCH };
        assert_eq!(changed, Error::new(Code::InvalidSignature, message), "{name}");
        head.headers.insert("host", HeaderValue::from_static("example.com"));
        assert!(checked("service", &head, body.as_bytes(), NOW).is_err(), "{name}");
        tried += 1;
    }
    assert!(tried >= 30, "{tried}");
}

/// Signs as clients do; what is signed is written here once more.
struct Signer<'a> {
    key: &'a str,
    secret: &'a str,
    date: &'a str,
    scope: &'a str,
    headers: Vec<(&'a str, String)>,
    payload: Option<&'a str>,
}

impl Default for Signer<'_> {
    fn default() -> Self {
        Self {
            key: ID,
            secret: SECRET,
            date: "20150830T123600Z",
            scope: "20150830/eu-west-1/kinesis/aws4_request",
            headers: vec![
                ("content-type", "application/x-amz-json-1.1".to_owned()),
                ("host", "localhost:8080".to_owned()),
                ("x-amz-target", "Kinesis_20131202.ListStreams".to_owned()),
            ],
            payload: None,
        }
    }
}

impl Signer<'_> {
    fn sign(self, body: &[u8]) -> Request<Full<Bytes>> {
        let mut headers = self.headers.clone();
        headers.push(("x-amz-date", self.date.to_owned()));
        if let Some(payload) = self.payload {
            headers.push(("x-amz-content-sha256", payload.to_owned()));
        }
        headers.sort();
        let payload = self.payload.map_or_else(|| hex(&Sha256::digest(body)), str::to_owned);
        let names = headers.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
        let lines: String =
            headers.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
        let canonical = format!("POST\n/\n\n{lines}\n{names}\n{payload}");
        let digest = hex(&Sha256::digest(canonical.as_bytes()));
        let to_sign = format!("AWS4-HMAC-SHA256\n{}\n{}\n{digest}", self.date, self.scope);
        let mut key = format!("AWS4{}", self.secret).into_bytes();
        for part in self.scope.split('/').chain([to_sign.as_str()]) {
            key = keyed(&key, part.as_bytes()).finalize().into_bytes().to_vec();
        }
        let (id, scope, signature) = (self.key, self.scope, hex(&key));
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={id}/{scope}, SignedHeaders={names}, Signature={signature}"
        );
        let mut request = Request::post("/").header("authorization", authorization);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        request.body(Full::new(Bytes::copy_from_slice(body))).unwrap()
    }
}

fn told(request: Request<Full<Bytes>>, body: &[u8]) -> (&'static str, String) {
    let error = checked(SERVICE, &request.into_parts().0, body, NOW).unwrap_err();
    (error.code.name(), error.message.unwrap())
}

#[test]
fn what_is_wrong_is_told_in_awss_words() {
    let with = |change: &dyn Fn(&mut Signer<'static>)| {
        let mut signer = Signer::default();
        change(&mut signer);
        signer.sign(b"{}")
    };
    let edit = |edit: &dyn Fn(&mut HeaderMap)| {
        let mut request = Signer::default().sign(b"{}");
        edit(request.headers_mut());
        request
    };
    let value = HeaderValue::from_static;
    let cases = [
        (with(&|s| s.secret = "other"), "InvalidSignatureException", MISMATCH),
        (with(&|s| s.key = "OTHER"), "UnrecognizedClientException", UNRECOGNIZED),
        (with(&|s| s.payload = Some("00")), "InvalidSignatureException", OTHER_BODY),
        (
            with(&|s| s.date = "20150830T123059Z"),
            "InvalidSignatureException",
            "Signature expired: 20150830T123059Z is now earlier than 20150830T123100Z \
             (20150830T123600Z - 5 min.)",
        ),
        (
            with(&|s| s.date = "20150830T124101Z"),
            "InvalidSignatureException",
            "Signature not yet current: 20150830T124101Z is still later than 20150830T124100Z \
             (20150830T123600Z + 5 min.)",
        ),
        (
            with(&|s| s.date = "now"),
            "IncompleteSignatureException",
            "Date must be in ISO-8601 'basic format'. Got 'now'. See \
             http://en.wikipedia.org/wiki/ISO_8601",
        ),
        (
            with(&|s| s.scope = "20150830/kinesis/aws4_request"),
            "IncompleteSignatureException",
            "Credential must have exactly 5 slash-delimited elements, e.g. \
             keyid/date/region/service/term, got 'AKIDEXAMPLE/20150830/kinesis/aws4_request'",
        ),
        (
            with(&|s| s.scope = "20150829/EU/sqs/aws5"),
            "InvalidSignatureException",
            "Credential should be scoped to a valid region, not 'EU'. Credential should be scoped \
             to correct service: 'kinesis'. Credential should be scoped with a valid terminator: \
             'aws4_request', not 'aws5'. Date in Credential scope does not match YYYYMMDD from \
             ISO-8601 version of date from HTTP: '20150829' != '20150830', from '20150830T123600Z'.",
        ),
        (
            with(&|s| s.headers.retain(|(name, _)| *name != "host")),
            "InvalidSignatureException",
            "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.",
        ),
        (
            edit(&|headers| {
                drop(headers.insert("x-amz-target", value("Kinesis_20131202.DeleteStream")))
            }),
            "InvalidSignatureException",
            MISMATCH,
        ),
        (
            edit(&|headers| drop(headers.insert("x-amz-security-token", value("lent")))),
            "UnrecognizedClientException",
            UNRECOGNIZED,
        ),
        (
            edit(&|headers| drop(headers.remove("authorization"))),
            "MissingAuthenticationTokenException",
            "Missing Authentication Token",
        ),
        (
            edit(&|headers| drop(headers.insert("authorization", value("Basic QTpC")))),
            "MissingAuthenticationTokenException",
            "Missing Authentication Token",
        ),
        (
            edit(&|headers| {
                headers.insert("authorization", value("AWS4-HMAC-SHA256 Credential=a"));
                headers.remove("x-amz-date");
            }),
            "IncompleteSignatureException",
            "Authorization header requires 'Signature' parameter. Authorization header requires \
             'SignedHeaders' parameter. Authorization header requires existence of either a \
             'X-Amz-Date' or a 'Date' header. Authorization=AWS4-HMAC-SHA256 Credential=a",
        ),
    ];
    for (request, code, message) in cases {
        assert_eq!(told(request, b"{}"), (code, message.to_owned()));
    }
}

#[test]
fn other_algorithms_and_orders_are_refused() {
    let edited = |from: &str, to: &str| {
        let mut request = Signer::default().sign(b"{}");
        let old = request.headers()["authorization"].to_str().unwrap();
        let new = HeaderValue::from_str(&old.replace(from, to)).unwrap();
        request.headers_mut().insert("authorization", new);
        told(request, b"{}")
    };
    let (code, message) = edited("SHA256", "SHA512");
    assert_eq!(code, "IncompleteSignatureException");
    assert_eq!(
        message,
        "Unsupported AWS 'algorithm': 'AWS4-HMAC-SHA512' (only AWS4-HMAC-SHA256 for now). "
    );
    // What is named again and again would be digested as often.
    assert_eq!(edited("content-type;host", "host;content-type").1, MISMATCH);
    assert_eq!(edited("content-type;host", "host;host").1, MISMATCH);
    assert!(edited(";x-amz-target", "").1.starts_with("'X-Amz-Target' must be"));
    assert_eq!(edited("Signature=", "Signature=+").1, MISMATCH);
}

#[test]
fn the_query_may_carry_the_signature_for_as_long_as_it_says() {
    let vectors = include_str!("vectors.txt").split("\n# ");
    let vector = vectors.into_iter().find(|it| it.starts_with("get-vanilla, query")).unwrap();
    let request = vector.split_once('\n').unwrap().1.trim_end();
    let at = |secs: i64| checked("service", &head(request), b"", Timestamp(NOW.0 + secs * 1000));
    let message = |result: Result<String, Error>| result.unwrap_err().message.unwrap();
    assert!(at(3600).is_ok() && at(-300).is_ok());
    assert!(message(at(3601)).starts_with("Signature expired: 20150830T123600Z is now earlier"));
    assert!(message(at(-301)).starts_with("Signature not yet current"));
    let longer = request.replace("Expires=3600", "Expires=3601");
    assert_eq!(message(checked("service", &head(&longer), b"", NOW)), MISMATCH);
    let never = request.replace("Expires=3600", "Expires=0");
    assert!(message(checked("service", &head(&never), b"", NOW)).contains("604800"));
    let bare = head("GET /?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Date=20150830T123600Z HTTP/1.1");
    assert_eq!(
        message(checked("service", &bare, b"", NOW)),
        "AWS query-string parameters must include 'X-Amz-Credential'. AWS query-string parameters \
         must include 'X-Amz-Signature'. AWS query-string parameters must include \
         'X-Amz-SignedHeaders'. Re-examine the query-string parameters."
    );
    let both = format!("{request}\nAuthorization:AWS4-HMAC-SHA256 x");
    assert!(message(checked("service", &head(&both), b"", NOW)).starts_with("Found both"));
}

#[test]
fn bodies_may_be_named_by_their_digest_or_left_out() {
    let digest = hex(&Sha256::digest(b"{}"));
    let named = Signer { payload: Some(&digest), ..Signer::default() }.sign(b"{}").into_parts().0;
    assert!(checked(SERVICE, &named, b"{}", NOW).is_ok());
    assert!(checked(SERVICE, &named, b"{ }", NOW).is_err());
    let unsigned = Signer { payload: Some(UNSIGNED), ..Signer::default() };
    let mut unsigned = unsigned.sign(b"{}").into_parts().0;
    assert!(checked(SERVICE, &unsigned, b"anything", NOW).is_ok());
    // Who doesn't sign the body has to sign that.
    unsigned.headers.remove("x-amz-content-sha256");
    assert!(checked(SERVICE, &unsigned, b"anything", NOW).is_err());
    let mut signed = Signer::default().sign(b"{}").into_parts().0;
    signed.headers.insert("x-amz-content-sha256", HeaderValue::from_static(UNSIGNED));
    assert!(checked(SERVICE, &signed, b"anything", NOW).is_err());
}

#[test]
fn the_host_of_http_2_is_in_its_head() {
    let mut head = Signer::default().sign(b"{}").into_parts().0;
    head.uri = "http://localhost:8080/".parse().unwrap();
    head.headers.remove("host");
    assert!(checked(SERVICE, &head, b"{}", NOW).is_ok());
    let mut signer = Signer::default();
    signer.headers[1].0 = ":authority";
    signer.headers.retain(|(name, _)| *name != ":authority");
    assert!(told(signer.sign(b"{}"), b"{}").1.starts_with("'Host' or ':authority'"));
}

#[test]
fn regions_are_read_of_what_nobody_checks() {
    let named = |value: &str| {
        let mut head = head("POST / HTTP/1.1");
        head.headers.insert("authorization", HeaderValue::from_str(value).unwrap());
        region_named(&head)
    };
    let signed = "AWS4-HMAC-SHA256 Credential=AK/20260101/eu-west-1/kinesis/aws4_request, \
                  SignedHeaders=host, Signature=00";
    assert_eq!(named(signed).as_deref(), Some("eu-west-1"));
    for other in ["", "Basic x", "AWS4 Credential=AK", "AWS4 Credential=a/b/<>/d/e"] {
        assert_eq!(named(other), None, "{other}");
    }
    let query = "POST /?X-Amz-Algorithm=A&X-Amz-Credential=AK%2F2%2Feu-west-1%2Fk%2Ft\
                 &X-Amz-Signature=0&X-Amz-SignedHeaders=host&X-Amz-Date=0 HTTP/1.1";
    assert_eq!(region_named(&head(query)).as_deref(), Some("eu-west-1"));
}

#[test]
fn basic_credentials_are_keys_with_their_secrets() {
    let basic = |text: &str| {
        let mut headers = HeaderMap::new();
        let value = format!("basic {}", BASE64_STANDARD.encode(text));
        headers.insert("authorization", HeaderValue::from_str(&value).unwrap());
        credentials().basic(&headers)
    };
    assert!(basic(&format!("{ID}:{SECRET}")));
    for other in [ID, "", &format!("{ID}:"), &format!("{ID}:{SECRET}x"), &format!("x:{SECRET}")] {
        assert!(!basic(other), "{other}");
    }
    assert!(!credentials().basic(&HeaderMap::new()));
    assert!(!format!("{:?}", credentials()).contains(SECRET));
}

#[test]
fn requests_without_a_body_are_known_by_their_signature() {
    let vector = include_str!("vectors.txt").split("\n# ").next().unwrap();
    let head = head(vector.split_once('\n').unwrap().1.trim_end());
    assert!(!credentials().signed(&head, NOW), "signed for another service");
    let head = Signer::default().sign(b"").into_parts().0;
    assert!(credentials().signed(&head, NOW));
    assert!(!Credentials::default().signed(&head, NOW));
}

async fn server() -> Server {
    let broker = millrace_broker::Broker::in_memory();
    Server::with(broker, Settings { credentials: credentials(), ..Settings::default() }).await
}

/// A request of now.
fn fresh(server: &Server, body: &[u8], change: impl Fn(&mut Signer<'_>)) -> Request<Full<Bytes>> {
    let date = date::show(server.broker.env().wall().get() / 1000);
    let scope = format!("{}/eu-west-1/kinesis/aws4_request", &date[..8]);
    let mut signer = Signer { date: &date, scope: &scope, ..Signer::default() };
    change(&mut signer);
    signer.sign(body)
}

#[tokio::test]
async fn only_signed_requests_are_answered() {
    let server = server().await;
    let (code, _) = server.refused("ListStreams", json!({})).await;
    assert_eq!(code, "MissingAuthenticationTokenException");
    let (status, body) = server.send(fresh(&server, b"{}", |_| {})).await;
    assert_eq!((status.as_u16(), &body[..2]), (200, &b"{\""[..]));
    let (status, body) = server.send(fresh(&server, b"{}", |it| it.secret = "guess")).await;
    let body = String::from_utf8(body.to_vec()).unwrap();
    assert!(status.as_u16() == 400 && body.contains("InvalidSignatureException"), "{body}");
    // Nothing of a body is looked at before its sender is known.
    let (_, body) = server.send(fresh(&server, b"{", |it| it.secret = "guess")).await;
    assert!(String::from_utf8(body.to_vec()).unwrap().contains("InvalidSignatureException"));
    let (_, body) = server.send(fresh(&server, b"{", |_| {})).await;
    assert!(String::from_utf8(body.to_vec()).unwrap().contains("SerializationException"));
}

#[tokio::test]
async fn the_region_that_is_signed_for_is_that_of_arns() {
    let server = server().await;
    let put = |name: &str| {
        let body = json!({"StreamName": "s", "ShardCount": 1}).to_string();
        let target = format!("Kinesis_20131202.{name}");
        fresh(&server, body.as_bytes(), |it| it.headers[2].1 = target.clone())
    };
    assert_eq!(server.send(put("CreateStream")).await.0.as_u16(), 200);
    let describe = fresh(&server, br#"{"StreamName":"s"}"#, |it| {
        it.headers[2].1 = "Kinesis_20131202.DescribeStreamSummary".to_owned();
    });
    let (_, body) = server.send(describe).await;
    let body = String::from_utf8(body.to_vec()).unwrap();
    assert!(body.contains("arn:aws:kinesis:eu-west-1:123456789012:stream/s"), "{body}");
}

proptest! {
    #[test]
    fn nothing_that_comes_for_a_signature_panics_or_passes(
        value in "[ -~]{0,200}",
        query in "[!-~&&[^#]]{0,100}",
        credential in "[A-Za-z0-9/]{0,40}",
        signed in "[a-z;:-]{0,40}",
    ) {
        for value in [
            value.clone(),
            format!("AWS4-HMAC-SHA256 Credential={ID}/{credential}, SignedHeaders={signed}, Signature={value}"),
            format!("AWS4-HMAC-SHA256 Credential={ID}/20150830/a/kinesis/aws4_request,SignedHeaders=host;{signed},Signature={}", "0".repeat(64)),
        ] {
            let Ok(uri) = format!("/?{query}").parse() else { return Ok(()) };
            let mut head = head("POST / HTTP/1.1\nhost:h\nx-amz-date:20150830T123600Z");
            head.uri = uri;
            head.headers.insert("authorization", HeaderValue::from_str(&value).unwrap());
            prop_assert!(checked(SERVICE, &head, b"", NOW).is_err());
            region_named(&head);
        }
    }
}
