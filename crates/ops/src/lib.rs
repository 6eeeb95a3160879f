//! The verbs of dhow as typed functions: copy, inspect, list tags, delete,
//! serve. This is the public Rust
//! API; the command line is a shell around it.
//!
//! A [`Session`] is made once per process and shared by all verbs: connections, tokens and policy
//! live in it. Requests and reports are plain structs.

mod copy;
mod created;
mod delete;
mod doctor;
mod endpoint;
mod error;
mod inspect;
mod list_repositories;
mod list_tags;
mod login;
mod manifest_digest;
mod platform;
mod retry;
mod select;
mod serve;
mod session;
mod sync;

pub use copy::{CopyOptions, CopyReport, CopyRequest, copy};
pub use delete::{DeleteRequest, delete};
pub use dhow_copy::{
    Event, Format, LayerOptions, PackFormat, Packing, PackingError, PlanSummary, Progress, Report,
    Select, Tally,
};
pub use dhow_server::{Page, PageServer, Pages};
/// What a program does at its start, before it reads or writes Podman's storage as a user.
pub use dhow_storage::userns;
pub use dhow_transport::LayerForm;
pub use doctor::{DoctorReport, DoctorRequest, Finding, Level, doctor};
pub use endpoint::{CredentialsOption, EndpointOptions, ImageName};
pub use error::Error;
pub use inspect::{ImageSummary, InspectMode, InspectRequest, Inspection, LayerData, inspect};
pub use list_repositories::{ListRepositoriesRequest, RepositoryList, list_repositories};
pub use list_tags::{ListTagsRequest, TagList, list_tags};
pub use login::{Account, LoginOptions, check_login, known_login, logout, logout_all, store_login};
pub use manifest_digest::manifest_digest;
pub use platform::host_platform;
pub use retry::RetryOptions;
pub use select::{
    Rename, SelectError, SemverConstraint, Shard, Since, TagFilter, TagRegex, YamlRegistry,
    YamlRepository, YamlSource, YamlWants, digest_tag_subject,
};
pub use serve::{RequestLine, RequestLog, ServeRequest, Serving, TlsConfig, serve};
pub use session::{PolicyOption, Session, SessionOptions, Traffic};
pub use sync::{
    MaxDelete, SyncDestination, SyncEvent, SyncFailure, SyncOptions, SyncOutcome, SyncProgress,
    SyncReport, SyncRequest, SyncSource, SyncTarget, SyncVerdict, sync,
};
