//! Serves a layout for trials by hand:
//! `serve ADDRESS DIRECTORY|memory [tls] [read-only] [basic|token USER PASSWORD]`.

use std::error::Error;
use std::net::SocketAddr;

use dhow_server::{AuthConfig, Config, Htpasswd, Server, StoreConfig, TlsConfig};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(tracing::Level::INFO)
        .init();
    let mut words = std::env::args().skip(1);
    let listen: SocketAddr = words.next().unwrap_or_default().parse()?;
    let store = match words.next().ok_or("where is the store?")?.as_str() {
        "memory" => StoreConfig::Memory,
        directory => StoreConfig::Directory(directory.into()),
    };
    let mut config = Config::new(listen, store);
    while let Some(word) = words.next() {
        match word.as_str() {
            "tls" => config.tls = TlsConfig::SelfSigned { names: Vec::new() },
            "read-only" => config.read_only = true,
            "basic" | "token" => {
                let user = words.next().unwrap_or_default();
                let password = words.next().unwrap_or_default();
                let users = Htpasswd::for_user(&user, &password);
                config.auth = match word.as_str() {
                    "basic" => AuthConfig::Basic(users),
                    _ => AuthConfig::Token(users),
                };
            }
            other => return Err(format!("`{other}` is no option").into()),
        }
    }
    let server = Server::bind(config).await?;
    tracing::info!(address = %server.local_addr(), certificate = server.certificate_pem(), "ready");
    let ended = async { drop(tokio::signal::ctrl_c().await) };
    server.run(ended).await?;
    Ok(())
}
