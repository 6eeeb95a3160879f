//! A token service on loopback (distribution's *Token Authentication Specification* and its OAuth2
//! form), whose tokens Debian's docker-registry verifies itself. It can stand in front of a
//! registry and pass on everything that is not its own, as OpenShift's does.

mod serve;
mod sign;

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use url::form_urlencoded;

use sign::Signer;

/// The name of the issuer in every token.
pub const ISSUER: &str = "dhow-testkit";
/// The name of the service that tokens are for.
pub const SERVICE: &str = "testkit-registry";

/// What may be done in which repositories: `pull`, `push`, `delete`.
#[derive(Clone, Debug)]
pub struct Right {
    /// A repository, all of a project (`project/*`), or all (`*`).
    pub repository: String,
    /// What may be done there.
    pub actions: Vec<String>,
}

impl Right {
    /// A right to some actions, separated by commas.
    pub fn new(repository: &str, actions: &str) -> Self {
        Self {
            repository: repository.to_owned(),
            actions: actions.split(',').map(str::to_owned).collect(),
        }
    }

    fn covers(&self, repository: &str) -> bool {
        match self.repository.strip_suffix('*') {
            Some(start) => repository.starts_with(start),
            None => repository == self.repository,
        }
    }
}

/// Someone the service knows.
#[derive(Clone)]
pub struct User {
    /// The name; without one, any name will do with the password, as for a service account's token.
    pub name: Option<String>,
    /// The password.
    pub password: String,
    /// The identity (refresh) token that stands for this user.
    pub identity: Option<String>,
    /// What this user may do.
    pub rights: Vec<Right>,
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User")
            .field("name", &self.name)
            .field("rights", &self.rights)
            .finish_non_exhaustive()
    }
}

/// What the service is to be like.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The path of the realm: `/token`.
    pub path: String,
    /// Certificate chain and key, in PEM, to speak TLS.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// Who is known.
    pub users: Vec<User>,
}

/// One request for a token, without its secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The method.
    pub method: String,
    /// How the asker proved who it is: `basic`, `password`, `refresh_token`, `nothing`.
    pub proof: String,
    /// The name it gave.
    pub user: Option<String>,
    /// The scopes it asked for.
    pub scopes: Vec<String>,
    /// The status of the answer.
    pub status: u16,
}

/// A running service; it ends when it is dropped.
#[derive(Debug)]
pub struct TokenService {
    runtime: Option<Runtime>,
    address: SocketAddr,
    shared: Arc<Shared>,
}

pub(crate) struct Shared {
    settings: Settings,
    signer: Signer,
    asked: Mutex<Vec<Asked>>,
    backend: Mutex<Option<String>>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl TokenService {
    /// Starts a service on a port of the system's choice.
    pub fn start(settings: Settings) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a test can start a runtime");
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
            .expect("loopback has a free port");
        let address = listener.local_addr().expect("it listens");
        let acceptor = settings.tls.as_ref().map(|(c, k)| serve::acceptor(c, k));
        let shared = Arc::new(Shared {
            settings,
            signer: Signer::new(),
            asked: Mutex::default(),
            backend: Mutex::default(),
        });
        runtime.spawn(serve::serve(listener, acceptor, Arc::clone(&shared)));
        Self {
            runtime: Some(runtime),
            address,
            shared,
        }
    }

    /// Returns `127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Returns the address of the realm.
    pub fn realm(&self) -> String {
        let scheme = self
            .shared
            .settings
            .tls
            .as_ref()
            .map_or("http", |_| "https");
        format!("{scheme}://{}{}", self.address, self.shared.settings.path)
    }

    /// Passes everything that is not for the service to a registry that speaks plain http.
    pub fn stand_before(&self, backend: &str) {
        *lock(&self.shared.backend) = Some(backend.to_owned());
    }

    /// Writes the certificate that vouches for the tokens, for `rootcertbundle`.
    pub fn write_certificate(&self, path: &Path) {
        std::fs::write(path, self.shared.signer.certificate_pem()).expect("a test can write");
    }

    /// Returns a token with these rights, for `--registry-token`.
    pub fn token(&self, rights: &[Right]) -> String {
        let access: Vec<Value> = rights
            .iter()
            .map(|right| access(&right.repository, &right.actions))
            .collect();
        self.shared.signer.token("bearer", &access)
    }

    /// Returns the requests for tokens so far.
    pub fn asked(&self) -> Vec<Asked> {
        lock(&self.shared.asked).clone()
    }
}

impl Drop for TokenService {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A request for a token, as it came.
pub(crate) struct TokenRequest {
    pub(crate) method: String,
    pub(crate) query: String,
    pub(crate) authorization: Option<String>,
    pub(crate) body: Vec<u8>,
}

impl Shared {
    /// Answers a request for a token with a status and a document.
    pub(crate) fn answer(&self, request: &TokenRequest) -> (u16, Value) {
        let form = if request.method == "POST" {
            request.body.as_slice()
        } else {
            request.query.as_bytes()
        };
        let pairs: Vec<(String, String)> = form_urlencoded::parse(form).into_owned().collect();
        let value = |name: &str| {
            pairs
                .iter()
                .find(|(key, _)| key == name)
                .map(|(_, v)| v.as_str())
        };
        let scopes: Vec<String> = pairs
            .iter()
            .filter(|(key, _)| key == "scope")
            .flat_map(|(_, scopes)| scopes.split(' '))
            .map(str::to_owned)
            .collect();
        let basic = request.authorization.as_deref().and_then(basic);
        let (proof, name, user) = match (value("grant_type"), basic) {
            (Some("refresh_token"), _) => (
                "refresh_token",
                None,
                self.identified(value("refresh_token")),
            ),
            (Some("password"), _) => {
                let (name, password) = (value("username"), value("password"));
                let user = name.zip(password).and_then(|(n, p)| self.known(n, p));
                ("password", name.map(str::to_owned), user)
            }
            (_, Some((name, password))) => {
                let user = self.known(&name, &password);
                ("basic", Some(name), user)
            }
            _ => ("nothing", None, None),
        };
        let offline =
            value("offline_token") == Some("true") || value("access_type") == Some("offline");
        let (status, answer) = match user {
            Some(user) => (200, self.issue(user, &scopes, offline)),
            None => (
                401,
                json!({"errors": [{"code": "UNAUTHORIZED", "message": "who are you"}]}),
            ),
        };
        lock(&self.asked).push(Asked {
            method: request.method.clone(),
            proof: proof.to_owned(),
            user: name,
            scopes,
            status,
        });
        (status, answer)
    }

    fn issue(&self, user: &User, scopes: &[String], offline: bool) -> Value {
        let granted: Vec<Value> = scopes.iter().filter_map(|s| grant(user, s)).collect();
        let name = user.name.as_deref().unwrap_or("serviceaccount");
        let token = self.signer.token(name, &granted);
        let mut answer = json!({"token": token, "access_token": token, "expires_in": 300});
        if let (true, Some(identity)) = (offline, &user.identity) {
            answer["refresh_token"] = json!(identity);
        }
        answer
    }

    fn known(&self, name: &str, password: &str) -> Option<&User> {
        self.settings.users.iter().find(|user| {
            user.name.as_deref().is_none_or(|known| known == name) && user.password == password
        })
    }

    fn identified(&self, token: Option<&str>) -> Option<&User> {
        let token = token?;
        self.settings
            .users
            .iter()
            .find(|user| user.identity.as_deref() == Some(token))
    }
}

/// Returns what a user gets of a scope: the actions it asks for and the user has.
fn grant(user: &User, scope: &str) -> Option<Value> {
    let (name, wanted) = scope.strip_prefix("repository:")?.rsplit_once(':')?;
    let held = |action: &str| {
        user.rights
            .iter()
            .any(|right| right.covers(name) && right.actions.iter().any(|own| own == action))
    };
    let wanted = if wanted == "*" {
        "pull,push,delete"
    } else {
        wanted
    };
    let actions: Vec<String> = wanted
        .split(',')
        .filter(|action| held(action))
        .map(str::to_owned)
        .collect();
    (!actions.is_empty()).then(|| access(name, &actions))
}

fn access(name: &str, actions: &[String]) -> Value {
    json!({"type": "repository", "name": name, "actions": actions})
}

fn basic(header: &str) -> Option<(String, String)> {
    let text = STANDARD.decode(header.strip_prefix("Basic ")?).ok()?;
    let text = String::from_utf8(text).ok()?;
    let (name, password) = text.split_once(':')?;
    Some((name.to_owned(), password.to_owned()))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user() -> User {
        User {
            name: Some("ann".to_owned()),
            password: "pw".to_owned(),
            identity: Some("identity".to_owned()),
            rights: vec![Right::new("mine/*", "pull,push"), Right::new("all", "pull")],
        }
    }

    #[test]
    fn a_token_holds_what_was_asked_for_and_is_held() {
        for (scope, expected) in [
            ("repository:mine/a:pull,push", Some("[\"pull\",\"push\"]")),
            ("repository:all:pull,push", Some("[\"pull\"]")),
            ("repository:mine/a:delete", None),
            ("repository:other:pull", None),
            ("registry:catalog:*", None),
        ] {
            let actions = grant(&user(), scope).map(|grant| grant["actions"].to_string());
            assert_eq!(actions.as_deref(), expected, "{scope}");
        }
    }

    #[test]
    fn every_proof_is_taken_and_a_wrong_one_refused() {
        let service = TokenService::start(Settings {
            path: "/token".to_owned(),
            tls: None,
            users: vec![user()],
        });
        let ask = |method: &str, form: &str, pair: Option<&str>| {
            service.shared.answer(&TokenRequest {
                method: method.to_owned(),
                query: form.to_owned(),
                authorization: pair.map(|pair| format!("Basic {}", STANDARD.encode(pair))),
                body: form.as_bytes().to_vec(),
            })
        };
        for (method, form, pair, status) in [
            ("GET", "", Some("ann:pw"), 200),
            ("GET", "", Some("ann:no"), 401),
            ("GET", "", None, 401),
            (
                "POST",
                "grant_type=password&username=ann&password=pw",
                None,
                200,
            ),
            (
                "POST",
                "grant_type=refresh_token&refresh_token=identity",
                None,
                200,
            ),
            (
                "POST",
                "grant_type=refresh_token&refresh_token=x",
                None,
                401,
            ),
        ] {
            assert_eq!(ask(method, form, pair).0, status, "{method} {form}");
        }
        let (_, answer) = ask("GET", "offline_token=true", Some("ann:pw"));
        assert_eq!(answer["refresh_token"], "identity");
        assert!(!format!("{service:?} {:?}", service.asked()).contains("identity"));
    }
}
