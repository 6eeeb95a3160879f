//! `dhow sync`.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use dhow_ops::{
    EndpointOptions, MaxDelete, PageServer, Pages, Rename, Session, Shard, SyncDestination,
    SyncOptions, SyncReport, SyncRequest, SyncSource, SyncTarget, TagRegex, YamlSource,
};

use crate::app::{App, asked_to_end};
use crate::failure::{Exit, Failure};
use crate::options::{
    Destination, EndpointArgs, RetryArgs, SharedAuth, Source, TagFilterArgs, parse_bool,
    parse_duration, parse_format, refuse, select,
};
use crate::render::metrics::Metrics;
use crate::render::{streams, sync as render};

/// The arguments of `sync`.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  dhow sync --src docker --dest docker --all --keep-going quay.io/podman/stable registry.local/mirror
  dhow sync --src docker --dest dir --scoped registry.local/my/app ./usb
  dhow sync --src dir --dest docker ./usb registry.local/my
  dhow sync --src yaml --dest docker --keep-going --failures failed.jsonl mirror.yaml registry.local/mirror
  dhow sync --src registry --dest docker --delete --dry-run registry.local:5000/team backup.local/team")]
pub(crate) struct Args {
    /// The places with images, and last the place where they are to be
    #[arg(value_name = "SOURCE… DESTINATION")]
    places: Vec<String>,
    /// What the sources are: docker (repositories or images), registry, dir, oci, oci-archive,
    /// containers-storage or yaml
    #[arg(
        long,
        short,
        value_name = "TRANSPORT",
        default_value = "",
        hide_default_value = true
    )]
    src: String,
    /// What the destination is: docker, dir, oci, oci-archive or containers-storage
    #[arg(
        long,
        short,
        value_name = "TRANSPORT",
        default_value = "",
        hide_default_value = true
    )]
    dest: String,
    /// Keep the whole name of an image below the destination, not only its last part
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", value_parser = parse_bool, hide_default_value = true)]
    scoped: bool,
    /// Text added to each tag at the destination
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    append_suffix: String,
    /// Rewrite names before they are put below the destination; may be given more than once
    #[arg(long, value_name = "REGEX=TEXT")]
    rename: Vec<String>,
    /// Copy all images of each index
    #[arg(long, short, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", value_parser = parse_bool, hide_default_value = true)]
    all: bool,
    /// Which images of each index: system, all, index-only, or platforms such as linux/amd64,linux/arm64
    #[arg(long, alias = "platform", value_name = "WHICH")]
    multi_arch: Option<String>,
    /// Fail rather than change a manifest
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", value_parser = parse_bool, hide_default_value = true)]
    preserve_digests: bool,
    /// Format of the manifests at the destination: oci, v2s2 or v2s1 [default: that of the source, where the destination takes it]
    #[arg(long, short, value_name = "FORMAT")]
    format: Option<String>,
    /// Do not copy signatures (this version copies none)
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", value_parser = parse_bool, hide_default_value = true)]
    remove_signatures: bool,
    #[command(flatten)]
    filter: TagFilterArgs,
    /// Never look at tags that match this and are at the destination: they do not change
    #[arg(long, value_name = "REGEX")]
    immutable: Option<String>,
    /// Copy what refers to the images, too: signatures, SBOMs, attestations
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", value_parser = parse_bool, hide_default_value = true)]
    referrers: bool,
    /// Copy what lies under tags made of the images' digests, too, whatever tags are chosen
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", value_parser = parse_bool, hide_default_value = true)]
    digest_tags: bool,
    /// Remove tags at the destination that the source no longer has
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", value_parser = parse_bool, hide_default_value = true)]
    delete: bool,
    /// Remove nothing if it would be more than this: a number of tags, or a share of them
    #[arg(long, value_name = "N|P%", default_value = "10%")]
    max_delete: String,
    /// Do only a part of the work: the I-th of N; `auto/N` takes I from JOB_COMPLETION_INDEX
    #[arg(long, value_name = "I/N")]
    shard: Option<String>,
    /// Say what would be added, changed and removed, and do nothing
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", value_parser = parse_bool, hide_default_value = true)]
    dry_run: bool,
    /// Go on after an image that cannot be copied, and tell at the end
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", value_parser = parse_bool, hide_default_value = true)]
    keep_going: bool,
    /// Look at everything anew, also where the last run of the same sync was cut off
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", value_parser = parse_bool, hide_default_value = true)]
    no_resume: bool,
    /// Have this many images in work at once; 0 means as many as suit the places
    #[arg(long, value_name = "N", default_value_t = 0)]
    parallel: usize,
    /// Write a line for each image to this file: its digest and its name at the destination
    #[arg(long, value_name = "PATH")]
    digestfile: Option<PathBuf>,
    /// Write a JSON object for each failure to this file, one per line
    #[arg(long, value_name = "PATH")]
    failures: Option<PathBuf>,
    /// Keep running, and sync again after this time, such as 15m; the YAML file is read anew each time
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    every: Option<Duration>,
    /// With `--every`: answer on this address with /healthz and /metrics (Prometheus)
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    #[command(flatten)]
    shared: SharedAuth,
    #[command(flatten)]
    source_endpoint: EndpointArgs<Source>,
    #[command(flatten)]
    destination_endpoint: EndpointArgs<Destination>,
    #[command(flatten)]
    retry: RetryArgs,
}

impl Args {
    /// Returns whether a signal is the usual way for it to end.
    pub(crate) const fn keeps_running(&self) -> bool {
        self.every.is_some()
    }

    pub(crate) async fn run(self, app: &App) -> Result<(), Failure> {
        let request = self.request(app)?;
        let session = app.session()?;
        match self.every {
            Some(every) => self.watch(app, &session, request, every).await,
            None if self.listen.is_some() => Err(Failure::usage(
                "`--listen` is for a sync that keeps running",
            )
            .hint("say how often with `--every`, such as `--every 15m`")),
            None => round(app, &session, &request).await.1,
        }
    }

    /// Syncs again and again, until a signal comes.
    async fn watch(
        &self,
        app: &App,
        session: &Session,
        mut request: SyncRequest,
        every: Duration,
    ) -> Result<(), Failure> {
        let metrics = Arc::new(Metrics::new(every));
        let pages = match self.listen {
            Some(address) => Some(serve(address, &metrics, session).await?),
            None => None,
        };
        let rounds = async {
            loop {
                metrics.begin();
                let (report, result) = round(app, session, &request).await;
                metrics.end(report.as_ref());
                if let Err(failure) = result {
                    // The next round may do better.
                    failure.tell(app.voice);
                }
                let wait = every.mul_f64(0.95 + jitter() / 10.0);
                tracing::info!(seconds = wait.as_secs(), "the next round is to come");
                tokio::time::sleep(wait).await;
                match self.request(app) {
                    Ok(new) => request = new,
                    // What was right when it began is better than nothing.
                    Err(failure) => failure.tell(app.voice),
                }
            }
        };
        tokio::select! {
            () = rounds => Ok(()),
            () = serving(pages) => Ok(()),
            () = asked_to_end() => Ok(()),
        }
    }

    fn request(&self, app: &App) -> Result<SyncRequest, Failure> {
        let [sources @ .., destination] = self.places.as_slice() else {
            return Err(wrong_count());
        };
        if sources.is_empty() {
            return Err(wrong_count());
        }
        if self.src.is_empty() {
            return Err(Failure::usage("A source transport must be specified").hint(
                "say what SOURCE is with `--src`: docker, registry, dir, oci, oci-archive, containers-storage or yaml",
            ));
        }
        let kinds = [
            "docker",
            "registry",
            "dir",
            "oci",
            "oci-archive",
            "containers-storage",
            "yaml",
        ];
        if !kinds.contains(&self.src.as_str()) {
            return Err(
                Failure::usage(format!("{:?} is not a valid source transport", self.src))
                    .hint(format!("choose one of {}", kinds.join(", "))),
            );
        }
        let target = self.target()?;
        if self.src == "dir" && target == SyncTarget::Dir {
            return Err(Failure::usage(
                "sync from 'dir' to 'dir' not implemented, consider using rsync instead",
            ));
        }
        let endpoint = self.source_endpoint.image("", Some(&self.shared))?.endpoint;
        let sources = sources.iter().map(|name| self.source(name, &endpoint));
        Ok(SyncRequest {
            sources: sources.collect::<Result<_, _>>()?,
            destination: SyncDestination {
                target,
                name: destination.clone(),
                endpoint: self
                    .destination_endpoint
                    .image("", Some(&self.shared))?
                    .endpoint,
            },
            options: self.options(app)?,
        })
    }

    fn target(&self) -> Result<SyncTarget, Failure> {
        match self.dest.as_str() {
            "docker" => Ok(SyncTarget::Docker),
            "dir" => Ok(SyncTarget::Dir),
            "oci" => Ok(SyncTarget::Oci),
            "oci-archive" => Ok(SyncTarget::OciArchive),
            "containers-storage" => Ok(SyncTarget::ContainersStorage),
            "" => Err(
                Failure::usage("A destination transport must be specified").hint(
                    "say what DESTINATION is with `--dest`: docker, dir, oci, oci-archive or containers-storage",
                ),
            ),
            other => Err(
                Failure::usage(format!("{other:?} is not a valid destination transport"))
                    .hint("choose one of docker, dir, oci, oci-archive, containers-storage"),
            ),
        }
    }

    fn source(&self, name: &str, endpoint: &EndpointOptions) -> Result<SyncSource, Failure> {
        let (name, endpoint) = (name.to_owned(), endpoint.clone());
        Ok(match self.src.as_str() {
            "docker" => SyncSource::Docker { name, endpoint },
            "registry" => SyncSource::Registry { name, endpoint },
            "dir" => SyncSource::Dir(name.into()),
            "oci" => SyncSource::Oci(name.into()),
            "oci-archive" => SyncSource::OciArchive(name.into()),
            "containers-storage" => SyncSource::ContainersStorage(name),
            _ => SyncSource::Yaml {
                yaml: read_yaml(Path::new(&name))?,
                endpoint,
            },
        })
    }

    fn options(&self, app: &App) -> Result<SyncOptions, Failure> {
        let index = app.config.environment().variable("JOB_COMPLETION_INDEX");
        let shard = self.shard.as_deref().map(|text| Shard::parse(text, index));
        let immutable = self.immutable.as_deref().map(TagRegex::parse);
        let rename = self.rename.iter().map(|text| Rename::parse(text));
        Ok(SyncOptions {
            scoped: self.scoped,
            append_suffix: self.append_suffix.clone(),
            rename: rename
                .collect::<Result<_, _>>()
                .map_err(|error| refuse("rename", &error))?,
            select: select(self.all, self.multi_arch.as_deref())?,
            format: parse_format(self.format.as_deref())?,
            preserve_digests: self.preserve_digests,
            filter: self.filter.filter()?,
            immutable: immutable
                .transpose()
                .map_err(|error| refuse("immutable", &error))?,
            shard: shard.transpose().map_err(|error| refuse("shard", &error))?,
            referrers: self.referrers,
            digest_tags: self.digest_tags,
            delete: self
                .delete
                .then(|| max_delete(&self.max_delete))
                .transpose()?,
            dry_run: self.dry_run,
            keep_going: self.keep_going,
            resume: !self.no_resume,
            parallel: NonZeroUsize::new(self.parallel),
            retry: self.retry.options(),
            digestfile: self.digestfile.clone(),
            failures: self.failures.clone(),
        })
    }
}

/// Syncs once, and returns what came of it.
async fn round(
    app: &App,
    session: &Session,
    request: &SyncRequest,
) -> (Option<SyncReport>, Result<(), Failure>) {
    let shown = render::start(app, &request.options);
    let synced = dhow_ops::sync(session, request, Arc::clone(&shown.progress)).await;
    let told = shown.finish(synced.as_ref().ok());
    match synced {
        Ok(report) => {
            let result = if report.failed > 0 {
                Err(partial(&report))
            } else {
                told
            };
            (Some(report), result)
        }
        Err(error) => (None, Err(error.into())),
    }
}

async fn serve(
    address: SocketAddr,
    metrics: &Arc<Metrics>,
    session: &Session,
) -> Result<PageServer, Failure> {
    let (metrics, session) = (Arc::clone(metrics), session.clone());
    let pages: Pages = Arc::new(move |path| metrics.page(path, &session.traffic()));
    let server = PageServer::bind(address, pages)
        .await
        .map_err(dhow_ops::Error::from)?;
    if let Some(address) = server.address() {
        streams::eprint(&format!(
            "health and metrics at http://{address}/healthz and /metrics\n"
        ));
    }
    Ok(server)
}

async fn serving(pages: Option<PageServer>) {
    match pages {
        Some(pages) => pages.run().await,
        None => std::future::pending().await,
    }
}

/// Returns a number between 0 and 1 that differs from machine to machine, so that many do not ask at
/// once.
fn jitter() -> f64 {
    let random = RandomState::new().build_hasher().finish();
    f64::from(u32::try_from(random >> 32).unwrap_or_default()) / f64::from(u32::MAX)
}

fn wrong_count() -> Failure {
    Failure::usage("Exactly two arguments expected").hint(
        "name a source and a destination: dhow sync --src docker --dest docker SOURCE DESTINATION",
    )
}

fn max_delete(text: &str) -> Result<MaxDelete, Failure> {
    let parsed = match text.strip_suffix('%') {
        Some(percent) => percent
            .parse()
            .ok()
            .filter(|percent| *percent <= 100)
            .map(MaxDelete::Percent),
        None => text.parse().ok().map(MaxDelete::Count),
    };
    parsed.ok_or_else(|| {
        Failure::usage(format!(
            "`--max-delete {text}` is neither a number nor a share"
        ))
        .hint("write `--max-delete 100` or `--max-delete 5%`")
    })
}

fn read_yaml(path: &Path) -> Result<YamlSource, Failure> {
    let cannot = || format!("cannot use `{}` as a list of images", path.display());
    let text = std::fs::read_to_string(path).map_err(|error| {
        let exit = match error.kind() {
            std::io::ErrorKind::NotFound => Exit::NotFound,
            _ => Exit::Local,
        };
        Failure::new(exit, cannot()).caused_by(&error).no_image()
    })?;
    YamlSource::parse(&text).map_err(|error| {
        let failure = Failure::new(Exit::Invalid, cannot()).caused_by(&error);
        match error.hint() {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    })
}

/// Returns the failure of a sync that went on after others.
fn partial(report: &SyncReport) -> Failure {
    let exit = if report.settled() == 0 {
        Exit::General
    } else {
        Exit::Partial
    };
    let failure = Failure::new(
        exit,
        "Sync failed due to previous reported error(s) for one or more images",
    );
    failure.because(format!(
        "{} of {} could not be synced",
        report.failed,
        report.settled() + report.failed
    ))
}
