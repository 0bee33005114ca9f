//! `millrace backup`: asks the running server for a backup, and shows how far
//! it is.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use clap::Args;
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header;
use hyper_util::rt::TokioIo;
use millrace_cli::Failure;
use millrace_cli::terminal::{Out, Progress};
use serde::Deserialize;
use tokio::net::TcpStream;

use crate::endpoints;
use crate::http::backup::{Asked, Figures, Line, PATH};
use crate::token::{self, Token};

/// Copy the data directory while its server runs
///
/// The server seals its present log file and goes on in the next; sealed files are linked into DEST,
/// or copied where it lies on another file system. Exits with 0 once the backup is whole, 1 where it
/// was not made, 2 where it can't be asked for so.
///
/// A backup is a data directory: `millrace serve --data-dir` on a copy of it restores it, and
/// `millrace check` verifies it.
#[derive(Debug, Args)]
pub(crate) struct BackupArgs {
    /// Directory for the backup, absent or empty
    #[arg(value_name = "DEST")]
    dest: PathBuf,
    /// Data directory of the running server: its address and the token are found there
    #[arg(long, value_name = "DIR", env = "MILLRACE_DATA_DIR", default_value = "./millrace-data")]
    data_dir: PathBuf,
    /// Address of the server's HTTP on this machine, where endpoints.json in the data directory is
    /// not the one to ask
    #[arg(long, value_name = "http://ADDR")]
    url: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What is read of `endpoints.json`.
#[derive(Deserialize)]
struct Endpoints {
    http: Vec<String>,
}

/// Makes a backup.
///
/// # Errors
/// [`Failure`].
pub(crate) fn run(args: &BackupArgs) -> Result<(), Failure> {
    let dest = std::path::absolute(&args.dest)
        .map_err(|error| Failure::Usage(format!("{}: {error}", args.dest.display())))?;
    let address = match &args.url {
        Some(url) => host_of(url)?,
        None => address(&args.data_dir)?,
    };
    let token = Token::read(&args.data_dir).map_err(|error| no_token(&args.data_dir, &error))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::Failed(format!("can't begin: {error}")))?;
    let figures = runtime.block_on(ask(&address, &token, &dest))?;
    let mut out = Out::stdout(args.json);
    if out.is_json() {
        out.json(&serde_json::json!({ "dest": dest, "backup": figures }))?;
    } else {
        let Figures { files, bytes, linked, .. } = figures;
        let dest = dest.display();
        out.line(format!("{dest}: a backup of {files} files, {bytes} bytes"))?;
        if linked > 0 {
            out.line(format!(
                "{linked} of the files are linked, not copied: they are on the same disk as the \
                 data directory. Copy the backup to another one to be safe from the disk's loss"
            ))?;
        }
    }
    out.flush()
}

/// Where the server that has the directory is reached.
fn address(data_dir: &Path) -> Result<String, Failure> {
    let dir = data_dir.display();
    let text = fs::read(data_dir.join(endpoints::NAME)).map_err(|error| match error.kind() {
        ErrorKind::NotFound if !data_dir.is_dir() => {
            Failure::Usage(format!("there is no data directory {dir}; say which by --data-dir"))
        }
        ErrorKind::NotFound => Failure::Failed(format!(
            "no server runs on {dir} (there is no endpoints.json); a stopped server's directory is \
             copied as it is"
        )),
        _ => Failure::Failed(format!("can't read endpoints.json in {dir}: {error}")),
    })?;
    let endpoints: Endpoints = serde_json::from_slice(&text)
        .map_err(|error| Failure::Failed(format!("endpoints.json in {dir}: {error}")))?;
    let near = endpoints.http.iter().find_map(|address| {
        let address: std::net::SocketAddr = address.parse().ok()?;
        let ip = address.ip();
        let near = match ip {
            _ if ip.is_loopback() => address,
            std::net::IpAddr::V4(v4) if v4.is_unspecified() => {
                ([127, 0, 0, 1], address.port()).into()
            }
            std::net::IpAddr::V6(v6) if v6.is_unspecified() => {
                (std::net::Ipv6Addr::LOCALHOST, address.port()).into()
            }
            _ => return None,
        };
        Some(near.to_string())
    });
    near.ok_or_else(|| {
        Failure::Failed(format!(
            "the server on {dir} has no HTTP address on loopback without TLS; add one to \
             http_listen, such as 127.0.0.1:8080"
        ))
    })
}

fn host_of(url: &str) -> Result<String, Failure> {
    let host = url.strip_prefix("http://").unwrap_or(url).trim_end_matches('/');
    if host.is_empty() || host.contains('/') {
        return Err(Failure::Usage(format!("--url \"{url}\" is not http://HOST:PORT")));
    }
    Ok(host.to_owned())
}

fn no_token(data_dir: &Path, error: &std::io::Error) -> Failure {
    Failure::Failed(format!(
        "can't read {} in {}, by which the server knows who may ask for a backup: {error}",
        token::NAME,
        data_dir.display()
    ))
}

async fn ask(address: &str, token: &Token, dest: &Path) -> Result<Figures, Failure> {
    let away = |error: &dyn std::fmt::Display| {
        Failure::Failed(format!("the server at {address} does not answer: {error}"))
    };
    let socket = TcpStream::connect(address).await.map_err(|error| away(&error))?;
    let (mut requests, connection) =
        http1::handshake(TokioIo::new(socket)).await.map_err(|error| away(&error))?;
    tokio::spawn(connection);
    let body = serde_json::to_vec(&Asked { dest: dest.to_owned() })
        .map_err(|error| Failure::Usage(format!("{}: {error}", dest.display())))?;
    let request = Request::post(PATH)
        .header(header::HOST, address)
        .header(header::AUTHORIZATION, token.header())
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| Failure::Usage(format!("--url: {error}")))?;
    let response = requests.send_request(request).await.map_err(|error| away(&error))?;
    let status = response.status();
    if !status.is_success() {
        let said = response.into_body().collect().await.map(|body| body.to_bytes());
        let said = said.map(|said| String::from_utf8_lossy(&said).trim().to_owned());
        let said = said.unwrap_or_default();
        return Err(Failure::Failed(format!("the server at {address} refuses ({status}): {said}")));
    }
    follow(response.into_body()).await
}

/// Reads the answer to its last line.
async fn follow(mut body: Incoming) -> Result<Figures, Failure> {
    let mut text = Vec::new();
    let mut bar: Option<Progress> = None;
    let mut show = |figures: Figures| {
        if figures.files_total > 0 {
            let total = Some(figures.bytes_total);
            bar.get_or_insert_with(|| Progress::new("copying", total)).at(figures.bytes);
        }
    };
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { break };
        text.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
        while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = text.drain(..=end).collect();
            match serde_json::from_slice(&line) {
                Ok(Line::Began(_)) => {}
                Ok(Line::Progress(figures)) => show(figures),
                Ok(Line::Done(figures)) => {
                    show(figures);
                    return Ok(figures);
                }
                Ok(Line::Error(error)) => return Err(Failure::Failed(error)),
                Err(error) => {
                    return Err(Failure::Failed(format!("the server's answer is odd: {error}")));
                }
            }
        }
    }
    Err(Failure::Failed(
        "the server went away before the backup was whole; what there is of it is marked by \
         backup.unfinished: remove it, and ask again"
            .to_owned(),
    ))
}
