//! `dhow serve`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use dhow_ops::{RequestLine, RequestLog, ServeRequest, Serving, TlsConfig};

use crate::app::asked_to_end;
use crate::failure::Failure;
use crate::render::streams;

/// The arguments of `serve`.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  dhow serve ./target
  dhow serve --listen 0.0.0.0:5000 --tls-self-signed --htpasswd ./users ./target
  dhow serve --read-only ./target")]
pub(crate) struct Args {
    /// The OCI layout directory; without one, images are kept in memory
    directory: Option<PathBuf>,
    /// Listen on this address; port 0 lets the system choose
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:5000")]
    listen: SocketAddr,
    /// Encrypt with this certificate chain (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The key of the certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Encrypt with a certificate made now, which is printed on stderr
    #[arg(long, conflicts_with = "tls_cert")]
    tls_self_signed: bool,
    /// Let in only the users of this file (bcrypt: `htpasswd -B`)
    #[arg(long, value_name = "FILE")]
    htpasswd: Option<PathBuf>,
    /// Give users Bearer tokens, as OpenShift's registry does
    #[arg(long, requires = "htpasswd")]
    token_auth: bool,
    /// Refuse everything that writes
    #[arg(long)]
    read_only: bool,
}

impl Args {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let tls = match (self.tls_cert, self.tls_key) {
            (Some(certificate), Some(key)) => TlsConfig::Files { certificate, key },
            _ if self.tls_self_signed => TlsConfig::SelfSigned { names: Vec::new() },
            _ => TlsConfig::Off,
        };
        let scheme = if matches!(tls, TlsConfig::Off) {
            "http"
        } else {
            "https"
        };
        let request = ServeRequest {
            directory: self.directory,
            listen: self.listen,
            tls,
            htpasswd: self.htpasswd,
            token_auth: self.token_auth,
            read_only: self.read_only,
            log: Arc::new(Lines),
        };
        let started = |serving: &Serving| {
            if let Some(certificate) = &serving.certificate {
                streams::eprint(certificate);
            }
            streams::eprint(&format!("listening on {scheme}://{}\n", serving.address));
        };
        Ok(dhow_ops::serve(request, started, asked_to_end()).await?)
    }
}

/// Writes a line per request on stderr.
#[derive(Debug)]
struct Lines;

impl RequestLog for Lines {
    fn request(&self, line: &RequestLine) {
        streams::eprint(&format!(
            "{} {} {} {} {} in={} out={} ms={}\n",
            line.remote,
            line.user.as_deref().unwrap_or("-").escape_debug(),
            line.method,
            line.path.escape_debug(),
            line.status,
            line.bytes_in,
            line.bytes_out,
            line.duration.as_millis(),
        ));
    }
}
